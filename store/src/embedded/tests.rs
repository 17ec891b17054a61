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
        (Arc::new(Embedded::open(folder.path(), Options { checkpoint_bytes: 0 }).unwrap()), folder)
    });
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
