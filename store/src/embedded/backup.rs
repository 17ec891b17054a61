//! Backups while the store runs, and what is made of them.

use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;

use apimachinery::tenant::TenantId;
use bytes::Bytes;
use parking_lot::RwLock;
use tokio::task::{JoinSet, spawn_blocking};

use super::disk::{Disk, Folder};
use super::state::State;
use super::{Embedded, OpenError, Sequential, log, snapshot, unavailable};
use crate::{CollectionId, Key, Precondition, Revision, Store, StoreError, Write as Put};

/// How far the revisions of a restored store are ahead of the backup: more than were given out since it was made, so
/// that no client finds a revision that it knows under another meaning. What etcd's documentation suggests.
const AHEAD: Revision = 1_000_000_000;
/// Records that a restore has on their way at a time.
const PENDING: usize = 256;

/// Why a backup was not restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The bytes are no backup, not a whole one, or damaged.
    #[error("this is no whole backup: {0}")]
    Backup(#[source] io::Error),
    /// The backup holds several tenants; `from` must name one that it has.
    #[error("the backup has no tenant {0}")]
    NoTenant(TenantId),
    /// There is something where the backup should go.
    #[error("{0} is not empty: a backup is restored only where there is nothing")]
    NotEmpty(String),
    /// The folder cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The store refused a record. What was restored before has been removed again.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Embedded {
    /// Writes the present state to `out`; of one tenant, or of all. Gives the revision that it is. Writes go on
    /// meanwhile, compaction waits.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] with what `out` said.
    pub async fn backup<W: Write + Send + 'static>(
        &self,
        tenant: Option<TenantId>,
        mut out: W,
    ) -> Result<Revision, StoreError> {
        let _held = self.maintenance.lock().await;
        let shared = self.shared.clone();
        let written = spawn_blocking(move || {
            let at = shared.state.read().revision;
            snapshot::write(&shared.state, at, tenant, &mut out)?;
            out.flush()?;
            Ok::<_, io::Error>(at)
        });
        written.await.map_err(|e| unavailable("the backup", &e))?.map_err(|e| unavailable("the backup", &e))
    }

    /// Puts one tenant of a backup into this store, under its own id or another. Its records get new revisions.
    ///
    /// # Errors
    /// See [`RestoreError`]. After one, nothing of the backup is left.
    pub async fn restore_tenant<R: Read + Send + 'static>(
        self: &Arc<Self>,
        mut input: R,
        from: TenantId,
        into: TenantId,
    ) -> Result<(), RestoreError> {
        if !self.collections(into).await?.is_empty() {
            return Err(RestoreError::NotEmpty(format!("tenant {into}")));
        }
        // Read to its end before anything is written: only then it is known to be whole.
        let read = spawn_blocking(move || {
            let mut records = Vec::new();
            snapshot::read(&mut input, &mut |id: &CollectionId, name, _, value: Bytes| {
                if id.tenant == from {
                    let collection = CollectionId { tenant: into, name: id.name.clone() };
                    records.push(Put {
                        key: Key { collection, name },
                        value: Some(value),
                        require: Precondition::Absent,
                    });
                }
            })?;
            Ok(records)
        });
        let records = read.await.map_err(io::Error::other).flatten().map_err(RestoreError::Backup)?;
        if records.is_empty() {
            return Err(RestoreError::NoTenant(from));
        }
        let mut pending = JoinSet::new();
        let mut failed = None;
        let mut records = records.into_iter();
        loop {
            while failed.is_none() && pending.len() < PENDING {
                let Some(record) = records.next() else { break };
                let store = self.clone();
                pending.spawn(async move { store.commit(vec![record]).await });
            }
            match pending.join_next().await {
                None => break,
                Some(Ok(Ok(_))) => {}
                Some(Ok(Err(e))) => failed = Some(e),
                Some(Err(e)) => failed = Some(unavailable("restoring", &e)),
            }
        }
        match failed {
            None => Ok(()),
            Some(e) => {
                self.purge(into).await?;
                Err(e.into())
            }
        }
    }

    /// Makes a store in an empty folder from a backup of all tenants, to be opened then. Its revisions begin far
    /// behind those of the backup: no client finds one that it knows under another meaning. All that held a revision
    /// of the store before gets [`StoreError::Compacted`] and reads anew.
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
