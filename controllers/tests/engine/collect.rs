//! What is deleted goes when nothing holds it any more.

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::world::World;

#[tokio::test]
async fn pods_that_own_each_other_in_a_circle_all_go() {
    let world = World::start().await;
    let mut uids = Vec::new();
    for name in ["p1", "p2", "p3"] {
        let pod = world.pod(json!({"metadata": {"name": name}}), true).await;
        uids.push(pod["metadata"]["uid"].clone());
    }
    for (name, owner, uid) in [("p1", "p3", &uids[2]), ("p2", "p1", &uids[0]), ("p3", "p2", &uids[1])] {
        let reference = json!([{"apiVersion": "v1", "kind": "Pod", "name": owner, "uid": uid, "controller": true, "blockOwnerDeletion": true}]);
        world.merge("pods", "default", name, json!({"metadata": {"ownerReferences": reference}})).await.unwrap();
    }
    world.delete("pods", "default", "p1", Some("Foreground")).await;
    world.until("no pods", async || world.list("pods", "default").await.is_empty().then_some(())).await;
}

#[tokio::test]
async fn storage_objects_go_when_nobody_uses_them() {
    let world = World::start().await;
    let claim = json!({"metadata": {"name": "c"}, "spec": {"accessModes": ["ReadWriteOnce"],
        "storageClassName": "", "resources": {"requests": {"storage": "1Gi"}}}});
    world.create("persistentvolumeclaims", "default", claim).await.unwrap();
    let volumes = json!([{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]);
    world.pod(json!({"metadata": {"name": "p"}, "volumes": volumes}), true).await;
    world.delete("persistentvolumeclaims", "default", "c", None).await;

    let volume = json!({"metadata": {"name": "v"}, "spec": {"accessModes": ["ReadWriteOnce"],
        "capacity": {"storage": "1Gi"}, "csi": {"driver": "d", "volumeHandle": "h"}}});
    world.create("persistentvolumes", "", volume).await.unwrap();
    world.merge("persistentvolumes", "", "v/status", json!({"status": {"phase": "Bound"}})).await.unwrap();
    world.delete("persistentvolumes", "", "v", None).await;
    world.merge("persistentvolumes", "", "v/status", json!({"status": {"phase": "Released"}})).await.unwrap();
    world
        .until("the volume goes", async || world.get("persistentvolumes", "", "v").await.is_none().then_some(()))
        .await;

    // The claim has had as long to go, and is still mounted.
    assert!(world.get("persistentvolumeclaims", "default", "c").await.is_some());
    world.delete("pods", "default", "p", None).await;
    world
        .until("the claim goes", async || {
            world.get("persistentvolumeclaims", "default", "c").await.is_none().then_some(())
        })
        .await;
}

fn event(name: &str) -> Value {
    json!({"metadata": {"name": name}, "reason": "r", "involvedObject": {"namespace": "default", "kind": "Pod", "name": "p"}})
}

#[tokio::test]
async fn events_end_after_an_hour_whoever_runs_the_controllers() {
    let world = World::start_with(SignedDuration::from_mins(61), false).await;
    for name in ["a", "b"] {
        world.create("events", "default", event(name)).await.unwrap();
        world.until("it ends", async || world.get("events", "default", name).await.is_none().then_some(())).await;
    }
    // Nothing else is done for such a tenant.
    assert!(world.list("serviceaccounts", "kube-system").await.is_empty());
}

#[tokio::test]
async fn events_stay_for_an_hour() {
    let world = World::start_with(SignedDuration::from_mins(59), true).await;
    world.create("events", "default", event("a")).await.unwrap();
    // Controllers look at changes in their order: when the later one has been seen, the event has been.
    world.create("namespaces", "", json!({"metadata": {"name": "n"}})).await.unwrap();
    world.until("an account", async || world.get("serviceaccounts", "n", "default").await).await;
    assert!(world.get("events", "default", "a").await.is_some());
}
