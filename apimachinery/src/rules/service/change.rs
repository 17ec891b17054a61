//! What a change of a service keeps, drops and may not do.

use serde_json::{Value, json};

use super::{addresses, externally_accessible, needs_health_check, service};
use crate::field::Errors;
use crate::meta;
use crate::rules::at::{At, semantic_eq};
use crate::rules::edit::{items_mut, remove, set, some_mut};
use crate::rules::{WriteContext, ip};

fn kind(spec: &Value) -> &str {
    meta::str_at(spec, &["type"])
}

fn needs_cluster_ip(spec: &Value) -> bool {
    kind(spec) != "ExternalName"
}

fn needs_node_port(spec: &Value) -> bool {
    kind(spec) == "NodePort"
        || (kind(spec) == "LoadBalancer" && spec.get("allocateLoadBalancerNodePorts") != Some(&Value::Bool(false)))
}

fn node_port(port: &Value) -> i64 {
    port.get("nodePort").and_then(Value::as_i64).unwrap_or(0)
}

/// A client that knows one cluster IP only means a list of one.
pub(in crate::rules) fn service_prepare_create(object: &mut Value, _context: &WriteContext<'_>) {
    let Some(spec) = some_mut(object, "spec") else { return };
    let one = meta::str_at(spec, &["clusterIP"]).to_owned();
    if !one.is_empty() && meta::list_at(spec, &["clusterIPs"]).is_empty() {
        set(spec, "clusterIPs", json!([one]));
    }
    families(spec, None);
}

/// Families follow from the addresses; a cluster has IPv4 if nothing else is said.
fn families(spec: &mut Value, old: Option<&Value>) {
    if !needs_cluster_ip(spec) {
        return;
    }
    let selectorless = spec.get("selector").and_then(Value::as_object).is_none_or(serde_json::Map::is_empty);
    let anywhere = meta::str_at(spec, &["clusterIP"]) == "None" && selectorless;
    if meta::str_at(spec, &["ipFamilyPolicy"]).is_empty() {
        let policy = match old.map(|old| meta::str_at(old, &["ipFamilyPolicy"])) {
            Some(policy) if !policy.is_empty() => policy.to_owned(),
            _ if anywhere => "RequireDualStack".to_owned(),
            _ => "SingleStack".to_owned(),
        };
        set(spec, "ipFamilyPolicy", policy);
    }
    let mut families: Vec<Value> = meta::list_at(spec, &["ipFamilies"]).to_vec();
    for (i, address) in meta::list_at(spec, &["clusterIPs"]).iter().enumerate() {
        let family = address.as_str().and_then(ip::parse_address).map(|a| if a.is_ipv6() { "IPv6" } else { "IPv4" });
        if let Some(family) = family.filter(|_| i >= families.len()) {
            families.push(family.into());
        }
    }
    if families.is_empty() {
        families.push("IPv4".into());
    }
    if anywhere && families.len() < 2 && meta::str_at(spec, &["ipFamilyPolicy"]) != "SingleStack" {
        let other = if families[0] == "IPv4" { "IPv6" } else { "IPv4" };
        families.push(other.into());
    }
    set(spec, "ipFamilies", families);
}

/// Keeps what was given to the service where a client leaves it out, and drops what another type has no use for.
pub(in crate::rules) fn service_prepare_update(new: &mut Value, old: &Value, context: &WriteContext<'_>) {
    if context.part.is("status") {
        return;
    }
    let old_spec = old.get("spec").unwrap_or(&Value::Null);
    let Some(spec) = some_mut(new, "spec") else { return };
    keep_allocated(spec, old_spec);
    one_or_all(spec, old_spec);
    drop_type_dependent(spec, old_spec);
    families(spec, Some(old_spec));
    if kind(spec) != "LoadBalancer"
        && let Some(status) = some_mut(new, "status")
    {
        set(status, "loadBalancer", json!({}));
    }
}

fn keep_allocated(spec: &mut Value, old: &Value) {
    if needs_cluster_ip(old) && needs_cluster_ip(spec) {
        if meta::str_at(spec, &["clusterIP"]).is_empty()
            && let Some(one) = old.get("clusterIP")
        {
            set(spec, "clusterIP", one.clone());
        }
        if meta::list_at(spec, &["clusterIPs"]).is_empty()
            && let Some(all) = old.get("clusterIPs")
        {
            set(spec, "clusterIPs", all.clone());
        }
    }
    if needs_node_port(old) && needs_node_port(spec) {
        let before = meta::list_at(old, &["ports"]);
        let kept: Vec<i64> = meta::list_at(spec, &["ports"]).iter().map(node_port).filter(|n| *n != 0).collect();
        for port in items_mut(spec, "ports").filter(|p| node_port(p) == 0) {
            let name = meta::str_at(port, &["name"]).to_owned();
            let number = before.iter().rfind(|p| meta::str_at(p, &["name"]) == name).map_or(0, node_port);
            if number != 0 && !kept.contains(&number) {
                set(port, "nodePort", number);
            }
        }
    }
    let number = |s: &Value| s.get("healthCheckNodePort").and_then(Value::as_i64).unwrap_or(0);
    if needs_health_check(&At::root(old))
        && needs_health_check(&At::root(spec))
        && number(spec) == 0
        && number(old) != 0
    {
        set(spec, "healthCheckNodePort", number(old));
    }
}

fn one_or_all(spec: &mut Value, old: &Value) {
    let (one, before) = (meta::str_at(spec, &["clusterIP"]).to_owned(), meta::str_at(old, &["clusterIP"]));
    if one == before {
        return;
    }
    let same = meta::list_at(spec, &["clusterIPs"]) == meta::list_at(old, &["clusterIPs"]);
    if same && one.is_empty() {
        remove(spec, "clusterIPs");
    } else if same {
        set(spec, "clusterIPs", json!([one]));
    }
}

fn drop_type_dependent(spec: &mut Value, old: &Value) {
    let same = |spec: &Value, key: &str| {
        semantic_eq(spec.get(key).unwrap_or(&Value::Null), old.get(key).unwrap_or(&Value::Null))
    };
    if needs_cluster_ip(old) && !needs_cluster_ip(spec) {
        if same(spec, "clusterIP") && same(spec, "clusterIPs") {
            remove(spec, "clusterIP");
            remove(spec, "clusterIPs");
        }
        for key in ["ipFamilies", "ipFamilyPolicy"] {
            if same(spec, key) {
                remove(spec, key);
            }
        }
    }
    let has_node_ports = |s: &Value| matches!(kind(s), "NodePort" | "LoadBalancer");
    if has_node_ports(old) && !has_node_ports(spec) {
        let before: Vec<i64> = meta::list_at(old, &["ports"]).iter().map(node_port).collect();
        let known = meta::list_at(spec, &["ports"]).iter().map(node_port).all(|n| n == 0 || before.contains(&n));
        if known {
            items_mut(spec, "ports").for_each(|port| remove(port, "nodePort"));
        }
    }
    if needs_health_check(&At::root(old)) && !needs_health_check(&At::root(spec)) && same(spec, "healthCheckNodePort") {
        remove(spec, "healthCheckNodePort");
    }
    if kind(old) == "LoadBalancer" && kind(spec) != "LoadBalancer" {
        for key in ["allocateLoadBalancerNodePorts", "loadBalancerClass"] {
            if same(spec, key) {
                remove(spec, key);
            }
        }
    }
    if !needs_cluster_ip(spec) && needs_cluster_ip(old) && same(spec, "internalTrafficPolicy") {
        remove(spec, "internalTrafficPolicy");
    }
    if externally_accessible(old) && !externally_accessible(spec) && same(spec, "externalTrafficPolicy") {
        remove(spec, "externalTrafficPolicy");
    }
}

pub(in crate::rules) fn service_validate_update(
    new: &Value,
    old: &Value,
    context: &WriteContext<'_>,
    errors: &mut Errors,
) {
    let (new, old) = (At::root(new), At::root(old));
    let (spec, old_spec) = (new.field("spec"), old.field("spec"));
    if context.part.is("status") {
        let (status, before) = (new.field("status"), old.field("status"));
        load_balancer_status(
            &status.field("loadBalancer"),
            &before.field("loadBalancer"),
            spec.field("type").str(),
            errors,
        );
        return;
    }
    addresses::cluster_ips_change(&spec, &old_spec, errors);
    let (class, before) = (spec.field("loadBalancerClass"), old_spec.field("loadBalancerClass"));
    let balancers = [&spec, &old_spec].iter().all(|s| s.field("type").str() == "LoadBalancer");
    if balancers && class.value() != before.value() {
        class.invalid(errors, "may not change once set");
    }
    super::load_balancer_class(&spec, errors);
    if needs_health_check(&old_spec) && needs_health_check(&spec) {
        let port = spec.field("healthCheckNodePort");
        if port.int() != old_spec.field("healthCheckNodePort").int() {
            port.forbidden(errors, "field is immutable");
        }
    }
    service(&new, Some(&old), errors);
}

/// Where the load balancer is.
fn load_balancer_status(at: &At<'_, '_>, before: &At<'_, '_>, kind: &str, errors: &mut Errors) {
    let ingress = at.field("ingress");
    if kind != "LoadBalancer" && !ingress.is_empty() {
        ingress.forbidden(errors, "may only be used when `spec.type` is 'LoadBalancer'");
        return;
    }
    for point in ingress.items() {
        let (address, mode, host) = (point.field("ip"), point.field("ipMode"), point.field("hostname"));
        if !address.is_empty() {
            let known = before.field("ingress").items().any(|b| b.field("ip").str() == address.str());
            address.invalid_each(errors, if known { Vec::new() } else { ip::address(address.str()) });
        }
        if !mode.exists() {
            if !address.is_empty() {
                mode.required(errors, "must be specified when `ip` is set");
            }
        } else if address.is_empty() {
            mode.forbidden(errors, "may not be specified when `ip` is not set");
        } else {
            mode.one_of(errors, &["Proxy", "VIP"]);
        }
        if !host.is_empty() {
            host.invalid_each(errors, crate::rules::names::dns1123_subdomain(host.str()));
            if ip::parse_address(host.str()).is_some() {
                host.invalid_str(errors, "must be a DNS name, not an IP address");
            }
        }
    }
}
