//! Namespaces.

use serde_json::Value;

use super::edit::{fill_text, made_mut, set};
use crate::meta;

/// Every namespace is labelled with its own name.
pub(super) fn namespace_default(namespace: &mut Value) {
    let name = meta::name(namespace).to_owned();
    if !name.is_empty()
        && let Some(labels) = made_mut(namespace, "metadata").and_then(|m| made_mut(m, "labels"))
    {
        set(labels, "kubernetes.io/metadata.name", name);
    }
    if let Some(status) = made_mut(namespace, "status") {
        fill_text(status, "phase", "Active");
    }
}
