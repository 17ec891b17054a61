//! The status of a deployment.

use apimachinery::meta::{list_at, name, str_at};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{Progress, plan};
use crate::object::{condition, int_at, time_at};

/// Whether all replicas are of the newest set and available.
pub(super) fn is_complete(deployment: &Value, sets: &[Value], newest: usize) -> bool {
    let wanted = plan::desired(deployment);
    let sum = |key: &str| -> i64 { sets.iter().map(|s| int_at(s, &["status", key]).unwrap_or(0)).sum() };
    let new = int_at(&sets[newest], &["status", "replicas"]).unwrap_or(0);
    new == wanted && sum("replicas") == wanted && sum("availableReplicas") == wanted
}

/// The status, and after how many seconds to look again for the progress deadline.
pub(super) fn of(
    deployment: &Value,
    sets: &[Value],
    newest: Option<usize>,
    news: Option<&Progress>,
    now: Timestamp,
) -> (Value, Option<i64>) {
    let sum = |key: &str| -> i64 { sets.iter().map(|s| int_at(s, &["status", key]).unwrap_or(0)).sum() };
    let (replicas, ready, available) = (sum("replicas"), sum("readyReplicas"), sum("availableReplicas"));
    let updated = newest.map_or(0, |i| int_at(&sets[i], &["status", "replicas"]).unwrap_or(0));
    let wanted = sets.iter().map(plan::replicas).sum::<i64>();
    let unavailable = (wanted - available).max(0);
    let mut status = Map::new();
    for (key, value) in [
        ("replicas", replicas),
        ("updatedReplicas", updated),
        ("readyReplicas", ready),
        ("availableReplicas", available),
        ("unavailableReplicas", unavailable),
    ] {
        if value > 0 {
            status.insert(key.to_owned(), json!(value));
        }
    }
    status.insert("terminatingReplicas".to_owned(), json!(sum("terminatingReplicas")));
    if let Some(generation) = int_at(deployment, &["metadata", "generation"]) {
        status.insert("observedGeneration".to_owned(), json!(generation));
    }
    if let Some(count) = int_at(deployment, &["status", "collisionCount"]) {
        status.insert("collisionCount".to_owned(), json!(count));
    }
    let mut conditions = list_at(deployment, &["status", "conditions"]).to_vec();
    let enough = available >= plan::desired(deployment) - plan::max_unavailable(deployment);
    let (state, reason, text) = if enough {
        ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    } else {
        ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
    };
    set(&mut conditions, "Available", state, reason, text, now);
    let complete = newest.is_some_and(|i| is_complete(deployment, sets, i));
    let again = progress(deployment, &mut conditions, &status, complete, newest.map(|i| name(&sets[i])), news, now);
    replica_failure(sets, &mut conditions, now);
    if !conditions.is_empty() {
        status.insert("conditions".to_owned(), Value::Array(conditions));
    }
    (Value::Object(status), again)
}

fn progress(
    deployment: &Value,
    conditions: &mut Vec<Value>,
    status: &Map<String, Value>,
    complete: bool,
    set_name: Option<&str>,
    news: Option<&Progress>,
    now: Timestamp,
) -> Option<i64> {
    let deadline = int_at(deployment, &["spec", "progressDeadlineSeconds"]).filter(|d| *d < i64::from(i32::MAX))?;
    let what = set_name.map_or_else(|| format!("Deployment {:?}", name(deployment)), |n| format!("ReplicaSet {n:?}"));
    let before = condition(deployment, "Progressing");
    let was_complete = before.is_some_and(|c| str_at(c, &["reason"]) == "NewReplicaSetAvailable");
    if complete {
        if !was_complete
            || before.is_some_and(|c| str_at(c, &["message"]) != format!("{what} has successfully progressed."))
        {
            set(
                conditions,
                "Progressing",
                "True",
                "NewReplicaSetAvailable",
                &format!("{what} has successfully progressed."),
                now,
            );
        }
        return None;
    }
    if let Some(news) = news.filter(|n| n.reason == "NewReplicaSetCreated" || before.is_none()) {
        set(conditions, "Progressing", "True", news.reason, &news.message, now);
        return Some(deadline);
    }
    if moved(deployment, status) || before.is_none() {
        // Moving is told by its time, even where the words stay.
        conditions.retain(|c| str_at(c, &["type"]) != "Progressing" || str_at(c, &["status"]) == "True");
        set(conditions, "Progressing", "True", "ReplicaSetUpdated", &format!("{what} is progressing."), now);
        touch(conditions, "Progressing", now);
        return Some(deadline);
    }
    let since = before.and_then(|c| time_at(c, &["lastUpdateTime"]))?;
    if was_complete {
        // Complete once and not now: pods were lost, which is no roll.
        return None;
    }
    let left = since.as_second() + deadline - now.as_second();
    if left > 0 {
        return Some(left);
    }
    set(
        conditions,
        "Progressing",
        "False",
        "ProgressDeadlineExceeded",
        &format!("{what} has timed out progressing."),
        now,
    );
    None
}

/// Whether more pods are new, ready or available, or fewer are old, than at the last look.
fn moved(deployment: &Value, status: &Map<String, Value>) -> bool {
    let new = |key: &str| status.get(key).and_then(Value::as_i64).unwrap_or(0);
    let old = |key: &str| int_at(deployment, &["status", key]).unwrap_or(0);
    new("updatedReplicas") > old("updatedReplicas")
        || new("replicas") - new("updatedReplicas") < old("replicas") - old("updatedReplicas")
        || new("readyReplicas") > old("readyReplicas")
        || new("availableReplicas") > old("availableReplicas")
}

fn replica_failure(sets: &[Value], conditions: &mut Vec<Value>, now: Timestamp) {
    let failure = sets.iter().find_map(|s| condition(s, "ReplicaFailure"));
    match failure {
        Some(c) => set(
            conditions,
            "ReplicaFailure",
            str_at(c, &["status"]),
            str_at(c, &["reason"]),
            str_at(c, &["message"]),
            now,
        ),
        None => conditions.retain(|c| str_at(c, &["type"]) != "ReplicaFailure"),
    }
}

/// Sets a condition; its times stay while what they are of stays.
fn set(conditions: &mut Vec<Value>, kind: &str, status: &str, reason: &str, message: &str, now: Timestamp) {
    let now = format!("{now:.0}");
    let old = conditions.iter().position(|c| str_at(c, &["type"]) == kind);
    let same = |i: usize, keys: &[(&str, &str)]| keys.iter().all(|(k, v)| str_at(&conditions[i], &[k]) == *v);
    if old.is_some_and(|i| same(i, &[("status", status), ("reason", reason), ("message", message)])) {
        return;
    }
    let since = old
        .filter(|&i| same(i, &[("status", status)]))
        .map(|i| str_at(&conditions[i], &["lastTransitionTime"]).to_owned());
    let new = json!({
        "type": kind, "status": status, "reason": reason, "message": message,
        "lastUpdateTime": now, "lastTransitionTime": since.unwrap_or_else(|| now.clone()),
    });
    match old {
        Some(i) => conditions[i] = new,
        None => conditions.push(new),
    }
}

fn touch(conditions: &mut [Value], kind: &str, now: Timestamp) {
    if let Some(c) = conditions.iter_mut().find(|c| str_at(c, &["type"]) == kind) {
        c["lastUpdateTime"] = json!(format!("{now:.0}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set_of(replicas: i64, available: i64) -> Value {
        json!({"metadata": {"name": "web-1"}, "spec": {"replicas": replicas}, "status": {"replicas": replicas, "readyReplicas": available, "availableReplicas": available}})
    }

    fn deployment(status: Value) -> Value {
        json!({"metadata": {"name": "web", "generation": 2}, "spec": {"replicas": 2, "progressDeadlineSeconds": 60, "strategy": {"type": "Recreate"}}, "status": status})
    }

    fn reason(status: &Value) -> &str {
        let found = list_at(status, &["conditions"]).iter().find(|c| str_at(c, &["type"]) == "Progressing");
        found.map(|c| str_at(c, &["reason"])).unwrap_or_default()
    }

    #[test]
    fn a_roll_that_does_not_move_runs_into_its_deadline_and_recovers() {
        let at = |s: &str| -> Timestamp { s.parse().unwrap() };
        let (first, again) = of(&deployment(json!({})), &[set_of(2, 0)], Some(0), None, at("2026-01-01T00:00:00Z"));
        assert_eq!((reason(&first), again), ("ReplicaSetUpdated", Some(60)));
        let (second, again) =
            of(&deployment(first.clone()), &[set_of(2, 0)], Some(0), None, at("2026-01-01T00:00:20Z"));
        assert_eq!((&second, again), (&first, Some(40)));
        let (third, again) = of(&deployment(second), &[set_of(2, 0)], Some(0), None, at("2026-01-01T00:01:00Z"));
        assert_eq!((reason(&third), again), ("ProgressDeadlineExceeded", None));
        let (done, _) = of(&deployment(third), &[set_of(2, 2)], Some(0), None, at("2026-01-01T00:02:00Z"));
        assert_eq!(reason(&done), "NewReplicaSetAvailable");
        assert_eq!(done["availableReplicas"], 2);
        assert!(done.get("unavailableReplicas").is_none());
    }
}
