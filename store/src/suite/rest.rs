//! Tenants that leave memory and come back.

use smol_str::SmolStr;

use super::*;

/// Gives up all history and lays to rest who is cold then.
async fn rest(store: &Shared) -> Vec<TenantId> {
    store.compact(store.revision()).await.unwrap();
    store.rest(Duration::ZERO).await.tenants
}

/// Fills a tenant with records of its own and with some that others have too; some were deleted.
async fn fill(store: &Shared, tenant: u8) {
    for i in 0..40 {
        let id = collection(tenant, &format!("rbac.authorization.k8s.io/kind{}", i % 5));
        set(store, put(&id, &format!("system:common-{i}"), &format!("rules {i} ").repeat(40))).await;
        let own = collection(tenant, ["secrets", "pods"][i % 2]);
        set(store, put(&own, &format!("ns/own-{i}"), &format!("{tenant} {i} ").repeat(i))).await;
        if i % 7 == 3 {
            set(store, delete(&own, &format!("ns/own-{i}"))).await;
        }
    }
}

/// All that a tenant has.
async fn everything(store: &Shared, tenant: u8) -> Vec<(SmolStr, usize, Vec<Record>)> {
    let mut all = Vec::new();
    for name in store.collections(TenantId::from_bytes([tenant; 16])).await.unwrap() {
        let id = collection(tenant, &name);
        let records = store.range(&id, RangeQuery::default()).await.unwrap().records;
        all.push((name, store.count(&id).await.unwrap(), records));
    }
    all
}

pub(crate) async fn a_tenant_comes_back_from_rest_as_it_was(store: Shared) {
    let tenants = [1, 2, 3];
    for tenant in tenants {
        fill(&store, tenant).await;
    }
    let before = [everything(&store, 1).await, everything(&store, 2).await, everything(&store, 3).await];
    let old = store.revision() - 1;
    assert!(store.rest(Duration::ZERO).await.tenants.is_empty(), "history is held");
    set(&store, put(&collection(2, "pods"), "ns/own-0", "")).await;
    let ids = store.tenants().await.unwrap();
    let mut rested = rest(&store).await;
    rested.sort_unstable();
    assert_eq!(rested, ids);
    assert!(rested.iter().all(|id| store.at_rest(*id)));
    let revision = store.revision();
    // To look who is there, to compact and to look again wakes no one.
    assert_eq!(store.tenants().await.unwrap(), ids);
    store.compact(revision).await.unwrap();
    assert_eq!(store.rest(Duration::ZERO).await, Rested::default());
    let pods = collection(1, "pods");
    let then = RangeQuery { at: Some(old), ..RangeQuery::default() };
    assert!(matches!(store.range(&pods, then).await, Err(StoreError::Compacted { .. })));
    assert!(matches!(store.follow(Scope::Collection(pods.clone()), old), Err(StoreError::Compacted { .. })));
    assert_eq!(everything(&store, 1).await, before[0]);
    assert!(!store.at_rest(ids[0]) && store.at_rest(ids[1]) && store.at_rest(ids[2]));
    assert_eq!(everything(&store, 3).await, before[2]);
    let now = RangeQuery { at: Some(revision), limit: 3, ..RangeQuery::default() };
    let page = store.range(&pods, now).await.unwrap();
    assert_eq!((page.records.len(), page.remaining), (3, store.count(&pods).await.unwrap() - 3));
    assert_eq!(store.revision(), revision);
    // Who is used stays.
    let hour = Duration::from_secs(3600);
    let kept = store.rest(hour).await;
    assert!(kept.tenants.is_empty() && kept.next.is_some_and(|next| next > hour / 2 && next <= hour));
}

pub(crate) async fn a_write_finds_what_a_tenant_at_rest_has(store: Shared) {
    fill(&store, 1).await;
    let (pods, id) = (collection(1, "pods"), collection(1, "pods").tenant);
    let key = put(&pods, "ns/own-1", "").key;
    let current = store.get(&key).await.unwrap().unwrap();
    assert_eq!(rest(&store).await, [id]);
    let create = requiring(Precondition::Absent, put(&pods, "ns/own-1", "x"));
    let Err(StoreError::Conflict { current: Some(found), .. }) = store.commit(vec![create]).await else {
        panic!("created twice")
    };
    assert_eq!(found, current);
    rest(&store).await;
    let replace = requiring(Precondition::Revision(current.revision), put(&pods, "ns/own-1", "new"));
    let replaced = set(&store, replace).await;
    assert_eq!(store.get(&key).await.unwrap().unwrap().revision, replaced);
    assert_eq!(rest(&store).await, [id]);
    // Of what has no record nothing is left behind.
    set(&store, delete(&pods, "ns/none")).await;
    rest(&store).await;
    assert!(store.at_rest(id));
    // A transaction on two tenants, one of which is new.
    let other = collection(2, "pods");
    let both = store.commit(vec![delete(&pods, "ns/own-1"), put(&other, "x", "1")]).await.unwrap();
    assert_eq!(store.get(&key).await.unwrap(), None);
    assert_eq!(store.get(&put(&other, "x", "").key).await.unwrap().unwrap().revision, both);
}

pub(crate) async fn who_follows_a_tenant_at_rest_goes_on(store: Shared) {
    fill(&store, 1).await;
    let pods = collection(1, "pods");
    let key = put(&pods, "ns/own-1", "").key;
    let before = store.get(&key).await.unwrap().unwrap();
    let mut mine = store.follow(Scope::Collection(pods.clone()), store.revision()).unwrap();
    let mut all = store.follow(Scope::All, store.revision()).unwrap();
    assert_eq!(rest(&store).await, [pods.tenant]);
    let mut late = store.follow(Scope::Collection(pods.clone()), store.revision()).unwrap();
    for cursor in [&mut mine, &mut all, &mut late] {
        assert!(cursor.poll_now().unwrap().is_empty());
        assert_eq!(cursor.revision(), store.revision());
    }
    assert!(store.at_rest(pods.tenant), "woken by those who follow it");
    let revision = set(&store, put(&pods, "ns/own-1", "new")).await;
    for mut cursor in [mine, all, late] {
        let changes = cursor.next().await.unwrap();
        assert_eq!(changes.iter().map(|c| c.revision).collect::<Vec<_>>(), [revision]);
        assert_eq!(changes[0].previous, Some((before.value.clone(), before.revision)));
    }
}

pub(crate) async fn purge_leaves_nothing_of_a_tenant_at_rest(store: Shared) {
    fill(&store, 1).await;
    fill(&store, 2).await;
    let (gone, stays) = (collection(1, "pods"), everything(&store, 2).await);
    assert_eq!(rest(&store).await.len(), 2);
    store.purge(gone.tenant).await.unwrap();
    assert_eq!(store.tenants().await.unwrap(), [collection(2, "").tenant]);
    assert!(!store.at_rest(gone.tenant));
    assert!(everything(&store, 1).await.is_empty());
    set(&store, requiring(Precondition::Absent, put(&gone, "ns/own-1", "again"))).await;
    assert_eq!(store.count(&gone).await.unwrap(), 1);
    assert_eq!(everything(&store, 2).await, stays);
}

pub(crate) async fn a_backup_has_tenants_at_rest_and_leaves_them_there(store: Shared) {
    fill(&store, 1).await;
    fill(&store, 2).await;
    set(&store, put(&collection(1, "secrets"), "ns/large", &"large ".repeat(200_000))).await;
    let before = everything(&store, 1).await;
    assert_eq!(rest(&store).await.len(), 2);
    for only in [None, Some(collection(1, "").tenant)] {
        let (bytes, at) = backup(store.as_ref(), only).await;
        assert_eq!(at, store.revision());
        assert!(store.at_rest(collection(1, "").tenant) && store.at_rest(collection(2, "").tenant));
        let copy = collection(3 + u8::from(only.is_some()), "");
        restore_tenant(&store, &bytes, collection(1, "").tenant, copy.tenant).await.unwrap();
        let strip = |all: Vec<(SmolStr, usize, Vec<Record>)>| {
            let plain = |r: Record| (r.name, r.value);
            all.into_iter().map(|(n, c, r)| (n, c, r.into_iter().map(plain).collect())).collect::<Vec<(_, _, Vec<_>)>>()
        };
        assert_eq!(strip(everything(&store, copy.tenant.as_bytes()[0]).await), strip(before.clone()));
    }
}

/// Readers, writers and whoever purges meet one that lays to rest all the time.
pub(crate) async fn nothing_is_lost_while_tenants_come_and_go(store: Shared) {
    const TENANTS: u8 = 4;
    const ROUNDS: u32 = 40;
    for tenant in 1..=TENANTS {
        fill(&store, tenant).await;
    }
    let same = everything(&store, 1).await;
    let evictor = {
        let store = store.clone();
        tokio::spawn(async move {
            let mut rested = 0;
            loop {
                rested += rest(&store).await.len();
                tokio::task::yield_now().await;
                if store.count(&collection(9, "done")).await.unwrap() > 0 {
                    return rested;
                }
            }
        })
    };
    let work = |tenant: u8, worker: u8| {
        let store = store.clone();
        async move {
            let counter = put(&collection(tenant, "counters"), "n", "").key;
            let mut last = 0;
            for round in 0..ROUNDS {
                loop {
                    let (n, require) = match store.get(&counter).await.unwrap() {
                        None => (0, Precondition::Absent),
                        Some(r) => {
                            let n: u32 = std::str::from_utf8(&r.value).unwrap().parse().unwrap();
                            (n, Precondition::Revision(r.revision))
                        }
                    };
                    let value = Some(Bytes::from((n + 1).to_string()));
                    match store.commit(vec![Write { key: counter.clone(), value, require }]).await {
                        Ok(revision) => {
                            assert!(revision > last);
                            last = revision;
                            break;
                        }
                        Err(StoreError::Conflict { .. }) => {}
                        Err(e) => panic!("{e}"),
                    }
                }
                let own = collection(tenant, &format!("of-{worker}"));
                set(&store, put(&own, &round.to_string(), "x")).await;
                assert_eq!(store.count(&own).await.unwrap(), round as usize + 1);
            }
        }
    };
    let workers: Vec<_> = (2..=TENANTS)
        .flat_map(|tenant| (0..4).map(move |worker| (tenant, worker)))
        .map(|(t, w)| tokio::spawn(work(t, w)))
        .collect();
    // Nobody writes to this one: it goes and comes back whole.
    while !workers.iter().all(tokio::task::JoinHandle::is_finished) {
        assert_eq!(everything(&store, 1).await, same);
        tokio::task::yield_now().await;
    }
    for worker in workers {
        worker.await.unwrap();
    }
    set(&store, put(&collection(9, "done"), "x", "")).await;
    let rested = evictor.await.unwrap();
    assert!(rested > 4, "{rested}");
    for tenant in 2..=TENANTS {
        let counted = store.get(&put(&collection(tenant, "counters"), "n", "").key).await.unwrap().unwrap();
        assert_eq!(counted.value, (4 * ROUNDS).to_string());
    }
}
