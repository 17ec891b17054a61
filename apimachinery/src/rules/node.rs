//! Nodes.

use serde_json::Value;

use super::edit::{set, some_mut};

pub(super) fn node_default(node: &mut Value) {
    if let Some(status) = some_mut(node, "status")
        && status.get("allocatable").is_none_or(Value::is_null)
        && let Some(capacity) = status.get("capacity").filter(|c| !c.is_null()).cloned()
    {
        set(status, "allocatable", capacity);
    }
}
