//! Roles and bindings.

use serde_json::Value;

use super::edit::{fill_text, items_mut, made_mut};

const GROUP: &str = "rbac.authorization.k8s.io";

pub(super) fn role_binding_default(binding: &mut Value) {
    if let Some(role) = made_mut(binding, "roleRef") {
        fill_text(role, "apiGroup", GROUP);
    }
    for subject in items_mut(binding, "subjects") {
        if let Some("User" | "Group") = subject.get("kind").and_then(Value::as_str) {
            fill_text(subject, "apiGroup", GROUP);
        }
    }
}
