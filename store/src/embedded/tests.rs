use super::*;
use crate::suite::{collection, put, suite};

mod backup;
mod disk;
mod model;

mod in_memory {
    use super::*;

    suite!((Arc::new(Embedded::in_memory().unwrap()), ()));
}

mod in_a_folder {
    use super::*;

    suite!({
        let folder = tempfile::tempdir().unwrap();
        (
            Arc::new(Embedded::open(folder.path(), Options { checkpoint_bytes: 0, ..Options::default() }).unwrap()),
            folder,
        )
    });
}

/// Whoever is at rest lies in the file.
mod at_rest_in_the_file {
    use super::*;

    suite!({
        let folder = tempfile::tempdir().unwrap();
        let options = Options { checkpoint_bytes: 0, rest_bytes: 0 };
        (Arc::new(Embedded::open(folder.path(), options).unwrap()), folder)
    });
}

/// The file is of no use to the next process, whose log and snapshots have everything.
#[tokio::test]
async fn tenants_at_rest_are_there_after_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let pods = collection(1, "pods");
    let options = || Options { checkpoint_bytes: 0, rest_bytes: 0 };
    let store = Embedded::open(folder.path(), options()).unwrap();
    let last = store.commit(vec![put(&pods, "a/x", &"1".repeat(1000))]).await.unwrap();
    store.compact(last).await.unwrap();
    assert_eq!(store.rest(Duration::ZERO).await.tenants, [pods.tenant]);
    // A snapshot is written of it as it lies there.
    let other = store.commit(vec![put(&collection(2, "pods"), "a/y", "2")]).await.unwrap();
    store.compact(other).await.unwrap();
    assert!(store.at_rest(pods.tenant) && folder.path().join("rest.tmp").exists());
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(folder.path()).unwrap().map(Result::unwrap) {
        std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    let again = Embedded::open(copy.path(), options()).unwrap();
    assert!(!copy.path().join("rest.tmp").exists());
    let found = again.get(&put(&pods, "a/x", "").key).await.unwrap().unwrap();
    assert_eq!((found.revision, found.value.len()), (last, 1000));
    // Damage in the file is found; the tenant is back after the next start.
    std::fs::write(folder.path().join("rest.tmp"), "x").unwrap();
    let key = put(&pods, "a/x", "").key;
    assert!(matches!(store.get(&key).await, Err(StoreError::Unavailable { maybe_committed: false, .. })));
    let refused = store.commit(vec![put(&pods, "a/x", "2")]).await;
    assert!(matches!(refused, Err(StoreError::Unavailable { maybe_committed: false, .. })));
    store.commit(vec![put(&collection(2, "pods"), "a/y", "3")]).await.unwrap();
    store.close().await;
    drop(store);
    assert!(!folder.path().join("rest.tmp").exists());
    let store = Embedded::open(folder.path(), options()).unwrap();
    assert_eq!(store.get(&key).await.unwrap().unwrap().revision, last);
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_opening_again() {
    let folder = tempfile::tempdir().unwrap();
    let pods = collection(1, "pods");
    let store = Embedded::open(folder.path(), Options::default()).unwrap();
    let first = store.commit(vec![put(&pods, "a/x", "1")]).await.unwrap();
    let second = store.commit(vec![put(&pods, "a/x", "2")]).await.unwrap();
    assert!(matches!(Embedded::open(folder.path(), Options::default()), Err(OpenError::Locked(_))));
    store.close().await;
    let store = Embedded::open(folder.path(), Options::default()).unwrap();
    let now = store.range(&pods, RangeQuery::default()).await.unwrap();
    assert_eq!((&now.records[0].value[..], now.records[0].revision), (&b"2"[..], second));
    let then = store.range(&pods, RangeQuery { at: Some(first), ..RangeQuery::default() }).await.unwrap();
    assert_eq!((&then.records[0].value[..], then.revision), (&b"1"[..], first));
    assert!(store.commit(vec![put(&pods, "a/y", "3")]).await.unwrap() > second);
    let mut cursor = store.follow(Scope::Collection(pods), first).unwrap();
    let changes = cursor.next().await.unwrap();
    assert_eq!(changes.iter().map(|c| c.revision).collect::<Vec<_>>(), [second, second + 1]);
}
