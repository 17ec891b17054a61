//! Backups are exact while writes go on, come back under another id, and are refused when they are not whole.

use bytes::Bytes;

use crate::embedded::*;
use crate::suite::{backup, collection, put, restore_tenant};
use crate::{RestoreError, extract_backup, read_backup};

async fn records(store: &dyn Store, id: &CollectionId, at: Option<Revision>) -> Vec<(SmolStr, Bytes, Revision)> {
    let range = store.range(id, RangeQuery { at, ..RangeQuery::default() }).await.unwrap();
    range.records.into_iter().map(|r| (r.name, r.value, r.revision)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_is_the_state_at_its_revision_while_writes_go_on() {
    let store = Arc::new(Embedded::in_memory().unwrap());
    let ids = [collection(1, "pods"), collection(1, "claims"), collection(2, "pods")];
    for i in 0..2000 {
        store.commit(vec![put(&ids[i % 3], &format!("n/{i}"), &"x".repeat(500))]).await.unwrap();
    }
    let writer = tokio::spawn({
        let (store, ids) = (store.clone(), ids.clone());
        async move {
            for i in 0..4000 {
                let mut write = put(&ids[i % 3], &format!("n/{}", i % 2000), &i.to_string());
                if i % 5 == 0 {
                    write.value = None;
                }
                store.commit(vec![write]).await.unwrap();
            }
        }
    });
    let (all, at) = backup(&*store, None).await;
    writer.await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let read = read_backup(&mut &all[..]).unwrap();
    assert_eq!((read.revision, read.tenants), (at, 2));
    assert_eq!(Embedded::restore(folder.path(), &mut &all[..], false).unwrap(), read);
    let restored = Embedded::open(folder.path(), Options::default()).unwrap();
    for id in &ids {
        assert_eq!(records(&restored, id, None).await, records(&*store, id, Some(at)).await);
    }
    // No revision that a client may know is given out again.
    assert!(restored.revision() > store.revision() + 1_000_000);
    assert!(matches!(restored.follow(Scope::All, at), Err(StoreError::Compacted { .. })));
    assert!(restored.commit(vec![put(&ids[0], "new", "")]).await.unwrap() > restored.oldest());
    drop(restored);
    let again = Embedded::restore(folder.path(), &mut &all[..], false);
    assert!(matches!(again, Err(RestoreError::NotEmpty(_))));
}

#[tokio::test]
async fn a_store_is_replaced_by_a_backup_and_kept_aside() {
    let folder = tempfile::tempdir().unwrap();
    let pods = collection(1, "pods");
    let store = Embedded::open(folder.path(), Options::default()).unwrap();
    store.commit(vec![put(&pods, "a", "1")]).await.unwrap();
    let (good, at) = backup(&store, None).await;
    let good_records = records(&store, &pods, Some(at)).await;
    store.commit(vec![put(&pods, "a", "2")]).await.unwrap();
    let before = store.revision();
    assert!(matches!(Embedded::restore(folder.path(), &mut &good[..], true), Err(RestoreError::Open(_))), "it is open");
    store.close().await;
    drop(store);
    // What is no whole backup leaves the store as it was.
    let cut = Embedded::restore(folder.path(), &mut &good[..good.len() - 1], true);
    assert!(matches!(cut, Err(RestoreError::Backup(_))));
    assert_eq!(Embedded::open(folder.path(), Options::default()).unwrap().revision(), before);
    // As often as one likes, each time with revisions of its own.
    let mut last = before;
    for round in 1..=2 {
        Embedded::restore(folder.path(), &mut &good[..], true).unwrap();
        let store = Embedded::open(folder.path(), Options::default()).unwrap();
        assert_eq!(records(&store, &pods, None).await, good_records);
        assert!(store.revision() > last);
        last = store.revision();
        let aside = std::fs::read_dir(folder.path()).unwrap();
        let aside = aside.filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().starts_with("replaced-"));
        assert_eq!(aside.count(), round);
    }
}

#[tokio::test]
async fn a_tenant_comes_back_under_another_id() {
    let store: Arc<dyn Store> = Arc::new(Embedded::in_memory().unwrap());
    let (pods, others, copy) = (collection(1, "pods"), collection(2, "pods"), collection(3, "pods"));
    for i in 0..500 {
        store.commit(vec![put(&pods, &format!("n/{i}"), &i.to_string())]).await.unwrap();
        store.commit(vec![put(&others, &format!("n/{i}"), "other")]).await.unwrap();
    }
    let (mine, _) = backup(&*store, Some(pods.tenant)).await;
    let strip = |r: Vec<(SmolStr, Bytes, Revision)>| r.into_iter().map(|(n, v, _)| (n, v)).collect::<Vec<_>>();
    restore_tenant(&store, &mine, pods.tenant, copy.tenant).await.unwrap();
    assert_eq!(strip(records(&*store, &copy, None).await), strip(records(&*store, &pods, None).await));
    let taken = restore_tenant(&store, &mine, pods.tenant, others.tenant).await;
    assert!(matches!(taken, Err(RestoreError::NotEmpty(_))));
    let free = TenantId::from_bytes([4; 16]);
    let missing = restore_tenant(&store, &mine, others.tenant, free).await;
    assert!(matches!(missing, Err(RestoreError::NoTenant(t)) if t == others.tenant));
    for broken in [mine[..mine.len() - 1].to_vec(), Vec::new(), [&mine[..200], b"x", &mine[201..]].concat()] {
        let refused = restore_tenant(&store, &broken, pods.tenant, free).await;
        assert!(matches!(refused, Err(RestoreError::Backup(_))));
    }
    assert!(store.collections(free).await.unwrap().is_empty());
}

#[tokio::test]
async fn one_tenant_is_taken_out_of_a_backup_of_all() {
    let store: Arc<dyn Store> = Arc::new(Embedded::in_memory().unwrap());
    let own = CollectionId { tenant: TenantId::SYSTEM, name: "tenants".into() };
    for i in 0..500 {
        for id in [&own, &collection(1, "pods"), &collection(1, "secrets"), &collection(2, "pods")] {
            store.commit(vec![put(id, &format!("n/{i:03}"), &format!("{i}"))]).await.unwrap();
        }
    }
    let (all, at) = backup(&*store, None).await;
    let wanted = collection(1, "").tenant;
    let mut out = Vec::new();
    let mut first = None;
    let mut pick = |id: &CollectionId, record: &Record| {
        first.get_or_insert(id.tenant);
        id.tenant == wanted || (id.tenant == TenantId::SYSTEM && record.name == "n/007")
    };
    extract_backup(&mut &all[..], &mut out, &mut pick).unwrap();
    assert_eq!(first, Some(TenantId::SYSTEM), "who is who is told first");
    let read = read_backup(&mut &out[..]).unwrap();
    assert_eq!((read.revision, read.tenants, read.records), (at, 1, 1001));
    let copy = collection(3, "pods");
    restore_tenant(&store, &out, wanted, copy.tenant).await.unwrap();
    assert_eq!(store.count(&copy).await.unwrap(), 500);
    for broken in [&all[..all.len() - 1], &[&all[..200], b"x", &all[201..]].concat()] {
        assert!(extract_backup(&mut &broken[..], &mut Vec::new(), &mut |_, _| true).is_err());
    }
}
