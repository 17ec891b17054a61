//! Namespaces are deleted in two steps: they terminate, and go when `spec.finalizers` is empty.

use apimachinery::meta;
use apimachinery::status::ApiError;
use serde_json::{Value, json};

use crate::registry::{Call, DeleteOptions};

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

/// Refuses a deletion whose preconditions do not hold.
pub(super) fn check(call: &Call, options: &DeleteOptions, old: &Value) -> Result<(), ApiError> {
    for (what, wanted, present) in [
        ("UID", &options.uid, meta::uid(old)),
        ("ResourceVersion", &options.resource_version, meta::text(old, "resourceVersion")),
    ] {
        if let Some(wanted) = wanted.as_deref().filter(|w| *w != present) {
            let why =
                format!("Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {present}");
            return Err(ApiError::conflict(&call.resource.group_resource(), meta::name(old), &why));
        }
    }
    Ok(())
}
