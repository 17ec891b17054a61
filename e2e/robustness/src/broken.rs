//! Stores that are wrong on purpose: the checker must find each of them.
//!
//! What is wrong is wrong now and then, as bugs are, and only for the objects that clients ask for.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use apimachinery::tenant::TenantId;
use async_trait::async_trait;
use clap::ValueEnum;
use store::{
    Change, CollectionId, Cursor, Key, Precondition, Range, RangeQuery, Record, Rested, Revision, Scope, Store,
    StoreError, Write,
};

/// What clients write.
const COLLECTION: &str = "configmaps";
/// Each so manieth time something is wrong.
const OFTEN: u64 = 20;
/// How far behind what is stale is.
const STALE: Revision = 10;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Fault {
    /// A write is acknowledged before it is durable: it goes with the next crash. See [`crate::disk`].
    EarlyAnswer,
    /// A write is acknowledged and never done.
    LostWrite,
    /// A write is done whatever is there.
    BlindWrite,
    /// A read is of a state of before.
    StaleRead,
    /// A list is half of one state and half of another one.
    TornList,
    /// A watch leaves a change out.
    SkippedEvent,
    /// A watch tells a change twice.
    RepeatedEvent,
    /// A watch tells two changes in the wrong order.
    SwappedEvents,
    /// A bookmark is ahead of what was told.
    EarlyBookmark,
    /// There are no bookmarks.
    NoBookmark,
    /// What is not old is refused as too old.
    ShortHistory,
}

/// A store with a fault.
pub struct Broken {
    store: Arc<dyn Store>,
    fault: Fault,
    count: Arc<AtomicU64>,
}

impl Broken {
    /// Puts a fault over a store that has none.
    #[must_use]
    pub fn over(store: Arc<dyn Store>, fault: Fault) -> Arc<dyn Store> {
        Arc::new(Self { store, fault, count: Arc::default() })
    }

    fn strikes(&self, fault: Fault, collection: &CollectionId) -> bool {
        self.fault == fault && collection.name == COLLECTION && strikes(&self.count)
    }

    /// The oldest state that a read may be of, if it is one that is to be stale.
    fn stale(&self, fault: Fault, collection: &CollectionId) -> Option<Revision> {
        let stale = self.store.revision().saturating_sub(STALE).max(self.store.oldest());
        self.strikes(fault, collection).then_some(stale)
    }
}

fn strikes(count: &AtomicU64) -> bool {
    count.fetch_add(1, Ordering::Relaxed) % OFTEN == OFTEN - 1
}

#[async_trait]
impl Store for Broken {
    async fn commit(&self, mut writes: Vec<Write>) -> Result<Revision, StoreError> {
        let ours = writes.iter().map(|write| &write.key.collection).find(|collection| collection.name == COLLECTION);
        if let Some(ours) = ours {
            if self.strikes(Fault::LostWrite, ours) {
                return Ok(self.store.revision() + 1);
            }
            if self.strikes(Fault::BlindWrite, ours) {
                writes.iter_mut().for_each(|write| write.require = Precondition::None);
            }
        }
        self.store.commit(writes).await
    }

    async fn get(&self, key: &Key) -> Result<Option<Record>, StoreError> {
        let Some(at) = self.stale(Fault::StaleRead, &key.collection) else { return self.store.get(key).await };
        let query = RangeQuery { start: key.name.clone(), at: Some(at), limit: 1, ..RangeQuery::default() };
        let found = self.store.range(&key.collection, query).await?.records.pop();
        Ok(found.filter(|record| record.name == key.name))
    }

    async fn range(&self, collection: &CollectionId, query: RangeQuery) -> Result<Range, StoreError> {
        let (older, now) = (RangeQuery { at: None, ..query.clone() }, query.at.is_none());
        if let Some(at) = self.stale(Fault::StaleRead, collection).filter(|_| now) {
            return self.store.range(collection, RangeQuery { at: Some(at), ..older }).await;
        }
        let mut range = self.store.range(collection, query).await?;
        if let Some(at) = self.stale(Fault::TornList, collection) {
            let older = self.store.range(collection, RangeQuery { at: Some(at), ..older }).await?.records;
            let half = range.records.len() / 2;
            let last = range.records.get(half).map(|record| record.name.clone());
            range.records.truncate(half);
            range.records.extend(older.into_iter().filter(|record| last.as_ref().is_some_and(|l| record.name >= *l)));
        }
        Ok(range)
    }

    fn follow(&self, scope: Scope, from: Revision) -> Result<Box<dyn Cursor>, StoreError> {
        let Scope::Collection(collection) = &scope else { return self.store.follow(scope, from) };
        let ours = collection.name == COLLECTION;
        let oldest = self.store.revision().saturating_sub(STALE);
        if ours && self.fault == Fault::ShortHistory && from < oldest {
            return Err(StoreError::Compacted { requested: from, oldest });
        }
        let (fault, count) = (self.fault, self.count.clone());
        let cursor = self.store.follow(scope, from)?;
        Ok(if ours { Box::new(BrokenCursor { cursor, fault, count, held: None }) } else { cursor })
    }

    async fn count(&self, collection: &CollectionId) -> Result<usize, StoreError> {
        self.store.count(collection).await
    }

    async fn collections(&self, tenant: TenantId) -> Result<Vec<smol_str::SmolStr>, StoreError> {
        self.store.collections(tenant).await
    }

    async fn tenants(&self) -> Result<Vec<TenantId>, StoreError> {
        self.store.tenants().await
    }

    fn revision(&self) -> Revision {
        self.store.revision()
    }

    fn oldest(&self) -> Revision {
        self.store.oldest()
    }

    async fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        self.store.compact(revision).await
    }

    fn bound(&self, changes: u64, bytes: u64) -> Revision {
        self.store.bound(changes, bytes)
    }

    async fn purge(&self, tenant: TenantId) -> Result<(), StoreError> {
        self.store.purge(tenant).await
    }

    async fn rest(&self, idle: Duration) -> Rested {
        self.store.rest(idle).await
    }

    fn at_rest(&self, tenant: TenantId) -> bool {
        self.store.at_rest(tenant)
    }

    async fn backup(&self, tenant: Option<TenantId>, out: Box<dyn io::Write + Send>) -> Result<Revision, StoreError> {
        self.store.backup(tenant, out).await
    }

    fn health(&self) -> Result<(), StoreError> {
        self.store.health()
    }

    fn is_lost(&self) -> bool {
        self.store.is_lost()
    }

    async fn close(&self) {
        self.store.close().await;
    }
}

struct BrokenCursor {
    cursor: Box<dyn Cursor>,
    fault: Fault,
    count: Arc<AtomicU64>,
    /// What is told behind the next one.
    held: Option<Arc<Change>>,
}

impl BrokenCursor {
    fn changed(&mut self, changes: Vec<Arc<Change>>) -> Vec<Arc<Change>> {
        let mut told = Vec::with_capacity(changes.len() + 1);
        for change in changes {
            let held = self.held.take();
            match self.fault {
                Fault::SkippedEvent if strikes(&self.count) => continue,
                Fault::RepeatedEvent if strikes(&self.count) => told.push(change.clone()),
                Fault::SwappedEvents if held.is_none() && strikes(&self.count) => {
                    self.held = Some(change);
                    continue;
                }
                _ => {}
            }
            told.push(change);
            told.extend(held);
        }
        told
    }
}

#[async_trait]
impl Cursor for BrokenCursor {
    async fn next(&mut self) -> Result<Vec<Arc<Change>>, StoreError> {
        loop {
            let changes = self.cursor.next().await?;
            let told = self.changed(changes);
            if !told.is_empty() {
                return Ok(told);
            }
        }
    }

    fn poll_now(&mut self) -> Result<Vec<Arc<Change>>, StoreError> {
        loop {
            let changes = self.cursor.poll_now()?;
            let none = changes.is_empty();
            let told = self.changed(changes);
            if none || !told.is_empty() {
                return Ok(told);
            }
        }
    }

    fn revision(&self) -> Revision {
        match self.fault {
            Fault::EarlyBookmark => self.cursor.revision() + STALE,
            Fault::NoBookmark => 0,
            _ => self.cursor.revision(),
        }
    }
}
