//! `pods/binding`: a pod is given to a node.
//!
//! Source: `k8s.io/kubernetes/pkg/registry/core/pod/storage/storage.go`.

use std::sync::Arc;

use apimachinery::field::{Errors, Path};
use apimachinery::meta;
use apimachinery::status::ApiError;
use serde_json::{Value, json};

use crate::registry::{Call, Registry};
use crate::status;

/// Binds a pod.
pub(super) async fn post(registry: &Registry, call: &Call, binding: Value) -> Result<(u16, Value), ApiError> {
    let name = if call.name.is_empty() { meta::name(&binding).to_owned() } else { call.name.clone() };
    if !meta::name(&binding).is_empty() && meta::name(&binding) != name {
        return Err(ApiError::bad_request("name in URL does not match name in Binding object"));
    }
    let node = meta::str_at(&binding, &["target", "name"]).to_owned();
    check(call, &binding)?;
    let pods = registry
        .catalog()
        .find_stored(call.tenant, &apimachinery::gvk::GroupResource::new("", "pods"))
        .ok_or_else(|| ApiError::internal("there are no pods"))?;
    let mut on = Call::new(call.tenant, call.user.clone(), Arc::clone(&pods), call.now);
    on.namespace = call.namespace.clone();
    on.name = name;
    on.subresource = "binding".to_owned();
    on.manager = call.manager.clone();
    on.dry_run = call.dry_run;
    let uid = meta::uid(&binding).to_owned();
    let now = call.now_text();
    let change = |live: Option<&Value>| {
        let Some(pod) = live else { return Err(ApiError::not_found(&pods.group_resource(), &on.name)) };
        let conflict = |why: String| {
            ApiError::conflict(&apimachinery::gvk::GroupResource::new("", "pods/binding"), &on.name, &why)
        };
        if pod["metadata"].get("deletionTimestamp").is_some() {
            return Err(conflict(format!("pod {} is being deleted, cannot be assigned to a host", on.name)));
        }
        let before = meta::str_at(pod, &["spec", "nodeName"]);
        if !before.is_empty() {
            return Err(conflict(format!("pod {} is already assigned to node \"{before}\"", on.name)));
        }
        if !meta::list_at(pod, &["spec", "schedulingGates"]).is_empty() {
            return Err(conflict(format!("pod {} has non-empty .spec.schedulingGates", on.name)));
        }
        let mut new = pod.clone();
        new["spec"]["nodeName"] = json!(node);
        for (key, value) in binding["metadata"].get("annotations").and_then(Value::as_object).into_iter().flatten() {
            new["metadata"]["annotations"][key.as_str()] = value.clone();
        }
        set_scheduled(&mut new, &now);
        Ok(crate::ownership::record_update(&pods, pod, new, &on.manager, &now, "binding"))
    };
    registry.modify(&on, (!uid.is_empty()).then_some(uid.as_str()), false, &change).await?;
    Ok((201, status::success(201)))
}

fn check(call: &Call, binding: &Value) -> Result<(), ApiError> {
    let mut errors = Errors::default();
    let kind = meta::str_at(binding, &["target", "kind"]);
    if !matches!(kind, "" | "Node") {
        errors.not_supported(&Path::new("target").child("kind"), &json!(kind), &["Node", "<empty>"]);
    }
    if meta::str_at(binding, &["target", "name"]).is_empty() {
        errors.required(&Path::new("target").child("name"), "");
    }
    let kind = apimachinery::gvk::GroupVersionKind::new("", "v1", "Binding");
    if errors.is_empty() { Ok(()) } else { Err(ApiError::invalid(&kind, &call.name, &errors)) }
}

fn set_scheduled(pod: &mut Value, now: &str) {
    let condition = json!({
        "type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": now,
    });
    let Some(status) = pod.as_object_mut().map(|p| p.entry("status").or_insert_with(|| json!({}))) else { return };
    let conditions = status.as_object_mut().map(|s| s.entry("conditions").or_insert_with(|| json!([])));
    let Some(conditions) = conditions.and_then(Value::as_array_mut) else { return };
    match conditions.iter_mut().find(|c| c["type"] == "PodScheduled") {
        Some(there) => *there = condition,
        None => conditions.push(condition),
    }
}
