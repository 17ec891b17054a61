//! A virtual cluster in this process with its controllers at work, seen through the tenant seam.

#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used, clippy::panic)]

use std::sync::Arc;
use std::time::Duration;

use apimachinery::gvk::GroupResource;
use apimachinery::status::ApiError;
use controllers::{Config, Controllers};
use serde_json::{Value, json};
use tenant_client::{Caller, DeleteOptions, Patch, Target, TenantClient};
use tokio_util::sync::{CancellationToken, DropGuard};

#[path = "../../../apiserver-shim/tests/common/open.rs"]
mod open;
pub use open::TENANT;

/// Whoever tests.
pub const TESTER: Caller = Caller { user: "admin", manager: "test" };
/// How long a controller may take on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct World {
    pub client: Arc<dyn TenantClient>,
    stop: Option<DropGuard>,
}

impl World {
    /// A virtual cluster with the namespace `default` and all controllers.
    pub async fn start() -> Self {
        Self::start_with(jiff::SignedDuration::ZERO, true).await
    }

    /// One whose controllers' clock is ahead, and whose controllers are ours or somebody else's.
    pub async fn start_with(ahead: jiff::SignedDuration, ours: bool) -> Self {
        let client = open::server().0.client(Arc::new(open::OneTenant::default()));
        let stop = Some(work(&client, ahead, ours));
        let world = Self { client, stop };
        for namespace in ["default", "kube-system"] {
            world.create("namespaces", "", json!({"metadata": {"name": namespace}})).await.unwrap();
        }
        let account = json!({"metadata": {"name": "default", "namespace": "default"}});
        // The controller may have been faster.
        let _ = world.create("serviceaccounts", "default", account).await;
        world
    }

    /// No controller works from now on.
    pub fn stop(&mut self) {
        self.stop = None;
    }

    /// Controllers that know nothing yet work from now on.
    pub fn begin_anew(&mut self) {
        self.stop = Some(work(&self.client, jiff::SignedDuration::ZERO, true));
    }

    /// Creates an object of `plural.group`.
    pub async fn create(&self, what: &str, namespace: &str, object: Value) -> Result<Value, ApiError> {
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let resource = resource(what);
        let target = Target { tenant: TENANT, resource: &resource, namespace, name: &name, subresource: "" };
        self.client.create(TESTER, target, object).await
    }

    pub async fn get(&self, what: &str, namespace: &str, name: &str) -> Option<Value> {
        let resource = resource(what);
        let target = Target { tenant: TENANT, resource: &resource, namespace, name, subresource: "" };
        match self.client.get(target).await {
            Ok(object) => Some(object.to_value().unwrap()),
            Err(error) if error.code == 404 => None,
            Err(error) => panic!("{error}"),
        }
    }

    pub async fn list(&self, what: &str, namespace: &str) -> Vec<Value> {
        let items = self.client.list(TENANT, &resource(what), Some(namespace)).await.unwrap().items;
        items.iter().map(|o| o.to_value().unwrap()).collect()
    }

    /// Merges a patch into an object or, as `name/status`, into a part of it.
    pub async fn merge(&self, what: &str, namespace: &str, name: &str, patch: Value) -> Result<Value, ApiError> {
        let (name, subresource) = name.split_once('/').unwrap_or((name, ""));
        let resource = resource(what);
        let target = Target { tenant: TENANT, resource: &resource, namespace, name, subresource };
        self.client.patch(TESTER, target, Patch::Merge(patch)).await
    }

    pub async fn delete(&self, what: &str, namespace: &str, name: &str, policy: Option<&'static str>) {
        let resource = resource(what);
        let target = Target { tenant: TENANT, resource: &resource, namespace, name, subresource: "" };
        let options = DeleteOptions { propagation_policy: policy, ..DeleteOptions::default() };
        self.client.delete(TESTER, target, options).await.unwrap();
    }

    pub async fn evict(&self, pod: &str) -> Result<Value, ApiError> {
        let resource = resource("pods");
        let target =
            Target { tenant: TENANT, resource: &resource, namespace: "default", name: pod, subresource: "eviction" };
        let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}});
        self.client.create(TESTER, target, eviction).await
    }

    /// A pod that runs on a node and is ready or not.
    pub async fn pod(&self, pod: Value, ready: bool) -> Value {
        let mut pod = pod;
        pod["spec"] = json!({"containers": [{"name": "c", "image": "i"}], "terminationGracePeriodSeconds": 0,
            "nodeName": "n", "automountServiceAccountToken": false, "volumes": pod["volumes"]});
        pod.as_object_mut().unwrap().remove("volumes");
        let name = pod["metadata"]["name"].as_str().unwrap().to_owned();
        self.create("pods", "default", pod).await.unwrap();
        let ready = if ready { "True" } else { "False" };
        let status = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]}});
        self.merge("pods", "default", &format!("{name}/status"), status).await.unwrap()
    }

    /// Waits until `check` finds what it looks for; it is asked again whenever something changes.
    pub async fn until<T>(&self, what: &str, mut check: impl AsyncFnMut() -> Option<T>) -> T {
        let mut changes = self.client.follow();
        let wait = async {
            loop {
                if let Some(found) = check().await {
                    return found;
                }
                changes.next().await.unwrap();
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("in vain: {what}"))
    }
}

/// All controllers, with a clock that is ahead, for a tenant that is theirs or not, until the guard is dropped.
fn work(client: &Arc<dyn TenantClient>, ahead: jiff::SignedDuration, ours: bool) -> DropGuard {
    let stop = CancellationToken::new();
    let clock = move || jiff::Timestamp::now() + ahead;
    let controllers = Controllers::new(Arc::clone(client), clock, move |_| ours, &Config::default());
    tokio::spawn(controllers.run(stop.clone()));
    stop.drop_guard()
}

/// `plural.group`, or `plural` of the core group.
pub fn resource(what: &str) -> GroupResource {
    let (plural, group) = what.split_once('.').unwrap_or((what, ""));
    GroupResource::new(group, plural)
}
