//! Nodes: the tenant sees those that its pods run on, or all, without what concerns the admin alone.

mod lease;
mod translate;

use std::sync::Arc;

use apimachinery::gvk::GroupResource;
use apimachinery::status::ApiError;
use apimachinery::tenant::TenantId;
use async_trait::async_trait;
use serde_json::{Value, json};
use tenant_client::{Patch, Target};

use crate::config::{NodePolicy, TenantSettings};
use crate::context::{CALLER, Context};
use crate::covers::covers;
use crate::error::SyncError;
use crate::host_api::HostKind;
use crate::marks::Mark;
use crate::room::{Room, Watching};
use tenant_client::work::Item;

pub(crate) use lease::Leases;
pub use translate::node_translate;

const NODES: HostKind = HostKind::core("nodes", "Node");

/// The room.
pub(crate) struct Nodes;

/// Whether a tenant sees a node of the host.
fn is_seen(context: &Context, tenant: TenantId, settings: &TenantSettings, name: &str) -> bool {
    settings.policy.nodes == NodePolicy::All || context.marked.uses_node(tenant, name)
}

/// Makes sure that the tenant has a node, before a pod is bound to it.
pub(crate) async fn node_ensure(context: &Context, tenant: TenantId, name: &str) -> Result<(), SyncError> {
    let Some(desired) = context.shared.get(NODES.resource, name) else { return Ok(()) };
    node_apply(context, tenant, name, &desired).await?;
    if context.settings(tenant)?.policy.node_leases {
        context.wake(tenant, Item::new(lease::ROOM, "", name));
    }
    Ok(())
}

async fn node_apply(context: &Context, tenant: TenantId, name: &str, desired: &Value) -> Result<(), SyncError> {
    let resource = GroupResource::new("", "nodes");
    let target = |subresource| Target { tenant, resource: &resource, namespace: "", name, subresource };
    let Some(present) = context.tenant_get(tenant, &resource, "", name).await? else {
        let mut object =
            json!({"apiVersion": "v1", "kind": "Node", "metadata": desired["metadata"], "spec": desired["spec"]});
        object["metadata"]["name"] = json!(name);
        match context.tenants.create(CALLER, target(""), object).await {
            Ok(_) | Err(ApiError { code: 409, .. }) => {}
            Err(e) => return Err(e.into()),
        }
        context.tenants.patch(CALLER, target("status"), Patch::Merge(json!({"status": desired["status"]}))).await?;
        return Ok(());
    };
    let present = present.to_value()?;
    if !same(&present, desired, "metadata") || !same(&present, desired, "spec") {
        // Taints of the tenant's own are replaced with the rest: the host decides where its pods may run.
        let mut spec = desired["spec"].clone();
        for key in ["taints", "unschedulable"] {
            if spec.get(key).is_none() {
                spec[key] = Value::Null;
            }
        }
        let patch = json!({"metadata": desired["metadata"], "spec": spec});
        context.tenants.patch(CALLER, target(""), Patch::Merge(patch)).await?;
    }
    if !same(&present, desired, "status") {
        context.tenants.patch(CALLER, target("status"), Patch::Merge(json!({"status": desired["status"]}))).await?;
    }
    Ok(())
}

fn same(present: &Value, desired: &Value, part: &str) -> bool {
    let exact = part != "spec" || present["spec"]["taints"] == desired["spec"]["taints"];
    exact && covers(&present[part], &desired[part])
}

#[async_trait]
impl Room for Nodes {
    fn name(&self) -> &'static str {
        "nodes"
    }

    fn tenant_resources(&self) -> Vec<GroupResource> {
        vec![GroupResource::new("", "nodes")]
    }

    fn watching(&self) -> Option<Watching> {
        Some(Watching::Shared(NODES))
    }

    fn host_changed(&self, _context: &Context, _mark: &Mark) {}

    fn reduce(&self, object: &Value) -> Option<Value> {
        Some(node_translate(object))
    }

    fn shared_changed(&self, context: &Context, name: &str) {
        for tenant in context.tenants.tenants() {
            if context.directory.get(tenant).is_some_and(|settings| is_seen(context, tenant, &settings, name)) {
                context.wake(tenant, Item::new(self.name(), "", name));
            }
        }
    }

    async fn sync(&self, context: &Arc<Context>, tenant: TenantId, item: &Item) -> Result<(), SyncError> {
        let settings = context.settings(tenant)?;
        let exists = context.shared.get(NODES.resource, &item.name).is_some();
        if exists && is_seen(context, tenant, &settings, &item.name) {
            return node_ensure(context, tenant, &item.name).await;
        }
        let resource = GroupResource::new("", "nodes");
        match context.tenant_get(tenant, &resource, "", &item.name).await? {
            Some(node) => {
                let node = node.to_value()?;
                // A node that the tenant made up is its own affair.
                if node["metadata"]["annotations"][crate::marks::RESOURCE].as_str() == Some("nodes") {
                    return context.tenant_delete(tenant, &resource, &node, None).await;
                }
                Ok(())
            }
            None => Ok(()),
        }
    }

    async fn scan(&self, context: &Arc<Context>, tenant: TenantId) -> Result<(), SyncError> {
        for node in context.tenants.list(tenant, &GroupResource::new("", "nodes"), None).await?.items {
            context.wake(tenant, Item::new(self.name(), "", &node.name));
        }
        if context.settings(tenant)?.policy.nodes == NodePolicy::All {
            for name in context.shared.names(NODES.resource) {
                context.wake(tenant, Item::new(self.name(), "", &name));
            }
        }
        Ok(())
    }
}
