//! Dropping what a schema does not know, and filling in its defaults.
//!
//! Source: `k8s.io/apiextensions-apiserver/pkg/apiserver/schema/{pruning,defaulting}`.

use serde_json::Value;

use super::node::{Additional, Node};

const META: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// Drops unknown fields from an object and gives their paths, sorted. `metadata` of the object itself is not looked at.
pub(super) fn prune_object(object: &mut Value, root: &Node) -> Vec<String> {
    let mut walk = Prune { unknown: Vec::new() };
    walk.value(object, Some(root), true, "");
    walk.unknown.sort();
    walk.unknown
}

/// Drops unknown fields from a value that is no object of its own, such as a default; says whether there were any.
pub(super) fn prune_value(value: &mut Value, schema: &Node) -> bool {
    let mut walk = Prune { unknown: Vec::new() };
    walk.value(value, Some(schema), schema.embedded, "");
    !walk.unknown.is_empty()
}

struct Prune {
    unknown: Vec<String>,
}

impl Prune {
    fn value(&mut self, value: &mut Value, schema: Option<&Node>, resource: bool, path: &str) {
        if schema.is_some_and(|s| s.preserve_unknown) {
            return self.keep(value, schema, resource, path);
        }
        match value {
            Value::Object(map) => {
                map.retain(|key, value| {
                    if resource && META.contains(&key.as_str()) {
                        return true;
                    }
                    let path = join(path, key);
                    if let Some(property) = schema.and_then(|s| s.properties.get(key.as_str())) {
                        self.value(value, Some(property), property.embedded, &path);
                        return true;
                    }
                    match schema.and_then(|s| s.additional.as_ref()) {
                        Some(Additional::Schema(schema)) => self.value(value, Some(schema), schema.embedded, &path),
                        Some(Additional::Allowed(_)) => self.value(value, None, false, &path),
                        None => {
                            self.unknown.push(path);
                            return false;
                        }
                    }
                    true
                });
            }
            Value::Array(items) => {
                let schema = schema.and_then(|s| s.items.as_deref());
                for (i, item) in items.iter_mut().enumerate() {
                    self.value(item, schema, schema.is_some_and(|s| s.embedded), &format!("{path}[{i}]"));
                }
            }
            _ => {}
        }
    }

    /// Where unknown fields are kept, known ones are still looked into.
    fn keep(&mut self, value: &mut Value, schema: Option<&Node>, resource: bool, path: &str) {
        let Some(schema) = schema else { return };
        match value {
            Value::Object(map) => {
                for (key, value) in map.iter_mut().filter(|(k, _)| !(resource && META.contains(&k.as_str()))) {
                    let path = join(path, key);
                    if let Some(property) = schema.properties.get(key.as_str()) {
                        self.value(value, Some(property), property.embedded, &path);
                    } else if let Some(Additional::Schema(schema)) = &schema.additional {
                        self.value(value, Some(schema), schema.embedded, &path);
                    }
                }
            }
            Value::Array(items) => {
                for (i, item) in items.iter_mut().enumerate() {
                    self.keep(item, schema.items.as_deref(), false, &format!("{path}[{i}]"));
                }
            }
            _ => {}
        }
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// Drops nulls where the schema allows none and has no default.
pub(super) fn drop_nulls(value: &mut Value, schema: Option<&Node>) {
    match value {
        Value::Object(map) => map.retain(|key, value| {
            let schema = schema.and_then(|s| s.field(key));
            if value.is_null() && schema.is_some_and(|s| !s.nullable && s.default.is_none()) {
                return false;
            }
            drop_nulls(value, schema);
            true
        }),
        Value::Array(items) => {
            let schema = schema.and_then(|s| s.items.as_deref());
            items.iter_mut().for_each(|item| drop_nulls(item, schema));
        }
        _ => {}
    }
}

/// Fills in defaults, also in place of nulls that may not be.
pub(super) fn fill_defaults(value: &mut Value, schema: &Node) {
    match value {
        Value::Object(map) => {
            for (name, property) in &schema.properties {
                let Some(default) = &property.default else { continue };
                if map.get(name.as_str()).is_none_or(|v| v.is_null() && !property.nullable) {
                    map.insert(name.to_string(), default.clone());
                }
            }
            for (key, value) in map.iter_mut() {
                if let Some(property) = schema.properties.get(key.as_str()) {
                    fill_defaults(value, property);
                } else if let Some(Additional::Schema(schema)) = &schema.additional {
                    replace_null(value, schema);
                    fill_defaults(value, schema);
                }
            }
        }
        Value::Array(items) => {
            let Some(schema) = schema.items.as_deref() else { return };
            for item in items {
                replace_null(item, schema);
                fill_defaults(item, schema);
            }
        }
        _ => {}
    }
}

fn replace_null(value: &mut Value, schema: &Node) {
    if value.is_null() && !schema.nullable {
        *value = schema.default.clone().unwrap_or_default();
    }
}
