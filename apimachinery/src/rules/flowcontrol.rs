//! FlowSchemas and PriorityLevelConfigurations.

use serde_json::{Value, json};

use super::at::{At, semantic_eq};
use super::edit::{fill, fill_number, keep_metadata, made_mut, remove, some_mut};
use super::{WriteContext, names};
use crate::field::Errors;
use crate::meta;

pub(super) fn flow_schema_default(schema: &mut Value) {
    if let Some(spec) = made_mut(schema, "spec") {
        fill_number(spec, "matchingPrecedence", 1000);
    }
}

pub(super) fn priority_level_default(level: &mut Value) {
    let Some(spec) = some_mut(level, "spec") else { return };
    if let Some(exempt) = some_mut(spec, "exempt") {
        fill(exempt, "nominalConcurrencyShares", 0);
        fill(exempt, "lendablePercent", 0);
    }
    if let Some(limited) = some_mut(spec, "limited") {
        fill(limited, "nominalConcurrencyShares", 30);
        fill(limited, "lendablePercent", 0);
        if let Some(queuing) = some_mut(limited, "limitResponse").and_then(|r| some_mut(r, "queuing")) {
            fill_number(queuing, "handSize", 8);
            fill_number(queuing, "queues", 64);
            fill_number(queuing, "queueLengthLimit", 50);
        }
    }
}

const VERBS: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"];

/// The two schemas without which no request could be told apart are as they are.
fn fixed_schema(name: &str) -> Option<Value> {
    let everything = |groups: &[&str]| {
        let subjects: Vec<Value> = groups.iter().map(|g| json!({"kind": "Group", "group": {"name": g}})).collect();
        json!([{
            "subjects": subjects,
            "resourceRules": [{
                "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": true,
            }],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
        }])
    };
    match name {
        "exempt" => Some(json!({
            "matchingPrecedence": 1,
            "priorityLevelConfiguration": {"name": "exempt"},
            "rules": everything(&["system:masters"]),
        })),
        "catch-all" => Some(json!({
            "matchingPrecedence": 10000,
            "priorityLevelConfiguration": {"name": "catch-all"},
            "distinguisherMethod": {"type": "ByUser"},
            "rules": everything(&["system:unauthenticated", "system:authenticated"]),
        })),
        _ => None,
    }
}

fn fixed_level(name: &str) -> Option<Value> {
    match name {
        "exempt" => Some(json!({"type": "Exempt"})),
        "catch-all" => Some(json!({
            "type": "Limited",
            "limited": {"nominalConcurrencyShares": 5, "lendablePercent": 0, "limitResponse": {"type": "Reject"}},
        })),
        _ => None,
    }
}

pub(super) fn flow_schema_validate(object: &Value, errors: &mut Errors) {
    const PRECEDENCE_MAX: i64 = 10000;
    let schema = At::root(object);
    let (spec, name) = (schema.field("spec"), meta::name(object));
    let precedence = spec.field("matchingPrecedence");
    if precedence.int() <= 0 {
        precedence.invalid_int(errors, "must be a positive value");
    }
    if precedence.int() > PRECEDENCE_MAX {
        precedence.invalid_int(errors, &format!("must not be greater than {PRECEDENCE_MAX}"));
    }
    if precedence.int() == 1 && name != "exempt" {
        precedence.invalid_int(errors, "only the schema named 'exempt' may have matchingPrecedence 1");
    }
    let method = spec.field("distinguisherMethod");
    if method.exists() && !matches!(method.field("type").str(), "ByNamespace" | "ByUser") {
        let at = method.field("type");
        errors.not_supported(&at.path(), method.value(), &["ByNamespace", "ByUser"]);
    }
    let level = spec.field("priorityLevelConfiguration");
    let level = level.field("name");
    if level.is_empty() {
        level.required(errors, "must reference a priority level");
    }
    level.optional_name(errors, names::dns1123_subdomain);
    for rule in spec.field("rules").items() {
        flow_rule(&rule, errors);
    }
    if fixed_schema(name).is_some_and(|fixed| !semantic_eq(&fixed, spec.value())) {
        spec.invalid(errors, &format!("spec of '{name}' must equal the fixed value"));
    }
    typed_conditions(&schema, errors);
}

/// Conditions of which each has a type of its own.
fn typed_conditions(object: &At<'_, '_>, errors: &mut Errors) {
    let mut seen = Vec::new();
    for condition in object.field("status").field("conditions").items() {
        let kind = condition.field("type").str();
        let path = format!("{}.type", condition.path());
        let at = At::named(condition.field("type").value(), &path);
        if seen.contains(&kind) {
            at.duplicate(errors);
        }
        seen.push(kind);
        at.required_text(errors);
    }
}

fn flow_rule(rule: &At<'_, '_>, errors: &mut Errors) {
    let subjects = rule.field("subjects");
    if subjects.is_empty() {
        subjects.required(errors, "subjects must contain at least one value");
    }
    for subject in subjects.items() {
        flow_subject(&subject, errors);
    }
    let (resources, others) = (rule.field("resourceRules"), rule.field("nonResourceRules"));
    if resources.is_empty() && others.is_empty() {
        rule.required(errors, "at least one of resourceRules and nonResourceRules has to be non-empty");
    }
    for rule in resources.items() {
        verbs(&rule.field("verbs"), errors);
        let (groups, names_) = (rule.field("apiGroups"), rule.field("resources"));
        all_or_some(&groups, "resource rules must supply at least one api group", "api groups", errors);
        all_or_some(&names_, "resource rules must supply at least one resource", "resources", errors);
        let namespaces = rule.field("namespaces");
        if namespaces.is_empty() && !rule.field("clusterScope").bool() {
            let says = "resource rules that are not cluster scoped must supply at least one namespace";
            namespaces.required(errors, says);
        } else if has_wildcard(&namespaces) {
            if namespaces.len() > 1 {
                namespaces.invalid(errors, "if '*' is present, must not specify other namespaces");
            }
        } else {
            for namespace in namespaces.items() {
                for detail in names::dns1123_label(namespace.str()) {
                    let says = format!("each member of this list must be '*' or a DNS-1123 label; {detail}");
                    namespace.invalid_str(errors, &says);
                }
            }
        }
    }
    for rule in others.items() {
        verbs(&rule.field("verbs"), errors);
        let urls = rule.field("nonResourceURLs");
        all_or_some(&urls, "nonResourceURLs must contain at least one value", "non-resource URLs", errors);
        if !has_wildcard(&urls) {
            for url in urls.items() {
                if let Some(says) = url_path(url.str()) {
                    url.invalid_str(errors, says);
                }
            }
        }
    }
}

fn has_wildcard(list: &At<'_, '_>) -> bool {
    list.items().any(|item| item.str() == "*")
}

/// There is something, and `*` stands alone.
fn all_or_some(list: &At<'_, '_>, none: &str, what: &str, errors: &mut Errors) {
    if list.is_empty() {
        list.required(errors, none);
    } else if list.len() > 1 && has_wildcard(list) {
        list.invalid(errors, &format!("if '*' is present, must not specify other {what}"));
    }
}

fn verbs(list: &At<'_, '_>, errors: &mut Errors) {
    all_or_some(list, "verbs must contain at least one value", "verbs", errors);
    if !has_wildcard(list) && list.items().any(|verb| !VERBS.contains(&verb.str())) {
        errors.not_supported(&list.path(), list.value(), VERBS);
    }
}

/// What is wrong with a path of which only the end may be a wildcard.
fn url_path(path: &str) -> Option<&'static str> {
    match path {
        "" => Some("must not be empty"),
        "/" => None,
        p if !p.starts_with('/') => Some("must start with slash"),
        p if p.contains(' ') => Some("must not contain white-space"),
        p if p.contains("//") => Some("must not contain double slash"),
        p if p.contains('*') && (p.matches('*').count() > 1 || !p.ends_with("/*")) => {
            Some("wildcard can only do suffix matching")
        }
        _ => None,
    }
}

fn flow_subject(subject: &At<'_, '_>, errors: &mut Errors) {
    const KINDS: &[(&str, &str)] = &[("ServiceAccount", "serviceAccount"), ("User", "user"), ("Group", "group")];
    let kind = subject.field("kind");
    let Some((_, own)) = KINDS.iter().find(|(name, _)| *name == kind.str()) else {
        kind.not_supported(errors, &["Group", "ServiceAccount", "User"]);
        return;
    };
    let at = subject.field(own);
    if !at.exists() {
        at.required(errors, &format!("{own} is required when subject kind is '{}'", kind.str()));
    } else if *own == "serviceAccount" {
        let (name, namespace) = (at.field("name"), at.field("namespace"));
        if name.str() != "*" {
            name.required_name(errors, names::dns1123_subdomain);
        }
        if namespace.is_empty() {
            namespace.required(errors, "must specify namespace for service account");
        }
        namespace.optional_name(errors, names::dns1123_label);
    } else {
        at.field("name").required_text(errors);
    }
    for (name, field) in KINDS.iter().filter(|(_, field)| field != own) {
        let other = subject.field(field);
        if other.exists() {
            other.forbidden(errors, &format!("{field} is forbidden when subject kind is not '{name}'"));
        }
    }
}

pub(super) fn priority_level_validate(object: &Value, errors: &mut Errors) {
    const ROUND_TRIP: &str = "flowcontrol.k8s.io/concurrency-shares-defaults-to-zero";
    let level = At::root(object);
    let (spec, name) = (level.field("spec"), meta::name(object));
    let metadata = level.field("metadata");
    let annotations = metadata.field("annotations");
    if annotations.entry(ROUND_TRIP).exists() {
        annotations.forbidden(errors, &format!("annotation '{ROUND_TRIP}' is forbidden"));
    }
    level_spec(&spec, name, errors);
    if let Some(fixed) = fixed_level(name) {
        let mut mine = spec.value().clone();
        let except = if name == "exempt" { " except the 'spec.exempt' field" } else { "" };
        if name == "exempt" {
            remove(&mut mine, "exempt");
        }
        if !semantic_eq(&fixed, &mine) {
            spec.invalid(errors, &format!("spec of '{name}'{except} must equal the fixed value"));
        }
    }
    typed_conditions(&level, errors);
}

fn level_spec(spec: &At<'_, '_>, name: &str, errors: &mut Errors) {
    let kind = spec.field("type");
    let (exempt, limited) = (spec.field("exempt"), spec.field("limited"));
    if (name == "exempt") != (kind.str() == "Exempt") {
        kind.invalid_str(errors, "must be 'Exempt' if and only if `name` is 'exempt'");
    }
    match kind.str() {
        "Exempt" => {
            if limited.exists() {
                limited.forbidden(errors, "must be nil if the type is not Limited");
            }
            if exempt.exists() {
                shares(&exempt, errors);
            }
        }
        "Limited" => {
            if exempt.exists() {
                exempt.forbidden(errors, "must be nil if the type is Limited");
            }
            if !limited.exists() {
                limited.required(errors, "must not be empty when type is Limited");
                return;
            }
            shares(&limited, errors);
            limit_response(&limited.field("limitResponse"), errors);
            let borrowing = limited.field("borrowingLimitPercent");
            if borrowing.int() < 0 {
                borrowing.invalid_int(errors, "if specified, must be a non-negative integer");
            }
        }
        _ => kind.required_one_of(errors, &["Exempt", "Limited"], ""),
    }
}

fn shares(level: &At<'_, '_>, errors: &mut Errors) {
    let (shares, lendable) = (level.field("nominalConcurrencyShares"), level.field("lendablePercent"));
    if shares.int() < 0 {
        shares.invalid_int(errors, "must be a non-negative integer");
    }
    if !(0..=100).contains(&lendable.int()) {
        lendable.invalid_int(errors, &names::between(0, 100));
    }
}

fn limit_response(response: &At<'_, '_>, errors: &mut Errors) {
    const QUEUES_MAX: i64 = 10_000_000;
    const HASH_BITS: u32 = 60;
    let (kind, queuing) = (response.field("type"), response.field("queuing"));
    match (kind.str(), queuing.exists()) {
        ("Reject", true) => queuing.forbidden(errors, "must be nil if limited.limitResponse.type is not Limited"),
        ("Queue", false) => queuing.required(errors, "must not be empty if limited.limitResponse.type is Limited"),
        ("Reject" | "Queue", _) => {}
        _ => kind.required_one_of(errors, &["Queue", "Reject"], ""),
    }
    if kind.str() != "Queue" || !queuing.exists() {
        return;
    }
    let (length, queues, hand) =
        (queuing.field("queueLengthLimit"), queuing.field("queues"), queuing.field("handSize"));
    let must_be_positive = |at: &At<'_, '_>, errors: &mut Errors| {
        if at.int() <= 0 {
            at.invalid_int(errors, "must be positive");
        }
        at.int() > 0
    };
    must_be_positive(&length, errors);
    if must_be_positive(&queues, errors) && queues.int() > QUEUES_MAX {
        queues.invalid_int(errors, &format!("must not be greater than {QUEUES_MAX}"));
    }
    if must_be_positive(&hand, errors) {
        let (deck, dealt) = (queues.int(), hand.int());
        if dealt > deck {
            hand.invalid_int(errors, &format!("should not be greater than queues ({deck})"));
        } else if hand_bits(deck, dealt) > HASH_BITS {
            hand.invalid_int(
                errors,
                &format!(
                    "required entropy bits of deckSize {deck} and handSize {dealt} should not be greater than {HASH_BITS}"
                ),
            );
        }
    }
}

/// How many bits of a hash it takes to deal `hand` cards of `deck`.
fn hand_bits(deck: i64, hand: i64) -> u32 {
    let mut bits = 0.0;
    for dealt in 0..hand {
        bits += ((deck - dealt) as f64).log2();
        if bits > 1000.0 {
            break;
        }
    }
    bits.ceil() as u32
}

/// A write of the status changes nothing else, not even labels.
pub(super) fn flow_prepare_update(new: &mut Value, old: &Value, context: &WriteContext<'_>) {
    if context.part.is("status") {
        keep_metadata(new, old);
    }
}

pub(super) fn flow_schema_validate_update(new: &Value, _old: &Value, context: &WriteContext<'_>, errors: &mut Errors) {
    if context.part.is("status") {
        typed_conditions(&At::root(new), errors);
    } else {
        flow_schema_validate(new, errors);
    }
}

pub(super) fn priority_level_validate_update(
    new: &Value,
    _old: &Value,
    context: &WriteContext<'_>,
    errors: &mut Errors,
) {
    if context.part.is("status") {
        typed_conditions(&At::root(new), errors);
    } else {
        priority_level_validate(new, errors);
    }
}
