//! What every form of the tenant seam must do, and what controllers do over it. Played on the form in process, on the
//! remote form to the same server, and on the remote form to a stock kube-apiserver.

use std::sync::Arc;
use std::time::{Duration, Instant};

use apimachinery::gvk::GroupResource;
use apimachinery::status::ApiError;
use apimachinery::tenant::TenantId;
use controllers::{Config, Controllers};
use jiff::Timestamp;
use serde_json::{Value, json};
use tenant_client::{Caller, Change, DeleteOptions, Event, EventStream, Patch, Target, TenantClient};
use tokio_util::sync::CancellationToken;

const CALLER: Caller = Caller { user: "admin", manager: "tests" };
pub const LIMIT: Duration = Duration::from_secs(60);

/// A form of the seam, and a tenant in it.
#[derive(Clone)]
pub struct Seam {
    pub client: Arc<dyn TenantClient>,
    pub tenant: TenantId,
}

pub fn resource(group: &str, plural: &str) -> GroupResource {
    GroupResource::new(group, plural)
}

/// `plural.group/name`, as kubectl names objects.
fn parse(what: &str) -> (GroupResource, &str) {
    let (kind, name) = what.split_once('/').unwrap_or((what, ""));
    let (plural, group) = kind.split_once('.').unwrap_or((kind, ""));
    (resource(group, plural), name)
}

impl Seam {
    pub async fn create(&self, namespace: &str, what: &str, mut object: Value) -> Result<Value, ApiError> {
        let (resource, name) = parse(what);
        object["metadata"]["name"] = json!(name);
        if !namespace.is_empty() {
            object["metadata"]["namespace"] = json!(namespace);
        }
        let target = Target { tenant: self.tenant, resource: &resource, namespace, name, subresource: "" };
        self.client.create(CALLER, target, object).await
    }

    pub async fn get(&self, namespace: &str, what: &str) -> Result<Value, ApiError> {
        let (resource, name) = parse(what);
        let target = Target { tenant: self.tenant, resource: &resource, namespace, name, subresource: "" };
        self.client.get(target).await?.to_value()
    }

    pub async fn list(&self, namespace: &str, what: &str) -> Vec<Value> {
        let listed = self.client.list(self.tenant, &parse(what).0, Some(namespace)).await.unwrap();
        listed.items.iter().map(|object| object.to_value().unwrap()).collect()
    }

    pub async fn patch(&self, namespace: &str, what: &str, sub: &str, patch: Patch) -> Result<Value, ApiError> {
        let (resource, name) = parse(what);
        let target = Target { tenant: self.tenant, resource: &resource, namespace, name, subresource: sub };
        self.client.patch(CALLER, target, patch).await
    }

    pub async fn update(&self, namespace: &str, what: &str, object: Value) -> Result<Value, ApiError> {
        let (resource, name) = parse(what);
        let target = Target { tenant: self.tenant, resource: &resource, namespace, name, subresource: "" };
        self.client.update(CALLER, target, object).await
    }

    pub async fn delete(&self, namespace: &str, what: &str, options: DeleteOptions) -> Result<(), ApiError> {
        let (resource, name) = parse(what);
        let target = Target { tenant: self.tenant, resource: &resource, namespace, name, subresource: "" };
        self.client.delete(CALLER, target, options).await
    }

    /// A follower that has seen the tenant attached.
    pub async fn follow(&self) -> Followed {
        let mut followed = Followed { stream: self.client.follow(), waiting: Vec::new() };
        let attached = async {
            loop {
                let events = followed.stream.next().await.unwrap();
                if events.iter().any(|e| matches!(e, Event::Attached(t) if *t == self.tenant)) {
                    followed.waiting = events;
                    return;
                }
            }
        };
        tokio::time::timeout(LIMIT, attached).await.expect("the tenant is attached in time");
        followed
    }
}

/// A follower, read change by change.
pub struct Followed {
    pub stream: Box<dyn EventStream>,
    waiting: Vec<Event>,
}

impl Followed {
    /// The next change of an object.
    pub async fn next(&mut self, what: &str) -> Arc<Change> {
        let (resource, name) = parse(what);
        let found = async {
            loop {
                while !self.waiting.is_empty() {
                    if let Event::Change(change) = self.waiting.remove(0)
                        && *change.resource == resource
                        && change.object().is_some_and(|o| o.name == name)
                    {
                        return change;
                    }
                }
                self.waiting = self.stream.next().await.unwrap();
            }
        };
        tokio::time::timeout(LIMIT, found).await.unwrap_or_else(|_| panic!("no change of {what} in time"))
    }
}

/// Asks again until a condition holds.
pub async fn eventually(what: &str, condition: impl AsyncFn() -> Result<(), String>) {
    let end = Instant::now() + LIMIT;
    loop {
        match condition().await {
            Ok(()) => return,
            Err(last) => assert!(Instant::now() < end, "{what}: not in time; last: {last}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn code(result: Result<impl Sized, ApiError>) -> (u16, &'static str) {
    result.err().map_or((200, ""), |e| (e.code, e.reason))
}

pub async fn reads_and_writes(seam: &Seam, namespace: &str) {
    seam.create("", &format!("namespaces/{namespace}"), json!({})).await.unwrap();
    assert_eq!(code(seam.get(namespace, "configmaps/a").await), (404, "NotFound"));
    assert_eq!(code(seam.get(namespace, "nothings.example.com/a").await), (404, "NotFound"));
    let made = seam.create(namespace, "configmaps/a", json!({"data": {"k": "v"}})).await.unwrap();
    assert_eq!(
        (&made["kind"], &made["metadata"]["managedFields"][0]["manager"]),
        (&json!("ConfigMap"), &json!("tests"))
    );
    assert_eq!(code(seam.create(namespace, "configmaps/a", json!({})).await), (409, "AlreadyExists"));

    let read = seam.get(namespace, "configmaps/a").await.unwrap();
    assert_eq!((&read["apiVersion"], &read["data"]["k"]), (&json!("v1"), &json!("v")));
    assert_eq!(read["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"]);
    let mut wanted = read.clone();
    wanted["data"]["k"] = json!("w");
    seam.update(namespace, "configmaps/a", wanted.clone()).await.unwrap();
    assert_eq!(code(seam.update(namespace, "configmaps/a", wanted).await), (409, "Conflict"));
    for (patch, value) in [
        (Patch::Merge(json!({"data": {"k": "x"}})), "x"),
        (Patch::Strategic(json!({"data": {"k": "y"}})), "y"),
        (Patch::Json(json!([{"op": "replace", "path": "/data/k", "value": "z"}])), "z"),
    ] {
        assert_eq!(seam.patch(namespace, "configmaps/a", "", patch).await.unwrap()["data"]["k"], value);
    }
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "applied"}});
    let refused =
        seam.patch(namespace, "configmaps/a", "", Patch::Apply { object: object.clone(), force: false }).await;
    let forced = seam.patch(namespace, "configmaps/a", "", Patch::Apply { object, force: true }).await.unwrap();
    assert_eq!((code(refused), &forced["data"]["k"]), ((409, "Conflict"), &json!("applied")));

    seam.create(namespace, "configmaps/b", json!({})).await.unwrap();
    let listed = seam.client.list(seam.tenant, &resource("", "configmaps"), Some(namespace)).await.unwrap();
    let names: Vec<&str> = listed.items.iter().map(|o| o.name.as_str()).filter(|n| n.len() == 1).collect();
    assert_eq!(names, ["a", "b"]);
    assert!(listed.items.iter().all(|o| o.revision <= listed.revision && o.namespace == namespace));

    let other = DeleteOptions { uid: Some("00000000-0000-4000-8000-000000000000".into()), ..DeleteOptions::default() };
    assert_eq!(code(seam.delete(namespace, "configmaps/a", other).await), (409, "Conflict"));
    seam.delete(namespace, "configmaps/a", DeleteOptions::default()).await.unwrap();
    assert_eq!(code(seam.delete(namespace, "configmaps/a", DeleteOptions::default()).await), (404, "NotFound"));

    let all = seam.client.resources(seam.tenant).await.unwrap();
    let found = |group: &str, plural: &str| all.iter().filter(|r| r.resource == resource(group, plural)).count();
    assert_eq!((found("apps", "deployments"), found("", "events"), found("events.k8s.io", "events")), (1, 1, 0));
    let target = |resource, name| Target { tenant: seam.tenant, resource, namespace, name, subresource: "" };
    let (maps, deployments) = (resource("", "configmaps"), resource("apps", "deployments"));
    assert_eq!(seam.client.scale(target(&maps, "b")).await.unwrap(), None);
    let missing = seam.client.scale(target(&deployments, "b")).await;
    assert_eq!(code(missing), (404, "NotFound"));
    assert_eq!(found("authorization.k8s.io", "subjectaccessreviews"), 0, "what cannot be listed is no resource here");
}

pub async fn follows(seam: &Seam, namespace: &str) {
    seam.create("", &format!("namespaces/{namespace}"), json!({})).await.unwrap();
    seam.create(namespace, "configmaps/before", json!({"metadata": {"labels": {"of": "before"}}})).await.unwrap();
    let mut followed = seam.follow().await;
    seam.create(namespace, "configmaps/a", json!({"metadata": {"labels": {"step": "1"}}})).await.unwrap();
    let made = followed.next("configmaps/a").await;
    assert!(made.old.is_none() && made.tenant == seam.tenant);

    seam.patch(namespace, "configmaps/a", "", Patch::Merge(json!({"metadata": {"labels": {"step": "2"}}})))
        .await
        .unwrap();
    let changed = followed.next("configmaps/a").await;
    let step =
        |object: &Option<tenant_client::Object>| object.as_ref().unwrap().stored.label("step").map(str::to_owned);
    assert_eq!((step(&changed.old).as_deref(), step(&changed.new).as_deref()), (Some("1"), Some("2")));
    assert_eq!(changed.revision, changed.new.as_ref().unwrap().revision);

    seam.delete(namespace, "configmaps/a", DeleteOptions::default()).await.unwrap();
    let gone = followed.next("configmaps/a").await;
    assert!(gone.new.is_none() && gone.revision > changed.revision);
    seam.delete(namespace, "configmaps/before", DeleteOptions::default()).await.unwrap();
    let before = followed.next("configmaps/before").await;
    assert_eq!(before.old.as_ref().unwrap().stored.label("of"), Some("before"), "what was there is known when it goes");

    // A kind that nobody knew when following began.
    let names = json!({"plural": "gadgets", "singular": "gadget", "kind": "Gadget"});
    let schema = json!({"openAPIV3Schema": {"type": "object"}});
    let version = json!({"name": "v1", "served": true, "storage": true, "schema": schema});
    let spec = json!({"group": "example.com", "scope": "Namespaced", "names": names, "versions": [version]});
    let definition = "customresourcedefinitions.apiextensions.k8s.io/gadgets.example.com";
    let typed = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "spec": spec});
    seam.create("", definition, typed).await.unwrap();
    let gadget = json!({"apiVersion": "example.com/v1", "kind": "Gadget"});
    eventually("the kind is served", async || {
        let made = seam.create(namespace, "gadgets.example.com/g", gadget.clone()).await;
        made.map(drop).or_else(|e| if e.code == 409 { Ok(()) } else { Err(e.to_string()) })
    })
    .await;
    assert!(followed.next("gadgets.example.com/g").await.old.is_none());
    seam.delete("", definition, DeleteOptions::default()).await.unwrap();
    assert!(followed.next("gadgets.example.com/g").await.new.is_none(), "its objects go with the kind");
}

/// Does what kubelet and scheduler would: all pods of a namespace run and are ready.
async fn run_pods(seam: &Seam, namespace: &str) -> usize {
    let pods = seam.list(namespace, "pods").await;
    for pod in &pods {
        if pod["status"]["phase"] != "Running" {
            let now = format!("{:.0}", Timestamp::now());
            let ready = json!({"type": "Ready", "status": "True", "lastTransitionTime": now});
            let status = json!({"status": {"phase": "Running", "conditions": [ready]}});
            let what = format!("pods/{}", pod["metadata"]["name"].as_str().unwrap());
            let _ = seam.patch(namespace, &what, "status", Patch::Merge(status)).await;
        }
    }
    pods.len()
}

async fn is_rolled_out(seam: &Seam, namespace: &str) -> Result<(), String> {
    let pods = run_pods(seam, namespace).await;
    let deployment = seam.get(namespace, "deployments.apps/web").await.map_err(|e| e.to_string())?;
    let status = &deployment["status"];
    let two = |field: &str| status[field] == json!(2);
    let observed = status["observedGeneration"] == deployment["metadata"]["generation"];
    let done = observed && two("replicas") && two("updatedReplicas") && two("availableReplicas") && pods == 2;
    if done { Ok(()) } else { Err(format!("{pods} pods, {status}")) }
}

pub async fn controllers_work(seam: &Seam, namespace: &str) {
    let stop = CancellationToken::new();
    let controllers = Controllers::new(Arc::clone(&seam.client), Timestamp::now, |_| true, &Config::default());
    let running = tokio::spawn(controllers.run(stop.clone()));
    seam.create("", &format!("namespaces/{namespace}"), json!({})).await.unwrap();
    eventually("there is a service account", async || {
        seam.get(namespace, "serviceaccounts/default").await.map(drop).map_err(|e| e.to_string())
    })
    .await;

    let template = json!({
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "web", "image": "web:1"}]},
    });
    let spec = json!({"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": template});
    let web = json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": spec});
    seam.create(namespace, "deployments.apps/web", web).await.unwrap();
    eventually("the deployment is available", async || is_rolled_out(seam, namespace).await).await;
    let image = json!({"spec": {"template": {"spec": {"containers": [{"name": "web", "image": "web:2"}]}}}});
    seam.patch(namespace, "deployments.apps/web", "", Patch::Strategic(image)).await.unwrap();
    eventually("the deployment is rolled", async || is_rolled_out(seam, namespace).await).await;
    assert_eq!(seam.list(namespace, "replicasets.apps").await.len(), 2);

    let background = DeleteOptions { propagation_policy: Some("Background"), ..DeleteOptions::default() };
    seam.delete(namespace, "deployments.apps/web", background).await.unwrap();
    eventually("what the deployment owned is collected", async || {
        let left = seam.list(namespace, "replicasets.apps").await.len() + seam.list(namespace, "pods").await.len();
        if left == 0 { Ok(()) } else { Err(format!("{left} left")) }
    })
    .await;

    seam.create(namespace, "configmaps/last", json!({})).await.unwrap();
    seam.delete("", &format!("namespaces/{namespace}"), DeleteOptions::default()).await.unwrap();
    eventually("the namespace is gone", async || match seam.get("", &format!("namespaces/{namespace}")).await {
        Err(error) if error.code == 404 => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    stop.cancel();
    running.await.unwrap();
}
