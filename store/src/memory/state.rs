//! Everything the store holds, in memory: present records, the versions that old revisions need, the change log.
//!
//! Pure: no I/O, no waiting. The writer thread applies what has become durable; readers share a lock.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use apimachinery::tenant::TenantId;
use bytes::Bytes;
use parking_lot::RwLock;
use smol_str::SmolStr;

use super::Transaction;
use super::common::Common;
use super::pack::Pack;
use super::table::{Table, Version};
use crate::{Change, CollectionId, Key, Range, RangeQuery, Record, Revision, Scope, StoreError};

/// Changes a cursor is given at once, unless one transaction has more.
const POLL: usize = 1024;
/// What a change costs beside its bytes.
const CHANGE_OVERHEAD: u64 = 192;

/// Changes in the order of their revisions.
type Log = VecDeque<Arc<Change>>;

#[derive(Debug, Default)]
struct Collection {
    table: Table,
    /// The changes that are held. Most collections have none.
    log: Option<Box<Log>>,
    /// The revision of the last change, as far as is known.
    last: Revision,
}

#[derive(Debug, Default)]
struct Tenant {
    /// Sorted by name.
    collections: Vec<(SmolStr, Collection)>,
    /// When something of it was read or written last, in milliseconds since the store was opened.
    used: AtomicU64,
}

impl Tenant {
    /// Whether nothing but the present records is held.
    fn has_no_history(&self) -> bool {
        self.collections.iter().all(|(_, c)| c.log.is_none())
    }

    fn get(&self, name: &str) -> Option<&Collection> {
        self.place(name).ok().map(|i| &self.collections[i].1)
    }

    fn place(&self, name: &str) -> Result<usize, usize> {
        self.collections.binary_search_by(|(n, _)| n.as_str().cmp(name))
    }

    fn get_or_create(&mut self, name: &SmolStr, common: &mut Common) -> (&SmolStr, &mut Collection) {
        let i = match self.place(name) {
            Ok(i) => i,
            Err(i) => {
                if self.collections.len() == self.collections.capacity() {
                    self.collections.reserve_exact((self.collections.len() / 4).max(1));
                }
                self.collections.insert(i, (common.share_name(name), Collection::default()));
                i
            }
        };
        let (name, collection) = &mut self.collections[i];
        (name, collection)
    }
}

/// The records of a tenant that is not among those of a state.
#[derive(Debug)]
pub(crate) struct Tables(Tenant);

impl Tables {
    /// Of present records in order, used at a time.
    pub(crate) fn new(collections: Vec<(SmolStr, Vec<Record>)>, now: u64) -> Self {
        let mut tenant = Tenant { collections: Vec::with_capacity(collections.len()), used: AtomicU64::new(now) };
        for (name, records) in collections {
            let mut held = Collection::default();
            for Record { name, value, revision } in records {
                held.last = held.last.max(revision);
                held.table.put(&name, Version { revision, value: Some(value) });
            }
            tenant.collections.push((name, held));
        }
        Self(tenant)
    }
}

/// How much there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sizes {
    /// Records that exist now.
    pub(crate) records: u64,
    /// Bytes of their names and values.
    pub(crate) bytes: u64,
    /// Changes that are held.
    pub(crate) changes: u64,
    /// About how many bytes they keep.
    pub(crate) change_bytes: u64,
    /// Tenants that are in memory.
    pub(crate) tenants: u64,
    /// Tenants at rest.
    pub(crate) at_rest: u64,
}

/// What the store holds.
#[derive(Debug, Default)]
pub(crate) struct State {
    tenants: HashMap<TenantId, Tenant>,
    /// None of them is among the tenants above.
    at_rest: HashMap<TenantId, Arc<Pack>>,
    log: Log,
    pub(crate) revision: Revision,
    pub(crate) oldest: Revision,
    /// Tenants that were purged, and when. What was before can no longer be read.
    purged: Vec<(TenantId, Revision)>,
    common: Common,
    /// When what is applied is written, in milliseconds since the store was opened.
    pub(crate) now: u64,
    pub(crate) sizes: Sizes,
}

impl State {
    /// An empty state that begins at a revision.
    pub(crate) fn starting_at(revision: Revision) -> Self {
        Self { revision, oldest: revision, ..Self::default() }
    }

    /// Takes a record from a snapshot.
    pub(crate) fn load(&mut self, collection: &CollectionId, name: &SmolStr, revision: Revision, value: Bytes) {
        self.sizes.records += 1;
        self.sizes.bytes += (name.len() + value.len()) as u64;
        let tenant = self.tenants.entry(collection.tenant).or_default();
        let (_, held) = tenant.get_or_create(&collection.name, &mut self.common);
        held.last = held.last.max(revision);
        let (name, value) = self.common.share(name, value);
        held.table.put(&name, Version { revision, value: Some(value) });
        self.count_tenants();
    }

    /// Does what a durable transaction says. Its revision lies behind the present one, and no tenant that it writes to is
    /// at rest.
    pub(crate) fn apply(&mut self, revision: Revision, transaction: &Transaction) {
        self.revision = revision;
        match transaction {
            Transaction::Writes(writes) => {
                for (key, value) in writes {
                    self.apply_write(key, value.clone());
                }
            }
            Transaction::Purge(tenant) => self.apply_purge(*tenant),
        }
        self.count_tenants();
    }

    fn apply_write(&mut self, key: &Key, value: Option<Bytes>) {
        let revision = self.revision;
        debug_assert!(!self.at_rest.contains_key(&key.collection.tenant), "a write to a tenant at rest");
        let tenant = match &value {
            Some(_) => self.tenants.entry(key.collection.tenant).or_default(),
            None => match self.tenants.get_mut(&key.collection.tenant) {
                Some(tenant) if tenant.get(&key.collection.name).is_some() => tenant,
                _ => return,
            },
        };
        *tenant.used.get_mut() = self.now;
        let (collection_name, collection) = tenant.get_or_create(&key.collection.name, &mut self.common);
        let (name, value) = match value {
            Some(value) => {
                let (name, value) = self.common.share(&key.name, value);
                (name, Some(value))
            }
            None => (key.name.clone(), None),
        };
        let (previous, name) = collection.table.put(&name, Version { revision, value: value.clone() });
        if value.is_none() && previous.is_none() {
            return;
        }
        let bytes = |v: Option<&Bytes>| v.map_or(0, |v| (v.len() + name.len()) as u64);
        let (now, before) = (bytes(value.as_ref()), bytes(previous.as_ref().map(|(v, _)| v)));
        self.sizes.records = self.sizes.records + u64::from(value.is_some()) - u64::from(previous.is_some());
        self.sizes.bytes = self.sizes.bytes + now - before;
        let change = Arc::new(Change {
            key: Key {
                collection: CollectionId { tenant: key.collection.tenant, name: collection_name.clone() },
                name,
            },
            revision,
            value,
            previous,
        });
        self.sizes.changes += 1;
        self.sizes.change_bytes += cost(&change);
        collection.last = revision;
        collection.log.get_or_insert_default().push_back(change.clone());
        self.log.push_back(change);
    }

    fn apply_purge(&mut self, id: TenantId) {
        self.purged.push((id, self.revision));
        if let Some(pack) = self.at_rest.remove(&id) {
            self.sizes.records -= pack.records;
            self.sizes.bytes -= pack.bytes;
        }
        let Some(tenant) = self.tenants.remove(&id) else { return };
        for (_, collection) in &tenant.collections {
            for entry in collection.table.from("") {
                if let Some(value) = &entry.head.value {
                    self.sizes.records -= 1;
                    self.sizes.bytes -= (entry.name.len() + value.len()) as u64;
                }
            }
        }
        let sizes = &mut self.sizes;
        self.log.retain(|change| {
            let other = change.key.collection.tenant != id;
            if !other {
                sizes.changes -= 1;
                sizes.change_bytes -= cost(change);
            }
            other
        });
    }

    fn collection(&self, id: &CollectionId) -> Option<&Collection> {
        self.tenants.get(&id.tenant)?.get(&id.name)
    }

    /// The present record of a key.
    pub(crate) fn get(&self, key: &Key) -> Option<Record> {
        let entry = self.collection(&key.collection)?.table.get(&key.name)?;
        let value = entry.head.value.clone()?;
        Some(Record { name: entry.name.clone(), value, revision: entry.head.revision })
    }

    /// The revision of the present record of a key.
    pub(crate) fn revision_of(&self, key: &Key) -> Option<Revision> {
        let head = &self.collection(&key.collection)?.table.get(&key.name)?.head;
        head.value.as_ref().map(|_| head.revision)
    }

    /// How many records a collection holds.
    pub(crate) fn count(&self, id: &CollectionId) -> usize {
        self.collection(id).map_or(0, |c| c.table.live())
    }

    /// The tenants that have anything here, history included.
    pub(crate) fn tenants(&self) -> Vec<TenantId> {
        self.tenants.keys().chain(self.at_rest.keys()).copied().collect()
    }

    /// Whether all of a tenant can be read and written. It is told as used then.
    pub(crate) fn wanted(&self, tenant: TenantId, now: u64) -> bool {
        match self.tenants.get(&tenant) {
            Some(tenant) => {
                // Mostly it was used within this millisecond already.
                if tenant.used.load(Ordering::Relaxed) < now {
                    tenant.used.store(now, Ordering::Relaxed);
                }
                true
            }
            None => !self.at_rest.contains_key(&tenant),
        }
    }

    /// What a tenant at rest has.
    pub(crate) fn resting(&self, tenant: TenantId) -> Option<&Arc<Pack>> {
        self.at_rest.get(&tenant)
    }

    /// The tenants that may be laid to rest when nothing of them was used for `idle` milliseconds, and in how many the next
    /// one may be. The server's own records stay.
    pub(crate) fn cold(&self, now: u64, idle: u64) -> (Vec<TenantId>, Option<u64>) {
        let (mut cold, mut next) = (Vec::new(), None);
        for (id, tenant) in self.tenants.iter().filter(|(id, _)| **id != TenantId::SYSTEM) {
            match (tenant.used.load(Ordering::Relaxed).saturating_add(idle)).saturating_sub(now) {
                0 if tenant.has_no_history() => cold.push(*id),
                // History goes when it does.
                0 => next = Some(0),
                left => next = Some(next.map_or(left, |next: u64| next.min(left))),
            }
        }
        (cold, next)
    }

    /// The collections of a tenant that is cold, and when it was used last.
    pub(crate) fn is_cold(&self, id: TenantId, now: u64, idle: u64) -> Option<(Vec<SmolStr>, u64)> {
        let tenant = self.tenants.get(&id)?;
        let used = tenant.used.load(Ordering::Relaxed);
        let cold = used.saturating_add(idle) <= now && tenant.has_no_history();
        cold.then(|| (tenant.collections.iter().map(|(name, _)| name.clone()).collect(), used))
    }

    /// Whether others have the same record.
    pub(crate) fn is_shared(&self, record: &Record) -> bool {
        self.common.is_shared(&record.name, &record.value)
    }

    /// Puts a pack in place of a tenant's tables, and gives those, unless it was used or written to since `used`.
    pub(crate) fn lay_to_rest(&mut self, id: TenantId, used: u64, pack: Arc<Pack>) -> Option<Tables> {
        let tenant = self.tenants.get(&id)?;
        if tenant.used.load(Ordering::Relaxed) != used || !tenant.has_no_history() {
            return None;
        }
        let tenant = self.tenants.remove(&id)?;
        if self.tenants.len() * 4 < self.tenants.capacity() {
            self.tenants.shrink_to_fit();
        }
        self.at_rest.insert(id, pack);
        self.count_tenants();
        Some(Tables(tenant))
    }

    /// Puts the tables of a tenant in place of its pack, and gives that. `None` if that is not at rest here.
    pub(crate) fn bring_back(&mut self, id: TenantId, pack: &Arc<Pack>, tenant: Tables) -> Option<Arc<Pack>> {
        if !self.at_rest.get(&id).is_some_and(|resting| Arc::ptr_eq(resting, pack)) {
            return None;
        }
        let pack = self.at_rest.remove(&id)?;
        if self.at_rest.len() * 4 < self.at_rest.capacity() {
            self.at_rest.shrink_to_fit();
        }
        self.tenants.insert(id, tenant.0);
        self.count_tenants();
        Some(pack)
    }

    fn count_tenants(&mut self) {
        self.sizes.tenants = self.tenants.len() as u64;
        self.sizes.at_rest = self.at_rest.len() as u64;
    }

    /// Gives up values that no record has any more.
    pub(crate) fn sweep(&mut self) {
        self.common.sweep();
    }

    /// The collections of a tenant, those that only history knows too.
    pub(crate) fn collections(&self, tenant: TenantId) -> impl Iterator<Item = (&SmolStr, usize)> + '_ {
        self.tenants.get(&tenant).into_iter().flat_map(|t| t.collections.iter().map(|(n, c)| (n, c.table.live())))
    }

    /// Records of a collection.
    pub(crate) fn range(&self, id: &CollectionId, query: &RangeQuery) -> Result<Range, StoreError> {
        let at = query.at.unwrap_or(self.revision);
        self.check(Some(id), at)?;
        let mut range = Range { records: Vec::new(), revision: at, remaining: 0 };
        let Some(collection) = self.collection(id) else { return Ok(range) };
        let limit = if query.limit == 0 { usize::MAX } else { query.limit };
        let start = query.start.as_str().max(query.prefix.as_str());
        let mut found = collection
            .table
            .from(start)
            .take_while(|e| e.name.starts_with(query.prefix.as_str()))
            .filter_map(|e| e.at(at).map(|(value, revision)| (&e.name, value, revision)));
        range.records.reserve_exact(limit.min(collection.table.live()).min(4096));
        range.records.extend(found.by_ref().take(limit).map(|(name, value, revision)| Record {
            name: name.clone(),
            value: value.clone(),
            revision,
        }));
        if range.records.len() < limit {
            return Ok(range);
        }
        range.remaining = match found.next() {
            None => 0,
            // What stood then stands now: count by place.
            Some((name, ..)) if collection.last <= at => {
                let end = match successor(&query.prefix) {
                    Some(end) => collection.table.rank(&end),
                    None => collection.table.live(),
                };
                end - collection.table.rank(name)
            }
            Some(_) => 1 + found.count(),
        };
        Ok(range)
    }

    /// Records of a collection from a name on, as they stood at a revision, until they make up `bytes`.
    pub(crate) fn scan(&self, id: &CollectionId, start: &str, at: Revision, bytes: usize) -> Vec<Record> {
        let mut left = bytes;
        let entries = self.collection(id).into_iter().flat_map(|c| c.table.from(start));
        entries
            .filter_map(|e| e.at(at).map(|(value, revision)| (&e.name, value, revision)))
            .map_while(|(name, value, revision)| {
                let room = left > 0;
                left = left.saturating_sub(value.len() + 64);
                room.then(|| Record { name: name.clone(), value: value.clone(), revision })
            })
            .collect()
    }

    /// Hands out the records of a collection at a revision, some at a time: the lock is held for as long as it takes to look
    /// up about so many bytes of them.
    pub(crate) fn in_pieces(
        state: &RwLock<Self>,
        id: &CollectionId,
        at: Revision,
        bytes: usize,
        mut each: impl FnMut(Vec<Record>) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut start = String::new();
        loop {
            let found = state.read().scan(id, &start, at, bytes);
            let Some(last) = found.last() else { return Ok(()) };
            // The next name is this one with the least byte there is behind it.
            start.clear();
            start.push_str(&last.name);
            start.push('\0');
            each(found)?;
        }
    }

    /// Whether a revision can be read or followed from, in one collection or in all.
    pub(crate) fn check(&self, id: Option<&CollectionId>, revision: Revision) -> Result<(), StoreError> {
        if revision > self.revision {
            return Err(StoreError::Future { requested: revision, current: self.revision });
        }
        let purges = self.purged.iter().filter(|(tenant, _)| id.is_some_and(|id| id.tenant == *tenant));
        let oldest = purges.map(|(_, revision)| *revision).fold(self.oldest, Revision::max);
        if revision < oldest {
            return Err(StoreError::Compacted { requested: revision, oldest });
        }
        Ok(())
    }

    /// The changes of a scope behind a position that `wanted` picks of whole transactions, and the position behind those;
    /// `None` if there are no changes.
    pub(crate) fn poll(
        &self,
        scope: &Scope,
        position: Revision,
        wanted: &mut dyn FnMut(&Change) -> bool,
    ) -> (Option<Vec<Arc<Change>>>, Revision) {
        let log = match scope {
            Scope::All => Some(&self.log),
            Scope::Collection(id) => self.collection(id).and_then(|c| c.log.as_deref()),
        };
        let Some(log) = log.filter(|log| log.back().is_some_and(|last| last.revision > position)) else {
            return (None, self.revision);
        };
        let first = log.partition_point(|c| c.revision <= position);
        let mut end = (first + POLL).min(log.len());
        while end < log.len() && log[end].revision == log[end - 1].revision {
            end += 1;
        }
        let position = if end == log.len() { self.revision } else { log[end - 1].revision };
        (Some(log.range(first..end).filter(|c| wanted(c)).cloned().collect()), position)
    }

    /// Whether a scope has no change behind a position.
    pub(crate) fn quiet(&self, scope: &Scope, position: Revision) -> bool {
        match scope {
            Scope::All => self.log.back().is_none_or(|c| c.revision <= position),
            Scope::Collection(id) => self.collection(id).is_none_or(|c| c.last <= position),
        }
    }

    /// Gives up the oldest changes up to a revision, at most `limit` of them, with the versions only they needed.
    /// Gives the collections they were in; `None` when all is done.
    pub(crate) fn trim(&mut self, to: Revision, limit: usize) -> Option<Vec<(CollectionId, Revision)>> {
        // From here on nothing older is promised, though it goes bit by bit.
        self.oldest = self.oldest.max(to);
        self.purged.retain(|(_, revision)| *revision > to);
        let mut touched = Vec::new();
        while touched.len() < limit {
            let Some(change) = pop_until(&mut self.log, to) else { break };
            self.sizes.changes -= 1;
            self.sizes.change_bytes -= cost(&change);
            self.trim_key(&change.key, to);
            touched.push((change.key.collection.clone(), change.revision));
        }
        if touched.is_empty() {
            if self.log.len() * 4 < self.log.capacity() {
                self.log.shrink_to_fit();
            }
            self.common.sweep();
            return None;
        }
        Some(touched)
    }

    fn trim_key(&mut self, key: &Key, to: Revision) {
        let id = key.collection.tenant;
        let Some(tenant) = self.tenants.get_mut(&id) else { return };
        let Ok(i) = tenant.place(&key.collection.name) else { return };
        let collection = &mut tenant.collections[i].1;
        if let Some(log) = &mut collection.log {
            pop_until(log, to);
            if log.is_empty() {
                collection.log = None;
            } else if log.len() * 4 < log.capacity() {
                log.shrink_to_fit();
            }
        }
        collection.table.trim(&key.name, to);
        if collection.table.is_empty() && collection.log.is_none() {
            tenant.collections.remove(i);
            if tenant.collections.is_empty() {
                self.tenants.remove(&id);
                self.count_tenants();
            }
        }
    }

    /// The oldest revision behind which there are at most so many changes and bytes.
    pub(crate) fn bound(&self, changes: u64, bytes: u64) -> Revision {
        let (mut excess, mut excess_bytes) =
            (self.sizes.changes.saturating_sub(changes), self.sizes.change_bytes.saturating_sub(bytes));
        let mut to = self.oldest;
        for change in &self.log {
            if excess == 0 && excess_bytes == 0 {
                break;
            }
            to = change.revision;
            excess = excess.saturating_sub(1);
            excess_bytes = excess_bytes.saturating_sub(cost(change));
        }
        to
    }
}

fn pop_until(log: &mut Log, to: Revision) -> Option<Arc<Change>> {
    log.front().is_some_and(|c| c.revision <= to).then(|| log.pop_front()).flatten()
}

fn cost(change: &Change) -> u64 {
    // The new value is the record's own until it is overwritten; then it is some later change's previous one.
    CHANGE_OVERHEAD + change.previous.as_ref().map_or(0, |(v, _)| v.len()) as u64
}

/// The first string behind all that begin with a prefix. `None` if there is none.
fn successor(prefix: &str) -> Option<String> {
    let mut chars: Vec<char> = prefix.chars().collect();
    while let Some(last) = chars.pop() {
        let next = match last {
            '\u{d7ff}' => Some('\u{e000}'),
            c => char::from_u32(c as u32 + 1),
        };
        if let Some(next) = next {
            chars.push(next);
            return Some(chars.into_iter().collect());
        }
    }
    None
}
