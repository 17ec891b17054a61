//! Events of the host about a tenant's objects, in the tenant and in its words.

use std::sync::Arc;

use apimachinery::gvk::GroupResource;
use apimachinery::meta::{self, str_at};
use apimachinery::status::ApiError;
use apimachinery::tenant::TenantId;
use async_trait::async_trait;
use serde_json::{Map, Value, json};
use tenant_client::{Change, Patch, Target};

use crate::context::{CALLER, Context};
use crate::error::SyncError;
use crate::host_api::HostKind;
use crate::names;
use crate::rewrite::Rewrite;
use crate::room::{Room, Watching};
use tenant_client::work::Item;

const EVENTS: HostKind = HostKind::core("events", "Event");
/// Kinds whose events are the tenant's, and their resources.
const KINDS: &[(&str, &str)] =
    &[("Pod", "pods"), ("PersistentVolumeClaim", "persistentvolumeclaims"), ("Service", "services")];

/// The room.
pub(crate) struct Events;

/// The tenant's event of a host event about an object with this tenant uid.
pub fn event_translate(event: &Value, namespace: &str, uid: &str, rewrite: &Rewrite) -> Value {
    let about = &event["involvedObject"];
    let mut out = Map::new();
    for field in
        ["reason", "type", "source", "firstTimestamp", "lastTimestamp", "count", "eventTime", "series", "action"]
    {
        if let Some(value) = event.get(field).filter(|v| !v.is_null()) {
            out.insert(field.to_owned(), value.clone());
        }
    }
    for field in ["message", "reportingComponent", "reportingInstance"] {
        if let Some(text) = event[field].as_str() {
            out.insert(field.to_owned(), json!(rewrite.text(text)));
        }
    }
    let mut involved = json!({
        "kind": about["kind"], "apiVersion": about["apiVersion"], "name": about["name"], "namespace": namespace, "uid": uid,
    });
    if about["fieldPath"].is_string() {
        involved["fieldPath"] = about["fieldPath"].clone();
    }
    out.insert("involvedObject".to_owned(), involved);
    out.insert("metadata".to_owned(), json!({"name": meta::name(event), "namespace": namespace}));
    out.insert("apiVersion".to_owned(), json!("v1"));
    out.insert("kind".to_owned(), json!("Event"));
    Value::Object(out)
}

#[async_trait]
impl Room for Events {
    fn name(&self) -> &'static str {
        "events"
    }

    fn tenant_resources(&self) -> Vec<GroupResource> {
        vec![GroupResource::new("", "events")]
    }

    fn watching(&self) -> Option<Watching> {
        Some(Watching::Passing(EVENTS))
    }

    /// The tenant may do with its events what it likes.
    fn tenant_changed(&self, _context: &Context, _change: &Change) {}

    fn host_seen(&self, context: &Context, event: Value) {
        let about = &event["involvedObject"];
        let host_namespace = str_at(about, &["namespace"]);
        if !KINDS.iter().any(|(kind, _)| about["kind"] == *kind) || meta::namespace(&event) != host_namespace {
            return;
        }
        let Some((tenant, namespace)) = context.marked.namespace_of(host_namespace) else { return };
        let item = Item::new(self.name(), &namespace, meta::name(&event));
        if context.events.put(tenant, &item, event) {
            context.wake(tenant, item);
        } else {
            context.metrics.events_dropped.inc();
        }
    }

    async fn sync(&self, context: &Arc<Context>, tenant: TenantId, item: &Item) -> Result<(), SyncError> {
        let Some(event) = context.events.take(tenant, item) else { return Ok(()) };
        let settings = context.settings(tenant)?;
        let about = &event["involvedObject"];
        let Some((_, resource)) = KINDS.iter().find(|(kind, _)| about["kind"] == *kind) else { return Ok(()) };
        let name = str_at(about, &["name"]);
        let host = context.marked.get(tenant, resource, &item.namespace, name).map(|h| h.value());
        let host_uid = str_at(about, &["uid"]);
        let uid = match host.filter(|h| meta::uid(h) == host_uid) {
            Some(host) => host["metadata"]["annotations"][crate::marks::UID].as_str().unwrap_or_default().to_owned(),
            None => {
                let resource = GroupResource::new("", *resource);
                match context.tenant_get(tenant, &resource, &item.namespace, name).await? {
                    Some(object) => object.stored.uid().to_string(),
                    None => return Ok(()),
                }
            }
        };
        let rewrite = Rewrite::new(tenant, &settings.name, &item.namespace)
            .with_uid(host_uid, &uid)
            .with_token_secret(&names::token_secret(tenant, name, &uid));
        let desired = event_translate(&event, &item.namespace, &uid, &rewrite);
        let events = GroupResource::new("", "events");
        let target =
            Target { tenant, resource: &events, namespace: &item.namespace, name: &item.name, subresource: "" };
        match context.tenants.create(CALLER, target, desired.clone()).await {
            Err(ApiError { code: 409, reason: "AlreadyExists", .. }) => {
                let fields = ["message", "lastTimestamp", "count", "series"];
                let patch = fields.iter().filter_map(|f| Some(((*f).to_owned(), desired.get(*f)?.clone())));
                let patch = Patch::Merge(Value::Object(patch.collect()));
                match context.tenants.patch(CALLER, target, patch).await {
                    Err(e) if e.code >= 500 => Err(e.into()),
                    _ => Ok(()),
                }
            }
            Err(e) if e.code >= 500 => {
                context.events.put(tenant, item, event);
                Err(e.into())
            }
            // A namespace that is going takes no more events.
            _ => Ok(()),
        }
    }

    async fn scan(&self, _context: &Arc<Context>, _tenant: TenantId) -> Result<(), SyncError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_names_the_tenants_object_and_nothing_of_the_host() {
        let tenant = TenantId::from_bytes([3; 16]);
        let host_namespace = names::host_namespace(tenant, "demo", "shop");
        let event = json!({
            "metadata": {"name": "web.1", "namespace": host_namespace, "uid": "event-uid", "labels": {"x": "y"}},
            "involvedObject": {"kind": "Pod", "apiVersion": "v1", "name": "web", "namespace": host_namespace, "uid": "host-uid",
                "resourceVersion": "77", "fieldPath": "spec.containers{web}"},
            "reason": "Scheduled", "message": format!("Successfully assigned {host_namespace}/web to n1"), "type": "Normal",
            "count": 2, "eventTime": null, "reportingComponent": "default-scheduler", "reportingInstance": "",
            "related": {"name": "secret"},
        });
        let rewrite = Rewrite::new(tenant, "demo", "shop").with_uid("host-uid", "uid");
        let out = event_translate(&event, "shop", "uid", &rewrite);
        assert_eq!(out["message"], "Successfully assigned shop/web to n1");
        assert_eq!(
            out["involvedObject"],
            json!({"kind": "Pod", "apiVersion": "v1", "name": "web", "namespace": "shop", "uid": "uid", "fieldPath": "spec.containers{web}"})
        );
        for hidden in [host_namespace.as_str(), "host-uid", "event-uid", "77", "related"] {
            assert!(!out.to_string().contains(hidden), "{hidden}");
        }
    }
}
