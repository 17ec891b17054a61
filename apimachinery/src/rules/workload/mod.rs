//! Workloads: what keeps pods of a template running.

mod cron_job;
mod daemon_set;
mod deployment;
mod job;
mod job_status;
mod replica_set;
mod revision;
mod stateful_set;
mod warnings;

pub(super) use cron_job::*;
pub(super) use daemon_set::*;
pub(super) use deployment::*;
pub(super) use job::*;
pub(super) use replica_set::*;
pub(super) use revision::*;
pub(super) use stateful_set::*;
pub(super) use warnings::*;

use serde_json::Value;

use super::at::At;
use super::edit::some_mut;
use super::{WriteContext, check, pod};
use crate::field::Errors;
use crate::selector::LabelSelector;

/// Defaults of the template in `spec`.
fn template_default(spec: &mut Value) {
    if let Some(template) = super::edit::made_mut(spec, "template") {
        pod::pod_template_default(template);
    }
}

/// PodTemplates.
pub(super) fn pod_template_default(object: &mut Value) {
    if let Some(template) = super::edit::made_mut(object, "template") {
        pod::pod_template_default(template);
    }
}

pub(super) fn pod_template_prepare_create(object: &mut Value, _context: &WriteContext<'_>) {
    drop_disabled(object, None);
}

pub(super) fn pod_template_prepare_update(new: &mut Value, old: &Value, _context: &WriteContext<'_>) {
    drop_disabled(new, Some(old));
}

pub(super) fn pod_template_validate(object: &Value, errors: &mut Errors) {
    pod::pod_template(&At::root(object).field("template"), errors);
}

/// Drops what a template may not use yet; `holder` has the template.
fn drop_disabled(holder: &mut Value, old: Option<&Value>) {
    let old = old.and_then(|old| old.pointer("/template/spec"));
    if let Some(spec) = some_mut(holder, "template").and_then(|t| some_mut(t, "spec")) {
        pod::drop_disabled(spec, old);
    }
}

/// What all workloads do with their template before a create.
pub(super) fn workload_prepare_create(object: &mut Value, _context: &WriteContext<'_>) {
    if let Some(spec) = some_mut(object, "spec") {
        drop_disabled(spec, None);
    }
}

/// What all workloads do with their template before an update.
pub(super) fn workload_prepare_update(new: &mut Value, old: &Value, _context: &WriteContext<'_>) {
    if let Some(spec) = some_mut(new, "spec") {
        drop_disabled(spec, old.get("spec"));
    }
}

/// The labels of the template in `spec`, if it has any.
fn template_labels(spec: &Value) -> Option<Value> {
    spec.pointer("/template/metadata/labels").filter(|l| !l.is_null()).cloned()
}

fn is_empty_map(value: Option<&Value>) -> bool {
    value.and_then(Value::as_object).is_none_or(serde_json::Map::is_empty)
}

/// Gives an object without labels those of its template.
fn fill_labels(object: &mut Value, labels: &Value) {
    if let Some(metadata) = super::edit::made_mut(object, "metadata")
        && is_empty_map(metadata.get("labels"))
    {
        super::edit::set(metadata, "labels", labels.clone());
    }
}

/// The selector of a workload, which must select something. The text is what the kind's refusal says of an empty one;
/// `malformed` what it says if the selector makes no sense. Gives the selector if it does.
fn selector(spec: &At<'_, '_>, empty: &str, malformed: &str, errors: &mut Errors) -> Option<LabelSelector> {
    let at = spec.field("selector");
    if !at.exists() {
        at.required(errors, "");
        return Some(LabelSelector::nothing());
    }
    check::label_selector(&at, errors);
    if check::selects_everything(at.value()) {
        at.invalid(errors, empty);
    }
    let selector = LabelSelector::from_object(at.value()).ok();
    if selector.is_none() {
        at.invalid(errors, malformed);
    }
    selector
}

/// The template must have the labels that the selector asks for.
fn template_is_selected(template: &At<'_, '_>, selector: &LabelSelector, errors: &mut Errors) {
    let metadata = template.field("metadata");
    let labels = metadata.field("labels");
    if !selector.is_empty() && !selector.matches(|key| labels.value().get(key).and_then(Value::as_str)) {
        labels.invalid(errors, "`selector` does not match template `labels`");
    }
}

/// Pods of most workloads run until they are deleted.
fn runs_always(template: &At<'_, '_>, kind: &str, errors: &mut Errors) {
    let spec = template.field("spec");
    let policy = spec.field("restartPolicy");
    if policy.str() != "Always" {
        policy.not_supported(errors, &["Always"]);
    }
    let deadline = spec.field("activeDeadlineSeconds");
    if deadline.exists() {
        deadline.forbidden(errors, &format!("activeDeadlineSeconds in {kind} is not Supported"));
    }
}

/// Counters of a status that may not be below zero.
fn counters(status: &At<'_, '_>, names: &[&str], errors: &mut Errors) {
    for name in names {
        status.field(name).non_negative(errors);
    }
}

/// Counters of a status that may not be above another.
fn at_most(status: &At<'_, '_>, names: &[&str], limit: &str, says: &str, errors: &mut Errors) {
    let most = status.field(limit).int();
    for name in names {
        let at = status.field(name);
        if at.int() > most {
            at.invalid_int(errors, says);
        }
    }
}

/// A counter of collisions only grows.
fn collisions_grow(status: &At<'_, '_>, old: &At<'_, '_>, errors: &mut Errors) {
    let (count, before) = (status.field("collisionCount"), old.field("collisionCount"));
    if before.exists() && (!count.exists() || count.int() < before.int()) {
        count.invalid_int(errors, "cannot be decremented");
    }
}
