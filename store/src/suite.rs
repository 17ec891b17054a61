//! What every engine must do, told through the trait. An engine runs it with the macro `suite!`, giving an expression
//! that makes an empty store, behind attributes of its tests in brackets if they need any.

mod rest;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use apimachinery::tenant::TenantId;
use bytes::Bytes;
use parking_lot::Mutex;

pub(crate) use self::rest::*;
use crate::{
    Change, CollectionId, Cursor, Key, Precondition, RangeQuery, Record, Rested, RestoreError, Revision, Scope, Store,
    StoreError, Write, put_tenant, read_tenant,
};

/// Makes a test of every check of the suite.
macro_rules! suite {
    ([$($attribute:meta),*] $open:expr) => {
        $crate::suite::suite!(@ [$(#[$attribute])*] $open,
            records_are_put_read_and_deleted,
            preconditions_refuse_with_what_stands_there,
            a_transaction_is_done_whole_or_not_at_all,
            malformed_transactions_are_refused,
            ranges_go_by_name_and_tell_what_remains,
            ranges_show_old_revisions_exactly,
            collections_are_told_apart,
            concurrent_increments_lose_nothing,
            cursors_see_each_change_of_their_scope_once,
            cursors_begin_at_any_held_revision,
            a_cursor_is_not_woken_by_others_but_advances,
            compaction_refuses_what_it_gave_up,
            a_cursor_that_missed_nothing_survives_compaction,
            purge_leaves_nothing_of_a_tenant,
            closing_ends_cursors_and_writes,
            a_tenant_comes_back_from_rest_as_it_was,
            a_write_finds_what_a_tenant_at_rest_has,
            who_follows_a_tenant_at_rest_goes_on,
            purge_leaves_nothing_of_a_tenant_at_rest,
            a_backup_has_tenants_at_rest_and_leaves_them_there,
            nothing_is_lost_while_tenants_come_and_go,
        );
    };
    ($open:expr) => {
        $crate::suite::suite!([] $open);
    };
    (@ $attributes:tt $open:expr, $($name:ident,)*) => {
        $($crate::suite::suite!(= $attributes $open, $name);)*
    };
    (= [$(#[$attribute:meta])*] $open:expr, $name:ident) => {
        #[tokio::test]
        $(#[$attribute])*
        async fn $name() {
            let (store, _keep) = $open;
            $crate::suite::$name(store).await;
        }
    };
}
pub(crate) use suite;

type Shared = Arc<dyn Store>;

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A backup, whole, and the revision that it is the state at.
pub(crate) async fn backup(store: &dyn Store, tenant: Option<TenantId>) -> (Vec<u8>, Revision) {
    let sink = Sink::default();
    let at = store.backup(tenant, Box::new(sink.clone())).await.unwrap();
    let bytes = sink.0.lock().clone();
    (bytes, at)
}

/// Puts one tenant of a backup into another one that has nothing.
pub(crate) async fn restore_tenant(
    store: &Shared,
    backup: &[u8],
    from: TenantId,
    into: TenantId,
) -> Result<(), RestoreError> {
    put_tenant(store, into, read_tenant(&mut &backup[..], from)?).await
}

pub(crate) fn collection(tenant: u8, name: &str) -> CollectionId {
    CollectionId { tenant: TenantId::from_bytes([tenant; 16]), name: name.into() }
}

pub(crate) fn put(collection: &CollectionId, name: &str, value: &str) -> Write {
    Write {
        key: Key { collection: collection.clone(), name: name.into() },
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
        require: Precondition::None,
    }
}

pub(crate) fn delete(collection: &CollectionId, name: &str) -> Write {
    Write { value: None, ..put(collection, name, "") }
}

fn requiring(require: Precondition, write: Write) -> Write {
    Write { require, ..write }
}

async fn set(store: &Shared, write: Write) -> Revision {
    store.commit(vec![write]).await.unwrap()
}

/// Names and values.
fn plain(records: &[Record]) -> Vec<(&str, &str)> {
    records.iter().map(|r| (r.name.as_str(), std::str::from_utf8(&r.value).unwrap())).collect()
}

async fn state(store: &Shared, id: &CollectionId, at: Revision) -> Vec<(String, String)> {
    let range = store.range(id, RangeQuery { at: Some(at), ..RangeQuery::default() }).await.unwrap();
    assert_eq!(range.revision, at);
    plain(&range.records).into_iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect()
}

/// Follows until a revision is reached.
async fn follow_to(cursor: &mut Box<dyn Cursor>, to: Revision) -> Vec<Arc<Change>> {
    let mut all = Vec::new();
    while all.last().is_none_or(|c: &Arc<Change>| c.revision < to) {
        all.extend(cursor.next().await.unwrap());
    }
    all
}

/// Waits, on real time, until something holds that an engine may come to know from afar.
pub(crate) async fn eventually(mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting).await.unwrap();
}

pub(crate) async fn records_are_put_read_and_deleted(store: Shared) {
    let pods = collection(1, "pods");
    let key = put(&pods, "a/x", "").key;
    assert_eq!(store.get(&key).await.unwrap(), None);
    let first = set(&store, put(&pods, "a/x", "1")).await;
    let second = set(&store, put(&pods, "a/x", "2")).await;
    assert!(second > first && store.revision() == second);
    let record = Record { name: "a/x".into(), value: Bytes::from_static(b"2"), revision: second };
    assert_eq!(store.get(&key).await.unwrap(), Some(record));
    let third = set(&store, delete(&pods, "a/x")).await;
    assert!(third > second);
    assert_eq!(store.get(&key).await.unwrap(), None);
    // An empty value is a value.
    set(&store, put(&pods, "a/x", "")).await;
    assert_eq!(store.get(&key).await.unwrap().unwrap().value, Bytes::new());
}

pub(crate) async fn preconditions_refuse_with_what_stands_there(store: Shared) {
    let pods = collection(1, "pods");
    let create = || requiring(Precondition::Absent, put(&pods, "a/x", "1"));
    let first = set(&store, create()).await;
    let before = store.revision();
    let Err(StoreError::Conflict { index: 0, current: Some(current) }) = store.commit(vec![create()]).await else {
        panic!("created twice")
    };
    assert_eq!((current.revision, &current.value[..]), (first, &b"1"[..]));
    let replace = |r, v| requiring(Precondition::Revision(r), put(&pods, "a/x", v));
    let second = set(&store, replace(first, "2")).await;
    let stale = store.commit(vec![replace(first, "3")]).await;
    assert!(matches!(stale, Err(StoreError::Conflict { current: Some(c), .. }) if c.revision == second));
    let other = requiring(Precondition::Revision(second), put(&pods, "a/y", "1"));
    assert!(matches!(store.commit(vec![other]).await, Err(StoreError::Conflict { current: None, .. })));
    let remove = |r| requiring(Precondition::Revision(r), delete(&pods, "a/x"));
    assert!(store.commit(vec![remove(first)]).await.is_err());
    set(&store, remove(second)).await;
    set(&store, create()).await;
    assert!(store.revision() > before);
}

pub(crate) async fn a_transaction_is_done_whole_or_not_at_all(store: Shared) {
    let (pods, claims, other) = (collection(1, "pods"), collection(1, "claims"), collection(2, "pods"));
    let revision =
        store.commit(vec![put(&pods, "x", "1"), put(&claims, "x", "1"), put(&other, "x", "1")]).await.unwrap();
    for id in [&pods, &claims, &other] {
        assert_eq!(store.get(&put(id, "x", "").key).await.unwrap().unwrap().revision, revision);
    }
    let refused =
        store.commit(vec![put(&pods, "x", "2"), requiring(Precondition::Absent, put(&claims, "x", "2"))]).await;
    assert!(matches!(refused, Err(StoreError::Conflict { index: 1, .. })));
    assert_eq!(store.get(&put(&pods, "x", "").key).await.unwrap().unwrap().revision, revision);
    let mut cursor = store.follow(Scope::All, revision - 1).unwrap();
    let changes = cursor.next().await.unwrap();
    assert_eq!(changes.iter().map(|c| c.revision).collect::<Vec<_>>(), [revision; 3]);
}

pub(crate) async fn malformed_transactions_are_refused(store: Shared) {
    let pods = collection(1, "pods");
    let long = "x".repeat(1025);
    for writes in [
        vec![],
        vec![put(&pods, "", "1")],
        vec![put(&collection(1, ""), "x", "1")],
        vec![put(&collection(1, "a\0b"), "x", "1")],
        vec![put(&pods, &long, "1")],
        vec![put(&pods, "x", "1"), put(&pods, "x", "2")],
        vec![put(&pods, "x", "1"), put(&pods, "y", "2")],
        vec![put(&pods, "x", &"1".repeat(17 << 20))],
    ] {
        let before = store.revision();
        assert!(matches!(store.commit(writes).await, Err(StoreError::BadTransaction(_))));
        assert_eq!(store.revision(), before);
    }
}

pub(crate) async fn ranges_go_by_name_and_tell_what_remains(store: Shared) {
    let pods = collection(1, "pods");
    for name in ["b/z", "a/x", "b/y", "a/w", "c/q", "b", "ba/x"] {
        set(&store, put(&pods, name, name)).await;
    }
    let names = |q: RangeQuery| {
        let (store, pods) = (store.clone(), pods.clone());
        async move {
            let range = store.range(&pods, q).await.unwrap();
            let names: Vec<_> = range.records.iter().map(|r| r.name.to_string()).collect();
            (names.join(" "), range.remaining)
        }
    };
    let query =
        |prefix: &str, start: &str, limit| RangeQuery { prefix: prefix.into(), start: start.into(), at: None, limit };
    let all = "a/w a/x b b/y b/z ba/x c/q";
    assert_eq!(names(query("", "", 0)).await, (all.into(), 0));
    assert_eq!(names(query("", "", 7)).await, (all.into(), 0));
    assert_eq!(names(query("", "", 2)).await, ("a/w a/x".into(), 5));
    assert_eq!(names(query("b/", "", 0)).await, ("b/y b/z".into(), 0));
    assert_eq!(names(query("b/", "", 1)).await, ("b/y".into(), 1));
    assert_eq!(names(query("b/", "b/y\0", 1)).await, ("b/z".into(), 0));
    assert_eq!(names(query("b/", "a", 0)).await, ("b/y b/z".into(), 0));
    assert_eq!(names(query("b/", "c", 0)).await, (String::new(), 0));
    assert_eq!(names(query("", "b/z", 1)).await, ("b/z".into(), 2));
    assert_eq!(store.count(&pods).await.unwrap(), 7);
    let first = store.range(&pods, query("", "", 2)).await.unwrap();
    set(&store, delete(&pods, "ba/x")).await;
    set(&store, put(&pods, "d", "d")).await;
    let rest = RangeQuery { at: Some(first.revision), ..query("", "a/x\0", 2) };
    assert_eq!(names(rest).await, ("b b/y".into(), 3));
}

pub(crate) async fn ranges_show_old_revisions_exactly(store: Shared) {
    let pods = collection(1, "pods");
    let mut seen = vec![(store.revision(), Vec::new())];
    for i in 0..60 {
        let name = format!("n/{}", i * 7 % 5);
        let write = if i % 4 == 3 { delete(&pods, &name) } else { put(&pods, &name, &i.to_string()) };
        let revision = set(&store, write).await;
        seen.push((revision, state(&store, &pods, revision).await));
    }
    for (revision, then) in seen {
        assert_eq!(state(&store, &pods, revision).await, then, "at {revision}");
    }
    let ahead = RangeQuery { at: Some(store.revision() + 1), ..RangeQuery::default() };
    assert!(matches!(store.range(&pods, ahead).await, Err(StoreError::Future { .. })));
}

pub(crate) async fn collections_are_told_apart(store: Shared) {
    let ids = [collection(1, "pods"), collection(1, "pods.x"), collection(1, "apps/pods"), collection(2, "pods")];
    for (i, id) in ids.iter().enumerate() {
        assert_eq!(store.count(id).await.unwrap(), 0);
        set(&store, put(id, "a/x", &i.to_string())).await;
    }
    for (i, id) in ids.iter().enumerate() {
        let range = store.range(id, RangeQuery::default()).await.unwrap();
        assert_eq!(plain(&range.records), [("a/x", i.to_string().as_str())]);
    }
    assert_eq!(store.collections(ids[0].tenant).await.unwrap(), ["apps/pods", "pods", "pods.x"]);
    set(&store, delete(&ids[1], "a/x")).await;
    assert_eq!(store.collections(ids[0].tenant).await.unwrap(), ["apps/pods", "pods"]);
    assert!(store.collections(TenantId::from_bytes([9; 16])).await.unwrap().is_empty());
}

pub(crate) async fn concurrent_increments_lose_nothing(store: Shared) {
    let id = collection(1, "counters");
    let key = put(&id, "n", "").key;
    let increment = async |store: Shared, key: Key| {
        let mut current = store.get(&key).await.unwrap();
        loop {
            let (n, require) = match &current {
                None => (0, Precondition::Absent),
                Some(r) => {
                    let n: u32 = std::str::from_utf8(&r.value).unwrap().parse().unwrap();
                    (n, Precondition::Revision(r.revision))
                }
            };
            let value = Some(Bytes::from((n + 1).to_string()));
            match store.commit(vec![Write { key: key.clone(), value, require }]).await {
                Ok(revision) => return revision,
                Err(StoreError::Conflict { current: now, .. }) => current = now,
                Err(e) => panic!("{e}"),
            }
        }
    };
    let tasks: Vec<_> = (0..16)
        .map(|_| {
            let (store, key) = (store.clone(), key.clone());
            tokio::spawn(async move {
                let mut revisions = Vec::new();
                for _ in 0..10 {
                    revisions.push(increment(store.clone(), key.clone()).await);
                }
                revisions
            })
        })
        .collect();
    let mut revisions = Vec::new();
    for task in tasks {
        revisions.extend(task.await.unwrap());
    }
    revisions.sort_unstable();
    revisions.dedup();
    assert_eq!(revisions.len(), 160);
    assert_eq!(&store.get(&key).await.unwrap().unwrap().value[..], b"160");
}

pub(crate) async fn cursors_see_each_change_of_their_scope_once(store: Shared) {
    let (pods, others) = (collection(1, "pods"), collection(2, "pods"));
    let from = store.revision();
    let mut all = store.follow(Scope::All, from).unwrap();
    let mut mine = store.follow(Scope::Collection(pods.clone()), from).unwrap();
    assert!(mine.poll_now().unwrap().is_empty());
    let writer = {
        let (store, pods, others) = (store.clone(), pods.clone(), others.clone());
        tokio::spawn(async move {
            let mut last = 0;
            for i in 0..100 {
                set(&store, put(&pods, "x", &i.to_string())).await;
                last = set(&store, put(&others, "x", &i.to_string())).await;
            }
            (set(&store, delete(&pods, "x")).await, last)
        })
    };
    let seen = async {
        let mut seen: Vec<Arc<Change>> = Vec::new();
        while seen.len() < 101 {
            seen.extend(mine.next().await.unwrap());
        }
        seen
    };
    let seen = tokio::time::timeout(Duration::from_secs(30), seen).await.unwrap();
    let (last, _) = writer.await.unwrap();
    assert_eq!(seen.len(), 101);
    for pair in seen.windows(2) {
        assert!(pair[0].revision < pair[1].revision);
        assert_eq!(pair[1].previous, pair[0].value.clone().map(|v| (v, pair[0].revision)));
    }
    for (i, change) in seen[..100].iter().enumerate() {
        assert_eq!(change.key.collection, pods);
        assert_eq!(change.value.as_deref(), Some(i.to_string().as_bytes()));
    }
    assert!(seen[0].previous.is_none() && seen[100].value.is_none() && seen[100].revision == last);
    let everything = follow_to(&mut all, last).await;
    assert_eq!(everything.len(), 201);
    assert!(everything.windows(2).all(|pair| pair[0].revision < pair[1].revision));
    assert_eq!(mine.revision(), last);
    assert!(mine.poll_now().unwrap().is_empty() && all.poll_now().unwrap().is_empty());
}

pub(crate) async fn cursors_begin_at_any_held_revision(store: Shared) {
    let pods = collection(1, "pods");
    let from = store.revision();
    let mut revisions = Vec::new();
    for i in 0..20 {
        revisions.push(set(&store, put(&pods, "x", &i.to_string())).await);
        set(&store, put(&collection(2, "pods"), "x", "")).await;
    }
    for start in std::iter::once(from).chain(revisions.iter().copied()) {
        let mut cursor = store.follow(Scope::Collection(pods.clone()), start).unwrap();
        assert!(cursor.revision() >= start);
        let want: Vec<_> = revisions.iter().copied().filter(|r| *r > start).collect();
        let mut got = Vec::new();
        while got.len() < want.len() {
            got.extend(cursor.next().await.unwrap().iter().map(|c| c.revision));
        }
        assert_eq!(got, want);
    }
    let ahead = store.revision() + 1;
    assert!(matches!(store.follow(Scope::All, ahead), Err(StoreError::Future { .. })));
}

pub(crate) async fn a_cursor_is_not_woken_by_others_but_advances(store: Shared) {
    let pods = collection(1, "pods");
    let mut cursor = store.follow(Scope::Collection(pods.clone()), store.revision()).unwrap();
    {
        let mut next = tokio_test_poll::Counted::new(cursor.next());
        next.poll_once().await;
        for i in 0..50 {
            set(&store, put(&collection(2, "pods"), "x", &i.to_string())).await;
            set(&store, put(&collection(1, "claims"), "x", &i.to_string())).await;
        }
        tokio::task::yield_now().await;
        assert_eq!(next.wakes(), 0, "woken by what it does not follow");
    }
    let now = store.revision();
    eventually(|| cursor.revision() >= now).await;
    let revision = set(&store, put(&pods, "x", "1")).await;
    let changes = cursor.next().await.unwrap();
    assert_eq!(changes.iter().map(|c| c.revision).collect::<Vec<_>>(), [revision]);
    eventually(|| cursor.revision() == revision).await;
}

pub(crate) async fn compaction_refuses_what_it_gave_up(store: Shared) {
    let pods = collection(1, "pods");
    let mut seen = Vec::new();
    for i in 0..30 {
        let write = if i % 3 == 2 { delete(&pods, "x") } else { put(&pods, "x", &i.to_string()) };
        let revision = set(&store, write).await;
        seen.push((revision, state(&store, &pods, revision).await));
    }
    let mut slow = store.follow(Scope::Collection(pods.clone()), seen[3].0).unwrap();
    let at = seen[10].0;
    store.compact(at).await.unwrap();
    assert_eq!(store.oldest(), at);
    for (revision, then) in &seen {
        let query = RangeQuery { at: Some(*revision), ..RangeQuery::default() };
        match store.range(&pods, query).await {
            Ok(range) => {
                assert!(*revision >= at);
                let then: Vec<_> = then.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
                assert_eq!(plain(&range.records), then);
            }
            Err(StoreError::Compacted { requested, oldest }) => {
                assert!(*revision < at && requested == *revision && oldest == at);
            }
            Err(e) => panic!("{e}"),
        }
    }
    let behind = store.follow(Scope::All, at - 1);
    assert!(matches!(behind, Err(StoreError::Compacted { .. })));
    assert!(matches!(slow.next().await, Err(StoreError::Compacted { .. })));
    let mut held = store.follow(Scope::Collection(pods.clone()), at).unwrap();
    assert_eq!(follow_to(&mut held, seen[29].0).await.len(), 19);
    assert!(matches!(store.compact(store.revision() + 1).await, Err(StoreError::Future { .. })));
    // What is compacted already stays so.
    store.compact(seen[0].0).await.unwrap();
    assert_eq!(store.oldest(), at);
}

pub(crate) async fn a_cursor_that_missed_nothing_survives_compaction(store: Shared) {
    let pods = collection(1, "pods");
    set(&store, put(&pods, "x", "1")).await;
    let mut cursor = store.follow(Scope::Collection(pods.clone()), store.revision()).unwrap();
    for i in 0..20 {
        set(&store, put(&collection(2, "pods"), "x", &i.to_string())).await;
    }
    store.compact(store.revision()).await.unwrap();
    assert!(cursor.poll_now().unwrap().is_empty());
    let revision = set(&store, put(&pods, "x", "2")).await;
    assert_eq!(cursor.next().await.unwrap()[0].revision, revision);
}

pub(crate) async fn purge_leaves_nothing_of_a_tenant(store: Shared) {
    let (gone, stays) = (collection(1, "pods"), collection(2, "pods"));
    let before = set(&store, put(&gone, "x", "1")).await;
    set(&store, put(&gone, "x", "2")).await;
    set(&store, put(&collection(1, "claims"), "y", "1")).await;
    let kept = set(&store, put(&stays, "x", "1")).await;
    let mut watch = store.follow(Scope::Collection(gone.clone()), store.revision()).unwrap();
    store.purge(gone.tenant).await.unwrap();
    assert!(store.revision() > kept);
    assert!(store.collections(gone.tenant).await.unwrap().is_empty());
    assert_eq!(store.get(&put(&gone, "x", "").key).await.unwrap(), None);
    let then = store.range(&gone, RangeQuery { at: Some(before), ..RangeQuery::default() }).await;
    assert!(matches!(then, Err(StoreError::Compacted { .. })));
    assert!(matches!(store.follow(Scope::Collection(gone.clone()), before), Err(StoreError::Compacted { .. })));
    let ended = tokio::time::timeout(Duration::from_secs(10), watch.next()).await.unwrap();
    assert!(matches!(ended, Err(StoreError::Compacted { .. })));
    assert_eq!(store.count(&stays).await.unwrap(), 1);
    // The id can be used again.
    let mut watch = store.follow(Scope::Collection(gone.clone()), store.revision()).unwrap();
    let again = set(&store, requiring(Precondition::Absent, put(&gone, "x", "3"))).await;
    let changes = watch.next().await.unwrap();
    assert_eq!((changes[0].revision, changes[0].previous.is_none()), (again, true));
}

pub(crate) async fn closing_ends_cursors_and_writes(store: Shared) {
    let pods = collection(1, "pods");
    let mut cursor = store.follow(Scope::Collection(pods.clone()), store.revision()).unwrap();
    let waiting = tokio::spawn(async move { cursor.next().await });
    tokio::task::yield_now().await;
    store.close().await;
    let ended = tokio::time::timeout(Duration::from_secs(10), waiting).await.unwrap().unwrap();
    assert!(matches!(ended, Err(StoreError::Unavailable { .. })));
    let refused = store.commit(vec![put(&pods, "x", "1")]).await;
    assert!(matches!(refused, Err(StoreError::Unavailable { maybe_committed: false, .. })));
    assert!(store.health().is_err() && store.is_lost());
    store.close().await;
}

/// Polls a future by hand and counts how often it is woken.
mod tokio_test_poll {
    use std::pin::Pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Wake, Waker};

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    pub(super) struct Counted<F> {
        future: Pin<Box<F>>,
        count: Arc<Count>,
    }

    impl<F: Future> Counted<F> {
        pub(super) fn new(future: F) -> Self {
            Self { future: Box::pin(future), count: Arc::default() }
        }

        pub(super) async fn poll_once(&mut self) {
            let waker = Waker::from(self.count.clone());
            assert!(self.future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        }

        pub(super) fn wakes(&self) -> usize {
            self.count.0.load(Ordering::SeqCst)
        }
    }
}
