//! Services.

use serde_json::{Value, json};

use crate::rules::edit::{fill, fill_text, items_mut, made_mut, set, some_mut};

const CLIENT_IP_TIMEOUT_SECONDS: i64 = 10_800;

pub(in crate::rules) fn service_default(service: &mut Value) {
    let Some(spec) = made_mut(service, "spec") else { return };
    fill_text(spec, "sessionAffinity", "None");
    match spec.get("sessionAffinity").and_then(Value::as_str) {
        Some("None") => crate::rules::edit::remove(spec, "sessionAffinityConfig"),
        Some("ClientIP") => {
            let timeout = spec.pointer("/sessionAffinityConfig/clientIP/timeoutSeconds").is_some_and(|t| !t.is_null());
            if !timeout {
                set(spec, "sessionAffinityConfig", json!({"clientIP": {"timeoutSeconds": CLIENT_IP_TIMEOUT_SECONDS}}));
            }
        }
        _ => {}
    }
    fill_text(spec, "type", "ClusterIP");
    for port in items_mut(spec, "ports") {
        fill_text(port, "protocol", "TCP");
        let unset = match port.get("targetPort") {
            None | Some(Value::Null) => true,
            Some(target) => target == 0 || target == "",
        };
        if unset {
            let number = port.get("port").cloned().unwrap_or(json!(0));
            set(port, "targetPort", number);
        }
    }
    let kind = spec.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
    if externally_accessible(spec) {
        fill_text(spec, "externalTrafficPolicy", "Cluster");
    }
    if matches!(kind.as_str(), "ClusterIP" | "NodePort" | "LoadBalancer") {
        fill(spec, "internalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        fill(spec, "allocateLoadBalancerNodePorts", true);
        if let Some(balancer) = some_mut(service, "status").and_then(|s| some_mut(s, "loadBalancer")) {
            for ingress in items_mut(balancer, "ingress") {
                if ingress.get("ip").and_then(Value::as_str).is_some_and(|ip| !ip.is_empty()) {
                    fill(ingress, "ipMode", "VIP");
                }
            }
        }
    }
}

/// Whether traffic from outside the cluster can reach the service.
pub(super) fn externally_accessible(spec: &Value) -> bool {
    match spec.get("type").and_then(Value::as_str).unwrap_or_default() {
        "NodePort" | "LoadBalancer" => true,
        "ClusterIP" => spec.get("externalIPs").and_then(Value::as_array).is_some_and(|ips| !ips.is_empty()),
        _ => false,
    }
}
