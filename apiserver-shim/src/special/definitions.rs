//! A definition stays until the objects of its kind are gone.
//!
//! Source: `k8s.io/apiextensions-apiserver/pkg/registry/customresourcedefinition/etcd.go`.

use apimachinery::crd::CLEANUP_FINALIZER;
use apimachinery::meta;
use apimachinery::status::ApiError;
use serde_json::{Value, json};

use crate::registry::{Call, Registry};

/// Adds the finalizer that waits for the objects, on the first deletion, and says so in the status.
pub(super) fn hold(definition: &mut Value, now: &str) {
    let Some(metadata) = definition.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    if metadata.contains_key("deletionTimestamp") {
        return;
    }
    let finalizers = metadata.entry("finalizers").or_insert_with(|| json!([]));
    if let Some(finalizers) = finalizers.as_array_mut()
        && !finalizers.iter().any(|f| f == CLEANUP_FINALIZER)
    {
        finalizers.push(json!(CLEANUP_FINALIZER));
    }
    let terminating = json!({
        "type": "Terminating", "status": "True", "lastTransitionTime": now,
        "reason": "InstanceDeletionInProgress", "message": "CustomResource deletion is in progress",
    });
    let Some(status) = definition.get_mut("status").and_then(Value::as_object_mut) else { return };
    let conditions = status.entry("conditions").or_insert(Value::Null);
    match conditions.as_array_mut() {
        Some(conditions) => {
            conditions.retain(|c| c["type"] != "Terminating");
            conditions.push(terminating);
        }
        None => *conditions = json!([terminating]),
    }
}

/// Refuses new objects of a definition that waits for the old ones to go: they would keep it for ever.
pub(super) fn check_create(registry: &Registry, call: &Call, object: &Value) -> Result<(), ApiError> {
    let resource = call.resource.group_resource();
    if !registry.catalog().is_terminating(call.tenant, &resource) {
        return Ok(());
    }
    let why = "create not allowed while custom resource definition is terminating";
    Err(ApiError::forbidden(&resource, meta::name(object), why))
}
