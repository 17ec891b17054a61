//! What is made of a backup ([`Store::backup`](crate::Store::backup)), on any engine.

use std::collections::HashSet;
use std::io::{self, Read};
use std::sync::Arc;

use apimachinery::tenant::TenantId;
use bytes::Bytes;
use smol_str::SmolStr;
use tokio::task::{JoinSet, spawn_blocking};

use crate::memory::{snapshot, unavailable};
use crate::{CollectionId, Key, OpenError, Precondition, Revision, Store, StoreError, Write};

/// Records that a restore has on their way at a time.
const PENDING: usize = 256;

/// What a backup holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contents {
    /// The revision that it is the state at.
    pub revision: Revision,
    /// Tenants that have records in it; [`TenantId::SYSTEM`] is not counted.
    pub tenants: usize,
    /// Records of all of them, and of the server itself.
    pub records: u64,
}

/// Reads a backup to its end and says what is in it.
///
/// # Errors
/// [`io::ErrorKind::InvalidData`] or [`io::ErrorKind::UnexpectedEof`] if it is not whole, or what `input` said.
pub fn read_backup(input: &mut dyn Read) -> io::Result<Contents> {
    read_records(input, &mut |_, _, _, _| ())
}

/// Hands each record of a backup to `each`, and says what is in it.
pub(crate) fn read_records(
    input: &mut dyn Read,
    each: &mut dyn FnMut(&CollectionId, SmolStr, Revision, Bytes),
) -> io::Result<Contents> {
    let (mut tenants, mut records) = (HashSet::new(), 0);
    let revision = snapshot::read(input, &mut |id, name, revision, value| {
        tenants.insert(id.tenant);
        records += 1;
        each(id, name, revision, value);
    })?;
    tenants.remove(&TenantId::SYSTEM);
    Ok(Contents { revision, tenants: tenants.len(), records })
}

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

/// Puts one tenant of a backup into a store, under its own id or another. Its records get new revisions.
///
/// # Errors
/// See [`RestoreError`]. After one, nothing of the backup is left.
pub async fn restore_tenant(
    store: &Arc<dyn Store>,
    mut input: impl Read + Send + 'static,
    from: TenantId,
    into: TenantId,
) -> Result<(), RestoreError> {
    if !store.collections(into).await?.is_empty() {
        return Err(RestoreError::NotEmpty(format!("tenant {into}")));
    }
    // Read to its end before anything is written: only then it is known to be whole.
    let read = spawn_blocking(move || {
        let mut records = Vec::new();
        snapshot::read(&mut input, &mut |id: &CollectionId, name, _, value: Bytes| {
            if id.tenant == from {
                let collection = CollectionId { tenant: into, name: id.name.clone() };
                records.push(Write {
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
            let store = store.clone();
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
            store.purge(into).await?;
            Err(e.into())
        }
    }
}
