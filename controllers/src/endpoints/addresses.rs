//! A pod behind a service: its address, ports and state.

use apimachinery::meta::{self, list_at, str_at};
use serde_json::{Value, json};

use crate::object::{bool_at, deleting, int_at};
use crate::pods;

/// A pod behind a service.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Backend {
    pub(super) ip: String,
    pub(super) name: String,
    pub(super) ready: bool,
    pub(super) serving: bool,
    pub(super) terminating: bool,
    /// As Endpoints write them.
    pub(super) ports: Vec<Value>,
    hostname: String,
    node: String,
    target: Value,
}

/// What of a pod endpoints depend on, labels aside.
pub(super) fn facts(pod: &Value) -> Value {
    json!([
        str_at(pod, &["status", "podIP"]),
        pods::ready(pod),
        pods::finished(pod),
        deleting(pod),
        str_at(pod, &["spec", "nodeName"]),
    ])
}

/// Whether a service wants pods before they are ready.
pub(super) fn publishes_not_ready(service: &Value) -> bool {
    bool_at(service, &["spec", "publishNotReadyAddresses"])
}

impl Backend {
    /// The pod as a backend of a service; `None` if it has no address, has ended, or lacks a named port.
    pub(super) fn of(pod: &Value, service: &Value) -> Option<Self> {
        let ip = str_at(pod, &["status", "podIP"]);
        if ip.is_empty() || pods::finished(pod) {
            return None;
        }
        let wanted = list_at(service, &["spec", "ports"]);
        let ports: Vec<Value> = wanted.iter().filter_map(|port| port_of(pod, port)).collect();
        if ports.is_empty() && !wanted.is_empty() {
            return None;
        }
        let serving = pods::ready(pod);
        let terminating = deleting(pod);
        let in_subdomain = str_at(pod, &["spec", "subdomain"]) == meta::name(service);
        Some(Self {
            ip: ip.to_owned(),
            name: meta::name(pod).to_owned(),
            ready: publishes_not_ready(service) || (serving && !terminating),
            serving,
            terminating,
            ports,
            hostname: if in_subdomain { str_at(pod, &["spec", "hostname"]).to_owned() } else { String::new() },
            node: str_at(pod, &["spec", "nodeName"]).to_owned(),
            target: json!({"kind": "Pod", "namespace": meta::namespace(pod), "name": meta::name(pod), "uid": meta::uid(pod)}),
        })
    }

    /// As Endpoints write it.
    pub(super) fn address(&self) -> Value {
        let mut address = json!({"ip": self.ip, "targetRef": self.target});
        for (key, value) in [("hostname", &self.hostname), ("nodeName", &self.node)] {
            if !value.is_empty() {
                address[key] = json!(value);
            }
        }
        address
    }

    /// As EndpointSlices write it.
    pub(super) fn endpoint(&self) -> Value {
        let mut endpoint = json!({
            "addresses": [self.ip],
            "conditions": {"ready": self.ready, "serving": self.serving, "terminating": self.terminating},
            "targetRef": self.target,
        });
        for (key, value) in [("hostname", &self.hostname), ("nodeName", &self.node)] {
            if !value.is_empty() {
                endpoint[key] = json!(value);
            }
        }
        endpoint
    }
}

fn port_of(pod: &Value, port: &Value) -> Option<Value> {
    let protocol = str_at(port, &["protocol"]);
    let number = match port.get("targetPort") {
        Some(Value::String(name)) => named_port(pod, name, protocol)?,
        Some(number) if number.as_i64() != Some(0) => number.as_i64()?,
        _ => int_at(port, &["port"])?,
    };
    let mut found = json!({"port": number, "protocol": protocol});
    for key in ["name", "appProtocol"] {
        if let Some(value) = port.get(key) {
            found[key] = value.clone();
        }
    }
    Some(found)
}

fn named_port(pod: &Value, name: &str, protocol: &str) -> Option<i64> {
    let sidecars =
        list_at(pod, &["spec", "initContainers"]).iter().filter(|c| str_at(c, &["restartPolicy"]) == "Always");
    let containers = list_at(pod, &["spec", "containers"]).iter().chain(sidecars);
    let mut ports = containers.flat_map(|c| list_at(c, &["ports"]));
    let found = ports.find(|p| str_at(p, &["name"]) == name && str_at(p, &["protocol"]) == protocol)?;
    int_at(found, &["containerPort"])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod() -> Value {
        json!({
            "metadata": {"name": "p", "namespace": "n", "uid": "u"},
            "spec": {"nodeName": "node", "hostname": "p", "subdomain": "web", "containers": [{"ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}]}]},
            "status": {"phase": "Running", "podIP": "10.0.0.1", "conditions": [{"type": "Ready", "status": "True"}]},
        })
    }

    fn service(target: Value) -> Value {
        json!({"metadata": {"name": "web"}, "spec": {"ports": [{"name": "a", "port": 80, "protocol": "TCP", "targetPort": target}]}})
    }

    #[test]
    fn ports_are_numbers_or_names_of_the_pods() {
        let backend = Backend::of(&pod(), &service(json!("http"))).unwrap();
        assert_eq!(backend.ports, [json!({"name": "a", "port": 8080, "protocol": "TCP"})]);
        assert_eq!(backend.address()["hostname"], "p");
        assert!(backend.ready && backend.serving && !backend.terminating);
        assert_eq!(Backend::of(&pod(), &service(json!(9))).unwrap().ports[0]["port"], 9);
        assert_eq!(Backend::of(&pod(), &service(json!("nope"))), None);
    }

    #[test]
    fn a_pod_that_ends_serves_and_is_not_ready() {
        let mut pod = pod();
        pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        let backend = Backend::of(&pod, &service(json!(80))).unwrap();
        assert!(!backend.ready && backend.serving && backend.terminating);
        pod["status"]["phase"] = json!("Succeeded");
        assert_eq!(Backend::of(&pod, &service(json!(80))), None);
    }
}
