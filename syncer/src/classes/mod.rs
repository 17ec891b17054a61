//! Storage, runtime and priority classes: those of the host that the admin allows are visible in the tenant. What the
//! tenant makes of its own stays there.

use std::sync::Arc;

use apimachinery::gvk::GroupResource;
use apimachinery::meta;
use apimachinery::tenant::TenantId;
use async_trait::async_trait;
use serde_json::{Map, Value, json};
use tenant_client::{Patch, Target};

use crate::config::{Allow, Policy};
use crate::context::{CALLER, Context};
use crate::covers::covers;
use crate::error::SyncError;
use crate::host_api::HostKind;
use crate::marks;
use crate::room::{Room, Watching};
use tenant_client::work::Item;

/// The room of one kind of classes.
pub(crate) struct Classes {
    kind: HostKind,
    group: &'static str,
    /// What a tenant sees of a class.
    fields: &'static [&'static str],
    /// Annotations that mean something to the tenant's API.
    annotations: &'static [&'static str],
    allow: fn(&Policy) -> &Allow,
}

/// The room of storage classes. Their parameters are the admin's.
pub(crate) const STORAGE_CLASSES: Classes = Classes {
    kind: HostKind { root: "apis/storage.k8s.io/v1", resource: "storageclasses", kind: "StorageClass" },
    group: "storage.k8s.io",
    fields: &["provisioner", "reclaimPolicy", "volumeBindingMode", "allowVolumeExpansion"],
    annotations: &["storageclass.kubernetes.io/is-default-class"],
    allow: |policy| &policy.storage_classes,
};
/// The room of runtime classes. Overhead and scheduling are added on the host.
pub(crate) const RUNTIME_CLASSES: Classes = Classes {
    kind: HostKind { root: "apis/node.k8s.io/v1", resource: "runtimeclasses", kind: "RuntimeClass" },
    group: "node.k8s.io",
    fields: &["handler"],
    annotations: &[],
    allow: |policy| &policy.runtime_classes,
};
/// The room of priority classes.
pub(crate) const PRIORITY_CLASSES: Classes = Classes {
    kind: HostKind { root: "apis/scheduling.k8s.io/v1", resource: "priorityclasses", kind: "PriorityClass" },
    group: "scheduling.k8s.io",
    fields: &["value", "globalDefault", "preemptionPolicy", "description"],
    annotations: &[],
    allow: |policy| &policy.priority_classes,
};

impl Classes {
    fn resource(&self) -> GroupResource {
        GroupResource::new(self.group, self.kind.resource)
    }
}

#[async_trait]
impl Room for Classes {
    fn name(&self) -> &'static str {
        self.kind.resource
    }

    fn tenant_resources(&self) -> Vec<GroupResource> {
        vec![self.resource()]
    }

    fn watching(&self) -> Option<Watching> {
        Some(Watching::Shared(self.kind))
    }

    fn reduce(&self, object: &Value) -> Option<Value> {
        if meta::name(object).starts_with("system-") {
            return None;
        }
        let mut annotations: Map<String, Value> = self
            .annotations
            .iter()
            .filter_map(|key| Some(((*key).to_owned(), meta::at(object, &["metadata", "annotations", key])?.clone())))
            .collect();
        annotations.insert(marks::RESOURCE.to_owned(), json!(self.kind.resource));
        let mut out = json!({
            "apiVersion": self.kind.root.trim_start_matches("apis/"), "kind": self.kind.kind,
            "metadata": {"name": meta::name(object), "annotations": annotations},
        });
        for field in self.fields {
            if let Some(value) = object.get(*field) {
                out[*field] = value.clone();
            }
        }
        Some(out)
    }

    fn shared_changed(&self, context: &Context, name: &str) {
        for tenant in context.tenants.tenants() {
            context.wake(tenant, Item::new(self.name(), "", name));
        }
    }

    async fn sync(&self, context: &Arc<Context>, tenant: TenantId, item: &Item) -> Result<(), SyncError> {
        let settings = context.settings(tenant)?;
        let resource = self.resource();
        let desired = context.shared.get(self.kind.resource, &item.name);
        let desired = desired.filter(|_| (self.allow)(&settings.policy).allows(&item.name));
        let present = context.tenant_get(tenant, &resource, "", &item.name).await?;
        let present = present.map(|p| p.to_value()).transpose()?;
        let target = Target { tenant, resource: &resource, namespace: "", name: &item.name, subresource: "" };
        match (desired, present) {
            (None, Some(present)) if is_ours(&present) => {
                context.tenant_delete(tenant, &resource, &present, None).await
            }
            (None, _) => Ok(()),
            (Some(desired), None) => {
                context.tenants.create(CALLER, target, desired).await?;
                Ok(())
            }
            (Some(desired), Some(present)) if covers(&present, &desired) => Ok(()),
            (Some(desired), Some(present)) => {
                // Most of a class cannot change: where a patch is refused, it is made anew.
                if let Err(error) = context.tenants.patch(CALLER, target, Patch::Merge(desired)).await {
                    if error.code != 422 {
                        return Err(error.into());
                    }
                    context.tenant_delete(tenant, &resource, &present, None).await?;
                    context.wake(tenant, item.clone());
                }
                Ok(())
            }
        }
    }

    async fn scan(&self, context: &Arc<Context>, tenant: TenantId) -> Result<(), SyncError> {
        for name in context.shared.names(self.kind.resource) {
            context.wake(tenant, Item::new(self.name(), "", &name));
        }
        for object in context.tenants.list(tenant, &self.resource(), None).await?.items {
            context.wake(tenant, Item::new(self.name(), "", &object.name));
        }
        Ok(())
    }
}

fn is_ours(object: &Value) -> bool {
    object["metadata"]["annotations"][marks::RESOURCE].is_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parameters_of_a_class_stay_on_the_host() {
        let class = json!({"metadata": {"name": "fast", "uid": "u", "annotations": {
            "storageclass.kubernetes.io/is-default-class": "true", "x": "y"}},
            "provisioner": "ebs", "parameters": {"secret": "s"}, "reclaimPolicy": "Delete"});
        let seen = STORAGE_CLASSES.reduce(&class).unwrap();
        assert_eq!(
            seen,
            json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "provisioner": "ebs", "reclaimPolicy": "Delete",
                "metadata": {"name": "fast", "annotations": {
                    "storageclass.kubernetes.io/is-default-class": "true", "tenantry.io/resource": "storageclasses"}}})
        );
        assert!(PRIORITY_CLASSES.reduce(&json!({"metadata": {"name": "system-node-critical"}})).is_none());
    }
}
