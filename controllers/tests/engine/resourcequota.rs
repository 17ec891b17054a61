//! Quotas count what is there: from the moment they are made, as it comes, and as it goes.

use serde_json::{Value, json};

use super::world::World;

const QUOTAS: &str = "resourcequotas";

async fn quota(world: &World, name: &str, spec: Value) {
    world
        .create(QUOTAS, "default", json!({"metadata": {"name": name, "namespace": "default"}, "spec": spec}))
        .await
        .unwrap();
}

async fn counted(world: &World, name: &str, used: Value) {
    world
        .until(&format!("{name} {used}"), async || {
            let quota = world.get(QUOTAS, "default", name).await?;
            (quota["status"]["used"] == used && quota["status"]["hard"] == quota["spec"]["hard"]).then_some(())
        })
        .await;
}

fn pod(name: &str, cpu: &str) -> Value {
    let container = json!({"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}});
    json!({"metadata": {"name": name, "namespace": "default"},
        "spec": {"containers": [container], "automountServiceAccountToken": false}})
}

fn config_map(name: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": "default"}})
}

#[tokio::test]
async fn a_pod_counts_while_it_lives() {
    let world = World::start().await;
    world.create("pods", "default", pod("before", "100m")).await.unwrap();
    quota(&world, "q", json!({"hard": {"pods": "3", "cpu": "1", "count/pods": "9"}})).await;
    counted(&world, "q", json!({"pods": "1", "cpu": "100m", "count/pods": "1"})).await;
    world.create("pods", "default", pod("a", "900m")).await.unwrap();
    let refused = world.create("pods", "default", pod("b", "1m")).await.unwrap_err();
    assert_eq!(
        refused.message,
        "pods \"b\" is forbidden: exceeded quota: q, requested: cpu=1m, used: cpu=1, limited: cpu=1"
    );
    world.merge("pods", "default", "before/status", json!({"status": {"phase": "Succeeded"}})).await.unwrap();
    counted(&world, "q", json!({"pods": "1", "cpu": "900m", "count/pods": "2"})).await;
    world.delete("pods", "default", "a", None).await;
    counted(&world, "q", json!({"pods": "0", "cpu": "0", "count/pods": "1"})).await;
}

#[tokio::test]
async fn quotas_count_by_scope_and_follow_their_limits() {
    let world = World::start().await;
    quota(&world, "ending", json!({"hard": {"pods": "2"}, "scopes": ["Terminating"]})).await;
    quota(&world, "staying", json!({"hard": {"pods": "2"}, "scopes": ["NotTerminating"]})).await;
    counted(&world, "ending", json!({"pods": "0"})).await;
    counted(&world, "staying", json!({"pods": "0"})).await;
    world.create("pods", "default", pod("a", "1")).await.unwrap();
    counted(&world, "staying", json!({"pods": "1"})).await;
    counted(&world, "ending", json!({"pods": "0"})).await;
    // What ends changes sides.
    world.merge("pods", "default", "a", json!({"spec": {"activeDeadlineSeconds": 3600}})).await.unwrap();
    counted(&world, "staying", json!({"pods": "0"})).await;
    counted(&world, "ending", json!({"pods": "1"})).await;
    world.merge(QUOTAS, "default", "ending", json!({"spec": {"hard": {"cpu": "2"}}})).await.unwrap();
    counted(&world, "ending", json!({"pods": "1", "cpu": "1"})).await;
    // A status that someone else wrote is put right.
    world
        .merge(QUOTAS, "default", "ending/status", json!({"status": {"hard": {"cpu": "5"}, "used": {"cpu": "4"}}}))
        .await
        .unwrap();
    counted(&world, "ending", json!({"pods": "1", "cpu": "1"})).await;
}

#[tokio::test]
async fn objects_of_any_kind_count_and_quotas_themselves() {
    let world = World::start().await;
    let definition = json!({
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}],
        },
    });
    world.create("customresourcedefinitions.apiextensions.k8s.io", "", definition).await.unwrap();
    let hard = json!({"configmaps": "100", "count/widgets.example.com": "1", "count/nothings.example.com": "1", "resourcequotas": "1"});
    quota(&world, "q", json!({"hard": hard})).await;
    let maps = world.list("configmaps", "default").await.len();
    let used = |maps: usize, widgets: &str| json!({"configmaps": maps.to_string(), "count/widgets.example.com": widgets, "resourcequotas": "1"});
    counted(&world, "q", used(maps, "0")).await;
    let widget = |name: &str| json!({"metadata": {"name": name, "namespace": "default"}});
    world.create("widgets.example.com", "default", widget("a")).await.unwrap();
    assert_eq!(world.create("widgets.example.com", "default", widget("b")).await.unwrap_err().code, 403);
    for i in 0..5 {
        world.create("configmaps", "default", config_map(&format!("m{i}"))).await.unwrap();
    }
    counted(&world, "q", used(maps + 5, "1")).await;
    world.delete("widgets.example.com", "default", "a", None).await;
    for i in 0..5 {
        world.delete("configmaps", "default", &format!("m{i}"), None).await;
    }
    counted(&world, "q", used(maps, "0")).await;
}

#[tokio::test]
async fn services_and_claims_count_by_what_they_are_now() {
    let world = World::start().await;
    let hard = json!({"services": "5", "services.nodeports": "2", "requests.storage": "5Gi", "gold.storageclass.storage.k8s.io/persistentvolumeclaims": "1"});
    quota(&world, "q", json!({"hard": hard})).await;
    let used = |services: u8, ports: u8, storage: &str, claims: u8| {
        json!({"services": services.to_string(), "services.nodeports": ports.to_string(), "requests.storage": storage,
            "gold.storageclass.storage.k8s.io/persistentvolumeclaims": claims.to_string()})
    };
    counted(&world, "q", used(0, 0, "0", 0)).await;
    let service = json!({"metadata": {"name": "s", "namespace": "default"}, "spec": {"type": "NodePort", "ports": [{"port": 1}]}});
    world.create("services", "default", service).await.unwrap();
    let claim = |name: &str| {
        json!({"metadata": {"name": name, "namespace": "default"}, "spec": {"accessModes": ["ReadWriteOnce"],
            "storageClassName": "gold", "resources": {"requests": {"storage": "1Gi"}}}})
    };
    world.create("persistentvolumeclaims", "default", claim("c")).await.unwrap();
    counted(&world, "q", used(1, 1, "1Gi", 1)).await;
    assert_eq!(world.create("persistentvolumeclaims", "default", claim("d")).await.unwrap_err().code, 403);
    world.merge("services", "default", "s", json!({"spec": {"type": "ClusterIP"}})).await.unwrap();
    counted(&world, "q", used(1, 0, "1Gi", 1)).await;
    world.delete("services", "default", "s", None).await;
    world.delete("persistentvolumeclaims", "default", "c", None).await;
    counted(&world, "q", used(0, 0, "0", 0)).await;
}

#[tokio::test]
async fn a_pod_that_should_have_ended_by_now_counts_no_more() {
    let world = World::start().await;
    quota(&world, "q", json!({"hard": {"pods": "1", "count/pods": "2"}})).await;
    counted(&world, "q", json!({"pods": "0", "count/pods": "0"})).await;
    let mut lost = pod("lost", "1");
    lost["spec"]["nodeName"] = json!("n");
    lost["spec"]["terminationGracePeriodSeconds"] = json!(1);
    world.create("pods", "default", lost).await.unwrap();
    counted(&world, "q", json!({"pods": "1", "count/pods": "1"})).await;
    world.delete("pods", "default", "lost", None).await;
    counted(&world, "q", json!({"pods": "0", "count/pods": "1"})).await;
    assert!(world.get("pods", "default", "lost").await.is_some(), "no kubelet has confirmed its end");
}
