//! The core group, but for pods, nodes and events.

use serde_json::{Value, json};

use super::cells::{Cells, cells, containers, first_of, labels};
use super::{network, storage};
use crate::meta::{list_at, str_at};

pub(super) fn row(kind: &str, o: &Cells<'_>) -> Option<Vec<Value>> {
    Some(match kind {
        "ComponentStatus" => component_status(o),
        "ConfigMap" => cells![o.name(), o.count(&["data"]) + o.count(&["binaryData"]), o.age()],
        "Endpoints" => cells![o.name(), endpoints(o), o.age()],
        "Namespace" => cells![o.name(), o.text(&["status", "phase"]), o.age()],
        "PersistentVolume" => storage::volume(o),
        "PersistentVolumeClaim" => storage::claim(o),
        "PodTemplate" => {
            let [names, images] = containers(o.at(&["template"]));
            cells![o.name(), names, images, labels(o.at(&["template", "metadata", "labels"]))]
        }
        "ReplicationController" => {
            let [names, images] = containers(o.at(&["spec", "template"]));
            let status = |key| o.int(&["status", key]);
            cells![
                o.name(),
                o.int(&["spec", "replicas"]),
                status("replicas"),
                status("readyReplicas"),
                o.age(),
                names,
                images,
                labels(o.at(&["spec", "selector"])),
            ]
        }
        "ResourceQuota" => resource_quota(o),
        "Secret" => cells![o.name(), o.text(&["type"]), o.count(&["data"]), o.age()],
        "Service" => network::service(o),
        "ServiceAccount" => cells![o.name(), o.age()],
        _ => return None,
    })
}

fn component_status(o: &Cells<'_>) -> Vec<Value> {
    let healthy = o.list(&["conditions"]).iter().find(|c| str_at(c, &["type"]) == "Healthy");
    let status = match healthy.map(|c| str_at(c, &["status"])) {
        Some("True") => "Healthy",
        Some(_) => "Unhealthy",
        None => "Unknown",
    };
    let of = |key| healthy.map(|c| str_at(c, &[key])).unwrap_or_default();
    cells![o.name(), status, of("message"), of("error")]
}

fn endpoints(o: &Cells<'_>) -> String {
    let subsets = o.list(&["subsets"]);
    if subsets.is_empty() {
        return "<none>".to_owned();
    }
    let mut all = Vec::new();
    for subset in subsets {
        let addresses = || list_at(subset, &["addresses"]).iter().map(|a| str_at(a, &["ip"]));
        let ports = list_at(subset, &["ports"]);
        if ports.is_empty() {
            all.extend(addresses().map(str::to_owned));
        }
        for port in ports {
            let port = port.get("port").and_then(Value::as_i64).unwrap_or_default();
            all.extend(
                addresses().map(|ip| if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }),
            );
        }
    }
    first_of(&all, 3)
}

fn resource_quota(o: &Cells<'_>) -> Vec<Value> {
    let (mut requests, mut limits) = (Vec::new(), Vec::new());
    for (name, hard) in o.at(&["status", "hard"]).and_then(Value::as_object).into_iter().flatten() {
        let used = o.at(&["status", "used", name]).and_then(Value::as_str).unwrap_or("0");
        let text = format!("{name}: {used}/{}", hard.as_str().unwrap_or_default());
        if name.starts_with("limits.") { limits.push(text) } else { requests.push(text) }
    }
    vec![json!(o.name()), json!(requests.join(", ")), json!(limits.join(", ")), o.age()]
}
