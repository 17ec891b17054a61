//! NetworkPolicies, Ingresses and their classes, IPAddresses and ServiceCIDRs.

use serde_json::{Value, json};

use super::edit::{fill, items_mut, made_mut, set, some_mut};

pub(super) fn network_policy_default(policy: &mut Value) {
    let Some(spec) = made_mut(policy, "spec") else { return };
    for direction in ["ingress", "egress"] {
        for rule in items_mut(spec, direction) {
            for port in items_mut(rule, "ports") {
                fill(port, "protocol", "TCP");
            }
        }
    }
    let is_empty = |key: &str| spec.get(key).and_then(Value::as_array).is_none_or(Vec::is_empty);
    if is_empty("policyTypes") {
        let types = if is_empty("egress") { json!(["Ingress"]) } else { json!(["Ingress", "Egress"]) };
        set(spec, "policyTypes", types);
    }
}

pub(super) fn ingress_class_default(class: &mut Value) {
    if let Some(parameters) = some_mut(class, "spec").and_then(|spec| some_mut(spec, "parameters")) {
        fill(parameters, "scope", "Cluster");
    }
}
