//! Persistent volume claims: down as claims of the host, up with their status and a picture of their volume.

mod translate;

use std::sync::Arc;
use std::time::Duration;

use apimachinery::gvk::GroupResource;
use apimachinery::meta::{self, str_at};
use apimachinery::status::ApiError;
use apimachinery::tenant::TenantId;
use async_trait::async_trait;
use serde_json::{Value, json};
use tenant_client::{Patch, Target};

use crate::context::{CALLER, Context};
use crate::covers::covers;
use crate::error::SyncError;
use crate::host_api::{HostDelete, HostKind};
use crate::marks;
use crate::namespaces::namespace_ensure;
use crate::room::{Room, Watching};
use crate::table::reasons;
use tenant_client::work::Item;

pub use translate::{claim_status, claim_translate, volume_translate};

const CLAIMS: HostKind = HostKind::core("persistentvolumeclaims", "PersistentVolumeClaim");
const VOLUMES: HostKind = HostKind::core("persistentvolumes", "PersistentVolume");

/// The room.
pub(crate) struct Claims;

#[async_trait]
impl Room for Claims {
    fn name(&self) -> &'static str {
        "persistentvolumeclaims"
    }

    fn tenant_resources(&self) -> Vec<GroupResource> {
        vec![GroupResource::new("", "persistentvolumeclaims")]
    }

    fn watching(&self) -> Option<Watching> {
        Some(Watching::Marked(CLAIMS))
    }

    async fn sync(&self, context: &Arc<Context>, tenant: TenantId, item: &Item) -> Result<(), SyncError> {
        let settings = context.settings(tenant)?;
        let resource = GroupResource::new("", self.name());
        let claim = context.tenant_get(tenant, &resource, &item.namespace, &item.name).await?;
        let claim = claim.map(|c| c.to_value()).transpose()?;
        let host = context.marked.get(tenant, self.name(), &item.namespace, &item.name);
        if let Some(gone) = host.as_ref().filter(|h| h.gone) {
            volume_remove(context, tenant, str_at(&gone.value(), &["spec", "volumeName"])).await?;
            context.marked.settle(tenant, self.name(), &item.namespace, &item.name);
        }
        let host = host.filter(|h| !h.gone).map(|h| h.value());
        let (claim, host) = match (claim, host) {
            (None, None) => return Ok(()),
            (None, Some(host)) => return delete(context, &host).await,
            (Some(claim), Some(host)) if host["metadata"]["annotations"][marks::UID] != claim["metadata"]["uid"] => {
                delete(context, &host).await?;
                return Err(SyncError::Wait("an earlier claim of that name must go first", Duration::from_secs(1)));
            }
            // What was deleted here may be lost there; it is not made anew.
            (Some(claim), None) if claim["metadata"]["deletionTimestamp"].is_string() => return Ok(()),
            (Some(claim), None) if str_at(&claim, &["status", "phase"]) == "Bound" => {
                let message = "the volume of this claim is gone from the host cluster".to_owned();
                return lost(context, tenant, &resource, claim).await.and(Err(SyncError::Refused(message)));
            }
            (Some(claim), host) => (claim, host),
        };
        let translated = claim_translate(&claim, tenant, &settings, host.is_some());
        let mut desired = translated.map_err(|r| SyncError::Refused(reasons(&r)))?;
        namespace_ensure(context, tenant, &item.namespace).await?;
        let stamp = |o: &Value| o["metadata"]["annotations"][marks::APPLIED].clone();
        let host = match host {
            Some(host) if stamp(&host) == stamp(&desired) && covers(&host, &desired) => host,
            host => context.host.apply_owned(CLAIMS, &mut desired, host.as_ref().map(meta::uid), false).await?,
        };
        self.bring_up(context, tenant, item, claim, &host).await
    }
}

impl Claims {
    async fn bring_up(
        &self,
        context: &Context,
        tenant: TenantId,
        item: &Item,
        mut claim: Value,
        host: &Value,
    ) -> Result<(), SyncError> {
        let resource = GroupResource::new("", self.name());
        let (namespace, name) = (&item.namespace, &item.name);
        let target = |subresource| Target { tenant, resource: &resource, namespace, name, subresource };
        let volume = str_at(host, &["spec", "volumeName"]);
        let bound = str_at(host, &["status", "phase"]) == "Bound" && !volume.is_empty();
        if bound {
            volume_ensure(context, tenant, volume, &claim).await?;
            if str_at(&claim, &["spec", "volumeName"]).is_empty() {
                claim["spec"]["volumeName"] = json!(volume);
                if claim["spec"]["storageClassName"].is_null() && host["spec"]["storageClassName"].is_string() {
                    claim["spec"]["storageClassName"] = host["spec"]["storageClassName"].clone();
                }
                if !claim["metadata"]["annotations"].is_object() {
                    claim["metadata"]["annotations"] = json!({});
                }
                for key in ["pv.kubernetes.io/bind-completed", "pv.kubernetes.io/bound-by-controller"] {
                    claim["metadata"]["annotations"][key] = json!("yes");
                }
                claim = context.tenants.update(CALLER, target(""), claim).await?;
            }
        }
        let status = claim_status(host);
        if !covers(&claim["status"], &status) || !covers(&status, &claim["status"]) {
            claim["status"] = status;
            context.tenants.update(CALLER, target("status"), claim).await?;
        }
        Ok(())
    }
}

async fn lost(
    context: &Context,
    tenant: TenantId,
    resource: &GroupResource,
    mut claim: Value,
) -> Result<(), SyncError> {
    let (namespace, name) = (meta::namespace(&claim).to_owned(), meta::name(&claim).to_owned());
    claim["status"]["phase"] = json!("Lost");
    let target = Target { tenant, resource, namespace: &namespace, name: &name, subresource: "status" };
    context.tenants.update(CALLER, target, claim).await?;
    Ok(())
}

async fn delete(context: &Context, host: &Value) -> Result<(), SyncError> {
    if host["metadata"]["deletionTimestamp"].is_string() {
        return Ok(());
    }
    let options = HostDelete { uid: Some(meta::uid(host).to_owned()), ..HostDelete::default() };
    Ok(context.host.delete(CLAIMS, meta::namespace(host), meta::name(host), &options).await?)
}

async fn volume_ensure(context: &Context, tenant: TenantId, name: &str, claim: &Value) -> Result<(), SyncError> {
    let resource = GroupResource::new("", VOLUMES.resource);
    let Some(volume) = context.host.get(VOLUMES, "", name).await? else {
        return Err(SyncError::Wait("the host's volume is about to be seen", Duration::from_secs(1)));
    };
    let desired = volume_translate(&volume, claim);
    let target = |subresource| Target { tenant, resource: &resource, namespace: "", name, subresource };
    match context.tenant_get(tenant, &resource, "", name).await? {
        None => match context.tenants.create(CALLER, target(""), desired.clone()).await {
            Ok(_) | Err(ApiError { code: 409, .. }) => {}
            Err(e) => return Err(e.into()),
        },
        Some(present) => {
            let present = present.to_value()?;
            if covers(&present["spec"], &desired["spec"]) && present["status"]["phase"] == desired["status"]["phase"] {
                return Ok(());
            }
            if !covers(&present["spec"], &desired["spec"]) {
                let patch = Patch::Merge(json!({"spec": {"capacity": desired["spec"]["capacity"]}}));
                context.tenants.patch(CALLER, target(""), patch).await?;
            }
        }
    }
    let patch = Patch::Merge(json!({"status": desired["status"]}));
    context.tenants.patch(CALLER, target("status"), patch).await?;
    Ok(())
}

/// The picture of a volume goes with the claim.
async fn volume_remove(context: &Context, tenant: TenantId, name: &str) -> Result<(), SyncError> {
    let resource = GroupResource::new("", VOLUMES.resource);
    if name.is_empty() {
        return Ok(());
    }
    let Some(volume) = context.tenant_get(tenant, &resource, "", name).await? else { return Ok(()) };
    let volume = volume.to_value()?;
    if volume["metadata"]["annotations"][marks::RESOURCE] == "persistentvolumes" {
        if volume["metadata"]["finalizers"].as_array().is_some_and(|f| !f.is_empty()) {
            let target = Target { tenant, resource: &resource, namespace: "", name, subresource: "" };
            let patch = Patch::Merge(json!({"metadata": {"finalizers": null}}));
            context.tenants.patch(CALLER, target, patch).await?;
        }
        context.tenant_delete(tenant, &resource, &volume, None).await?;
    }
    Ok(())
}
