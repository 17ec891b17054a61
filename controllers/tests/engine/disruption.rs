//! Disruption budgets hold evictions up as their counts say.

use serde_json::{Value, json};

use super::world::World;

const BUDGETS: &str = "poddisruptionbudgets.policy";

async fn counted(world: &World, name: &str, wanted: Value) {
    world
        .until(&format!("{name} {wanted}"), async || {
            let status = world.get(BUDGETS, "default", name).await?["status"].clone();
            let now = json!([
                status["currentHealthy"],
                status["desiredHealthy"],
                status["expectedPods"],
                status["disruptionsAllowed"],
                status["conditions"][0]["reason"],
            ]);
            (now == wanted).then_some(())
        })
        .await;
}

fn budget(spec: Value) -> Value {
    let mut spec = spec;
    spec["selector"] = json!({"matchLabels": {"app": "a"}});
    json!({"metadata": {"name": "b"}, "spec": spec})
}

#[tokio::test]
async fn what_a_budget_spares_may_be_evicted_and_no_more() {
    let world = World::start().await;
    world.create(BUDGETS, "default", budget(json!({"minAvailable": 1}))).await.unwrap();
    counted(&world, "b", json!([0, 1, 0, 0, "InsufficientPods"])).await;
    for name in ["x", "y"] {
        world.pod(json!({"metadata": {"name": name, "labels": {"app": "a"}}}), true).await;
    }
    counted(&world, "b", json!([2, 1, 2, 1, "SufficientPods"])).await;
    world.evict("x").await.unwrap();
    counted(&world, "b", json!([1, 1, 1, 0, "InsufficientPods"])).await;
    let refused = world.evict("y").await.unwrap_err();
    assert_eq!(refused.code, 429);
    assert_eq!(refused.causes[0].message, "The disruption budget b needs 1 healthy pods and has 1 currently");
    // A pod that is not ready takes nothing away while enough others are.
    world.pod(json!({"metadata": {"name": "z", "labels": {"app": "a"}}}), false).await;
    counted(&world, "b", json!([1, 1, 2, 0, "InsufficientPods"])).await;
    world.evict("z").await.unwrap();
    assert!(world.get("pods", "default", "y").await.is_some());
}

#[tokio::test]
async fn percentages_are_of_what_custom_controllers_want() {
    let world = World::start().await;
    let definition = json!({
        "metadata": {"name": "apps.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"plural": "apps", "singular": "app", "kind": "App", "listKind": "AppList"},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
                "subresources": {"scale": {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size"}, "status": {}},
            }],
        },
    });
    world.create("customresourcedefinitions.apiextensions.k8s.io", "", definition).await.unwrap();
    let app = json!({"apiVersion": "example.com/v1", "kind": "App", "metadata": {"name": "app"}, "spec": {"size": 4}});
    let app = world
        .until("the definition", async || world.create("apps.example.com", "default", app.clone()).await.ok())
        .await;
    let owner = json!([{"apiVersion": "example.com/v1", "kind": "App", "name": "app", "uid": app["metadata"]["uid"], "controller": true}]);
    for name in ["x", "y", "z"] {
        let metadata = json!({"name": name, "labels": {"app": "a"}, "ownerReferences": owner});
        world.pod(json!({"metadata": metadata}), true).await;
    }
    world.create(BUDGETS, "default", budget(json!({"maxUnavailable": "50%"}))).await.unwrap();
    counted(&world, "b", json!([3, 2, 4, 1, "SufficientPods"])).await;
    // A pod of a controller without a scale cannot be counted: nothing may go.
    let map = world.create("configmaps", "default", json!({"metadata": {"name": "c"}})).await.unwrap();
    let owner = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "c", "uid": map["metadata"]["uid"], "controller": true}]);
    let other =
        json!({"metadata": {"name": "b2"}, "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "c"}}}});
    world.create(BUDGETS, "default", other).await.unwrap();
    let metadata = json!({"name": "w", "labels": {"app": "c"}, "ownerReferences": owner});
    world.pod(json!({"metadata": metadata}), true).await;
    world
        .until("a count that failed", async || {
            let status = world.get(BUDGETS, "default", "b2").await?["status"].clone();
            (status["conditions"][0]["reason"] == "SyncFailed" && status["disruptionsAllowed"] == 0).then_some(())
        })
        .await;
}
