//! CronJobs: jobs by the clock.
//!
//! Source of behaviour: `k8s.io/kubernetes/pkg/controller/cronjob`.

use apimachinery::cron::{Schedule, time_zone};
use apimachinery::gvk::GroupVersionKind;
use apimachinery::meta::{self, at, list_at, str_at};
use apimachinery::status::ApiError;
use async_trait::async_trait;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use tenant_client::{Caller, Change};

use crate::context::{Context, resource};
use crate::controller::{Again, Controller, Key};
use crate::events::{Event, tell};
use crate::object::{bool_at, condition, controller_of, controller_reference, deleting, int_at, seconds, time_at};

const CALLER: Caller =
    Caller { user: "system:serviceaccount:kube-system:cronjob-controller", manager: "kube-controller-manager" };
const SCHEDULED_AT: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";
/// More missed runs than this are not counted: the clock jumped, or the schedule is far too often.
const MISSED_MAX: usize = 100;

/// Runs cron jobs. Keys are cron jobs.
pub(crate) struct CronJobs;

#[async_trait]
impl Controller for CronJobs {
    fn name(&self) -> &'static str {
        "cronjob"
    }

    fn resources(&self) -> &'static [(&'static str, &'static str)] {
        &[("batch", "cronjobs")]
    }

    fn keys(&self, change: &Change, add: &mut dyn FnMut(&str, &str)) {
        let Some(object) = change.object() else { return };
        match (change.resource.group.as_str(), change.resource.resource.as_str()) {
            ("batch", "cronjobs") if change.new.is_some() => add(&object.namespace, &object.name),
            ("batch", "jobs") => {
                if let Some(owner) = controller_of(object).filter(|o| o.kind == "CronJob") {
                    add(&object.namespace, &owner.name);
                }
            }
            _ => {}
        }
    }

    async fn reconcile(&self, context: &Context, key: Key<'_>) -> Result<Again, ApiError> {
        let cron_jobs = resource("batch", "cronjobs");
        let Some(cron) = context.get(key, &cron_jobs, key.name).await? else { return Ok(None) };
        if deleting(&cron) {
            return Ok(None);
        }
        let mut jobs: Vec<Value> = Vec::new();
        for job in context.list(key, &resource("batch", "jobs")).await? {
            if controller_of(&job).is_some_and(|o| o.uid == meta::uid(&cron)) {
                jobs.push(job.to_value()?);
            }
        }
        clean_up(context, key, &cron, &jobs).await?;
        let now = context.now();
        let mut status = status(&cron, &jobs);
        let (due, next) = match schedule(&cron, now) {
            Ok(found) => found,
            Err(error) => {
                tell(context, CALLER, key, &cron, &kind(), Event::warning("UnparseableSchedule", &error)).await;
                return context.update_status(CALLER, key, &cron_jobs, cron, status).await.map(|()| None);
            }
        };
        let suspended = bool_at(&cron, &["spec", "suspend"]);
        let again = next.filter(|_| !suspended).map(|n| seconds((n.as_second() - now.as_second()).max(1)));
        let Some(due) = due.filter(|_| !suspended) else {
            context.update_status(CALLER, key, &cron_jobs, cron, status).await?;
            return Ok(again);
        };
        if too_late(&cron, due, now) {
            tell(
                context,
                CALLER,
                key,
                &cron,
                &kind(),
                Event::warning("MissSchedule", &format!("Missed scheduled time to start a job: {due:.0}")),
            )
            .await;
            context.update_status(CALLER, key, &cron_jobs, cron, status).await?;
            return Ok(again);
        }
        let active: Vec<&Value> = jobs.iter().filter(|j| !is_finished(j)).collect();
        match str_at(&cron, &["spec", "concurrencyPolicy"]) {
            "Forbid" if !active.is_empty() => {
                let text = "Not starting job because prior execution is running and concurrency policy is Forbid";
                tell(context, CALLER, key, &cron, &kind(), Event::normal("JobAlreadyActive", text)).await;
                context.update_status(CALLER, key, &cron_jobs, cron, status).await?;
                return Ok(again);
            }
            "Replace" => {
                for job in &active {
                    delete(context, key, &cron, job).await?;
                }
            }
            _ => {}
        }
        match context.create(CALLER, key, &resource("batch", "jobs"), job_of(&cron, due)).await {
            Ok(job) => {
                let message = format!("Created job {}", meta::name(&job));
                tell(context, CALLER, key, &cron, &kind(), Event::normal("SuccessfulCreate", &message)).await;
                jobs.retain(|j| str_at(&cron, &["spec", "concurrencyPolicy"]) != "Replace" || is_finished(j));
                jobs.push(job);
                status = self::status(&cron, &jobs);
            }
            // Made in an earlier look whose status was not written.
            Err(error) if error.reason == "AlreadyExists" => {}
            Err(error) => {
                tell(
                    context,
                    CALLER,
                    key,
                    &cron,
                    &kind(),
                    Event::warning("FailedCreate", &format!("Error creating job: {error}")),
                )
                .await;
                return Err(error);
            }
        }
        status["lastScheduleTime"] = json!(format!("{due:.0}"));
        context.update_status(CALLER, key, &cron_jobs, cron, status).await?;
        Ok(again)
    }
}

fn kind() -> GroupVersionKind {
    GroupVersionKind::new("batch", "v1", "CronJob")
}

fn is_finished(job: &Value) -> bool {
    ["Complete", "Failed"].iter().any(|kind| condition(job, kind).is_some_and(|c| str_at(c, &["status"]) == "True"))
}

/// The latest run that is due and was not made, and the next one.
fn schedule(cron: &Value, now: Timestamp) -> Result<(Option<Timestamp>, Option<Timestamp>), String> {
    let fields =
        Schedule::parse(str_at(cron, &["spec", "schedule"])).map_err(|e| format!("unparseable schedule: {e}"))?;
    let zone = match str_at(cron, &["spec", "timeZone"]) {
        "" => TimeZone::UTC,
        name => time_zone(name).map_err(|e| format!("unknown time zone: {e}"))?,
    };
    let created = time_at(cron, &["metadata", "creationTimestamp"]).unwrap_or(now);
    let mut from = time_at(cron, &["status", "lastScheduleTime"]).unwrap_or(created);
    if let Some(deadline) = int_at(cron, &["spec", "startingDeadlineSeconds"]) {
        from = from.max(Timestamp::from_second(now.as_second() - deadline).unwrap_or(from));
    }
    let mut due = None;
    for _ in 0..MISSED_MAX {
        match fields.next_after(from, &zone) {
            Some(time) if time <= now => {
                due = Some(time);
                from = time;
            }
            next => return Ok((due, next)),
        }
    }
    // Far behind: from now on, so that the next one is on time.
    Ok((due, fields.next_after(now, &zone)))
}

fn too_late(cron: &Value, due: Timestamp, now: Timestamp) -> bool {
    int_at(cron, &["spec", "startingDeadlineSeconds"]).is_some_and(|d| due.as_second() + d < now.as_second())
}

/// The job of a run. Its name tells the minute, so a run is never made twice.
fn job_of(cron: &Value, due: Timestamp) -> Value {
    let template = at(cron, &["spec", "jobTemplate"]).cloned().unwrap_or_default();
    let mut annotations = at(&template, &["metadata", "annotations"]).cloned().unwrap_or_else(|| json!({}));
    annotations[SCHEDULED_AT] = json!(format!("{due:.0}"));
    json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": format!("{}-{}", meta::name(cron), due.as_second() / 60),
            "namespace": meta::namespace(cron),
            "labels": at(&template, &["metadata", "labels"]).cloned().unwrap_or_else(|| json!({})),
            "annotations": annotations,
            "ownerReferences": [controller_reference(cron, &kind())],
        },
        "spec": template["spec"],
    })
}

fn status(cron: &Value, jobs: &[Value]) -> Value {
    let mut status = at(cron, &["status"]).cloned().unwrap_or_else(|| json!({}));
    let active = jobs.iter().filter(|j| !is_finished(j)).map(|j| {
        json!({
            "apiVersion": "batch/v1", "kind": "Job", "namespace": meta::namespace(j), "name": meta::name(j),
            "uid": meta::uid(j), "resourceVersion": meta::text(j, "resourceVersion"),
        })
    });
    // A job's version changes with each of its pods: the reference keeps the one it was made with.
    let old = list_at(cron, &["status", "active"]).to_vec();
    let active: Vec<Value> = active.map(|a| old.iter().find(|o| o["uid"] == a["uid"]).cloned().unwrap_or(a)).collect();
    let ended = jobs.iter().filter_map(|j| time_at(j, &["status", "completionTime"])).max();
    let known = time_at(cron, &["status", "lastSuccessfulTime"]);
    if let Some(fields) = status.as_object_mut() {
        if active.is_empty() {
            fields.remove("active");
        } else {
            fields.insert("active".to_owned(), Value::Array(active));
        }
        if let Some(last) = ended.max(known) {
            fields.insert("lastSuccessfulTime".to_owned(), json!(format!("{last:.0}")));
        }
    }
    status
}

/// Deletes jobs that ended, beyond the limits of history.
async fn clean_up(context: &Context, key: Key<'_>, cron: &Value, jobs: &[Value]) -> Result<(), ApiError> {
    for (kind, limit, default) in
        [("Complete", "successfulJobsHistoryLimit", 3), ("Failed", "failedJobsHistoryLimit", 1)]
    {
        let mut ended: Vec<&Value> =
            jobs.iter().filter(|j| condition(j, kind).is_some_and(|c| str_at(c, &["status"]) == "True")).collect();
        ended.sort_by_key(|j| str_at(j, &["status", "startTime"]).to_owned());
        let limit = usize::try_from(int_at(cron, &["spec", limit]).unwrap_or(default)).unwrap_or(0);
        for job in &ended[..ended.len().saturating_sub(limit)] {
            delete(context, key, cron, job).await?;
        }
    }
    Ok(())
}

async fn delete(context: &Context, key: Key<'_>, cron: &Value, job: &Value) -> Result<(), ApiError> {
    context.delete(CALLER, key, &resource("batch", "jobs"), meta::name(job), meta::uid(job)).await?;
    let message = format!("Deleted job {}", meta::name(job));
    tell(context, CALLER, key, cron, &kind(), Event::normal("SuccessfulDelete", &message)).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cron(schedule: &str, created: &str, last: Option<&str>) -> Value {
        let mut cron = json!({"metadata": {"creationTimestamp": created}, "spec": {"schedule": schedule}});
        if let Some(last) = last {
            cron["status"]["lastScheduleTime"] = json!(last);
        }
        cron
    }

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn the_latest_run_that_was_missed_is_due() {
        let cron = cron("*/10 * * * *", "2026-01-01T00:01:00Z", None);
        let (due, next) = schedule(&cron, time("2026-01-01T00:35:00Z")).unwrap();
        assert_eq!(due, Some(time("2026-01-01T00:30:00Z")));
        assert_eq!(next, Some(time("2026-01-01T00:40:00Z")));
    }

    #[test]
    fn a_run_is_due_once() {
        let cron = cron("0 * * * *", "2026-01-01T00:01:00Z", Some("2026-01-01T01:00:00Z"));
        let (due, next) = schedule(&cron, time("2026-01-01T01:30:00Z")).unwrap();
        assert_eq!((due, next), (None, Some(time("2026-01-01T02:00:00Z"))));
    }

    #[test]
    fn schedules_follow_their_time_zone() {
        let mut cron = cron("0 9 * * *", "2026-07-01T00:00:00Z", None);
        cron["spec"]["timeZone"] = json!("Europe/Berlin");
        let (_, next) = schedule(&cron, time("2026-07-01T01:00:00Z")).unwrap();
        assert_eq!(next, Some(time("2026-07-01T07:00:00Z")));
        cron["spec"]["timeZone"] = json!("Nowhere/Here");
        assert!(schedule(&cron, time("2026-07-01T01:00:00Z")).is_err());
    }
}
