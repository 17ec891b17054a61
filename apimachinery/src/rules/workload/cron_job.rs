//! CronJobs.

use serde_json::Value;

use super::job;
use crate::cron::{self, Schedule};
use crate::field::Errors;
use crate::rules::at::At;
use crate::rules::edit::{fill, fill_text, made_mut, some_mut};
use crate::rules::{WriteContext, names};

/// A job's name is the CronJob's with a dash and ten digits.
const NAME_MAX: usize = 52;

pub(in crate::rules) fn cron_job_default(cron_job: &mut Value) {
    let Some(spec) = made_mut(cron_job, "spec") else { return };
    fill_text(spec, "concurrencyPolicy", "Allow");
    fill(spec, "suspend", false);
    fill(spec, "successfulJobsHistoryLimit", 3);
    fill(spec, "failedJobsHistoryLimit", 1);
    if let Some(job_spec) = made_mut(spec, "jobTemplate").and_then(|t| made_mut(t, "spec")) {
        job::job_spec_static_default(job_spec);
    }
}

fn job_spec_mut(cron_job: &mut Value) -> Option<&mut Value> {
    some_mut(cron_job, "spec").and_then(|s| some_mut(s, "jobTemplate")).and_then(|t| some_mut(t, "spec"))
}

pub(in crate::rules) fn cron_job_prepare_create(object: &mut Value, _context: &WriteContext<'_>) {
    if let Some(spec) = job_spec_mut(object) {
        super::drop_disabled(spec, None);
    }
}

pub(in crate::rules) fn cron_job_prepare_update(new: &mut Value, old: &Value, _context: &WriteContext<'_>) {
    if let Some(spec) = job_spec_mut(new) {
        super::drop_disabled(spec, old.pointer("/spec/jobTemplate/spec"));
    }
}

pub(in crate::rules) fn cron_job_validate(object: &Value, errors: &mut Errors) {
    let root = At::root(object);
    cron_job_spec(&root.field("spec"), None, errors);
    let metadata = root.field("metadata");
    let name = metadata.field("name");
    if name.str().len() > NAME_MAX {
        name.invalid_str(errors, &names::max_length(NAME_MAX));
    }
}

pub(in crate::rules) fn cron_job_validate_update(
    new: &Value,
    old: &Value,
    context: &WriteContext<'_>,
    errors: &mut Errors,
) {
    if context.part.is("status") {
        return;
    }
    let (root, before) = (At::root(new), At::root(old));
    cron_job_spec(&root.field("spec"), Some(&before.field("spec")), errors);
}

fn cron_job_spec(spec: &At<'_, '_>, old: Option<&At<'_, '_>>, errors: &mut Errors) {
    let (schedule, zone) = (spec.field("schedule"), spec.field("timeZone"));
    if schedule.is_empty() {
        schedule.required(errors, "");
    } else {
        if let Err(why) = Schedule::parse(schedule.str()) {
            schedule.invalid_str(errors, &why.to_string());
        }
        let names_zone = schedule.str().contains("TZ");
        let did = old.is_some_and(|old| old.field("schedule").str().contains("TZ"));
        if did && names_zone && zone.exists() {
            schedule.invalid_str(errors, "cannot use both timeZone field and TZ or CRON_TZ in schedule");
        } else if !did && names_zone {
            schedule.invalid_str(errors, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead");
        }
    }
    spec.field("startingDeadlineSeconds").non_negative(errors);
    if old.is_none_or(|old| old.field("timeZone").value() != zone.value()) {
        time_zone(&zone, errors);
    }
    spec.field("concurrencyPolicy").required_one_of(errors, &["Allow", "Forbid", "Replace"], "");
    let template = spec.field("jobTemplate");
    let job_spec = template.field("spec");
    job::job_spec(&job_spec, errors);
    let selector = job_spec.field("selector");
    if selector.exists() {
        selector.invalid(errors, "`selector` will be auto-generated");
    }
    let manual = job_spec.field("manualSelector");
    if manual.bool() {
        errors.not_supported(&manual.path(), manual.value(), &["nil", "false"]);
    }
    spec.field("successfulJobsHistoryLimit").non_negative(errors);
    spec.field("failedJobsHistoryLimit").non_negative(errors);
}

fn time_zone(at: &At<'_, '_>, errors: &mut Errors) {
    if !at.exists() {
        return;
    }
    let name = at.str();
    if name.is_empty() {
        at.invalid_str(errors, "timeZone must be nil or non-empty string");
        return;
    }
    let is_part = |part: &str| {
        (1..=14).contains(&part.len())
            && !matches!(part, "." | "..")
            && !part.starts_with('-')
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'+'))
    };
    if !name.split('/').all(is_part) {
        at.invalid_str(errors, &format!("unknown time zone {name}"));
        return;
    }
    if name.eq_ignore_ascii_case("local") {
        let says = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
        at.invalid_str(errors, says);
    }
    // Go knows its own zone by the name `Local`.
    if name != "Local"
        && let Err(why) = cron::time_zone(name)
    {
        at.invalid_str(errors, &why.to_string());
    }
}
