//! What an engine holds in memory: the present state, the history behind it, and the places of those who follow it.
//!
//! An engine feeds it with what has become durable, in the order of revisions; all reads are answered here. The embedded
//! engine feeds it from its log, the etcd engine from a watch.

mod common;
mod cursor;
mod heads;
mod run;
pub(crate) mod snapshot;
mod state;
mod table;
pub(crate) mod wire;

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use apimachinery::tenant::TenantId;
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use smol_str::SmolStr;
use tokio::task::spawn_blocking;

use self::cursor::{Place, Topics};
pub(crate) use self::state::{Sizes, State};
use crate::{CollectionId, Cursor, Key, Revision, Scope, Stats, StoreError};

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

/// What the handle of an engine, what feeds it, and the cursors share.
pub(crate) struct Memory {
    pub(crate) state: RwLock<State>,
    pub(crate) topics: Topics,
    pub(crate) stats: Arc<Stats>,
    /// Held while a revision must stay held: one compaction, snapshot or backup at a time.
    pub(crate) maintenance: tokio::sync::Mutex<()>,
    failure: Mutex<Option<String>>,
    closed: AtomicBool,
}

impl Memory {
    pub(crate) fn new(state: State) -> Self {
        let sizes = state.sizes;
        let memory = Self {
            state: RwLock::new(state),
            topics: Topics::default(),
            stats: Arc::default(),
            maintenance: tokio::sync::Mutex::default(),
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
    }

    /// The collections of a tenant that hold records now, by name.
    pub(crate) fn collections(&self, tenant: TenantId) -> Vec<SmolStr> {
        let state = self.state.read();
        state.collections(tenant).filter(|(_, live)| *live > 0).map(|(name, _)| name.clone()).collect()
    }

    /// The tenants that have records now, in order of their ids.
    pub(crate) fn tenants(&self) -> Vec<TenantId> {
        let state = self.state.read();
        let mut tenants = state.tenants();
        tenants.retain(|tenant| state.collections(*tenant).any(|(_, live)| live > 0));
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
