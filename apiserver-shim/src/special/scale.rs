//! `scale`: the replicas of an object, seen as `autoscaling/v1` `Scale`.

use apimachinery::field::{Errors, Path};
use apimachinery::gvk::GroupVersionKind;
use apimachinery::meta;
use apimachinery::patch::PatchType;
use apimachinery::selector::LabelSelector;
use apimachinery::status::ApiError;
use apimachinery::{apply, builtin};
use serde_json::{Value, json};
use smol_str::SmolStr;

use crate::registry::{Call, Patch, Registry, from_storage};

/// The scale of an object.
pub(super) async fn get(registry: &Registry, call: &Call, kind: &GroupVersionKind) -> Result<Value, ApiError> {
    let live = registry.get(call).await?;
    project(call, kind, &from_storage(&call.resource, live.to_value()?)?)
}

fn kind(call: &Call) -> Result<GroupVersionKind, ApiError> {
    super::projected(call).ok_or_else(|| ApiError::internal("no scale"))
}

/// Replaces the scale of an object.
pub(super) async fn put(registry: &Registry, call: &Call, scale: Value) -> Result<Value, ApiError> {
    let kind = kind(call)?;
    let name = meta::name(&scale);
    if !name.is_empty() && name != call.name {
        return Err(ApiError::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            call.name
        )));
    }
    let change = |live: Option<&Value>| match live {
        Some(live) => scaled(call, &kind, live, &owned(call, &kind, live)?, &scale),
        None => Err(ApiError::not_found(&call.resource.group_resource(), &call.name)),
    };
    let uid = meta::uid(&scale);
    let updated = registry.modify(call, (!uid.is_empty()).then_some(uid), false, &change).await?;
    project(call, &kind, &from_storage(&call.resource, updated.object)?)
}

/// Patches the scale of an object.
pub(super) async fn patch(registry: &Registry, call: &Call, patch: &Patch) -> Result<Value, ApiError> {
    let kind = kind(call)?;
    let change = |live: Option<&Value>| {
        let Some(live) = live else {
            return Err(ApiError::not_found(&call.resource.group_resource(), &call.name));
        };
        let before = owned(call, &kind, live)?;
        if patch.kind == PatchType::Apply {
            let scale = crate::decode::applied_scale(call, &kind, &before, &patch.value, patch.force)?;
            return parent(call, &kind, live, &scale);
        }
        let scale = crate::decode::patched_as(call, &kind, &before, patch)?;
        scaled(call, &kind, live, &before, &scale)
    };
    let updated = registry.modify(call, None, false, &change).await?;
    project(call, &kind, &from_storage(&call.resource, updated.object)?)
}

/// Where the versions of the call's resource have their replicas.
fn replicas_paths(call: &Call) -> Vec<(SmolStr, Vec<SmolStr>)> {
    let path = match call.resource.definition.as_ref().and_then(|d| d.scale()) {
        Some(paths) => paths.spec_replicas.clone(),
        None => vec!["spec".into(), "replicas".into()],
    };
    vec![(call.resource.gvk.api_version(), path)]
}

/// The scale of an object, with its managed fields.
fn owned(call: &Call, kind: &GroupVersionKind, live: &Value) -> Result<Value, ApiError> {
    let mut scale = project(call, kind, live)?;
    apply::scale_to_subresource(live, &mut scale, &replicas_paths(call)).map_err(ApiError::internal)?;
    Ok(scale)
}

/// The object with the replicas of a scale, and who changed them. `before` is its present scale.
fn scaled(
    call: &Call,
    kind: &GroupVersionKind,
    live: &Value,
    before: &Value,
    scale: &Value,
) -> Result<Value, ApiError> {
    let mut scale = scale.clone();
    let schema = builtin::kind_schema(kind).ok_or_else(|| ApiError::internal("no schema of a scale"))?;
    crate::ownership::record_scale(kind, &schema, before, &mut scale, &call.manager, &call.now_text());
    let mut new = parent(call, kind, live, &scale)?;
    let given = meta::text(&scale, "resourceVersion");
    if !given.is_empty() {
        new["metadata"]["resourceVersion"] = json!(given);
    }
    Ok(new)
}

/// The object with the replicas and managed fields of a scale.
fn parent(call: &Call, kind: &GroupVersionKind, live: &Value, scale: &Value) -> Result<Value, ApiError> {
    let mut new = with_replicas(call, kind, live, scale)?;
    let version = call.resource.gvk.api_version();
    apply::scale_to_parent(&mut new, scale, &version, &replicas_paths(call)).map_err(ApiError::internal)?;
    Ok(new)
}

/// The object with the replicas of a scale.
fn with_replicas(call: &Call, kind: &GroupVersionKind, live: &Value, scale: &Value) -> Result<Value, ApiError> {
    if let Some(paths) = call.resource.definition.as_ref().and_then(|d| d.scale()) {
        let mut new = live.clone();
        paths.set_replicas(&mut new, scale)?;
        return Ok(new);
    }
    let replicas = meta::at(scale, &["spec", "replicas"]).and_then(Value::as_i64).unwrap_or(0);
    if replicas < 0 {
        let mut errors = Errors::default();
        errors.invalid(&Path::new("spec").child("replicas"), &json!(replicas), "must be greater than or equal to 0");
        return Err(ApiError::invalid(kind, &call.name, &errors));
    }
    let mut new = live.clone();
    new["spec"]["replicas"] = json!(replicas);
    Ok(new)
}

fn project(call: &Call, kind: &GroupVersionKind, object: &Value) -> Result<Value, ApiError> {
    if let Some(paths) = call.resource.definition.as_ref().and_then(|d| d.scale()) {
        return paths.scale(object);
    }
    let mut metadata = json!({});
    for key in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = object["metadata"].get(key) {
            metadata[key] = value.clone();
        }
    }
    let selector = match meta::at(object, &["spec", "selector"]) {
        Some(map) if call.resource.gvr.resource == "replicationcontrollers" => {
            map.as_object().map(LabelSelector::from_map)
        }
        Some(selector) => Some(LabelSelector::from_object(selector).map_err(ApiError::internal)?),
        None => None,
    };
    let mut spec = json!({});
    if let Some(replicas) = meta::at(object, &["spec", "replicas"]).filter(|r| r.as_i64() != Some(0)) {
        spec["replicas"] = replicas.clone();
    }
    let replicas = meta::at(object, &["status", "replicas"]).cloned().unwrap_or_else(|| json!(0));
    let mut status = json!({"replicas": replicas});
    if let Some(selector) = selector.map(|s| s.to_string()).filter(|s| !s.is_empty()) {
        status["selector"] = json!(selector);
    }
    Ok(json!({
        "kind": kind.kind, "apiVersion": kind.api_version(), "metadata": metadata, "spec": spec, "status": status,
    }))
}
