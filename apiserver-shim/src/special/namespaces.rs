//! Namespaces are deleted in two steps: they terminate, and go when `spec.finalizers` is empty.

use apimachinery::meta;
use serde_json::{Value, json};

/// Whether a namespace can't be removed yet.
pub(super) fn held(namespace: &Value) -> bool {
    namespace["metadata"].get("deletionTimestamp").is_none()
        || !meta::list_at(namespace, &["spec", "finalizers"]).is_empty()
}

/// A namespace terminates; it has no grace period.
pub(super) fn mark(namespace: &mut Value) {
    namespace["status"]["phase"] = json!("Terminating");
    if let Some(metadata) = namespace.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("deletionGracePeriodSeconds");
    }
}
