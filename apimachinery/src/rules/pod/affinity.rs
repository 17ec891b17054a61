//! Where a pod may run: affinity, tolerations, spread.

use serde_json::Value;

use crate::field::Errors;
use crate::rules::at::{At, semantic_eq};
use crate::rules::{check, names};

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

pub(super) fn affinity(at: &At<'_, '_>, errors: &mut Errors) {
    let node = at.field("nodeAffinity");
    let required = node.field(REQUIRED);
    if required.exists() {
        node_selector(&required, errors);
    }
    for term in node.field(PREFERRED).items() {
        weight(&term.field("weight"), errors);
        node_selector_term(&term.field("preference"), true, errors);
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let pods = at.field(kind);
        for term in pods.field(REQUIRED).items() {
            pod_term(&term, errors);
        }
        for term in pods.field(PREFERRED).items() {
            weight(&term.field("weight"), errors);
            pod_term(&term.field("podAffinityTerm"), errors);
        }
    }
}

fn weight(at: &At<'_, '_>, errors: &mut Errors) {
    if !(1..=100).contains(&at.int()) {
        at.invalid_int(errors, "must be in the range 1-100");
    }
}

/// A `v1.NodeSelector`.
pub(in crate::rules) fn node_selector(at: &At<'_, '_>, errors: &mut Errors) {
    let terms = at.field("nodeSelectorTerms");
    if terms.is_empty() {
        terms.required(errors, "must have at least one node selector term");
    }
    for term in terms.items() {
        node_selector_term(&term, false, errors);
    }
}

/// A `v1.NodeSelectorTerm`; a preference may name values that no label can have.
pub(in crate::rules) fn node_selector_term(at: &At<'_, '_>, any_value: bool, errors: &mut Errors) {
    for requirement in at.field("matchExpressions").items() {
        let (operator, values) = (requirement.field("operator"), requirement.field("values"));
        match operator.str() {
            "In" | "NotIn" => {
                if values.is_empty() {
                    values.required(errors, "must be specified when `operator` is 'In' or 'NotIn'");
                }
            }
            "Exists" | "DoesNotExist" => {
                if !values.is_empty() {
                    values.forbidden(errors, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
                }
            }
            "Gt" | "Lt" => {
                if values.len() != 1 {
                    values.required(errors, "must be specified single value when `operator` is 'Lt' or 'Gt'");
                }
            }
            _ => operator.invalid_str(errors, "not a valid selector operator"),
        }
        check::label_name(&requirement.field("key"), errors);
        if !any_value {
            for value in values.items() {
                value.invalid_each(errors, names::label_value(value.str()));
            }
        }
    }
    for requirement in at.field("matchFields").items() {
        let (operator, values, key) =
            (requirement.field("operator"), requirement.field("values"), requirement.field("key"));
        if !matches!(operator.str(), "In" | "NotIn") {
            operator.invalid_str(errors, "not a valid selector operator");
        } else if values.len() != 1 {
            values
                .required(errors, "must be only one value when `operator` is 'In' or 'NotIn' for node field selector");
        }
        if key.str() == "metadata.name" {
            for value in values.items() {
                value.invalid_each(errors, names::dns1123_subdomain(value.str()));
            }
        } else {
            key.invalid_str(errors, "not a valid field selector key");
        }
    }
}

fn pod_term(at: &At<'_, '_>, errors: &mut Errors) {
    check::label_selector(&at.field("labelSelector"), errors);
    check::label_selector(&at.field("namespaceSelector"), errors);
    let namespace = at.field("namespace");
    for name in at.field("namespaces").items() {
        for detail in names::dns1123_label(name.str()) {
            namespace.invalid_text(errors, name.str(), &detail);
        }
    }
    label_keys(at, errors);
    let key = at.field("topologyKey");
    if key.str().is_empty() {
        key.required(errors, "can not be empty");
    }
    check::label_name(&key, errors);
}

/// `matchLabelKeys` and `mismatchLabelKeys` beside a `labelSelector`.
fn label_keys(at: &At<'_, '_>, errors: &mut Errors) {
    let (same, different, selector) =
        (at.field("matchLabelKeys"), at.field("mismatchLabelKeys"), at.field("labelSelector"));
    for keys in [&same, &different] {
        if !keys.is_empty() && !selector.exists() {
            keys.forbidden(errors, "must not be specified when labelSelector is not set");
            continue;
        }
        for key in keys.items() {
            check::label_name(&key, errors);
        }
    }
    let mut seen: Vec<&str> =
        selector.field("matchLabels").map().map(|m| m.keys().map(String::as_str).collect()).unwrap_or_default();
    for expression in selector.field("matchExpressions").items() {
        let key = expression.field("key").str();
        let index = same.items().position(|k| k.str() == key);
        if let Some(index) = index.filter(|_| seen.contains(&key)) {
            errors.invalid_str(&at.path().index(index), key, "exists in both matchLabelKeys and labelSelector");
        }
        seen.push(key);
    }
    for key in same.items() {
        if different.items().any(|k| k.str() == key.str()) {
            key.invalid_str(errors, "exists in both matchLabelKeys and mismatchLabelKeys");
        }
    }
}

pub(in crate::rules) fn tolerations(at: &At<'_, '_>, errors: &mut Errors) {
    for toleration in at.items() {
        let (key, operator, value, effect) = (
            toleration.field("key"),
            toleration.field("operator"),
            toleration.field("value").str(),
            toleration.field("effect"),
        );
        key.optional_name(errors, names::qualified_name);
        if key.str().is_empty() && operator.str() != "Exists" {
            operator.invalid_str(
                errors,
                "operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
            );
        }
        if toleration.field("tolerationSeconds").exists() && effect.str() != "NoExecute" {
            effect.invalid_str(errors, "effect must be 'NoExecute' when `tolerationSeconds` is set");
        }
        match operator.str() {
            "Equal" | "" => {
                let wrong = names::label_value(value);
                if !wrong.is_empty() {
                    operator.invalid_text(errors, value, &wrong.join(";"));
                }
            }
            "Exists" => {
                if !value.is_empty() {
                    operator.invalid_text(errors, value, "value must be empty when `operator` is 'Exists'");
                }
            }
            "Lt" | "Gt" => operator.not_supported(errors, &["Equal", "Exists", "Lt", "Gt"]),
            _ => operator.not_supported(errors, &["Equal", "Exists"]),
        }
        if !effect.str().is_empty() {
            taint_effect(&effect, errors);
        }
    }
}

/// What a taint does.
pub(in crate::rules) fn taint_effect(at: &At<'_, '_>, errors: &mut Errors) {
    at.one_of(errors, &["NoSchedule", "PreferNoSchedule", "NoExecute"]);
}

pub(super) fn topology_spread(at: &At<'_, '_>, errors: &mut Errors) {
    for (i, constraint) in at.items().enumerate() {
        constraint.field("maxSkew").positive(errors);
        let (key, action) = (constraint.field("topologyKey"), constraint.field("whenUnsatisfiable"));
        if key.str().is_empty() {
            key.required(errors, "can not be empty");
        }
        action.one_of(errors, &["DoNotSchedule", "ScheduleAnyway"]);
        let repeats = at.items().skip(i + 1).any(|other| {
            other.field("topologyKey").str() == key.str() && other.field("whenUnsatisfiable").str() == action.str()
        });
        if repeats {
            let pair = format!("{{{}, {}}}", key.str(), action.str());
            errors.duplicate(&constraint.path().child("{topologyKey, whenUnsatisfiable}"), &pair.into());
        }
        let domains = constraint.field("minDomains");
        if domains.exists() {
            domains.positive(errors);
            if action.str() != "DoNotSchedule" {
                let says = format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {}", action.str());
                domains.invalid_int(errors, &says);
            }
        }
        for policy in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            let policy = constraint.field(policy);
            if policy.exists() {
                policy.one_of(errors, &["Honor", "Ignore"]);
            }
        }
        label_keys(&constraint, errors);
        check::label_selector(&constraint.field("labelSelector"), errors);
    }
}

/// Whether a term of a required node affinity only got more requirements.
pub(super) fn narrows(new: &Value, old: &Value) -> bool {
    fn list<'a>(term: &'a Value, key: &str) -> &'a [Value] {
        crate::meta::list_at(term, &[key])
    }
    const KEYS: [&str; 2] = ["matchExpressions", "matchFields"];
    // A term without requirements selects nothing; more of them would widen it.
    if KEYS.iter().all(|key| list(old, key).is_empty()) {
        return KEYS.iter().all(|key| list(new, key).is_empty());
    }
    KEYS.iter().all(|key| {
        let (new, old) = (list(new, key), list(old, key));
        new.get(..old.len()).is_some_and(|kept| kept.iter().zip(old).all(|(n, o)| semantic_eq(n, o)))
    })
}
