//! Whether the schema of a CRD version may stand: what a JSON schema may hold here, and that it is structural.
//!
//! Source of rules and wording: `ValidateCustomResourceDefinitionOpenAPISchema` and `ValidateStructural` of
//! `k8s.io/apiextensions-apiserver`.

use serde_json::{Value, json};

use super::embedded;
use super::node::Node;
use super::structural::{self, entries, flag, list, set, text};
use super::{prune, validate};
use crate::field::{Errors, Path};

const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];
const META: [&str; 3] = ["apiVersion", "kind", "metadata"];
const AT_ROOT: [&str; 22] = [
    "Description",
    "Type",
    "Format",
    "Title",
    "Maximum",
    "ExclusiveMaximum",
    "Minimum",
    "ExclusiveMinimum",
    "MaxLength",
    "MinLength",
    "Pattern",
    "MaxItems",
    "MinItems",
    "UniqueItems",
    "MultipleOf",
    "Required",
    "Items",
    "Properties",
    "ExternalDocs",
    "Example",
    "XPreserveUnknownFields",
    "XValidations",
];
const AT_ROOT_JSON: [&str; 22] = [
    "description",
    "type",
    "format",
    "title",
    "maximum",
    "exclusiveMaximum",
    "minimum",
    "exclusiveMinimum",
    "maxLength",
    "minLength",
    "pattern",
    "maxItems",
    "minItems",
    "uniqueItems",
    "multipleOf",
    "required",
    "items",
    "properties",
    "externalDocs",
    "example",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-validations",
];

/// Checks `openAPIV3Schema` of a version, which stands at `path`.
pub(super) fn check(schema: &Value, has_status: bool, path: &Path, errors: &mut Errors) {
    let before = errors.0.len();
    if has_status {
        check_root_of_status(schema, path, errors);
    }
    if flag(schema, "nullable") {
        errors.forbidden(&path.child("nullable"), "nullable cannot be true at the root");
    }
    if structural::supported(schema) {
        let mut structural = structural::check(schema, path);
        if structural.is_empty()
            && let Ok(node) = Node::compile(schema)
            && node.has_defaults()
        {
            check_defaults(schema, true, path, &mut structural);
        }
        errors.0.extend(structural.0);
    }
    let rules = Rules { defaults: Ok(()), in_metadata: false };
    check_open_api(schema, &rules, true, path, errors);
    if errors.0.len() == before
        && let Err(why) = Node::compile(schema)
    {
        errors.invalid_str(path, "", &format!("error building validator: {why}"));
    }
}

fn check_root_of_status(schema: &Value, path: &Path, errors: &mut Errors) {
    if text(schema, "type") != "object" {
        let path = path.child("type");
        let says =
            "only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled";
        errors.invalid_str(&path, text(schema, "type"), says);
        return;
    }
    let foreign = schema
        .as_object()
        .into_iter()
        .flatten()
        .any(|(k, _)| set(schema, k).is_some() && !AT_ROOT_JSON.contains(&k.as_str()));
    if foreign {
        let says = format!(
            "only [{}] fields are allowed at the root of the schema if the status subresource is enabled",
            AT_ROOT.join(" ")
        );
        errors.invalid(path, schema, &says);
    }
}

/// Defaults must be pruned and valid themselves.
fn check_defaults(schema: &Value, resource: bool, path: &Path, errors: &mut Errors) {
    if let Some(default) = schema.get("default").filter(|d| !d.is_null())
        && let Ok(node) = Node::compile(schema)
    {
        let path = path.child("default");
        let mut pruned = default.clone();
        if prune::prune_value(&mut pruned, &node) {
            errors.invalid(&path, default, "must not have unknown fields");
        }
        let mut coerced = default.clone();
        match embedded::coerce(&mut coerced, &node, &path, false, &mut Vec::new()) {
            Err(wrong) => errors.0.extend(wrong.0),
            Ok(()) => {
                let before = errors.0.len();
                embedded::validate(default, &node, &path, errors);
                if errors.0.len() == before {
                    validate::validate(default, None, &node, &path, errors);
                }
            }
        }
    }
    if let Some(items) = schema.get("items").filter(|i| i.is_object()) {
        check_defaults(items, false, &path.child("items"), errors);
    }
    let resource = resource || flag(schema, "x-kubernetes-embedded-resource");
    for (name, property) in entries(schema, "properties").filter(|(n, _)| !(resource && META.contains(&n.as_str()))) {
        check_defaults(property, false, &path.child("properties").key(name), errors);
    }
}

/// What the place of a schema allows.
#[derive(Clone)]
struct Rules {
    /// Whether defaults may be set; the reason if not.
    defaults: Result<(), String>,
    in_metadata: bool,
}

fn check_open_api(schema: &Value, rules: &Rules, root: bool, path: &Path, errors: &mut Errors) {
    check_keywords(schema, rules, path, errors);
    if flag(schema, "uniqueItems") {
        let says = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        errors.forbidden(&path.child("uniqueItems"), says);
    }
    if let Some(additional) = schema.get("additionalProperties").filter(|a| !a.is_null()) {
        let at = path.child("additionalProperties");
        if entries(schema, "properties").next().is_some() && additional != &json!(true) {
            errors.forbidden(&at, "additionalProperties and properties are mutual exclusive");
        }
        if additional.is_object() {
            let mut rules = rules.clone();
            if rules.in_metadata {
                rules.defaults = Err("inside additionalProperties applying to object metadata".to_owned());
            }
            check_open_api(additional, &rules, false, &at, errors);
        }
    }
    let resource = root || flag(schema, "x-kubernetes-embedded-resource");
    for (name, property) in entries(schema, "properties") {
        let mut rules = rules.clone();
        if resource && META.contains(&name.as_str()) {
            rules.in_metadata = true;
            if root {
                rules.defaults = Err(format!("in top-level {name}"));
            }
        }
        check_open_api(property, &rules, false, &path.child("properties").key(name), errors);
    }
    if let Some(not) = schema.get("not").filter(|n| n.is_object()) {
        check_open_api(not, rules, false, &path.child("not"), errors);
    }
    for key in ["allOf", "oneOf", "anyOf"] {
        for (i, nested) in list(schema, key).iter().enumerate() {
            check_open_api(nested, rules, false, &path.child(key).index(i), errors);
        }
    }
    for (name, definition) in entries(schema, "definitions") {
        check_open_api(definition, rules, false, &path.child("definitions").key(name), errors);
    }
    match schema.get("items") {
        Some(Value::Array(items)) => {
            for (i, item) in items.iter().enumerate() {
                check_open_api(item, rules, false, &path.child("items").index(i), errors);
            }
        }
        Some(items) if items.is_object() => check_open_api(items, rules, false, &path.child("items"), errors),
        _ => {}
    }
    check_extensions(schema, path, errors);
    if set(schema, "x-kubernetes-validations").is_some() {
        let says = "validation rules are not supported by this server yet: remove them, or express them in the schema";
        errors.forbidden(&path.child("x-kubernetes-validations"), says);
    }
}

fn check_keywords(schema: &Value, rules: &Rules, path: &Path, errors: &mut Errors) {
    let kind = text(schema, "type");
    if !kind.is_empty() && !TYPES.contains(&kind) {
        errors.not_supported(&path.child("type"), &json!(kind), &TYPES);
    }
    if schema.get("default").is_some_and(|d| !d.is_null())
        && let Err(reason) = &rules.defaults
    {
        errors.forbidden(&path.child("default"), &format!("must not be set {reason}"));
    }
    for key in ["id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref"] {
        let there = if key == "additionalItems" { schema.get(key).is_some() } else { set(schema, key).is_some() };
        if there {
            errors.forbidden(&path.child(key), &format!("{key} is not supported"));
        }
    }
    if kind == "null" {
        errors.forbidden(&path.child("type"), "type cannot be set to null, use nullable as an alternative");
    }
    if schema.get("items").is_some_and(|i| i.as_array().is_some_and(|a| !a.is_empty())) {
        errors.forbidden(&path.child("items"), "items must be a schema object and not an array");
    }
    if rules.in_metadata && flag(schema, "x-kubernetes-embedded-resource") {
        errors.forbidden(&path.child("x-kubernetes-embedded-resource"), "must not be used inside of resource meta");
    }
}

fn check_extensions(schema: &Value, path: &Path, errors: &mut Errors) {
    let kind = text(schema, "type");
    if schema.get("x-kubernetes-preserve-unknown-fields") == Some(&json!(false)) {
        let path = path.child("x-kubernetes-preserve-unknown-fields");
        errors.invalid(&path, &json!(false), "must be true or undefined");
    }
    let needs_type = |wanted: &str, key: &str, errors: &mut Errors| {
        let says = format!("must be {wanted} if {key} is specified");
        if kind.is_empty() {
            errors.required(&path.child("type"), &says);
        } else {
            errors.invalid_str(&path.child("type"), kind, &says);
        }
    };
    let map_type = schema.get("x-kubernetes-map-type").and_then(Value::as_str);
    if let Some(map_type) = map_type {
        if kind != "object" {
            needs_type("object", "x-kubernetes-map-type", errors);
        }
        if !matches!(map_type, "atomic" | "granular") {
            errors.not_supported(&path.child("x-kubernetes-map-type"), &json!(map_type), &["atomic", "granular"]);
        }
    }
    let list_type = schema.get("x-kubernetes-list-type").and_then(Value::as_str);
    let item = schema.get("items").filter(|i| i.is_object());
    if let Some(list_type) = list_type {
        if kind != "array" {
            needs_type("array", "x-kubernetes-list-type", errors);
        } else if let (Some(item), "set") = (item, list_type) {
            check_item_of_set(item, path, errors);
        }
        if !matches!(list_type, "atomic" | "set" | "map") {
            let path = path.child("x-kubernetes-list-type");
            errors.not_supported(&path, &json!(list_type), &["atomic", "set", "map"]);
        }
    }
    let keys = list(schema, "x-kubernetes-list-map-keys");
    if !keys.is_empty() {
        let says = "must be map if x-kubernetes-list-map-keys is non-empty";
        let path = path.child("x-kubernetes-list-type");
        match list_type {
            None => errors.required(&path, says),
            Some("map") => {}
            Some(other) => errors.invalid_str(&path, other, says),
        }
    }
    if list_type == Some("map") {
        check_keyed_list(schema, keys, item, path, errors);
    }
    if let (Some(list_type @ ("set" | "map")), Some(item)) = (list_type, item) {
        check_items_of(list_type, keys, item, path, errors);
    }
}

fn check_item_of_set(item: &Value, path: &Path, errors: &mut Errors) {
    let says = "must be atomic as item of a list with x-kubernetes-list-type=set";
    let shown = item.get("x-kubernetes-list-type").cloned().unwrap_or_default();
    let (key, fine) = match text(item, "type") {
        "array" => ("x-kubernetes-list-type", matches!(shown.as_str(), None | Some("atomic"))),
        "object" => ("x-kubernetes-map-type", text(item, "x-kubernetes-map-type") == "atomic"),
        _ => return,
    };
    if !fine {
        errors.invalid(&path.child("items").child(key), &shown, says);
    }
}

fn check_keyed_list(schema: &Value, keys: &[Value], item: Option<&Value>, path: &Path, errors: &mut Errors) {
    if keys.is_empty() {
        let says = "must not be empty if x-kubernetes-list-type is map";
        errors.required(&path.child("x-kubernetes-list-map-keys"), says);
    }
    let items_path = path.child("items");
    let Some(item) = item else {
        match schema.get("items") {
            None => errors.required(&items_path, "must have a schema if x-kubernetes-list-type is map"),
            Some(other) => {
                errors.invalid(&items_path, other, "must only have a single schema if x-kubernetes-list-type is map");
            }
        }
        return;
    };
    if text(item, "type") != "object" {
        let says = "must be object if parent array's x-kubernetes-list-type is map";
        errors.invalid_str(&items_path.child("type"), text(item, "type"), says);
        return;
    }
    let shown = Value::Array(keys.to_vec());
    for (i, key) in keys.iter().enumerate() {
        let name = key.as_str().unwrap_or_default();
        match item.get("properties").and_then(|p| p.get(name)) {
            Some(property) if matches!(text(property, "type"), "array" | "object") => {
                let path = items_path.child("properties").key(name).child("type");
                let says = "must be a scalar type if parent array's x-kubernetes-list-type is map";
                errors.invalid_str(&path, text(item, "type"), says);
            }
            Some(_) => {}
            None => {
                let path = path.child("x-kubernetes-list-map-keys");
                errors.invalid(&path, &shown, "entries must all be names of item properties");
            }
        }
        if keys[..i].contains(key) {
            errors.invalid(&path.child("x-kubernetes-list-map-keys"), &shown, "must not contain duplicate entries");
        }
    }
}

fn check_items_of(list_type: &str, keys: &[Value], item: &Value, path: &Path, errors: &mut Errors) {
    let path = path.child("items");
    if flag(item, "nullable") {
        let says = format!("cannot be nullable when x-kubernetes-list-type is {list_type}");
        errors.forbidden(&path.child("nullable"), &says);
    }
    if list_type != "map" {
        return;
    }
    for key in keys.iter().filter_map(Value::as_str) {
        let Some(property) = item.get("properties").and_then(|p| p.get(key)) else { continue };
        let path = path.child("properties").key(key);
        let required = list(item, "required").iter().any(|r| r == key);
        if !required && property.get("default").is_none_or(Value::is_null) {
            let says =
                "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
            errors.required(&path.child("default"), says);
        }
        if flag(property, "nullable") {
            let says = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
            errors.forbidden(&path.child("nullable"), says);
        }
    }
}
