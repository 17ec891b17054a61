//! Cluster roles hold what the roles that they select hold.

use serde_json::{Value, json};

use super::world::World;

const ROLES: &str = "clusterroles.rbac.authorization.k8s.io";

async fn holds(world: &World, name: &str, wanted: &[&str]) {
    world
        .until(&format!("{name} {wanted:?}"), async || {
            let role = world.get(ROLES, "", name).await?;
            let rules = role["rules"].as_array().cloned().unwrap_or_default();
            let resources: Vec<&str> = rules.iter().filter_map(|r| r["resources"][0].as_str()).collect();
            (resources == wanted).then_some(())
        })
        .await;
}

fn part(name: &str, labels: Value, resource: &str) -> Value {
    json!({
        "metadata": {"name": name, "labels": labels},
        "rules": [{"apiGroups": ["example.com"], "resources": [resource], "verbs": ["get"]}],
    })
}

#[tokio::test]
async fn roles_grow_and_shrink_with_what_they_select() {
    let world = World::start().await;
    let of = |what: &str| json!([{"matchLabels": {format!("rbac.authorization.k8s.io/aggregate-to-{what}"): "true"}}]);
    let view = json!({
        "metadata": {"name": "view", "labels": {"rbac.authorization.k8s.io/aggregate-to-edit": "true"}},
        "aggregationRule": {"clusterRoleSelectors": of("view")},
    });
    world.create(ROLES, "", view).await.unwrap();
    let edit = json!({"metadata": {"name": "edit"}, "aggregationRule": {"clusterRoleSelectors": of("edit")}});
    world.create(ROLES, "", edit).await.unwrap();
    let to = |what: &str| json!({format!("rbac.authorization.k8s.io/aggregate-to-{what}"): "true"});
    world.create(ROLES, "", part("shops-view", to("view"), "shops")).await.unwrap();
    holds(&world, "view", &["shops"]).await;
    // A role that is made of others is part of others in its turn.
    world.create(ROLES, "", part("carts-edit", to("edit"), "carts")).await.unwrap();
    holds(&world, "edit", &["carts", "shops"]).await;
    let changed = json!({"rules": [{"apiGroups": ["example.com"], "resources": ["malls"], "verbs": ["get"]}]});
    world.merge(ROLES, "", "shops-view", changed).await.unwrap();
    holds(&world, "edit", &["carts", "malls"]).await;
    // What someone writes by hand does not stay.
    let own = json!({"rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["*"]}]});
    world.merge(ROLES, "", "view", own).await.unwrap();
    holds(&world, "view", &["malls"]).await;
    world.delete(ROLES, "", "shops-view", None).await;
    holds(&world, "view", &[]).await;
    holds(&world, "edit", &["carts"]).await;
}
