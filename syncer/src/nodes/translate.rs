//! Host node to tenant node.

use apimachinery::meta::{at, list_at};
use serde_json::{Map, Value, json};

use crate::marks;

/// Labels that say where and what a node is; what else an admin labels nodes with is not the tenant's.
fn passes_label(key: &str) -> bool {
    matches!(
        key,
        "kubernetes.io/arch"
            | "kubernetes.io/os"
            | "kubernetes.io/hostname"
            | "beta.kubernetes.io/arch"
            | "beta.kubernetes.io/os"
            | "node.kubernetes.io/instance-type"
    ) || key.starts_with("topology.kubernetes.io/")
}

/// What a tenant sees of a node: `metadata` (labels), `spec` and `status`.
///
/// Heartbeats are left out, as they would make a write of every tenant of each; so is what identifies the machine.
pub fn node_translate(node: &Value) -> Value {
    let labels: Map<String, Value> = at(node, &["metadata", "labels"])
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter(|(key, _)| passes_label(key))
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    let mut spec = Map::new();
    let taints: Vec<Value> = list_at(node, &["spec", "taints"])
        .iter()
        .map(|taint| {
            let fields =
                ["key", "value", "effect"].iter().filter_map(|f| Some(((*f).to_owned(), taint.get(*f)?.clone())));
            Value::Object(fields.collect())
        })
        .collect();
    if !taints.is_empty() {
        spec.insert("taints".to_owned(), Value::Array(taints));
    }
    if node["spec"]["unschedulable"] == true {
        spec.insert("unschedulable".to_owned(), json!(true));
    }
    let theirs = &node["status"];
    let mut status = Map::new();
    for field in ["capacity", "allocatable"] {
        if let Some(value) = theirs.get(field) {
            status.insert(field.to_owned(), value.clone());
        }
    }
    let conditions: Vec<Value> = list_at(theirs, &["conditions"])
        .iter()
        .map(|c| {
            let mut c = c.clone();
            if let Some(fields) = c.as_object_mut() {
                fields.remove("lastHeartbeatTime");
            }
            c
        })
        .collect();
    status.insert("conditions".to_owned(), Value::Array(conditions));
    let addresses: Vec<Value> = list_at(theirs, &["addresses"])
        .iter()
        .filter(|a| matches!(a["type"].as_str(), Some("InternalIP" | "Hostname")))
        .cloned()
        .collect();
    status.insert("addresses".to_owned(), Value::Array(addresses));
    let mut info = Map::new();
    for field in ["machineID", "systemUUID", "bootID"] {
        info.insert(field.to_owned(), json!(""));
    }
    for field in [
        "kernelVersion",
        "osImage",
        "containerRuntimeVersion",
        "kubeletVersion",
        "kubeProxyVersion",
        "operatingSystem",
        "architecture",
    ] {
        info.insert(field.to_owned(), theirs["nodeInfo"].get(field).cloned().unwrap_or_else(|| json!("")));
    }
    status.insert("nodeInfo".to_owned(), Value::Object(info));
    json!({
        "metadata": {"labels": labels, "annotations": {(marks::RESOURCE): "nodes"}},
        "spec": spec,
        "status": status,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_the_admins_stays_with_the_admin() {
        let node = json!({
            "metadata": {"name": "n", "uid": "host-uid", "labels": {"kubernetes.io/hostname": "n", "pool": "secret"},
                "annotations": {"cloud": "x"}},
            "spec": {"podCIDR": "10.1.0.0/24", "providerID": "aws://i-1", "taints": [{"key": "k", "effect": "NoSchedule", "timeAdded": "t"}]},
            "status": {
                "capacity": {"cpu": "2"}, "images": [{"names": ["i"]}], "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
                "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}, {"type": "ExternalIP", "address": "1.2.3.4"}],
                "conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": "t"}],
                "nodeInfo": {"machineID": "m", "kubeletVersion": "v1.36.3"},
            },
        });
        let seen = node_translate(&node);
        let text = seen.to_string();
        for hidden in
            ["secret", "host-uid", "aws", "10.1.0.0", "images", "10250", "1.2.3.4", "Heartbeat", "\"m\"", "timeAdded"]
        {
            assert!(!text.contains(hidden), "{hidden}");
        }
        assert_eq!(seen["status"]["nodeInfo"]["kubeletVersion"], "v1.36.3");
        assert_eq!(seen["status"]["conditions"], json!([{"type": "Ready", "status": "True"}]));
    }
}
