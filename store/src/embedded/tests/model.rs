//! Random histories against a model, on a disk that loses, tears, reorders, fills up and fails.

use bytes::Bytes;
use std::collections::BTreeMap;

use futures::future::join_all;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::disk::{Fault, SimDisk};
use crate::embedded::*;
use crate::suite::{collection, put};
use crate::{Change, Precondition};

type Records = BTreeMap<Key, (Bytes, Revision)>;

#[derive(Clone, Debug, PartialEq)]
struct Step {
    key: Key,
    revision: Revision,
    value: Option<Bytes>,
    previous: Option<(Bytes, Revision)>,
}

impl From<&Change> for Step {
    fn from(c: &Change) -> Self {
        Self { key: c.key.clone(), revision: c.revision, value: c.value.clone(), previous: c.previous.clone() }
    }
}

#[derive(Clone, Debug)]
enum Op {
    Commit(Vec<Write>),
    Purge(TenantId),
}

impl Op {
    fn tenants(&self) -> impl Iterator<Item = TenantId> + '_ {
        let (writes, purged) = match self {
            Self::Commit(writes) => (&writes[..], None),
            Self::Purge(tenant) => (&[][..], Some(*tenant)),
        };
        writes.iter().map(|write| write.key.collection.tenant).chain(purged)
    }
}

/// What a store must hold.
#[derive(Default)]
struct Model {
    revision: Revision,
    compacted: Revision,
    states: BTreeMap<Revision, Records>,
    steps: Vec<Step>,
    purged: BTreeMap<TenantId, Revision>,
}

impl Model {
    fn now(&self) -> Records {
        self.states.get(&self.revision).cloned().unwrap_or_default()
    }

    /// Which precondition does not hold, and what stands there.
    fn refuses(&self, writes: &[Write]) -> Option<(usize, Option<(Bytes, Revision)>)> {
        let now = self.now();
        writes.iter().enumerate().find_map(|(i, write)| {
            let current = now.get(&write.key).cloned();
            let holds = match write.require {
                Precondition::None => true,
                Precondition::Absent => current.is_none(),
                Precondition::Revision(r) => current.as_ref().is_some_and(|(_, is)| *is == r),
            };
            (!holds).then_some((i, current))
        })
    }

    fn apply(&mut self, op: &Op) {
        let mut now = self.now();
        self.revision += 1;
        let revision = self.revision;
        match op {
            Op::Commit(writes) => {
                for Write { key, value, .. } in writes {
                    let previous = match value {
                        Some(value) => now.insert(key.clone(), (value.clone(), revision)),
                        None => now.remove(key),
                    };
                    if value.is_some() || previous.is_some() {
                        self.steps.push(Step { key: key.clone(), revision, value: value.clone(), previous });
                    }
                }
            }
            Op::Purge(tenant) => {
                now.retain(|key, _| key.collection.tenant != *tenant);
                self.steps.retain(|step| step.key.collection.tenant != *tenant);
                self.purged.insert(*tenant, revision);
            }
        }
        self.states.insert(revision, now);
    }

    fn behind(&self, scope: &Scope, from: Revision, to: Revision) -> Vec<Step> {
        let within = |s: &&Step| match scope {
            Scope::All => true,
            Scope::Collection(id) => s.key.collection == *id,
        };
        self.steps.iter().filter(|s| s.revision > from && s.revision <= to).filter(within).cloned().collect()
    }
}

struct Run {
    rng: StdRng,
    disk: SimDisk,
    model: Model,
    /// Readers that go on where they were, whatever happens to the store.
    readers: Vec<(Scope, Revision)>,
    /// What may be durable though it was not acknowledged: all of it or none.
    unknown: Vec<Op>,
    crashes: usize,
    /// Where tenants at rest lie, and how many of them the packed size sends there.
    folder: tempfile::TempDir,
    rest_bytes: usize,
    rested: usize,
    /// Whether few records are written in small segments that are soon replaced by a snapshot, and used again.
    churns: bool,
}

fn collections() -> Vec<CollectionId> {
    (1..4).flat_map(|t| ["pods", "apps/deployments"].map(|name| collection(t, name))).collect()
}

impl Run {
    fn new(seed: u64) -> Self {
        let scopes = std::iter::once(Scope::All).chain(collections().into_iter().map(Scope::Collection));
        Self {
            rng: StdRng::seed_from_u64(seed),
            disk: SimDisk::default(),
            model: Model::default(),
            readers: scopes.map(|scope| (scope, 0)).collect(),
            unknown: Vec::new(),
            crashes: 0,
            folder: tempfile::tempdir().unwrap(),
            rest_bytes: [0, 500, usize::MAX][seed as usize % 3],
            rested: 0,
            churns: seed % 2 == 1,
        }
    }

    fn open(&mut self) -> Embedded {
        loop {
            let swap = Swap::new(self.folder.path().join("rest.tmp"));
            let (segment, checkpoint_bytes) = if self.churns { (1024, 500) } else { (4096, 2000) };
            let options = Options { checkpoint_bytes, rest_bytes: self.rest_bytes };
            match Embedded::on_disk(Arc::new(self.disk.clone()), segment, Some(swap), options) {
                Ok(store) => return store,
                Err(OpenError::Io { .. }) if self.disk.failing() => self.disk.recover(&mut self.rng),
                Err(e) => panic!("{e}"),
            }
        }
    }

    async fn live(&mut self, steps: usize) {
        let store = self.open();
        self.adopt(&store);
        self.check(&store).await;
        if self.rng.random_bool(0.8) {
            let fault = [Fault::Power, Fault::Power, Fault::Full, Fault::Sync][self.rng.random_range(0..4)];
            self.disk.fault_after(self.rng.random_range(0..300), fault);
        }
        for _ in 0..steps {
            let running = match self.rng.random_range(0..20) {
                0 => self.compact(&store).await,
                19 if self.churns => self.compact(&store).await,
                1 => self.rest(&store).await,
                2..=4 => self.read(&store).await,
                _ => self.write(&store).await,
            };
            if !running {
                self.crashes += 1;
                break;
            }
        }
        if self.rng.random_bool(0.5) {
            store.close().await;
        }
        drop(store);
        self.disk.recover(&mut self.rng);
    }

    /// After opening: what was acknowledged is there; of what was not, the last batch as a whole or nothing.
    fn adopt(&mut self, store: &Embedded) {
        let extra = store.revision().checked_sub(self.model.revision).expect("acknowledged writes are lost");
        assert!(extra == 0 || extra as usize == self.unknown.len(), "{extra} of {}", self.unknown.len());
        for op in std::mem::take(&mut self.unknown) {
            if extra > 0 {
                self.model.apply(&op);
            }
        }
    }

    async fn check(&mut self, store: &Embedded) {
        assert_eq!(store.revision(), self.model.revision);
        let oldest = store.oldest();
        assert!(oldest <= self.model.compacted);
        self.model.compacted = oldest;
        let mut cursor = store.follow(Scope::All, oldest).unwrap();
        let mut seen = Vec::new();
        loop {
            let changes = cursor.poll_now().unwrap();
            if changes.is_empty() {
                break;
            }
            seen.extend(changes.iter().map(|c| Step::from(&**c)));
        }
        assert_eq!(seen, self.model.behind(&Scope::All, oldest, Revision::MAX));
        assert_eq!(cursor.revision(), store.revision());
        for at in [oldest, self.rng.random_range(oldest..=store.revision()), store.revision()] {
            self.check_state(store, at).await;
        }
        let records = self.model.now();
        let sizes = store.shared.state.read().sizes;
        let bytes: usize = records.iter().map(|(key, (value, _))| key.name.len() + value.len()).sum();
        assert_eq!((sizes.records, sizes.bytes), (records.len() as u64, bytes as u64));
        assert_eq!(sizes.changes, seen.len() as u64);
    }

    async fn check_state(&mut self, store: &Embedded, at: Revision) {
        let empty = Records::new();
        let then = self.model.states.get(&at).unwrap_or(&empty);
        for id in collections() {
            let limit = self.rng.random_range(0..4);
            let query = RangeQuery { at: Some(at), limit, ..RangeQuery::default() };
            let purged = self.model.purged.get(&id.tenant).copied().unwrap_or(0);
            let range = match store.range(&id, query).await {
                Err(StoreError::Compacted { .. }) if at < purged => continue,
                other => other.unwrap(),
            };
            assert!(at >= purged);
            let want: Vec<_> = then.iter().filter(|(key, _)| key.collection == id).collect();
            assert_eq!(range.records.len() + range.remaining, want.len());
            assert_eq!(range.records.len(), if limit == 0 { want.len() } else { want.len().min(limit) });
            for (record, (key, (value, revision))) in range.records.iter().zip(want) {
                assert_eq!((&record.name, &record.value, record.revision), (&key.name, value, *revision), "at {at}");
            }
        }
    }

    async fn write(&mut self, store: &Embedded) -> bool {
        let ops: Vec<Op> = (0..self.rng.random_range(1..8)).map(|_| self.op()).collect();
        let run = |op: &Op| {
            let op = op.clone();
            async move {
                match op {
                    Op::Commit(writes) => store.commit(writes).await,
                    // Its revision is not told.
                    Op::Purge(tenant) => store.purge(tenant).await.map(|()| 0),
                }
            }
        };
        let mut answers = Vec::new();
        if ops.iter().any(|op| op.tenants().any(|tenant| store.at_rest(tenant))) {
            // Whoever comes back from the file is overtaken by others, so that their order is not known.
            for op in &ops {
                answers.push(run(op).await);
            }
        } else {
            answers = join_all(ops.iter().map(run)).await;
        }
        let mut running = true;
        for (op, answer) in ops.iter().zip(answers) {
            match (op, answer) {
                (op, Ok(revision)) => {
                    if let Op::Commit(writes) = op {
                        assert_eq!(self.model.refuses(writes), None);
                        assert_eq!(revision, self.model.revision + 1);
                    }
                    self.model.apply(op);
                }
                (Op::Commit(writes), Err(StoreError::Conflict { index, current })) => {
                    let current = current.map(|record| (record.value, record.revision));
                    assert_eq!(self.model.refuses(writes), Some((index, current)));
                }
                (_, Err(StoreError::Unavailable { maybe_committed, .. })) => {
                    assert!(self.disk.failing());
                    assert!(store.health().is_err(), "a store that refuses writes says so");
                    running = false;
                    if maybe_committed {
                        self.unknown.push(op.clone());
                    }
                }
                (_, Err(e)) => panic!("{e}"),
            }
        }
        running
    }

    fn op(&mut self) -> Op {
        if self.rng.random_bool(0.01) {
            return Op::Purge(TenantId::from_bytes([self.rng.random_range(1..4); 16]));
        }
        let now = self.model.now();
        let mut ids = collections();
        let count = [1, 1, 1, 2, 3][self.rng.random_range(0..5)];
        let writes = (0..count).map(|_| {
            let id = ids.swap_remove(self.rng.random_range(0..ids.len()));
            let name = format!("n/{}", self.rng.random_range(0..if self.churns { 1 } else { 6 }));
            let length = [0, 5, 60, 900][self.rng.random_range(0..4)];
            let value: String = (0..length).map(|_| self.rng.random_range('a'..='z')).collect();
            let mut write = put(&id, &name, &value);
            if self.rng.random_bool(0.3) {
                write.value = None;
            }
            let current = now.get(&write.key).map(|(_, revision)| *revision);
            write.require = match (self.rng.random_range(0..10), current) {
                (0..5, _) => Precondition::None,
                (5..9, Some(revision)) => Precondition::Revision(revision),
                _ => Precondition::Absent,
            };
            write
        });
        Op::Commit(writes.collect())
    }

    /// All history goes, and with it from memory who wants to.
    async fn rest(&mut self, store: &Embedded) -> bool {
        let running = self.compact_to(store, store.revision()).await;
        let rested = store.rest(Duration::ZERO).await.tenants;
        let mut tenants: Vec<_> = self.model.now().into_keys().map(|key| key.collection.tenant).collect();
        tenants.dedup();
        assert!(rested.iter().all(|tenant| tenants.contains(tenant) && store.at_rest(*tenant)));
        self.rested += rested.len();
        running
    }

    async fn compact(&mut self, store: &Embedded) -> bool {
        let least = if self.churns { store.revision().saturating_sub(3).max(store.oldest()) } else { store.oldest() };
        let to = self.rng.random_range(least..=store.revision());
        self.compact_to(store, to).await
    }

    async fn compact_to(&mut self, store: &Embedded, to: Revision) -> bool {
        self.model.compacted = self.model.compacted.max(to);
        match store.compact(to).await {
            Ok(()) => {
                assert_eq!(store.oldest(), to);
                true
            }
            Err(StoreError::Unavailable { .. }) => {
                assert!(self.disk.failing());
                false
            }
            Err(e) => panic!("{e}"),
        }
    }

    /// Some readers go on.
    async fn read(&mut self, store: &Embedded) -> bool {
        let at = self.rng.random_range(store.oldest()..=store.revision());
        self.check_state(store, at).await;
        for (scope, position) in &mut self.readers {
            if self.rng.random_bool(0.5) {
                continue;
            }
            let purged = match scope {
                Scope::All => 0,
                Scope::Collection(id) => self.model.purged.get(&id.tenant).copied().unwrap_or(0),
            };
            let from = *position;
            let mut cursor = match store.follow(scope.clone(), from) {
                Ok(cursor) => cursor,
                Err(StoreError::Compacted { .. }) => {
                    assert!(from < store.oldest() || from < purged);
                    *position = store.revision();
                    continue;
                }
                Err(e) => panic!("{e}"),
            };
            let seen = cursor.poll_now().unwrap();
            *position = cursor.revision();
            let seen: Vec<_> = seen.iter().map(|c| Step::from(&**c)).collect();
            assert_eq!(seen, self.model.behind(scope, from, *position));
        }
        true
    }
}

async fn run(seed: u64, lives: usize, steps: usize) -> Run {
    let mut run = Run::new(seed);
    for _ in 0..lives {
        run.live(steps).await;
    }
    run
}

/// `STORE_SEEDS` runs more of them, `STORE_SEED` one.
#[tokio::test]
async fn random_histories_survive_crashes_and_failing_disks() {
    let number = |name| std::env::var(name).ok().and_then(|s| s.parse().ok());
    let first = number("STORE_SEED");
    let (mut crashes, mut revisions, mut rested, mut reused) = (0, 0, 0, 0);
    for seed in first.unwrap_or(0)..first.map_or(number("STORE_SEEDS").unwrap_or(12), |s| s + 1) {
        println!("seed {seed}");
        let done = run(seed, 12, 60).await;
        crashes += done.crashes;
        revisions += done.model.revision;
        rested += done.rested;
        reused += done.disk.reused();
    }
    println!("{crashes} crashes, {revisions} revisions, {rested} times at rest, {reused} segments used again");
    let enough = crashes > 30 && revisions > 1000 && rested > 100 && reused > 30;
    assert!(first.is_some() || enough);
}

/// A bit that turns is found, or what it hit was never acknowledged: the state is one that was there, and the newest
/// unless the store was not closed.
#[tokio::test]
async fn damaged_bytes_are_found() {
    let mut rng = StdRng::seed_from_u64(1);
    let disk = SimDisk::default();
    let open = |disk: &SimDisk| {
        Embedded::on_disk(Arc::new(disk.clone()), 4096, None, Options { checkpoint_bytes: 2000, ..Options::default() })
    };
    let store = open(&disk).unwrap();
    let id = collection(1, "pods");
    let mut states = vec![Vec::new()];
    for i in 0..60 {
        store.commit(vec![put(&id, &format!("n/{}", i % 7), &i.to_string().repeat(40))]).await.unwrap();
        states.push(store.range(&id, RangeQuery::default()).await.unwrap().records);
        if i == 30 {
            store.compact(20).await.unwrap();
        }
    }
    store.close().await;
    drop(store);
    let mut found = 0;
    for _ in 0..400 {
        let hurt = disk.fork();
        let names = hurt.list().unwrap();
        let name = &names[rng.random_range(0..names.len())];
        hurt.edit(name, |bytes| {
            let bit = rng.random_range(0..bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
        });
        match open(&hurt) {
            Err(OpenError::Corrupt { file, .. }) => {
                assert_eq!(file, *name);
                found += 1;
            }
            Err(e) => panic!("{e}"),
            Ok(store) => {
                assert_eq!(store.range(&id, RangeQuery::default()).await.unwrap().records, states[60]);
            }
        }
    }
    assert!(found > 100);
}

/// A tail that is missing costs what was in it and nothing before.
#[tokio::test]
async fn a_log_that_was_cut_off_opens_with_what_is_whole() {
    let disk = SimDisk::default();
    let open = |disk: &SimDisk| Embedded::on_disk(Arc::new(disk.clone()), 1 << 16, None, Options::default());
    let store = open(&disk).unwrap();
    let id = collection(1, "pods");
    let mut ends = vec![16];
    for i in 0..20 {
        store.commit(vec![put(&id, "x", &i.to_string().repeat(30))]).await.unwrap();
        ends.push(16 + store.stats().written.load(Ordering::Relaxed) as usize);
    }
    drop(store);
    let log = disk.list().unwrap().remove(0);
    for cut in (0..ends[20]).step_by(37) {
        let hurt = disk.fork();
        hurt.edit(&log, |bytes| bytes.truncate(cut));
        let whole = ends.iter().filter(|end| **end <= cut).count().max(1) - 1;
        if (1..16).contains(&cut) {
            assert!(matches!(open(&hurt), Err(OpenError::Corrupt { .. })));
            continue;
        }
        let store = open(&hurt).unwrap();
        assert_eq!(store.revision(), whole as u64, "cut at {cut}");
        assert_eq!(store.commit(vec![put(&id, "x", "")]).await.unwrap(), whole as u64 + 1);
    }
}

/// Overwriting the same records for ever takes bounded room.
#[tokio::test]
async fn files_shrink_with_compaction() {
    let disk = SimDisk::default();
    let store = Embedded::on_disk(
        Arc::new(disk.clone()),
        1 << 16,
        None,
        Options { checkpoint_bytes: 1 << 16, ..Options::default() },
    )
    .unwrap();
    let id = collection(1, "pods");
    let value = "x".repeat(1000);
    for i in 0..3000 {
        let last = store.commit(vec![put(&id, &format!("n/{}", i % 10), &value)]).await.unwrap();
        if i % 100 == 99 {
            store.compact(last).await.unwrap();
        }
    }
    assert!(disk.size() < 500_000, "{} bytes for 10 records of 1000", disk.size());
    assert!(store.stats().checkpoints.load(Ordering::Relaxed) > 2);
    drop(store);
    let store = Embedded::on_disk(Arc::new(disk), 1 << 16, None, Options::default()).unwrap();
    assert_eq!((store.count(&id).await.unwrap(), store.revision()), (10, 3000));
}
