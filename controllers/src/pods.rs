//! Pods as their controllers see them.

use apimachinery::gvk::GroupVersionKind;
use apimachinery::meta::{list_at, str_at};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::object::{condition, controller_reference, deleting, int_at, time_at};

/// Whether a pod has run to its end.
pub(crate) fn finished(pod: &Value) -> bool {
    matches!(str_at(pod, &["status", "phase"]), "Succeeded" | "Failed")
}

/// Whether a pod counts towards the replicas of its controller.
pub(crate) fn active(pod: &Value) -> bool {
    !finished(pod) && !deleting(pod)
}

/// Whether a pod is ready.
pub(crate) fn ready(pod: &Value) -> bool {
    condition(pod, "Ready").is_some_and(|c| str_at(c, &["status"]) == "True")
}

/// How many seconds, by `now`, a pod has to stay ready until it has been for `min_ready`; none if it has, `None` if it is not ready.
pub(crate) fn seconds_to_available(pod: &Value, min_ready: i64, now: Timestamp) -> Option<i64> {
    let ready = condition(pod, "Ready").filter(|c| str_at(c, &["status"]) == "True")?;
    if min_ready == 0 {
        return Some(0);
    }
    let since = time_at(ready, &["lastTransitionTime"])?;
    Some((since.as_second() + min_ready - now.as_second()).max(0))
}

/// A pod by a template, controlled by `owner`.
pub(crate) fn from_template(template: &Value, owner: &Value, kind: &GroupVersionKind) -> Value {
    let mut metadata = Map::new();
    for key in ["labels", "annotations", "finalizers"] {
        if let Some(value) = template.pointer(&format!("/metadata/{key}")) {
            metadata.insert(key.to_owned(), value.clone());
        }
    }
    metadata.insert("namespace".to_owned(), json!(apimachinery::meta::namespace(owner)));
    metadata.insert("generateName".to_owned(), json!(generate_name(apimachinery::meta::name(owner))));
    metadata.insert("ownerReferences".to_owned(), json!([controller_reference(owner, kind)]));
    let spec = template.get("spec").cloned().unwrap_or_else(|| json!({}));
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
}

/// The prefix of the names of an owner's pods. One that would not be a name is left to the server to refuse.
fn generate_name(owner: &str) -> String {
    format!("{owner}-")
}

/// The order in which pods that are too many go: what matters least first.
pub(crate) fn deletion_rank(pod: &Value, pods_on_node: usize) -> impl Ord + use<> {
    let phase = match str_at(pod, &["status", "phase"]) {
        "Pending" => 0,
        "" | "Unknown" => 1,
        _ => 2,
    };
    let cost: i64 =
        str_at(pod, &["metadata", "annotations", "controller.kubernetes.io/pod-deletion-cost"]).parse().unwrap_or(0);
    let restarts: i64 = list_at(pod, &["status", "containerStatuses"])
        .iter()
        .filter_map(|c| int_at(c, &["restartCount"]))
        .max()
        .unwrap_or(0);
    let since =
        condition(pod, "Ready").and_then(|c| time_at(c, &["lastTransitionTime"])).map_or(0, Timestamp::as_second);
    let created = time_at(pod, &["metadata", "creationTimestamp"]).map_or(0, Timestamp::as_second);
    (
        !str_at(pod, &["spec", "nodeName"]).is_empty(),
        phase,
        ready(pod),
        cost,
        std::cmp::Reverse(pods_on_node),
        std::cmp::Reverse(since),
        std::cmp::Reverse(restarts),
        std::cmp::Reverse(created),
    )
}

/// Whether a label of the pod's template is on the pod, for each.
pub(crate) fn fully_labelled(pod: &Value, template: &Value) -> bool {
    let wanted = template.pointer("/metadata/labels").and_then(Value::as_object);
    let labels = pod.pointer("/metadata/labels").and_then(Value::as_object);
    wanted.is_none_or(|w| w.iter().all(|(k, v)| labels.and_then(|l| l.get(k)) == Some(v)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(node: &str, phase: &str, ready: bool) -> Value {
        json!({
            "metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"nodeName": node},
            "status": {"phase": phase, "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }, "lastTransitionTime": "2026-01-01T00:00:10Z"}]},
        })
    }

    #[test]
    fn what_matters_least_goes_first() {
        let mut pods = [pod("n", "Running", true), pod("n", "Running", false), pod("", "Pending", false)];
        pods.sort_by_key(|p| deletion_rank(p, 1));
        let order: Vec<&str> = pods.iter().map(|p| str_at(p, &["status", "phase"])).collect();
        assert_eq!(order, ["Pending", "Running", "Running"]);
        assert!(!ready(&pods[1]) && ready(&pods[2]));
    }

    #[test]
    fn a_pod_is_available_when_it_has_been_ready_long_enough() {
        let now = "2026-01-01T00:00:15Z".parse().unwrap();
        assert_eq!(seconds_to_available(&pod("n", "Running", true), 0, now), Some(0));
        assert_eq!(seconds_to_available(&pod("n", "Running", true), 30, now), Some(25));
        assert_eq!(seconds_to_available(&pod("n", "Running", true), 5, now), Some(0));
        assert_eq!(seconds_to_available(&pod("n", "Running", false), 0, now), None);
    }
}
