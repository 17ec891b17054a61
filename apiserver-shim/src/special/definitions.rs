//! A definition stays until the objects of its kind are gone.
//!
//! Source: `k8s.io/apiextensions-apiserver/pkg/registry/customresourcedefinition/etcd.go`.

use apimachinery::crd::CLEANUP_FINALIZER;
use serde_json::{Value, json};

/// Adds the finalizer that waits for the objects, on the first deletion.
pub(super) fn hold(definition: &mut Value) {
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
}
