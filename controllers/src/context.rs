//! What controllers work with: the seam, the clock, and reads and writes as they need them.

use std::sync::Arc;

use apimachinery::gvk::GroupResource;
use apimachinery::meta;
use apimachinery::status::ApiError;
use jiff::Timestamp;
use serde_json::{Value, json};
use tenant_client::{Caller, DeleteOptions, Object, Patch, Target, TenantClient};

use crate::controller::Key;

/// Tells the time.
pub(crate) type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What controllers work with.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) client: Arc<dyn TenantClient>,
    pub(crate) clock: Clock,
}

/// A resource by group and plural.
pub(crate) fn resource(group: &str, plural: &str) -> GroupResource {
    GroupResource::new(group, plural)
}

impl Context {
    /// Now.
    pub(crate) fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// Now, as Kubernetes writes times.
    pub(crate) fn now_text(&self) -> String {
        format!("{:.0}", self.now())
    }

    /// Reads an object, `None` if there is none.
    pub(crate) async fn get(
        &self,
        key: Key<'_>,
        resource: &GroupResource,
        name: &str,
    ) -> Result<Option<Value>, ApiError> {
        let target = Target { tenant: key.tenant, resource, namespace: key.namespace, name, subresource: "" };
        match self.client.get(target).await {
            Ok(object) => object.to_value().map(Some),
            Err(error) if error.code == 404 => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads all objects of a resource in the key's namespace.
    pub(crate) async fn list(&self, key: Key<'_>, resource: &GroupResource) -> Result<Vec<Object>, ApiError> {
        Ok(self.client.list(key.tenant, resource, Some(key.namespace)).await?.items)
    }

    /// Creates an object in the key's namespace.
    pub(crate) async fn create(
        &self,
        caller: Caller,
        key: Key<'_>,
        resource: &GroupResource,
        object: Value,
    ) -> Result<Value, ApiError> {
        let name = meta::name(&object).to_owned();
        let target = Target { tenant: key.tenant, resource, namespace: key.namespace, name: &name, subresource: "" };
        self.client.create(caller, target, object).await
    }

    /// Replaces an object, or a part of it.
    pub(crate) async fn update(
        &self,
        caller: Caller,
        key: Key<'_>,
        resource: &GroupResource,
        subresource: &str,
        object: Value,
    ) -> Result<Value, ApiError> {
        let name = meta::name(&object).to_owned();
        let target = Target { tenant: key.tenant, resource, namespace: key.namespace, name: &name, subresource };
        self.client.update(caller, target, object).await
    }

    /// Writes `status` if it is not what it should be. The object's `resourceVersion` is a precondition.
    pub(crate) async fn update_status(
        &self,
        caller: Caller,
        key: Key<'_>,
        resource: &GroupResource,
        mut object: Value,
        status: Value,
    ) -> Result<(), ApiError> {
        if object.get("status") == Some(&status) {
            return Ok(());
        }
        object["status"] = status;
        self.update(caller, key, resource, "status", object).await.map(|_| ())
    }

    /// Patches an object of this uid.
    pub(crate) async fn merge(
        &self,
        caller: Caller,
        key: Key<'_>,
        resource: &GroupResource,
        name: &str,
        uid: &str,
        mut patch: Value,
    ) -> Result<(), ApiError> {
        patch["metadata"]["uid"] = json!(uid);
        let target = Target { tenant: key.tenant, resource, namespace: key.namespace, name, subresource: "" };
        self.client.patch(caller, target, Patch::Merge(patch)).await.map(|_| ())
    }

    /// Deletes an object of this uid; one that is gone, or another one by now, is no error.
    pub(crate) async fn delete(
        &self,
        caller: Caller,
        key: Key<'_>,
        resource: &GroupResource,
        name: &str,
        uid: &str,
    ) -> Result<(), ApiError> {
        let target = Target { tenant: key.tenant, resource, namespace: key.namespace, name, subresource: "" };
        let options = DeleteOptions {
            uid: Some(uid.to_owned()),
            propagation_policy: Some("Background"),
            ..DeleteOptions::default()
        };
        gone_is_fine(self.client.delete(caller, target, options).await)
    }
}

/// Takes a 404, or a conflict of uids, for success: what was to be done away with is.
pub(crate) fn gone_is_fine(result: Result<(), ApiError>) -> Result<(), ApiError> {
    match result {
        Err(error) if error.code == 404 || error.code == 409 => Ok(()),
        other => other,
    }
}
