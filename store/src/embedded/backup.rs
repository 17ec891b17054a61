//! A store made of a backup.

use std::io::Read;
use std::path::Path;

use parking_lot::RwLock;

use super::disk::{Disk, Folder};
use super::{Embedded, OpenError, Sequential, log};
use crate::backup::read_records;
use crate::memory::{State, snapshot};
use crate::{Contents, RestoreError, Revision};

/// How far the revisions of a restored store are ahead of the backup: more than were given out since it was made, so
/// that no client finds a revision that it knows under another meaning. What etcd's documentation suggests.
const AHEAD: Revision = 1_000_000_000;

impl Embedded {
    /// Makes a store in a folder from a backup of all tenants, to be opened then. Its revisions begin far behind those of
    /// the backup: no client finds one that it knows under another meaning. All that held a revision of the store before
    /// gets [`crate::StoreError::Compacted`] and reads anew.
    ///
    /// A store that is there already is refused, unless `aside` says that it is to be moved out of the way, into the
    /// folder's `replaced-REVISION`.
    ///
    /// # Errors
    /// See [`RestoreError`]. What was in the folder is the store as before, unless the backup is it already and the old
    /// files could not be moved.
    pub fn restore(path: &Path, input: &mut dyn Read, aside: bool) -> Result<Contents, RestoreError> {
        let failed = |source| OpenError::Io { file: path.display().to_string(), source };
        let locked = || OpenError::Locked(path.display().to_string());
        let folder = Folder::open(path).map_err(failed)?.ok_or_else(locked)?;
        let mut before = folder.list().map_err(failed)?;
        before.retain(|name| log::is_part(name));
        if !before.is_empty() && !aside {
            return Err(RestoreError::NotEmpty(path.display().to_string()));
        }
        let mut state = State::default();
        let load = &mut |id: &_, name, revision, value| state.load(id, &name, revision, value);
        let contents = read_records(input, load).map_err(RestoreError::Backup)?;
        let held = before.iter().filter_map(|name| log::snapshot_revision(name));
        let latest = held.fold(contents.revision, Revision::max);
        let at = latest + AHEAD;
        let name = log::snapshot_name(at);
        let temporary = format!("{name}{}", log::TEMPORARY);
        let write = || {
            let mut out = Sequential { file: folder.create(&temporary)?, at: 0 };
            snapshot::write(&RwLock::new(state), at, None, &mut out)?;
            out.file.sync()?;
            // A store begins with its latest snapshot and this one lies ahead of all it has: with the new name it is the
            // store. If this is cut off behind it, the next opening passes over what old files say.
            folder.rename(&temporary, &name)?;
            folder.sync()?;
            if !before.is_empty() {
                let place = format!("replaced-{at}");
                std::fs::create_dir(path.join(&place))?;
                for file in &before {
                    folder.rename(file, &format!("{place}/{file}"))?;
                }
            }
            folder.sync()
        };
        write().map_err(failed)?;
        Ok(contents)
    }
}
