//! What a job's status may say, and how it may change.

use serde_json::Value;

use crate::field::{Errors, quote};
use crate::rules::at::{At, semantic_eq};
use crate::time::Timestamp;

fn has(status: &At<'_, '_>, condition: &str) -> bool {
    status.field("conditions").items().any(|c| c.field("type").str() == condition && c.field("status").str() == "True")
}

fn is_false(status: &At<'_, '_>, condition: &str) -> bool {
    status.field("conditions").items().any(|c| c.field("type").str() == condition && c.field("status").str() == "False")
}

fn finished(status: &At<'_, '_>) -> bool {
    has(status, "Complete") || has(status, "Failed")
}

fn interval(text: &str, completions: i64) -> Result<(i64, i64), String> {
    let number = |text: &str| -> Result<i64, String> {
        let value: i64 =
            text.parse().map_err(|_| format!("cannot convert string to integer for index: {}", quote(text)))?;
        if value >= completions { Err(format!("too large index: {}", quote(text))) } else { Ok(value) }
    };
    let parts: Vec<&str> = text.split('-').collect();
    match parts[..] {
        [one] => number(one).map(|n| (n, n)),
        [first, last] => {
            let (first, last) = (number(first)?, number(last)?);
            if first >= last {
                return Err(format!("non-increasing order, previous: {first}, current: {last}"));
            }
            Ok((first, last))
        }
        _ => Err(format!(
            "the fragment {} violates the requirement that an index interval can have at most two parts separated by '-'",
            quote(text)
        )),
    }
}

/// How many indexes a text such as `1,3-5` names, each below `completions`.
pub(super) fn count_indexes(text: &str, completions: i64) -> Result<i64, String> {
    let (mut total, mut last): (i64, Option<i64>) = (0, None);
    if text.is_empty() {
        return Ok(0);
    }
    for part in text.split(',') {
        let (first, end) = interval(part, completions)?;
        if let Some(last) = last.filter(|last| *last >= first) {
            return Err(format!("non-increasing order, previous: {last}, current: {first}"));
        }
        total += end - first + 1;
        last = Some(end);
    }
    Ok(total)
}

/// The first index that both texts name.
fn overlap(completed: &str, failed: &str, completions: i64) -> Option<i64> {
    let intervals = |text: &str| -> Vec<(i64, i64)> {
        text.split(',').filter_map(|part| interval(part, completions).ok()).collect()
    };
    let failed = intervals(failed);
    intervals(completed)
        .into_iter()
        .flat_map(|c| failed.iter().map(move |f| (c, *f)))
        .find(|((cx, cy), (fx, fy))| cx <= fy && fx <= cy)
        .map(|((cx, _), (fx, _))| cx.max(fx))
}

pub(super) fn job_status(new: &At<'_, '_>, old: &At<'_, '_>, errors: &mut Errors) {
    let (spec, status, before) = (new.field("spec"), new.field("status"), old.field("status"));
    super::counters(&status, &["active", "succeeded", "failed", "ready", "terminating"], errors);
    uncounted(&status.field("uncountedTerminatedPods"), errors);
    let changed = |field: &str| !semantic_eq(status.field(field).value(), before.field(field).value());
    let flips = |condition: &str| has(&status, condition) != has(&before, condition);
    let (complete, failed) = (has(&status, "Complete"), has(&status, "Failed"));
    let (target, met) = (has(&status, "FailureTarget"), has(&status, "SuccessCriteriaMet"));
    let conditions = status.field("conditions");
    let refuse = |holds: bool, says: &str, errors: &mut Errors| {
        if holds {
            errors.invalid_without_value(&conditions.path(), says);
        }
    };
    let (start, end) = (status.field("startTime"), status.field("completionTime"));
    refuse(
        (flips("Complete") || flips("Failed")) && complete && failed,
        "cannot set Complete=True and Failed=true conditions",
        errors,
    );
    refuse(
        (flips("Complete") || flips("FailureTarget")) && complete && target,
        "cannot set Complete=True and FailureTarget=true conditions",
        errors,
    );
    if flips("Complete") || changed("completionTime") {
        if end.exists() && !complete {
            end.invalid_str(errors, "cannot set completionTime when there is no Complete=True condition");
        }
        if !end.exists() && complete {
            end.required(errors, "completionTime is required for Complete jobs");
        }
    }
    let time = |at: &At<'_, '_>| Timestamp::parse(at.str()).ok();
    if (changed("startTime") || changed("completionTime")) && time(&end) < time(&start) && end.exists() {
        end.invalid_str(errors, "must be equal to or after `startTime`");
    }
    refuse(
        (flips("Failed") || changed("failedIndexes")) && failed && !target,
        "cannot set Failed=True condition without the FailureTarget=true condition",
        errors,
    );
    refuse(
        (flips("Complete") || flips("SuccessCriteriaMet")) && complete && !met,
        "cannot set Complete=True condition without the SuccessCriteriaMet=true condition",
        errors,
    );
    let (done, done_flips) = (finished(&status), finished(&status) != finished(&before));
    let active = status.field("active");
    if (done_flips || changed("active")) && done && active.int() > 0 {
        active.invalid_int(errors, "active>0 is invalid for finished job");
    }
    let nothing_to_do = spec.field("suspend").bool() && spec.field("completions").opt_int() == Some(0);
    if (done_flips || changed("startTime")) && !nothing_to_do && done && !start.exists() {
        start.required(errors, "startTime is required for finished job");
    }
    let pods = status.field("uncountedTerminatedPods");
    if (done_flips || changed("uncountedTerminatedPods"))
        && done
        && !(pods.field("failed").is_empty() && pods.field("succeeded").is_empty())
    {
        pods.invalid(errors, "must be empty for finished job");
    }
    indexes(&spec, &status, changed("completedIndexes"), changed("failedIndexes"), errors);
    let (terminating, ready) = (status.field("terminating"), status.field("ready"));
    if (done_flips || changed("terminating")) && done && terminating.int() > 0 {
        terminating.invalid_int(errors, "terminating>0 is invalid for finished job");
    }
    if (changed("ready") || changed("active")) && ready.int() > active.int() {
        ready.invalid_int(errors, "cannot set more ready pods than active");
    }
    refuse(met && failed, "cannot set SuccessCriteriaMet=True and Failed=true conditions", errors);
    refuse(met && target, "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions", errors);
    refuse(
        spec.field("successPolicy").exists() && !met && complete,
        "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True",
        errors,
    );
    for condition in ["Failed", "Complete", "FailureTarget"] {
        refuse(
            has(&before, condition) && !has(&status, condition),
            &format!("cannot disable the terminal {condition}=True condition"),
            errors,
        );
    }
    only_grows(&spec, &status, &before, errors);
    if end.exists() && before.field("completionTime").exists() && changed("completionTime") {
        end.invalid_str(errors, "field is immutable");
    }
    let resuming = has(&before, "Suspended") && is_false(&status, "Suspended");
    if before.field("startTime").exists() && changed("startTime") && !resuming && !spec.field("suspend").bool() {
        start.invalid(errors, "field is immutable for unsuspended job once set");
    }
    refuse(has(&before, "SuccessCriteriaMet") && !met, "cannot disable the SuccessCriteriaMet=True condition", errors);
    refuse(
        has(&before, "Complete") && !has(&before, "SuccessCriteriaMet") && met,
        "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions",
        errors,
    );
}

fn only_grows(spec: &At<'_, '_>, status: &At<'_, '_>, before: &At<'_, '_>, errors: &mut Errors) {
    let scalable = spec.field("completionMode").str() == "Indexed"
        && spec.field("completions").value() == spec.field("parallelism").value();
    for (field, checked) in [("failed", true), ("succeeded", !scalable)] {
        let at = status.field(field);
        if checked && at.int() < before.field(field).int() {
            at.invalid_int(errors, &format!("cannot decrease the {field} counter"));
        }
    }
}

fn indexes(spec: &At<'_, '_>, status: &At<'_, '_>, completed_changed: bool, failed_changed: bool, errors: &mut Errors) {
    let (completed, failed) = (status.field("completedIndexes"), status.field("failedIndexes"));
    let (completions, per_index) = (spec.field("completions"), spec.field("backoffLimitPerIndex"));
    if completed_changed
        && completions.exists()
        && let Err(why) = count_indexes(completed.str(), completions.int())
    {
        completed.invalid_str(errors, &format!("error parsing completedIndexes: {why}"));
    }
    if failed_changed
        && completions.exists()
        && per_index.exists()
        && failed.exists()
        && let Err(why) = count_indexes(failed.str(), completions.int())
    {
        failed.invalid_str(errors, &format!("error parsing failedIndexes: {why}"));
    }
    if completed_changed && !completed.is_empty() && spec.field("completionMode").str() != "Indexed" {
        completed.invalid_str(errors, "cannot set non-empty completedIndexes when non-indexed completion mode");
    }
    if failed_changed && !per_index.exists() && failed.exists() {
        failed.invalid_str(errors, "cannot set non-null failedIndexes when backoffLimitPerIndex is null");
    }
    if (failed_changed || completed_changed) && completions.exists() && failed.exists() {
        let both = overlap(completed.str(), failed.str(), completions.int());
        if let Some(index) = both {
            failed.invalid_str(errors, &format!("failedIndexes and completedIndexes overlap at index: {index}"));
        }
    }
}

fn uncounted(at: &At<'_, '_>, errors: &mut Errors) {
    let mut seen: Vec<&Value> = Vec::new();
    for list in ["succeeded", "failed"] {
        for uid in at.field(list).items() {
            if uid.is_empty() {
                uid.invalid_str(errors, "must not be empty");
            } else if seen.contains(&uid.value()) {
                uid.duplicate(errors);
            } else {
                seen.push(uid.value());
            }
        }
    }
}
