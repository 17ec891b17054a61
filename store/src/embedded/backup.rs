//! A store made of a backup.

use std::io::Read;
use std::path::Path;

use parking_lot::RwLock;

use super::disk::{Disk, Folder};
use super::{Embedded, OpenError, Sequential, log};
use crate::memory::{State, snapshot};
use crate::{RestoreError, Revision};

/// How far the revisions of a restored store are ahead of the backup: more than were given out since it was made, so
/// that no client finds a revision that it knows under another meaning. What etcd's documentation suggests.
const AHEAD: Revision = 1_000_000_000;

impl Embedded {
    /// Makes a store in an empty folder from a backup of all tenants, to be opened then. Its revisions begin far
    /// behind those of the backup: no client finds one that it knows under another meaning. All that held a revision
    /// of the store before gets [`crate::StoreError::Compacted`] and reads anew.
    ///
    /// # Errors
    /// See [`RestoreError`].
    pub fn restore(path: &Path, input: &mut dyn Read) -> Result<(), RestoreError> {
        let failed = |source| OpenError::Io { file: path.display().to_string(), source };
        let locked = || OpenError::Locked(path.display().to_string());
        let folder = Folder::open(path).map_err(failed)?.ok_or_else(locked)?;
        if folder.list().map_err(failed)?.iter().any(|name| name != "lock") {
            return Err(RestoreError::NotEmpty(path.display().to_string()));
        }
        let mut state = State::default();
        let at = snapshot::read(input, &mut |id, name, revision, value| state.load(id, &name, revision, value))
            .map_err(RestoreError::Backup)?
            + AHEAD;
        let name = log::snapshot_name(at);
        let temporary = format!("{name}{}", log::TEMPORARY);
        let write = || {
            let mut out = Sequential { file: folder.create(&temporary)?, at: 0 };
            snapshot::write(&RwLock::new(state), at, None, &mut out)?;
            out.file.sync()?;
            folder.rename(&temporary, &name)?;
            folder.sync()
        };
        Ok(write().map_err(failed)?)
    }
}
