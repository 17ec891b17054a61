//! All objects of a tenant are replaced while it and others are used.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use apimachinery::tenant::TenantId;
use apiserver_shim::tenants::{ReplaceError, TenantError, Tenants};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use smol_str::SmolStr;
use store::{CollectionId, Key, Plain, Precondition, RangeQuery, Store, Write};

use crate::world::{A, B, Client, World};

pub const MAPS: &str = "/api/v1/namespaces/default/configmaps";

pub async fn map(client: &Client, name: &str, data: &str) -> Value {
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"is": data}});
    client.create(MAPS, map).await
}

/// Names and data of the maps of the namespace `default`.
pub async fn maps(client: &Client) -> BTreeMap<String, String> {
    let (code, list) = client.get(MAPS).await;
    assert_eq!(code, 200, "{list}");
    let entry = |item: &Value| {
        let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
        (text(&item["metadata"]["name"]), text(&item["data"]["is"]))
    };
    list["items"].as_array().unwrap().iter().map(entry).collect()
}

pub async fn all(store: &dyn Store, tenant: TenantId) -> Vec<Plain> {
    let mut all = Vec::new();
    for name in store.collections(tenant).await.unwrap() {
        let collection = CollectionId { tenant, name: name.clone() };
        let records = store.range(&collection, RangeQuery::default()).await.unwrap().records;
        all.extend(records.into_iter().map(|r| (name.clone(), r.name, r.value)));
    }
    all
}

fn number(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn clients_see_what_was_replaced_as_changes() {
    clients_see_changes(&World::with_two().await).await;
}

pub async fn clients_see_changes(world: &World) {
    let (a, b) = (world.admin(A), world.admin(B));
    for (name, data) in [("stays", "1"), ("changes", "1"), ("comes-back", "1"), ("is-made-again", "1")] {
        map(&a, name, data).await;
    }
    map(&b, "other", "1").await;
    let then = all(world.store.as_ref(), A).await;
    a.send("DELETE", &format!("{MAPS}/comes-back"), None).await;
    a.send("DELETE", &format!("{MAPS}/is-made-again"), None).await;
    map(&a, "is-made-again", "2").await;
    map(&a, "goes", "2").await;
    let merge = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "changes"}, "data": {"is": "2"}});
    assert_eq!(a.send("PUT", &format!("{MAPS}/changes"), Some(merge)).await.0, 200);
    let stays = a.get(&format!("{MAPS}/stays")).await.1;
    let before = a.get(MAPS).await.1;
    let watch = a.open("GET", &format!("{MAPS}?watch=true"), None).await;
    let others = b.open("GET", &format!("{MAPS}?watch=true&timeoutSeconds=2"), None).await;

    let told = Arc::new(AtomicUsize::new(0));
    world.tenants.on_replaced({
        let told = Arc::clone(&told);
        move |id| {
            assert_eq!(id, A);
            told.fetch_add(1, Ordering::Relaxed);
        }
    });
    let authority = world.tenant(A).authority().certificate().clone();
    let written = world.tenants.replace(A, |_| Ok::<_, Infallible>(then.clone())).await.unwrap();
    assert_eq!((written, told.load(Ordering::Relaxed)), (4, 1));
    assert_eq!(world.tenant(A).authority().certificate(), &authority, "who had a kubeconfig has it still");
    assert_eq!(all(world.store.as_ref(), A).await, then);
    // Watches have ended in the way in which they end when the server stops: clients come back.
    assert!(watch.into_body().collect().await.is_ok());
    assert!(!others.into_body().collect().await.unwrap().to_bytes().is_empty(), "others are served on");

    // What has not changed is not written, and what has is told to who comes back with the revision it knows.
    assert_eq!(a.get(&format!("{MAPS}/stays")).await.1, stays);
    assert!(number(&a.get(MAPS).await.1) > number(&before));
    let from = number(&before);
    let watch = a.open("GET", &format!("{MAPS}?watch=true&timeoutSeconds=1&resourceVersion={from}"), None).await;
    let body = watch.into_body().collect().await.unwrap().to_bytes();
    let events: Vec<Value> = body.split(|b| *b == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
    let mut seen: Vec<(&str, &str)> = events
        .iter()
        .map(|e| (e["type"].as_str().unwrap(), e["object"]["metadata"]["name"].as_str().unwrap()))
        .collect();
    assert!(events.iter().map(|e| number(&e["object"])).is_sorted_by(|a, b| a < b));
    seen.sort_unstable();
    let wanted = [
        ("ADDED", "comes-back"),
        ("ADDED", "is-made-again"),
        ("DELETED", "goes"),
        ("DELETED", "is-made-again"),
        ("MODIFIED", "changes"),
    ];
    assert_eq!(seen, wanted);
    map(&a, "new", "3").await;
    assert_eq!(maps(&b).await, BTreeMap::from([("other".to_owned(), "1".to_owned())]));
    assert_eq!(world.store.tenants().await.unwrap(), [TenantId::SYSTEM, A, B]);
}

#[tokio::test]
async fn what_is_refused_changes_nothing() {
    refused_changes_nothing(&World::with_two().await).await;
}

pub async fn refused_changes_nothing(world: &World) {
    let a = world.admin(A);
    map(&a, "mine", "1").await;
    let before = all(world.store.as_ref(), A).await;
    let refused = world.tenants.replace(A, |present| if present == before { Err("no") } else { Ok(present) }).await;
    assert!(matches!(refused, Err(ReplaceError::Refused("no"))));
    // A record that no store takes: it fails when it is staged.
    let bad = vec![(SmolStr::new("configmaps"), SmolStr::new("n".repeat(2000)), before[0].2.clone())];
    let refused = world.tenants.replace(A, |_| Ok::<_, Infallible>(bad)).await;
    assert!(matches!(refused, Err(ReplaceError::Stage(_))), "{refused:?}");
    assert_eq!(all(world.store.as_ref(), A).await, before);
    assert_eq!(maps(&a).await.len(), 1);
    let unknown = TenantId::from_bytes([7; 16]);
    let refused = world.tenants.replace(unknown, |_| Ok::<_, Infallible>(before.clone())).await;
    assert!(matches!(refused, Err(ReplaceError::Tenant(TenantError::Unknown(_)))));
    assert_eq!(world.store.tenants().await.unwrap(), [TenantId::SYSTEM, A, B]);
}

/// Whatever was done when the process ended: after the next start all of it is there, or none.
#[tokio::test]
async fn one_that_is_cut_off_is_done_whole_or_not_at_all() {
    let mut world = World::with_two().await;
    cut_off(&mut world, 1, async |world| {
        let key = Key { collection: CollectionId { tenant: TenantId::SYSTEM, name: "x".into() }, name: "x".into() };
        let write = Write { key, value: Some(bytes::Bytes::new()), require: Precondition::None };
        world.store.commit(vec![write]).await.unwrap();
    })
    .await;
}

/// Cuts a restore off after each `step`th write. `settle` sees to it that what was on its way to the store is there.
pub async fn cut_off(world: &mut World, step: usize, settle: impl AsyncFn(&mut World)) {
    let a = world.admin(A);
    for i in 0..20 {
        map(&a, &format!("m{i}"), "old").await;
    }
    let old = all(world.store.as_ref(), A).await;
    for i in 0..20 {
        assert_eq!(a.send("DELETE", &format!("{MAPS}/m{i}"), None).await.0, 200);
    }
    for i in 10..30 {
        map(&a, &format!("m{i}"), "new").await;
    }
    let new = all(world.store.as_ref(), A).await;
    let (mut none, mut whole) = (0, 0);
    for writes in (0..).step_by(step) {
        let tenants = Tenants::load(Arc::clone(&world.store), world.clock.clone()).await.unwrap();
        let before = all(world.store.as_ref(), A).await;
        let after = if before == old { &new } else { &old };
        let ended = {
            let mut replace = pin!(tenants.replace(A, |_| Ok::<_, Infallible>(after.clone())));
            let end = world.store.revision() + writes;
            poll_fn(|context| match replace.as_mut().poll(context) {
                Poll::Ready(done) => Poll::Ready(Some(done)),
                Poll::Pending if world.store.revision() >= end => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            })
            .await
        };
        drop(tenants);
        settle(world).await;
        let again = Tenants::load(Arc::clone(&world.store), world.clock.clone()).await.unwrap();
        let now = all(world.store.as_ref(), A).await;
        assert!(now == before || now == *after, "cut off after {writes} writes: {} objects", now.len());
        assert_eq!(world.store.tenants().await.unwrap(), [TenantId::SYSTEM, A, B], "nothing is left over");
        assert!(again.get(A).is_some() && again.get(B).is_some());
        *(if now == before { &mut none } else { &mut whole }) += 1;
        if ended.is_some() {
            assert_eq!(now, *after);
            break;
        }
    }
    assert!(none > 1 && whole > 1, "cut off before {none} times and after {whole} times");
}
