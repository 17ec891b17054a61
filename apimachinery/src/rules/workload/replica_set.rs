//! ReplicaSets and ReplicationControllers.

use serde_json::Value;

use super::{fill_labels, is_empty_map, template_default, template_labels};
use crate::field::Errors;
use crate::rules::at::At;
use crate::rules::edit::{fill, made_mut, set, some_mut};
use crate::rules::{WriteContext, pod};
use crate::selector::LabelSelector;

pub(in crate::rules) fn replica_set_default(object: &mut Value) {
    if let Some(spec) = made_mut(object, "spec") {
        fill(spec, "replicas", 1);
        template_default(spec);
    }
}

pub(in crate::rules) fn replication_controller_default(object: &mut Value) {
    let Some(spec) = made_mut(object, "spec") else { return };
    fill(spec, "replicas", 1);
    if some_mut(spec, "template").is_none() {
        return;
    }
    template_default(spec);
    if let Some(labels) = template_labels(spec) {
        if is_empty_map(spec.get("selector")) {
            set(spec, "selector", labels.clone());
        }
        fill_labels(object, &labels);
    }
}

pub(in crate::rules) fn replica_set_validate(object: &Value, errors: &mut Errors) {
    let root = At::root(object);
    let spec = root.field("spec");
    spec.field("replicas").non_negative(errors);
    spec.field("minReadySeconds").non_negative(errors);
    super::deployment::replicated(&spec, errors);
}

fn replica_status(status: &At<'_, '_>, errors: &mut Errors) {
    super::counters(
        status,
        &[
            "replicas",
            "fullyLabeledReplicas",
            "readyReplicas",
            "availableReplicas",
            "observedGeneration",
            "terminatingReplicas",
        ],
        errors,
    );
    super::at_most(
        status,
        &["fullyLabeledReplicas", "readyReplicas", "availableReplicas"],
        "replicas",
        "cannot be greater than status.replicas",
        errors,
    );
    super::at_most(status, &["availableReplicas"], "readyReplicas", "cannot be greater than readyReplicas", errors);
}

pub(in crate::rules) fn replica_set_validate_update(
    new: &Value,
    old: &Value,
    context: &WriteContext<'_>,
    errors: &mut Errors,
) {
    let (at, before) = (At::root(new), At::root(old));
    if context.part.is("status") {
        replica_status(&at.field("status"), errors);
        return;
    }
    replica_set_validate(new, errors);
    at.field("spec").field("selector").immutable(errors, before.field("spec").field("selector").value());
}

pub(in crate::rules) fn replication_controller_validate(object: &Value, errors: &mut Errors) {
    let root = At::root(object);
    let spec = root.field("spec");
    spec.field("minReadySeconds").non_negative(errors);
    let selector = spec.field("selector");
    if selector.is_empty() {
        selector.required(errors, "");
    }
    spec.field("replicas").non_negative(errors);
    let template = spec.field("template");
    if !template.exists() {
        template.required(errors, "");
        return;
    }
    if let Some(labels) = selector.map().filter(|labels| !labels.is_empty()) {
        super::template_is_selected(&template, &LabelSelector::from_map(labels), errors);
    }
    pod::pod_template(&template, errors);
    super::runs_always(&template, "ReplicationController", errors);
}

pub(in crate::rules) fn replication_controller_validate_update(
    new: &Value,
    _old: &Value,
    context: &WriteContext<'_>,
    errors: &mut Errors,
) {
    if context.part.is("status") {
        replica_status(&At::root(new).field("status"), errors);
    } else {
        replication_controller_validate(new, errors);
    }
}
