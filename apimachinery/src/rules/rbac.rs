//! Roles and bindings.

use serde_json::Value;

use super::at::{At, semantic_eq};
use super::edit::{fill_text, items_mut, made_mut};
use super::{WriteContext, check, names};
use crate::field::Errors;

const GROUP: &str = "rbac.authorization.k8s.io";

pub(super) fn role_binding_default(binding: &mut Value) {
    if let Some(role) = made_mut(binding, "roleRef") {
        fill_text(role, "apiGroup", GROUP);
    }
    for subject in items_mut(binding, "subjects") {
        if let Some("User" | "Group") = subject.get("kind").and_then(Value::as_str) {
            fill_text(subject, "apiGroup", GROUP);
        }
    }
}

pub(super) fn role_validate(object: &Value, errors: &mut Errors) {
    for rule in At::root(object).field("rules").items() {
        policy_rule(&rule, true, errors);
    }
}

pub(super) fn cluster_role_validate(object: &Value, errors: &mut Errors) {
    let role = At::root(object);
    for rule in role.field("rules").items() {
        policy_rule(&rule, false, errors);
    }
    let aggregation = role.field("aggregationRule");
    if !aggregation.exists() {
        return;
    }
    let selectors = aggregation.field("clusterRoleSelectors");
    if selectors.is_empty() {
        let says = "at least one clusterRoleSelector required if aggregationRule is non-nil";
        selectors.required(errors, says);
    }
    for selector in selectors.items() {
        let seen = errors.0.len();
        check::label_selector(&selector, errors);
        if errors.0.len() > seen {
            selector.with_value(&Value::Null).invalid(errors, "invalid label selector.");
        }
    }
}

fn policy_rule(rule: &At<'_, '_>, namespaced: bool, errors: &mut Errors) {
    if rule.field("verbs").is_empty() {
        rule.field("verbs").required(errors, "verbs must contain at least one value");
    }
    let urls = rule.field("nonResourceURLs");
    let (groups, resources) = (rule.field("apiGroups"), rule.field("resources"));
    if !urls.is_empty() {
        if namespaced {
            urls.invalid(errors, "namespaced rules cannot apply to non-resource URLs");
        }
        if !groups.is_empty() || !resources.is_empty() || !rule.field("resourceNames").is_empty() {
            urls.invalid(errors, "rules cannot apply to both regular resources and non-resource URLs");
        }
        return;
    }
    if groups.is_empty() {
        groups.required(errors, "resource rules must supply at least one api group");
    }
    if resources.is_empty() {
        resources.required(errors, "resource rules must supply at least one resource");
    }
}

pub(super) fn role_binding_validate(object: &Value, errors: &mut Errors) {
    binding(&At::root(object), true, errors);
}

pub(super) fn cluster_role_binding_validate(object: &Value, errors: &mut Errors) {
    binding(&At::root(object), false, errors);
}

fn binding(binding: &At<'_, '_>, namespaced: bool, errors: &mut Errors) {
    let role = binding.field("roleRef");
    let kinds: &[&str] = if namespaced { &["Role", "ClusterRole"] } else { &["ClusterRole"] };
    role.field("apiGroup").one_of(errors, &[GROUP]);
    role.field("kind").one_of(errors, kinds);
    role.field("name").required_name(errors, names::path_segment);
    for subject in binding.field("subjects").items() {
        let (name, group, namespace) = (subject.field("name"), subject.field("apiGroup"), subject.field("namespace"));
        name.required_text(errors);
        match subject.field("kind").str() {
            "ServiceAccount" => {
                name.optional_name(errors, names::dns1123_subdomain);
                group.one_of(errors, &[""]);
                if !namespaced {
                    namespace.required_text(errors);
                }
            }
            "User" | "Group" => group.one_of(errors, &[GROUP]),
            _ => subject.field("kind").not_supported(errors, &["ServiceAccount", "User", "Group"]),
        }
    }
}

pub(super) fn role_binding_validate_update(new: &Value, old: &Value, _context: &WriteContext<'_>, errors: &mut Errors) {
    role_binding_validate(new, errors);
    role_kept(new, old, errors);
}

pub(super) fn cluster_role_binding_validate_update(
    new: &Value,
    old: &Value,
    _context: &WriteContext<'_>,
    errors: &mut Errors,
) {
    cluster_role_binding_validate(new, errors);
    role_kept(new, old, errors);
}

/// Who may change a binding's subjects has not looked at what another role would let them do.
fn role_kept(new: &Value, old: &Value, errors: &mut Errors) {
    let (binding, was) = (At::root(new), At::root(old));
    let role = binding.field("roleRef");
    if !semantic_eq(role.value(), was.field("roleRef").value()) {
        role.invalid(errors, "cannot change roleRef");
    }
}
