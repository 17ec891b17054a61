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

/// A reference to an object that was created.
fn to(owner: &Value) -> Value {
    let (kind, api_version) = (&owner["kind"], &owner["apiVersion"]);
    json!({"apiVersion": api_version, "kind": kind, "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"],
        "blockOwnerDeletion": true})
}

/// A config map with these owners.
async fn map(world: &World, name: &str, owners: &[&Value]) -> Value {
    let owners: Vec<Value> = owners.iter().map(|owner| to(owner)).collect();
    let map = json!({"metadata": {"name": name, "ownerReferences": owners}});
    world.create("configmaps", "default", map).await.unwrap()
}

async fn gone(world: &World, names: &[&str]) {
    for name in names {
        let gone = async || world.get("configmaps", "default", name).await.is_none().then_some(());
        world.until(&format!("{name} goes"), gone).await;
    }
}

#[tokio::test]
async fn dependents_go_stay_or_are_let_go_as_the_deletion_of_their_owner_says() {
    let world = World::start().await;
    let role = json!({"metadata": {"name": "everywhere"}, "rules": []});
    let role = world.create("clusterroles.rbac.authorization.k8s.io", "", role).await.unwrap();
    let (a, b, c) = (map(&world, "a", &[]).await, map(&world, "b", &[]).await, map(&world, "c", &[]).await);
    map(&world, "of-a", &[&a]).await;
    map(&world, "of-a-and-b", &[&a, &b]).await;
    map(&world, "of-b", &[&b]).await;
    map(&world, "of-c", &[&c]).await;
    map(&world, "of-role", &[&role]).await;
    map(&world, "moves", &[&a]).await;
    world.merge("configmaps", "default", "moves", json!({"metadata": {"ownerReferences": [to(&c)]}})).await.unwrap();

    world.delete("configmaps", "default", "a", Some("Background")).await;
    gone(&world, &["of-a"]).await;
    world
        .until("one owner is left", async || {
            let map = world.get("configmaps", "default", "of-a-and-b").await?;
            (map["metadata"]["ownerReferences"].as_array()?.len() == 1).then_some(())
        })
        .await;
    world.delete("configmaps", "default", "b", Some("Orphan")).await;
    gone(&world, &["b"]).await;
    for name in ["of-b", "of-a-and-b"] {
        let map = world.get("configmaps", "default", name).await.unwrap();
        assert!(map["metadata"].get("ownerReferences").is_none_or(|o| o == &json!([])), "{map}");
    }
    assert!(world.get("configmaps", "default", "moves").await.is_some());
    world.delete("configmaps", "default", "c", Some("Foreground")).await;
    gone(&world, &["of-c", "moves", "c"]).await;
    world.delete("clusterroles.rbac.authorization.k8s.io", "", "everywhere", None).await;
    gone(&world, &["of-role"]).await;
}

#[tokio::test]
async fn what_was_left_behind_while_nobody_looked_is_found_at_the_next_start() {
    let mut world = World::start().await;
    let (a, b) = (map(&world, "a", &[]).await, map(&world, "b", &[]).await);
    map(&world, "of-a", &[&a]).await;
    world.stop();
    map(&world, "of-b", &[&b]).await;
    world.delete("configmaps", "default", "a", Some("Background")).await;
    world.delete("configmaps", "default", "b", Some("Orphan")).await;
    world.begin_anew();
    gone(&world, &["of-a", "b"]).await;
    let map = world.get("configmaps", "default", "of-b").await.unwrap();
    assert!(map["metadata"].get("ownerReferences").is_none_or(|o| o == &json!([])), "{map}");
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
