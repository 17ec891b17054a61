//! HorizontalPodAutoscalers, in `autoscaling/v2`; defaults also of those that come in `autoscaling/v1`.

use serde_json::{Value, json};

use super::at::At;
use super::edit::{fill, made_mut, set, some_mut};
use super::{WriteContext, names, quantities};
use crate::field::Errors;

const CPU_UTILIZATION_PERCENT: i64 = 80;

/// In `v1`, metrics other than the use of processors lie here.
const V1_METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";

pub(super) fn autoscaler_default(autoscaler: &mut Value) {
    let v1 = autoscaler["apiVersion"] == "autoscaling/v1";
    let other_metrics = autoscaler["metadata"]["annotations"].get(V1_METRICS).is_some();
    let Some(spec) = made_mut(autoscaler, "spec") else { return };
    fill(spec, "minReplicas", 1);
    if v1 {
        if !other_metrics {
            fill(spec, "targetCPUUtilizationPercentage", CPU_UTILIZATION_PERCENT);
        }
        return;
    }
    if spec.get("metrics").and_then(Value::as_array).is_none_or(Vec::is_empty) {
        let target = json!({"type": "Utilization", "averageUtilization": CPU_UTILIZATION_PERCENT});
        set(spec, "metrics", json!([{"type": "Resource", "resource": {"name": "cpu", "target": target}}]));
    }
    let Some(behavior) = some_mut(spec, "behavior") else { return };
    let all = json!({"type": "Percent", "value": 100, "periodSeconds": 15});
    if let Some(up) = made_mut(behavior, "scaleUp") {
        fill(up, "stabilizationWindowSeconds", 0);
        fill(up, "selectPolicy", "Max");
        fill(up, "policies", json!([{"type": "Pods", "value": 4, "periodSeconds": 15}, all]));
    }
    if let Some(down) = made_mut(behavior, "scaleDown") {
        fill(down, "selectPolicy", "Max");
        fill(down, "policies", json!([all]));
    }
}

/// What the API version of an object that is referred to may lack.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    Any,
    MayBeCore,
    HasGroup,
}

pub(super) fn autoscaler_validate(object: &Value, errors: &mut Errors) {
    let autoscaler = At::root(object);
    let spec = autoscaler.field("spec");
    autoscaler_spec(&spec, 1, target_version(&spec), Version::MayBeCore, errors);
}

/// ReplicationControllers are the one kind of the core group that scales.
fn target_version(spec: &At<'_, '_>) -> Version {
    match spec.field("scaleTargetRef").field("kind").str() {
        "ReplicationController" => Version::MayBeCore,
        _ => Version::HasGroup,
    }
}

pub(super) fn autoscaler_validate_update(new: &Value, old: &Value, context: &WriteContext<'_>, errors: &mut Errors) {
    let (autoscaler, was) = (At::root(new), At::root(old));
    if context.part.is("status") {
        let status = autoscaler.field("status");
        status.field("currentReplicas").non_negative(errors);
        status.field("desiredReplicas").non_negative(errors);
        return;
    }
    let (spec, old_spec) = (autoscaler.field("spec"), was.field("spec"));
    let (target, old_target) = (spec.field("scaleTargetRef"), old_spec.field("scaleTargetRef"));
    let least = if old_spec.field("minReplicas").opt_int() == Some(0) { 0 } else { 1 };
    let same = ["apiVersion", "kind"].iter().all(|f| target.field(f).str() == old_target.field(f).str());
    let version = if same { Version::Any } else { target_version(&spec) };
    let was_wrong = old_spec.field("metrics").items().any(|metric| {
        let object = metric.field("object").field("describedObject").value();
        metric.field("type").str() == "Object" && At::root(object).field("apiVersion").str().matches('/').count() > 1
    });
    let of_objects = if was_wrong { Version::Any } else { Version::MayBeCore };
    autoscaler_spec(&spec, least, version, of_objects, errors);
}

fn autoscaler_spec(spec: &At<'_, '_>, least: i64, target: Version, of_objects: Version, errors: &mut Errors) {
    let (min, max) = (spec.field("minReplicas"), spec.field("maxReplicas"));
    if min.exists() && min.int() < least {
        min.invalid_int(errors, &format!("must be greater than or equal to {least}"));
    }
    match max.int() {
        0 => max.required(errors, "must be set and greater than 0"),
        n if n < 0 => max.invalid_int(errors, "must be greater than or equal to 1"),
        _ => {}
    }
    if min.exists() && max.int() < min.int() {
        max.invalid_int(errors, "must be greater than or equal to `minReplicas`");
    }
    reference(&spec.field("scaleTargetRef"), target, errors);
    let metrics = spec.field("metrics");
    for one in metrics.items() {
        metric(&one, of_objects, errors);
    }
    let sleeps_on = |m: At<'_, '_>| matches!(m.field("type").str(), "Object" | "External");
    if min.opt_int() == Some(0) && !metrics.items().any(sleeps_on) {
        let says = "must specify at least one Object or External metric to support scaling to zero replicas";
        metrics.forbidden(errors, says);
    }
    let behavior = spec.field("behavior");
    for direction in ["scaleUp", "scaleDown"] {
        scaling_rules(&behavior.field(direction), errors);
    }
}

fn reference(at: &At<'_, '_>, version: Version, errors: &mut Errors) {
    at.field("kind").required_name(errors, names::path_segment);
    at.field("name").required_name(errors, names::path_segment);
    let api_version = at.field("apiVersion");
    let text = api_version.str();
    if version == Version::Any {
        return;
    }
    if text != "/" && text.matches('/').count() > 1 {
        api_version.invalid_str(errors, &format!("unexpected GroupVersion string: {text}"));
    } else if version == Version::HasGroup && text.split_once('/').is_none_or(|(group, _)| group.is_empty()) {
        api_version.invalid_str(errors, "apiVersion must specify API group");
    }
}

fn scaling_rules(rules: &At<'_, '_>, errors: &mut Errors) {
    const WINDOW_MAX: i64 = 3600;
    const PERIOD_MAX: i64 = 1800;
    if !rules.exists() {
        return;
    }
    let (window, select) = (rules.field("stabilizationWindowSeconds"), rules.field("selectPolicy"));
    if window.int() < 0 {
        window.invalid_int(errors, "must be greater than or equal to zero");
    }
    if window.int() > WINDOW_MAX {
        window.invalid_int(errors, &format!("must be less than or equal to {WINDOW_MAX}"));
    }
    if select.exists() {
        select.one_of(errors, &["Disabled", "Max", "Min"]);
    }
    let policies = rules.field("policies");
    if policies.is_empty() {
        policies.required(errors, "must specify at least one Policy");
    }
    for policy in policies.items() {
        policy.field("type").one_of(errors, &["Percent", "Pods"]);
        policy.field("value").positive(errors);
        let period = policy.field("periodSeconds");
        period.positive(errors);
        if period.int() > PERIOD_MAX {
            period.invalid_int(errors, &format!("must be less than or equal to {PERIOD_MAX}"));
        }
    }
    quantities::non_negative(&rules.field("tolerance"), errors);
}

/// Types of metrics and their fields, in the order in which they are looked at.
const SOURCES: &[(&str, &str)] = &[
    ("Object", "object"),
    ("External", "external"),
    ("Pods", "pods"),
    ("Resource", "resource"),
    ("ContainerResource", "containerResource"),
];
const TYPES: &[&str] = &["ContainerResource", "External", "Object", "Pods", "Resource"];

fn metric(at: &At<'_, '_>, of_objects: Version, errors: &mut Errors) {
    let kind = at.field("type");
    if kind.is_empty() {
        kind.required(errors, "must specify a metric source type");
    }
    kind.one_of(errors, TYPES);
    let present: Vec<&str> = SOURCES.iter().map(|(_, field)| *field).filter(|f| at.field(f).exists()).collect();
    if let Some(first) = present.first() {
        source(first, &at.field(first), of_objects, errors);
    }
    let expected = SOURCES.iter().find(|(name, _)| *name == kind.str()).map(|(_, field)| *field);
    match expected {
        Some(field) if !at.field(field).exists() => {
            at.field(field).required(errors, "must populate information for the given metric source");
        }
        Some(_) => {}
        // The stock server says it again.
        None => kind.not_supported(errors, TYPES),
    }
    if present.len() != 1 {
        for other in present.into_iter().filter(|p| Some(*p) != expected) {
            at.field(other).forbidden(errors, "must populate the given metric source only");
        }
    }
}

fn source(kind: &str, at: &At<'_, '_>, of_objects: Version, errors: &mut Errors) {
    let target = at.field("target");
    let (value, average, share) =
        (target.field("value"), target.field("averageValue"), target.field("averageUtilization"));
    if kind == "object" {
        reference(&at.field("describedObject"), of_objects, errors);
    }
    let by_name = matches!(kind, "resource" | "containerResource");
    if !by_name {
        let metric = at.field("metric");
        let name = metric.field("name");
        if name.is_empty() {
            name.required(errors, "must specify a metric name");
        }
        name.optional_name(errors, names::path_segment);
    } else if at.field("name").is_empty() {
        at.field("name").required(errors, "must specify a resource name");
    } else if kind == "containerResource" {
        let name = at.field("name");
        quantities::container_resource_name(&name, name.str(), errors);
    }
    if kind == "containerResource" {
        let container = at.field("container");
        if container.is_empty() {
            container.required(errors, "must specify a container");
        }
        container.optional_name(errors, names::dns1123_label);
    }
    metric_target(&target, errors);
    match kind {
        "object" if !value.exists() && !average.exists() => {
            average.required(errors, "must set either a target value or averageValue");
        }
        "external" if !value.exists() && !average.exists() => {
            average.required(errors, "must set either a target value for metric or a per-pod target");
        }
        "external" if value.exists() && average.exists() => {
            value.forbidden(errors, "may not set both a target value for metric and a per-pod target");
        }
        "pods" if !average.exists() => average.required(errors, "must specify a positive target averageValue"),
        _ if by_name && !share.exists() && !average.exists() => {
            share.required(errors, "must set either a target raw value or a target utilization");
        }
        _ if by_name && share.exists() && average.exists() => {
            average.forbidden(errors, "may not set both a target raw value and a target utilization");
        }
        _ => {}
    }
}

fn metric_target(target: &At<'_, '_>, errors: &mut Errors) {
    let kind = target.field("type");
    if kind.is_empty() {
        kind.required(errors, "must specify a metric target type");
    }
    if !matches!(kind.str(), "Utilization" | "Value" | "AverageValue") {
        kind.invalid_str(errors, "must be either Utilization, Value, or AverageValue");
    }
    for field in ["value", "averageValue"] {
        let at = target.field(field);
        if let Some(quantity) = quantities::quantity(at.value()).filter(|q| q.sign() <= 0) {
            at.invalid_text(errors, &quantity.canonical(), "must be positive");
        }
    }
    let share = target.field("averageUtilization");
    if share.exists() && share.int() < 1 {
        share.invalid_int(errors, "must be greater than 0");
    }
}
