//! Endpoints and EndpointSlices of Services: the pods that a Service selects, and slices that mirror Endpoints which
//! somebody else keeps for a Service without a selector.

mod addresses;
mod slices;

use std::collections::BTreeMap;

use apimachinery::gvk::GroupVersionKind;
use apimachinery::meta::{self, at, str_at};
use apimachinery::selector::LabelSelector;
use apimachinery::status::ApiError;
use async_trait::async_trait;
use serde_json::{Map, Value, json};
use tenant_client::{Caller, Change, Object};

use crate::context::{Context, resource};
use crate::controller::{Again, Controller, Key};
use crate::object::deleting;
use addresses::Backend;

const ENDPOINTS: Caller =
    Caller { user: "system:serviceaccount:kube-system:endpoint-controller", manager: "kube-controller-manager" };
const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const HEADLESS: &str = "service.kubernetes.io/headless";

/// Keeps the endpoints of services. Keys are services; one without a name is all of a namespace.
pub(crate) struct Endpoints;

#[async_trait]
impl Controller for Endpoints {
    fn name(&self) -> &'static str {
        "endpoint"
    }

    fn resources(&self) -> &'static [(&'static str, &'static str)] {
        &[("", "services")]
    }

    fn keys(&self, change: &Change, add: &mut dyn FnMut(&str, &str)) {
        let Some(object) = change.object() else { return };
        match (change.resource.group.as_str(), change.resource.resource.as_str()) {
            ("", "services" | "endpoints") => add(&object.namespace, &object.name),
            ("", "pods") if matters(change) => add(&object.namespace, ""),
            ("discovery.k8s.io", "endpointslices") => {
                if let Some(service) = object.stored.label(slices::SERVICE_NAME) {
                    add(&object.namespace, service);
                }
            }
            _ => {}
        }
    }

    async fn reconcile(&self, context: &Context, key: Key<'_>) -> Result<Again, ApiError> {
        let services = resource("", "services");
        if !key.name.is_empty() {
            return match context.get(key, &services, key.name).await? {
                Some(service) if !deleting(&service) => {
                    let pods = if selector(&service).is_some() {
                        context.list(key, &resource("", "pods")).await?
                    } else {
                        Vec::new()
                    };
                    sync(context, key, &service, &pods).await.map(|()| None)
                }
                _ => remove(context, key).await.map(|()| None),
            };
        }
        let pods = context.list(key, &resource("", "pods")).await?;
        for service in context.list(key, &services).await? {
            let service = service.to_value()?;
            if selector(&service).is_some() && !deleting(&service) {
                sync(context, Key { name: meta::name(&service), ..key }, &service, &pods).await?;
            }
        }
        Ok(None)
    }
}

fn kind() -> GroupVersionKind {
    GroupVersionKind::new("", "v1", "Service")
}

/// Whether a change of a pod can change endpoints: its labels, address, readiness or end.
fn matters(change: &Change) -> bool {
    let (Some(old), Some(new)) = (&change.old, &change.new) else { return true };
    if !old.stored.labels().eq(new.stored.labels()) || old.stored.deleting() != new.stored.deleting() {
        return true;
    }
    let facts = |object: &Object| object.to_value().ok().map(|pod| addresses::facts(&pod));
    facts(old) != facts(new)
}

fn selector(service: &Value) -> Option<&Map<String, Value>> {
    let external = str_at(service, &["spec", "type"]) == "ExternalName";
    at(service, &["spec", "selector"]).and_then(Value::as_object).filter(|s| !s.is_empty() && !external)
}

fn is_headless(service: &Value) -> bool {
    str_at(service, &["spec", "clusterIP"]) == "None"
}

async fn sync(context: &Context, key: Key<'_>, service: &Value, pods: &[Object]) -> Result<(), ApiError> {
    let Some(selector) = selector(service) else { return slices::mirror(context, key, service).await };
    let selector = LabelSelector::from_map(selector);
    let mut backends = Vec::new();
    for pod in pods.iter().filter(|p| selector.matches_stored(&p.stored)) {
        backends.extend(Backend::of(&pod.to_value()?, service));
    }
    backends.sort_by(|a, b| a.name.cmp(&b.name));
    slices::write(context, key, service, &backends).await?;
    write_endpoints(context, key, service, &backends).await
}

/// The service is gone: so are its Endpoints, which have its name and no owner. Its slices are collected by their owner.
async fn remove(context: &Context, key: Key<'_>) -> Result<(), ApiError> {
    let what = resource("", "endpoints");
    let Some(endpoints) = context.get(key, &what, key.name).await? else { return Ok(()) };
    if str_at(&endpoints, &["metadata", "labels", MANAGED_BY]) == "endpoint-controller" {
        context.delete(ENDPOINTS, key, &what, key.name, meta::uid(&endpoints)).await?;
    }
    Ok(())
}

async fn write_endpoints(
    context: &Context,
    key: Key<'_>,
    service: &Value,
    backends: &[Backend],
) -> Result<(), ApiError> {
    let what = resource("", "endpoints");
    let mut labels = at(service, &["metadata", "labels"]).and_then(Value::as_object).cloned().unwrap_or_default();
    labels.insert(MANAGED_BY.to_owned(), json!("endpoint-controller"));
    if is_headless(service) {
        labels.insert(HEADLESS.to_owned(), json!(""));
    } else {
        labels.remove(HEADLESS);
    }
    let subsets = subsets(backends, service);
    match context.get(key, &what, key.name).await? {
        None => {
            let mut object = json!({
                "apiVersion": "v1",
                "kind": "Endpoints",
                "metadata": {"name": key.name, "namespace": key.namespace, "labels": labels},
            });
            if !subsets.is_empty() {
                object["subsets"] = Value::Array(subsets);
            }
            context.create(ENDPOINTS, key, &what, object).await?;
        }
        Some(old) => {
            let mut new = old.clone();
            new["metadata"]["labels"] = Value::Object(labels);
            match new.as_object_mut() {
                Some(object) if subsets.is_empty() => drop(object.remove("subsets")),
                Some(object) => drop(object.insert("subsets".to_owned(), Value::Array(subsets))),
                None => {}
            }
            if new != old {
                context.update(ENDPOINTS, key, &what, "", new).await?;
            }
        }
    }
    Ok(())
}

#[derive(Default)]
struct Subset {
    ready: Vec<Value>,
    not_ready: Vec<Value>,
    ports: Vec<Value>,
}

/// Addresses grouped by the ports that they have.
fn subsets(backends: &[Backend], service: &Value) -> Vec<Value> {
    let publish = addresses::publishes_not_ready(service);
    let mut groups: BTreeMap<String, Subset> = BTreeMap::new();
    for backend in backends.iter().filter(|b| !b.terminating || publish) {
        let group = groups.entry(Value::Array(backend.ports.clone()).to_string()).or_default();
        group.ports.clone_from(&backend.ports);
        let list = if backend.ready || publish { &mut group.ready } else { &mut group.not_ready };
        list.push(backend.address());
    }
    let groups = groups.into_values().map(|Subset { ready, not_ready, ports }| {
        let mut subset = Map::new();
        for (name, list) in [("addresses", ready), ("notReadyAddresses", not_ready), ("ports", ports)] {
            if !list.is_empty() {
                subset.insert(name.to_owned(), Value::Array(list));
            }
        }
        Value::Object(subset)
    });
    groups.collect()
}
