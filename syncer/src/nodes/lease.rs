//! Leases of nodes, for tenants that run a node controller of their own.
//!
//! A kubelet renews the lease of its node every ten seconds, and a node controller that sees neither that nor another
//! heartbeat takes the node for dead. What the host knows of its nodes is in their conditions already, so the host's leases
//! are not followed: as long as the host does not say that it has lost a node, the syncer vouches for it. So no right to
//! read leases of the host is needed, and a host API that is away does not make tenants' pods flee.

use std::sync::Arc;
use std::time::Duration;

use apimachinery::gvk::GroupResource;
use apimachinery::meta::{self, list_at};
use apimachinery::status::ApiError;
use apimachinery::tenant::TenantId;
use async_trait::async_trait;
use serde_json::{Value, json};
use smol_str::SmolStr;
use tenant_client::work::Item;
use tenant_client::{DeleteOptions, Patch, Target};
use tokio::time::Instant;

use super::{NODES, is_seen};
use crate::clock;
use crate::context::{CALLER, Context};
use crate::error::SyncError;
use crate::room::Room;

/// Its name.
pub(super) const ROOM: &str = "leases";

/// The namespace of the leases of nodes.
const NAMESPACE: &str = "kube-node-lease";
/// A node controller waits for 50 s (`--node-monitor-grace-period`), so two renewals may fail.
const RENEW_EVERY: Duration = Duration::from_secs(15);
/// What a kubelet writes.
const DURATION_SECONDS: u32 = 40;

/// The room. Its items are nodes, woken when the node has been brought up, and by themselves from then on.
pub(crate) struct Leases;

#[async_trait]
impl Room for Leases {
    fn name(&self) -> &'static str {
        ROOM
    }

    fn tenant_resources(&self) -> Vec<GroupResource> {
        Vec::new()
    }

    async fn sync(&self, context: &Arc<Context>, tenant: TenantId, item: &Item) -> Result<(), SyncError> {
        let settings = context.settings(tenant)?;
        let key = (tenant, item.name.clone());
        if !settings.policy.node_leases {
            let had = context.leases.lock().remove(&key).is_some();
            return if had { remove(context, tenant, &item.name).await } else { Ok(()) };
        }
        let node = context.shared.get(NODES.resource, &item.name);
        if !node.is_some_and(|node| is_alive(&node)) || !is_seen(context, tenant, &settings, &item.name) {
            // A node that comes back is brought up again, which wakes this item.
            context.leases.lock().remove(&key);
            return Ok(());
        }
        let now = Instant::now();
        if context.leases.lock().get(&key).is_some_and(|due| *due > now) {
            return Ok(());
        }
        renew(context, tenant, &item.name).await?;
        context.leases.lock().insert(key, now + RENEW_EVERY);
        context.queue.add_after(tenant, item.clone(), RENEW_EVERY);
        Ok(())
    }
}

/// Whether the host hears from a node. One that is not ready but speaks is alive.
fn is_alive(node: &Value) -> bool {
    let ready = list_at(node, &["status", "conditions"]).iter().find(|c| c["type"] == "Ready");
    ready.is_some_and(|c| c["status"] != "Unknown")
}

async fn renew(context: &Context, tenant: TenantId, name: &SmolStr) -> Result<(), SyncError> {
    let leases = GroupResource::new("coordination.k8s.io", "leases");
    let target = Target { tenant, resource: &leases, namespace: NAMESPACE, name, subresource: "" };
    let renewed = Patch::Merge(json!({"spec": {"renewTime": clock::now_micro_text()}}));
    match context.tenants.patch(CALLER, target, renewed).await {
        Ok(_) => return Ok(()),
        Err(ApiError { code: 404, .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let Some(node) = context.tenant_get(tenant, &GroupResource::new("", NODES.resource), "", name).await? else {
        return Ok(());
    };
    let node = node.to_value()?;
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {
            "name": name, "namespace": NAMESPACE,
            "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": name, "uid": meta::uid(&node)}],
        },
        "spec": {
            "holderIdentity": name, "leaseDurationSeconds": DURATION_SECONDS, "renewTime": clock::now_micro_text(),
        },
    });
    match context.tenants.create(CALLER, target, lease).await {
        Ok(_) | Err(ApiError { code: 409, .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

async fn remove(context: &Context, tenant: TenantId, name: &str) -> Result<(), SyncError> {
    let leases = GroupResource::new("coordination.k8s.io", "leases");
    let target = Target { tenant, resource: &leases, namespace: NAMESPACE, name, subresource: "" };
    match context.tenants.delete(CALLER, target, DeleteOptions::default()).await {
        Ok(()) | Err(ApiError { code: 404, .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_vouched_for_until_the_host_has_lost_it() {
        let node = |ready: &str| json!({"status": {"conditions": [{"type": "Ready", "status": ready}]}});
        assert!(is_alive(&node("True")) && is_alive(&node("False")));
        assert!(!is_alive(&node("Unknown")) && !is_alive(&json!({})));
    }
}
