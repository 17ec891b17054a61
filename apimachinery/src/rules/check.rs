//! Checks that many kinds share: labels, selectors, paths, ports, modes.

use serde_json::Value;

use super::at::At;
use super::names;
use crate::field::Errors;

const ANNOTATIONS_MAX_BYTES: usize = 256 * 1024;

/// A map of labels.
pub fn labels(at: &At<'_, '_>, errors: &mut Errors) {
    for (key, value) in at.entries() {
        for detail in names::qualified_name(key) {
            at.invalid_text(errors, key, &detail);
        }
        for detail in names::label_value(value.str()) {
            at.invalid_text(errors, value.str(), &detail);
        }
    }
}

/// A map of annotations.
pub fn annotations(at: &At<'_, '_>, errors: &mut Errors) {
    let mut size = 0;
    for (key, value) in at.entries() {
        size += key.len() + value.str().len();
        for detail in names::qualified_name(&key.to_lowercase()) {
            at.invalid_text(errors, key, &detail);
        }
    }
    if size > ANNOTATIONS_MAX_BYTES {
        at.too_long(errors, ANNOTATIONS_MAX_BYTES);
    }
}

/// The name of a label.
pub fn label_name(at: &At<'_, '_>, errors: &mut Errors) {
    at.invalid_each(errors, names::qualified_name(at.str()));
}

/// A list of `metav1.Condition`.
pub fn conditions(at: &At<'_, '_>, errors: &mut Errors) {
    const REASON_MAX: usize = 1024;
    const MESSAGE_MAX: usize = 32 * 1024;
    let mut types = Vec::new();
    for condition in at.items() {
        let (kind, reason, message) = (condition.field("type"), condition.field("reason"), condition.field("message"));
        if types.contains(&kind.str()) {
            kind.duplicate(errors);
        }
        types.push(kind.str());
        label_name(&kind, errors);
        condition.field("status").one_of(errors, &["False", "True", "Unknown"]);
        if condition.field("observedGeneration").int() < 0 {
            condition.field("observedGeneration").invalid_int(errors, "must be greater than or equal to zero");
        }
        if !condition.field("lastTransitionTime").exists() {
            condition.field("lastTransitionTime").required(errors, "");
        }
        reason.required_name(errors, names::condition_reason);
        for (text, max) in [(reason, REASON_MAX), (message, MESSAGE_MAX)] {
            if text.str().len() > max {
                text.too_long(errors, max);
            }
        }
    }
}

/// Why a label of nodes should not be used any more.
pub fn deprecated_node_label(key: &str) -> Option<&'static str> {
    Some(match key {
        "beta.kubernetes.io/arch" => "deprecated since v1.14; use \"kubernetes.io/arch\" instead",
        "beta.kubernetes.io/os" => "deprecated since v1.14; use \"kubernetes.io/os\" instead",
        "failure-domain.beta.kubernetes.io/region" => {
            "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead"
        }
        "failure-domain.beta.kubernetes.io/zone" => {
            "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead"
        }
        "beta.kubernetes.io/instance-type" => {
            "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead"
        }
        "app.kubernetes.io/created-by" => "deprecated since v1.9",
        "scheduler.alpha.kubernetes.io/preferAvoidPods" => "deprecated since v1.22; use Taints and Tolerations instead",
        "node-role.kubernetes.io/master" => "use \"node-role.kubernetes.io/control-plane\" instead",
        _ => return None,
    })
}

/// Warnings of a `v1.NodeSelectorTerm` whose labels are deprecated.
pub fn node_label_warnings(term: &At<'_, '_>, warnings: &mut Vec<String>) {
    for expression in term.field("matchExpressions").items() {
        let key = expression.field("key");
        if let Some(says) = deprecated_node_label(key.str()) {
            warnings.push(format!("{}: {} is {says}", key.path(), key.str()));
        }
    }
}

/// A `metav1.LabelSelector`; nothing is fine.
pub fn label_selector(at: &At<'_, '_>, errors: &mut Errors) {
    labels(&at.field("matchLabels"), errors);
    for requirement in at.field("matchExpressions").items() {
        let (values, operator) = (requirement.field("values"), requirement.field("operator"));
        match operator.str() {
            "In" | "NotIn" if values.is_empty() => {
                values.required(errors, "must be specified when `operator` is 'In' or 'NotIn'");
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                values.forbidden(errors, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            _ => operator.invalid_str(errors, "not a valid selector operator"),
        }
        label_name(&requirement.field("key"), errors);
        for value in values.items() {
            value.invalid_each(errors, names::label_value(value.str()));
        }
    }
}

/// Whether a `metav1.LabelSelector` selects everything.
pub fn selects_everything(selector: &Value) -> bool {
    let at = At::root(selector);
    at.field("matchLabels").is_empty() && at.field("matchExpressions").is_empty()
}

/// A number between 1 and 65535 or the name of a port.
pub fn port_or_name(at: &At<'_, '_>, errors: &mut Errors) {
    match at.value() {
        Value::String(name) => at.invalid_each(errors, names::port_name(name)),
        _ => port_number(at, errors),
    }
}

/// A number between 1 and 65535.
pub fn port_number(at: &At<'_, '_>, errors: &mut Errors) {
    if let Some(detail) = names::port_number(at.int()) {
        at.invalid_int(errors, &detail);
    }
}

/// Permission bits of a file, if any.
pub fn file_mode(at: &At<'_, '_>, errors: &mut Errors) {
    if at.exists() && !(0..=0o777).contains(&at.int()) {
        at.invalid_int(errors, "must be a number between 0 and 0777 (octal), both inclusive");
    }
}

/// A path without `..`.
pub fn path_no_backsteps(at: &At<'_, '_>, errors: &mut Errors) {
    if at.str().split('/').any(|part| part == "..") {
        at.invalid_str(errors, "must not contain '..'");
    }
}

/// A relative path without `..`.
pub fn local_path(at: &At<'_, '_>, errors: &mut Errors) {
    if at.str().starts_with('/') {
        at.invalid_str(errors, "must be a relative path");
    }
    path_no_backsteps(at, errors);
}

/// A relative path without `..`, not even at the beginning of its name.
pub fn local_non_reserved_path(at: &At<'_, '_>, errors: &mut Errors) {
    local_path(at, errors);
    if at.str().starts_with("..") && !at.str().starts_with("../") {
        at.invalid_str(errors, "must not start with '..'");
    }
}

/// A name of a CSI driver.
pub fn csi_driver_name(at: &At<'_, '_>, errors: &mut Errors) {
    if at.str().is_empty() {
        at.required(errors, "");
        return;
    }
    if at.str().len() > names::LABEL_MAX {
        at.too_long(errors, names::LABEL_MAX);
    }
    at.invalid_each(errors, names::dns1123_subdomain(&at.str().to_lowercase()));
}

/// A whole number that is not negative, or a percentage; see [`percent_at_most_100`].
pub fn positive_int_or_percent(at: &At<'_, '_>, errors: &mut Errors) {
    match at.value() {
        Value::String(text) => at.invalid_each(errors, names::percent(text)),
        _ => at.non_negative(errors),
    }
}

/// The number of a percentage.
pub fn percent_value(value: &Value) -> Option<i64> {
    value.as_str()?.strip_suffix('%')?.parse().ok()
}

/// A percentage may not be more than 100%.
pub fn percent_at_most_100(at: &At<'_, '_>, errors: &mut Errors) {
    if percent_value(at.value()).is_some_and(|p| p > 100) {
        at.invalid(errors, "must not be greater than 100%");
    }
}

/// The number of an int-or-percent, 0 if there is none.
pub fn int_or_percent(value: &Value) -> i64 {
    percent_value(value).or_else(|| value.as_i64()).unwrap_or(0)
}

/// The name of a certificate signer: a domain, a slash and a path.
pub fn signer_name(at: &At<'_, '_>, errors: &mut Errors) {
    const MAX: usize = names::SUBDOMAIN_MAX * 2 + names::LABEL_MAX + 2;
    let name = at.str();
    if name.is_empty() {
        at.required(errors, "");
        return;
    }
    let Some((domain, path)) = name.split_once('/').filter(|(_, path)| !path.contains('/')) else {
        at.invalid_str(errors, "must be a fully qualified domain and path of the form 'example.com/signer-name'");
        return;
    };
    if domain.len() > names::SUBDOMAIN_MAX {
        at.too_long(errors, names::SUBDOMAIN_MAX);
    }
    first_bad_label(at, domain, names::dns1123_label, errors);
    if !domain.contains('.') {
        at.invalid_text(errors, domain, "should be a domain with at least two segments separated by dots");
    }
    first_bad_label(at, path, names::dns1123_subdomain, errors);
    if name.len() > MAX {
        at.too_long(errors, MAX);
    }
}

/// Says what is wrong with the first label of `text` that is not right.
fn first_bad_label(at: &At<'_, '_>, text: &str, check: fn(&str) -> Vec<String>, errors: &mut Errors) {
    let bad = text.split('.').map(|label| (label, check(label))).find(|(_, wrong)| !wrong.is_empty());
    let Some((label, wrong)) = bad else { return };
    for detail in wrong {
        at.invalid_text(errors, text, &format!("validating label {}: {detail}", crate::field::quote(label)));
    }
}

/// A domain, a slash and a path: `acme.io/foo`.
pub fn domain_prefixed_path(at: &At<'_, '_>, errors: &mut Errors) {
    if at.str().is_empty() {
        at.required(errors, "");
        return;
    }
    let Some((host, path)) = at.str().split_once('/').filter(|(h, p)| !h.is_empty() && !p.is_empty()) else {
        at.invalid_str(errors, "must be a domain-prefixed path (such as \"acme.io/foo\")");
        return;
    };
    for detail in names::dns1123_subdomain(host) {
        at.invalid_text(errors, host, &detail);
    }
    let is_path = |b: u8| b.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&b);
    if !path.bytes().all(is_path) {
        at.invalid_text(errors, path, &names::pattern("Invalid path", "[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+", &[]));
    }
}
