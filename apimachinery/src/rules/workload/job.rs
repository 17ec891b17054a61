//! Jobs and CronJobs.

use serde_json::Value;

use super::{fill_labels, template_default, template_labels};
use crate::rules::edit::{fill, fill_text, items_mut, made_mut, some_mut};

pub(in crate::rules) fn job_default(job: &mut Value) {
    let Some(spec) = made_mut(job, "spec") else { return };
    job_spec_static_default(spec);
    let unset = |spec: &Value, key: &str| spec.get(key).is_none_or(Value::is_null);
    if unset(spec, "completions") && unset(spec, "parallelism") {
        fill(spec, "completions", 1);
    }
    fill(spec, "parallelism", 1);
    let limit = if unset(spec, "backoffLimitPerIndex") { 6 } else { i32::MAX };
    fill(spec, "backoffLimit", limit);
    fill(spec, "completionMode", "NonIndexed");
    fill(spec, "suspend", false);
    let replacement = if unset(spec, "podFailurePolicy") { "TerminatingOrFailed" } else { "Failed" };
    fill(spec, "podReplacementPolicy", replacement);
    fill(spec, "manualSelector", false);
    if let Some(labels) = template_labels(spec) {
        fill_labels(job, &labels);
    }
}

/// What a job's spec gets wherever it stands (in a CronJob, the rest is left to the jobs that it makes).
fn job_spec_static_default(spec: &mut Value) {
    template_default(spec);
    if let Some(policy) = some_mut(spec, "podFailurePolicy") {
        for rule in items_mut(policy, "rules") {
            for condition in items_mut(rule, "onPodConditions") {
                fill_text(condition, "status", "True");
            }
        }
    }
}

pub(in crate::rules) fn cron_job_default(cron_job: &mut Value) {
    let Some(spec) = made_mut(cron_job, "spec") else { return };
    fill_text(spec, "concurrencyPolicy", "Allow");
    fill(spec, "suspend", false);
    fill(spec, "successfulJobsHistoryLimit", 3);
    fill(spec, "failedJobsHistoryLimit", 1);
    if let Some(job_spec) = made_mut(spec, "jobTemplate").and_then(|t| made_mut(t, "spec")) {
        job_spec_static_default(job_spec);
    }
}
