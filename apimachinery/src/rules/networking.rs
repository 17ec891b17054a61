//! NetworkPolicies, Ingresses and their classes, IPAddresses and ServiceCIDRs.

use serde_json::{Value, json};

use super::at::At;
use super::edit::{fill, items_mut, keep_metadata, made_mut, set, some_mut};
use super::ip::{self, Cidr};
use super::{WriteContext, check, names};
use crate::field::Errors;

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

const PROTOCOLS: &[&str] = &["TCP", "UDP", "SCTP"];

pub(super) fn network_policy_validate(object: &Value, errors: &mut Errors) {
    policy_spec(&At::root(object), &[], errors);
}

/// A network that an old policy names stays, right or wrong: which one it was cannot be told.
pub(super) fn network_policy_validate_update(
    new: &Value,
    old: &Value,
    _context: &WriteContext<'_>,
    errors: &mut Errors,
) {
    let was = At::root(old);
    let spec = was.field("spec");
    let mut known = Vec::new();
    for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
        for rule in spec.field(direction).items() {
            for peer in rule.field(peers).items() {
                let block = peer.field("ipBlock");
                known.push(block.field("cidr").str().to_owned());
                known.extend(block.field("except").items().map(|e| e.str().to_owned()));
            }
        }
    }
    policy_spec(&At::root(new), &known, errors);
}

fn policy_spec(policy: &At<'_, '_>, known: &[String], errors: &mut Errors) {
    let spec = policy.field("spec");
    check::label_selector(&spec.field("podSelector"), errors);
    for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
        for rule in spec.field(direction).items() {
            for port in rule.field("ports").items() {
                policy_port(&port, errors);
            }
            for peer in rule.field(peers).items() {
                policy_peer(&peer, known, errors);
            }
        }
    }
    let types = spec.field("policyTypes");
    if types.len() > 2 {
        types.invalid(errors, "may not specify more than two policyTypes");
        return;
    }
    for kind in types.items() {
        kind.one_of(errors, &["Ingress", "Egress"]);
    }
}

fn policy_port(at: &At<'_, '_>, errors: &mut Errors) {
    let (port, end, protocol) = (at.field("port"), at.field("endPort"), at.field("protocol"));
    if protocol.exists() {
        protocol.one_of(errors, PROTOCOLS);
    }
    match port.value() {
        Value::Null if end.exists() => end.invalid(errors, "may not be specified when `port` is not specified"),
        Value::Null => {}
        Value::String(name) => {
            if end.exists() {
                end.invalid(errors, "may not be specified when `port` is non-numeric");
            }
            port.invalid_each(errors, names::port_name(name));
        }
        _ => {
            check::port_number(&port, errors);
            if end.exists() {
                if end.int() < port.int() {
                    end.with_value(port.value()).invalid(errors, "must be greater than or equal to `port`");
                }
                check::port_number(&end, errors);
            }
        }
    }
}

fn policy_peer(peer: &At<'_, '_>, known: &[String], errors: &mut Errors) {
    let (pods, namespaces, block) = (peer.field("podSelector"), peer.field("namespaceSelector"), peer.field("ipBlock"));
    check::label_selector(&pods, errors);
    check::label_selector(&namespaces, errors);
    if block.exists() {
        ip_block(&block, known, errors);
    }
    let selects = pods.exists() || namespaces.exists();
    if !selects && !block.exists() {
        peer.required(errors, "must specify a peer");
    } else if selects && block.exists() {
        peer.forbidden(errors, "may not specify both ipBlock and another peer");
    }
}

fn ip_block(block: &At<'_, '_>, known: &[String], errors: &mut Errors) {
    let cidr = block.field("cidr");
    if cidr.is_empty() {
        cidr.required(errors, "");
        return;
    }
    let look = |at: &At<'_, '_>, errors: &mut Errors| {
        if !known.iter().any(|k| k == at.str()) {
            at.invalid_each(errors, ip::cidr(at.str()));
        }
        Cidr::parse(at.str())
    };
    let Some(network) = look(&cidr, errors) else { return };
    for except in block.field("except").items() {
        if let Some(hole) = look(&except, errors)
            && !network.strictly_contains(&hole)
        {
            except.invalid_str(errors, "must be a strict subset of `cidr`");
        }
    }
}

pub(super) fn network_policy_warnings(new: &Value, _old: Option<&Value>) -> Vec<String> {
    let policy = At::root(new);
    let spec = policy.field("spec");
    let mut warnings = Vec::new();
    for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
        for rule in spec.field(direction).items() {
            for peer in rule.field(peers).items() {
                let block = peer.field("ipBlock");
                let cidr = block.field("cidr");
                warnings.extend(ip::cidr_warnings(cidr.path().as_str(), cidr.str()));
                for except in block.field("except").items() {
                    warnings.extend(ip::cidr_warnings(except.path().as_str(), except.str()));
                }
            }
        }
    }
    warnings
}

pub(super) fn ingress_class_validate(object: &Value, errors: &mut Errors) {
    const CONTROLLER_MAX: usize = 250;
    let class = At::root(object);
    let spec = class.field("spec");
    let controller = spec.field("controller");
    if controller.str().len() > CONTROLLER_MAX {
        controller.too_long(errors, CONTROLLER_MAX);
    }
    check::domain_prefixed_path(&controller, errors);
    let parameters = spec.field("parameters");
    if !parameters.exists() {
        return;
    }
    typed_reference(&parameters, errors);
    let (scope, namespace) = (parameters.field("scope"), parameters.field("namespace"));
    scope.one_of(errors, &["Cluster", "Namespace"]);
    match scope.str() {
        "Namespace" if !namespace.exists() => namespace.required(errors, "`parameters.scope` is set to 'Namespace'"),
        "Namespace" => namespace.invalid_each(errors, names::dns1123_label(namespace.str())),
        "Cluster" if namespace.exists() => namespace.forbidden(errors, "`parameters.scope` is set to 'Cluster'"),
        _ => {}
    }
}

/// Kind and name of an object, and its API group if it has one.
pub(super) fn typed_reference(at: &At<'_, '_>, errors: &mut Errors) {
    let group = at.field("apiGroup");
    if group.exists() {
        group.invalid_each(errors, names::dns1123_subdomain(group.str()));
    }
    at.field("kind").required_name(errors, names::path_segment);
    at.field("name").required_name(errors, names::path_segment);
}

pub(super) fn ingress_class_validate_update(
    new: &Value,
    old: &Value,
    _context: &WriteContext<'_>,
    errors: &mut Errors,
) {
    let (class, was) = (At::root(new), At::root(old));
    let (spec, old_spec) = (class.field("spec"), was.field("spec"));
    let controller = spec.field("controller");
    if controller.str() != old_spec.field("controller").str() {
        controller.invalid_str(errors, "field is immutable");
    }
    ingress_class_validate(new, errors);
}

pub(super) fn ip_address_validate(object: &Value, errors: &mut Errors) {
    let address = At::root(object);
    let spec = address.field("spec");
    let parent = spec.field("parentRef");
    if !parent.exists() {
        parent.required(errors, "");
        return;
    }
    parent.field("group").optional_name(errors, names::dns1123_subdomain);
    parent.field("resource").required_name(errors, names::path_segment);
    parent.field("name").required_name(errors, names::path_segment);
    parent.field("namespace").optional_name(errors, names::path_segment);
}

pub(super) fn ip_address_validate_update(new: &Value, old: &Value, _context: &WriteContext<'_>, errors: &mut Errors) {
    ip_address_validate(new, errors);
    let (address, was) = (At::root(new), At::root(old));
    let (spec, old_spec) = (address.field("spec"), was.field("spec"));
    spec.field("parentRef").immutable(errors, old_spec.field("parentRef").value());
}

pub(super) fn service_cidr_validate(object: &Value, errors: &mut Errors) {
    let range = At::root(object);
    let spec = range.field("spec");
    let cidrs = spec.field("cidrs");
    match cidrs.len() {
        0 => return cidrs.required(errors, "at least one CIDR required"),
        1 | 2 => {}
        _ => return cidrs.with_value(spec.value()).invalid(errors, "may only hold up to 2 values"),
    }
    for cidr in cidrs.items() {
        cidr.invalid_each(errors, ip::canonical_cidr(cidr.str()));
    }
    let families: Vec<bool> = cidrs.items().filter_map(|c| Cidr::parse(c.str())).map(|c| c.address.is_ipv6()).collect();
    if let [one, other] = families[..]
        && one == other
    {
        let says = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";
        cidrs.invalid(errors, says);
    }
}

pub(super) fn service_cidr_prepare_update(new: &mut Value, old: &Value, context: &WriteContext<'_>) {
    if context.part.is("status") {
        keep_metadata(new, old);
    }
}

/// A second family can be added; nothing else changes.
pub(super) fn service_cidr_validate_update(new: &Value, old: &Value, context: &WriteContext<'_>, errors: &mut Errors) {
    if context.part.is("status") {
        return;
    }
    let (range, was) = (At::root(new), At::root(old));
    let (spec, old_spec) = (range.field("spec"), was.field("spec"));
    let (cidrs, old_cidrs) = (spec.field("cidrs"), old_spec.field("cidrs"));
    let grows = (old_cidrs.len(), cidrs.len()) == (1, 2);
    if !grows && cidrs.len() != old_cidrs.len() {
        cidrs.invalid(errors, "field is immutable");
        return;
    }
    for (cidr, before) in cidrs.items().zip(old_cidrs.items()) {
        cidr.immutable(errors, before.value());
    }
    if grows {
        service_cidr_validate(new, errors);
    }
}
