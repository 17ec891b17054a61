//! Namespaces: each that holds something for the host has a host namespace of its own, with our mark, the pod security
//! label of the admin's choice, copies of the tenant's labels for selectors, and the binding that lets us in.
//!
//! A host namespace is made when the first object needs it: an idle tenant has none.

mod translate;

use std::sync::Arc;
use std::time::Duration;

use apimachinery::gvk::GroupResource;
use apimachinery::meta;
use apimachinery::tenant::TenantId;
use async_trait::async_trait;
use serde_json::Value;

use crate::configs::namespace_is_fresh;
use crate::context::Context;
use crate::covers::covers;
use crate::error::{HostError, SyncError};
use crate::host_api::{HostDelete, HostKind};
use crate::room::{Room, Watching};
use crate::services::SERVICES;
use tenant_client::work::Item;

pub use translate::{namespace_binding_translate, namespace_translate};

const NAMESPACES: HostKind = HostKind::core("namespaces", "Namespace");
const ROLE_BINDINGS: HostKind =
    HostKind { root: "apis/rbac.authorization.k8s.io/v1", resource: "rolebindings", kind: "RoleBinding" };

/// The room.
pub(crate) struct Namespaces;

/// The host namespace of a tenant's namespace, which is there and ready to be written to.
///
/// # Errors
/// [`SyncError::Wait`] while an earlier one of that name goes away, or the tenant's is going.
pub(crate) async fn namespace_ensure(
    context: &Context,
    tenant: TenantId,
    namespace: &str,
) -> Result<String, SyncError> {
    let settings = context.settings(tenant)?;
    let host_name = context.host_namespace(tenant, namespace)?;
    if context.ready_namespaces.lock().contains(&(tenant, namespace.into())) {
        return Ok(host_name);
    }
    let resource = GroupResource::new("", "namespaces");
    let soon = Duration::from_millis(500);
    let Some(object) = context.tenant_get(tenant, &resource, "", namespace).await? else {
        return Err(SyncError::Wait("the namespace is gone", soon));
    };
    let object = object.to_value()?;
    let known = context.marked.get(tenant, NAMESPACES.resource, "", namespace).filter(|host| !host.gone);
    let host = match known {
        Some(known) => Some(known.value()),
        // One without our mark is not watched, and must be left alone.
        None => context.host.get(NAMESPACES, "", &host_name).await?,
    };
    if let Some(host) = &host {
        if host["metadata"]["deletionTimestamp"].is_string() {
            return Err(SyncError::Wait("an earlier host namespace is still being deleted", soon));
        }
        if host["metadata"]["annotations"][crate::marks::UID].as_str().is_some_and(|uid| uid != meta::uid(&object)) {
            // The tenant has deleted the namespace and made it again: nothing of the old one may be seen in the new.
            delete(context, &host_name, host).await?;
            return Err(SyncError::Wait("an earlier host namespace must go first", soon));
        }
    }
    let mut desired = namespace_translate(&object, tenant, &settings);
    if !host.as_ref().is_some_and(|host| in_sync(host, &desired)) {
        context.host.apply_over(NAMESPACES, &mut desired, host.as_ref(), false).await?;
    }
    if host.is_none() {
        namespace_is_fresh(context, tenant, namespace);
    }
    if let Some(access) = &context.config.access {
        let binding = namespace_binding_translate(&host_name, tenant, access);
        context.host.apply(ROLE_BINDINGS, &binding, false).await?;
        binding_await(context, &host_name).await?;
    }
    context.ready_namespaces.lock().insert((tenant, namespace.into()));
    Ok(host_name)
}

/// Whether a host namespace is as it was applied last, and that is what is wanted.
fn in_sync(host: &Value, desired: &Value) -> bool {
    let stamp = |o: &Value| o["metadata"]["annotations"][crate::marks::APPLIED].clone();
    stamp(host) == stamp(desired) && covers(host, desired)
}

/// Waits until the host's authorizer, which reads bindings by a watch of its own, knows the binding. It tells no one when, so it is asked,
/// for about three seconds; after that the caller finds out by itself.
async fn binding_await(context: &Context, host_name: &str) -> Result<(), SyncError> {
    let mut pause = Duration::from_millis(5);
    while pause < Duration::from_secs(2) {
        // Only whether it may be asked matters, not whether there is such a service.
        match context.host.get(SERVICES, host_name, "tenantry-right").await {
            Err(HostError::NoRight(_)) => tokio::time::sleep(pause).await,
            answer => return Ok(answer.map(drop)?),
        }
        pause *= 2;
    }
    Ok(())
}

async fn delete(context: &Context, host_name: &str, host: &Value) -> Result<(), SyncError> {
    let options = HostDelete { uid: Some(meta::uid(host).to_owned()), ..HostDelete::default() };
    Ok(context.host.delete(NAMESPACES, "", host_name, &options).await?)
}

#[async_trait]
impl Room for Namespaces {
    fn name(&self) -> &'static str {
        "namespaces"
    }

    fn tenant_resources(&self) -> Vec<GroupResource> {
        vec![GroupResource::new("", "namespaces")]
    }

    fn watching(&self) -> Option<Watching> {
        Some(Watching::Marked(NAMESPACES))
    }

    async fn sync(&self, context: &Arc<Context>, tenant: TenantId, item: &Item) -> Result<(), SyncError> {
        let settings = context.settings(tenant)?;
        let resource = GroupResource::new("", "namespaces");
        let object = context.tenant_get(tenant, &resource, "", &item.name).await?;
        let host = context.marked.get(tenant, self.name(), "", &item.name);
        let Some(host) = host else { return Ok(()) };
        let present = host.value();
        if host.gone || present["metadata"]["deletionTimestamp"].is_string() {
            context.namespace_lost(tenant, &item.name);
        }
        if host.gone {
            context.marked.settle(tenant, self.name(), "", &item.name);
            // Deleted on the host, or without its mark: what lies in it shall find it as it was.
            if object.is_some_and(|o| !o.stored.deleting()) {
                namespace_ensure(context, tenant, &item.name).await?;
            }
            return Ok(());
        }
        let host_name = meta::name(&present).to_owned();
        let Some(object) = object else {
            context.namespace_lost(tenant, &item.name);
            return delete(context, &host_name, &present).await;
        };
        let object = object.to_value()?;
        if present["metadata"]["annotations"][crate::marks::UID].as_str() != Some(meta::uid(&object)) {
            context.namespace_lost(tenant, &item.name);
            return delete(context, &host_name, &present).await;
        }
        let mut desired = namespace_translate(&object, tenant, &settings);
        if present["metadata"]["deletionTimestamp"].is_null() && !in_sync(&present, &desired) {
            context.host.apply_owned(NAMESPACES, &mut desired, Some(meta::uid(&present)), false).await?;
        }
        Ok(())
    }
}
