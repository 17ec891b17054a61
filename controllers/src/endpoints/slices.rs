//! EndpointSlices.

use apimachinery::meta::{self, at, list_at, str_at};
use apimachinery::status::ApiError;
use serde_json::{Map, Value, json};
use tenant_client::Caller;

use super::addresses::Backend;
use super::{HEADLESS, is_headless, kind};
use crate::context::{Context, resource};
use crate::controller::Key;
use crate::object::controller_reference;

/// The label that names the service of a slice.
pub(super) const SERVICE_NAME: &str = "kubernetes.io/service-name";
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const SKIP_MIRROR: &str = "endpointslice.kubernetes.io/skip-mirror";
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
/// Endpoints of one slice (a limit of the stock controllers, and of what one object may hold).
const PER_SLICE: usize = 100;
const MIRRORED_PER_SUBSET: usize = 1000;

struct Keeper {
    name: &'static str,
    caller: Caller,
}

const CONTROLLER: Keeper = Keeper {
    name: "endpointslice-controller.k8s.io",
    caller: Caller {
        user: "system:serviceaccount:kube-system:endpointslice-controller",
        manager: "kube-controller-manager",
    },
};
const MIRROR: Keeper = Keeper {
    name: "endpointslicemirroring-controller.k8s.io",
    caller: Caller {
        user: "system:serviceaccount:kube-system:endpointslicemirroring-controller",
        manager: "kube-controller-manager",
    },
};

/// What a slice holds.
#[derive(Clone, Debug, PartialEq)]
struct Content {
    family: &'static str,
    endpoints: Vec<Value>,
    ports: Value,
}

/// Writes the slices of a service's pods.
pub(super) async fn write(
    context: &Context,
    key: Key<'_>,
    service: &Value,
    backends: &[Backend],
) -> Result<(), ApiError> {
    let mut contents: Vec<Content> = Vec::new();
    for backend in backends {
        let (family, ports) = (family(&backend.ip), slice_ports(&backend.ports));
        let room =
            contents.iter_mut().find(|c| c.family == family && c.ports == ports && c.endpoints.len() < PER_SLICE);
        match room {
            Some(content) => content.endpoints.push(backend.endpoint()),
            None => contents.push(Content { family, endpoints: vec![backend.endpoint()], ports }),
        }
    }
    if contents.is_empty() {
        let families = list_at(service, &["spec", "ipFamilies"]);
        let family = if families.first().and_then(Value::as_str) == Some("IPv6") { "IPv6" } else { "IPv4" };
        contents.push(Content { family, endpoints: Vec::new(), ports: Value::Null });
    }
    put(context, key, service, labels(service, &CONTROLLER), &CONTROLLER, contents).await
}

/// Writes the slices that mirror the Endpoints of a service without a selector.
pub(super) async fn mirror(context: &Context, key: Key<'_>, service: &Value) -> Result<(), ApiError> {
    let endpoints = context.get(key, &resource("", "endpoints"), key.name).await?;
    let skipped = |e: &Value| {
        str_at(e, &["metadata", "labels", SKIP_MIRROR]) == "true"
            || at(e, &["metadata", "annotations", LEADER]).is_some()
    };
    let Some(endpoints) = endpoints.filter(|e| !skipped(e)) else {
        return put(context, key, service, Map::new(), &MIRROR, Vec::new()).await;
    };
    let mut contents: Vec<Content> = Vec::new();
    for subset in list_at(&endpoints, &["subsets"]) {
        let ports = slice_ports(list_at(subset, &["ports"]));
        let ready = list_at(subset, &["addresses"]).iter().map(|a| (a, true));
        let all = ready.chain(list_at(subset, &["notReadyAddresses"]).iter().map(|a| (a, false)));
        for (address, ready) in all.take(MIRRORED_PER_SUBSET) {
            let family = family(str_at(address, &["ip"]));
            let endpoint = mirrored(address, ready);
            let room =
                contents.iter_mut().find(|c| c.family == family && c.ports == ports && c.endpoints.len() < PER_SLICE);
            match room {
                Some(content) => content.endpoints.push(endpoint),
                None => contents.push(Content { family, endpoints: vec![endpoint], ports: ports.clone() }),
            }
        }
    }
    let mut labels = at(&endpoints, &["metadata", "labels"]).and_then(Value::as_object).cloned().unwrap_or_default();
    labels.insert(SERVICE_NAME.to_owned(), json!(key.name));
    labels.insert(MANAGED_BY.to_owned(), json!(MIRROR.name));
    put(context, key, service, labels, &MIRROR, contents).await
}

fn mirrored(address: &Value, ready: bool) -> Value {
    let mut endpoint = json!({"addresses": [str_at(address, &["ip"])], "conditions": {"ready": ready}});
    for key in ["hostname", "nodeName", "targetRef"] {
        if let Some(value) = address.get(key) {
            endpoint[key] = value.clone();
        }
    }
    endpoint
}

/// Makes the slices that a keeper has for a service hold these contents, with as few writes as it takes.
async fn put(
    context: &Context,
    key: Key<'_>,
    service: &Value,
    labels: Map<String, Value>,
    keeper: &Keeper,
    mut contents: Vec<Content>,
) -> Result<(), ApiError> {
    let what = resource("discovery.k8s.io", "endpointslices");
    let mut free = Vec::new();
    for slice in context.list(key, &what).await? {
        let ours =
            slice.stored.label(SERVICE_NAME) == Some(key.name) && slice.stored.label(MANAGED_BY) == Some(keeper.name);
        if ours && !slice.stored.deleting() {
            let slice = slice.to_value()?;
            let same = contents.iter().position(|c| {
                at(&slice, &["metadata", "labels"]).and_then(Value::as_object) == Some(&labels) && holds(&slice, c)
            });
            match same {
                Some(i) => drop(contents.remove(i)),
                None => free.push(slice),
            }
        }
    }
    for content in contents {
        let reuse = free.iter().position(|s| str_at(s, &["addressType"]) == content.family);
        match reuse {
            Some(i) => {
                let mut slice = free.remove(i);
                slice["metadata"]["labels"] = Value::Object(labels.clone());
                slice["endpoints"] = Value::Array(content.endpoints);
                slice["ports"] = content.ports;
                context.update(keeper.caller, key, &what, "", slice).await?;
            }
            None => {
                let slice = json!({
                    "apiVersion": "discovery.k8s.io/v1",
                    "kind": "EndpointSlice",
                    "metadata": {
                        "generateName": format!("{}-", key.name),
                        "namespace": key.namespace,
                        "labels": labels,
                        "ownerReferences": [controller_reference(service, &kind())],
                    },
                    "addressType": content.family,
                    "endpoints": content.endpoints,
                    "ports": content.ports,
                });
                context.create(keeper.caller, key, &what, slice).await?;
            }
        }
    }
    for slice in free {
        context.delete(keeper.caller, key, &what, meta::name(&slice), meta::uid(&slice)).await?;
    }
    Ok(())
}

fn holds(slice: &Value, content: &Content) -> bool {
    let ports = slice.get("ports").cloned().unwrap_or(Value::Null);
    str_at(slice, &["addressType"]) == content.family
        && list_at(slice, &["endpoints"]) == content.endpoints
        && ports == content.ports
}

fn labels(service: &Value, keeper: &Keeper) -> Map<String, Value> {
    let mut labels = at(service, &["metadata", "labels"]).and_then(Value::as_object).cloned().unwrap_or_default();
    labels.insert(SERVICE_NAME.to_owned(), json!(meta::name(service)));
    labels.insert(MANAGED_BY.to_owned(), json!(keeper.name));
    if is_headless(service) {
        labels.insert(HEADLESS.to_owned(), json!(""));
    } else {
        labels.remove(HEADLESS);
    }
    labels
}

fn family(ip: &str) -> &'static str {
    if ip.contains(':') { "IPv6" } else { "IPv4" }
}

/// Ports as slices write them: each has a name, if only an empty one.
fn slice_ports(ports: &[Value]) -> Value {
    let named = ports.iter().map(|port| {
        let mut port = port.clone();
        if port.get("name").is_none() {
            port["name"] = json!("");
        }
        port
    });
    Value::Array(named.collect())
}
