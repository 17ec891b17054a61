//! Admission policies and their bindings. What they say in CEL is not looked at here.

use serde_json::Value;

use super::admission::{
    FAILURE_POLICIES, MATCH_POLICIES, REINVOCATION_POLICIES, match_conditions, match_default, rule,
};
use super::at::{At, semantic_eq};
use super::edit::{fill, items_mut, keep_metadata, made_mut, some_mut};
use super::{WriteContext, check, names};
use crate::field::Errors;
use crate::meta;

fn resources_default(resources: &mut Value) {
    match_default(resources);
    for rules in ["resourceRules", "excludeResourceRules"] {
        for rule in items_mut(resources, rules) {
            fill(rule, "scope", "*");
        }
    }
}

pub(super) fn policy_default(policy: &mut Value) {
    let Some(spec) = made_mut(policy, "spec") else { return };
    fill(spec, "failurePolicy", "Fail");
    if let Some(constraints) = some_mut(spec, "matchConstraints") {
        resources_default(constraints);
    }
}

pub(super) fn policy_binding_default(binding: &mut Value) {
    if let Some(resources) = some_mut(binding, "spec").and_then(|spec| some_mut(spec, "matchResources")) {
        resources_default(resources);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Policy {
    Validating,
    Mutating,
}

pub(super) fn validating_policy_validate(object: &Value, errors: &mut Errors) {
    policy(&At::root(object), Policy::Validating, true, errors);
}

pub(super) fn mutating_policy_validate(object: &Value, errors: &mut Errors) {
    policy(&At::root(object), Policy::Mutating, true, errors);
}

pub(super) fn validating_policy_prepare_update(new: &mut Value, old: &Value, context: &WriteContext<'_>) {
    if context.part.is("status") {
        keep_metadata(new, old);
    }
}

pub(super) fn validating_policy_validate_update(
    new: &Value,
    old: &Value,
    context: &WriteContext<'_>,
    errors: &mut Errors,
) {
    if context.part.is("status") {
        policy_status(&At::root(new).field("status"), errors);
    } else {
        policy(&At::root(new), Policy::Validating, conditions_change(new, old), errors);
    }
}

pub(super) fn mutating_policy_validate_update(
    new: &Value,
    old: &Value,
    _context: &WriteContext<'_>,
    errors: &mut Errors,
) {
    policy(&At::root(new), Policy::Mutating, conditions_change(new, old), errors);
}

/// Conditions that were there before are not looked at again.
fn conditions_change(new: &Value, old: &Value) -> bool {
    ["paramKind", "matchConditions"].iter().any(|field| {
        let read = |policy: &Value| meta::at(policy, &["spec", field]).cloned().unwrap_or_default();
        !semantic_eq(&read(new), &read(old))
    })
}

fn policy_status(status: &At<'_, '_>, errors: &mut Errors) {
    let checking = status.field("typeChecking");
    for warning in checking.field("expressionWarnings").items() {
        warning.field("warning").required_text(errors);
        let reference = warning.field("fieldRef");
        if reference.str().trim().is_empty() {
            reference.required(errors, "");
        }
    }
    check::conditions(&status.field("conditions"), errors);
}

fn policy(object: &At<'_, '_>, kind: Policy, look_at_conditions: bool, errors: &mut Errors) {
    let spec = object.field("spec");
    let (failure, parameters, constraints) =
        (spec.field("failurePolicy"), spec.field("paramKind"), spec.field("matchConstraints"));
    if failure.exists() {
        failure.one_of(errors, FAILURE_POLICIES);
    } else {
        failure.required(errors, "");
    }
    if parameters.exists() {
        parameter_kind(&parameters, errors);
    }
    if constraints.exists() {
        match_resources(&constraints, errors);
        let rules = constraints.field("resourceRules");
        if rules.is_empty() {
            rules.required(errors, "");
        }
        if kind == Policy::Mutating {
            mutable_operations(&rules, errors);
        }
    } else {
        constraints.required(errors, "");
    }
    if look_at_conditions {
        match_conditions(&spec.field("matchConditions"), errors);
    }
    for variable in spec.field("variables").items() {
        let (name, expression) = (variable.field("name"), variable.field("expression"));
        if name.str().trim().is_empty() {
            name.required(errors, "name is not specified");
        } else if !is_identifier(name.str()) {
            name.invalid_str(errors, "must be a valid CEL identifier");
        }
        if expression.str().trim().is_empty() {
            expression.required(errors, "expression is not specified");
        }
    }
    match kind {
        Policy::Validating => validations(object, &spec, errors),
        Policy::Mutating => mutations(&spec, errors),
    }
}

fn is_identifier(name: &str) -> bool {
    const RESERVED: &[&str] = &[
        "true",
        "false",
        "null",
        "in",
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
        "loop",
        "package",
        "namespace",
        "return",
        "var",
        "void",
        "while",
    ];
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && !RESERVED.contains(&name)
}

fn validations(object: &At<'_, '_>, spec: &At<'_, '_>, errors: &mut Errors) {
    const ANNOTATIONS_MAX: usize = 20;
    const EXPRESSION_MAX: usize = 5 * 1024;
    const NONE: &str = "validations or auditAnnotations must contain at least one item";
    let (validations, annotations) = (spec.field("validations"), spec.field("auditAnnotations"));
    if validations.is_empty() && annotations.is_empty() {
        validations.required(errors, NONE);
        annotations.required(errors, NONE);
        return;
    }
    for validation in validations.items() {
        let (message, reason) = (validation.field("message"), validation.field("reason"));
        let expression = validation.field("expression");
        if expression.str().trim().is_empty() {
            expression.required(errors, "expression is not specified");
        }
        for field in ["messageExpression", "message"] {
            let at = validation.field(field);
            if !at.is_empty() && at.str().trim().is_empty() {
                at.invalid_str(errors, "must be non-empty if specified");
            }
        }
        if message.str().trim().contains(['\n', '\r']) {
            message.invalid_str(errors, "must not contain line breaks");
        }
        if reason.exists() {
            reason.one_of(errors, &["Forbidden", "Invalid", "RequestEntityTooLarge"]);
        }
    }
    if annotations.len() > ANNOTATIONS_MAX {
        annotations.invalid(errors, &format!("must not have more than {ANNOTATIONS_MAX} auditAnnotations"));
    }
    let policy = meta::name(object.value());
    let mut seen = Vec::new();
    for annotation in annotations.items() {
        let (key, expression) = (annotation.field("key"), annotation.field("valueExpression"));
        let full = format!("{policy}/{}", key.str());
        for detail in names::qualified_name(&full) {
            key.invalid_text(errors, &full, &detail);
        }
        let length = expression.str().trim().len();
        if length == 0 {
            expression.required(errors, "valueExpression is not specified");
        } else if length > EXPRESSION_MAX {
            expression.required(errors, &format!("must not exceed {EXPRESSION_MAX} bytes in length"));
        }
        if seen.contains(&key.str()) {
            key.duplicate(errors);
        }
        seen.push(key.str());
    }
}

fn mutations(spec: &At<'_, '_>, errors: &mut Errors) {
    let mutations = spec.field("mutations");
    if mutations.is_empty() {
        mutations.required(errors, "mutations must contain at least one item");
    }
    for mutation in mutations.items() {
        let kind = mutation.field("patchType");
        let (own, other) = match kind.str() {
            "JSONPatch" => ("jsonPatch", "applyConfiguration"),
            "ApplyConfiguration" => ("applyConfiguration", "jsonPatch"),
            _ => {
                kind.required_one_of(errors, &["ApplyConfiguration", "JSONPatch"], "");
                continue;
            }
        };
        let (patch, unwanted) = (mutation.field(own), mutation.field(other));
        if !patch.exists() {
            patch.required(errors, &format!("must be specified when patchType is {}", kind.str()));
        } else if patch.field("expression").str().trim().is_empty() {
            patch.field("expression").required(errors, "");
        }
        if unwanted.exists() {
            let says = format!("must not be specified when patchType is {}", kind.str());
            unwanted.invalid_text(errors, &format!("{{{other}}}"), &says);
        }
    }
    spec.field("reinvocationPolicy").required_one_of(errors, REINVOCATION_POLICIES, "");
}

/// What is deleted cannot be changed.
fn mutable_operations(rules: &At<'_, '_>, errors: &mut Errors) {
    let shown = rules.field("operations");
    for rule in rules.items() {
        for operation in rule.field("operations").items() {
            shown.with_value(operation.value()).one_of(errors, &["*", "CONNECT", "CREATE", "UPDATE"]);
        }
    }
}

fn parameter_kind(at: &At<'_, '_>, errors: &mut Errors) {
    let (version, kind) = (at.field("apiVersion"), at.field("kind"));
    let text = version.str();
    match text.matches('/').count() {
        _ if text.is_empty() => version.required(errors, ""),
        0 | 1 => {
            let (group, name) = if text == "/" { ("", "") } else { text.split_once('/').unwrap_or(("", text)) };
            let wrong = names::dns1123_subdomain(group);
            if !group.is_empty() && !wrong.is_empty() {
                version.invalid_text(errors, group, &wrong.join(","));
            }
            let wrong = names::dns1035_label(name);
            if name.is_empty() {
                version.invalid_str(errors, "version must be specified");
            } else if !wrong.is_empty() {
                version.invalid_text(errors, name, &wrong.join(","));
            }
        }
        _ => version.invalid_str(errors, &format!("unexpected GroupVersion string: {text}")),
    }
    let wrong = names::dns1035_label(&kind.str().to_lowercase());
    if kind.is_empty() {
        kind.required(errors, "");
    } else if !wrong.is_empty() {
        kind.invalid_str(errors, &format!("may have mixed case, but should otherwise match: {}", wrong.join(",")));
    }
}

fn match_resources(at: &At<'_, '_>, errors: &mut Errors) {
    let policy = at.field("matchPolicy");
    if policy.exists() {
        policy.one_of(errors, MATCH_POLICIES);
    } else {
        policy.required(errors, "");
    }
    for selector in ["namespaceSelector", "objectSelector"] {
        let selector = at.field(selector);
        if selector.exists() {
            check::label_selector(&selector, errors);
        } else {
            selector.required(errors, "");
        }
    }
    for list in ["resourceRules", "excludeResourceRules"] {
        for one in at.field(list).items() {
            let mut seen = Vec::new();
            for name in one.field("resourceNames").items() {
                name.invalid_each(errors, names::path_segment(name.str()));
                if seen.contains(&name.str()) {
                    name.duplicate(errors);
                }
                seen.push(name.str());
            }
            rule(&one, errors);
        }
    }
}

pub(super) fn validating_binding_validate(object: &Value, errors: &mut Errors) {
    let binding = At::root(object);
    let spec = binding.field("spec");
    binding_spec(&spec, errors);
    let actions = spec.field("validationActions");
    let mut seen = Vec::new();
    for action in actions.items() {
        action.one_of(errors, &["Audit", "Deny", "Warn"]);
        if seen.contains(&action.str()) {
            action.duplicate(errors);
        }
        seen.push(action.str());
    }
    if seen.contains(&"Deny") && seen.contains(&"Warn") {
        let says = "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)";
        actions.invalid(errors, says);
    }
    if seen.is_empty() {
        actions.required(errors, "at least one validation action is required");
    }
}

pub(super) fn mutating_binding_validate(object: &Value, errors: &mut Errors) {
    let binding = At::root(object);
    let spec = binding.field("spec");
    binding_spec(&spec, errors);
    let resources = spec.field("matchResources");
    mutable_operations(&resources.field("resourceRules"), errors);
}

fn binding_spec(spec: &At<'_, '_>, errors: &mut Errors) {
    spec.field("policyName").required_name(errors, names::dns1123_subdomain);
    let parameters = spec.field("paramRef");
    if parameters.exists() {
        const ONE: &str = "name and selector are mutually exclusive";
        let (name, selector) = (parameters.field("name"), parameters.field("selector"));
        name.optional_name(errors, names::path_segment);
        check::label_selector(&selector, errors);
        if !name.is_empty() && selector.exists() {
            name.forbidden(errors, ONE);
            selector.forbidden(errors, ONE);
        } else if name.is_empty() && !selector.exists() {
            parameters.required(errors, "one of name or selector must be specified");
        }
        parameters.field("parameterNotFoundAction").required_one_of(errors, &["Deny", "Allow"], "");
    }
    let resources = spec.field("matchResources");
    if resources.exists() {
        match_resources(&resources, errors);
    }
}
