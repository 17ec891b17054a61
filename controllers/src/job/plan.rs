//! What a job needs: pure functions of the job, its pods and the time.

use std::collections::BTreeSet;

use apimachinery::meta::{at, list_at, str_at};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::indexes;
use super::is_tracked;
use crate::object::{bool_at, condition, deleting, int_at, set_condition, time_at};
use crate::pods;

/// How long, in seconds, a pod waits after the first failure; doubled by each further one, up to the limit.
const BACKOFF: i64 = 10;
const BACKOFF_MAX: i64 = 360;

/// How a job ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    Complete,
    Failed { reason: &'static str, message: String },
}

/// What is to be done for a job.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Pods to make, with their completion index where the job is Indexed.
    pub(super) create: Vec<Option<i64>>,
    /// Pods to delete, by their place.
    pub(super) delete: Vec<usize>,
    /// How it ends, if it does.
    pub(super) end: Option<End>,
    /// Its status, conditions of its end left out.
    pub(super) status: Value,
    /// Seconds until there is something to do although nothing changes.
    pub(super) again: Option<i64>,
}

/// When a job ended.
pub(super) fn finished_at(job: &Value) -> Option<Timestamp> {
    let end = ["Complete", "Failed"]
        .into_iter()
        .find_map(|kind| condition(job, kind).filter(|c| str_at(c, &["status"]) == "True"))?;
    time_at(end, &["lastTransitionTime"])
}

fn noted(job: &Value, key: &str) -> Vec<String> {
    let uids = list_at(job, &["status", "uncountedTerminatedPods", key]);
    uids.iter().filter_map(|u| u.as_str().map(str::to_owned)).collect()
}

/// Puts the uids of pods that have ended, and are not counted yet, into the status. `None` if there is none.
pub(super) fn note_ended(job: &Value, pods: &[Value]) -> Option<Value> {
    let (mut succeeded, mut failed) = (noted(job, "succeeded"), noted(job, "failed"));
    let before = (succeeded.len(), failed.len());
    let mut done = indexes::parse(str_at(job, &["status", "completedIndexes"]));
    let completions = int_at(job, &["spec", "completions"]).unwrap_or(i64::MAX);
    for pod in pods.iter().filter(|p| is_tracked(p)) {
        let uid = str_at(pod, &["metadata", "uid"]).to_owned();
        let list = match str_at(pod, &["status", "phase"]) {
            "Succeeded" => {
                if let Some(index) = indexes::of(pod).filter(|i| is_indexed(job) && *i < completions)
                    && !done.insert(index)
                {
                    // Another pod of this index has succeeded: it counts once.
                    continue;
                }
                &mut succeeded
            }
            "Failed" => &mut failed,
            // One that is deleted before it ended has failed.
            _ if deleting(pod) && !bool_at(job, &["spec", "suspend"]) => &mut failed,
            _ => continue,
        };
        if !list.contains(&uid) {
            list.push(uid);
        }
    }
    if (succeeded.len(), failed.len()) == before {
        return None;
    }
    let mut status = at(job, &["status"]).cloned().unwrap_or_else(|| json!({}));
    if is_indexed(job) {
        status["completedIndexes"] = json!(indexes::format(&done));
    }
    status["uncountedTerminatedPods"] = json!({"succeeded": succeeded, "failed": failed});
    Some(status)
}

/// Turns noted uids into numbers, when their pods no longer carry the finalizer. `None` if nothing was noted.
pub(super) fn count_noted(job: &Value) -> Option<Value> {
    let (succeeded, failed) = (noted(job, "succeeded").len(), noted(job, "failed").len());
    if succeeded + failed == 0 {
        return None;
    }
    let mut status = at(job, &["status"]).cloned()?;
    for (key, more) in [("succeeded", succeeded), ("failed", failed)] {
        let sum = int_at(&status, &[key]).unwrap_or(0) + i64::try_from(more).unwrap_or(0);
        if sum > 0 {
            status[key] = json!(sum);
        }
    }
    if is_indexed(job) {
        let done = indexes::parse(str_at(job, &["status", "completedIndexes"])).len();
        status["succeeded"] = json!(done);
    }
    status["uncountedTerminatedPods"] = json!({});
    Some(status)
}

pub(super) fn is_indexed(job: &Value) -> bool {
    str_at(job, &["spec", "completionMode"]) == "Indexed"
}

/// Writes the conditions of a job's end: what decided it at once, the end itself when no pod runs any more.
pub(super) fn end(status: &mut Value, end: &End, kind: &str, all_gone: bool, now: &str) {
    let mut conditions = list_at(status, &["conditions"]).to_vec();
    let (first, reason, message) = match end {
        End::Complete => ("SuccessCriteriaMet", "CompletionsReached", "Reached expected number of succeeded pods"),
        End::Failed { reason, message } => ("FailureTarget", *reason, message.as_str()),
    };
    set_condition(
        &mut conditions,
        json!({"type": first, "status": "True", "reason": reason, "message": message, "lastProbeTime": now}),
        now,
    );
    if all_gone {
        set_condition(
            &mut conditions,
            json!({"type": kind, "status": "True", "reason": reason, "message": message, "lastProbeTime": now}),
            now,
        );
        if *end == End::Complete {
            status["completionTime"] = json!(now);
        }
    }
    status["conditions"] = Value::Array(conditions);
}

impl Plan {
    /// The plan of a job that has not ended.
    pub(super) fn of(job: &Value, pods: &[Value], now: Timestamp) -> Self {
        let mut status = at(job, &["status"]).cloned().unwrap_or_else(|| json!({}));
        let active: Vec<usize> = (0..pods.len()).filter(|&i| pods::active(&pods[i])).collect();
        let suspended = bool_at(job, &["spec", "suspend"]);
        if !suspended && time_at(job, &["status", "startTime"]).is_none() {
            status["startTime"] = json!(format!("{now:.0}"));
        }
        set_count(&mut status, "active", active.len());
        status["ready"] = json!(active.iter().filter(|&&i| pods::ready(&pods[i])).count());
        status["terminating"] = json!(pods.iter().filter(|p| deleting(p) && !pods::finished(p)).count());
        if status.get("uncountedTerminatedPods").is_none() {
            status["uncountedTerminatedPods"] = json!({});
        }
        let mut plan = Self { status, ..Self::default() };
        suspension(job, &mut plan.status, suspended, now);
        let succeeded = int_at(&plan.status, &["succeeded"]).unwrap_or(0);
        let failed = int_at(&plan.status, &["failed"]).unwrap_or(0);
        plan.end = decided(job).or_else(|| ending(job, succeeded, failed, active.is_empty(), now));
        if plan.end.is_some() || suspended {
            plan.delete = active;
            return plan;
        }
        let parallelism = int_at(job, &["spec", "parallelism"]).unwrap_or(1);
        let completions = int_at(job, &["spec", "completions"]);
        let wanted = match completions {
            Some(completions) => parallelism.min(completions - succeeded),
            None if succeeded > 0 => i64::try_from(active.len()).unwrap_or(0).min(parallelism),
            None => parallelism,
        };
        let running = i64::try_from(active.len()).unwrap_or(i64::MAX);
        if running > wanted {
            plan.delete =
                active.into_iter().rev().take(usize::try_from(running - wanted.max(0)).unwrap_or(0)).collect();
        } else if running < wanted {
            let wait = backoff(pods, failed, now);
            if wait > 0 {
                plan.again = Some(wait);
            } else {
                plan.create = missing(job, pods, &active, usize::try_from(wanted - running).unwrap_or(0));
            }
        }
        if let (Some(deadline), Some(start)) =
            (int_at(job, &["spec", "activeDeadlineSeconds"]), time_at(&json!({"s": plan.status["startTime"]}), &["s"]))
        {
            let left = (start.as_second() + deadline - now.as_second()).max(1);
            plan.again = Some(plan.again.map_or(left, |a| a.min(left)));
        }
        plan
    }
}

fn set_count(status: &mut Value, key: &str, count: usize) {
    if count > 0 {
        status[key] = json!(count);
    } else if let Some(status) = status.as_object_mut() {
        status.remove(key);
    }
}

/// What an earlier look has decided, while pods were still running.
fn decided(job: &Value) -> Option<End> {
    let is = |kind: &str| condition(job, kind).filter(|c| str_at(c, &["status"]) == "True");
    if is("SuccessCriteriaMet").is_some() {
        return Some(End::Complete);
    }
    let target = is("FailureTarget")?;
    let reason = match str_at(target, &["reason"]) {
        "DeadlineExceeded" => "DeadlineExceeded",
        _ => "BackoffLimitExceeded",
    };
    Some(End::Failed { reason, message: str_at(target, &["message"]).to_owned() })
}

fn ending(job: &Value, succeeded: i64, failed: i64, idle: bool, now: Timestamp) -> Option<End> {
    if failed > int_at(job, &["spec", "backoffLimit"]).unwrap_or(6) {
        return Some(End::Failed {
            reason: "BackoffLimitExceeded",
            message: "Job has reached the specified backoff limit".to_owned(),
        });
    }
    if let (Some(deadline), Some(start)) =
        (int_at(job, &["spec", "activeDeadlineSeconds"]), time_at(job, &["status", "startTime"]))
        && !bool_at(job, &["spec", "suspend"])
        && now.as_second() >= start.as_second() + deadline
    {
        return Some(End::Failed {
            reason: "DeadlineExceeded",
            message: "Job was active longer than specified deadline".to_owned(),
        });
    }
    let complete = match int_at(job, &["spec", "completions"]) {
        Some(completions) => succeeded >= completions,
        None => succeeded > 0 && idle,
    };
    complete.then_some(End::Complete)
}

fn suspension(job: &Value, status: &mut Value, suspended: bool, now: Timestamp) {
    let was = condition(job, "Suspended").map(|c| str_at(c, &["status"]) == "True");
    let (state, reason, message) =
        if suspended { ("True", "JobSuspended", "Job suspended") } else { ("False", "JobResumed", "Job resumed") };
    if was == Some(suspended) || (was.is_none() && !suspended) {
        return;
    }
    let text = format!("{now:.0}");
    let mut conditions = list_at(status, &["conditions"]).to_vec();
    set_condition(
        &mut conditions,
        json!({"type": "Suspended", "status": state, "reason": reason, "message": message, "lastProbeTime": text}),
        &text,
    );
    status["conditions"] = Value::Array(conditions);
    if suspended {
        if let Some(status) = status.as_object_mut() {
            status.remove("startTime");
        }
    } else {
        status["startTime"] = json!(text);
    }
}

/// Seconds until the next pod may be made after failures.
fn backoff(pods: &[Value], failed: i64, now: Timestamp) -> i64 {
    if failed == 0 {
        return 0;
    }
    let last = pods.iter().filter(|p| str_at(p, &["status", "phase"]) == "Failed").filter_map(ended_at).max();
    let Some(last) = last else { return 0 };
    let delay = BACKOFF.saturating_mul(1 << (failed - 1).min(6)).min(BACKOFF_MAX);
    (last.as_second() + delay - now.as_second()).max(0)
}

fn ended_at(pod: &Value) -> Option<Timestamp> {
    let states = list_at(pod, &["status", "containerStatuses"]).iter();
    states.filter_map(|s| time_at(s, &["state", "terminated", "finishedAt"])).max()
}

/// The pods that lack: for an Indexed job those of the lowest indexes that are neither done nor running.
fn missing(job: &Value, pods: &[Value], active: &[usize], count: usize) -> Vec<Option<i64>> {
    if !is_indexed(job) {
        return vec![None; count];
    }
    let done = indexes::parse(str_at(job, &["status", "completedIndexes"]));
    let terminating = (0..pods.len()).filter(|&i| deleting(&pods[i]) && !pods::finished(&pods[i]));
    let running: BTreeSet<i64> =
        active.iter().copied().chain(terminating).filter_map(|i| indexes::of(&pods[i])).collect();
    let completions = int_at(job, &["spec", "completions"]).unwrap_or(0);
    (0..completions).filter(|i| !done.contains(i) && !running.contains(i)).take(count).map(Some).collect()
}

#[cfg(test)]
mod tests {
    use super::super::TRACKING;
    use super::*;

    fn at_second(s: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + s).unwrap()
    }

    fn job(spec: Value, status: Value) -> Value {
        json!({"metadata": {"name": "j"}, "spec": spec, "status": status})
    }

    fn pod(uid: &str, phase: &str) -> Value {
        json!({"metadata": {"uid": uid, "finalizers": [TRACKING]}, "status": {"phase": phase}})
    }

    #[test]
    fn as_many_pods_as_may_run_and_are_still_needed() {
        let spec = json!({"parallelism": 3, "completions": 5, "backoffLimit": 6});
        let plan = Plan::of(&job(spec.clone(), json!({})), &[pod("a", "Running")], at_second(0));
        assert_eq!((plan.create.len(), plan.delete.len()), (2, 0));
        let plan = Plan::of(
            &job(spec.clone(), json!({"succeeded": 4})),
            &[pod("a", "Running"), pod("b", "Running")],
            at_second(0),
        );
        assert_eq!((plan.create.len(), plan.delete.len()), (0, 1));
        let plan = Plan::of(&job(spec, json!({"succeeded": 5})), &[], at_second(0));
        assert_eq!(plan.end, Some(End::Complete));
    }

    #[test]
    fn each_pod_is_counted_once() {
        let spec = json!({"completions": 2});
        let pods = [pod("a", "Succeeded"), pod("b", "Failed"), pod("c", "Running")];
        let noted = note_ended(&job(spec.clone(), json!({})), &pods).unwrap();
        assert_eq!(noted["uncountedTerminatedPods"], json!({"succeeded": ["a"], "failed": ["b"]}));
        assert_eq!(note_ended(&job(spec.clone(), noted.clone()), &pods), None);
        let counted = count_noted(&job(spec.clone(), noted)).unwrap();
        assert_eq!((&counted["succeeded"], &counted["failed"]), (&json!(1), &json!(1)));
        assert_eq!(count_noted(&job(spec, counted)), None);
    }

    #[test]
    fn a_job_fails_beyond_its_backoff_limit_or_its_deadline() {
        let spec = json!({"backoffLimit": 1, "completions": 1});
        let plan = Plan::of(&job(spec, json!({"failed": 2})), &[], at_second(0));
        assert!(matches!(plan.end, Some(End::Failed { reason: "BackoffLimitExceeded", .. })));
        let spec = json!({"activeDeadlineSeconds": 5, "completions": 1, "backoffLimit": 6});
        let started = json!({"startTime": format!("{:.0}", at_second(0))});
        assert_eq!(Plan::of(&job(spec.clone(), started.clone()), &[pod("a", "Running")], at_second(3)).again, Some(2));
        let plan = Plan::of(&job(spec, started), &[pod("a", "Running")], at_second(5));
        assert!(matches!(plan.end, Some(End::Failed { reason: "DeadlineExceeded", .. })));
        assert_eq!(plan.delete, [0]);
    }

    #[test]
    fn an_indexed_job_fills_the_lowest_indexes_that_lack() {
        let spec = json!({"completionMode": "Indexed", "completions": 5, "parallelism": 2, "backoffLimit": 6});
        let mut running = pod("a", "Running");
        running["metadata"]["annotations"][indexes::INDEX] = json!("1");
        let plan = Plan::of(&job(spec, json!({"completedIndexes": "0", "succeeded": 1})), &[running], at_second(0));
        assert_eq!(plan.create, [Some(2)]);
    }
}
