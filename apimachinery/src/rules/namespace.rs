//! Namespaces.

use serde_json::{Value, json};

use super::at::At;
use super::edit::{fill_text, made_mut, remove, set};
use super::{Part, WriteContext, names};
use crate::field::Errors;
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

/// A namespace that ends still has to be emptied: until then it has the finalizer of Kubernetes.
pub(super) fn namespace_prepare_create(namespace: &mut Value, _context: &WriteContext<'_>) {
    set(namespace, "status", json!({"phase": "Active"}));
    let Some(spec) = made_mut(namespace, "spec") else { return };
    let mut finalizers = meta::list_at(spec, &["finalizers"]).to_vec();
    if !finalizers.iter().any(|f| f == "kubernetes") {
        finalizers.push("kubernetes".into());
    }
    set(spec, "finalizers", finalizers);
}

/// Finalizers of a namespace are written through `finalize` alone.
pub(super) fn namespace_prepare_update(new: &mut Value, old: &Value, context: &WriteContext<'_>) {
    if context.part == Part::Main {
        let finalizers = meta::at(old, &["spec", "finalizers"]).cloned();
        if let Some(spec) = made_mut(new, "spec") {
            match finalizers {
                Some(finalizers) => set(spec, "finalizers", finalizers),
                None => remove(spec, "finalizers"),
            }
        }
    } else if context.part.is("finalize")
        && let Some(status) = old.get("status")
    {
        set(new, "status", status.clone());
    }
}

fn finalizer(at: &At<'_, '_>, shown: &At<'_, '_>, errors: &mut Errors) {
    for detail in names::qualified_name(at.str()) {
        shown.invalid_text(errors, at.str(), &detail);
    }
    if !at.str().contains('/') && !matches!(at.str(), "kubernetes" | "orphan" | "foregroundDeletion") {
        let says = "name is neither a standard finalizer name nor is it fully qualified";
        shown.invalid_text(errors, at.str(), says);
    }
}

pub(super) fn namespace_validate(object: &Value, errors: &mut Errors) {
    let root = At::root(object);
    let spec = root.field("spec");
    let list = spec.field("finalizers");
    for item in list.items() {
        finalizer(&item, &list, errors);
    }
}

pub(super) fn namespace_validate_update(new: &Value, _old: &Value, context: &WriteContext<'_>, errors: &mut Errors) {
    let root = At::root(new);
    if context.part.is("finalize") {
        let spec = root.field("spec");
        for item in spec.field("finalizers").items() {
            finalizer(&item, &item, errors);
        }
    } else if context.part.is("status") {
        let status = root.field("status");
        let phase = status.field("phase").str();
        let (wanted, when) = if root.field("metadata").field("deletionTimestamp").exists() {
            ("Terminating", "not empty")
        } else {
            ("Active", "empty")
        };
        if phase != wanted {
            let says = format!("may only be '{wanted}' if `deletionTimestamp` is {when}");
            status.field("Phase").invalid_text(errors, phase, &says);
        }
    }
}
