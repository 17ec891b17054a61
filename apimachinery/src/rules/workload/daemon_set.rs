//! DaemonSets.

use serde_json::Value;

use super::template_default;
use crate::field::Errors;
use crate::rules::at::{At, semantic_eq};
use crate::rules::edit::{fill, fill_text, made_mut, set};
use crate::rules::{WriteContext, check, pod};
use crate::selector::LabelSelector;

const GENERATION: &str = "deprecated.daemonset.template.generation";

pub(in crate::rules) fn daemon_set_default(object: &mut Value) {
    // The stock server keeps this in a field of its own, which every object that it reads has.
    if let Some(notes) = made_mut(object, "metadata").and_then(|m| made_mut(m, "annotations")) {
        fill(notes, GENERATION, "0");
    }
    let Some(spec) = made_mut(object, "spec") else { return };
    if let Some(strategy) = made_mut(spec, "updateStrategy") {
        fill_text(strategy, "type", "RollingUpdate");
        if strategy.get("type").and_then(Value::as_str) == Some("RollingUpdate")
            && let Some(rolling) = made_mut(strategy, "rollingUpdate")
        {
            fill(rolling, "maxUnavailable", 1);
            fill(rolling, "maxSurge", 0);
        }
    }
    fill(spec, "revisionHistoryLimit", 10);
    template_default(spec);
}

/// The template's generation is the server's to count.
pub(in crate::rules) fn daemon_set_prepare_create(object: &mut Value, context: &WriteContext<'_>) {
    super::workload_prepare_create(object, context);
    if let Some(notes) = made_mut(object, "metadata").and_then(|m| made_mut(m, "annotations")) {
        let given = notes.get(GENERATION).and_then(Value::as_str).and_then(|g| g.parse::<i64>().ok());
        set(notes, GENERATION, given.unwrap_or(1).max(1).to_string());
    }
}

pub(in crate::rules) fn daemon_set_prepare_update(new: &mut Value, old: &Value, context: &WriteContext<'_>) {
    super::workload_prepare_update(new, old, context);
    let before = old
        .pointer("/metadata/annotations")
        .and_then(|a| a.get(GENERATION))
        .and_then(Value::as_str)
        .and_then(|g| g.parse::<i64>().ok())
        .unwrap_or(0);
    let null = Value::Null;
    let changed =
        !semantic_eq(new.pointer("/spec/template").unwrap_or(&null), old.pointer("/spec/template").unwrap_or(&null));
    if let Some(notes) = made_mut(new, "metadata").and_then(|m| made_mut(m, "annotations")) {
        set(notes, GENERATION, (before + i64::from(changed)).to_string());
    }
}

pub(in crate::rules) fn daemon_set_validate(object: &Value, errors: &mut Errors) {
    let root = At::root(object);
    let spec = root.field("spec");
    let (selector, template) = (spec.field("selector"), spec.field("template"));
    check::label_selector(&selector, errors);
    let selected = if selector.exists() {
        LabelSelector::from_object(selector.value()).ok()
    } else {
        Some(LabelSelector::nothing())
    };
    if let Some(selected) = selected {
        super::template_is_selected(&template, &selected, errors);
    }
    if selector.exists() && check::selects_everything(selector.value()) {
        selector.invalid(errors, "empty selector is invalid for daemonset");
    }
    pod::pod_template(&template, errors);
    super::runs_always(&template, "DaemonSet", errors);
    spec.field("minReadySeconds").non_negative(errors);
    let strategy = spec.field("updateStrategy");
    let rolling = strategy.field("rollingUpdate");
    match strategy.field("type").str() {
        "OnDelete" => {}
        "RollingUpdate" if rolling.exists() => rolling_update(&rolling, errors),
        "RollingUpdate" => rolling.required(errors, ""),
        _ => errors.not_supported(&strategy.path(), strategy.value(), &["RollingUpdate", "OnDelete"]),
    }
    spec.field("revisionHistoryLimit").non_negative(errors);
}

fn rolling_update(at: &At<'_, '_>, errors: &mut Errors) {
    let (unavailable, surge) = (at.field("maxUnavailable"), at.field("maxSurge"));
    check::positive_int_or_percent(&unavailable, errors);
    check::positive_int_or_percent(&surge, errors);
    check::percent_at_most_100(&unavailable, errors);
    check::percent_at_most_100(&surge, errors);
    match (check::int_or_percent(unavailable.value()) != 0, check::int_or_percent(surge.value()) != 0) {
        (true, true) => surge.invalid(errors, "may not be set when maxUnavailable is non-zero"),
        (false, false) => unavailable.required(errors, "cannot be 0 when maxSurge is 0"),
        _ => {}
    }
}

pub(in crate::rules) fn daemon_set_validate_update(
    new: &Value,
    old: &Value,
    context: &WriteContext<'_>,
    errors: &mut Errors,
) {
    let (at, before) = (At::root(new), At::root(old));
    if context.part.is("status") {
        let status = at.field("status");
        super::counters(
            &status,
            &[
                "currentNumberScheduled",
                "numberMisscheduled",
                "desiredNumberScheduled",
                "numberReady",
                "observedGeneration",
                "updatedNumberScheduled",
                "numberAvailable",
                "numberUnavailable",
                "collisionCount",
            ],
            errors,
        );
        super::collisions_grow(&status, &before.field("status"), errors);
        return;
    }
    at.field("spec").field("selector").immutable(errors, before.field("spec").field("selector").value());
    daemon_set_validate(new, errors);
}
