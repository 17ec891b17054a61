//! Tenants come, go and come back.

use std::collections::BTreeMap;
use std::sync::Arc;

use apimachinery::tenant::TenantId;
use apiserver_shim::tenants::{SpecError, TenantError, TenantSpec, Tenants};
use http_body_util::BodyExt;
use serde_json::json;
use store::{CollectionId, Key, Precondition, RangeQuery, Write};

use crate::world::{A, B, World};

fn addressed() -> TenantSpec {
    TenantSpec {
        name: "a".into(),
        port: 0,
        service_ips: vec!["10.0.0.7".parse().unwrap()],
        endpoint_ips: vec!["192.0.2.2".parse().unwrap()],
        endpoint_port: 6443,
        service_cidrs: vec!["10.0.0.0/16".into()],
        ..TenantSpec::default()
    }
}

#[tokio::test]
async fn a_new_tenant_has_what_a_new_cluster_has() {
    let world = World::start().await;
    world.tenants.attach(A, addressed()).await.unwrap();
    let admin = world.admin(A);
    let count = |path: &'static str| {
        let admin = admin.clone();
        async move { admin.get(path).await.1["items"].as_array().unwrap().len() }
    };
    assert_eq!(count("/api/v1/namespaces").await, 4);
    assert_eq!(count("/apis/rbac.authorization.k8s.io/v1/clusterroles").await, 69);
    assert_eq!(count("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings").await, 50);
    assert_eq!(count("/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas").await, 11);
    assert_eq!(count("/apis/scheduling.k8s.io/v1/priorityclasses").await, 2);
    let (_, service) = admin.get("/api/v1/namespaces/default/services/kubernetes").await;
    assert_eq!(service["spec"]["clusterIP"], "10.0.0.7");
    let (_, slice) = admin.get("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes").await;
    assert_eq!(slice["endpoints"][0]["addresses"], json!(["192.0.2.2"]));
    // Attaching again with another address moves the objects and nothing else.
    let uid = service["metadata"]["uid"].clone();
    let moved = TenantSpec { service_ips: vec!["10.0.0.8".parse().unwrap()], ..addressed() };
    world.tenants.attach(A, moved).await.unwrap();
    let (_, service) = admin.get("/api/v1/namespaces/default/services/kubernetes").await;
    assert_eq!((&service["spec"]["clusterIP"], &service["metadata"]["uid"]), (&json!("10.0.0.8"), &uid));
}

#[tokio::test]
async fn objects_with_addresses_that_lack_after_a_restart_are_made_when_the_tenant_is_attached() {
    let world = World::start().await;
    world.tenants.attach(A, addressed()).await.unwrap();
    let slices = CollectionId { tenant: A, name: "discovery.k8s.io/endpointslices".into() };
    let slice = Key { collection: slices.clone(), name: "default/kubernetes".into() };
    let gone = Write { key: slice, value: None, require: Precondition::None };
    let revision = world.store.commit(vec![gone]).await.unwrap();
    let again = Tenants::load(Arc::clone(&world.store), world.clock.clone()).await.unwrap();
    assert_eq!(world.store.revision(), revision, "loading writes nothing");
    again.attach(A, addressed()).await.unwrap();
    assert_eq!(world.store.count(&slices).await.unwrap(), 1);
}

/// `cargo test --release -p apiserver-shim --test identity -- --ignored --nocapture processor_time_of_a_start`
#[tokio::test]
#[ignore = "it measures, which takes a while"]
async fn processor_time_of_a_start_with_thousands() {
    const TENANTS: u32 = 5000;
    let spent = || -> f64 {
        let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
        stat.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e6
    };
    let world = World::start().await;
    let ids: Vec<TenantId> = (0..TENANTS).map(|n| TenantId::from_bytes(u128::from(n + 1).to_le_bytes())).collect();
    for id in &ids {
        world.tenants.attach(*id, addressed()).await.unwrap();
    }
    let before = spent();
    let again = Tenants::load(Arc::clone(&world.store), world.clock.clone()).await.unwrap();
    println!("loading {TENANTS}: {:.0} ms", spent() - before);
    let before = spent();
    for id in &ids {
        again.attach(*id, addressed()).await.unwrap();
    }
    println!("attaching them again: {:.0} ms", spent() - before);
    let before = spent();
    for id in &ids {
        again.get(*id).unwrap().token_key().sign(&json!({})).unwrap();
    }
    println!("a signature of each: {:.0} ms", spent() - before);
}

#[tokio::test]
async fn tenants_are_the_same_after_a_restart() {
    let world = World::with_two().await;
    let admin = world.admin(A);
    admin.account("bot").await;
    let token = admin.token_for("bot", json!({})).await;
    world.tenants.detach(B).await.unwrap();
    let again = Tenants::load(Arc::clone(&world.store), world.clock.clone()).await.unwrap();
    assert_eq!(again.ids(), [A]);
    let (old, new) = (world.tenant(A), again.get(A).unwrap());
    assert_eq!(old.authority().certificate(), new.authority().certificate());
    assert!(new.token_key().verify(&token).is_ok());
    again.attach(B, TenantSpec { name: "b".into(), ..TenantSpec::default() }).await.unwrap();
    assert_eq!(again.ids().len(), 2);
}

#[tokio::test]
async fn detaching_ends_watches_and_refuses_what_comes() {
    let world = World::with_two().await;
    let admin = world.admin(A);
    let watch = admin.open("GET", "/api/v1/namespaces/default/configmaps?watch=true", None).await;
    assert_eq!(watch.status(), 200);
    world.tenants.detach(A).await.unwrap();
    // The watch has ended, or detach would not have come back; its body ends without an error.
    assert!(watch.into_body().collect().await.is_ok());
    assert!(admin.connect().await.is_err());
    assert_eq!(world.admin(B).get("/api/v1/namespaces").await.0, 200);
}

#[tokio::test]
async fn deleting_leaves_nothing_and_a_new_one_of_the_same_name_is_another() {
    let world = World::with_two().await;
    let old = world.tenant(A);
    world.tenants.delete(A).await.unwrap();
    assert!(world.store.collections(A).await.unwrap().is_empty());
    assert!(matches!(world.tenants.detach(A).await, Err(TenantError::Unknown(A))));
    world.tenants.delete(A).await.unwrap();
    let new = world.tenants.attach(A, TenantSpec { name: "a".into(), ..TenantSpec::default() }).await.unwrap();
    assert_ne!(old.token_key().id(), new.token_key().id());
    assert_ne!(old.authority().certificate(), new.authority().certificate());
}

#[tokio::test]
async fn names_and_ports_of_others_can_not_be_had() {
    let world = World::start().await;
    let spec = TenantSpec { hostnames: vec!["a.example.com".into()], port: 24190, ..TenantSpec::default() };
    world.tenants.attach(A, spec.clone()).await.unwrap();
    assert_eq!(world.tenants.by_server_name("A.Example.com").unwrap().id(), A);
    let error = world.tenants.attach(B, TenantSpec { port: 0, ..spec.clone() }).await.unwrap_err();
    assert!(matches!(error, TenantError::Spec(SpecError::HostnameTaken(_))), "{error}");
    let error = world.tenants.attach(B, TenantSpec { hostnames: Vec::new(), ..spec }).await.unwrap_err();
    assert!(matches!(error, TenantError::Spec(SpecError::PortTaken(24190))), "{error}");
    assert!(world.tenants.get(B).is_none());
    let compact = A.to_string().replace('-', "");
    assert!(world.tenants.by_server_name(&format!("{compact}.tenantry")).is_none());
    assert!(world.tenants.by_server_name(&A.to_string()).is_none());
}

#[tokio::test]
async fn what_all_tenants_have_in_common_is_the_same_bytes() {
    let world = World::with_two().await;
    let mut values: BTreeMap<bytes::Bytes, usize> = BTreeMap::new();
    for tenant in [A, B] {
        for name in world.store.collections(tenant).await.unwrap() {
            let collection = CollectionId { tenant, name };
            for record in world.store.range(&collection, RangeQuery::default()).await.unwrap().records {
                *values.entry(record.value).or_default() += 1;
            }
        }
    }
    let own: usize = values.iter().filter(|(_, n)| **n == 1).map(|(value, _)| value.len()).sum();
    assert_eq!(values.values().filter(|n| **n == 2).count(), 154);
    assert!(own / 2 < 3 * 1024, "{own} bytes are two tenants' own");
}

#[tokio::test]
async fn the_servers_own_records_are_no_tenants() {
    let world = World::with_two().await;
    let error = world.tenants.attach(TenantId::SYSTEM, TenantSpec::default()).await.unwrap_err();
    assert!(matches!(error, TenantError::Spec(SpecError::NilUid)), "{error}");
    let nil = format!("{}.tenantry", TenantId::SYSTEM);
    assert!(world.tenants.by_server_name(&nil).is_none());
}
