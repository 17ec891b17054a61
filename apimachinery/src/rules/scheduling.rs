//! PriorityClasses, RuntimeClasses, PodDisruptionBudgets and Leases.

use serde_json::Value;

use super::at::At;
use super::edit::{fill, remove, some_mut};
use super::{WriteContext, check, names, pod};
use crate::field::Errors;
use crate::meta;

const HIGHEST: i64 = 1_000_000_000;
const SYSTEM: &[(&str, i64)] =
    &[("system-node-critical", 2 * HIGHEST + 1000), ("system-cluster-critical", 2 * HIGHEST)];

pub(super) fn priority_class_default(class: &mut Value) {
    fill(class, "preemptionPolicy", "PreemptLowerPriority");
}

pub(super) fn priority_class_validate(object: &Value, errors: &mut Errors) {
    let class = At::root(object);
    let (name, value) = (meta::name(object), class.field("value"));
    if name.starts_with("system-") {
        let wrong = match SYSTEM.iter().find(|(known, _)| *known == name) {
            None => Some(format!("{name} is not a known system priority class")),
            Some((_, must)) if *must != value.int() => Some(format!("value of {name} PriorityClass must be {must}")),
            Some(_) if class.field("globalDefault").bool() => {
                Some(format!("globalDefault of {name} PriorityClass must be false"))
            }
            Some(_) => None,
        };
        if let Some(wrong) = wrong {
            let metadata = class.field("metadata");
            let says =
                format!("priority class names with 'system-' prefix are reserved for system use only. error: {wrong}");
            metadata.field("name").forbidden(errors, &says);
        }
    } else if value.int() > HIGHEST {
        value.forbidden(errors, &format!("maximum allowed value of a user defined priority is {HIGHEST}"));
    }
    let policy = class.field("preemptionPolicy");
    if policy.exists() {
        policy.required_one_of(errors, &["PreemptLowerPriority", "Never"], "");
    }
}

/// Pods were told their priority when they were made: neither it nor what it does may change.
pub(super) fn priority_class_validate_update(
    new: &Value,
    old: &Value,
    _context: &WriteContext<'_>,
    errors: &mut Errors,
) {
    let (class, was) = (At::root(new), At::root(old));
    if class.field("value").int() != was.field("value").int() {
        class.field("value").forbidden(errors, "may not be changed in an update.");
    }
    class.field("preemptionPolicy").immutable(errors, was.field("preemptionPolicy").value());
}

pub(super) fn runtime_class_validate(object: &Value, errors: &mut Errors) {
    let class = At::root(object);
    class.field("handler").required_name(errors, names::dns1123_label);
    let overhead = class.field("overhead");
    if overhead.exists() {
        pod::overhead(&overhead.with_value(overhead.field("podFixed").value()), errors);
    }
    let scheduling = class.field("scheduling");
    check::labels(&scheduling.field("nodeSelector"), errors);
    let tolerations = scheduling.field("tolerations");
    pod::tolerations(&tolerations, errors);
    let mut seen = Vec::new();
    for toleration in tolerations.items() {
        let key = ["key", "operator", "value", "effect"].map(|field| toleration.field(field).value());
        if seen.contains(&key) {
            toleration.duplicate(errors);
        }
        seen.push(key);
    }
}

pub(super) fn runtime_class_validate_update(
    new: &Value,
    old: &Value,
    _context: &WriteContext<'_>,
    errors: &mut Errors,
) {
    runtime_class_validate(new, errors);
    At::root(new).field("handler").immutable(errors, At::root(old).field("handler").value());
}

pub(super) fn runtime_class_warnings(new: &Value, _old: Option<&Value>) -> Vec<String> {
    let class = At::root(new);
    let scheduling = class.field("scheduling");
    let selector = scheduling.field("nodeSelector");
    let deprecated = selector.entries().filter_map(|(key, _)| check::deprecated_node_label(key));
    deprecated.map(|says| format!("scheduling.nodeSelector: {says}")).collect()
}

pub(super) fn disruption_budget_validate(object: &Value, errors: &mut Errors) {
    let budget = At::root(object);
    let spec = budget.field("spec");
    let (least, most) = (spec.field("minAvailable"), spec.field("maxUnavailable"));
    if least.exists() && most.exists() {
        spec.invalid(errors, "minAvailable and maxUnavailable cannot be both set");
    }
    for bound in [least, most] {
        if bound.exists() {
            check::positive_int_or_percent(&bound, errors);
            check::percent_at_most_100(&bound, errors);
        }
    }
    check::label_selector(&spec.field("selector"), errors);
    let policy = spec.field("unhealthyPodEvictionPolicy");
    if policy.exists() {
        policy.one_of(errors, &["AlwaysAllow", "IfHealthyBudget"]);
    }
}

pub(super) fn disruption_budget_validate_update(
    new: &Value,
    _old: &Value,
    context: &WriteContext<'_>,
    errors: &mut Errors,
) {
    if !context.part.is("status") {
        return disruption_budget_validate(new, errors);
    }
    let budget = At::root(new);
    let status = budget.field("status");
    check::conditions(&status.field("conditions"), errors);
    for count in ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"] {
        status.field(count).non_negative(errors);
    }
}

/// CoordinatedLeaderElection: off.
pub(super) fn lease_prepare_create(lease: &mut Value, _context: &WriteContext<'_>) {
    if let Some(spec) = some_mut(lease, "spec") {
        remove(spec, "strategy");
        remove(spec, "preferredHolder");
    }
}

pub(super) fn lease_prepare_update(new: &mut Value, old: &Value, _context: &WriteContext<'_>) {
    let Some(spec) = some_mut(new, "spec") else { return };
    for field in ["strategy", "preferredHolder"] {
        if meta::at(old, &["spec", field]).is_none_or(Value::is_null) {
            remove(spec, field);
        }
    }
}

pub(super) fn lease_validate(object: &Value, errors: &mut Errors) {
    let lease = At::root(object);
    let spec = lease.field("spec");
    let (seconds, transitions) = (spec.field("leaseDurationSeconds"), spec.field("leaseTransitions"));
    if seconds.exists() && seconds.int() <= 0 {
        seconds.invalid_int(errors, "must be greater than 0");
    }
    transitions.non_negative(errors);
}
