//! Whether a schema is structural: it says of every value what it is, outside of `allOf`, `anyOf`, `oneOf` and `not`.
//!
//! Source of rules and wording: `k8s.io/apiextensions-apiserver/pkg/apiserver/schema/{validation,complete}.go`.

use serde_json::{Value, json};

use super::pattern;
use crate::field::{Errors, Path};

const UNSUPPORTED: [&str; 7] =
    ["id", "$schema", "$ref", "patternProperties", "dependencies", "additionalItems", "definitions"];

pub(super) fn text<'a>(schema: &'a Value, key: &str) -> &'a str {
    schema.get(key).and_then(Value::as_str).unwrap_or_default()
}

pub(super) fn flag(schema: &Value, key: &str) -> bool {
    schema.get(key).and_then(Value::as_bool).unwrap_or(false)
}

/// Set to something that is not its zero value.
pub(super) fn set<'a>(schema: &'a Value, key: &str) -> Option<&'a Value> {
    schema.get(key).filter(|v| match v {
        Value::Null | Value::Bool(false) => false,
        Value::String(s) => !s.is_empty(),
        Value::Array(a) => !a.is_empty(),
        Value::Object(o) => !o.is_empty() || matches!(key, "items" | "not"),
        _ => true,
    })
}

pub(super) fn entries<'a>(schema: &'a Value, key: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    schema.get(key).and_then(Value::as_object).into_iter().flatten()
}

pub(super) fn list<'a>(schema: &'a Value, key: &str) -> &'a [Value] {
    schema.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// Whether nothing stands in it that has no structural form at all; what does is complained about elsewhere.
pub(super) fn supported(schema: &Value) -> bool {
    let all = |key: &str| list(schema, key).iter().all(supported);
    UNSUPPORTED.iter().all(|key| set(schema, key).is_none())
        && schema.get("x-kubernetes-preserve-unknown-fields") != Some(&json!(false))
        && match schema.get("items") {
            Some(Value::Array(_)) => false,
            Some(items) => supported(items),
            None => true,
        }
        && entries(schema, "properties").all(|(_, p)| supported(p))
        && schema.get("additionalProperties").is_none_or(supported)
        && schema.get("not").is_none_or(supported)
        && all("allOf")
        && all("anyOf")
        && all("oneOf")
}

/// Finds what is not structural in a schema that is [`supported`], sorted.
pub(super) fn check(schema: &Value, path: &Path) -> Errors {
    let mut errors = Errors::default();
    invariants(schema, Level::Root, path, &mut errors);
    complete(schema, Some(schema), path, path, &mut errors);
    errors.0.sort_by_key(ToString::to_string);
    errors
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Item,
    Field,
}

fn invariants(schema: &Value, level: Level, path: &Path, errors: &mut Errors) {
    let kind = text(schema, "type");
    let items = schema.get("items").filter(|i| i.is_object());
    if kind == "array" && items.is_none() {
        errors.required(&path.child("items"), "must be specified");
    }
    if let Some(items) = items {
        invariants(items, Level::Item, &path.child("items"), errors);
    }
    for (name, property) in entries(schema, "properties") {
        invariants(property, Level::Field, &path.child("properties").key(name), errors);
    }
    let additional = schema.get("additionalProperties").filter(|a| !a.is_null());
    if let Some(additional) = additional {
        if level == Level::Root {
            errors.forbidden(&path.child("additionalProperties"), "must not be used at the root");
        }
        if additional.is_object() {
            invariants(additional, Level::Field, &path.child("additionalProperties"), errors);
        }
    }
    let int_or_string = flag(schema, "x-kubernetes-int-or-string");
    let preserve = flag(schema, "x-kubernetes-preserve-unknown-fields");
    let embedded = flag(schema, "x-kubernetes-embedded-resource");
    if int_or_string && preserve {
        let path = path.child("x-kubernetes-preserve-unknown-fields");
        errors.invalid(&path, &json!(true), "must be false if x-kubernetes-int-or-string is true");
    }
    if int_or_string && embedded {
        let path = path.child("x-kubernetes-embedded-resource");
        errors.invalid(&path, &json!(true), "must be false if x-kubernetes-int-or-string is true");
    }
    value_rules(schema, level, path, errors);
    let type_path = path.child("type");
    if embedded && kind != "object" {
        let says = "must be object if x-kubernetes-embedded-resource is true";
        if kind.is_empty() {
            errors.required(&type_path, says);
        } else {
            errors.invalid_str(&type_path, kind, says);
        }
    } else if kind.is_empty() && !int_or_string && !preserve {
        errors.required(
            &type_path,
            match level {
                Level::Root => "must not be empty at the root",
                Level::Item => "must not be empty for specified array items",
                Level::Field => "must not be empty for specified object fields",
            },
        );
    }
    if embedded && additional.is_some() {
        let says = "must not be used if x-kubernetes-embedded-resource is set";
        errors.forbidden(&path.child("additionalProperties"), says);
    }
    if level == Level::Root && !kind.is_empty() && kind != "object" {
        errors.invalid_str(&type_path, kind, "must be object at the root");
    }
    let resource = level == Level::Root || embedded;
    let property = |name: &str| schema.get("properties").and_then(|p| p.get(name));
    for name in ["kind", "apiVersion"] {
        if let Some(found) = property(name).filter(|p| resource && text(p, "type") != "string") {
            let path = path.child("properties").key(name).child("type");
            errors.invalid_str(&path, text(found, "type"), "must be string");
        }
    }
    if let Some(metadata) = property("metadata") {
        let path = path.child("properties").key("metadata");
        if resource && text(metadata, "type") != "object" {
            errors.invalid_str(&path.child("type"), text(metadata, "type"), "must be object");
        }
        if level == Level::Root && !restricts_names_only(metadata) {
            let says =
                "must not specify anything other than name and generateName, but metadata is implicitly specified";
            errors.forbidden(&path, says);
        }
    }
    if embedded && !preserve && entries(schema, "properties").next().is_none() {
        let says =
            "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields";
        errors.required(&path.child("properties"), says);
    }
}

fn restricts_names_only(metadata: &Value) -> bool {
    let others = metadata.as_object().into_iter().flatten();
    let mut others = others.filter(|(k, _)| !matches!(k.as_str(), "type" | "properties" | "default"));
    others.all(|(k, _)| set(metadata, k).is_none())
        && entries(metadata, "properties").all(|(name, _)| name == "name" || name == "generateName")
}

/// `anyOf: [{type: integer}, {type: string}]`, which may stand beside `x-kubernetes-int-or-string`.
fn is_int_or_string(any_of: &[Value]) -> bool {
    any_of == [json!({"type": "integer"}), json!({"type": "string"})]
}

fn value_rules(schema: &Value, level: Level, path: &Path, errors: &mut Errors) {
    if !is_int_or_string(list(schema, "anyOf")) {
        for (i, nested) in list(schema, "anyOf").iter().enumerate() {
            nested_rules(nested, false, level, &path.child("anyOf").index(i), errors);
        }
    }
    for (i, nested) in list(schema, "allOf").iter().enumerate() {
        let skip = i == 0 && is_int_or_string(list(nested, "anyOf"));
        nested_rules(nested, skip, level, &path.child("allOf").index(i), errors);
    }
    for (i, nested) in list(schema, "oneOf").iter().enumerate() {
        nested_rules(nested, false, level, &path.child("oneOf").index(i), errors);
    }
    if let Some(not) = schema.get("not").filter(|n| n.is_object()) {
        nested_rules(not, false, level, &path.child("not"), errors);
    }
    let expression = text(schema, "pattern");
    if !expression.is_empty()
        && let Err(why) = pattern::compile(expression)
    {
        let says = format!("must be a valid regular expression, but isn't: {why}");
        errors.invalid_str(&path.child("pattern"), expression, &says);
    }
}

/// What stands under `allOf`, `anyOf`, `oneOf` or `not` may restrict values, but not say what they are.
fn nested_rules(schema: &Value, skip_any_of: bool, level: Level, path: &Path, errors: &mut Errors) {
    if skip_any_of {
        let mut rest = schema.clone();
        if let Some(map) = rest.as_object_mut() {
            map.remove("anyOf");
        }
        value_rules(&rest, level, path, errors);
    } else {
        value_rules(schema, level, path, errors);
    }
    if let Some(items) = schema.get("items").filter(|i| i.is_object()) {
        nested_rules(items, false, level, &path.child("items"), errors);
    }
    for (name, property) in entries(schema, "properties") {
        nested_rules(property, false, Level::Field, &path.child("properties").key(name), errors);
    }
    if schema.get("additionalProperties").is_some_and(|a| a.is_object() || a == &json!(true)) {
        errors.forbidden(&path.child("additionalProperties"), "must be undefined to be structural");
    }
    for (key, says) in [
        ("type", "must be empty to be structural"),
        ("default", "must be undefined to be structural"),
        ("title", "must be empty to be structural"),
        ("description", "must be empty to be structural"),
        ("nullable", "must be false to be structural"),
        ("x-kubernetes-preserve-unknown-fields", "must be false to be structural"),
        ("x-kubernetes-embedded-resource", "must be false to be structural"),
        ("x-kubernetes-int-or-string", "must be false to be structural"),
        ("x-kubernetes-list-map-keys", "must be empty to be structural"),
        ("x-kubernetes-list-type", "must be undefined to be structural"),
        ("x-kubernetes-map-type", "must be undefined to be structural"),
        ("x-kubernetes-validations", "must be empty to be structural"),
    ] {
        let there = match key {
            "default" => schema.get(key).is_some_and(|d| !d.is_null()),
            key => set(schema, key).is_some(),
        };
        if there {
            errors.forbidden(&path.child(key), says);
        }
    }
    if schema.get("properties").is_some_and(|p| p.get("metadata").is_some()) {
        let path = path.child("properties").key("metadata");
        errors.forbidden(&path, "must not be specified in a nested context");
    }
}

/// What a nested schema restricts must be specified outside. The stock server asks this of the root only.
fn complete(nested: &Value, schema: Option<&Value>, path: &Path, at: &Path, errors: &mut Errors) {
    for key in ["allOf", "anyOf", "oneOf"] {
        for (i, nested) in list(nested, key).iter().enumerate() {
            complete_nested(nested, schema, path, &at.child(key).index(i), errors);
        }
    }
    if let Some(not) = nested.get("not").filter(|n| n.is_object()) {
        complete_nested(not, schema, path, &at.child("not"), errors);
    }
}

fn complete_nested(nested: &Value, schema: Option<&Value>, path: &Path, at: &Path, errors: &mut Errors) {
    let Some(schema) = schema else {
        errors.required(path, &format!("because it is defined in {at}"));
        return;
    };
    complete(nested, Some(schema), path, at, errors);
    if let Some(items) = nested.get("items").filter(|i| i.is_object()) {
        let of_schema = schema.get("items").filter(|i| i.is_object());
        complete_nested(items, of_schema, &path.child("items"), &at.child("items"), errors);
    }
    for (name, property) in entries(nested, "properties") {
        let path = path.child("properties").key(name);
        let at = at.child("properties").key(name);
        complete_nested(property, schema.get("properties").and_then(|p| p.get(name)), &path, &at, errors);
    }
}
