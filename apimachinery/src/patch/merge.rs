//! JSON merge patch, RFC 7386.
//!
//! Not the `json-patch` crate: the stock server also drops nulls inside the lists of a patch.

use serde_json::{Map, Value};

use super::json_kind;
use crate::status::ApiError;

/// Merges a patch into an object: null removes, objects merge, all else replaces.
///
/// # Errors
/// 400 if the patch is no JSON object.
pub fn apply(mut object: Value, patch: Value) -> Result<Value, ApiError> {
    match patch {
        Value::Object(patch) => {
            if !object.is_object() {
                object = Value::Object(Map::new());
            }
            if let Value::Object(target) = &mut object {
                merge(target, patch);
            }
            Ok(object)
        }
        Value::Null => Err(ApiError::bad_request("Invalid JSON Patch")),
        other => Err(ApiError::bad_request(format!(
            "error decoding patch: json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
            json_kind(&other)
        ))),
    }
}

fn merge(target: &mut Map<String, Value>, patch: Map<String, Value>) {
    for (key, mut value) in patch {
        if value.is_null() {
            target.remove(&key);
            continue;
        }
        match (target.get_mut(&key), value) {
            (Some(Value::Object(target)), Value::Object(patch)) => merge(target, patch),
            // A list or scalar over an object is taken as it is; everything else without the nulls in it.
            (Some(Value::Object(_)), other) => {
                target.insert(key, other);
            }
            (_, other) => {
                value = other;
                drop_nulls(&mut value);
                target.insert(key, value);
            }
        }
    }
}

pub(super) fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, v| !v.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}
