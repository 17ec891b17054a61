//! Workloads: what keeps pods of a template running.

mod daemon_set;
mod deployment;
mod job;
mod replica_set;
mod stateful_set;

pub(super) use daemon_set::daemon_set_default;
pub(super) use deployment::deployment_default;
pub(super) use job::{cron_job_default, job_default};
pub(super) use replica_set::{replica_set_default, replication_controller_default};
pub(super) use stateful_set::stateful_set_default;

use serde_json::Value;

use super::edit::some_mut;
use super::pod;

/// Defaults of the template in `spec`.
fn template_default(spec: &mut Value) {
    if let Some(template) = super::edit::made_mut(spec, "template") {
        pod::pod_template_default(template);
    }
}

/// PodTemplates.
pub(super) fn pod_template_default(object: &mut Value) {
    if let Some(template) = some_mut(object, "template") {
        pod::pod_template_default(template);
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
