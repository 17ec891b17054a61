//! Endpoints and EndpointSlices.

use serde_json::Value;

use super::at::{At, semantic_eq};
use super::edit::{fill, fill_text, items_mut, remove};
use super::service::special_address;
use super::{WriteContext, check, ip, names};
use crate::field::Errors;
use crate::meta;

const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";

pub(super) fn endpoints_default(endpoints: &mut Value) {
    for subset in items_mut(endpoints, "subsets") {
        for port in items_mut(subset, "ports") {
            fill_text(port, "protocol", "TCP");
        }
    }
}

pub(super) fn endpoint_slice_default(slice: &mut Value) {
    for port in items_mut(slice, "ports") {
        fill(port, "name", "");
        fill(port, "protocol", "TCP");
    }
}

pub(super) fn endpoints_validate(object: &Value, errors: &mut Errors) {
    let endpoints = At::root(object);
    for subset in endpoints.field("subsets").items() {
        let (ready, not_ready) = (subset.field("addresses"), subset.field("notReadyAddresses"));
        if ready.is_empty() && not_ready.is_empty() {
            subset.required(errors, "must specify `addresses` or `notReadyAddresses`");
        }
        for address in ready.items().chain(not_ready.items()) {
            endpoint_address(&address, errors);
        }
        let ports = subset.field("ports");
        for port in ports.items() {
            let name = port.field("name");
            if ports.len() > 1 {
                name.required_name(errors, names::dns1123_label);
            } else {
                name.optional_name(errors, names::dns1123_label);
            }
            check::port_number(&port.field("port"), errors);
            port.field("protocol").required_one_of(errors, PROTOCOLS, "");
            app_protocol(&port, errors);
        }
    }
}

fn app_protocol(port: &At<'_, '_>, errors: &mut Errors) {
    let protocol = port.field("appProtocol");
    if protocol.exists() {
        check::label_name(&protocol, errors);
    }
}

fn endpoint_address(address: &At<'_, '_>, errors: &mut Errors) {
    let (ip, node) = (address.field("ip"), address.field("nodeName"));
    ip.invalid_each(errors, ip::address(ip.str()));
    address.field("hostname").optional_name(errors, names::dns1123_label);
    if node.exists() {
        node.invalid_each(errors, names::dns1123_subdomain(node.str()));
    }
    special_address(&ip, errors);
}

/// What has not changed is not looked at: once there was less to obey.
pub(super) fn endpoints_validate_update(new: &Value, old: &Value, _context: &WriteContext<'_>, errors: &mut Errors) {
    let subsets = |endpoints: &Value| endpoints.get("subsets").cloned().unwrap_or_default();
    if !semantic_eq(&subsets(new), &subsets(old)) {
        endpoints_validate(new, errors);
    }
}

pub(super) fn endpoints_warnings(new: &Value, _old: Option<&Value>) -> Vec<String> {
    let mut warnings = Vec::new();
    if is_managed(new, "endpoints.kubernetes.io/managed-by", &["endpoint-controller"]) {
        return warnings;
    }
    let endpoints = At::root(new);
    for subset in endpoints.field("subsets").items() {
        for address in subset.field("addresses").items().chain(subset.field("notReadyAddresses").items()) {
            let ip = address.field("ip");
            warnings.extend(ip::address_warning(ip.path().as_str(), ip.str()));
        }
    }
    warnings
}

/// Controllers write addresses as they should be.
fn is_managed(object: &Value, label: &str, by: &[&str]) -> bool {
    let manager = object.pointer("/metadata/labels").and_then(|l| l.get(label)).and_then(Value::as_str);
    manager.is_some_and(|m| by.contains(&m))
}

/// Topology was for nodes and zones, which have fields of their own: what v1 clients write there is dropped.
pub(super) fn endpoint_slice_prepare_create(slice: &mut Value, _context: &WriteContext<'_>) {
    drop_topology(slice);
}

pub(super) fn endpoint_slice_prepare_update(new: &mut Value, old: &Value, _context: &WriteContext<'_>) {
    if meta::list_at(new, &["endpoints"]) != meta::list_at(old, &["endpoints"]) {
        drop_topology(new);
    }
}

fn drop_topology(slice: &mut Value) {
    for endpoint in items_mut(slice, "endpoints") {
        remove(endpoint, "deprecatedTopology");
    }
}

pub(super) fn endpoint_slice_validate(object: &Value, errors: &mut Errors) {
    let slice = At::root(object);
    address_type(&slice, errors);
    ports(&slice.field("ports"), errors);
    endpoints(&slice, errors);
}

fn address_type(slice: &At<'_, '_>, errors: &mut Errors) {
    slice.field("addressType").required_one_of(errors, &["FQDN", "IPv4", "IPv6"], "");
}

fn ports(at: &At<'_, '_>, errors: &mut Errors) {
    const MAX: usize = 20000;
    if at.len() > MAX {
        at.too_many(errors, MAX);
        return;
    }
    let mut seen = Vec::new();
    for port in at.items() {
        let name = port.field("name");
        name.optional_name(errors, names::dns1123_label);
        if seen.contains(&name.str()) {
            name.duplicate(errors);
        }
        seen.push(name.str());
        port.field("protocol").one_of(errors, PROTOCOLS);
        app_protocol(&port, errors);
    }
}

fn endpoints(slice: &At<'_, '_>, errors: &mut Errors) {
    const MAX: usize = 1000;
    const ADDRESSES_MAX: usize = 100;
    let at = slice.field("endpoints");
    if at.len() > MAX {
        at.too_many(errors, MAX);
        return;
    }
    let family = slice.field("addressType").str();
    for endpoint in at.items() {
        let addresses = endpoint.field("addresses");
        if addresses.is_empty() {
            addresses.required(errors, "must contain at least 1 address");
        } else if addresses.len() > ADDRESSES_MAX {
            addresses.too_many(errors, ADDRESSES_MAX);
        }
        for address in addresses.items() {
            slice_address(&address, &addresses, family, errors);
        }
        let (node, host) = (endpoint.field("nodeName"), endpoint.field("hostname"));
        if node.exists() {
            node.invalid_each(errors, names::dns1123_subdomain(node.str()));
        }
        if host.exists() {
            host.invalid_each(errors, names::dns1123_label(host.str()));
        }
        hints(&endpoint.field("hints"), errors);
    }
}

fn slice_address(address: &At<'_, '_>, all: &At<'_, '_>, family: &str, errors: &mut Errors) {
    let text = address.str();
    let wrong = match family {
        "IPv4" => ip::address(text),
        "IPv6" => {
            let wrong = ip::address(text);
            if wrong.is_empty() { ip::canonical_address(text).into_iter().collect() } else { wrong }
        }
        "FQDN" => return domain_name(address, errors),
        _ => return,
    };
    if !wrong.is_empty() {
        address.invalid_each(errors, wrong);
        return;
    }
    let is_v4 = ip::parse_address(text).is_some_and(|a| a.is_ipv4());
    if is_v4 != (family == "IPv4") {
        all.invalid_text(errors, text, &format!("must be an {family} address"));
    }
    special_address(address, errors);
}

/// A domain of at least two labels, with or without the dot at its end.
fn domain_name(at: &At<'_, '_>, errors: &mut Errors) {
    if at.str().is_empty() {
        at.required(errors, "");
        return;
    }
    let name = at.str().strip_suffix('.').unwrap_or(at.str());
    let wrong = names::dns1123_subdomain(name);
    if !wrong.is_empty() {
        at.invalid_text(errors, name, &wrong.join(","));
    } else if !name.contains('.') {
        at.invalid_text(errors, name, "should be a domain with at least two segments separated by dots");
    } else if let Some(label) = name.split('.').find(|label| !names::dns1123_label(label).is_empty()) {
        at.invalid_text(errors, label, &names::dns1123_label(label).join(","));
    }
}

fn hints(hints: &At<'_, '_>, errors: &mut Errors) {
    const MAX: usize = 8;
    type Check = fn(&str) -> Vec<String>;
    let checks: [(&str, Check); 2] = [("forZones", names::label_value), ("forNodes", names::dns1123_subdomain)];
    for (list, check) in checks {
        let list = hints.field(list);
        if list.len() > MAX {
            list.too_many(errors, MAX);
            return;
        }
        let mut seen = Vec::new();
        for hint in list.items() {
            let name = hint.field("name");
            if seen.contains(&name.str()) {
                errors.duplicate(&name.path(), &name.str().into());
            }
            seen.push(name.str());
            name.invalid_each(errors, check(name.str()));
        }
    }
}

pub(super) fn endpoint_slice_validate_update(
    new: &Value,
    old: &Value,
    _context: &WriteContext<'_>,
    errors: &mut Errors,
) {
    let (slice, was) = (At::root(new), At::root(old));
    address_type(&slice, errors);
    ports(&slice.field("ports"), errors);
    if !semantic_eq(slice.field("endpoints").value(), was.field("endpoints").value()) {
        endpoints(&slice, errors);
    }
    slice.field("addressType").immutable(errors, was.field("addressType").value());
}

pub(super) fn endpoint_slice_warnings(new: &Value, old: Option<&Value>) -> Vec<String> {
    let slice = At::root(new);
    let mut warnings = Vec::new();
    if old.is_none() && slice.field("addressType").str() == "FQDN" {
        warnings.push("spec.addressType: FQDN endpoints are deprecated".to_owned());
    }
    let controllers = &["endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io"];
    if !is_managed(new, MANAGED_BY, controllers) {
        for endpoint in slice.field("endpoints").items() {
            for address in endpoint.field("addresses").items() {
                warnings.extend(ip::address_warning(address.path().as_str(), address.str()));
            }
        }
    }
    warnings
}
