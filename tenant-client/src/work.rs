//! The work of all tenants: fair between them, bounded for each, one look at an object at a time. Controllers and
//! syncer take their work from here.
//!
//! Each tenant has a queue of its own and tenants take turns (round robin, one item a turn: items cost alike, each is
//! a handful of requests). A tenant that floods waits for itself. What is in the queue is only *which* objects to look at; an
//! object that changes ten times while it waits is looked at once.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};
use std::time::Duration;

use apimachinery::tenant::TenantId;
use parking_lot::Mutex;
use smol_str::SmolStr;
use tokio::sync::Notify;
use tokio::time::Instant;

/// What to look at: an object of a room's kind, by its name in the tenant.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Item {
    /// The room.
    pub room: &'static str,
    /// The tenant's namespace; empty for what has none.
    pub namespace: SmolStr,
    /// The name.
    pub name: SmolStr,
}

impl Item {
    /// An item.
    pub fn new(room: &'static str, namespace: &str, name: &str) -> Self {
        Self { room, namespace: namespace.into(), name: name.into() }
    }
}

/// The room whose items are whole tenants: all their objects are looked at.
pub const SCAN: &str = "scan";

/// The queue.
#[derive(Debug)]
pub struct Queue {
    inner: Mutex<Inner>,
    changed: Notify,
    limit: usize,
    in_flight_limit: usize,
}

#[derive(Debug, Default)]
struct Inner {
    tenants: HashMap<TenantId, Tenant>,
    /// Tenants that have something ready and may have more in flight.
    turns: VecDeque<TenantId>,
    delayed: BinaryHeap<Reverse<(Instant, TenantId, Item)>>,
    /// How many items are ready, over all tenants.
    ready: usize,
}

#[derive(Debug, Default)]
struct Tenant {
    ready: VecDeque<(Item, Instant)>,
    waiting: HashSet<Item>,
    running: HashSet<Item>,
    /// Running, and something happened meanwhile.
    again: HashSet<Item>,
    failures: HashMap<Item, u32>,
    /// When each item that is put off is due: it waits once, until the earliest of the times that were asked for.
    later: HashMap<Item, Instant>,
    /// More came than the queue holds: look at everything once there is room.
    overflowed: bool,
    has_turn: bool,
}

impl Queue {
    /// A queue in which each tenant may have `limit` items waiting and `in_flight_limit` running.
    pub fn new(limit: usize, in_flight_limit: usize) -> Self {
        let (limit, in_flight_limit) = (limit.max(1), in_flight_limit.max(1));
        Self { inner: Mutex::default(), changed: Notify::new(), limit, in_flight_limit }
    }

    /// Something happened to an object.
    pub fn add(&self, tenant: TenantId, item: Item) {
        self.inner.lock().add(tenant, item, self.limit, self.in_flight_limit);
        self.changed.notify_one();
    }

    /// Looks at an object later.
    pub fn add_after(&self, tenant: TenantId, item: Item, delay: Duration) {
        self.inner.lock().put_off(tenant, item, Instant::now() + delay);
        self.changed.notify_one();
    }

    /// The next item, in turn, and how long it waited. [`Queue::done`] must follow.
    pub async fn next(&self) -> (TenantId, Item, Duration) {
        loop {
            let due = {
                let mut inner = self.inner.lock();
                inner.promote(self.limit, self.in_flight_limit);
                if let Some((tenant, item, since)) = inner.take(self.in_flight_limit) {
                    return (tenant, item, since.elapsed());
                }
                inner.delayed.peek().map(|Reverse((due, _, _))| *due)
            };
            match due {
                Some(due) => {
                    tokio::select! {
                        () = self.changed.notified() => {}
                        () = tokio::time::sleep_until(due) => {}
                    }
                }
                None => self.changed.notified().await,
            }
        }
    }

    /// An item is finished. `retry` says after which time to try again; each failure in a row doubles it, up to five
    /// minutes. Returns how often in a row it has failed.
    pub fn done(&self, tenant: TenantId, item: &Item, retry: Option<Duration>) -> u32 {
        let mut inner = self.inner.lock();
        let Some(state) = inner.tenants.get_mut(&tenant) else { return 0 };
        state.running.remove(item);
        let again = state.again.remove(item);
        let failures = match retry {
            None => {
                state.failures.remove(item);
                0
            }
            Some(_) => {
                let count = state.failures.entry(item.clone()).or_default();
                *count += 1;
                *count
            }
        };
        if again {
            inner.add(tenant, item.clone(), self.limit, self.in_flight_limit);
        }
        if let Some(retry) = retry {
            let delay = (retry * 2_u32.pow(failures.saturating_sub(1).min(16))).min(Duration::from_secs(300));
            inner.put_off(tenant, item.clone(), Instant::now() + delay);
        }
        inner.give_turn(tenant, self.in_flight_limit);
        if inner.tenants.get(&tenant).is_some_and(Tenant::is_idle) {
            inner.tenants.remove(&tenant);
        }
        drop(inner);
        self.changed.notify_one();
        failures
    }

    /// Forgets a tenant. What runs for it ends by itself.
    pub fn forget(&self, tenant: TenantId) {
        let mut inner = self.inner.lock();
        if let Some(forgotten) = inner.tenants.remove(&tenant) {
            inner.ready -= forgotten.ready.len();
        }
        inner.turns.retain(|t| *t != tenant);
        inner.delayed.retain(|Reverse((_, t, _))| *t != tenant);
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many items wait, over all tenants.
    pub fn len(&self) -> usize {
        self.inner.lock().ready
    }
}

impl Tenant {
    /// Whether there is nothing to keep in mind, so that an idle tenant costs nothing.
    fn is_idle(&self) -> bool {
        self.ready.is_empty()
            && self.running.is_empty()
            && self.failures.is_empty()
            && self.later.is_empty()
            && !self.overflowed
            && !self.has_turn
    }
}

impl Inner {
    fn add(&mut self, tenant: TenantId, item: Item, limit: usize, in_flight_limit: usize) {
        let state = self.tenants.entry(tenant).or_default();
        if state.running.contains(&item) {
            state.again.insert(item);
            return;
        }
        if state.waiting.contains(&item) {
            return;
        }
        if state.ready.len() >= limit {
            state.overflowed = true;
            return;
        }
        state.waiting.insert(item.clone());
        state.ready.push_back((item, Instant::now()));
        self.ready += 1;
        self.give_turn(tenant, in_flight_limit);
    }

    fn put_off(&mut self, tenant: TenantId, item: Item, due: Instant) {
        let later = &mut self.tenants.entry(tenant).or_default().later;
        if later.get(&item).is_none_or(|present| due < *present) {
            later.insert(item.clone(), due);
            self.delayed.push(Reverse((due, tenant, item)));
        }
    }

    fn give_turn(&mut self, tenant: TenantId, in_flight_limit: usize) {
        if let Some(state) = self.tenants.get_mut(&tenant)
            && !state.has_turn
            && !state.ready.is_empty()
            && state.running.len() < in_flight_limit
        {
            state.has_turn = true;
            self.turns.push_back(tenant);
        }
    }

    fn take(&mut self, in_flight_limit: usize) -> Option<(TenantId, Item, Instant)> {
        let tenant = self.turns.pop_front()?;
        let state = self.tenants.get_mut(&tenant)?;
        state.has_turn = false;
        let (item, since) = state.ready.pop_front()?;
        self.ready -= 1;
        state.waiting.remove(&item);
        state.running.insert(item.clone());
        if state.overflowed && state.ready.is_empty() {
            state.overflowed = false;
            let scan = Item::new(SCAN, "", "");
            state.waiting.insert(scan.clone());
            state.ready.push_back((scan, Instant::now()));
            self.ready += 1;
        }
        self.give_turn(tenant, in_flight_limit);
        Some((tenant, item, since))
    }

    fn promote(&mut self, limit: usize, in_flight_limit: usize) {
        let now = Instant::now();
        while self.delayed.peek().is_some_and(|Reverse((due, _, _))| *due <= now) {
            let Some(Reverse((due, tenant, item))) = self.delayed.pop() else { return };
            // A tenant that was forgotten meanwhile stays forgotten.
            let Some(state) = self.tenants.get_mut(&tenant) else { continue };
            if state.later.get(&item) == Some(&due) {
                state.later.remove(&item);
                self.add(tenant, item, limit, in_flight_limit);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: TenantId = TenantId::from_bytes([1; 16]);
    const B: TenantId = TenantId::from_bytes([2; 16]);

    fn item(name: &str) -> Item {
        Item::new("pods", "default", name)
    }

    #[tokio::test]
    async fn a_flood_of_one_tenant_does_not_hold_up_another() {
        let queue = Queue::new(1000, 4);
        for i in 0..500 {
            queue.add(A, item(&i.to_string()));
        }
        queue.add(B, item("b"));
        let mut order = Vec::new();
        for _ in 0..3 {
            let (tenant, item, _) = queue.next().await;
            queue.done(tenant, &item, None);
            order.push(tenant);
        }
        assert!(order.contains(&B), "{order:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_tenant_has_no_more_in_flight_than_its_share() {
        let queue = Queue::new(1000, 2);
        for i in 0..5 {
            queue.add(A, item(&i.to_string()));
        }
        let (_, first, _) = queue.next().await;
        let _second = queue.next().await;
        assert!(tokio::time::timeout(Duration::from_secs(1), queue.next()).await.is_err());
        queue.done(A, &first, None);
        queue.next().await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_object_is_looked_at_by_one_at_a_time_and_again_if_it_changed_meanwhile() {
        let queue = Queue::new(1000, 8);
        queue.add(A, item("x"));
        queue.add(A, item("x"));
        let (_, x, _) = queue.next().await;
        queue.add(A, item("x"));
        assert!(tokio::time::timeout(Duration::from_secs(1), queue.next()).await.is_err());
        queue.done(A, &x, None);
        let (_, again, _) = queue.next().await;
        queue.done(A, &again, None);
        assert!(tokio::time::timeout(Duration::from_secs(1), queue.next()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn failures_wait_longer_each_time() {
        let queue = Queue::new(1000, 8);
        queue.add(A, item("x"));
        let mut waits = Vec::new();
        for _ in 0..4 {
            let start = Instant::now();
            let (_, x, _) = queue.next().await;
            waits.push(start.elapsed().as_secs());
            queue.done(A, &x, Some(Duration::from_secs(1)));
        }
        assert_eq!(waits, [0, 1, 2, 4]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_tenant_for_which_nothing_is_to_be_done_costs_nothing() {
        let queue = Queue::new(10, 8);
        queue.add(A, item("x"));
        queue.add_after(A, item("y"), Duration::from_secs(1));
        for _ in 0..2 {
            assert_eq!(queue.inner.lock().tenants.len(), 1);
            let (_, x, _) = queue.next().await;
            queue.done(A, &x, None);
        }
        assert_eq!(queue.inner.lock().tenants.len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_put_off_twice_comes_once_at_the_earlier_time() {
        let queue = Queue::new(10, 8);
        for seconds in [3, 1, 2] {
            queue.add_after(A, item("x"), Duration::from_secs(seconds));
        }
        let start = Instant::now();
        let (_, x, _) = queue.next().await;
        assert_eq!(start.elapsed().as_secs(), 1);
        queue.done(A, &x, None);
        assert!(tokio::time::timeout(Duration::from_secs(5), queue.next()).await.is_err());
    }

    #[tokio::test]
    async fn what_does_not_fit_is_made_up_for_by_a_scan() {
        let queue = Queue::new(2, 8);
        for i in 0..5 {
            queue.add(A, item(&i.to_string()));
        }
        let mut rooms = Vec::new();
        for _ in 0..3 {
            let (tenant, item, _) = queue.next().await;
            rooms.push(item.room);
            queue.done(tenant, &item, None);
        }
        assert_eq!(rooms, ["pods", "pods", SCAN]);
        assert_eq!(queue.len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_tenant_that_is_forgotten_has_no_more_work() {
        let queue = Queue::new(10, 8);
        queue.add(A, item("x"));
        queue.add_after(A, item("y"), Duration::from_secs(1));
        queue.forget(A);
        assert!(tokio::time::timeout(Duration::from_secs(5), queue.next()).await.is_err());
    }
}
