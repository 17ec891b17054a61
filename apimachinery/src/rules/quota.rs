//! ResourceQuotas and LimitRanges.

use serde_json::{Map, Value};

use super::at::At;
use super::edit::{fill_entries, items_mut, some_mut};
use super::{WriteContext, names, quantities};
use crate::field::Errors;
use crate::quantity::Quantity;

pub(super) fn limit_range_default(range: &mut Value) {
    let Some(spec) = some_mut(range, "spec") else { return };
    for item in items_mut(spec, "limits") {
        if item.get("type").and_then(Value::as_str) != Some("Container") {
            continue;
        }
        let map = |key: &str| item.get(key).and_then(Value::as_object).cloned().unwrap_or_default();
        let (max, min) = (map("max"), map("min"));
        let (mut default, mut request) = (map("default"), map("defaultRequest"));
        fill_entries(&mut default, &max);
        fill_entries(&mut request, &default);
        fill_entries(&mut request, &min);
        let mut put = |key: &str, entries: Map<String, Value>| {
            if !entries.is_empty() {
                super::edit::set(item, key, entries);
            }
        };
        put("default", default);
        put("defaultRequest", request);
    }
}

const CONTAINER_TYPES: &[&str] = &["Pod", "Container"];

pub(super) fn limit_range_validate(object: &Value, errors: &mut Errors) {
    let range = At::root(object);
    let spec = range.field("spec");
    let mut types = Vec::new();
    for limit in spec.field("limits").items() {
        let kind = limit.field("type");
        let wrong = names::qualified_name(kind.str());
        if wrong.is_empty() && !matches!(kind.str(), "Pod" | "Container" | "PersistentVolumeClaim") {
            if !kind.str().contains('/') {
                kind.invalid_str(errors, "must be a standard limit type or fully qualified");
            }
        } else {
            kind.invalid_each(errors, wrong);
        }
        if types.contains(&kind.str()) {
            kind.duplicate(errors);
        }
        types.push(kind.str());
        limit_item(&limit, errors);
    }
}

fn limit_item(limit: &At<'_, '_>, errors: &mut Errors) {
    let kind = limit.field("type").str();
    let mut names: Vec<&str> = Vec::new();
    for list in ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"] {
        let at = limit.field(list);
        if kind == "Pod" && matches!(list, "default" | "defaultRequest") {
            if !at.is_empty() {
                at.forbidden(errors, "may not be specified when `type` is 'Pod'");
            }
            continue;
        }
        for (name, quantity) in at.entries() {
            if CONTAINER_TYPES.contains(&kind) {
                quantities::container_resource_name(&quantity, name, errors);
            } else {
                quantities::resource_name(&quantity, name, errors);
            }
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    let has_storage = |list: &str| limit.field(list).entry("storage").exists();
    if kind == "PersistentVolumeClaim" && !has_storage("min") && !has_storage("max") {
        let says = "either minimum or maximum storage value is required, but neither was provided";
        limit.field("limits").required(errors, says);
    }
    for name in names {
        limits_agree(limit, name, errors);
    }
}

/// The limits of one resource do not contradict each other.
fn limits_agree(limit: &At<'_, '_>, name: &str, errors: &mut Errors) {
    let is_pod = limit.field("type").str() == "Pod";
    let read = |list: &str| {
        if is_pod && list.starts_with("default") {
            return None;
        }
        quantities::quantity(limit.field(list).entry(name).value())
    };
    let (min, max, ratio) = (read("min"), read("max"), read("maxLimitRequestRatio"));
    let (default, request) = (read("default"), read("defaultRequest"));
    let mut above = |low: (&Option<Quantity>, &str), high: (&Option<Quantity>, &str), list: &str, show_low: bool| {
        let (Some(a), Some(b)) = (low.0, high.0) else { return };
        if a > b {
            let (shown_low, shown_high) = (a.canonical(), b.canonical());
            let says = format!("{} value {shown_low} is greater than {} value {shown_high}", low.1, high.1);
            let list = limit.field(list);
            list.entry(name).invalid_text(errors, if show_low { &shown_low } else { &shown_high }, &says);
        }
    };
    above((&min, "min"), (&max, "max"), "min", true);
    above((&min, "min"), (&request, "default request"), "defaultRequest", false);
    above((&request, "default request"), (&max, "max"), "defaultRequest", true);
    above((&request, "default request"), (&default, "default limit"), "defaultRequest", true);
    above((&min, "min"), (&default, "default"), "default", true);
    above((&default, "default"), (&max, "max"), "default", false);
    let at = limit.field("maxLimitRequestRatio");
    let at = at.entry(name);
    if let Some(ratio) = &ratio {
        let shown = ratio.canonical();
        if ratio.as_f64() < 1.0 {
            at.invalid_text(errors, &shown, &format!("ratio {shown} is less than 1"));
        }
        if let (Some(min), Some(max)) = (&min, &max) {
            let most = max.as_f64() / min.as_f64();
            if ratio.as_f64() > most {
                at.invalid_text(errors, &shown, &format!("ratio {shown} is greater than max/min = {most:.6}"));
            }
        }
    }
    if let (Some(default), Some(request)) = (&default, &request)
        && !quantities::can_overcommit(name)
        && default != request
    {
        let (default, request) = (default.canonical(), request.canonical());
        let says = format!("default value {default} must equal to defaultRequest value {request} in {name}");
        let list = limit.field("defaultRequest");
        list.entry(name).invalid_text(errors, &request, &says);
    }
}

const SCOPES: &[&str] = &[
    "Terminating",
    "NotTerminating",
    "BestEffort",
    "NotBestEffort",
    "PriorityClass",
    "VolumeAttributesClass",
    "CrossNamespacePodAffinity",
];

fn is_quota_resource(name: &str) -> bool {
    name != "storage" && quantities::is_standard(name)
}

/// Whether objects of this scope use the resource.
fn scope_has(scope: &str, resource: &str) -> bool {
    let of_pods = matches!(
        resource,
        "pods" | "cpu" | "memory" | "limits.cpu" | "limits.memory" | "requests.cpu" | "requests.memory"
    );
    match scope {
        "BestEffort" => resource == "pods",
        "VolumeAttributesClass" => matches!(resource, "persistentvolumeclaims" | "requests.storage"),
        scope => of_pods || !SCOPES.contains(&scope),
    }
}

pub(super) fn quota_validate(object: &Value, errors: &mut Errors) {
    let quota = At::root(object);
    quota_spec(&quota.field("spec"), errors);
    quota_status(&quota.field("status"), errors);
}

fn amounts(at: &At<'_, '_>, errors: &mut Errors) {
    for (name, quantity) in at.entries() {
        quantities::resource_name(&quantity, name, errors);
        if !name.contains('/') && !is_quota_resource(name) {
            quantity.invalid_text(errors, name, "must be a standard resource for quota");
        }
        quantities::resource_quantity(&quantity, name, errors);
    }
}

fn quota_status(status: &At<'_, '_>, errors: &mut Errors) {
    amounts(&status.field("hard"), errors);
    amounts(&status.field("used"), errors);
}

fn quota_spec(spec: &At<'_, '_>, errors: &mut Errors) {
    let (hard, scopes) = (spec.field("hard"), spec.field("scopes"));
    amounts(&hard, errors);
    let unfit = |scope: &str| hard.entries().filter(|(r, _)| is_quota_resource(r) && !scope_has(scope, r)).count();
    for scope in scopes.items() {
        if !SCOPES.contains(&scope.str()) {
            scopes.invalid(errors, "unsupported scope");
        }
        for _ in 0..unfit(scope.str()) {
            scopes.invalid(errors, "unsupported scope applied to resource");
        }
    }
    contradicting(scopes.items().map(|s| s.str()).collect(), &scopes, errors);
    let selector = spec.field("scopeSelector");
    let requirements = selector.field("matchExpressions");
    for requirement in requirements.items() {
        let scope = requirement.field("scopeName").str();
        if !SCOPES.contains(&scope) {
            requirements.field("scopeName").invalid_text(errors, scope, "unsupported scope");
        }
        for _ in 0..unfit(scope) {
            requirements.with_value(selector.value()).invalid(errors, "unsupported scope applied to resource");
        }
        scope_requirement(&requirement, &requirements, errors);
    }
    contradicting(
        requirements.items().map(|r| r.field("scopeName").str()).collect(),
        &requirements.with_value(scopes.value()),
        errors,
    );
}

fn scope_requirement(requirement: &At<'_, '_>, shown: &At<'_, '_>, errors: &mut Errors) {
    let (operator, values) = (requirement.field("operator").str(), requirement.field("values"));
    let scope = requirement.field("scopeName").str();
    let only_exists = SCOPES.contains(&scope) && !matches!(scope, "PriorityClass" | "VolumeAttributesClass");
    if only_exists && operator != "Exists" {
        let says = "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity";
        shown.field("operator").invalid_text(errors, operator, says);
    }
    match operator {
        "In" | "NotIn" if values.is_empty() => {
            let says = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
            shown.field("values").required(errors, says);
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            let says = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
            shown.field("values").with_value(values.value()).invalid(errors, says);
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        _ => shown.field("operator").invalid_text(errors, operator, "not a valid selector operator"),
    }
}

fn contradicting(scopes: Vec<&str>, shown: &At<'_, '_>, errors: &mut Errors) {
    for (one, other) in [("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating")] {
        if scopes.contains(&one) && scopes.contains(&other) {
            shown.invalid(errors, "conflicting scopes");
        }
    }
}

pub(super) fn quota_validate_update(new: &Value, old: &Value, context: &WriteContext<'_>, errors: &mut Errors) {
    let (quota, was) = (At::root(new), At::root(old));
    if context.part.is("status") {
        return quota_status(&quota.field("status"), errors);
    }
    let (spec, old_spec) = (quota.field("spec"), was.field("spec"));
    quota_spec(&spec, errors);
    let sorted = |spec: &At<'_, '_>| {
        let mut scopes: Vec<String> = spec.field("scopes").items().map(|s| s.str().to_owned()).collect();
        scopes.sort_unstable();
        scopes.dedup();
        scopes
    };
    if sorted(&spec) != sorted(&old_spec) {
        spec.field("scopes").invalid(errors, "field is immutable");
    }
}

pub(super) fn quota_warnings(new: &Value, old: Option<&Value>) -> Vec<String> {
    if old.is_some() {
        return Vec::new();
    }
    let quota = At::root(new);
    let spec = quota.field("spec");
    let hard = spec.field("hard");
    let mut warnings = Vec::new();
    for resource in ["cpu", "memory", "storage", "ephemeral-storage"] {
        let read = |name: &str| quantities::quantity(hard.entry(name).value());
        let mut name = format!("requests.{resource}");
        let mut request = read(&name);
        if request.is_none() && matches!(resource, "cpu" | "memory") {
            name = resource.to_owned();
            request = read(&name);
        }
        let limit_name = format!("limits.{resource}");
        if let (Some(request), Some(limit)) = (request, read(&limit_name))
            && request > limit
        {
            let (request, limit) = (request.canonical(), limit.canonical());
            warnings.push(format!("ResourceQuota {name} ({request}) should be less than {limit_name} ({limit})"));
        }
    }
    warnings
}
