//! The tenant seam over HTTPS, to any Kubernetes API server: for tenants whose control plane is not ours.
//!
//! Reads and writes are requests; following is a list and a watch of every resource that discovery offers, over one
//! connection. See `docs/architecture.md` for what it costs beside the form in process.

mod api;
mod discovery;
mod feed;
mod follow;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use apimachinery::gvk::GroupResource;
use apimachinery::status::ApiError;
use apimachinery::tenant::TenantId;
use async_trait::async_trait;
use http::Method;
use parking_lot::RwLock;
use serde_json::{Map, Value, json};
use tokio::sync::watch;

use self::api::Connection;
use self::discovery::Served;
use crate::{Caller, DeleteOptions, EventStream, List, Object, Patch, Resource, Target, TenantClient};

/// The seam to API servers elsewhere.
///
/// # Guarantees
/// Those of [`TenantClient`], but for these:
/// - Changes come in order for each object; between objects of different resources there is no order.
/// - A change that was missed while a watch was away is told as one change from what was seen last to what is there now.
/// - An API server can be attached while it is away: it is [`crate::Event::Attached`] once it answers.
///
/// # Assumptions
/// The credentials of the clients may do what controllers and syncer do; who writes is the client's user, of a
/// [`Caller`] only the field manager is passed on. The server offers aggregated discovery (Kubernetes 1.30).
#[derive(Default)]
pub struct RemoteClient {
    shared: Arc<Shared>,
}

/// The API servers that are attached.
pub(crate) struct Shared {
    tenants: RwLock<BTreeMap<TenantId, Arc<Connection>>>,
    changed: watch::Sender<u64>,
}

impl Default for Shared {
    fn default() -> Self {
        Self { tenants: RwLock::default(), changed: watch::Sender::new(0) }
    }
}

impl RemoteClient {
    /// A client without tenants.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a tenant, or gives it another client.
    pub fn attach(&self, tenant: TenantId, client: kube::Client) {
        self.shared.tenants.write().insert(tenant, Arc::new(Connection::new(client)));
        self.shared.changed.send_modify(|n| *n += 1);
    }

    /// Forgets a tenant.
    pub fn detach(&self, tenant: TenantId) {
        self.shared.tenants.write().remove(&tenant);
        self.shared.changed.send_modify(|n| *n += 1);
    }

    fn connection(&self, tenant: TenantId) -> Result<Arc<Connection>, ApiError> {
        let found = self.shared.tenants.read().get(&tenant).cloned();
        found.ok_or_else(|| ApiError::unavailable(format!("the virtual cluster {tenant} is not attached")))
    }

    /// Sends a request for an object or one of its subresources.
    async fn send(
        &self,
        method: Method,
        target: Target<'_>,
        query: &str,
        content_type: &str,
        body: &Value,
    ) -> Result<Value, ApiError> {
        let connection = self.connection(target.tenant)?;
        let served = connection.served(target.resource).await?;
        let path = served.path(target.namespace, target.name, target.subresource);
        let answer = connection.request(method, &format!("{path}{query}"), Some((content_type, body))).await;
        connection.checked(&served, answer).await
    }
}

/// The query of a write.
fn manager(caller: Caller) -> String {
    format!("?fieldValidation=Ignore&fieldManager={}", api::encode(caller.manager))
}

/// Names version and kind, as a request must.
fn typed(served: &Served, mut object: Value) -> Value {
    for (key, value) in [("apiVersion", served.kind.api_version()), ("kind", served.kind.kind.clone())] {
        if object[key].is_null() {
            object[key] = json!(value);
        }
    }
    object
}

#[async_trait]
impl TenantClient for RemoteClient {
    fn tenants(&self) -> Vec<TenantId> {
        self.shared.tenants.read().keys().copied().collect()
    }

    fn follow(&self) -> Box<dyn EventStream> {
        Box::new(follow::Follower::new(Arc::clone(&self.shared)))
    }

    fn in_order(&self) -> bool {
        false
    }

    async fn get(&self, target: Target<'_>) -> Result<Object, ApiError> {
        let connection = self.connection(target.tenant)?;
        let served = connection.served(target.resource).await?;
        let answer = connection.request(Method::GET, &served.path(target.namespace, target.name, ""), None).await;
        served.object(&connection.checked(&served, answer).await?)
    }

    async fn scale(&self, target: Target<'_>) -> Result<Option<Value>, ApiError> {
        let connection = self.connection(target.tenant)?;
        let served = connection.served(target.resource).await?;
        if !served.scales {
            return Ok(None);
        }
        let path = served.path(target.namespace, target.name, "scale");
        connection.checked(&served, connection.request(Method::GET, &path, None).await).await.map(Some)
    }

    async fn list(
        &self,
        tenant: TenantId,
        resource: &GroupResource,
        namespace: Option<&str>,
    ) -> Result<List, ApiError> {
        let connection = self.connection(tenant)?;
        let served = connection.served(resource).await?;
        let mut list = connection.list(&served, namespace.unwrap_or_default()).await?;
        list.items.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        Ok(list)
    }

    async fn resources(&self, tenant: TenantId) -> Result<Vec<Resource>, ApiError> {
        let all = self.connection(tenant)?.discover().await?;
        let deletable = all.values().filter(|served| served.allows(&["list", "delete"]));
        let resource = |served: &Arc<Served>| Resource {
            resource: served.resource.as_ref().clone(),
            kind: served.kind.as_ref().clone(),
            namespaced: served.namespaced,
        };
        Ok(deletable.map(resource).collect())
    }

    async fn create(&self, caller: Caller, target: Target<'_>, object: Value) -> Result<Value, ApiError> {
        let served = self.connection(target.tenant)?.served(target.resource).await?;
        let (at, object) = if target.subresource.is_empty() {
            (Target { name: "", ..target }, typed(&served, object))
        } else {
            (target, object)
        };
        self.send(Method::POST, at, &manager(caller), "application/json", &object).await
    }

    async fn update(&self, caller: Caller, target: Target<'_>, object: Value) -> Result<Value, ApiError> {
        let served = self.connection(target.tenant)?.served(target.resource).await?;
        let object = if target.subresource == "scale" { object } else { typed(&served, object) };
        self.send(Method::PUT, target, &manager(caller), "application/json", &object).await
    }

    async fn patch(&self, caller: Caller, target: Target<'_>, patch: Patch) -> Result<Value, ApiError> {
        let (content_type, body, force) = match patch {
            Patch::Json(body) => ("application/json-patch+json", body, ""),
            Patch::Merge(body) => ("application/merge-patch+json", body, ""),
            Patch::Strategic(body) => ("application/strategic-merge-patch+json", body, ""),
            Patch::Apply { object, force: false } => ("application/apply-patch+yaml", object, ""),
            Patch::Apply { object, force: true } => ("application/apply-patch+yaml", object, "&force=true"),
        };
        let query = format!("{}{force}", manager(caller));
        self.send(Method::PATCH, target, &query, content_type, &body).await
    }

    async fn delete(&self, _caller: Caller, target: Target<'_>, options: DeleteOptions) -> Result<(), ApiError> {
        let mut body = json!({"apiVersion": "v1", "kind": "DeleteOptions"});
        if let Some(seconds) = options.grace_period_seconds {
            body["gracePeriodSeconds"] = json!(seconds);
        }
        if let Some(policy) = options.propagation_policy {
            body["propagationPolicy"] = json!(policy);
        }
        let mut preconditions = Map::new();
        preconditions.extend(options.uid.map(|uid| ("uid".to_owned(), json!(uid))));
        preconditions.extend(options.resource_version.map(|version| ("resourceVersion".to_owned(), json!(version))));
        if !preconditions.is_empty() {
            body["preconditions"] = Value::Object(preconditions);
        }
        self.send(Method::DELETE, target, "", "application/json", &body).await.map(drop)
    }
}
