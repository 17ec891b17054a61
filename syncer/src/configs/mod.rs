//! Config maps and secrets: on the host are only those that a pod uses, or that the tenant wants there by annotation.
//!
//! They are not watched cluster-wide, as we may not see secrets beyond the tenants' namespaces: see `configs/watch.rs`.

mod placed;
mod watch;

use std::collections::HashSet;
use std::sync::Arc;

use apimachinery::gvk::GroupResource;
use apimachinery::meta;
use apimachinery::tenant::TenantId;
use async_trait::async_trait;
use serde_json::{Value, json};
use tenant_client::Change;

use crate::config::TenantSettings;
use crate::context::Context;
use crate::covers::{applied_stamp, covers};
use crate::error::SyncError;
use crate::host_api::{HostDelete, HostKind};
use crate::host_object::host_metadata;
use crate::marks;
use crate::names;
use crate::namespaces::namespace_ensure;
use crate::pods::Use;
use crate::room::Room;
use tenant_client::work::Item;

pub(crate) use placed::{Place, Placed};
pub(crate) use watch::watch_configs;

/// The room of config maps or of secrets.
pub(crate) struct Configs {
    kind: HostKind,
}

/// The room of config maps.
pub(crate) const CONFIG_MAPS: Configs = Configs { kind: HostKind::core("configmaps", "ConfigMap") };
/// The room of secrets.
pub(crate) const SECRETS: Configs = Configs { kind: HostKind::core("secrets", "Secret") };

/// A host namespace was just made: the next scan need not ask the host what is in it.
pub(crate) fn namespace_is_fresh(context: &Context, tenant: TenantId, namespace: &str) {
    let keys = [CONFIG_MAPS, SECRETS].map(|room| (tenant, room.kind.resource, namespace.into()));
    context.fresh_namespaces.lock().extend(keys);
}

/// The item of something that a pod uses.
pub(crate) fn use_item(namespace: &str, used: &Use) -> Item {
    match used {
        Use::ConfigMap(name) => Item::new(CONFIG_MAPS.kind.resource, namespace, name),
        Use::Secret(name) => Item::new(SECRETS.kind.resource, namespace, name),
    }
}

/// Brings something that a pod uses to the host before the pod, so that the pod need not wait for it.
pub(crate) async fn config_ensure(
    context: &Context,
    tenant: TenantId,
    namespace: &str,
    used: &Use,
) -> Result<(), SyncError> {
    let item = use_item(namespace, used);
    let room = match used {
        Use::ConfigMap(_) => CONFIG_MAPS,
        Use::Secret(_) => SECRETS,
    };
    room.place(context, tenant, &item, false).await
}

/// The host object of a config map or secret.
pub fn config_translate(object: &Value, kind: HostKind, tenant: TenantId, settings: &TenantSettings) -> Value {
    let (labels, annotations) = host_metadata(object, kind.resource, tenant, settings);
    let name = match kind.resource {
        "configmaps" => names::config_map(meta::name(object)),
        _ => meta::name(object).to_owned(),
    };
    let mut host = json!({
        "apiVersion": "v1", "kind": kind.kind,
        "metadata": {
            "name": name,
            "namespace": names::host_namespace(tenant, &settings.name, meta::namespace(object)),
            "labels": labels, "annotations": annotations,
        },
    });
    for field in ["data", "binaryData"] {
        if let Some(value) = object.get(field).filter(|v| v.is_object()) {
            host[field] = value.clone();
        }
    }
    if kind.resource == "secrets" {
        host["type"] = json!(secret_type(object["type"].as_str().unwrap_or_default()));
    }
    applied_stamp(&mut host);
    host
}

/// Types to which the host would attach a meaning (its own service accounts, its bootstrap) become opaque.
fn secret_type(kind: &str) -> &str {
    match kind {
        "kubernetes.io/dockerconfigjson"
        | "kubernetes.io/dockercfg"
        | "kubernetes.io/tls"
        | "kubernetes.io/basic-auth"
        | "kubernetes.io/ssh-auth" => kind,
        _ => "Opaque",
    }
}

impl Configs {
    fn resource(&self) -> GroupResource {
        GroupResource::new("", self.kind.resource)
    }

    fn is_used(&self, context: &Context, tenant: TenantId, item: &Item) -> bool {
        let used = match self.kind.resource {
            "secrets" => Use::Secret(item.name.to_string()),
            _ => Use::ConfigMap(item.name.to_string()),
        };
        context.in_use.contains(tenant, &item.namespace, &used)
    }

    fn host_name(&self, name: &str) -> String {
        if self.kind.resource == "configmaps" { names::config_map(name) } else { name.to_owned() }
    }

    /// Brings the host object to what the tenant's is, or away. `check` looks at the host even if nothing changed.
    async fn place(&self, context: &Context, tenant: TenantId, item: &Item, check: bool) -> Result<(), SyncError> {
        let object = context.tenant_get(tenant, &self.resource(), &item.namespace, &item.name).await?;
        let used = self.is_used(context, tenant, item);
        if let Some(stored) = &object
            && used
            && !check
            && context.placed.get(tenant, item).is_some_and(|place| place.revision == stored.revision)
        {
            return Ok(());
        }
        let Some(stored) = object else { return self.remove(context, tenant, item).await };
        let object = stored.to_value()?;
        let forced = || object["metadata"]["annotations"][marks::FORCE_SYNC] == "true";
        if !(used || forced()) || object["metadata"]["deletionTimestamp"].is_string() {
            return self.remove(context, tenant, item).await;
        }
        let settings = context.settings(tenant)?;
        let host_namespace = namespace_ensure(context, tenant, &item.namespace).await?;
        let mut desired = config_translate(&object, self.kind, tenant, &settings);
        let present = context.host.get(self.kind, &host_namespace, meta::name(&desired)).await?;
        let stamp = |o: &Value| o["metadata"]["annotations"][marks::APPLIED].clone();
        let in_sync = present.as_ref().is_some_and(|p| {
            stamp(p) == stamp(&desired)
                && covers(p, &desired)
                && p["data"].as_object().map(|d| d.len()) == desired["data"].as_object().map(|d| d.len())
        });
        let host = if in_sync {
            present.unwrap_or_default()
        } else {
            if let Some(present) = present.filter(|p| must_be_replaced(p, &desired)) {
                let options = HostDelete { uid: Some(meta::uid(&present).to_owned()), ..HostDelete::default() };
                context.host.delete(self.kind, &host_namespace, meta::name(&present), &options).await?;
            }
            context.host.apply_owned(self.kind, &mut desired, None, false).await?
        };
        let host_version = meta::text(&host, "resourceVersion").into();
        context.placed.set(tenant, item, Place { revision: stored.revision, host_version });
        Ok(())
    }

    async fn remove(&self, context: &Context, tenant: TenantId, item: &Item) -> Result<(), SyncError> {
        if !context.placed.remove(tenant, item) {
            return Ok(());
        }
        let host_namespace = context.host_namespace(tenant, &item.namespace)?;
        let name = self.host_name(&item.name);
        let Some(present) = context.host.get(self.kind, &host_namespace, &name).await? else { return Ok(()) };
        if is_copy_of(&present, tenant, self.kind.resource, item) {
            let options = HostDelete { uid: Some(meta::uid(&present).to_owned()), ..HostDelete::default() };
            context.host.delete(self.kind, &host_namespace, &name, &options).await?;
        }
        Ok(())
    }
}

/// Whether a host object is the copy of this tenant object.
fn is_copy_of(host: &Value, tenant: TenantId, resource: &str, item: &Item) -> bool {
    let annotation = |key: &str| host["metadata"]["annotations"][key].as_str().unwrap_or_default();
    host["metadata"]["labels"][marks::TENANT] == tenant.to_string()
        && annotation(marks::RESOURCE) == resource
        && annotation(marks::NAMESPACE) == item.namespace
        && annotation(marks::NAME) == item.name
}

/// Whether the host would refuse to change the present object into the desired one, though both are the tenant's: the
/// tenant deleted an immutable object, or one of another type, and made it again.
fn must_be_replaced(present: &Value, desired: &Value) -> bool {
    let ours = present["metadata"]["labels"][marks::TENANT] == desired["metadata"]["labels"][marks::TENANT];
    ours && desired["type"] != present["type"]
}

#[async_trait]
impl Room for Configs {
    fn name(&self) -> &'static str {
        self.kind.resource
    }

    fn tenant_resources(&self) -> Vec<GroupResource> {
        vec![self.resource()]
    }

    fn tenant_changed(&self, context: &Context, change: &Change) {
        let Some(object) = change.object() else { return };
        let item = Item::new(self.name(), &object.namespace, &object.name);
        let matters = context.placed.get(change.tenant, &item).is_some()
            || self.is_used(context, change.tenant, &item)
            || mentions(object.stored.body(), marks::FORCE_SYNC);
        if matters {
            context.wake(change.tenant, item);
        }
    }

    async fn sync(&self, context: &Arc<Context>, tenant: TenantId, item: &Item) -> Result<(), SyncError> {
        self.place(context, tenant, item, false).await
    }

    async fn scan(&self, context: &Arc<Context>, tenant: TenantId) -> Result<(), SyncError> {
        for object in context.tenants.list(tenant, &self.resource(), None).await?.items {
            if mentions(object.stored.body(), marks::FORCE_SYNC) {
                context.wake(tenant, Item::new(self.name(), &object.namespace, &object.name));
            }
        }
        // What the host has of it: put back what was edited, remove what is left over.
        let (mut tokens, mut all) = (HashSet::new(), true);
        for (_, namespace) in context.marked.names(tenant, "namespaces") {
            if context.fresh_namespaces.lock().remove(&(tenant, self.kind.resource, namespace.clone())) {
                all = false;
                continue;
            }
            let host_namespace = context.host_namespace(tenant, &namespace)?;
            let selector = format!("{}={tenant}", marks::TENANT);
            for host in context.host.list(self.kind, &host_namespace, &selector).await?.0 {
                let annotations = &host["metadata"]["annotations"];
                let name = annotations[marks::NAME].as_str().unwrap_or_default();
                if annotations[marks::RESOURCE] == "token" {
                    tokens.insert(annotations[marks::UID].as_str().unwrap_or_default().to_owned());
                    self.token_scan(context, tenant, &host, &namespace, name).await?;
                    continue;
                }
                let item = Item::new(self.name(), &namespace, name);
                if is_copy_of(&host, tenant, self.kind.resource, &item) {
                    context.placed.doubt(tenant, &item);
                    self.place(context, tenant, &item, true).await?;
                }
            }
        }
        if self.kind.resource == "secrets" && all {
            // A pod whose token secret someone deleted gets another when it is looked at.
            context.tokens.lock().retain(|(t, uid), _| *t != tenant || tokens.contains(uid));
        }
        for item in context.placed.items(tenant, self.name()) {
            self.place(context, tenant, &item, true).await?;
        }
        Ok(())
    }
}

impl Configs {
    /// A token secret whose pod is gone, and which no host pod owns, is left over.
    async fn token_scan(
        &self,
        context: &Context,
        tenant: TenantId,
        host: &Value,
        namespace: &str,
        pod: &str,
    ) -> Result<(), SyncError> {
        let object = context.tenant_get(tenant, &GroupResource::new("", "pods"), namespace, pod).await?;
        let uid = host["metadata"]["annotations"][marks::UID].as_str().unwrap_or_default();
        if object.is_none_or(|pod| pod.stored.uid().to_string() != uid) {
            let options = HostDelete { uid: Some(meta::uid(host).to_owned()), ..HostDelete::default() };
            context.host.delete(self.kind, meta::namespace(host), meta::name(host), &options).await?;
        }
        Ok(())
    }
}

fn mentions(body: &[u8], text: &str) -> bool {
    body.windows(text.len()).any(|window| window == text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_reaches_the_host_and_meaning_does_not() {
        let settings = TenantSettings::demo();
        let tenant = TenantId::from_bytes([5; 16]);
        let secret = json!({
            "metadata": {"name": "s", "namespace": "shop", "uid": "u", "ownerReferences": [{}], "finalizers": ["f"],
                "annotations": {"kubernetes.io/service-account.name": "default"}},
            "type": "kubernetes.io/service-account-token", "data": {"k": "dg=="}, "immutable": true,
        });
        let host = config_translate(&secret, SECRETS.kind, tenant, &settings);
        assert_eq!((&host["type"], &host["data"]), (&json!("Opaque"), &json!({"k": "dg=="})));
        assert!(host["metadata"]["annotations"].get("kubernetes.io/service-account.name").is_none());
        assert!(host["metadata"].get("ownerReferences").is_none() && host.get("immutable").is_none());
        assert!(is_copy_of(&host, tenant, "secrets", &Item::new("secrets", "shop", "s")));
        assert!(!is_copy_of(&host, tenant, "secrets", &Item::new("secrets", "shop", "t")));
        let ca =
            json!({"metadata": {"name": "kube-root-ca.crt", "namespace": "shop", "uid": "u"}, "data": {"ca.crt": "x"}});
        let host = config_translate(&ca, CONFIG_MAPS.kind, tenant, &settings);
        assert_eq!(host["metadata"]["name"], "tenant.kube-root-ca.crt");
        assert_eq!(host["metadata"]["annotations"]["tenantry.io/name"], "kube-root-ca.crt");
    }
}
