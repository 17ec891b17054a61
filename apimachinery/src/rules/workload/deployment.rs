//! Deployments.

use serde_json::Value;

use super::template_default;
use crate::field::Errors;
use crate::rules::at::At;
use crate::rules::edit::{fill, fill_text, made_mut, remove, set};
use crate::rules::{WriteContext, check, pod};

pub(in crate::rules) fn deployment_default(deployment: &mut Value) {
    let Some(spec) = made_mut(deployment, "spec") else { return };
    fill(spec, "replicas", 1);
    if let Some(strategy) = made_mut(spec, "strategy") {
        fill_text(strategy, "type", "RollingUpdate");
        if strategy.get("type").and_then(Value::as_str) == Some("RollingUpdate")
            && let Some(rolling) = made_mut(strategy, "rollingUpdate")
        {
            fill(rolling, "maxUnavailable", "25%");
            fill(rolling, "maxSurge", "25%");
        }
    }
    fill(spec, "revisionHistoryLimit", 10);
    fill(spec, "progressDeadlineSeconds", 600);
    template_default(spec);
}

/// Who writes the status does not change labels.
pub(in crate::rules) fn deployment_prepare_update(new: &mut Value, old: &Value, context: &WriteContext<'_>) {
    super::workload_prepare_update(new, old, context);
    if context.part.is("status")
        && let Some(metadata) = made_mut(new, "metadata")
    {
        match old.pointer("/metadata/labels") {
            Some(labels) => set(metadata, "labels", labels.clone()),
            None => remove(metadata, "labels"),
        }
    }
}

/// The selector, the template and how many pods a ReplicaSet or Deployment keeps running.
pub(super) fn replicated(spec: &At<'_, '_>, errors: &mut Errors) {
    let selected = super::selector(spec, "empty selector is invalid for deployment", "invalid label selector", errors);
    let template = spec.field("template");
    if let Some(selector) = selected {
        super::template_is_selected(&template, &selector, errors);
        pod::pod_template(&template, errors);
        super::runs_always(&template, "ReplicaSet", errors);
    }
}

pub(in crate::rules) fn deployment_validate(object: &Value, errors: &mut Errors) {
    let root = At::root(object);
    let spec = root.field("spec");
    spec.field("replicas").non_negative(errors);
    replicated(&spec, errors);
    let strategy = spec.field("strategy");
    let rolling = strategy.field("rollingUpdate");
    match strategy.field("type").str() {
        "Recreate" => {
            if rolling.exists() {
                rolling.forbidden(errors, "may not be specified when strategy `type` is 'Recreate'");
            }
        }
        "RollingUpdate" => rolling_update(&rolling, errors),
        _ => errors.not_supported(&strategy.path(), strategy.value(), &["Recreate", "RollingUpdate"]),
    }
    let ready = spec.field("minReadySeconds");
    ready.non_negative(errors);
    spec.field("revisionHistoryLimit").non_negative(errors);
    let deadline = spec.field("progressDeadlineSeconds");
    if deadline.exists() {
        deadline.non_negative(errors);
        if deadline.int() <= ready.int() {
            deadline.invalid_int(errors, "must be greater than minReadySeconds");
        }
    }
}

fn rolling_update(at: &At<'_, '_>, errors: &mut Errors) {
    let (unavailable, surge) = (at.field("maxUnavailable"), at.field("maxSurge"));
    check::positive_int_or_percent(&unavailable, errors);
    check::positive_int_or_percent(&surge, errors);
    if check::int_or_percent(unavailable.value()) == 0 && check::int_or_percent(surge.value()) == 0 {
        unavailable.invalid(errors, "may not be 0 when `maxSurge` is 0");
    }
    check::percent_at_most_100(&unavailable, errors);
}

pub(in crate::rules) fn deployment_validate_update(
    new: &Value,
    old: &Value,
    context: &WriteContext<'_>,
    errors: &mut Errors,
) {
    let (at, before) = (At::root(new), At::root(old));
    if context.part.is("status") {
        let (status, before) = (at.field("status"), before.field("status"));
        super::counters(
            &status,
            &[
                "observedGeneration",
                "replicas",
                "updatedReplicas",
                "readyReplicas",
                "availableReplicas",
                "unavailableReplicas",
                "terminatingReplicas",
                "collisionCount",
            ],
            errors,
        );
        super::at_most(
            &status,
            &["updatedReplicas", "readyReplicas", "availableReplicas"],
            "replicas",
            "cannot be greater than status.replicas",
            errors,
        );
        super::at_most(
            &status,
            &["availableReplicas"],
            "readyReplicas",
            "cannot be greater than readyReplicas",
            errors,
        );
        super::collisions_grow(&status, &before, errors);
        return;
    }
    deployment_validate(new, errors);
    at.field("spec").field("selector").immutable(errors, before.field("spec").field("selector").value());
}
