//! `pods/binding`: a pod is given to a node.
//!
//! Source: `k8s.io/kubernetes/pkg/registry/core/pod/storage/storage.go`.

use apimachinery::field::{Errors, Path};
use apimachinery::gvk::GroupResource;
use apimachinery::meta;
use apimachinery::status::ApiError;
use serde_json::{Value, json};

use crate::registry::{Call, Registry};
use crate::status;

/// Binds a pod.
pub(super) async fn post(registry: &Registry, call: &Call, binding: Value) -> Result<(u16, Value), ApiError> {
    let given = meta::name(&binding);
    if !call.name.is_empty() && given != call.name {
        return Err(ApiError::bad_request("name in URL does not match name in Binding object"));
    }
    let name = given.to_owned();
    let node = meta::str_at(&binding, &["target", "name"]).to_owned();
    check(call, &binding)?;
    let pods = registry
        .catalog()
        .find_stored(call.tenant, &GroupResource::new("", "pods"))
        .ok_or_else(|| ApiError::internal("there are no pods"))?;
    let mut on = Call::new(call.tenant, call.user.clone(), pods.clone(), call.now);
    on.namespace = call.namespace.clone();
    on.name = name;
    on.subresource = "binding".to_owned();
    on.manager = call.manager.clone();
    on.dry_run = call.dry_run;
    let uid = meta::uid(&binding).to_owned();
    let now = call.now_text();
    let assign = |pod: &mut Value| {
        let resource = GroupResource::new("", "pods/binding");
        let conflict = |why: String| ApiError::conflict(&resource, &on.name, &why);
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
        pod["spec"]["nodeName"] = json!(node);
        for (key, value) in binding["metadata"].get("annotations").and_then(Value::as_object).into_iter().flatten() {
            pod["metadata"]["annotations"][key.as_str()] = value.clone();
        }
        set_scheduled(pod, &now);
        Ok(())
    };
    registry.modify_unchecked(&on, (!uid.is_empty()).then_some(uid.as_str()), &assign).await?;
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
    super::pods::set_condition(pod, condition);
}
