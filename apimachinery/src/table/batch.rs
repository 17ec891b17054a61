//! Group `batch`.

use serde_json::Value;

use super::cells::{Cells, cells, containers, selector};
use super::human_duration;
use crate::time::Timestamp;

pub(super) fn row(kind: &str, o: &Cells<'_>) -> Option<Vec<Value>> {
    Some(match kind {
        "Job" => job(o),
        "CronJob" => cron_job(o),
        _ => return None,
    })
}

fn job(o: &Cells<'_>) -> Vec<Value> {
    let succeeded = o.int(&["status", "succeeded"]);
    let completions = match o.at(&["spec", "completions"]) {
        Some(wanted) => format!("{succeeded}/{wanted}"),
        None => match o.int(&["spec", "parallelism"]) {
            ..=1 => format!("{succeeded}/1"),
            parallel => format!("{succeeded}/1 of {parallel}"),
        },
    };
    let time = |key| o.at(&["status", key]).and_then(Value::as_str).and_then(|t| Timestamp::parse(t).ok());
    let took = time("startTime").map(|start| human_duration(time("completionTime").unwrap_or(o.now), start));
    let [names, images] = containers(o.at(&["spec", "template"]));
    let selected = selector(o.at(&["spec", "selector"]));
    cells![o.name(), job_status(o), completions, took.unwrap_or_default(), o.age(), names, images, selected]
}

fn job_status(o: &Cells<'_>) -> &'static str {
    if o.holds("Complete") {
        return "Complete";
    }
    if o.holds("Failed") {
        return "Failed";
    }
    if o.deleting() {
        return "Terminating";
    }
    let others = ["Suspended", "FailureTarget", "SuccessCriteriaMet"];
    others.into_iter().find(|ty| o.holds(ty)).unwrap_or("Running")
}

fn cron_job(o: &Cells<'_>) -> Vec<Value> {
    let suspended = match o.at(&["spec", "suspend"]) {
        None => "<unset>",
        Some(Value::Bool(true)) => "True",
        Some(_) => "False",
    };
    let scheduled = &["status", "lastScheduleTime"];
    let last = if o.at(scheduled).is_some() { o.since(scheduled) } else { "<none>".to_owned() };
    let [names, images] = containers(o.at(&["spec", "jobTemplate", "spec", "template"]));
    cells![
        o.name(),
        o.text(&["spec", "schedule"]),
        o.at(&["spec", "timeZone"]).and_then(Value::as_str).unwrap_or("<none>"),
        suspended,
        o.count(&["status", "active"]),
        last,
        o.age(),
        names,
        images,
        selector(o.at(&["spec", "jobTemplate", "spec", "selector"])),
    ]
}
