//! What becomes of objects: created, read, changed, deleted.

mod common;

use common::{CONFIG_MAPS, Server, config_map};
use futures::future::join_all;
use serde_json::json;

fn at(name: &str) -> String {
    format!("{CONFIG_MAPS}/{name}")
}

#[tokio::test]
async fn an_object_lives_and_goes() {
    let server = Server::start();
    let mut client = server.client().await;
    let (code, made) = client.post(CONFIG_MAPS, config_map("a")).await;
    assert_eq!(code, 201);
    assert_eq!(made["metadata"]["namespace"], "default");
    assert_eq!(made["metadata"]["managedFields"][0]["manager"], "tests");
    let (code, again) = client.post(CONFIG_MAPS, config_map("a")).await;
    assert_eq!((code, &again["reason"]), (409, &json!("AlreadyExists")));
    let (_, read) = client.get(&at("a")).await;
    assert_eq!(read, made);
    let (code, gone) = client.delete(&at("a")).await;
    assert_eq!((code, &gone["details"]["uid"]), (200, &made["metadata"]["uid"]));
    let (code, none) = client.get(&at("a")).await;
    assert_eq!((code, &none["message"]), (404, &json!("configmaps \"a\" not found")));
}

/// Of those who delete an object at the same time one has deleted it.
#[tokio::test]
async fn an_object_is_deleted_once() {
    let server = Server::start();
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(server.client().await);
    }
    for _ in 0..20 {
        clients[0].post(CONFIG_MAPS, config_map("a")).await;
        let at = at("a");
        let asked = clients.iter_mut().map(|client| client.delete(&at));
        let mut codes: Vec<_> = join_all(asked).await.into_iter().map(|(code, _)| code).collect();
        codes.sort_unstable();
        assert_eq!(codes, [200, 404, 404, 404, 404, 404, 404, 404]);
    }
}

#[tokio::test]
async fn a_write_that_changes_nothing_writes_nothing() {
    let server = Server::start();
    let mut client = server.client().await;
    let (_, made) = client.post(CONFIG_MAPS, config_map("a")).await;
    let (_, put) = client.put(&at("a"), config_map("a")).await;
    let (_, patched) = client.merge(&at("a"), json!({"data": {"k": "v"}})).await;
    assert_eq!(put["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"]);
    assert_eq!(patched["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"]);
}

#[tokio::test]
async fn a_stale_write_is_refused() {
    let server = Server::start();
    let mut client = server.client().await;
    let (_, mut made) = client.post(CONFIG_MAPS, config_map("a")).await;
    client.merge(&at("a"), json!({"data": {"k": "w"}})).await;
    made["data"]["k"] = json!("x");
    let (code, refused) = client.put(&at("a"), made).await;
    assert_eq!((code, &refused["reason"]), (409, &json!("Conflict")));
}

#[tokio::test]
async fn finalizers_hold_an_object_back() {
    let server = Server::start();
    let mut client = server.client().await;
    let held = json!({"metadata": {"name": "a", "finalizers": ["example.com/x"]}});
    client.post(CONFIG_MAPS, held).await;
    let (code, deleting) = client.delete(&at("a")).await;
    assert_eq!(code, 200);
    assert!(deleting["metadata"]["deletionTimestamp"].is_string());
    let (code, refused) = client.post(CONFIG_MAPS, config_map("a")).await;
    assert_eq!(code, 409);
    assert!(refused["message"].as_str().unwrap().starts_with("object is being deleted: "), "{refused}");
    let (code, _) = client.merge(&at("a"), json!({"metadata": {"finalizers": null}})).await;
    assert_eq!(code, 200);
    assert_eq!(client.get(&at("a")).await.0, 404);
}

#[tokio::test]
async fn a_dry_run_leaves_nothing_behind() {
    let server = Server::start();
    let mut client = server.client().await;
    let (code, made) = client.post(&format!("{CONFIG_MAPS}?dryRun=All"), config_map("a")).await;
    assert_eq!(code, 201);
    assert!(made["metadata"]["uid"].is_string() && made["metadata"].get("resourceVersion").is_none());
    assert_eq!(client.get(&at("a")).await.0, 404);
}

#[tokio::test]
async fn an_apply_owns_what_it_names() {
    let server = Server::start();
    let mut client = server.client().await;
    let config =
        |value: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": value}});
    let mut apply = async |manager: &str, value: &str, force: bool| {
        let path = format!("{}?fieldManager={manager}&force={force}", at("a"));
        client.json("PATCH", &path, "application/apply-patch+yaml", config(value)).await
    };
    assert_eq!(apply("one", "1", false).await.0, 201);
    assert_eq!(apply("one", "2", false).await.0, 200);
    let (code, conflict) = apply("two", "3", false).await;
    assert_eq!(code, 409);
    assert_eq!(conflict["details"]["causes"][0]["reason"], "FieldManagerConflict");
    let (code, taken) = apply("two", "3", true).await;
    assert_eq!((code, &taken["data"]["k"]), (200, &json!("3")));
}

#[tokio::test]
async fn tenants_do_not_see_each_other() {
    let server = Server::start();
    let mut client = server.client().await;
    client.post(CONFIG_MAPS, config_map("a")).await;
    let mut other = server.connect(apimachinery::tenant::TenantId::from_bytes([2; 16])).await;
    assert_eq!(other.get(&at("a")).await.0, 404);
    assert_eq!(other.get("/api/v1/configmaps").await.1["items"], json!([]));
    let (code, missing) = other.post(CONFIG_MAPS, config_map("a")).await;
    assert_eq!((code, &missing["message"]), (404, &json!("namespaces \"default\" not found")));
}

#[tokio::test]
async fn pods_end_gracefully_once_they_have_a_node() {
    let server = Server::start();
    let mut client = server.client().await;
    client.post("/api/v1/namespaces/default/serviceaccounts", json!({"metadata": {"name": "default"}})).await;
    let pods = "/api/v1/namespaces/default/pods";
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let (code, made) = client.post(pods, pod.clone()).await;
    assert_eq!(code, 201, "{made}");
    assert_eq!(made["spec"]["tolerations"].as_array().unwrap().len(), 2);
    assert!(made["spec"]["volumes"][0]["name"].as_str().unwrap().starts_with("kube-api-access-"));
    let binding = json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}});
    assert_eq!(client.post(&format!("{pods}/p/binding"), binding).await.0, 201);
    let (_, deleting) = client.delete(&format!("{pods}/p")).await;
    assert_eq!(deleting["metadata"]["deletionGracePeriodSeconds"], 30);
    let (_, shorter) = client.delete(&format!("{pods}/p?gracePeriodSeconds=5")).await;
    assert_eq!(shorter["metadata"]["deletionGracePeriodSeconds"], 5);
    let (_, longer) = client.delete(&format!("{pods}/p?gracePeriodSeconds=50")).await;
    assert_eq!(longer["metadata"]["deletionGracePeriodSeconds"], 5);
    client.delete(&format!("{pods}/p?gracePeriodSeconds=0")).await;
    assert_eq!(client.get(&format!("{pods}/p")).await.0, 404);
}

#[tokio::test]
async fn a_budget_holds_evictions_up() {
    let server = Server::start();
    let mut client = server.client().await;
    client.post("/api/v1/namespaces/default/serviceaccounts", json!({"metadata": {"name": "default"}})).await;
    let pods = "/api/v1/namespaces/default/pods";
    let pod = json!({"metadata": {"name": "p", "labels": {"a": "b"}},
        "spec": {"containers": [{"name": "c", "image": "i"}]}});
    client.post(pods, pod).await;
    client
        .merge(
            &format!("{pods}/p/status"),
            json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}),
        )
        .await;
    let budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    let budget =
        json!({"metadata": {"name": "b"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"a": "b"}}}});
    assert_eq!(client.post(budgets, budget).await.0, 201);
    let eviction = json!({"metadata": {"name": "p"}});
    let (code, refused) = client.post(&format!("{pods}/p/eviction"), eviction.clone()).await;
    assert_eq!((code, &refused["reason"]), (429, &json!("TooManyRequests")));
    assert_eq!(refused["details"]["causes"][0]["reason"], "DisruptionBudget");
    let status = json!({"status": {"observedGeneration": 1, "disruptionsAllowed": 1, "currentHealthy": 2,
        "desiredHealthy": 1, "expectedPods": 2}});
    assert_eq!(client.merge(&format!("{budgets}/b/status"), status).await.0, 200);
    assert_eq!(client.post(&format!("{pods}/p/eviction"), eviction).await.0, 201);
    let (_, after) = client.get(&format!("{budgets}/b")).await;
    assert_eq!(after["status"]["disruptionsAllowed"], 0);
    assert_eq!(client.get(&format!("{pods}/p")).await.0, 404);
}

#[tokio::test]
async fn an_autoscaler_has_two_versions() {
    let server = Server::start();
    let mut client = server.client().await;
    let v1 = "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers";
    let v2 = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers";
    let target = json!({"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"});
    let old = json!({"apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "h"},
        "spec": {"scaleTargetRef": target, "maxReplicas": 5}});
    let (code, made) = client.post(v1, old).await;
    assert_eq!((code, &made["apiVersion"]), (201, &json!("autoscaling/v1")), "{made}");
    assert_eq!(
        made["spec"],
        json!({"scaleTargetRef": target, "minReplicas": 1, "maxReplicas": 5, "targetCPUUtilizationPercentage": 80})
    );
    assert_eq!(made["status"], json!({"currentReplicas": 0, "desiredReplicas": 0}));
    let fields = &made["metadata"]["managedFields"][0];
    assert_eq!(fields["apiVersion"], "autoscaling/v1");
    assert_eq!(fields["fieldsV1"]["f:spec"]["f:targetCPUUtilizationPercentage"], json!({}));

    let (_, new) = client.get(&format!("{v2}/h")).await;
    let cpu = |percent: i64| json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": percent}}});
    assert_eq!(new["spec"]["metrics"], json!([cpu(80)]));
    assert_eq!(new["status"], json!({"desiredReplicas": 0, "currentMetrics": null}));

    // What v1 cannot say is not lost when it writes.
    let memory = json!({"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"}}});
    assert_eq!(client.merge(&format!("{v2}/h"), json!({"spec": {"metrics": [memory, cpu(50)]}})).await.0, 200);
    let (code, changed) =
        client.merge(&format!("{v1}/h"), json!({"spec": {"targetCPUUtilizationPercentage": 70}})).await;
    assert_eq!((code, &changed["spec"]["targetCPUUtilizationPercentage"]), (200, &json!(70)), "{changed}");
    let (_, new) = client.get(&format!("{v2}/h")).await;
    assert_eq!(new["spec"]["metrics"], json!([memory, cpu(70)]));
    assert!(new["metadata"].get("annotations").is_none());

    let (_, list) = client.get(v1).await;
    assert_eq!(list["apiVersion"], "autoscaling/v1");
    assert_eq!(list["items"][0]["spec"]["targetCPUUtilizationPercentage"], 70);
    let annotation = &list["items"][0]["metadata"]["annotations"]["autoscaling.alpha.kubernetes.io/metrics"];
    assert_eq!(annotation, r#"[{"type":"Resource","resource":{"name":"memory","targetAverageValue":"1Gi"}}]"#);
}
