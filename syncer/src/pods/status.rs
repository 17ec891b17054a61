//! Host pod status to tenant pod status, and the little that flows down: pure functions.

use apimachinery::meta::{self, list_at, str_at};
use serde_json::{Map, Value, json};

use crate::marks;
use crate::rewrite::Rewrite;

/// Fields of the status that the host decides.
const FIELDS: &[&str] = &[
    "phase",
    "reason",
    "startTime",
    "hostIP",
    "hostIPs",
    "podIP",
    "podIPs",
    "resize",
    "allocatedResources",
    "resources",
];
/// Lists of container statuses, with the list of containers that each is about.
const CONTAINER_STATUSES: &[(&str, &str)] = &[
    ("initContainerStatuses", "initContainers"),
    ("containerStatuses", "containers"),
    ("ephemeralContainerStatuses", "ephemeralContainers"),
];
/// Fields of a container's status that the host decides.
const CONTAINER_FIELDS: &[&str] = &[
    "name",
    "state",
    "lastState",
    "ready",
    "restartCount",
    "image",
    "imageID",
    "containerID",
    "started",
    "allocatedResources",
    "resources",
    "volumeMounts",
    "user",
    "stopSignal",
];

/// The status that a tenant's pod shall have.
///
/// The host decides, but: containers that the tenant does not know (injected on the host) are left out, conditions that
/// the tenant owns are kept, the QoS class is that of the tenant's spec, and texts name nothing of the host.
pub fn pod_status(pod: &Value, host: &Value, rewrite: &Rewrite) -> Value {
    let (ours, theirs) = (&pod["status"], &host["status"]);
    let mut status = Map::new();
    for field in FIELDS {
        if let Some(value) = theirs.get(*field) {
            status.insert((*field).to_owned(), value.clone());
        }
    }
    if let Some(message) = theirs["message"].as_str() {
        status.insert("message".to_owned(), json!(rewrite.text(message)));
    }
    for (list, containers) in CONTAINER_STATUSES {
        let known = list_at(pod, &["spec", containers]);
        let statuses: Vec<Value> = list_at(theirs, &[list])
            .iter()
            .filter(|s| known.iter().any(|c| c["name"] == s["name"]))
            .map(|s| container_status(s, rewrite))
            .collect();
        if !statuses.is_empty() {
            status.insert((*list).to_owned(), Value::Array(statuses));
        }
    }
    let observed = observed_generation(pod, host);
    let mut conditions: Vec<Value> = list_at(theirs, &["conditions"])
        .iter()
        .filter(|c| !tenant_owns(pod, str_at(c, &["type"])))
        .map(|c| condition(c, observed.as_ref(), rewrite))
        .collect();
    // The tenant's API says of an eviction why a pod goes; the host hears of a deletion only.
    let evicted = |kind: &str| kind == "DisruptionTarget" && !conditions.iter().any(|c| c["type"] == kind);
    let own = list_at(ours, &["conditions"]).iter().filter(|c| {
        let kind = str_at(c, &["type"]);
        tenant_owns(pod, kind) || evicted(kind)
    });
    let own: Vec<Value> = own.cloned().collect();
    conditions.extend(own);
    if !conditions.is_empty() {
        status.insert("conditions".to_owned(), Value::Array(conditions));
    }
    if let Some(observed) = observed {
        status.insert("observedGeneration".to_owned(), observed);
    }
    let qos = ours["qosClass"].as_str().filter(|q| !q.is_empty()).unwrap_or_else(|| qos_class(&pod["spec"]));
    status.insert("qosClass".to_owned(), json!(qos));
    if !status.contains_key("phase") {
        status.insert("phase".to_owned(), json!("Pending"));
    }
    Value::Object(status)
}

/// The conditions that the host pod lacks or has otherwise than the tenant wants them: those of its readiness gates.
pub fn pod_conditions_down(pod: &Value, host: &Value) -> Vec<Value> {
    let theirs = list_at(host, &["status", "conditions"]);
    list_at(pod, &["status", "conditions"])
        .iter()
        .filter(|c| is_gate(pod, str_at(c, &["type"])))
        .filter(|c| !theirs.iter().any(|t| t["type"] == c["type"] && t["status"] == c["status"]))
        .map(|c| {
            let fields = ["type", "status", "reason", "message", "lastTransitionTime", "lastProbeTime"];
            let fields = fields.into_iter().filter_map(|f| Some((f.to_owned(), c.get(f)?.clone())));
            Value::Object(fields.filter(|(_, v)| !v.is_null()).collect())
        })
        .collect()
}

/// Whether a condition is the tenant's to set: one of its readiness gates, or any that neither kubelet nor scheduler sets.
fn tenant_owns(pod: &Value, kind: &str) -> bool {
    const HOST: &[&str] = &[
        "PodScheduled",
        "Initialized",
        "ContainersReady",
        "Ready",
        "PodReadyToStartContainers",
        "DisruptionTarget",
        "PodResizePending",
        "PodResizeInProgress",
        "AllContainersRestarting",
    ];
    !HOST.contains(&kind) || is_gate(pod, kind)
}

fn is_gate(pod: &Value, kind: &str) -> bool {
    list_at(pod, &["spec", "readinessGates"]).iter().any(|g| g["conditionType"] == kind)
}

fn condition(condition: &Value, observed: Option<&Value>, rewrite: &Rewrite) -> Value {
    let mut out = condition.clone();
    if let Some(fields) = out.as_object_mut() {
        if fields.remove("observedGeneration").is_some()
            && let Some(observed) = observed
        {
            fields.insert("observedGeneration".to_owned(), observed.clone());
        }
        if let Some(message) = condition["message"].as_str() {
            fields.insert("message".to_owned(), json!(rewrite.text(message)));
        }
    }
    out
}

fn container_status(status: &Value, rewrite: &Rewrite) -> Value {
    let fields = CONTAINER_FIELDS.iter().filter_map(|f| Some(((*f).to_owned(), status.get(*f)?.clone())));
    let mut out = Value::Object(fields.collect());
    for state in ["state", "lastState"] {
        for kind in ["waiting", "terminated"] {
            if let Some(message) = out.get_mut(state).and_then(|s| s.get_mut(kind)).and_then(|k| k.get_mut("message"))
                && let Some(text) = message.as_str()
            {
                *message = json!(rewrite.text(text));
            }
        }
    }
    out
}

/// The generation of the tenant's pod that the kubelet has seen: the one that our last write carried, once the kubelet
/// has seen that write; before, what was known.
fn observed_generation(pod: &Value, host: &Value) -> Option<Value> {
    let seen = host["status"]["observedGeneration"].as_i64()?;
    let known = || pod["status"].get("observedGeneration").cloned();
    if host["metadata"]["generation"].as_i64() != Some(seen) {
        return known();
    }
    let carried = host["metadata"]["annotations"][marks::GENERATION].as_str().and_then(|g| g.parse::<i64>().ok());
    carried.map(Value::from).or_else(known)
}

/// The QoS class of a pod spec.
///
/// Source: <https://kubernetes.io/docs/concepts/workloads/pods/pod-qos/>.
pub fn qos_class(spec: &Value) -> &'static str {
    const RESOURCES: [&str; 2] = ["cpu", "memory"];
    let own = &spec["resources"];
    let pod_level = RESOURCES.iter().any(|r| own["requests"].get(r).is_some() || own["limits"].get(r).is_some());
    let holders: Vec<&Value> = if pod_level {
        vec![own]
    } else {
        ["initContainers", "containers"]
            .iter()
            .flat_map(|list| list_at(spec, &[list]))
            .map(|container| &container["resources"])
            .collect()
    };
    let set =
        |holder: &Value, kind: &str, resource: &str| meta::at(holder, &[kind, resource]).is_some_and(|v| *v != "0");
    let any = holders.iter().any(|h| RESOURCES.iter().any(|r| set(h, "requests", r) || set(h, "limits", r)));
    let guaranteed = holders.iter().all(|h| {
        RESOURCES.iter().all(|r| {
            let request = meta::at(h, &["requests", r]);
            set(h, "limits", r) && request.is_none_or(|request| *request == h["limits"][r])
        })
    });
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}
