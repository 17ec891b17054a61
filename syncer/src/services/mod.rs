//! Services: made on the host within the tenant's call (see [`crate::host`]), kept in sync here; load balancers' addresses come up.

mod translate;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use apimachinery::gvk::GroupResource;
use apimachinery::meta;
use apimachinery::tenant::TenantId;
use async_trait::async_trait;
use serde_json::{Value, json};
use tenant_client::{Change, Target};

use crate::context::{CALLER, Context};
use crate::covers::covers;
use crate::error::SyncError;
use crate::host_api::{HostDelete, HostKind, HostPatch};
use crate::marks;
use crate::namespaces::namespace_ensure;
use crate::room::{Room, Watching};
use crate::table::{is_set, reasons};
use tenant_client::work::Item;

pub use translate::{
    service_allotted, service_carry, service_class_is_foreign, service_has_host, service_lacks, service_translate,
};

pub(crate) const SERVICES: HostKind = HostKind::core("services", "Service");

/// The room.
pub(crate) struct Services;

#[async_trait]
impl Room for Services {
    fn name(&self) -> &'static str {
        "services"
    }

    fn tenant_resources(&self) -> Vec<GroupResource> {
        vec![GroupResource::new("", "services")]
    }

    fn watching(&self) -> Option<Watching> {
        Some(Watching::Marked(SERVICES))
    }

    fn tenant_changed(&self, context: &Context, change: &Change) {
        if let Some(object) = change.object() {
            let item = Item::new(self.name(), &object.namespace, &object.name);
            context.pending_services.lock().remove(&(change.tenant, item.clone()));
            context.wake(change.tenant, item);
        }
    }

    async fn sync(&self, context: &Arc<Context>, tenant: TenantId, item: &Item) -> Result<(), SyncError> {
        if context.service_is_pending(tenant, item) {
            // A call is under way that has changed the host and is about to change the tenant.
            return Err(SyncError::Wait("a change of the service is under way", Duration::from_secs(1)));
        }
        let settings = context.settings(tenant)?;
        let resource = GroupResource::new("", "services");
        let service = context.tenant_get(tenant, &resource, &item.namespace, &item.name).await?;
        let service = service.map(|s| s.to_value()).transpose()?;
        let host = context.marked.get(tenant, self.name(), &item.namespace, &item.name);
        if host.as_ref().is_some_and(|h| h.gone) {
            context.marked.settle(tenant, self.name(), &item.namespace, &item.name);
        }
        let host = host.filter(|h| !h.gone).map(|h| h.value());
        let wanted = service.filter(service_has_host);
        let Some(service) = wanted else {
            return match host {
                Some(host) => delete(context, &host).await,
                None => Ok(()),
            };
        };
        if let Some(host) = &host
            && host["metadata"]["annotations"][marks::UID] != service["metadata"]["uid"]
        {
            delete(context, host).await?;
            return Err(SyncError::Wait("an earlier service of that name must go first", Duration::from_millis(200)));
        }
        let mut desired =
            service_translate(&service, tenant, &settings).map_err(|r| SyncError::Refused(reasons(&r)))?;
        namespace_ensure(context, tenant, &item.namespace).await?;
        let host = match host {
            Some(host) if in_sync(&host, &desired) => host,
            host => {
                if let Some(host) = &host
                    && !same_ports(host, &desired)
                {
                    ports_replace(context, host, &desired).await?;
                }
                let known = host.as_ref().map(meta::uid);
                context.host.apply_owned(SERVICES, &mut desired, known, false).await?
            }
        };
        if service_lacks(&service, &host) {
            // It did not come by a call: it was restored without the addresses that it had.
            let mut update = service;
            service_allotted(&mut update, &host);
            let (namespace, name) = (&item.namespace, &item.name);
            let target = Target { tenant, resource: &resource, namespace, name, subresource: "" };
            context.tenants.update(CALLER, target, update).await?;
            return Ok(());
        }
        if service_class_is_foreign(&service, &settings) {
            return Ok(());
        }
        let status = host.get("status").cloned().unwrap_or_else(|| json!({"loadBalancer": {}}));
        if is_set(&status["loadBalancer"]) != is_set(&service["status"]["loadBalancer"])
            || !covers(&service["status"], &status)
        {
            let mut update = service;
            update["status"] = json!({"loadBalancer": status["loadBalancer"]});
            if is_set(&status["conditions"]) {
                update["status"]["conditions"] = status["conditions"].clone();
            }
            let (namespace, name) = (&item.namespace, &item.name);
            let target = Target { tenant, resource: &resource, namespace, name, subresource: "status" };
            context.tenants.update(CALLER, target, update).await?;
        }
        Ok(())
    }
}

fn in_sync(host: &Value, desired: &Value) -> bool {
    let stamp = |o: &Value| o["metadata"]["annotations"][marks::APPLIED].clone();
    stamp(host) == stamp(desired) && same_ports(host, desired) && covers(host, desired)
}

/// Whether the host service has the ports that it shall have, and no others.
fn same_ports(host: &Value, desired: &Value) -> bool {
    let keys = |o: &Value| -> BTreeSet<(i64, String)> {
        let key =
            |p: &Value| (p["port"].as_i64().unwrap_or_default(), p["protocol"].as_str().unwrap_or("TCP").to_owned());
        meta::list_at(o, &["spec", "ports"]).iter().map(key).collect()
    };
    keys(host) == keys(desired)
}

/// Apply leaves the ports that others added; the list is replaced instead.
async fn ports_replace(context: &Context, host: &Value, desired: &Value) -> Result<(), SyncError> {
    let (namespace, name) = (meta::namespace(host), meta::name(host));
    let patch = json!({"metadata": {"uid": meta::uid(host)}, "spec": {"ports": desired["spec"]["ports"]}});
    context.host.patch(SERVICES, namespace, name, "", &HostPatch::Merge(patch)).await?;
    Ok(())
}

async fn delete(context: &Context, host: &Value) -> Result<(), SyncError> {
    let options = HostDelete { uid: Some(meta::uid(host).to_owned()), ..HostDelete::default() };
    Ok(context.host.delete(SERVICES, meta::namespace(host), meta::name(host), &options).await?)
}
