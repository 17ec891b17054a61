//! Custom resources: what a CustomResourceDefinition may say, and the resources it makes.
//!
//! A definition is JSON, made canonical by the built-in table. [`default_definition`], [`prepare_definition`] and
//! [`validate_definition`] are its rules; [`accept_names`] is what makes it served. [`CustomVersion`] is one of its
//! versions compiled: it decodes, prunes, defaults and validates objects, and knows their scale; their table is [`crate::table`]'s, by its [`Resource`](crate::resource::Resource).
//! [`openapi`] publishes it.
//!
//! Source: `k8s.io/apiextensions-apiserver`.

mod check;
mod check_schema;
mod embedded;
mod format;
mod kind;
mod names;
mod node;
pub mod openapi;
mod pattern;
mod prune;
mod scale;
mod structural;
#[cfg(test)]
mod tests;
mod validate;
mod version;

use serde_json::{Value, json};

pub use check::{validate_definition, validate_definition_status};
pub use names::{NamesOutcome, accept_names};
pub use scale::ScalePaths;
pub use version::{CustomVersion, Decoded};

/// The finalizer under which the objects of a deleted definition are removed first.
pub const CLEANUP_FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn versions(crd: &Value) -> &[Value] {
    crd.pointer("/spec/versions").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// The version in which objects are stored.
pub fn storage_version(crd: &Value) -> Option<&str> {
    let stored = versions(crd).iter().find(|v| v.get("storage") == Some(&json!(true)))?;
    stored.get("name").and_then(Value::as_str)
}

/// Whether a condition of a definition is `True`.
pub fn condition_is_true(crd: &Value, condition: &str) -> bool {
    let conditions = crd.pointer("/status/conditions").and_then(Value::as_array);
    conditions.into_iter().flatten().any(|c| text(c, "/type") == condition && text(c, "/status") == "True")
}

/// Fills in names, conversion and webhook port of a definition.
pub fn default_definition(crd: &mut Value) {
    if let Some(names) = crd.pointer_mut("/spec/names").and_then(Value::as_object_mut) {
        let name = |names: &serde_json::Map<String, Value>, key: &str| {
            names.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let kind = name(names, "kind");
        if name(names, "singular").is_empty() && !kind.is_empty() {
            names.insert("singular".to_owned(), json!(kind.to_lowercase()));
        }
        if name(names, "listKind").is_empty() && !kind.is_empty() {
            names.insert("listKind".to_owned(), json!(format!("{kind}List")));
        }
    }
    if let Some(spec) = crd.get_mut("spec").and_then(Value::as_object_mut)
        && spec.get("conversion").is_none_or(Value::is_null)
    {
        spec.insert("conversion".to_owned(), json!({"strategy": "None"}));
    }
    if let Some(service) =
        crd.pointer_mut("/spec/conversion/webhook/clientConfig/service").and_then(Value::as_object_mut)
        && service.get("port").is_none_or(Value::is_null)
    {
        service.insert("port".to_owned(), json!(443));
    }
}

/// Records the storage version in `status.storedVersions`: on create in a fresh status, on update beside the old ones.
pub fn prepare_definition(crd: &mut Value, old: Option<&Value>) {
    let storage = storage_version(crd).map(str::to_owned);
    let fresh = json!({"acceptedNames": {"plural": "", "kind": ""}, "conditions": null, "storedVersions": null});
    let mut status = old.and_then(|o| o.get("status")).cloned().unwrap_or(fresh);
    let stored = status.get("storedVersions").and_then(Value::as_array).cloned().unwrap_or_default();
    if let Some(storage) = storage.filter(|s| !stored.iter().any(|v| v == s)) {
        let mut stored = stored;
        stored.push(json!(storage));
        status["storedVersions"] = Value::Array(stored);
    }
    if let Some(crd) = crd.as_object_mut() {
        crd.insert("status".to_owned(), status);
    }
}

/// `Warning` texts for a definition: formats that nothing checks.
pub fn definition_warnings(crd: &Value) -> Vec<String> {
    let mut formats = std::collections::BTreeSet::new();
    for version in versions(crd) {
        if let Some(schema) = version.pointer("/schema/openAPIV3Schema") {
            unknown_formats(schema, &mut formats);
        }
    }
    formats.into_iter().map(|f| format!("unrecognized format {}", crate::field::quote(&f))).collect()
}

fn unknown_formats(schema: &Value, found: &mut std::collections::BTreeSet<String>) {
    let format = text(schema, "/format");
    let kind = match text(schema, "/type") {
        "" => node::Kind::Any,
        "string" => node::Kind::String,
        "integer" => node::Kind::Integer,
        "number" => node::Kind::Number,
        _ => node::Kind::Object,
    };
    if !format.is_empty() && format::known(format, kind).is_empty() {
        found.insert(format.to_owned());
    }
    for property in schema.get("properties").and_then(Value::as_object).into_iter().flat_map(|p| p.values()) {
        unknown_formats(property, found);
    }
    for key in ["items", "additionalProperties", "not"] {
        if let Some(nested) = schema.get(key).filter(|n| n.is_object()) {
            unknown_formats(nested, found);
        }
    }
    for key in ["allOf", "anyOf", "oneOf"] {
        for nested in schema.get(key).and_then(Value::as_array).into_iter().flatten() {
            unknown_formats(nested, found);
        }
    }
}
