//! PersistentVolumeClaims and the templates of them.

use serde_json::Value;

use super::at::At;
use super::edit::{fill_text, made_mut};
use super::{check, names, pod, quantities};
use crate::field::Errors;

const ACCESS_MODES: &[&str] = &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];

pub(super) fn claim_default(claim: &mut Value) {
    if let Some(spec) = made_mut(claim, "spec") {
        pod::claim_spec_default(spec);
    }
    if let Some(status) = made_mut(claim, "status") {
        fill_text(status, "phase", "Pending");
    }
}

/// The claim that a pod's ephemeral volume makes; of its metadata only labels and annotations count.
pub(super) fn claim_template(at: &At<'_, '_>, errors: &mut Errors) {
    let metadata = at.field("metadata");
    check::annotations(&metadata.field("annotations"), errors);
    check::labels(&metadata.field("labels"), errors);
    for (key, field) in metadata.entries() {
        if !matches!(key, "labels" | "annotations") && !field.is_empty() {
            metadata.field(key).forbidden(errors, "cannot be set");
        }
    }
    claim_spec(&at.field("spec"), errors);
}

/// How volumes can be mounted.
pub(super) fn access_modes(at: &At<'_, '_>, errors: &mut Errors) {
    let (mut once_pod, mut other) = (false, false);
    for mode in at.items() {
        if !ACCESS_MODES.contains(&mode.str()) {
            errors.not_supported(&at.path(), &mode.str().into(), ACCESS_MODES);
        }
        once_pod |= mode.str() == "ReadWriteOncePod";
        other |= mode.str() != "ReadWriteOncePod" && ACCESS_MODES.contains(&mode.str());
    }
    if once_pod && other {
        at.forbidden(errors, "may not use ReadWriteOncePod with other access modes");
    }
}

/// A claim's `spec`.
pub(super) fn claim_spec(at: &At<'_, '_>, errors: &mut Errors) {
    let modes = at.field("accessModes");
    if modes.is_empty() {
        modes.required(errors, "at least 1 access mode is required");
    }
    check::label_selector(&at.field("selector"), errors);
    access_modes(&modes, errors);
    let resources = at.field("resources");
    let requests = resources.field("requests");
    let asked = requests.entry("storage");
    let shown = resources.entry("storage");
    let storage = shown.with_value(asked.value());
    if !storage.exists() {
        storage.required(errors, "");
    } else if quantities::positive(&storage, errors) {
        quantities::resource_quantity(&storage, "storage", errors);
    }
    at.field("storageClassName").optional_name(errors, names::dns1123_subdomain);
    let mode = at.field("volumeMode");
    if mode.exists() {
        mode.one_of(errors, &["Block", "Filesystem"]);
    }
    let (source, reference) = (at.field("dataSource"), at.field("dataSourceRef"));
    data_source(&source, errors);
    data_source(&reference, errors);
    let namespace = reference.field("namespace");
    if reference.exists() {
        namespace.optional_name(errors, names::dns1123_label);
    }
    if source.exists() && !namespace.is_empty() {
        at.invalid_text(errors, "spec.dataSource", "may not be specified when dataSourceRef.namespace is specified");
    } else if source.exists() && reference.exists() {
        let same = ["apiGroup", "kind", "name"].iter().all(|f| source.field(f).value() == reference.field(f).value());
        if !same {
            at.invalid_text(errors, "spec.dataSource", "must match dataSourceRef");
        }
    }
    at.field("volumeAttributesClassName").optional_name(errors, names::dns1123_subdomain);
}

fn data_source(at: &At<'_, '_>, errors: &mut Errors) {
    if !at.exists() {
        return;
    }
    let (kind, group) = (at.field("kind"), at.field("apiGroup"));
    at.field("name").required_text(errors);
    kind.required_text(errors);
    if group.str().is_empty() && kind.str() != "PersistentVolumeClaim" {
        let says = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
        at.invalid_text(errors, kind.str(), says);
    }
    group.optional_name(errors, names::dns1123_subdomain);
}
