//! Filling in what an object lacks.

use serde_json::{Map, Value};

/// The map at `key`, if there is one.
pub(super) fn map_mut<'a>(object: &'a mut Value, key: &str) -> Option<&'a mut Map<String, Value>> {
    object.get_mut(key)?.as_object_mut()
}

/// The value at `key`, if there is one that is not `null`.
pub(super) fn some_mut<'a>(object: &'a mut Value, key: &str) -> Option<&'a mut Value> {
    object.get_mut(key).filter(|v| !v.is_null())
}

/// The items of the list at `key`.
pub(super) fn items_mut<'a>(object: &'a mut Value, key: &str) -> impl Iterator<Item = &'a mut Value> {
    object.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten()
}

/// The map at `key`, made if it is not there. Nothing if `object` is not a map.
pub(super) fn made_mut<'a>(object: &'a mut Value, key: &str) -> Option<&'a mut Value> {
    let entry = object.as_object_mut()?.entry(key).or_insert(Value::Null);
    if entry.is_null() {
        *entry = Value::Object(Map::new());
    }
    Some(entry)
}

/// Sets what is absent or `null`.
pub(super) fn fill(object: &mut Value, key: &str, value: impl Into<Value>) {
    if object.get(key).is_none_or(Value::is_null) {
        set(object, key, value);
    }
}

/// Sets what is absent, `null` or empty text.
pub(super) fn fill_text(object: &mut Value, key: &str, value: &str) {
    if object.get(key).and_then(Value::as_str).unwrap_or_default().is_empty() {
        set(object, key, value);
    }
}

/// Sets what is absent, `null` or zero.
pub(super) fn fill_number(object: &mut Value, key: &str, value: i64) {
    if object.get(key).and_then(Value::as_i64).unwrap_or_default() == 0 {
        set(object, key, value);
    }
}

/// Sets a field.
pub(super) fn set(object: &mut Value, key: &str, value: impl Into<Value>) {
    if let Some(map) = object.as_object_mut() {
        map.insert(key.to_owned(), value.into());
    }
}

/// Removes a field.
pub(super) fn remove(object: &mut Value, key: &str) {
    if let Some(map) = object.as_object_mut() {
        map.remove(key);
    }
}

/// Copies the entries of one map into another where they are not there yet.
pub(super) fn fill_entries(into: &mut Map<String, Value>, from: &Map<String, Value>) {
    for (key, value) in from {
        into.entry(key.clone()).or_insert_with(|| value.clone());
    }
}

/// What only a write of the main part may change in `metadata`, for kinds whose status part leaves it alone.
pub(super) fn keep_metadata(new: &mut Value, old: &Value) {
    let Some(metadata) = some_mut(new, "metadata") else { return };
    for field in ["labels", "annotations", "finalizers", "ownerReferences"] {
        match old.get("metadata").and_then(|m| m.get(field)) {
            Some(value) => set(metadata, field, value.clone()),
            None => remove(metadata, field),
        }
    }
}
