//! What an engine holds in memory: the present state, the history behind it, and the places of those who follow it.
//!
//! An engine feeds it with what has become durable, in the order of revisions; all reads are answered here. The embedded
//! engine feeds it from its log, the etcd engine from a watch.

mod common;
mod cursor;
mod heads;
mod pack;
mod rest;
mod run;
pub(crate) mod snapshot;
mod state;
mod swap;
mod table;
mod varint;
pub(crate) mod wire;

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use apimachinery::tenant::TenantId;
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use smol_str::SmolStr;
use tokio::task::spawn_blocking;

use self::cursor::{Place, Topics};
use self::pack::Values;
use self::rest::RETURNING;
pub(crate) use self::state::{Sizes, State};
pub(crate) use self::swap::Swap;
use crate::{CollectionId, Cursor, Key, Range, RangeQuery, Record, Revision, Scope, Stats, StoreError};

/// Changes that a compaction gives up before it lets others at the state.
const TRIM: usize = 1024;

/// What one revision did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Transaction {
    /// Keys with their new values; `None` deletes.
    Writes(Vec<(Key, Option<Bytes>)>),
    /// All of a tenant is gone.
    Purge(TenantId),
}

impl Transaction {
    /// Whom it writes to.
    pub(crate) fn written(&self) -> impl Iterator<Item = TenantId> + '_ {
        let writes = match self {
            Self::Writes(writes) => &writes[..],
            Self::Purge(_) => &[],
        };
        writes.iter().map(|(key, _)| key.collection.tenant)
    }
}

/// What the handle of an engine, what feeds it, and the cursors share.
pub(crate) struct Memory {
    pub(crate) state: RwLock<State>,
    pub(crate) topics: Topics,
    pub(crate) stats: Arc<Stats>,
    /// Held while a revision must stay held: one compaction, snapshot or backup at a time.
    pub(crate) maintenance: tokio::sync::Mutex<()>,
    /// Held, shared, by who has brought back tenants that must stay until what is written to them is applied.
    pub(crate) in_place: RwLock<()>,
    /// Values that tenants at rest share.
    values: Arc<Values>,
    /// Where those at rest lie that are larger than `largest` when they are packed. In memory if there is no place.
    swap: Option<Arc<Swap>>,
    largest: usize,
    returning: [tokio::sync::Mutex<()>; RETURNING],
    started: Instant,
    failure: Mutex<Option<String>>,
    closed: AtomicBool,
}

impl Memory {
    /// A memory in which all tenants stay, packed when they are at rest.
    pub(crate) fn new(state: State) -> Self {
        Self::with_swap(state, None, usize::MAX)
    }

    /// A memory that tenants at rest leave if they take more than `largest` bytes.
    pub(crate) fn with_swap(state: State, swap: Option<Arc<Swap>>, largest: usize) -> Self {
        let sizes = state.sizes;
        let memory = Self {
            state: RwLock::new(state),
            topics: Topics::default(),
            stats: Arc::default(),
            maintenance: tokio::sync::Mutex::default(),
            in_place: RwLock::default(),
            values: Arc::default(),
            swap,
            largest,
            returning: Default::default(),
            started: Instant::now(),
            failure: Mutex::default(),
            closed: AtomicBool::new(false),
        };
        memory.report(sizes);
        memory
    }

    /// Why no writes are taken, if none are.
    pub(crate) fn failure(&self) -> Option<String> {
        self.failure.lock().clone()
    }

    pub(crate) fn fail(&self, reason: String) {
        self.stats.failed.store(1, Ordering::Relaxed);
        self.failure.lock().get_or_insert(reason);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Ends all cursors.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.topics.wake_all();
    }

    pub(crate) fn report(&self, sizes: Sizes) {
        self.stats.records.store(sizes.records, Ordering::Relaxed);
        self.stats.bytes.store(sizes.bytes, Ordering::Relaxed);
        self.stats.changes.store(sizes.changes, Ordering::Relaxed);
        self.stats.change_bytes.store(sizes.change_bytes, Ordering::Relaxed);
        self.stats.tenants.store(sizes.tenants, Ordering::Relaxed);
        self.stats.at_rest.store(sizes.at_rest, Ordering::Relaxed);
    }

    /// The present record of a key.
    pub(crate) async fn get(self: &Arc<Self>, key: &Key) -> Result<Option<Record>, StoreError> {
        self.read(key.collection.tenant, |state| state.get(key)).await
    }

    /// Records of a collection.
    pub(crate) async fn range(self: &Arc<Self>, id: &CollectionId, query: &RangeQuery) -> Result<Range, StoreError> {
        self.read(id.tenant, |state| state.range(id, query)).await?
    }

    /// How many records a collection holds now.
    pub(crate) async fn count(self: &Arc<Self>, id: &CollectionId) -> Result<usize, StoreError> {
        self.read(id.tenant, |state| state.count(id)).await
    }

    /// The collections of a tenant that hold records now, by name.
    pub(crate) async fn collections(self: &Arc<Self>, tenant: TenantId) -> Result<Vec<SmolStr>, StoreError> {
        let live = |state: &State| {
            state.collections(tenant).filter(|(_, live)| *live > 0).map(|(name, _)| name.clone()).collect()
        };
        self.read(tenant, live).await
    }

    /// The tenants that have records now, in order of their ids.
    pub(crate) fn tenants(&self) -> Vec<TenantId> {
        let state = self.state.read();
        let mut tenants = state.tenants();
        let live = |tenant| state.resting(tenant).is_some() || state.collections(tenant).any(|(_, live)| live > 0);
        tenants.retain(|tenant| live(*tenant));
        tenants.sort_unstable();
        tenants
    }

    pub(crate) fn follow(self: &Arc<Self>, scope: Scope, from: Revision) -> Result<Box<dyn Cursor>, StoreError> {
        Ok(Box::new(Place::open(self, scope, from)?))
    }

    /// Gives up the history up to a revision, a piece at a time. With `maintenance` held.
    pub(crate) async fn trim(&self, revision: Revision) -> Result<(), StoreError> {
        {
            let state = self.state.read();
            if revision > state.revision {
                return Err(StoreError::Future { requested: revision, current: state.revision });
            }
        }
        while let Some(sizes) = self.trim_piece(revision) {
            self.report(sizes);
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    fn trim_piece(&self, revision: Revision) -> Option<Sizes> {
        let mut state = self.state.write();
        let dropped: Vec<(CollectionId, Revision)> = state.trim(revision, TRIM)?;
        self.topics.drop_changes(&dropped);
        Some(state.sizes)
    }

    /// Writes the present state; of one tenant, or of all. See [`crate::Store::backup`].
    pub(crate) async fn backup(
        self: &Arc<Self>,
        tenant: Option<TenantId>,
        mut out: Box<dyn Write + Send>,
    ) -> Result<Revision, StoreError> {
        let _held = self.maintenance.lock().await;
        let memory = self.clone();
        let written = spawn_blocking(move || {
            let at = memory.state.read().revision;
            snapshot::write(&memory.state, at, tenant, &mut out)?;
            out.flush()?;
            Ok::<_, io::Error>(at)
        });
        written.await.map_err(|e| unavailable("the backup", &e))?.map_err(|e| unavailable("the backup", &e))
    }
}

/// The refusal of a store that was closed.
pub(crate) fn closed(maybe_committed: bool) -> StoreError {
    StoreError::Unavailable { reason: "the store is closed".into(), maybe_committed }
}

/// The refusal when something went wrong that left nothing behind.
pub(crate) fn unavailable(doing: &str, error: &dyn std::fmt::Display) -> StoreError {
    StoreError::Unavailable { reason: format!("{doing} failed: {error}"), maybe_committed: false }
}
