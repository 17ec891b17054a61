//! PersistentVolumeClaims and the templates of them.

use serde_json::{Value, json};

use super::at::{At, semantic_eq};
use super::edit::{fill_text, made_mut, remove, set, some_mut};
use super::{WriteContext, check, names, pod, quantities};
use crate::field::{Errors, quote};
use crate::quantity::Quantity;

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
        errors.invalid(&at.path(), &json!({}), "may not be specified when dataSourceRef.namespace is specified");
    } else if source.exists() && reference.exists() {
        let same = ["apiGroup", "kind", "name"].iter().all(|f| source.field(f).value() == reference.field(f).value());
        if !same {
            errors.invalid(&at.path(), &json!({}), "must match dataSourceRef");
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

/// Both ways to name what a volume is filled from say the same.
fn same_sources(spec: &mut Value) {
    let read = |key: &str| spec.get(key).filter(|v| !v.is_null()).cloned();
    match (read("dataSource"), read("dataSourceRef")) {
        (Some(source), None) => set(spec, "dataSourceRef", source),
        (None, Some(mut reference)) if At::root(&reference).field("namespace").is_empty() => {
            remove(&mut reference, "namespace");
            set(spec, "dataSource", reference);
        }
        _ => {}
    }
}

/// Leaves out sources that are not for `dataSource`, as servers did before there was `dataSourceRef`.
fn sources(spec: &mut Value, old: Option<&Value>) {
    let exists = |spec: &Value, key: &str| spec.get(key).is_some_and(|v| !v.is_null());
    let had = |key: &str| old.is_some_and(|o| exists(o, key));
    // CrossNamespaceVolumeDataSource: off.
    let elsewhere = spec.get("dataSourceRef").is_some_and(|r| !At::root(r).field("namespace").is_empty());
    if elsewhere && !had("dataSourceRef") {
        remove(spec, "dataSourceRef");
    }
    if !had("dataSource") && !had("dataSourceRef") && !exists(spec, "dataSourceRef") {
        let known = spec.get("dataSource").is_some_and(|source| {
            let source = At::root(source);
            matches!(
                (source.field("apiGroup").str(), source.field("kind").str()),
                ("", "PersistentVolumeClaim") | ("snapshot.storage.k8s.io", "VolumeSnapshot")
            )
        });
        if !known {
            remove(spec, "dataSource");
        }
    }
    same_sources(spec);
}

pub(super) fn claim_prepare_create(claim: &mut Value, _context: &WriteContext<'_>) {
    set(claim, "status", json!({"phase": "Pending"}));
    if let Some(spec) = some_mut(claim, "spec") {
        sources(spec, None);
    }
}

pub(super) fn claim_prepare_update(new: &mut Value, old: &Value, _context: &WriteContext<'_>) {
    if let Some(spec) = some_mut(new, "spec") {
        sources(spec, old.get("spec"));
    }
}

pub(super) fn claim_validate(object: &Value, errors: &mut Errors) {
    claim_spec(&At::root(object).field("spec"), errors);
}

const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";
const IMMUTABLE: &str =
    "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";

pub(super) fn claim_validate_update(new: &Value, old: &Value, context: &WriteContext<'_>, errors: &mut Errors) {
    if context.part.is("status") {
        return claim_status(&At::root(new), errors);
    }
    claim_validate(new, errors);
    spec_change(&At::root(new), &At::root(old), errors);
}

fn spec_change(new: &At<'_, '_>, old: &At<'_, '_>, errors: &mut Errors) {
    let (spec, old_spec) = (new.field("spec"), old.field("spec"));
    let (mut mine, mut theirs) = (spec.value().clone(), old_spec.value().clone());
    same_sources(&mut theirs);
    if old_spec.field("volumeName").is_empty() {
        set(&mut theirs, "volumeName", spec.field("volumeName").value().clone());
    }
    class_change(new, old, &mut mine, errors);
    let is_bound = new.field("status").field("phase").str() == "Bound";
    let storage = |spec: &At<'_, '_>| spec.field("resources").field("requests").entry("storage").value().clone();
    if is_bound {
        if let Some(requests) = mine.pointer_mut("/resources/requests").filter(|r| !r.is_null()) {
            set(requests, "storage", storage(&old_spec));
        }
        set(&mut mine, "volumeAttributesClassName", old_spec.field("volumeAttributesClassName").value().clone());
    }
    if !semantic_eq(&mine, &theirs) {
        spec.forbidden(errors, IMMUTABLE);
    }
    let size = |value: &Value| quantities::quantity(value).unwrap_or(Quantity::ZERO);
    let (size_now, size_then) = (size(&storage(&spec)), size(&storage(&old_spec)));
    let has = old.field("status").field("capacity").entry("storage").value().clone();
    if size_now < size_then && size_now <= size(&has) {
        let resources = spec.field("resources");
        let requests = resources.field("requests");
        requests.field("storage").forbidden(errors, "field can not be less than status.capacity");
    }
    let mode = At::named(spec.field("volumeMode").value(), "volumeMode");
    mode.immutable(errors, old_spec.field("volumeMode").value());
    let class = spec.field("volumeAttributesClassName");
    let changed = class.value() != old_spec.field("volumeAttributesClassName").value();
    if changed && old.field("status").field("currentVolumeAttributesClassName").exists() && class.is_empty() {
        let to = if class.exists() { "empty string" } else { "nil" };
        let says = format!("update to {to} is forbidden when status.currentVolumeAttributesClassName is not nil");
        class.forbidden(errors, &says);
    }
}

/// The storage class can be named later: in place of the annotation that named it, or where nothing did. `mine` is
/// made to look as if it had not changed when that is so.
fn class_change(new: &At<'_, '_>, old: &At<'_, '_>, mine: &mut Value, errors: &mut Errors) {
    let annotation = |claim: &At<'_, '_>| {
        let metadata = claim.field("metadata");
        let annotations = metadata.field("annotations");
        annotations.entry(CLASS_ANNOTATION).opt_str().map(str::to_owned)
    };
    let (noted, noted_before) = (annotation(new), annotation(old));
    let (spec, old_spec) = (new.field("spec"), old.field("spec"));
    let class = spec.field("storageClassName").opt_str();
    let had_class = old_spec.field("storageClassName").exists();
    let from_annotation = !had_class
        && noted_before.is_some()
        && class == noted_before.as_deref()
        && (noted.is_none() || noted == noted_before);
    if from_annotation {
        remove(mine, "storageClassName");
        return;
    }
    if noted.as_deref().unwrap_or_default() != noted_before.as_deref().unwrap_or_default() {
        let metadata = new.field("metadata");
        let annotations = metadata.field("annotations");
        annotations.field(CLASS_ANNOTATION).invalid_text(
            errors,
            noted.as_deref().unwrap_or_default(),
            "field is immutable",
        );
    }
    if class.is_some() && !had_class && noted_before.as_deref().is_none_or(|noted| class == Some(noted)) {
        remove(mine, "storageClassName");
    }
}

const RESIZE_STATUSES: &[&str] = &[
    "ControllerResizeInProgress",
    "ControllerResizeInfeasible",
    "NodeResizeInProgress",
    "NodeResizeInfeasible",
    "NodeResizePending",
];

fn claim_status(claim: &At<'_, '_>, errors: &mut Errors) {
    let status = claim.field("status");
    for (_, quantity) in status.field("capacity").entries() {
        quantities::basic(&quantity, errors);
    }
    let states = status.field("allocatedResourceStatuses");
    for (name, state) in states.entries() {
        resource_key(&states, name, errors);
        if !RESIZE_STATUSES.contains(&state.str()) {
            let mut sorted = RESIZE_STATUSES.to_vec();
            sorted.sort_unstable();
            errors.not_supported(&states.path(), &name.into(), &sorted);
        }
    }
    let allocated = status.field("allocatedResources");
    for (name, quantity) in allocated.entries() {
        if resource_key(&allocated, name, errors) {
            let seen = errors.0.len();
            quantities::basic(&quantity, errors);
            if errors.0.len() == seen {
                quantities::resource_quantity(&quantity, "storage", errors);
            }
        }
    }
}

fn resource_key(at: &At<'_, '_>, name: &str, errors: &mut Errors) -> bool {
    let wrong = names::qualified_name(name);
    for detail in &wrong {
        at.invalid_text(errors, name, detail);
    }
    if wrong.is_empty() && quantities::is_native(name) && name != "storage" {
        errors.not_supported(&at.path(), &name.into(), &["storage"]);
        return false;
    }
    wrong.is_empty()
}

pub(super) fn claim_warnings(new: &Value, _old: Option<&Value>) -> Vec<String> {
    let claim = At::root(new);
    let mut warnings = Vec::new();
    if claim.field("metadata").field("annotations").entry(CLASS_ANNOTATION).exists() {
        warnings.push(format!(
            "metadata.annotations[{CLASS_ANNOTATION}]: deprecated since v1.8; use \"storageClassName\" attribute instead"
        ));
    }
    size_warnings(&claim.field("spec"), &mut warnings);
    warnings
}

/// Parts of bytes cannot be asked for.
pub(super) fn size_warnings(spec: &At<'_, '_>, warnings: &mut Vec<String>) {
    let resources = spec.field("resources");
    for list in ["requests", "limits"] {
        let list = resources.field(list);
        let storage = list.entry("storage");
        if let Some(quantity) = quantities::quantity(storage.value()).filter(|q| !q.is_whole()) {
            let shown = quote(&quantity.canonical());
            warnings.push(format!("{}: fractional byte value {shown} is invalid, must be an integer", storage.path()));
        }
    }
}
