//! The suite, and what only etcd can do to a store. They start etcd: `make test` runs them with the end-to-end tests.

mod faults;
mod server;

use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use self::server::{Cluster, fresh};
use crate::etcd::{Etcd, EtcdError, EtcdOptions};
use crate::suite::{backup, collection, put, restore_tenant, suite};
use crate::{Precondition, RangeQuery, Scope, Store, StoreError, Write};

mod the_suite {
    use super::*;

    suite!([ignore = "needs etcd: e2e/test runs it"] fresh().await);
}

#[tokio::test]
#[ignore = "needs etcd: e2e/test runs it"]
async fn history_is_there_after_opening_again() {
    let (store, cluster) = fresh().await;
    let pods = collection(1, "pods");
    let first = store.commit(vec![put(&pods, "a/x", "1")]).await.unwrap();
    store.compact(first).await.unwrap();
    let second = store.commit(vec![put(&pods, "a/x", "2")]).await.unwrap();
    let third = store.commit(vec![put(&pods, "a/y", "3")]).await.unwrap();
    store.close().await;
    let store = cluster.open().await;
    assert_eq!((store.oldest(), store.revision()), (first, third));
    let then = store.range(&pods, RangeQuery { at: Some(first), ..RangeQuery::default() }).await.unwrap();
    assert_eq!(then.records.iter().map(|r| (r.revision, &r.value[..])).collect::<Vec<_>>(), [(first, &b"1"[..])]);
    let mut cursor = store.follow(Scope::Collection(pods), first).unwrap();
    let changes = cursor.next().await.unwrap();
    assert_eq!(changes.iter().map(|c| c.revision).collect::<Vec<_>>(), [second, third]);
    assert_eq!(changes[0].previous.as_ref().map(|(v, r)| (&v[..], *r)), Some((&b"1"[..], first)));
}

/// Also when revisions pass that bring nothing of ours.
#[tokio::test]
#[ignore = "needs etcd: e2e/test runs it"]
async fn a_read_sees_what_another_process_was_acknowledged() {
    let (one, cluster) = fresh().await;
    let other = cluster.open().await;
    let foreign = cluster.open_with(EtcdOptions { prefix: "/another".to_owned(), ..cluster.options() }).await;
    let pods = collection(1, "pods");
    for i in 0..100 {
        let revision = one.commit(vec![put(&pods, "a/x", &i.to_string())]).await.unwrap();
        assert_eq!(other.get(&put(&pods, "a/x", "").key).await.unwrap().unwrap().revision, revision);
        let range = one.range(&pods, RangeQuery { at: Some(revision), ..RangeQuery::default() }).await.unwrap();
        assert_eq!(range.records[0].revision, revision);
        let passing = foreign.commit(vec![put(&pods, "a/y", "")]).await.unwrap();
        assert_eq!(other.count(&pods).await.unwrap(), 1);
        assert!(other.revision() >= passing);
    }
    // A precondition is etcd's to judge, whatever either has in memory.
    let key = put(&pods, "a/z", "").key;
    let create = |value: &'static str| {
        let value = Some(bytes::Bytes::from_static(value.as_bytes()));
        vec![Write { key: key.clone(), value, require: Precondition::Absent }]
    };
    let (a, b) = tokio::join!(one.commit(create("one")), other.commit(create("other")));
    assert!(a.is_ok() != b.is_ok());
    // What one purges is purged for the other.
    let mut watch = other.follow(Scope::Collection(pods.clone()), other.revision()).unwrap();
    one.purge(pods.tenant).await.unwrap();
    assert_eq!(other.count(&pods).await.unwrap(), 0);
    assert!(matches!(watch.next().await, Err(StoreError::Compacted { .. })));
}

#[tokio::test]
#[ignore = "needs etcd: e2e/test runs it"]
async fn what_etcd_does_not_take_is_refused_by_the_name_of_its_limit() {
    let (store, _cluster) = fresh().await;
    let mut rng = StdRng::seed_from_u64(1);
    let noise: String = (0..2 << 20).map(|_| rng.random_range(' '..='~')).collect();
    let large = put(&collection(1, "pods"), "a/x", &noise);
    let Err(StoreError::TooLarge(limit)) = store.commit(vec![large]).await else { panic!("taken") };
    assert!(limit.contains("--max-request-bytes"));
    // What etcd takes only because it is compressed comes back as it was.
    let text = "some text ".repeat(300_000);
    store.commit(vec![put(&collection(1, "pods"), "a/y", &text)]).await.unwrap();
    let found = store.range(&collection(1, "pods"), RangeQuery::default()).await.unwrap().records;
    assert!(found.len() == 1 && found[0].value == text);
    let many = (0..129).map(|i| put(&collection(1, &format!("c{i}")), "a/x", "")).collect();
    let Err(StoreError::TooLarge(limit)) = store.commit(many).await else { panic!("taken") };
    assert!(limit.contains("--max-txn-ops"));
    let fits = (0..128).map(|i| put(&collection(1, &format!("c{i}")), "a/x", "")).collect();
    store.commit(fits).await.unwrap();
}

#[tokio::test]
#[ignore = "needs etcd: e2e/test runs it"]
async fn a_store_that_cannot_be_opened_says_why() {
    let (store, cluster) = fresh().await;
    store.commit(vec![put(&collection(1, "pods"), "a/x", "")]).await.unwrap();
    // Its keys, seen from above, are not those of a store.
    let above = Etcd::open(EtcdOptions { prefix: "/tenantry/t".to_owned(), ..cluster.options() }).await;
    assert!(matches!(above, Err(EtcdError::Foreign { key, .. }) if key.starts_with("/tenantry/t/0101")));
    let mut strangers = cluster.options();
    let another = Cluster::start(0);
    strangers.tls.as_mut().unwrap().ca = another.options().tls.unwrap().ca;
    let Err(EtcdError::Unavailable(reason)) = Etcd::open(strangers).await else { panic!("opened") };
    assert!(reason.contains("certificate"), "{reason}");
    let mut unknown = cluster.options();
    unknown.tls.as_mut().unwrap().identity = None;
    assert!(matches!(Etcd::open(unknown).await, Err(EtcdError::Unavailable(_))));
}

/// A backup of one engine is one of the other.
#[tokio::test]
#[ignore = "needs etcd: e2e/test runs it"]
async fn a_tenant_moves_between_the_engines() {
    let (etcd, _cluster) = fresh().await;
    let pods = collection(1, "pods");
    for i in 0..500 {
        etcd.commit(vec![put(&pods, &format!("n/{i:03}"), &i.to_string())]).await.unwrap();
    }
    let (bytes, _) = backup(etcd.as_ref(), Some(pods.tenant)).await;
    let embedded: Arc<dyn Store> = Arc::new(crate::Embedded::in_memory().unwrap());
    let copy = collection(2, "pods");
    restore_tenant(&embedded, &bytes, pods.tenant, copy.tenant).await.unwrap();
    let etcd: Arc<dyn Store> = etcd;
    restore_tenant(&etcd, &bytes, pods.tenant, copy.tenant).await.unwrap();
    for store in [&embedded, &etcd] {
        let range = store.range(&copy, RangeQuery::default()).await.unwrap();
        assert_eq!(range.records.len(), 500);
        assert_eq!((&range.records[7].name[..], &range.records[7].value[..]), ("n/007", &b"7"[..]));
    }
}
