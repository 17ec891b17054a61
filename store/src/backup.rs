//! What is made of a backup ([`Store::backup`](crate::Store::backup)), on any engine.

use std::collections::HashSet;
use std::io::{self, Read};
use std::sync::Arc;

use apimachinery::tenant::TenantId;
use bytes::Bytes;
use smol_str::SmolStr;
use tokio::task::JoinSet;

use crate::memory::{snapshot, unavailable};
use crate::{CollectionId, Key, OpenError, Precondition, Record, Revision, Store, StoreError, Write};

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

/// Hands each record of a backup to `each`, and says what is in it. The server's own records come first.
///
/// # Errors
/// As [`read_backup`]; what was handed over before is of no use then.
pub fn read_records(
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

/// Makes of a backup a smaller one, of those records that `pick` wants: of which collection, and which.
///
/// # Errors
/// As [`read_backup`], or what `out` said; what was written is of no use then.
pub fn extract_backup(
    input: &mut dyn Read,
    out: &mut dyn io::Write,
    pick: &mut dyn FnMut(&CollectionId, &Record) -> bool,
) -> io::Result<()> {
    snapshot::extract(input, out, pick)?;
    out.flush()
}

/// Why a backup was not restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The bytes are no backup, not a whole one, or damaged.
    #[error("this is no whole backup: {0}")]
    Backup(#[source] io::Error),
    /// The backup has no record of the tenant.
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

/// A record of a tenant: the name of its collection, its own, and its value.
pub type Plain = (SmolStr, SmolStr, Bytes);

/// Reads the records of one tenant out of a backup.
///
/// # Errors
/// [`RestoreError::Backup`] or [`RestoreError::NoTenant`].
pub fn read_tenant(input: &mut dyn Read, tenant: TenantId) -> Result<Vec<Plain>, RestoreError> {
    let mut records = Vec::new();
    let read = read_records(input, &mut |id, name, _, value| {
        if id.tenant == tenant {
            records.push((id.name.clone(), name, value));
        }
    });
    read.map_err(RestoreError::Backup)?;
    if records.is_empty() { Err(RestoreError::NoTenant(tenant)) } else { Ok(records) }
}

/// Puts records into a tenant that has none. They get new revisions.
///
/// # Errors
/// [`RestoreError::NotEmpty`] or [`RestoreError::Store`]. After one, no record is left.
pub async fn put_tenant(store: &Arc<dyn Store>, into: TenantId, records: Vec<Plain>) -> Result<(), RestoreError> {
    if !store.collections(into).await?.is_empty() {
        return Err(RestoreError::NotEmpty(format!("tenant {into}")));
    }
    let mut pending = JoinSet::new();
    let mut failed = None;
    let mut records = records.into_iter();
    loop {
        while failed.is_none() && pending.len() < PENDING {
            let Some((collection, name, value)) = records.next() else { break };
            let key = Key { collection: CollectionId { tenant: into, name: collection }, name };
            let write = Write { key, value: Some(value), require: Precondition::Absent };
            let store = store.clone();
            pending.spawn(async move { store.commit(vec![write]).await });
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
