//! What must be written to bring a running host pod to what its tenant's pod now says: a pure function.
//!
//! Most of a running pod cannot change. What can goes to the host by apply (metadata, images, tolerations, deadline)
//! or by a subresource (`resize`, `ephemeralcontainers`, `status`).

use apimachinery::meta::{list_at, str_at};
use serde_json::{Map, Value, json};

use super::status::pod_conditions_down;
use super::translate::HostPod;
use crate::covers::covers;
use crate::marks;

/// The writes. Those that are `None` or empty are not needed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PodPlan {
    /// To be applied.
    pub apply: Option<Value>,
    /// A strategic merge patch of `resize`.
    pub resize: Option<Value>,
    /// A strategic merge patch of `ephemeralcontainers`.
    pub ephemeral_containers: Option<Value>,
    /// A strategic merge patch of `status`.
    pub status: Option<Value>,
}

impl PodPlan {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Compares the wanted host pod (stamped) with the present one.
pub fn pod_plan(pod: &Value, desired: &HostPod, present: &Value) -> PodPlan {
    let mut plan = PodPlan::default();
    let stamp = |o: &Value| str_at(o, &["metadata", "annotations", marks::APPLIED]).to_owned();
    let merged = freeze(&desired.object, present, "");
    let without_resources = !covers(present, &merged);
    if stamp(&desired.object) != stamp(present) || without_resources {
        plan.apply = Some(merged);
    }
    let mut resized = Vec::new();
    for list in ["containers", "initContainers"] {
        for container in list_at(&desired.object, &["spec", list]) {
            let found = list_at(present, &["spec", list]).iter().find(|c| c["name"] == container["name"]);
            if let (Some(found), Some(wanted)) = (found, container.get("resources"))
                && !covers(&found["resources"], wanted)
            {
                resized.push((list, json!({"name": container["name"], "resources": wanted})));
            }
        }
    }
    if !resized.is_empty() {
        let mut spec = Map::new();
        for (list, container) in resized {
            if let Some(items) = spec.entry(list).or_insert_with(|| json!([])).as_array_mut() {
                items.push(container);
            }
        }
        plan.resize = Some(json!({"spec": spec}));
    }
    let running = list_at(present, &["spec", "ephemeralContainers"]);
    let missing: Vec<&Value> =
        desired.ephemeral_containers.iter().filter(|c| !running.iter().any(|r| r["name"] == c["name"])).collect();
    if !missing.is_empty() {
        plan.ephemeral_containers = Some(json!({"spec": {"ephemeralContainers": missing}}));
    }
    let conditions = pod_conditions_down(pod, present);
    if !conditions.is_empty() {
        plan.status = Some(json!({"status": {"conditions": conditions}}));
    }
    plan
}

/// The desired object with what cannot change any more as it is on the host.
///
/// So a pod that was made under another configuration (another resolver address, say) stays in sync.
fn freeze(desired: &Value, present: &Value, path: &str) -> Value {
    match path {
        ".metadata" | ".apiVersion" | ".kind" | ".spec.activeDeadlineSeconds" => return desired.clone(),
        ".spec.containers[].image" | ".spec.initContainers[].image" => return desired.clone(),
        ".spec.tolerations" => return tolerations(desired, present),
        _ => {}
    }
    match (desired, present) {
        (Value::Object(desired), Value::Object(present)) => {
            let mut out = Map::new();
            for (key, value) in desired {
                let path = format!("{path}.{key}");
                match present.get(key) {
                    Some(found) => {
                        out.insert(key.clone(), freeze(value, found, &path));
                    }
                    None if matches!(
                        path.as_str(),
                        ".metadata" | ".apiVersion" | ".kind" | ".spec.activeDeadlineSeconds" | ".spec.tolerations"
                    ) =>
                    {
                        out.insert(key.clone(), value.clone());
                    }
                    None => {}
                }
            }
            Value::Object(out)
        }
        (Value::Array(desired), Value::Array(present)) => {
            let path = format!("{path}[]");
            let named = desired.iter().chain(present).all(|i| i["name"].is_string());
            if !named {
                return Value::Array(present.clone());
            }
            let found = |item: &&Value| present.iter().find(|p| p["name"] == item["name"]);
            desired.iter().filter_map(|item| Some(freeze(item, found(&item)?, &path))).collect()
        }
        (_, present) => present.clone(),
    }
}

/// Tolerations can only be added.
fn tolerations(desired: &Value, present: &Value) -> Value {
    let mut all = present.as_array().cloned().unwrap_or_default();
    for toleration in desired.as_array().into_iter().flatten() {
        if !all.contains(toleration) {
            all.push(toleration.clone());
        }
    }
    Value::Array(all)
}
