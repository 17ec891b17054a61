use super::*;
use crate::Precondition;

fn put(name: &str, value: &str) -> Vec<Write> {
    let collection = CollectionId { tenant: TenantId::from_bytes([7; 16]), name: "pods".into() };
    let value = Some(Bytes::copy_from_slice(value.as_bytes()));
    vec![Write { key: Key { collection, name: name.into() }, value, require: Precondition::None }]
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_opening_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = Embedded::open(folder.path(), Options::default()).unwrap();
    let first = store.commit(put("a/x", "1")).await.unwrap();
    let second = store.commit(put("a/x", "2")).await.unwrap();
    assert!(matches!(Embedded::open(folder.path(), Options::default()), Err(OpenError::Locked(_))));
    store.close().await;
    assert!(matches!(store.commit(put("a/x", "3")).await, Err(StoreError::Unavailable { .. })));
    let store = Embedded::open(folder.path(), Options::default()).unwrap();
    let id = put("", "")[0].key.collection.clone();
    let now = store.range(&id, RangeQuery::default()).await.unwrap();
    assert_eq!((&now.records[0].value[..], now.records[0].revision), (&b"2"[..], second));
    let then = store.range(&id, RangeQuery { at: Some(first), ..RangeQuery::default() }).await.unwrap();
    assert_eq!((&then.records[0].value[..], then.revision), (&b"1"[..], first));
    assert!(store.commit(put("a/y", "3")).await.unwrap() > second);
    let mut cursor = store.follow(Scope::Collection(id), first).unwrap();
    let changes = cursor.next().await.unwrap();
    assert_eq!(changes.iter().map(|c| c.revision).collect::<Vec<_>>(), [second, second + 1]);
}
