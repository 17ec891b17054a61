//! Nodes.

use serde_json::{Value, json};

use super::at::At;
use super::edit::{remove, set, some_mut};
use super::ip::{self, Cidr};
use super::{Part, WriteContext, check, names, pod, quantities};
use crate::field::Errors;
use crate::meta;

pub(super) fn node_default(node: &mut Value) {
    if let Some(status) = some_mut(node, "status")
        && status.get("allocatable").is_none_or(Value::is_null)
        && let Some(capacity) = status.get("capacity").filter(|c| !c.is_null()).cloned()
    {
        set(status, "allocatable", capacity);
    }
    if let Some(spec) = some_mut(node, "spec") {
        pod_ranges_default(spec);
    }
}

/// `podCIDR` is the first of `podCIDRs`; who writes only the old field changes the new one.
fn pod_ranges_default(spec: &mut Value) {
    let one = spec.get("podCIDR").and_then(Value::as_str).unwrap_or_default().to_owned();
    let first = meta::list_at(spec, &["podCIDRs"]).first().and_then(Value::as_str).map(str::to_owned);
    match first {
        _ if !one.is_empty() && first.as_deref() != Some(&one) => set(spec, "podCIDRs", json!([one])),
        Some(first) if one.is_empty() => set(spec, "podCIDR", first),
        _ => {}
    }
}

/// Settings of kubelets through the API are gone; the fields stay for nodes that have them.
pub(super) fn node_prepare_create(node: &mut Value, _context: &WriteContext<'_>) {
    if let Some(spec) = some_mut(node, "spec") {
        remove(spec, "configSource");
    }
    if let Some(status) = some_mut(node, "status") {
        remove(status, "config");
    }
}

pub(super) fn node_prepare_update(new: &mut Value, old: &Value, context: &WriteContext<'_>) {
    let (part, field) = if context.part == Part::Main { ("spec", "configSource") } else { ("status", "config") };
    if meta::at(old, &[part, field]).is_none_or(Value::is_null)
        && let Some(part) = some_mut(new, part)
    {
        remove(part, field);
    }
}

pub(super) fn node_validate(object: &Value, errors: &mut Errors) {
    let node = At::root(object);
    let (spec, status) = (node.field("spec"), node.field("status"));
    taints(&At::named(spec.field("taints").value(), "metadata.taints"), errors);
    resources(&status, errors);
    let info = status.field("nodeInfo");
    let swap = info.field("swap").field("capacity").value();
    if !swap.is_null() {
        At::named(swap, "metadata.nodeSwapStatus.capacity").positive(errors);
    }
    declared_features(&status.field("declaredFeatures"), errors);
    let ranges = spec.field("podCIDRs");
    for range in ranges.items() {
        range.invalid_each(errors, ip::cidr(range.str()));
    }
    if ranges.len() > 1 {
        let parsed: Vec<Cidr> = ranges.items().filter_map(|r| Cidr::parse(r.str())).collect();
        if parsed.len() != ranges.len() {
            errors.internal(&ranges.path(), "invalid PodCIDRs. failed to check with dual stack");
        }
        let v6 = parsed.iter().filter(|c| c.address.is_ipv6()).count();
        if ranges.len() > 2 || v6 == 0 || v6 == parsed.len() {
            ranges.invalid(errors, "may specify no more than one CIDR for each IP family");
        }
    }
}

fn resources(status: &At<'_, '_>, errors: &mut Errors) {
    for list in ["capacity", "allocatable"] {
        let list = status.field(list);
        for (name, quantity) in list.entries() {
            let shown = list.field(name);
            quantities::resource_quantity(&shown.with_value(quantity.value()), name, errors);
        }
    }
}

fn taints(at: &At<'_, '_>, errors: &mut Errors) {
    let mut seen = Vec::new();
    for taint in at.items() {
        let (key, value, effect) = (taint.field("key"), taint.field("value"), taint.field("effect"));
        check::label_name(&key, errors);
        let wrong = names::label_value(value.str());
        if !wrong.is_empty() {
            value.invalid_str(errors, &wrong.join(";"));
        }
        if effect.is_empty() {
            effect.required(errors, "");
        } else {
            pod::taint_effect(&effect, errors);
        }
        let pair = (key.str(), effect.str());
        if seen.contains(&pair) {
            errors.duplicate_because(&taint.path(), taint.value(), "taints must be unique by key and effect pair");
        }
        seen.push(pair);
    }
}

/// Names in order, each in the form `Feature` or `Feature/part`.
fn declared_features(at: &At<'_, '_>, errors: &mut Errors) {
    let is_segment =
        |s: &str| s.starts_with(|c: char| c.is_ascii_alphabetic()) && s.bytes().all(|b| b.is_ascii_alphanumeric());
    let mut previous: Option<&str> = None;
    for feature in at.items() {
        let name = feature.str();
        let shown = crate::field::quote(name);
        if name.len() > names::SUBDOMAIN_MAX {
            let says = format!("invalid feature name {shown}: {}", names::max_length(names::SUBDOMAIN_MAX));
            feature.invalid_str(errors, &says);
        } else if !name.starts_with(|c: char| c.is_ascii_uppercase()) || !name.split('/').all(is_segment) {
            let says = format!(
                "invalid feature name {shown}: must start with an UpperCamelCase segment, with subsequent segments separated by '/' (e.g., MyFeature or MyFeature/mySubFeature), and contain only alphanumeric characters and slashes"
            );
            feature.invalid_str(errors, &says);
        }
        match previous {
            Some(previous) if previous == name => feature.duplicate(errors),
            Some(previous) if previous > name => feature.invalid_str(errors, "list must be sorted alphabetically"),
            _ => {}
        }
        previous = Some(name);
    }
}

pub(super) fn node_validate_update(new: &Value, old: &Value, context: &WriteContext<'_>, errors: &mut Errors) {
    if context.part == Part::Main {
        node_validate(new, errors);
    }
    let (node, was) = (At::root(new), At::root(old));
    let (spec, old_spec, status) = (node.field("spec"), was.field("spec"), node.field("status"));
    // Of a write of the node itself, the stock server looks at these twice, and says so.
    resources(&status, errors);
    declared_features(&status.field("declaredFeatures"), errors);
    let mut seen = Vec::new();
    for address in status.field("addresses").items() {
        if seen.contains(&address.value()) {
            address.duplicate(errors);
        }
        seen.push(address.value());
    }
    let (ranges, old_ranges) = (spec.field("podCIDRs"), old_spec.field("podCIDRs"));
    if !old_ranges.is_empty() {
        let changed = if ranges.len() == old_ranges.len() {
            ranges.items().zip(old_ranges.items()).filter(|(a, b)| a.str() != b.str()).count()
        } else {
            1
        };
        for _ in 0..changed {
            ranges.forbidden(errors, "node updates may not change podCIDR except from \"\" to valid");
        }
    }
    let (provider, old_provider) = (spec.field("providerID"), old_spec.field("providerID"));
    if !old_provider.is_empty() && provider.str() != old_provider.str() {
        provider.forbidden(errors, "node updates may not change providerID except from \"\" to valid");
    }
    let (external, old_external) = (spec.field("externalID"), old_spec.field("externalID"));
    if external.str() != old_external.str() {
        external.forbidden(errors, "may not be updated");
    }
    taints(&At::named(spec.field("taints").value(), "metadata.taints"), errors);
}

pub(super) fn node_warnings(new: &Value, _old: Option<&Value>) -> Vec<String> {
    let node = At::root(new);
    let spec = node.field("spec");
    let mut warnings = Vec::new();
    if spec.field("configSource").exists() {
        warnings.push("spec.configSource: the feature is removed".to_owned());
    }
    if !spec.field("externalID").is_empty() {
        warnings.push("spec.externalID: this field is deprecated, and is unused by Kubernetes".to_owned());
    }
    for range in spec.field("podCIDRs").items() {
        warnings.extend(ip::cidr_warnings(range.path().as_str(), range.str()));
    }
    warnings
}
