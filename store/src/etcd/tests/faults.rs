//! Stores while etcd is killed, cut off, compacted behind their backs, set back, or loses members.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;

use super::server::{Cluster, LIMIT, Line, fresh};
use crate::etcd::proto::{self, CompactionRequest, CompactionResponse};
use crate::etcd::{Etcd, EtcdOptions};
use crate::suite::{collection, delete, eventually, put};
use crate::{RangeQuery, Revision, Scope, Store, StoreError};

/// What a writer did with its key: the values 0, 1, 2 and so on, one after the other.
struct Written {
    name: String,
    acknowledged: Vec<(u64, Revision)>,
    /// Values of which nobody knows whether they were put.
    unknown: Vec<u64>,
}

/// Writers on a few keys until they are stopped. Each goes on only when it knows what became of its write, or that it
/// cannot know.
struct Load {
    stop: Arc<AtomicBool>,
    writers: JoinSet<Written>,
}

impl Load {
    fn start(stores: &[Arc<Etcd>]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut writers = JoinSet::new();
        for i in 0..6 {
            let (store, stop) = (stores[i % stores.len()].clone(), stop.clone());
            writers.spawn(async move {
                let mut written = Written { name: format!("n/{i}"), acknowledged: vec![], unknown: vec![] };
                for value in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    match store.commit(vec![put(&collection(1, "pods"), &written.name, &value.to_string())]).await {
                        Ok(revision) => written.acknowledged.push((value, revision)),
                        Err(StoreError::Unavailable { maybe_committed, .. }) => {
                            if maybe_committed {
                                written.unknown.push(value);
                            }
                            tokio::time::sleep(Duration::from_millis(20)).await;
                        }
                        Err(e) => panic!("{e}"),
                    }
                }
                written
            });
        }
        Self { stop, writers }
    }

    async fn end(self) -> Vec<Written> {
        self.stop.store(true, Ordering::Relaxed);
        self.writers.join_all().await
    }
}

/// Follows everything from a revision on, and holds the changes against what writers know.
async fn judge(store: &Etcd, from: Revision, all: &[Written]) {
    let last = all.iter().flat_map(|w| &w.acknowledged).map(|(_, r)| *r).max().unwrap();
    let mut cursor = store.follow(Scope::Collection(collection(1, "pods")), from).unwrap();
    let mut seen: BTreeMap<String, Vec<(u64, Revision)>> = BTreeMap::new();
    let mut before = from;
    while cursor.revision() < last || before < last {
        for change in timeout(LIMIT, cursor.next()).await.unwrap().unwrap() {
            assert!(change.revision > before, "{} after {before}", change.revision);
            before = change.revision;
            let value = std::str::from_utf8(change.value.as_ref().unwrap()).unwrap().parse().unwrap();
            seen.entry(change.key.name.to_string()).or_default().push((value, change.revision));
        }
    }
    for written in all {
        let seen = &seen[&written.name];
        assert!(seen.is_sorted_by(|a, b| a.0 < b.0), "{}: {seen:?}", written.name);
        for acknowledged in &written.acknowledged {
            assert!(seen.contains(acknowledged), "{}: {acknowledged:?} is lost", written.name);
        }
        let known =
            |value: &u64| written.unknown.contains(value) || written.acknowledged.iter().any(|(v, _)| v == value);
        assert!(seen.iter().all(|(value, _)| known(value)), "{}: {seen:?}", written.name);
        let record = store.get(&put(&collection(1, "pods"), &written.name, "").key).await.unwrap().unwrap();
        assert_eq!(record.revision, seen.last().unwrap().1);
    }
}

/// A cursor that is open all the while, and what it saw.
fn watch(store: &Arc<Etcd>, to: Arc<AtomicBool>) -> tokio::task::JoinHandle<Vec<Revision>> {
    let mut cursor = store.follow(Scope::All, store.revision()).unwrap();
    tokio::spawn(async move {
        let mut seen = Vec::new();
        loop {
            match timeout(Duration::from_millis(500), cursor.next()).await {
                Ok(changes) => seen.extend(changes.unwrap().iter().map(|c| c.revision)),
                Err(_) if to.load(Ordering::Relaxed) => return seen,
                Err(_) => {}
            }
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs etcd: e2e/test runs it"]
async fn nothing_is_lost_when_etcd_is_killed() {
    let (store, mut cluster) = fresh().await;
    let from = store.revision();
    let ended = Arc::new(AtomicBool::new(false));
    let open = watch(&store, ended.clone());
    let load = Load::start(std::slice::from_ref(&store));
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(400)).await;
        cluster.members[0].kill();
        eventually(|| store.health().is_err()).await;
        assert!(!store.is_lost(), "it may come back");
        cluster.members[0].run();
        timeout(LIMIT, eventually_healthy(&store)).await.unwrap();
    }
    let written = load.end().await;
    assert!(written.iter().all(|w| w.acknowledged.len() > 4), "nothing was written");
    judge(&store, from, &written).await;
    ended.store(true, Ordering::Relaxed);
    let seen = open.await.unwrap();
    let acknowledged = written.iter().flat_map(|w| &w.acknowledged).map(|(_, r)| *r);
    assert!(seen.is_sorted_by(|a, b| a < b));
    for revision in acknowledged {
        assert!(seen.binary_search(&revision).is_ok());
    }
    judge(&cluster.open().await, from, &written).await;
}

async fn eventually_healthy(store: &Etcd) {
    while store.health().is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs etcd: e2e/test runs it"]
async fn a_cluster_loses_its_members_one_after_the_other() {
    let mut cluster = Cluster::start(3);
    let stores = [Arc::new(cluster.open().await), Arc::new(cluster.open().await)];
    let from = stores[0].revision();
    let load = Load::start(&stores);
    // One of them leads.
    for i in [0, 1, 2, 0] {
        tokio::time::sleep(Duration::from_millis(1000)).await;
        cluster.members[i].kill();
        // Two of three take writes.
        let revision = timeout(LIMIT, write(&stores[0])).await.unwrap();
        let key = put(&collection(2, "pods"), "a/x", "").key;
        let read = async {
            loop {
                if let Ok(found) = stores[1].get(&key).await {
                    return found;
                }
            }
        };
        assert_eq!(timeout(LIMIT, read).await.unwrap().unwrap().revision, revision);
        cluster.members[i].run();
        timeout(LIMIT, write(&stores[1])).await.unwrap();
    }
    let written = load.end().await;
    for store in &stores {
        judge(store, from, &written).await;
    }
    // Without a majority nothing is acknowledged, nothing is read, and that is told.
    cluster.members[1].kill();
    cluster.members[2].kill();
    let refused = stores[0].commit(vec![put(&collection(2, "pods"), "a/x", "")]).await;
    assert!(matches!(refused, Err(StoreError::Unavailable { .. })));
    let refused = stores[0].get(&put(&collection(2, "pods"), "a/x", "").key).await;
    assert!(matches!(refused, Err(StoreError::Unavailable { maybe_committed: false, .. })));
}

/// One write that is acknowledged.
async fn write(store: &Etcd) -> Revision {
    loop {
        match store.commit(vec![put(&collection(2, "pods"), "a/x", "")]).await {
            Ok(revision) => return revision,
            Err(StoreError::Unavailable { .. }) => tokio::time::sleep(Duration::from_millis(50)).await,
            Err(e) => panic!("{e}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs etcd: e2e/test runs it"]
async fn what_was_compacted_while_it_was_cut_off_is_told_and_read_anew() {
    let (direct, cluster) = fresh().await;
    let mut line = Line::to(cluster.members[0].client).await;
    let endpoints = vec![format!("https://127.0.0.1:{}", line.port)];
    let far = cluster.open_with(EtcdOptions { endpoints, ..cluster.options() }).await;
    let pods = collection(1, "pods");
    for name in ["a/x", "a/y", "a/z"] {
        direct.commit(vec![put(&pods, name, "1")]).await.unwrap();
    }
    assert_eq!(far.count(&pods).await.unwrap(), 3);
    let mut cursor = far.follow(Scope::Collection(pods.clone()), far.revision()).unwrap();

    // Cut off, but nothing is compacted: the cursor goes on.
    line.cut().await;
    eventually(|| far.health().is_err()).await;
    let missed = direct.commit(vec![put(&pods, "a/x", "2")]).await.unwrap();
    line.mend().await;
    assert_eq!(timeout(LIMIT, cursor.next()).await.unwrap().unwrap()[0].revision, missed);

    line.cut().await;
    eventually(|| far.health().is_err()).await;
    direct.commit(vec![delete(&pods, "a/y")]).await.unwrap();
    direct.commit(vec![put(&pods, "a/x", "3")]).await.unwrap();
    let revision = direct.commit(vec![put(&pods, "b/x", "4")]).await.unwrap();
    let _: CompactionResponse = direct.core.client.call(proto::COMPACT, CompactionRequest { revision }).await.unwrap();
    let last = direct.commit(vec![put(&pods, "b/x", "5")]).await.unwrap();
    line.mend().await;
    let ended = timeout(LIMIT, cursor.next()).await.unwrap();
    assert!(matches!(ended, Err(StoreError::Compacted { oldest, .. }) if oldest == revision));
    timeout(LIMIT, eventually_healthy(&far)).await.unwrap();
    let (here, there) =
        (far.range(&pods, RangeQuery::default()).await, direct.range(&pods, RangeQuery::default()).await);
    assert_eq!(here.unwrap().records, there.unwrap().records);
    let mut again = far.follow(Scope::Collection(pods.clone()), revision).unwrap();
    assert_eq!(timeout(LIMIT, again.next()).await.unwrap().unwrap()[0].revision, last);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs etcd: e2e/test runs it"]
async fn a_cluster_that_went_back_is_not_used() {
    let (store, mut cluster) = fresh().await;
    let pods = collection(1, "pods");
    for i in 0..20 {
        store.commit(vec![put(&pods, "a/x", &i.to_string())]).await.unwrap();
    }
    let mut cursor = store.follow(Scope::Collection(pods.clone()), store.revision()).unwrap();
    let member = &mut cluster.members[0];
    member.kill();
    std::fs::remove_dir_all(&member.data).unwrap();
    member.run();
    let ended = timeout(LIMIT, cursor.next()).await.unwrap();
    assert!(matches!(ended, Err(StoreError::Unavailable { .. })));
    let Err(StoreError::Unavailable { reason, maybe_committed: false }) = store.health() else { panic!("healthy") };
    assert!(reason.contains("went back from revision 21 to 1"), "{reason}");
    assert!(store.is_lost());
    let refused = store.commit(vec![put(&pods, "a/x", "")]).await;
    assert!(matches!(refused, Err(StoreError::Unavailable { maybe_committed: false, .. })));
}
