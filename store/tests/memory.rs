//! What things cost in memory, counted by the allocator: deterministic, so the bounds are tight.

#![allow(clippy::unwrap_used, reason = "a test's helpers may fail it")]

use std::alloc::System;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use apimachinery::tenant::TenantId;
use bytes::Bytes;
use cap::Cap;
use store::{CollectionId, Embedded, Key, Precondition, RangeQuery, Scope, Store, Write};

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

fn id(tenant: u32, name: &str) -> CollectionId {
    let mut bytes = [1; 16];
    bytes[..4].copy_from_slice(&tenant.to_le_bytes());
    CollectionId { tenant: TenantId::from_bytes(bytes), name: name.into() }
}

/// Puts a value that no other record has.
async fn put(store: &Embedded, collection: CollectionId, name: &str, size: usize) {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let mut value = NEXT.fetch_add(1, Ordering::Relaxed).to_le_bytes().to_vec();
    value.resize(size, b'x');
    put_value(store, collection, name, value).await;
}

async fn put_value(store: &Embedded, collection: CollectionId, name: &str, value: Vec<u8>) {
    let key = Key { collection, name: name.into() };
    let write = Write { key, value: Some(Bytes::from(value)), require: Precondition::None };
    store.commit(vec![write]).await.unwrap();
}

/// Bytes allocated, after the writer's buffers have settled.
async fn settled(store: &Embedded) -> usize {
    store.compact(store.revision()).await.unwrap();
    ALLOCATOR.allocated()
}

/// One test: the allocator is the process's.
#[tokio::test]
async fn memory_stays_within_its_bounds() {
    let store = Arc::new(Embedded::in_memory().unwrap());
    put(&store, id(u32::MAX, "warm"), "up", 1).await;
    settled(&store).await;

    // An idle tenant: 250 records of 300 bytes in 60 collections, names as bootstrap objects have them; each tenant with
    // values of its own, then all with the same.
    const TENANTS: u32 = 100;
    let mut tenant = [0, 0];
    for (same, bytes) in [false, true].into_iter().zip(&mut tenant) {
        let before = settled(&store).await;
        for number in 0..TENANTS {
            for record in 0..250 {
                let collection = if record < 150 { record % 4 } else { record % 60 };
                let collection =
                    id(number + u32::from(same) * TENANTS, &format!("rbac.authorization.k8s.io/c{collection}"));
                let name = format!("system:controller:some-{record}");
                if same {
                    put_value(&store, collection, &name, vec![b'x'; 300]).await;
                } else {
                    put(&store, collection, &name, 300).await;
                }
            }
        }
        *bytes = (settled(&store).await - before) / TENANTS as usize;
    }
    let [own, common] = tenant;
    let overhead = (own - 250 * 300) / 250;
    println!("idle tenant of 250 records of 300 bytes: {own} bytes, {overhead} for a record beside its value");
    assert!(overhead <= 200, "{overhead} bytes for a record");
    println!("idle tenant whose records others have too: {common} bytes, {} for a record", common / 250);
    assert!(common / 250 <= 120, "{} bytes for a record that others have too", common / 250);

    // A large collection.
    let before = settled(&store).await;
    const RECORDS: usize = 50_000;
    for i in 0..RECORDS {
        put(&store, id(0, "pods"), &format!("ns/{:08}", i * 7919 % RECORDS), 1024).await;
    }
    let record = (settled(&store).await - before) / RECORDS - 1024;
    println!("record of a large collection: {record} bytes beside its value of 1024");
    assert!(record <= 112, "{record} bytes for a record");

    // History: the superseded value and the change.
    let before = ALLOCATOR.allocated();
    const CHANGES: usize = 20_000;
    for i in 0..CHANGES {
        put(&store, id(0, "pods"), &format!("ns/{i:08}"), 1024).await;
    }
    let change = (ALLOCATOR.allocated() - before) / CHANGES - 1024;
    println!("change that is held: {change} bytes beside the superseded value");
    assert!(change <= 300, "{change} bytes for a change");
    let after = settled(&store).await;
    assert!(after <= before + (64 << 10), "{} bytes of history are not given back", after - before);

    // Cursors.
    let before = ALLOCATOR.allocated();
    let cursors: Vec<_> =
        (0..1000).map(|_| store.follow(Scope::Collection(id(0, "pods")), store.revision()).unwrap()).collect();
    let cursor = (ALLOCATOR.allocated() - before) / cursors.len();
    println!("cursor: {cursor} bytes");
    assert!(cursor <= 96, "{cursor} bytes for a cursor");
    drop(cursors);

    // Reading leaves nothing behind but the counters of shared values.
    let before = ALLOCATOR.allocated();
    drop(store.range(&id(0, "pods"), RangeQuery::default()).await.unwrap());
    assert!(ALLOCATOR.allocated() - before <= RECORDS * 32);

    // A tenant that is purged is gone.
    let before = settled(&store).await;
    for tenant in 0..2 * TENANTS {
        store.purge(id(tenant, "").tenant).await.unwrap();
    }
    let left = before - settled(&store).await;
    assert!(left as f64 > f64::from(TENANTS) * (own + common) as f64 * 0.98);
}
