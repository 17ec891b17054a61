//! The room of pods.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use apimachinery::gvk::GroupResource;
use apimachinery::meta::{self, str_at};
use apimachinery::status::ApiError;
use apimachinery::tenant::TenantId;
use async_trait::async_trait;
use serde_json::{Value, json};
use tenant_client::Target;

use super::tokens::{tokens_adopt, tokens_ensure};
use super::{HostPod, PodContext, PodPlan, Refusal, pod_plan, pod_status, pod_translate, pod_uses};
use crate::config::TenantSettings;
use crate::configs::{config_ensure, use_item};
use crate::context::{CALLER, Context};
use crate::covers::{applied_stamp, covers};
use crate::error::SyncError;
use crate::host_api::{HostDelete, HostKind, HostPatch};
use crate::marks;
use crate::names;
use crate::namespaces::namespace_ensure;
use crate::nodes::node_ensure;
use crate::rewrite::Rewrite;
use crate::room::{Room, Watching};
use crate::table::reasons;
use tenant_client::work::Item;

pub(crate) const PODS: HostKind = HostKind::core("pods", "Pod");
/// `status.reason` of a pod that the admin's policy or the host refuses.
const NOT_ALLOWED: &str = "NotAllowed";

/// The room.
pub(crate) struct Pods;

#[async_trait]
impl Room for Pods {
    fn name(&self) -> &'static str {
        "pods"
    }

    fn tenant_resources(&self) -> Vec<GroupResource> {
        vec![GroupResource::new("", "pods")]
    }

    fn watching(&self) -> Option<Watching> {
        Some(Watching::Marked(PODS))
    }

    async fn sync(&self, context: &Arc<Context>, tenant: TenantId, item: &Item) -> Result<(), SyncError> {
        let settings = context.settings(tenant)?;
        let sync = Sync { context, tenant, item, settings: &settings, resource: GroupResource::new("", "pods") };
        let pod = context.tenant_get(tenant, &sync.resource, &item.namespace, &item.name).await?;
        let pod = pod.map(|p| p.to_value()).transpose()?;
        sync.note_uses(pod.as_ref());
        let host = context.marked.get(tenant, self.name(), &item.namespace, &item.name);
        match (pod, host) {
            (None, None) => {
                context.forget_told(tenant, item);
                Ok(())
            }
            (pod, Some(host)) if host.gone => sync.host_gone(pod, &host.value()).await,
            (None, Some(host)) => sync.host_delete(&host.value(), 0).await,
            (Some(pod), Some(host)) => {
                let host = host.value();
                if host["metadata"]["annotations"][marks::UID] == pod["metadata"]["uid"] {
                    sync.both(&pod, &host).await
                } else {
                    // An earlier pod of that name: it was deleted without grace, so nothing of it may remain.
                    sync.host_delete(&host, 0).await
                }
            }
            (Some(pod), None) => {
                let done = sync.tenant_only(&pod).await;
                if let Some(why) = done.as_ref().err().and_then(SyncError::tenant_message) {
                    sync.tenant_refuse(&pod, &why).await?;
                }
                done
            }
        }
    }
}

struct Sync<'a> {
    context: &'a Arc<Context>,
    tenant: TenantId,
    item: &'a Item,
    settings: &'a TenantSettings,
    resource: GroupResource,
}

impl Sync<'_> {
    fn note_uses(&self, pod: Option<&Value>) {
        let uses = pod.map_or_else(BTreeSet::new, pod_uses);
        let changed = self.context.in_use.set(self.tenant, &self.item.namespace, &self.item.name, uses);
        for change in changed {
            self.context.wake(self.tenant, use_item(&self.item.namespace, &change));
        }
    }

    /// There is no host pod.
    async fn tenant_only(&self, pod: &Value) -> Result<(), SyncError> {
        if was_on_host(pod) {
            // Ask before believing it: the watch may not have told us yet.
            let host_namespace = self.context.host_namespace(self.tenant, &self.item.namespace)?;
            if self.context.host.get(PODS, &host_namespace, &self.item.name).await?.is_some() {
                return Err(SyncError::Wait("the host pod is about to be seen", Duration::from_secs(1)));
            }
            return self.tenant_finish(pod).await;
        }
        if is_deleting(pod) {
            return self.tenant_finish(pod).await;
        }
        let gated = !meta::list_at(pod, &["spec", "schedulingGates"]).is_empty();
        if gated || matches!(str_at(pod, &["status", "phase"]), "Succeeded" | "Failed") {
            return Ok(());
        }
        let mut desired = self.translate(pod, false)?;
        namespace_ensure(self.context, self.tenant, &self.item.namespace).await?;
        for used in pod_uses(pod) {
            config_ensure(self.context, self.tenant, &self.item.namespace, &used).await?;
        }
        tokens_ensure(self.context, self.tenant, self.item, pod, &desired.tokens, None).await?;
        applied_stamp(&mut desired.object);
        let created = self.context.host.apply_owned(PODS, &mut desired.object, None, false).await?;
        if !desired.tokens.is_empty() {
            tokens_adopt(self.context, self.tenant, pod, meta::uid(&created)).await?;
        }
        self.warn(pod, &desired).await;
        Ok(())
    }

    /// Shows in the status of a pod why it is not on the host: `kubectl get pods` prints the reason, `describe` the message. The host's
    /// status replaces both once there is one.
    async fn tenant_refuse(&self, pod: &Value, why: &str) -> Result<(), SyncError> {
        let message = Rewrite::new(self.tenant, &self.settings.name, &self.item.namespace).text(why);
        if is_deleting(pod) || pod["status"]["reason"] == NOT_ALLOWED && pod["status"]["message"] == message {
            return Ok(());
        }
        let mut pod = pod.clone();
        pod["status"]["reason"] = json!(NOT_ALLOWED);
        pod["status"]["message"] = json!(message);
        self.context.tenants.update(CALLER, self.target("status"), pod).await?;
        Ok(())
    }

    /// Tells the tenant what of its pod does not reach the host.
    async fn warn(&self, pod: &Value, desired: &HostPod) {
        if !desired.warnings.is_empty() {
            let message = reasons(&desired.warnings);
            self.context.tell(self.tenant, self.item, pod, "SyncWarning", &message).await;
        }
    }

    /// Both are there, and the host pod is this pod's.
    async fn both(&self, pod: &Value, host: &Value) -> Result<(), SyncError> {
        let grace = |o: &Value| o["metadata"]["deletionGracePeriodSeconds"].as_i64();
        // Neither direction waits for the other: a change that the host refuses must not hide how the pod fares.
        let up = self.tenant_update(pod, host).await;
        if is_deleting(pod) {
            let wanted = grace(pod).unwrap_or(0);
            if !is_deleting(host) || grace(host).is_some_and(|present| wanted < present) {
                self.host_delete(host, wanted).await?;
            }
        } else if !is_deleting(host) {
            self.host_update(pod, host).await?;
        }
        up?;
        if is_deleting(host) && !is_deleting(pod) {
            self.context.tenant_delete(self.tenant, &self.resource, pod, grace(host)).await?;
        }
        Ok(())
    }

    async fn host_update(&self, pod: &Value, host: &Value) -> Result<(), SyncError> {
        let mut desired = self.translate(pod, true)?;
        applied_stamp(&mut desired.object);
        let PodPlan { apply, resize, ephemeral_containers, status } = pod_plan(pod, &desired, host);
        let (namespace, name) = (meta::namespace(host), meta::name(host));
        if let Some(mut object) = apply {
            self.context.host.apply_owned(PODS, &mut object, Some(meta::uid(host)), false).await?;
        }
        let parts = [("resize", resize), ("ephemeralcontainers", ephemeral_containers), ("status", status)];
        for (subresource, patch) in parts {
            if let Some(patch) = patch {
                let patch = HostPatch::Strategic(patch);
                self.context.host.patch(PODS, namespace, name, subresource, &patch).await?;
            }
        }
        self.warn(pod, &desired).await;
        tokens_ensure(self.context, self.tenant, self.item, pod, &desired.tokens, Some(meta::uid(host))).await
    }

    /// Brings the node and the status up.
    async fn tenant_update(&self, pod: &Value, host: &Value) -> Result<(), SyncError> {
        let node = str_at(host, &["spec", "nodeName"]);
        let mut pod = pod.clone();
        if !node.is_empty() && str_at(&pod, &["spec", "nodeName"]).is_empty() {
            node_ensure(self.context, self.tenant, node).await?;
            let binding = json!({
                "apiVersion": "v1", "kind": "Binding",
                "metadata": {"name": self.item.name, "namespace": self.item.namespace, "uid": meta::uid(&pod)},
                "target": {"apiVersion": "v1", "kind": "Node", "name": node},
            });
            match self.context.tenants.create(CALLER, self.target("binding"), binding).await {
                Ok(_) | Err(ApiError { code: 409, .. }) => {}
                Err(e) => return Err(e.into()),
            }
            let again = self.context.tenant_get(self.tenant, &self.resource, &self.item.namespace, &self.item.name);
            match again.await? {
                Some(object) if object.stored.uid().to_string() == meta::uid(&pod) => pod = object.to_value()?,
                _ => return Ok(()),
            }
        }
        let rewrite = self.rewrite(&pod, host);
        let status = pod_status(&pod, host, &rewrite);
        // The tenant's API writes some empty values out, so each must have all that the other says.
        if !covers(&pod["status"], &status) || !covers(&status, &pod["status"]) {
            pod["status"] = status;
            self.context.tenants.update(CALLER, self.target("status"), pod).await?;
        }
        Ok(())
    }

    /// The host pod has gone; `last` is how it was.
    async fn host_gone(&self, pod: Option<Value>, last: &Value) -> Result<(), SyncError> {
        let node = str_at(last, &["spec", "nodeName"]);
        if !node.is_empty() {
            self.context.wake(self.tenant, Item::new("nodes", "", node));
        }
        let own = pod.filter(|pod| last["metadata"]["annotations"][marks::UID] == pod["metadata"]["uid"]);
        if let Some(pod) = own {
            if matches!(str_at(last, &["status", "phase"]), "Succeeded" | "Failed") {
                self.tenant_update(&pod, last).await?;
            }
            if is_deleting(&pod) || !node.is_empty() {
                self.tenant_finish(&pod).await?;
            }
        }
        self.context.marked.settle(self.tenant, "pods", &self.item.namespace, &self.item.name);
        // What is there now may have waited for the name.
        self.context.wake(self.tenant, self.item.clone());
        Ok(())
    }

    /// Nothing runs any more: the tenant's pod goes too, but for its finalizers.
    async fn tenant_finish(&self, pod: &Value) -> Result<(), SyncError> {
        self.context.tokens.lock().remove(&(self.tenant, meta::uid(pod).to_owned()));
        self.context.tenant_delete(self.tenant, &self.resource, pod, Some(0)).await
    }

    async fn host_delete(&self, host: &Value, grace_seconds: i64) -> Result<(), SyncError> {
        let uid = Some(meta::uid(host).to_owned());
        let options = HostDelete { grace_seconds: Some(grace_seconds), uid };
        Ok(self.context.host.delete(PODS, meta::namespace(host), meta::name(host), &options).await?)
    }

    fn translate(&self, pod: &Value, on_host: bool) -> Result<HostPod, SyncError> {
        let context = PodContext { tenant: self.tenant, settings: self.settings, on_host };
        pod_translate(pod, &context).map_err(|refusal| match refusal {
            Refusal::NotAllowed(_) => SyncError::Refused(refusal.to_string()),
            Refusal::NotYet(why) => SyncError::Wait(why, Duration::from_secs(1)),
        })
    }

    fn rewrite(&self, pod: &Value, host: &Value) -> Rewrite {
        Rewrite::new(self.tenant, &self.settings.name, &self.item.namespace)
            .with_uid(meta::uid(host), meta::uid(pod))
            .with_token_secret(&names::token_secret(self.tenant, &self.item.name, meta::uid(pod)))
    }

    fn target<'t>(&'t self, subresource: &'t str) -> Target<'t> {
        Target {
            tenant: self.tenant,
            resource: &self.resource,
            namespace: &self.item.namespace,
            name: &self.item.name,
            subresource,
        }
    }
}

/// Whether a pod has been bound by us: only then is a missing host pod one that has gone.
fn was_on_host(pod: &Value) -> bool {
    !str_at(pod, &["spec", "nodeName"]).is_empty()
        && meta::list_at(pod, &["status", "conditions"])
            .iter()
            .any(|c| c["type"] == "PodScheduled" && c["status"] == "True")
}

fn is_deleting(object: &Value) -> bool {
    object["metadata"]["deletionTimestamp"].is_string()
}
