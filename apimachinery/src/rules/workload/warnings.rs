//! Warnings about workloads: those of their templates and a few of their own.

use serde_json::Value;

use crate::rules::at::At;
use crate::rules::{claim, pod};

const NAME_USE: &str = "Pod names and hostnames";

/// Whether there is something to say: a new object, or one whose `field` changed.
fn is_written(new: &Value, old: Option<&Value>, field: &str) -> bool {
    old.is_none_or(|old| old.get(field) != new.get(field))
}

fn of_template(new: &Value, old: Option<&Value>, named: bool) -> Vec<String> {
    let root = At::root(new);
    let mut warnings = Vec::new();
    if named && old.is_none() {
        warnings.extend(pod::name_warning(&root, NAME_USE));
    }
    let spec = root.field("spec");
    let template = spec.field("template");
    if is_written(new, old, "spec") && template.exists() {
        pod::template_warnings(&template, &mut warnings);
    }
    warnings
}

/// Deployments, ReplicaSets, ReplicationControllers.
pub(in crate::rules) fn replicas_warnings(new: &Value, old: Option<&Value>) -> Vec<String> {
    of_template(new, old, true)
}

pub(in crate::rules) fn daemon_set_warnings(new: &Value, old: Option<&Value>) -> Vec<String> {
    of_template(new, old, false)
}

pub(in crate::rules) fn pod_template_warnings(new: &Value, old: Option<&Value>) -> Vec<String> {
    let mut warnings = Vec::new();
    if is_written(new, old, "template") {
        pod::template_warnings(&At::root(new).field("template"), &mut warnings);
    }
    warnings
}

pub(in crate::rules) fn stateful_set_warnings(new: &Value, old: Option<&Value>) -> Vec<String> {
    let mut warnings = of_template(new, old, false);
    let root = At::root(new);
    let spec = root.field("spec");
    for template in spec.field("volumeClaimTemplates").items() {
        // The paths are those of the stock server.
        let path = format!("{}{}", template.path(), if old.is_none() { "" } else { ".Spec" });
        claim::size_warnings(&At::named(template.field("spec").value(), &path), &mut warnings);
    }
    if spec.field("revisionHistoryLimit").int() < 0 {
        let says =
            "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended";
        warnings.push(says.to_owned());
    }
    warnings
}

fn job_spec(spec: &At<'_, '_>, warnings: &mut Vec<String>) {
    const COMPLETIONS: i64 = 100_000;
    const PARALLELISM: i64 = 10_000;
    if spec.field("completionMode").str() == "Indexed"
        && spec.field("completions").int() > COMPLETIONS
        && spec.field("parallelism").int() > PARALLELISM
    {
        warnings.push(format!(
            "{}: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes might not be able to track completedIndexes when a big number of indexes fail",
            spec.path()
        ));
    }
    pod::template_warnings(&spec.field("template"), warnings);
}

pub(in crate::rules) fn job_warnings(new: &Value, old: Option<&Value>) -> Vec<String> {
    let root = At::root(new);
    let mut warnings = Vec::new();
    if old.is_none() {
        warnings.extend(pod::name_warning(&root, NAME_USE));
    }
    if is_written(new, old, "spec") {
        job_spec(&root.field("spec"), &mut warnings);
    }
    warnings
}

pub(in crate::rules) fn cron_job_warnings(new: &Value, old: Option<&Value>) -> Vec<String> {
    let root = At::root(new);
    let spec = root.field("spec");
    let mut warnings = Vec::new();
    if old.is_none() {
        warnings.extend(pod::name_warning(&root, NAME_USE));
    }
    if is_written(new, old, "spec") {
        job_spec(&spec.field("jobTemplate").field("spec"), &mut warnings);
    }
    if old.is_some() && spec.field("schedule").str().contains("TZ") {
        // The path is that of the stock server.
        let says = "cannot use TZ or CRON_TZ in spec.spec.schedule, use timeZone instead, see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details";
        warnings.push(says.to_owned());
    }
    warnings
}
