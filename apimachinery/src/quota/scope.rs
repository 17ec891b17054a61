//! Scopes: which pods and claims a quota is about.

use serde_json::Value;

use crate::meta;
use crate::rules::qos_class;

/// A scope with what must hold of its value.
pub(super) struct Requirement<'a> {
    scope: &'a str,
    operator: &'a str,
    values: &'a [Value],
}

impl Requirement<'_> {
    /// Whether one of `present` (none of which is empty) is as required.
    fn holds(&self, present: &[&str]) -> bool {
        let named = |value: &&str| self.values.iter().any(|v| v == value);
        match self.operator {
            "Exists" => !present.is_empty(),
            "DoesNotExist" => present.is_empty(),
            "In" => present.iter().any(named),
            "NotIn" => present.is_empty() || present.iter().any(|value| !named(value)),
            _ => false,
        }
    }
}

/// The scopes of a quota: those of `scopes` must exist, those of `scopeSelector` hold.
pub(super) fn requirements(quota: &Value) -> impl Iterator<Item = Requirement<'_>> {
    let scopes = meta::list_at(quota, &["spec", "scopes"]).iter().filter_map(Value::as_str);
    let selected = meta::list_at(quota, &["spec", "scopeSelector", "matchExpressions"]);
    scopes.map(|scope| Requirement { scope, operator: "Exists", values: &[] }).chain(selected.iter().map(
        |requirement| Requirement {
            scope: meta::str_at(requirement, &["scopeName"]),
            operator: meta::str_at(requirement, &["operator"]),
            values: meta::list_at(requirement, &["values"]),
        },
    ))
}

/// Whether a pod is in a scope.
pub(super) fn pod_in(requirement: &Requirement<'_>, pod: &Value) -> bool {
    match requirement.scope {
        "Terminating" => terminating(pod),
        "NotTerminating" => !terminating(pod),
        "BestEffort" => best_effort(pod),
        "NotBestEffort" => !best_effort(pod),
        "PriorityClass" => requirement.holds(&non_empty([meta::str_at(pod, &["spec", "priorityClassName"])])),
        "CrossNamespacePodAffinity" => crosses_namespaces(pod),
        _ => false,
    }
}

/// Whether a claim is in a scope.
pub(super) fn claim_in(requirement: &Requirement<'_>, claim: &Value) -> bool {
    requirement.scope == "VolumeAttributesClass" && requirement.holds(&attributes_classes(claim))
}

/// Whether a pod is to end by itself.
pub(super) fn terminating(pod: &Value) -> bool {
    meta::at(pod, &["spec", "activeDeadlineSeconds"]).and_then(Value::as_i64).is_some_and(|s| s >= 0)
}

fn best_effort(pod: &Value) -> bool {
    match meta::str_at(pod, &["status", "qosClass"]) {
        "" => qos_class(pod) == "BestEffort",
        class => class == "BestEffort",
    }
}

fn crosses_namespaces(pod: &Value) -> bool {
    let crosses = |term: &Value| {
        !meta::list_at(term, &["namespaces"]).is_empty() || term.get("namespaceSelector").is_some_and(|s| !s.is_null())
    };
    ["podAffinity", "podAntiAffinity"].iter().any(|kind| {
        let list = |name| meta::list_at(pod, &["spec", "affinity", kind, name]);
        list("requiredDuringSchedulingIgnoredDuringExecution").iter().any(crosses)
            || list("preferredDuringSchedulingIgnoredDuringExecution")
                .iter()
                .any(|weighted| weighted.get("podAffinityTerm").is_some_and(crosses))
    })
}

/// The volume attributes classes that a claim has, is given, or asks for.
pub(super) fn attributes_classes(claim: &Value) -> Vec<&str> {
    let mut classes = non_empty([
        meta::str_at(claim, &["spec", "volumeAttributesClassName"]),
        meta::str_at(claim, &["status", "currentVolumeAttributesClassName"]),
        meta::str_at(claim, &["status", "modifyVolumeStatus", "targetVolumeAttributesClassName"]),
    ]);
    classes.sort_unstable();
    classes.dedup();
    classes
}

fn non_empty<const N: usize>(values: [&str; N]) -> Vec<&str> {
    values.into_iter().filter(|v| !v.is_empty()).collect()
}
