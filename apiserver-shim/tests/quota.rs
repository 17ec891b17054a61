//! Quotas and limit ranges, as admission enforces them. Their status is written here, as a controller would.

mod common;

use common::{CONFIG_MAPS, Client, Server, config_map};
use serde_json::{Value, json};

const QUOTAS: &str = "/api/v1/namespaces/default/resourcequotas";
const RANGES: &str = "/api/v1/namespaces/default/limitranges";
const PODS: &str = "/api/v1/namespaces/default/pods";

/// A quota that is counted: `used` of `hard`.
async fn quota(client: &mut Client, name: &str, spec: Value, used: Value) {
    let (code, made) = client.post(QUOTAS, json!({"metadata": {"name": name}, "spec": spec})).await;
    assert_eq!((code, &made["status"]), (201, &json!({})), "{made}");
    let status = json!({"status": {"hard": spec["hard"], "used": used}});
    let (code, answer) = client.merge(&format!("{QUOTAS}/{name}/status"), status).await;
    assert_eq!(code, 200, "{answer}");
}

async fn used(client: &mut Client, name: &str) -> Value {
    client.get(&format!("{QUOTAS}/{name}")).await.1["status"]["used"].take()
}

async fn with_account(server: &Server) -> Client {
    let mut client = server.client().await;
    client.post("/api/v1/namespaces/default/serviceaccounts", json!({"metadata": {"name": "default"}})).await;
    client
}

fn pod(name: &str, resources: Value) -> Value {
    json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i", "resources": resources}]}})
}

#[tokio::test]
async fn creates_are_charged_and_refused_in_the_words_of_kubernetes() {
    let server = Server::start();
    let mut client = with_account(&server).await;
    quota(
        &mut client,
        "q",
        json!({"hard": {"cpu": "1", "memory": "500Mi", "count/pods": "2", "requests.example.com/dongle": "3"}}),
        json!({"cpu": "0", "memory": "0", "count/pods": "0", "requests.example.com/dongle": "0"}),
    )
    .await;
    let asks = json!({"requests": {"cpu": "500m", "memory": "252Mi", "example.com/dongle": "2"}, "limits": {"example.com/dongle": "2"}});
    let (code, made) = client.post(PODS, pod("a", asks.clone())).await;
    assert_eq!(code, 201, "{made}");
    let want = json!({"cpu": "500m", "memory": "252Mi", "count/pods": "1", "requests.example.com/dongle": "2"});
    assert_eq!(used(&mut client, "q").await, want);
    let (code, refused) = client.post(PODS, pod("b", json!({"requests": {"cpu": "600m", "memory": "100Mi"}}))).await;
    assert_eq!((code, &refused["reason"]), (403, &json!("Forbidden")));
    assert_eq!(
        refused["message"],
        "pods \"b\" is forbidden: exceeded quota: q, requested: cpu=600m, used: cpu=500m, limited: cpu=1"
    );
    assert_eq!(refused["details"], json!({"name": "b", "kind": "pods"}));
    let (code, refused) = client.post(PODS, pod("b", json!({}))).await;
    assert_eq!(code, 403);
    assert_eq!(refused["message"], "pods \"b\" is forbidden: failed quota: q: must specify cpu for: c; memory for: c");
    let small = json!({"requests": {"cpu": "1m", "memory": "1Mi"}});
    let (code, _) = client.post(&format!("{PODS}?dryRun=All"), pod("b", small.clone())).await;
    assert_eq!(code, 201);
    let (code, _) = client.post(&format!("{PODS}?dryRun=All"), pod("b", json!({}))).await;
    assert_eq!(code, 403);
    let (code, there) = client.post(PODS, pod("a", small)).await;
    assert_eq!((code, &there["reason"]), (409, &json!("AlreadyExists")));
    assert_eq!(used(&mut client, "q").await, want);
}

#[tokio::test]
async fn a_quota_that_was_not_counted_yet_does_not_hold_but_one_without_usage_does() {
    let server = Server::start();
    let mut client = server.client().await;
    client.post(QUOTAS, json!({"metadata": {"name": "q"}, "spec": {"hard": {"configmaps": "0"}}})).await;
    assert_eq!(client.post(CONFIG_MAPS, config_map("a")).await.0, 201);
    client.merge(&format!("{QUOTAS}/q/status"), json!({"status": {"hard": {"configmaps": "0"}}})).await;
    let (code, refused) = client.post(CONFIG_MAPS, config_map("b")).await;
    assert_eq!(code, 403);
    assert_eq!(refused["message"], "configmaps \"b\" is forbidden: status unknown for quota: q, resources: configmaps");
}

#[tokio::test]
async fn concurrent_creates_never_exceed_a_quota() {
    let server = Server::start();
    let mut client = server.client().await;
    quota(&mut client, "a", json!({"hard": {"configmaps": "10"}}), json!({"configmaps": "0"})).await;
    quota(&mut client, "b", json!({"hard": {"count/configmaps": "12"}}), json!({"count/configmaps": "2"})).await;
    let mut tasks = tokio::task::JoinSet::new();
    for i in 0..40 {
        let mut client = server.connect(common::TENANT).await;
        tasks.spawn(async move { client.post(CONFIG_MAPS, config_map(&format!("m{i}"))).await.0 });
    }
    let mut codes = tasks.join_all().await;
    codes.sort_unstable();
    assert_eq!(codes, [vec![201; 10], vec![403; 30]].concat());
    assert_eq!(client.get(CONFIG_MAPS).await.1["items"].as_array().unwrap().len(), 10);
    assert_eq!(used(&mut client, "a").await, json!({"configmaps": "10"}));
    assert_eq!(used(&mut client, "b").await, json!({"count/configmaps": "12"}));
}

#[tokio::test]
async fn a_write_that_fails_costs_none_of_several_quotas() {
    let server = Server::start();
    let mut client = server.client().await;
    client.post(CONFIG_MAPS, config_map("a")).await;
    quota(&mut client, "one", json!({"hard": {"configmaps": "5"}}), json!({"configmaps": "1"})).await;
    quota(&mut client, "two", json!({"hard": {"count/configmaps": "5"}}), json!({"count/configmaps": "1"})).await;
    assert_eq!(client.post(CONFIG_MAPS, config_map("a")).await.0, 409);
    assert_eq!(used(&mut client, "one").await, json!({"configmaps": "1"}));
    assert_eq!(used(&mut client, "two").await, json!({"count/configmaps": "1"}));
    assert_eq!(client.post(CONFIG_MAPS, config_map("b")).await.0, 201);
    assert_eq!(used(&mut client, "one").await, json!({"configmaps": "2"}));
    assert_eq!(used(&mut client, "two").await, json!({"count/configmaps": "2"}));
}

#[tokio::test]
async fn quotas_count_quotas_custom_objects_and_services_that_change() {
    let server = Server::start();
    let mut client = server.client().await;
    let hard = json!({"resourcequotas": "2", "services": "1", "services.nodeports": "1", "count/leases.coordination.k8s.io": "1"});
    let none = json!({"resourcequotas": "1", "services": "0", "services.nodeports": "0", "count/leases.coordination.k8s.io": "0"});
    quota(&mut client, "q", json!({"hard": hard}), none).await;
    let other = |name: &str| json!({"metadata": {"name": name}, "spec": {"hard": {"pods": "1"}}});
    assert_eq!(client.post(QUOTAS, other("r")).await.0, 201);
    let (code, refused) = client.post(QUOTAS, other("s")).await;
    assert_eq!(code, 403);
    assert_eq!(
        refused["message"],
        "resourcequotas \"s\" is forbidden: exceeded quota: q, requested: resourcequotas=1, used: resourcequotas=2, limited: resourcequotas=2"
    );
    let leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
    assert_eq!(client.post(leases, json!({"metadata": {"name": "a"}})).await.0, 201);
    let (code, refused) = client.post(leases, json!({"metadata": {"name": "b"}})).await;
    assert_eq!(code, 403);
    assert_eq!(
        refused["message"],
        "leases.coordination.k8s.io \"b\" is forbidden: exceeded quota: q, requested: count/leases.coordination.k8s.io=1, used: count/leases.coordination.k8s.io=1, limited: count/leases.coordination.k8s.io=1"
    );
    let services = "/api/v1/namespaces/default/services";
    let service =
        json!({"metadata": {"name": "s"}, "spec": {"ports": [{"port": 1, "name": "a"}, {"port": 2, "name": "b"}]}});
    assert_eq!(client.post(services, service).await.0, 201);
    let node = json!({"spec": {"type": "NodePort"}});
    let (code, refused) = client.merge(&format!("{services}/s"), node.clone()).await;
    assert_eq!(code, 403);
    assert_eq!(
        refused["message"],
        "services \"s\" is forbidden: exceeded quota: q, requested: services.nodeports=2, used: services.nodeports=0, limited: services.nodeports=1"
    );
    let fewer = json!({"spec": {"type": "NodePort", "ports": [{"port": 1, "name": "a"}]}});
    assert_eq!(client.merge(&format!("{services}/s"), fewer).await.0, 200);
    assert_eq!(used(&mut client, "q").await["services.nodeports"], "1");
}

#[tokio::test]
async fn limit_ranges_give_defaults_and_bounds() {
    let server = Server::start();
    let mut client = with_account(&server).await;
    let range = json!({"metadata": {"name": "r"}, "spec": {"limits": [
        {"type": "Container", "min": {"cpu": "50m"}, "max": {"cpu": "500m"}, "default": {"memory": "500Mi"}},
        {"type": "PersistentVolumeClaim", "max": {"storage": "1Gi"}},
    ]}});
    let (code, made) = client.post(RANGES, range).await;
    assert_eq!(code, 201, "{made}");
    let (code, made) = client.post(PODS, pod("a", json!({}))).await;
    assert_eq!(code, 201, "{made}");
    let want = json!({"requests": {"cpu": "500m", "memory": "500Mi"}, "limits": {"cpu": "500m", "memory": "500Mi"}});
    assert_eq!(made["spec"]["containers"][0]["resources"], want);
    assert_eq!(
        made["metadata"]["annotations"]["kubernetes.io/limit-ranger"],
        "LimitRanger plugin set: cpu, memory request for container c; cpu, memory limit for container c"
    );
    assert_eq!(made["status"]["qosClass"], "Guaranteed");
    let (code, refused) = client.post(PODS, pod("b", json!({"requests": {"cpu": "10m"}}))).await;
    assert_eq!(code, 403);
    assert_eq!(
        refused["message"],
        "pods \"b\" is forbidden: minimum cpu usage per Container is 50m, but request is 10m"
    );
    let claim = json!({"metadata": {"name": "c"}, "spec": {"accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "2Gi"}}}});
    let (code, refused) = client.post("/api/v1/namespaces/default/persistentvolumeclaims", claim).await;
    assert_eq!(code, 403);
    assert_eq!(
        refused["message"],
        "persistentvolumeclaims \"c\" is forbidden: maximum storage usage per PersistentVolumeClaim is 1Gi, but request is 2Gi"
    );
}
