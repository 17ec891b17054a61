//! Pods end gracefully.

use apimachinery::meta;
use serde_json::Value;

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
