//! Cursors: places in the change log. A cursor owns nothing but its position; what wakes it is shared by all of its
//! scope and is there only as long as one of them is.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{Memory, Transaction};
use crate::{Change, CollectionId, Cursor, Revision, Scope, StoreError};

/// What the cursors of one scope share.
#[derive(Debug, Default)]
pub(crate) struct Topic {
    wake: Notify,
    /// The last change of the scope that is no longer held.
    dropped: AtomicU64,
}

/// The topics that someone follows.
#[derive(Debug, Default)]
pub(crate) struct Topics {
    all: Topic,
    collections: Mutex<HashMap<CollectionId, Arc<Topic>>>,
}

impl Topics {
    fn join(&self, id: &CollectionId) -> Arc<Topic> {
        self.collections.lock().entry(id.clone()).or_default().clone()
    }

    fn leave(&self, id: &CollectionId, left: &Arc<Topic>) {
        let mut collections = self.collections.lock();
        // One is held by the map, one by the cursor that leaves.
        if collections.get(id).is_some_and(|topic| Arc::ptr_eq(topic, left) && Arc::strong_count(topic) <= 2) {
            collections.remove(id);
            if collections.len() * 4 < collections.capacity() {
                collections.shrink_to_fit();
            }
        }
    }

    /// Wakes those who follow what was written.
    pub(crate) fn wake<'a>(&self, transactions: impl Iterator<Item = &'a Transaction>) {
        self.all.wake.notify_waiters();
        let mut collections = self.collections.lock();
        if collections.is_empty() {
            return;
        }
        for transaction in transactions {
            match transaction {
                Transaction::Writes(writes) => {
                    for (key, _) in writes {
                        if let Some(topic) = collections.get(&key.collection) {
                            topic.wake.notify_waiters();
                        }
                    }
                }
                Transaction::Purge(tenant) => {
                    // Nothing of the tenant is held any more, whatever a cursor has seen.
                    for (_, topic) in collections.extract_if(|id, _| id.tenant == *tenant) {
                        topic.dropped.store(Revision::MAX, Ordering::Release);
                        topic.wake.notify_waiters();
                    }
                }
            }
        }
    }

    /// Tells cursors which changes went.
    pub(crate) fn drop_changes(&self, dropped: &[(CollectionId, Revision)]) {
        let collections = self.collections.lock();
        if let Some((_, last)) = dropped.last() {
            self.all.dropped.fetch_max(*last, Ordering::AcqRel);
        }
        if collections.is_empty() {
            return;
        }
        for (id, revision) in dropped {
            if let Some(topic) = collections.get(id) {
                topic.dropped.fetch_max(*revision, Ordering::AcqRel);
            }
        }
    }

    /// Tells all cursors that nothing before a revision is held, nor will they be told of it.
    pub(crate) fn lose(&self, before: Revision) {
        self.all.dropped.fetch_max(before, Ordering::AcqRel);
        for topic in self.collections.lock().values() {
            topic.dropped.fetch_max(before, Ordering::AcqRel);
        }
        self.wake_all();
    }

    /// Wakes all.
    pub(crate) fn wake_all(&self) {
        self.all.wake.notify_waiters();
        for topic in self.collections.lock().values() {
            topic.wake.notify_waiters();
        }
    }
}

/// A cursor of the engines that hold their state in memory.
pub(crate) struct Place {
    shared: Arc<Memory>,
    scope: Scope,
    /// Of a collection; that of all is a part of `shared`.
    topic: Option<Arc<Topic>>,
    position: Revision,
}

impl Place {
    pub(crate) fn open(shared: &Arc<Memory>, scope: Scope, from: Revision) -> Result<Self, StoreError> {
        let topic = match &scope {
            Scope::All => None,
            Scope::Collection(id) => Some(shared.topics.join(id)),
        };
        shared.stats.cursors.fetch_add(1, Ordering::Relaxed);
        // Checked with the topic joined: from here on no change goes without its being told.
        let place = Self { shared: shared.clone(), scope, topic, position: from };
        let id = match &place.scope {
            Scope::All => None,
            Scope::Collection(id) => Some(id),
        };
        place.shared.state.read().check(id, from)?;
        Ok(place)
    }

    fn topic(&self) -> &Topic {
        self.topic.as_deref().unwrap_or(&self.shared.topics.all)
    }
}

/// The changes behind a position that are there and wanted, and the position behind all that were looked at; `None` if
/// there are none.
fn look(
    shared: &Memory,
    scope: &Scope,
    topic: &Topic,
    position: &mut Revision,
    wanted: &mut dyn FnMut(&Change) -> bool,
) -> Result<Option<Vec<Arc<Change>>>, StoreError> {
    let state = shared.state.read();
    if *position < topic.dropped.load(Ordering::Acquire) {
        return Err(StoreError::Compacted { requested: *position, oldest: state.oldest });
    }
    let (changes, seen) = state.poll(scope, *position, wanted);
    *position = seen;
    Ok(changes)
}

#[async_trait]
impl Cursor for Place {
    async fn next(&mut self) -> Result<Vec<Arc<Change>>, StoreError> {
        let Self { shared, scope, topic, position } = self;
        let topic = topic.as_deref().unwrap_or(&shared.topics.all);
        loop {
            let mut woken = std::pin::pin!(topic.wake.notified());
            woken.as_mut().enable();
            if let Some(changes) = look(shared, scope, topic, position, &mut |_| true)? {
                return Ok(changes);
            }
            if shared.is_closed() {
                return Err(StoreError::Unavailable { reason: "the store is closed".into(), maybe_committed: false });
            }
            woken.await;
        }
    }

    fn poll_now(&mut self) -> Result<Vec<Arc<Change>>, StoreError> {
        Ok(self.poll_picked(&mut |_| true)?.unwrap_or_default())
    }

    fn poll_picked(
        &mut self,
        wanted: &mut (dyn FnMut(&Change) -> bool + Send),
    ) -> Result<Option<Vec<Arc<Change>>>, StoreError> {
        let Self { shared, scope, topic, position } = self;
        look(shared, scope, topic.as_deref().unwrap_or(&shared.topics.all), position, wanted)
    }

    fn revision(&self) -> Revision {
        let state = self.shared.state.read();
        let dropped = self.topic().dropped.load(Ordering::Acquire);
        if self.position >= dropped && state.quiet(&self.scope, self.position) { state.revision } else { self.position }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.stats.cursors.fetch_sub(1, Ordering::Relaxed);
        if let (Scope::Collection(id), Some(topic)) = (&self.scope, &self.topic) {
            self.shared.topics.leave(id, topic);
        }
    }
}
