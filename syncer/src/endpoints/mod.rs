//! Endpoints of services without a selector: the tenant says where they lead. Those of all other services the host
//! finds by itself.

use std::sync::Arc;

use apimachinery::gvk::GroupResource;
use apimachinery::meta::{self, list_at};
use apimachinery::tenant::TenantId;
use async_trait::async_trait;
use serde_json::{Map, Value, json};
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
use crate::room::Room;
use crate::services::service_has_host;
use tenant_client::work::Item;

const SERVICE_NAME: &str = "kubernetes.io/service-name";
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";

/// The room of `endpoints` or of `endpointslices`.
pub(crate) struct Endpoints {
    kind: HostKind,
    group: &'static str,
}

/// The room of endpoints. The host mirrors them to slices.
pub(crate) const ENDPOINTS: Endpoints = Endpoints { kind: HostKind::core("endpoints", "Endpoints"), group: "" };
/// The room of endpoint slices that the tenant wrote itself.
pub(crate) const ENDPOINT_SLICES: Endpoints = Endpoints {
    kind: HostKind { root: "apis/discovery.k8s.io/v1", resource: "endpointslices", kind: "EndpointSlice" },
    group: "discovery.k8s.io",
};

/// The host endpoints: addresses and ports, without what they are said to be.
pub fn endpoints_translate(object: &Value, tenant: TenantId, settings: &TenantSettings) -> Value {
    let mut host = base(object, "v1", "Endpoints", "endpoints", tenant, settings);
    let address = |a: &Value| pick(a, &["ip", "hostname"]);
    host["subsets"] = list_at(object, &["subsets"])
        .iter()
        .map(|subset| {
            let mut out = Map::new();
            for key in ["addresses", "notReadyAddresses"] {
                let list = list_at(subset, &[key]);
                if !list.is_empty() {
                    out.insert(key.to_owned(), list.iter().map(address).collect());
                }
            }
            let ports = list_at(subset, &["ports"]);
            if !ports.is_empty() {
                let port = |p: &Value| pick(p, &["name", "port", "protocol", "appProtocol"]);
                out.insert("ports".to_owned(), ports.iter().map(port).collect());
            }
            Value::Object(out)
        })
        .collect();
    applied_stamp(&mut host);
    host
}

/// The host slice.
pub fn endpoint_slice_translate(object: &Value, tenant: TenantId, settings: &TenantSettings) -> Value {
    let mut host = base(object, "discovery.k8s.io/v1", "EndpointSlice", "endpointslices", tenant, settings);
    host["addressType"] = object["addressType"].clone();
    let endpoint = |e: &Value| pick(e, &["addresses", "conditions", "hostname"]);
    host["endpoints"] = list_at(object, &["endpoints"]).iter().map(endpoint).collect();
    let port = |p: &Value| pick(p, &["name", "port", "protocol", "appProtocol"]);
    host["ports"] = list_at(object, &["ports"]).iter().map(port).collect();
    applied_stamp(&mut host);
    host
}

fn base(
    object: &Value,
    api_version: &str,
    kind: &str,
    resource: &str,
    tenant: TenantId,
    settings: &TenantSettings,
) -> Value {
    let (labels, annotations) = host_metadata(object, resource, tenant, settings);
    json!({
        "apiVersion": api_version, "kind": kind,
        "metadata": {
            "name": meta::name(object),
            "namespace": names::host_namespace(tenant, &settings.name, meta::namespace(object)),
            "labels": labels, "annotations": annotations,
        },
    })
}

fn pick(object: &Value, fields: &[&str]) -> Value {
    let fields =
        fields.iter().filter_map(|f| Some(((*f).to_owned(), object.get(*f).filter(|v| !v.is_null())?.clone())));
    Value::Object(fields.collect())
}

impl Endpoints {
    fn resource(&self) -> GroupResource {
        GroupResource::new(self.group, self.kind.resource)
    }

    /// The service that an object is about, unless another controller makes the host's of it.
    fn service_of(&self, object: &Value) -> Option<String> {
        if self.group.is_empty() {
            return Some(meta::name(object).to_owned());
        }
        let label = |key: &str| meta::at(object, &["metadata", "labels", key]).and_then(Value::as_str);
        if label(MANAGED_BY).is_some_and(|m| m.ends_with("-controller.k8s.io")) {
            return None;
        }
        label(SERVICE_NAME).map(str::to_owned)
    }
}

#[async_trait]
impl Room for Endpoints {
    fn name(&self) -> &'static str {
        self.kind.resource
    }

    fn tenant_resources(&self) -> Vec<GroupResource> {
        vec![self.resource(), GroupResource::new("", "services")]
    }

    fn tenant_changed(&self, context: &Context, change: &Change) {
        let Some(object) = change.object() else { return };
        let of_service = change.resource.resource == "services";
        if of_service && !self.group.is_empty() {
            // Slices have names of their own; a scan finds those of a service whose selector went.
            return;
        }
        if !of_service && object.stored.label(MANAGED_BY).is_some_and(|m| m == "endpointslice-controller.k8s.io") {
            return;
        }
        context.wake(change.tenant, Item::new(self.name(), &object.namespace, &object.name));
    }

    async fn sync(&self, context: &Arc<Context>, tenant: TenantId, item: &Item) -> Result<(), SyncError> {
        let settings = context.settings(tenant)?;
        let object = context.tenant_get(tenant, &self.resource(), &item.namespace, &item.name).await?;
        let object = object.map(|o| o.to_value()).transpose()?;
        let mut wanted = None;
        if let Some(object) = object
            && let Some(service) = self.service_of(&object)
            && let Some(service) =
                context.tenant_get(tenant, &GroupResource::new("", "services"), &item.namespace, &service).await?
        {
            let service = service.to_value()?;
            let selects = service["spec"]["selector"].as_object().is_some_and(|s| !s.is_empty());
            if !selects && service_has_host(&service) {
                wanted = Some(object);
            }
        }
        let host_namespace = context.host_namespace(tenant, &item.namespace)?;
        let Some(object) = wanted else {
            if context.placed.remove(tenant, item) {
                let present = context.host.get(self.kind, &host_namespace, &item.name).await?;
                if let Some(present) = present.filter(|p| p["metadata"]["annotations"][marks::RESOURCE] == self.name())
                {
                    let options = HostDelete { uid: Some(meta::uid(&present).to_owned()), ..HostDelete::default() };
                    context.host.delete(self.kind, &host_namespace, &item.name, &options).await?;
                }
            }
            return Ok(());
        };
        namespace_ensure(context, tenant, &item.namespace).await?;
        let mut desired = if self.group.is_empty() {
            endpoints_translate(&object, tenant, &settings)
        } else {
            endpoint_slice_translate(&object, tenant, &settings)
        };
        let present = context.host.get(self.kind, &host_namespace, &item.name).await?;
        let stamp = |o: &Value| o["metadata"]["annotations"][marks::APPLIED].clone();
        if !present.is_some_and(|p| stamp(&p) == stamp(&desired) && covers(&p, &desired)) {
            context.host.apply_owned(self.kind, &mut desired, None, false).await?;
        }
        context.placed.doubt(tenant, item);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_keep_addresses_and_lose_what_they_are_said_to_be() {
        let settings = TenantSettings::demo();
        let object = json!({"metadata": {"name": "db", "namespace": "shop", "uid": "u"}, "subsets": [{
            "addresses": [{"ip": "10.9.9.9", "nodeName": "n1", "targetRef": {"kind": "Pod", "namespace": "kube-system", "name": "x"}}],
            "ports": [{"port": 5432, "protocol": "TCP"}]}]});
        let host = endpoints_translate(&object, TenantId::from_bytes([1; 16]), &settings);
        assert_eq!(
            host["subsets"],
            json!([{"addresses": [{"ip": "10.9.9.9"}], "ports": [{"port": 5432, "protocol": "TCP"}]}])
        );
        let slice = json!({"metadata": {"labels": {SERVICE_NAME: "db", MANAGED_BY: "endpointslicemirroring-controller.k8s.io"}}});
        assert_eq!(ENDPOINT_SLICES.service_of(&slice), None);
        let own = json!({"metadata": {"labels": {SERVICE_NAME: "db"}}});
        assert_eq!(ENDPOINT_SLICES.service_of(&own), Some("db".into()));
    }
}
