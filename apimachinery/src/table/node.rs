//! Nodes.

use std::collections::BTreeSet;

use serde_json::Value;

use super::cells::{Cells, cells};
use crate::meta::str_at;

pub(super) fn row(node: &Cells<'_>) -> Vec<Value> {
    let mut status =
        vec![match node.list(&["status", "conditions"]).iter().rfind(|c| str_at(c, &["type"]) == "Ready") {
            Some(ready) if str_at(ready, &["status"]) == "True" => "Ready",
            Some(_) => "NotReady",
            None => "Unknown",
        }];
    if node.flag(&["spec", "unschedulable"]) {
        status.push("SchedulingDisabled");
    }
    let info = |key| node.text(&["status", "nodeInfo", key]);
    let known = |key| node.text_or(&["status", "nodeInfo", key], "<unknown>");
    let mut kernel = known("kernelVersion").to_owned();
    if !info("architecture").is_empty() {
        kernel.push_str(&format!(" ({})", info("architecture")));
    }
    cells![
        node.name(),
        status.join(","),
        roles(node),
        node.age(),
        info("kubeletVersion"),
        address(node, "InternalIP"),
        address(node, "ExternalIP"),
        known("osImage"),
        kernel,
        known("containerRuntimeVersion"),
    ]
}

fn roles(node: &Cells<'_>) -> String {
    let labels = node.at(&["metadata", "labels"]).and_then(Value::as_object).into_iter().flatten();
    let roles: BTreeSet<&str> = labels
        .filter_map(|(key, value)| match key.strip_prefix("node-role.kubernetes.io/") {
            Some(role) => Some(role),
            None if key == "kubernetes.io/role" => value.as_str(),
            None => None,
        })
        .filter(|role| !role.is_empty())
        .collect();
    if roles.is_empty() { "<none>".to_owned() } else { Vec::from_iter(roles).join(",") }
}

fn address<'a>(node: &Cells<'a>, ty: &str) -> &'a str {
    let addresses = node.list(&["status", "addresses"]).iter();
    addresses.filter(|a| str_at(a, &["type"]) == ty).map(|a| str_at(a, &["address"])).next().unwrap_or("<none>")
}
