//! Services.

mod addresses;
mod change;
mod defaults;

use serde_json::Value;

use super::at::At;
use super::{check, ip, names};
use crate::field::{Error, ErrorType, Errors};
pub(super) use addresses::special_address;
pub(super) use change::{service_prepare_create, service_prepare_update, service_validate_update};
use defaults::externally_accessible;
pub(super) use defaults::service_default;

const HINTS: &str = "service.kubernetes.io/topology-aware-hints";
const MODE: &str = "service.kubernetes.io/topology-mode";
const SOURCE_RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";
const MAX_AFFINITY_SECONDS: i64 = 86_400;

pub(super) fn service_validate(object: &Value, errors: &mut Errors) {
    service(&At::root(object), None, errors);
}

/// Whether there is no cluster IP by choice.
fn is_headless(spec: &At<'_, '_>) -> bool {
    let ips = spec.field("clusterIPs");
    ips.len() == 1 && ips.item(0).str() == "None"
}

fn service(service: &At<'_, '_>, old: Option<&At<'_, '_>>, errors: &mut Errors) {
    let (metadata, spec) = (service.field("metadata"), service.field("spec"));
    let notes = metadata.field("annotations");
    let (hints, mode) = (notes.entry(HINTS), notes.entry(MODE));
    if hints.exists() && mode.exists() && hints.str() != mode.str() {
        mode.invalid_str(errors, &format!("must match annotations[{HINTS}] when both are specified"));
    }
    let kind = spec.field("type").str();
    let headless = is_headless(&spec);
    let ports = spec.field("ports");
    if ports.is_empty() && !headless && kind != "ExternalName" {
        ports.required(errors, "");
    }
    match kind {
        "LoadBalancer" | "NodePort" if headless => {
            spec.field("clusterIPs")
                .item(0)
                .invalid_str(errors, &format!("may not be set to 'None' for {kind} services"));
        }
        "ExternalName" => external_name(&spec, errors),
        _ => {}
    }
    service_ports(&ports, errors);
    check::labels(&spec.field("selector"), errors);
    session_affinity(&spec, errors);
    let old_spec = old.map(|old| old.field("spec"));
    addresses::cluster_ips(&spec, old_spec.as_ref(), errors);
    for address in spec.field("externalIPs").items() {
        let known =
            old_spec.as_ref().is_some_and(|old| old.field("externalIPs").items().any(|o| o.str() == address.str()));
        let wrong = if known { Vec::new() } else { ip::address(address.str()) };
        if wrong.is_empty() {
            special_address(&address, errors);
        } else {
            address.invalid_each(errors, wrong);
        }
    }
    spec.field("type").required_one_of(errors, &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"], "");
    node_ports(&ports, kind, errors);
    source_ranges(&spec, &notes, old, errors);
    let allocate = spec.field("allocateLoadBalancerNodePorts");
    if allocate.exists() && kind != "LoadBalancer" {
        allocate.forbidden(errors, "may only be used when `type` is 'LoadBalancer'");
    }
    load_balancer_class(&spec, errors);
    traffic_policies(&spec, kind, errors);
}

fn external_name(spec: &At<'_, '_>, errors: &mut Errors) {
    for field in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
        let field = spec.field(field);
        if !field.is_empty() {
            field.forbidden(errors, "may not be set for ExternalName services");
        }
    }
    let name = spec.field("externalName");
    let text = name.str().strip_suffix('.').unwrap_or(name.str());
    if text.is_empty() {
        name.required(errors, "");
    }
    if !text.is_empty() {
        for detail in names::dns1123_subdomain(text) {
            name.invalid_text(errors, text, &detail);
        }
    }
}

fn service_ports(ports: &At<'_, '_>, errors: &mut Errors) {
    let mut seen: Vec<&str> = Vec::new();
    for port in ports.items() {
        let name = port.field("name");
        if ports.len() > 1 && name.is_empty() {
            name.required(errors, "");
        } else if !name.is_empty() {
            name.invalid_each(errors, names::dns1123_label(name.str()));
            if seen.contains(&name.str()) {
                name.duplicate(errors);
            } else {
                seen.push(name.str());
            }
        }
        check::port_number(&port.field("port"), errors);
        port.field("protocol").required_one_of(errors, &["SCTP", "TCP", "UDP"], "");
        check::port_or_name(&port.field("targetPort"), errors);
        let app = port.field("appProtocol");
        if app.exists() {
            app.invalid_each(errors, names::qualified_name(app.str()));
        }
    }
}

fn session_affinity(spec: &At<'_, '_>, errors: &mut Errors) {
    let (affinity, config) = (spec.field("sessionAffinity"), spec.field("sessionAffinityConfig"));
    affinity.required_one_of(errors, &["ClientIP", "None"], "");
    if affinity.str() == "None" && config.exists() {
        config.forbidden(errors, "must not be set when session affinity is None");
    }
    if affinity.str() != "ClientIP" {
        return;
    }
    const WHEN: &str = "when session affinity type is ClientIP";
    let client = config.field("clientIP");
    let timeout = client.field("timeoutSeconds");
    if let Some(missing) = [&config, &client, &timeout].into_iter().find(|at| !at.exists()) {
        missing.required(errors, WHEN);
    } else if !(1..=MAX_AFFINITY_SECONDS).contains(&timeout.int()) {
        timeout.invalid_int(errors, &format!("must be greater than 0 and less than {MAX_AFFINITY_SECONDS}"));
    }
}

fn node_ports(ports: &At<'_, '_>, kind: &str, errors: &mut Errors) {
    if kind == "ClusterIP" {
        for port in ports.items() {
            let node_port = port.field("nodePort");
            if node_port.int() != 0 {
                node_port.forbidden(errors, "may not be used when `type` is 'ClusterIP'");
            }
        }
    }
    let (mut node, mut own) = (Vec::new(), Vec::new());
    for port in ports.items() {
        let (protocol, node_port) = (port.field("protocol").str(), port.field("nodePort"));
        if node_port.int() == 0 {
            continue;
        }
        if node.contains(&(protocol, node_port.int())) {
            node_port.duplicate(errors);
        }
        node.push((protocol, node_port.int()));
    }
    for port in ports.items() {
        let (protocol, number) = (port.field("protocol").str(), port.field("port").int());
        if own.contains(&(protocol, number)) {
            // The stock server shows the key that it looks for, in its own type.
            let body = format!(
                "Duplicate value: {{\"Name\":\"\",\"Protocol\":\"{protocol}\",\"AppProtocol\":null,\"Port\":{number},\"TargetPort\":0,\"NodePort\":0}}"
            );
            errors.0.push(Error { kind: ErrorType::Duplicate, field: port.path().as_str().to_owned(), body });
        }
        own.push((protocol, number));
    }
}

fn source_ranges(spec: &At<'_, '_>, notes: &At<'_, '_>, old: Option<&At<'_, '_>>, errors: &mut Errors) {
    const ONLY: &str = "may only be used when `type` is 'LoadBalancer'";
    let is_balancer = spec.field("type").str() == "LoadBalancer";
    let ranges = spec.field("loadBalancerSourceRanges");
    let note = notes.entry(SOURCE_RANGES);
    let old_value = |path: &[&str]| old.and_then(|old| crate::meta::at(old.value(), path));
    if !ranges.is_empty() {
        // This is how the stock server spells it.
        let shown = spec.field("LoadBalancerSourceRanges");
        let shown = shown.with_value(ranges.value());
        if !is_balancer {
            shown.forbidden(errors, ONLY);
        }
        let known = old_value(&["spec", "loadBalancerSourceRanges"]).and_then(Value::as_array);
        for range in shown.items() {
            let text = range.str().trim();
            let known = known.is_some_and(|k| k.iter().any(|r| r.as_str().is_some_and(|r| r.trim() == text)));
            for detail in if known { Vec::new() } else { ip::cidr(text) } {
                range.invalid_text(errors, text, &detail);
            }
        }
    } else if note.exists() {
        if !is_balancer {
            note.forbidden(errors, ONLY);
        }
        let before = old_value(&["metadata", "annotations", SOURCE_RANGES]).and_then(Value::as_str);
        if before == Some(note.str()) || note.str().trim().is_empty() {
            return;
        }
        for range in note.str().trim().split(',').map(str::trim) {
            for detail in ip::cidr(range) {
                note.invalid_text(errors, range, &detail);
            }
        }
    }
}

fn load_balancer_class(spec: &At<'_, '_>, errors: &mut Errors) {
    let class = spec.field("loadBalancerClass");
    if !class.exists() {
        return;
    }
    if spec.field("type").str() == "LoadBalancer" {
        class.invalid_each(errors, names::qualified_name(class.str()));
    } else {
        class.forbidden(errors, "may only be used when `type` is 'LoadBalancer'");
    }
}

/// Whether the balancer asks nodes about the health of the service.
fn needs_health_check(spec: &At<'_, '_>) -> bool {
    spec.field("type").str() == "LoadBalancer" && spec.field("externalTrafficPolicy").str() == "Local"
}

fn traffic_policies(spec: &At<'_, '_>, kind: &str, errors: &mut Errors) {
    let external = spec.field("externalTrafficPolicy");
    if externally_accessible(spec.value()) {
        external.required_one_of(errors, &["Cluster", "Local"], "");
    } else if !external.is_empty() {
        external.invalid_str(errors, "may only be set for externally-accessible services");
    }
    let health = spec.field("healthCheckNodePort");
    if needs_health_check(spec) {
        // Without one, a port is found when the service is set up.
        if health.int() != 0 {
            check::port_number(&health, errors);
        }
    } else if health.int() != 0 {
        health.invalid_int(
            errors,
            "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
        );
    }
    let internal = spec.field("internalTrafficPolicy");
    if internal.exists() {
        internal.one_of(errors, &["Cluster", "Local"]);
    } else if matches!(kind, "ClusterIP" | "NodePort" | "LoadBalancer") {
        internal.required(errors, "");
    }
    let distribution = spec.field("trafficDistribution");
    if distribution.exists() {
        distribution.one_of(errors, &["PreferClose", "PreferSameZone", "PreferSameNode"]);
    }
}

pub(super) fn service_warnings(new: &Value, _old: Option<&Value>) -> Vec<String> {
    let at = At::root(new);
    let (metadata, spec) = (at.field("metadata"), at.field("spec"));
    let mut warnings = Vec::new();
    if metadata.field("annotations").entry(HINTS).exists() {
        warnings.push(format!("annotation {HINTS} is deprecated, please use {MODE} instead"));
    }
    let (kind, cluster_ip) = (spec.field("type").str(), spec.field("clusterIP").str());
    let headless = kind == "ClusterIP" && cluster_ip == "None";
    let mut addresses = |at: &At<'_, '_>| {
        warnings.extend(ip::address_warning(at.path().as_str(), at.str()));
    };
    if !cluster_ip.is_empty() && cluster_ip != "None" {
        spec.field("clusterIPs").items().for_each(|a| addresses(&a));
    }
    let external = spec.field("externalIPs");
    if headless {
        let mut ignored = |is_set: bool, field: &str| {
            if is_set {
                warnings.push(format!("spec.{field} is ignored for headless services"));
            }
        };
        ignored(!spec.field("loadBalancerIP").is_empty(), "loadBalancerIP");
        ignored(!external.is_empty(), "externalIPs");
        ignored(spec.field("sessionAffinity").str() != "None", "SessionAffinity");
    }
    for address in external.items() {
        warnings.extend(ip::address_warning(address.path().as_str(), address.str()));
    }
    if !external.is_empty() && !headless && kind != "ExternalName" {
        warnings.push("spec.externalIPs is deprecated and may no longer be implemented in some clusters".to_owned());
    }
    let balancer = spec.field("loadBalancerIP");
    if !balancer.is_empty() {
        warnings.extend(ip::address_warning("spec.loadBalancerIP", balancer.str()));
    }
    for range in spec.field("loadBalancerSourceRanges").items() {
        warnings.extend(ip::cidr_warnings(range.path().as_str(), range.str()));
    }
    if kind == "ExternalName" && !external.is_empty() {
        warnings.push("spec.externalIPs is ignored when spec.type is \"ExternalName\"".to_owned());
    }
    if kind != "ExternalName" && !spec.field("externalName").is_empty() {
        warnings.push("spec.externalName is ignored when spec.type is not \"ExternalName\"".to_owned());
    }
    if spec.field("trafficDistribution").str() == "PreferClose" {
        warnings.push("spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"".to_owned());
    }
    warnings
}
