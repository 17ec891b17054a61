//! Services, and groups `networking.k8s.io` and `discovery.k8s.io`.

use std::collections::BTreeSet;

use serde_json::Value;

use super::cells::{Cells, cells, first_of, labels, selector};
use crate::gvk::GroupResource;
use crate::meta::{list_at, str_at};

pub(super) fn row(kind: &str, o: &Cells<'_>) -> Option<Vec<Value>> {
    Some(match kind {
        "Ingress" => {
            let class = o.at(&["spec", "ingressClassName"]).and_then(Value::as_str).unwrap_or("<none>");
            let ports = if o.count(&["spec", "tls"]) > 0 { "80, 443" } else { "80" };
            cells![o.name(), class, ingress_hosts(o), load_balancer(o), ports, o.age()]
        }
        "IngressClass" => ingress_class(o),
        "IPAddress" => cells![o.name(), parent(o), o.age()],
        "NetworkPolicy" => {
            let none = Value::Object(serde_json::Map::new());
            cells![o.name(), selector(Some(o.at(&["spec", "podSelector"]).unwrap_or(&none))), o.age()]
        }
        "ServiceCIDR" => cells![o.name(), texts(o.list(&["spec", "cidrs"])).join(","), o.age()],
        "EndpointSlice" => endpoint_slice(o),
        _ => return None,
    })
}

fn texts(list: &[Value]) -> Vec<String> {
    list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

pub(super) fn service(o: &Cells<'_>) -> Vec<Value> {
    let ip = o.list(&["spec", "clusterIPs"]).first().and_then(Value::as_str).unwrap_or("<none>");
    let ports: Vec<String> = o.list(&["spec", "ports"]).iter().map(service_port).collect();
    let ports = if ports.is_empty() { "<none>".to_owned() } else { ports.join(",") };
    cells![o.name(), o.text(&["spec", "type"]), ip, external_ip(o), ports, o.age(), labels(o.at(&["spec", "selector"])),]
}

fn service_port(port: &Value) -> String {
    let number = |key| port.get(key).and_then(Value::as_i64).unwrap_or_default();
    let protocol = str_at(port, &["protocol"]);
    match number("nodePort") {
        ..=0 => format!("{}/{protocol}", number("port")),
        node_port => format!("{}:{node_port}/{protocol}", number("port")),
    }
}

fn external_ip(o: &Cells<'_>) -> String {
    let own = texts(o.list(&["spec", "externalIPs"]));
    let or = |text: String, default: &str| if text.is_empty() { default.to_owned() } else { text };
    match o.text(&["spec", "type"]) {
        "ClusterIP" | "NodePort" => or(own.join(","), "<none>"),
        "LoadBalancer" => {
            let given = Some(load_balancer(o)).filter(|s| !s.is_empty());
            or(Vec::from_iter(given.into_iter().chain(own)).join(","), "<pending>")
        }
        "ExternalName" => o.text(&["spec", "externalName"]).to_owned(),
        _ => "<unknown>".to_owned(),
    }
}

/// The addresses that a load balancer gave, sorted.
fn load_balancer(o: &Cells<'_>) -> String {
    let ingress = o.list(&["status", "loadBalancer", "ingress"]).iter();
    let addresses =
        ingress.map(|i| Some(str_at(i, &["ip"])).filter(|ip| !ip.is_empty()).unwrap_or(str_at(i, &["hostname"])));
    let addresses: BTreeSet<&str> = addresses.filter(|a| !a.is_empty()).collect();
    Vec::from_iter(addresses).join(",")
}

fn ingress_hosts(o: &Cells<'_>) -> String {
    const SHOWN: usize = 3;
    let rules = o.list(&["spec", "rules"]);
    let mut hosts: Vec<&str> = Vec::new();
    let mut more = false;
    for rule in rules {
        more |= hosts.len() == SHOWN;
        let host = str_at(rule, &["host"]);
        if !more && !host.is_empty() {
            hosts.push(host);
        }
    }
    match (hosts.is_empty(), more) {
        (true, _) => "*".to_owned(),
        (false, true) => format!("{} + {} more...", hosts.join(","), rules.len() - SHOWN),
        (false, false) => hosts.join(","),
    }
}

fn ingress_class(o: &Cells<'_>) -> Vec<Value> {
    let mut name = o.name().to_owned();
    if o.text(&["metadata", "annotations", "ingressclass.kubernetes.io/is-default-class"]) == "true" {
        name.push_str(" (default)");
    }
    let parameters = match o.at(&["spec", "parameters"]) {
        None => "<none>".to_owned(),
        Some(p) => match p.get("apiGroup").and_then(Value::as_str) {
            Some(group) => format!("{}.{group}/{}", str_at(p, &["kind"]), str_at(p, &["name"])),
            None => format!("{}/{}", str_at(p, &["kind"]), str_at(p, &["name"])),
        },
    };
    cells![name, o.text(&["spec", "controller"]), parameters, o.age()]
}

fn parent(o: &Cells<'_>) -> String {
    let Some(parent) = o.at(&["spec", "parentRef"]) else {
        return "<none>".to_owned();
    };
    let part = |key| str_at(parent, &[key]);
    let resource = GroupResource::new(part("group"), part("resource")).to_string().to_lowercase();
    let namespace = if part("namespace").is_empty() { String::new() } else { format!("/{}", part("namespace")) };
    format!("{resource}{namespace}/{}", part("name"))
}

fn endpoint_slice(o: &Cells<'_>) -> Vec<Value> {
    let port = |port: &Value| match (port.get("port").and_then(Value::as_i64), port.get("name").and_then(Value::as_str))
    {
        (Some(number), _) => number.to_string(),
        (None, Some(name)) => name.to_owned(),
        (None, None) => "*".to_owned(),
    };
    let ports: Vec<String> = o.list(&["ports"]).iter().map(port).collect();
    let addresses: Vec<String> =
        o.list(&["endpoints"]).iter().flat_map(|e| texts(list_at(e, &["addresses"]))).collect();
    let shown =
        |items: &[String]| Some(first_of(items, 3)).filter(|s| !s.is_empty()).unwrap_or_else(|| "<unset>".to_owned());
    cells![o.name(), o.text(&["addressType"]), shown(&ports), shown(&addresses), o.age()]
}
