//! What a budget's status says, from the budget and its pods. Nothing here reads or writes.

use apimachinery::intstr::IntOrString;
use apimachinery::meta::{at, list_at, str_at};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use super::facts::Pod;
use super::{allowed_condition, condition};
use crate::object::{self, int_at, set_condition};

/// How long an eviction that was granted may take to show as a deletion.
const DELETION_TIMEOUT: SignedDuration = SignedDuration::from_secs(120);

/// What the pods of a budget are counted against.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// The pods themselves.
    Pods,
    /// The scale of their controllers.
    Scale,
}

/// The count of a budget.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Count {
    pub(super) expected: i32,
    pub(super) desired: i32,
    pub(super) healthy: i32,
    /// Evictions that were granted and do not show yet, by pod.
    pub(super) disrupted: Map<String, Value>,
    /// When the first of them is taken for lost.
    pub(super) recheck: Option<Timestamp>,
}

/// What a budget counts its pods against.
pub(super) fn expected(budget: &Value) -> Expected {
    let relative = |key: &str| at(budget, &["spec", key]).is_some_and(Value::is_string);
    let unavailable = at(budget, &["spec", "maxUnavailable"]).is_some();
    if unavailable || relative("minAvailable") { Expected::Scale } else { Expected::Pods }
}

/// Counts.
///
/// # Errors
/// Words about a bound that is no number and no percentage.
pub(super) fn count(budget: &Value, expected: i32, pods: &[Pod], now: Timestamp) -> Result<Count, String> {
    let desired = match (bound(budget, "maxUnavailable")?, bound(budget, "minAvailable")?) {
        (Some(most), _) => (expected - scaled(&most, expected)?).max(0),
        (None, Some(least)) => scaled(&least, expected)?,
        // Neither: the server takes no such budget; nothing is asked of the pods.
        (None, None) => return Ok(Count::default()),
    };
    let mut count = Count { expected, desired, ..Count::default() };
    for pod in pods.iter().filter(|p| !p.deleting) {
        let granted = object::time_at(budget, &["status", "disruptedPods", &pod.name]);
        let expires = granted.map(|t| t.checked_add(DELETION_TIMEOUT).unwrap_or(t)).filter(|t| *t >= now);
        match expires {
            Some(at_latest) => {
                let entry = budget["status"]["disruptedPods"][pod.name.as_str()].clone();
                count.disrupted.insert(pod.name.to_string(), entry);
                count.recheck = count.recheck.into_iter().chain([at_latest]).min();
            }
            None => count.healthy += i32::from(pod.ready),
        }
    }
    Ok(count)
}

fn bound(budget: &Value, key: &str) -> Result<Option<IntOrString>, String> {
    let Some(value) = at(budget, &["spec", key]) else { return Ok(None) };
    IntOrString::from_value(value).map(Some).ok_or_else(|| format!("spec.{key} is neither a number nor a text"))
}

fn scaled(bound: &IntOrString, expected: i32) -> Result<i32, String> {
    bound
        .scaled(expected, true)
        .ok_or_else(|| format!("invalid value for IntOrString: invalid type: string is not a percentage ({bound:?})"))
}

/// The status by a count.
pub(super) fn status(budget: &Value, count: &Count, now: &str) -> Value {
    // A budget that selects nothing yet allows nothing: its first pods may be there before the next look.
    let spare = (count.healthy - count.desired).max(0);
    let allowed = if count.expected > 0 { spare } else { 0 };
    let generation = int_at(budget, &["metadata", "generation"]);
    let mut conditions = list_at(budget, &["status", "conditions"]).to_vec();
    set_condition(&mut conditions, allowed_condition(allowed > 0, generation), now);
    let mut status = json!({
        "currentHealthy": count.healthy,
        "desiredHealthy": count.desired,
        "disruptionsAllowed": allowed,
        "expectedPods": count.expected,
        "conditions": conditions,
    });
    if let Some(generation) = generation {
        status["observedGeneration"] = json!(generation);
    }
    if !count.disrupted.is_empty() {
        status["disruptedPods"] = Value::Object(count.disrupted.clone());
    }
    status
}

/// The status of a budget that cannot be counted: nobody may be evicted.
pub(super) fn failed(budget: &Value, message: &str, now: &str) -> Value {
    let mut status = at(budget, &["status"]).cloned().unwrap_or_else(|| json!({}));
    let observed = int_at(budget, &["status", "observedGeneration"]);
    let mut conditions = list_at(budget, &["status", "conditions"]).to_vec();
    set_condition(&mut conditions, condition("False", "SyncFailed", message, observed), now);
    status["conditions"] = Value::Array(conditions);
    status["disruptionsAllowed"] = json!(0);
    for key in ["currentHealthy", "desiredHealthy", "expectedPods"] {
        if status.get(key).is_none() {
            status[key] = json!(0);
        }
    }
    status
}

/// The failure that the new status tells and the old one did not.
pub(super) fn news(budget: &Value, status: &Value) -> Option<String> {
    let failure = |status: &Value| {
        let condition = list_at(status, &["conditions"]).iter().find(|c| c["reason"] == "SyncFailed")?;
        Some(str_at(condition, &["message"]).to_owned())
    };
    let new = failure(status)?;
    let old = budget.get("status").and_then(failure);
    (old.as_ref() != Some(&new)).then(|| format!("Failed to calculate the number of expected pods: {new}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, ready: bool) -> Pod {
        Pod { name: name.into(), ready, ..Pod::default() }
    }

    fn budget(spec: Value) -> Value {
        json!({"metadata": {"name": "b", "generation": 2}, "spec": spec})
    }

    fn now() -> Timestamp {
        "2026-01-01T00:10:00Z".parse().unwrap()
    }

    fn counted(spec: Value, expected: i32, pods: &[Pod]) -> (i64, i64, i64) {
        let budget = budget(spec);
        let status = status(&budget, &count(&budget, expected, pods, now()).unwrap(), "t");
        let number = |key: &str| status[key].as_i64().unwrap();
        (number("currentHealthy"), number("desiredHealthy"), number("disruptionsAllowed"))
    }

    #[test]
    fn what_is_spare_may_go() {
        let pods = [pod("a", true), pod("b", true), pod("c", false)];
        for (spec, expected, wanted) in [
            (json!({"minAvailable": 1}), 3, (2, 1, 1)),
            (json!({"minAvailable": 2}), 3, (2, 2, 0)),
            (json!({"minAvailable": 5}), 3, (2, 5, 0)),
            (json!({"minAvailable": "50%"}), 3, (2, 2, 0)),
            (json!({"minAvailable": "1%"}), 3, (2, 1, 1)),
            (json!({"minAvailable": "0%"}), 3, (2, 0, 2)),
            (json!({"maxUnavailable": 1}), 3, (2, 2, 0)),
            (json!({"maxUnavailable": 2}), 3, (2, 1, 1)),
            (json!({"maxUnavailable": "34%"}), 3, (2, 1, 1)),
            (json!({"maxUnavailable": "100%"}), 3, (2, 0, 2)),
            (json!({"maxUnavailable": 9}), 3, (2, 0, 2)),
            // The controllers want more pods than there are.
            (json!({"maxUnavailable": 1}), 10, (2, 9, 0)),
            // Nothing is expected: nothing is allowed.
            (json!({"maxUnavailable": 1}), 0, (2, 0, 0)),
        ] {
            assert_eq!(counted(spec.clone(), expected, &pods), wanted, "{spec} of {expected}");
        }
    }

    #[test]
    fn pods_that_go_are_not_healthy() {
        let going = Pod { deleting: true, ..pod("a", true) };
        assert_eq!(counted(json!({"minAvailable": 1}), 2, &[going, pod("b", true)]), (1, 1, 0));
    }

    #[test]
    fn an_eviction_counts_until_it_shows_or_is_lost() {
        let mut budget = budget(json!({"minAvailable": 1}));
        budget["status"]["disruptedPods"] = json!({
            "a": "2026-01-01T00:09:00Z", "late": "2026-01-01T00:07:59Z", "gone": "2026-01-01T00:09:00Z",
        });
        let count = count(&budget, 3, &[pod("a", true), pod("late", true), pod("c", true)], now()).unwrap();
        assert_eq!(count.healthy, 2);
        assert_eq!(count.disrupted.keys().collect::<Vec<_>>(), ["a"]);
        assert_eq!(count.recheck, Some("2026-01-01T00:11:00Z".parse().unwrap()));
    }

    #[test]
    fn a_status_that_is_right_stays_as_it_is() {
        let mut budget = budget(json!({"minAvailable": 1}));
        let pods = [pod("a", true), pod("b", true)];
        budget["status"] = status(&budget, &count(&budget, 2, &pods, now()).unwrap(), "2026-01-01T00:10:00Z");
        assert_eq!(budget["status"]["conditions"][0]["reason"], "SufficientPods");
        assert_eq!(budget["status"]["observedGeneration"], 2);
        let again = status(&budget, &count(&budget, 2, &pods, now()).unwrap(), "2026-01-01T00:11:00Z");
        assert_eq!(again, budget["status"]);
    }

    #[test]
    fn a_budget_that_cannot_be_counted_allows_nothing_and_says_so_once() {
        let mut budget = budget(json!({"minAvailable": "half"}));
        let why = count(&budget, 2, &[], now()).unwrap_err();
        budget["status"] = json!({"disruptionsAllowed": 3, "currentHealthy": 4});
        let status = failed(&budget, &why, "t");
        assert_eq!(status["disruptionsAllowed"], 0);
        assert_eq!(status["currentHealthy"], 4);
        assert_eq!(status["conditions"][0]["reason"], "SyncFailed");
        assert!(news(&budget, &status).is_some());
        budget["status"] = status.clone();
        assert!(news(&budget, &status).is_none());
    }
}
