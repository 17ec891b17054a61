//! Pods end gracefully.

use apimachinery::meta;
use serde_json::{Value, json};

/// How many seconds a pod that is deleted now has left.
pub(super) fn grace(pod: &Value, asked: Option<i64>) -> i64 {
    let own = meta::at(pod, &["spec", "terminationGracePeriodSeconds"]).and_then(Value::as_i64).unwrap_or(0);
    let unscheduled = meta::str_at(pod, &["spec", "nodeName"]).is_empty();
    let ended = matches!(meta::str_at(pod, &["status", "phase"]), "Failed" | "Succeeded");
    match asked.unwrap_or(own) {
        _ if unscheduled || ended => 0,
        seconds if seconds < 0 => 1,
        seconds => seconds,
    }
}

/// Sets a condition of a pod's status, in the place of the one of the same type.
pub(super) fn set_condition(pod: &mut Value, condition: Value) {
    let Some(status) = pod.as_object_mut().map(|p| p.entry("status").or_insert_with(|| json!({}))) else { return };
    let conditions = status.as_object_mut().map(|s| s.entry("conditions").or_insert_with(|| json!([])));
    let Some(conditions) = conditions.and_then(Value::as_array_mut) else { return };
    match conditions.iter_mut().find(|c| c.get("type") == condition.get("type")) {
        Some(there) => *there = condition,
        None => conditions.push(condition),
    }
}
