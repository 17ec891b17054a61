//! A revisioned key-value store with a change log.
//!
//! One trait, [`Store`]; the engines below it pass one test suite. The store knows nothing of Kubernetes: a value is
//! bytes, a key a tenant, a collection in it and a name in that.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use apimachinery::tenant::TenantId;
use async_trait::async_trait;
use bytes::Bytes;
use smol_str::SmolStr;

mod backup;
mod compress;
mod embedded;
mod etcd;
mod memory;
mod prepare;
mod retention;
mod stats;
#[cfg(test)]
mod suite;

pub use backup::{Contents, Plain, RestoreError, extract_backup, put_tenant, read_backup, read_records, read_tenant};
#[cfg(feature = "bench")]
pub use embedded::BareLog;
pub use embedded::{Embedded, OpenError, Options, disk};
pub use etcd::{Etcd, EtcdError, EtcdOptions, Tls};
pub use retention::{Keeper, Retention};
pub use stats::{Buckets, Stats};

/// A point in the store's history. Grows with every transaction, never repeats, survives restarts. Zero is before everything.
pub type Revision = u64;

/// All records of one kind in one tenant: `pods`, `apps/deployments`. No collection's name is a prefix of a key in another one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CollectionId {
    /// Whose records they are.
    pub tenant: TenantId,
    /// Group and resource (`apps/deployments`; `pods` in the core group), or what the server chose for its own records.
    pub name: SmolStr,
}

/// The name of a record.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Where it lies.
    pub collection: CollectionId,
    /// `namespace/name`, or `name` for what has no namespace. Ranges go by the order of its bytes.
    pub name: SmolStr,
}

/// A value at a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its name in the collection.
    pub name: SmolStr,
    /// The bytes that were put.
    pub value: Bytes,
    /// The revision of the transaction that put them.
    pub revision: Revision,
}

/// What must hold of a key for a transaction to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// Anything.
    None,
    /// The key has no record.
    Absent,
    /// The key's record has this revision.
    Revision(Revision),
}

/// One write of a transaction.
#[derive(Clone, Debug)]
pub struct Write {
    /// What is written.
    pub key: Key,
    /// The new value; `None` deletes.
    pub value: Option<Bytes>,
    /// What must hold before.
    pub require: Precondition,
}

/// What a range asks for.
#[derive(Clone, Debug, Default)]
pub struct RangeQuery {
    /// Only names that begin with this (`namespace/`); empty for all.
    pub prefix: SmolStr,
    /// Only names at or behind this one.
    pub start: SmolStr,
    /// The state at this revision; the present one if `None`.
    pub at: Option<Revision>,
    /// At most so many records; all if 0.
    pub limit: usize,
}

/// What a range finds.
#[derive(Clone, Debug, Default)]
pub struct Range {
    /// Records in the order of their names.
    pub records: Vec<Record>,
    /// The revision that this is the state at.
    pub revision: Revision,
    /// How many more there are behind the last one.
    pub remaining: usize,
}

/// One write as the change log has it. Shared by all who read it.
#[derive(Debug)]
pub struct Change {
    /// What was written.
    pub key: Key,
    /// The revision of the transaction.
    pub revision: Revision,
    /// The value after; `None` if it was deleted.
    pub value: Option<Bytes>,
    /// The value before with its revision; `None` if it was created.
    pub previous: Option<(Bytes, Revision)>,
}

/// Whose changes a cursor sees.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Those of all tenants, the server's own records too.
    All,
    /// Those of one collection. A cursor on it is not woken by writes elsewhere.
    Collection(CollectionId),
}

/// Why the store refused or failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// A precondition did not hold; nothing was written. `current` is the record that stands there.
    #[error("precondition of write {index} does not hold")]
    Conflict {
        /// Which write of the transaction.
        index: usize,
        /// What the key holds now.
        current: Option<Record>,
    },
    /// The revision asked for is older than what is held.
    #[error("revision {requested} has been compacted, the oldest one held is {oldest}")]
    Compacted {
        /// The revision asked for.
        requested: Revision,
        /// The oldest that can be read.
        oldest: Revision,
    },
    /// The revision asked for has not been reached.
    #[error("revision {requested} is ahead of the present one, {current}")]
    Future {
        /// The revision asked for.
        requested: Revision,
        /// The present one.
        current: Revision,
    },
    /// The transaction is malformed: it is empty, writes twice to one collection (a watcher tells its
    /// changes apart by their revision), has an empty name, one longer
    /// than 1024 bytes or a NUL in a collection's name, or more than 16 MiB.
    #[error("bad transaction: {0}")]
    BadTransaction(&'static str),
    /// More than the store behind takes at once. Says which limit of it that is; nothing was written.
    #[error("too large: {0}")]
    TooLarge(&'static str),
    /// The disk (or the etcd behind the store) is full, failed or away. Whether the write is durable is not known
    /// only if `maybe_committed`.
    #[error("store is unavailable: {reason}")]
    Unavailable {
        /// What happened.
        reason: String,
        /// The write may yet turn out to be durable.
        maybe_committed: bool,
    },
}

/// What [`Store::rest`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rested {
    /// Who was laid to rest.
    pub tenants: Vec<TenantId>,
    /// When the next one may be cold, if there is one; zero if only its history is in the way.
    pub next: Option<Duration>,
}

/// A revisioned key-value store with a change log.
///
/// # Guarantees
/// - A transaction is atomic and durable before [`Store::commit`] returns, and is visible to every read after that.
/// - Each transaction has a revision of its own, greater than all before it, across restarts too.
/// - A [`Cursor`] sees every change of its scope behind its start, once, in the order of revisions.
/// - A range at a revision that is held sees exactly the state that transaction left.
///
/// # Assumptions
/// One process has the store open; only that in etcd may be opened by several.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Does all writes or none. Once it was polled, dropping the future does not undo it. To delete what is not there
    /// is no change, and a transaction that changes nothing may have no revision of its own.
    async fn commit(&self, writes: Vec<Write>) -> Result<Revision, StoreError>;

    /// The present record of a key.
    async fn get(&self, key: &Key) -> Result<Option<Record>, StoreError>;

    /// Records of a collection, in the order of their names.
    async fn range(&self, collection: &CollectionId, query: RangeQuery) -> Result<Range, StoreError>;

    /// How many records a collection holds now.
    async fn count(&self, collection: &CollectionId) -> Result<usize, StoreError>;

    /// The collections of a tenant that hold records now, by name.
    async fn collections(&self, tenant: TenantId) -> Result<Vec<SmolStr>, StoreError>;

    /// The tenants that have records now, in order of their ids; [`TenantId::SYSTEM`] among them.
    async fn tenants(&self) -> Result<Vec<TenantId>, StoreError>;

    /// The present revision.
    fn revision(&self) -> Revision;

    /// The oldest revision that can still be read or followed from.
    fn oldest(&self) -> Revision;

    /// Follows the changes behind `from` (those with a greater revision).
    fn follow(&self, scope: Scope, from: Revision) -> Result<Box<dyn Cursor>, StoreError>;

    /// Gives up what is older than `revision`: states before it can no longer be read. The present state stays whole.
    async fn compact(&self, revision: Revision) -> Result<(), StoreError>;

    /// The oldest revision behind which there are at most so many changes that keep about so many bytes: what to
    /// [`compact`](Store::compact) to. See [`Keeper`].
    fn bound(&self, changes: u64, bytes: u64) -> Revision;

    /// Deletes everything a tenant has, history included, without a change per record. Its cursors end with
    /// [`StoreError::Compacted`], and so does reading what was before.
    async fn purge(&self, tenant: TenantId) -> Result<(), StoreError>;

    /// Takes out of memory the tenants of whom nothing was read or written for `idle`, if their history has been given up
    /// ([`Store::compact`]). Nothing else is different for them: whatever is asked of one or written to it brings it back,
    /// and who follows its collections, or all, goes on. The server's own records ([`TenantId::SYSTEM`]) stay.
    async fn rest(&self, idle: Duration) -> Rested;

    /// Whether a tenant is out of memory now. For whoever looks at all tenants and has nothing to look for in one that
    /// nobody used: asking does not bring it back.
    fn at_rest(&self, tenant: TenantId) -> bool;

    /// Writes the present state to `out`, of one tenant or of all, and gives the revision that it is. Writes go on
    /// meanwhile, compaction waits. What is made of it: [`read_tenant`], [`extract_backup`], [`Embedded::restore`].
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] with what `out` said.
    async fn backup(&self, tenant: Option<TenantId>, out: Box<dyn io::Write + Send>) -> Result<Revision, StoreError>;

    /// Whether writes are taken.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] once the store is closed or its disk has failed.
    fn health(&self) -> Result<(), StoreError>;

    /// Whether no write is taken any more until the store is opened again: it was closed, its disk has failed, or what lies behind
    /// it is not what it was. One that is only away ([`Store::health`]) may come back by itself.
    fn is_lost(&self) -> bool;

    /// Stops taking writes, makes what was taken durable and releases the files.
    async fn close(&self);
}

/// A place in the change log. A slow reader costs nothing but what history holds anyway.
#[async_trait]
pub trait Cursor: Send {
    /// The next changes, waiting for one if there is none. At least one, in order, whole transactions.
    ///
    /// # Errors
    /// [`StoreError::Compacted`] when the reader fell so far behind that its place is no longer held,
    /// [`StoreError::Unavailable`] when the store was closed.
    async fn next(&mut self) -> Result<Vec<Arc<Change>>, StoreError>;

    /// Changes that are there already; empty if none.
    fn poll_now(&mut self) -> Result<Vec<Arc<Change>>, StoreError>;

    /// Of the changes that are there already those that `wanted` picks, which is asked of each in order; `None` if there are
    /// none at all. Cheaper than [`Cursor::poll_now`] for a reader that wants few of many.
    fn poll_picked(
        &mut self,
        wanted: &mut (dyn FnMut(&Change) -> bool + Send),
    ) -> Result<Option<Vec<Arc<Change>>>, StoreError> {
        let mut changes = self.poll_now()?;
        if changes.is_empty() {
            return Ok(None);
        }
        changes.retain(|change| wanted(change));
        Ok(Some(changes))
    }

    /// The revision up to which this cursor has seen all there is in its scope. It advances also when others write:
    /// what a bookmark says.
    fn revision(&self) -> Revision;
}
