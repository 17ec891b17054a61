//! `metadata`: what the server sets, what a client may not, and how it must look.
//!
//! Source: `k8s.io/apimachinery/pkg/api/validation/objectmeta.go`, `k8s.io/apiserver/pkg/registry/rest`.

use apimachinery::field::{Errors, Path, quote};
use apimachinery::gvk::GroupVersionKind;
use apimachinery::meta;
use apimachinery::resource::Resource;
use apimachinery::rules::{NameRule, names};
use apimachinery::status::ApiError;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::Call;

/// The finalizer that makes dependents be left alone.
pub(super) const ORPHAN: &str = "orphan";
/// The finalizer that makes dependents be deleted first.
pub(super) const FOREGROUND: &str = "foregroundDeletion";

const ANNOTATIONS_MAX: usize = 256 * 1024;
const IMMUTABLE: &str = "field is immutable";

/// `metadata`, made if it is not there.
pub(super) fn metadata_mut(object: &mut Value) -> Result<&mut Map<String, Value>, ApiError> {
    object
        .as_object_mut()
        .and_then(|o| o.entry("metadata").or_insert_with(|| Value::Object(Map::new())).as_object_mut())
        .ok_or_else(|| ApiError::bad_request("the object has no metadata"))
}

/// Sets or removes a string of `metadata`.
pub(super) fn set_text(metadata: &mut Map<String, Value>, key: &str, value: &str) {
    if value.is_empty() {
        metadata.remove(key);
    } else {
        metadata.insert(key.to_owned(), Value::String(value.to_owned()));
    }
}

/// Drops what only the server sets.
pub(super) fn wipe_system_fields(metadata: &mut Map<String, Value>) {
    for key in ["uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"] {
        metadata.remove(key);
    }
}

/// Sets what every new object has.
pub(super) fn fill_system_fields(metadata: &mut Map<String, Value>, now: &str) {
    metadata.insert("uid".to_owned(), Value::String(Uuid::new_v4().to_string()));
    metadata.insert("creationTimestamp".to_owned(), Value::String(now.to_owned()));
}

/// Makes the namespace of an object that of the request.
pub(super) fn ensure_namespace(
    metadata: &mut Map<String, Value>,
    resource: &Resource,
    namespace: &str,
) -> Result<(), ApiError> {
    let wanted = if resource.namespaced { namespace } else { "" };
    let given = metadata.get("namespace").and_then(Value::as_str).unwrap_or_default();
    if given != wanted && !given.is_empty() && !wanted.is_empty() {
        return Err(ApiError::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    set_text(metadata, "namespace", wanted);
    Ok(())
}

/// Drops owner references that stand there twice, and says so.
pub(super) fn dedup_owners(metadata: &mut Map<String, Value>, call: &Call) {
    let Some(owners) = metadata.get_mut("ownerReferences").and_then(Value::as_array_mut) else { return };
    let mut seen: Vec<Value> = Vec::with_capacity(owners.len());
    let mut doubles: Vec<String> = Vec::new();
    for owner in owners.drain(..) {
        if seen.contains(&owner) {
            doubles.push(owner.get("uid").and_then(Value::as_str).unwrap_or_default().to_owned());
        } else {
            seen.push(owner);
        }
    }
    *owners = seen;
    if !doubles.is_empty() {
        call.warn(format!(
            ".metadata.ownerReferences contains duplicate entries; API server dedups owner references in 1.20+, and may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {}",
            doubles.join(", ")
        ));
    }
}

/// What is wrong with the `metadata` of a new object.
pub(super) fn validate(object: &Value, resource: &Resource, rule: NameRule, errors: &mut Errors) {
    let empty = Map::new();
    let metadata = meta::metadata(object).unwrap_or(&empty);
    let path = Path::new("metadata");
    let text = |key: &str| metadata.get(key).and_then(Value::as_str).unwrap_or_default();
    if !text("generateName").is_empty() {
        for wrong in rule.check(text("generateName"), true) {
            errors.invalid_str(&path.child("generateName"), text("generateName"), &wrong);
        }
    }
    if text("name").is_empty() {
        errors.required(&path.child("name"), "name or generateName is required");
    } else {
        for wrong in rule.check(text("name"), false) {
            errors.invalid_str(&path.child("name"), text("name"), &wrong);
        }
    }
    if resource.namespaced {
        if text("namespace").is_empty() {
            errors.required(&path.child("namespace"), "");
        } else {
            for wrong in names::dns1123_label(text("namespace")) {
                errors.invalid_str(&path.child("namespace"), text("namespace"), &wrong);
            }
        }
    } else if !text("namespace").is_empty() {
        errors.forbidden(&path.child("namespace"), "not allowed on this type");
    }
    if let Some(number) = metadata.get("generation").filter(|g| g.as_i64().is_some_and(|g| g < 0)) {
        errors.invalid(&path.child("generation"), number, "must be greater than or equal to 0");
    }
    labels(metadata, &path.child("labels"), errors);
    annotations(metadata, &path.child("annotations"), errors);
    owners(metadata, &path.child("ownerReferences"), errors);
    finalizers(metadata, &path.child("finalizers"), errors);
    if !resource.custom {
        standard_finalizers(metadata, &path.child("finalizers"), errors);
    }
    managed_fields(metadata, &path.child("managedFields"), errors);
}

/// What is wrong with a change of `metadata`, beyond [`validate`].
pub(super) fn validate_update(new: &Value, old: &Value, errors: &mut Errors) {
    let path = Path::new("metadata");
    let empty = Map::new();
    let fields = meta::metadata(new).unwrap_or(&empty);
    if meta::metadata(old).is_some_and(|m| m.contains_key("deletionTimestamp")) {
        let before = meta::list_at(old, &["metadata", "finalizers"]);
        let mut extra: Vec<String> = meta::list_at(new, &["metadata", "finalizers"])
            .iter()
            .filter(|f| !before.contains(f))
            .filter_map(|f| f.as_str().map(quote))
            .collect();
        extra.sort();
        extra.dedup();
        if !extra.is_empty() {
            errors.forbidden(
                &path.child("finalizers"),
                &format!(
                    "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                    extra.join(", ")
                ),
            );
        }
    }
    for key in ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        let (now, before) = (new["metadata"].get(key), old["metadata"].get(key));
        if now != before {
            errors.invalid(&path.child(key), now.unwrap_or(&Value::Null), IMMUTABLE);
        }
    }
    labels(fields, &path.child("labels"), errors);
    annotations(fields, &path.child("annotations"), errors);
    owners(fields, &path.child("ownerReferences"), errors);
    managed_fields(fields, &path.child("managedFields"), errors);
}

fn strings<'a>(metadata: &'a Map<String, Value>, key: &str) -> impl Iterator<Item = (&'a String, &'a str)> {
    let map = metadata.get(key).and_then(Value::as_object);
    map.into_iter().flatten().map(|(k, v)| (k, v.as_str().unwrap_or_default()))
}

fn labels(metadata: &Map<String, Value>, path: &Path, errors: &mut Errors) {
    for (key, value) in strings(metadata, "labels") {
        for wrong in names::qualified_name(key) {
            errors.invalid_str(path, key, &wrong);
        }
        for wrong in names::label_value(value) {
            errors.invalid_str(path, value, &wrong);
        }
    }
}

fn annotations(metadata: &Map<String, Value>, path: &Path, errors: &mut Errors) {
    let mut size = 0;
    for (key, value) in strings(metadata, "annotations") {
        size += key.len() + value.len();
        for wrong in names::qualified_name(&key.to_lowercase()) {
            errors.invalid_str(path, key, &wrong);
        }
    }
    if size > ANNOTATIONS_MAX {
        errors.too_long(path, ANNOTATIONS_MAX);
    }
}

fn owners(metadata: &Map<String, Value>, path: &Path, errors: &mut Errors) {
    let owners = metadata.get("ownerReferences");
    let mut controller = String::new();
    for owner in owners.and_then(Value::as_array).into_iter().flatten() {
        let text = |key: &str| owner.get(key).and_then(Value::as_str).unwrap_or_default();
        let kind = GroupVersionKind::from_api_version(text("apiVersion"), text("kind"));
        if kind.version.is_empty() || text("apiVersion").matches('/').count() > 1 {
            errors.invalid_str(&path.child("apiVersion"), text("apiVersion"), "version must not be empty");
        }
        for key in ["kind", "name", "uid"] {
            if text(key).is_empty() {
                errors.invalid_str(&path.child(key), "", "must not be empty");
            }
        }
        if kind == GroupVersionKind::new("", "v1", "Event") {
            errors.invalid(path, owner, "/v1, Kind=Event is disallowed from being an owner");
        }
        if owner.get("controller") == Some(&json!(true)) {
            let this = format!("{}/{}", text("kind"), text("name"));
            if controller.is_empty() {
                controller = this;
            } else {
                errors.invalid(path, owners.unwrap_or(&Value::Null), &format!("Only one reference can have Controller set to true. Found \"true\" in references for {controller} and {this}"));
            }
        }
    }
}

fn finalizers(metadata: &Map<String, Value>, path: &Path, errors: &mut Errors) {
    let Some(list) = metadata.get("finalizers") else { return };
    let all: Vec<&str> = list.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for finalizer in &all {
        for wrong in names::qualified_name(finalizer) {
            errors.invalid_str(path, finalizer, &wrong);
        }
    }
    if all.contains(&ORPHAN) && all.contains(&FOREGROUND) {
        errors.invalid(path, list, &format!("finalizer {ORPHAN} and {FOREGROUND} cannot be both set"));
    }
}

/// Built-in kinds take finalizers without a domain only if they are known.
fn standard_finalizers(metadata: &Map<String, Value>, path: &Path, errors: &mut Errors) {
    let list = metadata.get("finalizers").and_then(Value::as_array);
    for (i, name) in list.into_iter().flatten().enumerate().filter_map(|(i, f)| Some((i, f.as_str()?))) {
        if !name.contains('/') && !matches!(name, ORPHAN | FOREGROUND | "kubernetes") {
            let why = "name is neither a standard finalizer name nor is it fully qualified";
            errors.invalid_str(&path.index(i), name, why);
        }
    }
}

/// Custom objects may have any finalizer; one without a domain is frowned upon when it is new.
pub(super) fn warn_of_finalizers(call: &Call, new: &Value, old: Option<&Value>) {
    let before = old.map(|old| meta::list_at(old, &["metadata", "finalizers"])).unwrap_or_default();
    let fresh = meta::list_at(new, &["metadata", "finalizers"]).iter().filter(|f| !before.contains(f));
    for name in fresh.filter_map(Value::as_str) {
        if !name.contains('/') && !matches!(name, ORPHAN | FOREGROUND | "kubernetes") {
            call.warn(format!(
                "metadata.finalizers: {}: prefer a domain-qualified finalizer name to avoid accidental conflicts with other finalizer writers",
                quote(name)
            ));
        }
    }
}

fn managed_fields(metadata: &Map<String, Value>, path: &Path, errors: &mut Errors) {
    let entries = metadata.get("managedFields").and_then(Value::as_array);
    for (i, entry) in entries.into_iter().flatten().enumerate() {
        let path = path.index(i);
        let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default();
        if !matches!(text("operation"), "Apply" | "Update") {
            errors.invalid_str(&path.child("operation"), text("operation"), "must be `Apply` or `Update`");
        }
        if !matches!(text("fieldsType"), "" | "FieldsV1") {
            errors.invalid_str(&path.child("fieldsType"), text("fieldsType"), "must be `FieldsV1`");
        }
        super::options::validate_manager(text("manager"), &path.child("manager"), errors);
        if text("subresource").len() > 256 {
            errors.too_long(&path.child("subresource"), 256);
        }
    }
}
