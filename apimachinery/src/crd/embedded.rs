//! Objects inside custom resources (`x-kubernetes-embedded-resource`) and the metadata of all of them.
//!
//! Source: `k8s.io/apiextensions-apiserver/pkg/apiserver/schema/objectmeta`.

use serde_json::{Map, Value};

use super::node::{Additional, Node};
use crate::builtin;
use crate::codec::canonicalise;
use crate::field::{Errors, Path};
use crate::gvk::GroupVersionKind;
use crate::rules::names;
use crate::schema::KindSchema;

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// The schema of `metadata`.
pub(super) fn object_meta() -> Option<KindSchema> {
    let schema = builtin::schema();
    schema.find(OBJECT_META).map(|root| KindSchema { schema: schema.clone(), root })
}

/// Makes `metadata` canonical. Gives its unknown fields, as paths in `metadata`.
///
/// # Errors
/// What does not decode, in the words of the codec.
pub(super) fn coerce_metadata(metadata: &mut Value) -> Result<Vec<String>, String> {
    let Some(schema) = object_meta() else { return Ok(Vec::new()) };
    let kind = GroupVersionKind::new("meta.k8s.io", "v1", "ObjectMeta");
    let taken = std::mem::take(metadata);
    // A reset of managed fields is written as an empty list, which the canonical form would leave out.
    let reset = taken.get("managedFields").and_then(Value::as_array).is_some_and(Vec::is_empty);
    let canonical = canonicalise(&schema, &kind, "ObjectMeta", taken).map_err(|e| {
        let prefix = "ObjectMeta in version \"v1\" cannot be handled as a ObjectMeta: ";
        e.message.strip_prefix(prefix).unwrap_or(&e.message).to_owned()
    })?;
    *metadata = canonical.value;
    if reset && let Some(map) = metadata.as_object_mut() {
        map.insert("managedFields".to_owned(), Value::Array(Vec::new()));
    }
    let field = |s: &String| s.strip_prefix("unknown field \"").and_then(|s| s.strip_suffix('"')).map(str::to_owned);
    Ok(canonical.strict.iter().filter_map(field).collect())
}

/// Makes the metadata of embedded objects canonical. Unknown fields are added to `unknown`, what does not decode is an
/// error, or dropped where the object comes from storage.
pub(super) fn coerce(
    value: &mut Value,
    schema: &Node,
    path: &Path,
    from_storage: bool,
    unknown: &mut Vec<String>,
) -> Result<(), Errors> {
    match value {
        Value::Object(map) => {
            if schema.embedded {
                coerce_resource(map, path, from_storage, unknown)?;
            }
            for (key, value) in map.iter_mut() {
                if let Some(property) = schema.properties.get(key.as_str()) {
                    coerce(value, property, &path.child(key), from_storage, unknown)?;
                } else if let Some(Additional::Schema(additional)) = &schema.additional {
                    coerce(value, additional, &path.key(key), from_storage, unknown)?;
                }
            }
        }
        Value::Array(items) => {
            let Some(schema) = &schema.items else { return Ok(()) };
            for (i, item) in items.iter_mut().enumerate() {
                coerce(item, schema, &path.index(i), from_storage, unknown)?;
            }
        }
        _ => {}
    }
    Ok(())
}

fn coerce_resource(
    map: &mut Map<String, Value>,
    path: &Path,
    from_storage: bool,
    unknown: &mut Vec<String>,
) -> Result<(), Errors> {
    let refused = |path: &Path, value: &Value, why: &str| {
        let mut errors = Errors::default();
        errors.invalid(path, value, why);
        errors
    };
    for key in ["apiVersion", "kind"] {
        match map.get(key) {
            Some(value) if !value.is_string() && from_storage => {
                map.remove(key);
            }
            Some(value) if !value.is_string() => return Err(refused(&path.child(key), value, "must be a string")),
            _ => {}
        }
    }
    if let Some(metadata) = map.get_mut("metadata") {
        let before = metadata.clone();
        let path = path.child("metadata");
        match coerce_metadata(metadata) {
            Ok(fields) => unknown.extend(fields.into_iter().map(|f| format!("{path}.{f}"))),
            Err(_) if from_storage => {
                map.remove("metadata");
            }
            Err(why) => return Err(refused(&path, &before, &why)),
        }
    }
    Ok(())
}

/// Validates embedded objects: their kind, version, and the syntax of their metadata.
pub(super) fn validate(value: &Value, schema: &Node, path: &Path, errors: &mut Errors) {
    match value {
        Value::Object(map) => {
            if schema.embedded {
                validate_resource(map, path, errors);
            }
            for (key, value) in map {
                if let Some(property) = schema.properties.get(key.as_str()) {
                    validate(value, property, &path.child(key), errors);
                } else if let Some(Additional::Schema(additional)) = &schema.additional {
                    validate(value, additional, &path.key(key), errors);
                }
            }
        }
        Value::Array(items) => {
            let Some(schema) = &schema.items else { return };
            for (i, item) in items.iter().enumerate() {
                validate(item, schema, &path.index(i), errors);
            }
        }
        _ => {}
    }
}

fn validate_resource(map: &Map<String, Value>, path: &Path, errors: &mut Errors) {
    for key in ["apiVersion", "kind"] {
        let path = path.child(key);
        match map.get(key) {
            None => errors.required(&path, ""),
            Some(Value::String(s)) if s.is_empty() => errors.invalid_str(&path, s, "must not be empty"),
            Some(Value::String(s)) if key == "apiVersion" => {
                if s.matches('/').count() > 1 {
                    errors.invalid_str(&path, s, &format!("unexpected GroupVersion string: {s}"));
                }
            }
            Some(Value::String(s)) => {
                let wrong = names::dns1035_label(&s.to_lowercase());
                if !wrong.is_empty() {
                    let why = format!("may have mixed case, but should otherwise match: {}", wrong.join(","));
                    errors.invalid_str(&path, s, &why);
                }
            }
            Some(other) => errors.invalid(&path, other, "must be a string"),
        }
    }
    let Some(metadata) = map.get("metadata") else { return };
    let path = path.child("metadata");
    let text = |key: &str| metadata.get(key).and_then(Value::as_str).unwrap_or_default();
    for why in names::path_segment(text("name")) {
        errors.invalid_str(&path.child("name"), text("name"), &why);
    }
    if !text("namespace").is_empty() {
        for why in names::dns1123_label(text("namespace")) {
            errors.invalid_str(&path.child("namespace"), text("namespace"), &why);
        }
    }
    for (key, value) in metadata.get("labels").and_then(Value::as_object).into_iter().flatten() {
        let (path, value) = (path.child("labels"), value.as_str().unwrap_or_default());
        for why in names::qualified_name(key) {
            errors.invalid_str(&path, key, &why);
        }
        for why in names::label_value(value) {
            errors.invalid_str(&path, value, &why);
        }
    }
    for (key, _) in metadata.get("annotations").and_then(Value::as_object).into_iter().flatten() {
        for why in names::qualified_name(&key.to_lowercase()) {
            errors.invalid_str(&path.child("annotations"), key, &why);
        }
    }
    for finalizer in metadata.get("finalizers").and_then(Value::as_array).into_iter().flatten() {
        let finalizer = finalizer.as_str().unwrap_or_default();
        for why in names::qualified_name(finalizer) {
            errors.invalid_str(&path.child("finalizers"), finalizer, &why);
        }
    }
}
