//! `metadata.managedFields`: who owns what since when.
//!
//! Source: `k8s.io/apimachinery/pkg/util/managedfields/internal`.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value};
use smol_str::SmolStr;

use super::fieldset::{FieldSet, go_json};
use crate::field::quote;

/// How many managers of updates are told apart; the oldest are put together beyond that.
const MAX_UPDATE_MANAGERS: usize = 10;
/// The manager under which the oldest updates are put together.
const ANCIENT: &str = "ancient-changes";

/// What one manager owns.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) manager: String,
    pub(super) applied: bool,
    pub(super) api_version: SmolStr,
    pub(super) subresource: String,
    pub(super) time: Option<String>,
    pub(super) set: FieldSet,
}

/// The entries of an object by their identity.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Managed(pub(super) BTreeMap<String, Entry>);

impl Entry {
    /// What makes two entries the same: all but what is owned and since when; for applies not the version either.
    /// Written as the stock server writes it, because conflicts and the cap on managers sort by it.
    pub(super) fn identity(&self) -> String {
        let mut parts = Vec::new();
        let mut part = |key: &str, value: &str| {
            if !value.is_empty() {
                parts.push(format!("\"{key}\":{}", go_json(&Value::String(value.to_owned()))));
            }
        };
        part("manager", &self.manager);
        part("operation", if self.applied { "Apply" } else { "Update" });
        part("apiVersion", if self.applied { "" } else { &self.api_version });
        part("subresource", &self.subresource);
        format!("{{{}}}", parts.join(","))
    }

    /// The manager as conflict messages name it.
    pub(super) fn describe(&self) -> String {
        let mut out = quote(&self.manager);
        if !self.subresource.is_empty() {
            out.push_str(&format!(" with subresource {}", quote(&self.subresource)));
        }
        if !self.applied {
            out.push_str(&format!(" using {}", self.api_version));
        }
        out
    }
}

/// Whether a client asks to forget who owns what: `managedFields: []` or `[{}]`.
pub(super) fn is_reset(object: &Value) -> bool {
    match object.pointer("/metadata/managedFields").and_then(Value::as_array).map(Vec::as_slice) {
        Some([]) => true,
        Some([only]) => only.as_object().is_some_and(|m| m.values().all(|v| v.is_null() || v == "")),
        _ => false,
    }
}

/// Reads the managed fields of an object.
///
/// # Errors
/// A message, if an entry is malformed.
pub(super) fn decode(object: &Value) -> Result<Managed, String> {
    let mut out = Managed::default();
    let entries = object.pointer("/metadata/managedFields").and_then(Value::as_array);
    for (i, entry) in entries.into_iter().flatten().enumerate() {
        let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default();
        let applied = match text("operation") {
            "Apply" => true,
            "Update" => false,
            _ => return Err("operation must be `Apply` or `Update`".to_owned()),
        };
        if text("apiVersion").is_empty() {
            return Err("apiVersion must not be empty".to_owned());
        }
        match text("fieldsType") {
            "FieldsV1" => {}
            "" => return Err(format!("missing fieldsType in managed fields entry {i}")),
            other => return Err(format!("invalid fieldsType {} in managed fields entry {i}", quote(other))),
        }
        let set = match entry.get("fieldsV1").filter(|f| !f.is_null()) {
            Some(fields) => FieldSet::from_fields(fields)
                .map_err(|e| format!("error decoding versioned set of {}: {e}", quote(text("manager"))))?,
            None => FieldSet::default(),
        };
        let entry = Entry {
            manager: text("manager").to_owned(),
            applied,
            api_version: text("apiVersion").into(),
            subresource: text("subresource").to_owned(),
            time: entry.get("time").and_then(Value::as_str).map(str::to_owned),
            set,
        };
        out.0.insert(entry.identity(), entry);
    }
    Ok(out)
}

/// Writes the managed fields into an object: applies first, then by time, manager, version and subresource. Without any
/// the field goes.
pub(super) fn encode(managed: &Managed, object: &mut Value) {
    if managed.0.is_empty() {
        take_out(object);
        return;
    }
    let mut entries: Vec<&Entry> = managed.0.values().collect();
    entries.sort_by(|a, b| {
        b.applied
            .cmp(&a.applied)
            .then_with(|| a.time.cmp(&b.time))
            .then_with(|| a.manager.cmp(&b.manager))
            .then_with(|| a.api_version.cmp(&b.api_version))
            .then_with(|| a.subresource.cmp(&b.subresource))
    });
    let entries = entries.into_iter().map(|e| {
        let mut out = Map::new();
        let mut text = |key: &str, value: &str| {
            if !value.is_empty() {
                out.insert(key.to_owned(), Value::String(value.to_owned()));
            }
        };
        text("manager", &e.manager);
        text("operation", if e.applied { "Apply" } else { "Update" });
        text("apiVersion", &e.api_version);
        text("time", e.time.as_deref().unwrap_or_default());
        text("fieldsType", "FieldsV1");
        text("subresource", &e.subresource);
        out.insert("fieldsV1".to_owned(), e.set.to_fields());
        Value::Object(out)
    });
    let entries = entries.collect();
    if let Some(object) = object.as_object_mut() {
        let metadata = object.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
        if let Some(metadata) = metadata.as_object_mut() {
            metadata.insert("managedFields".to_owned(), entries);
        }
    }
}

/// A copy of an object without the managed fields, which often are most of it.
pub(super) fn without(object: &Value) -> Value {
    let Value::Object(fields) = object else { return object.clone() };
    let mut copy = Map::new();
    for (key, value) in fields {
        let value = match value {
            Value::Object(metadata) if key == "metadata" => {
                let rest = metadata.iter().filter(|(key, _)| *key != "managedFields");
                Value::Object(rest.map(|(key, value)| (key.clone(), value.clone())).collect())
            }
            value => value.clone(),
        };
        copy.insert(key.clone(), value);
    }
    Value::Object(copy)
}

/// Takes the managed fields out of an object.
pub(super) fn take_out(object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
}

/// Puts the oldest updates together, per version, until there are no more than [`MAX_UPDATE_MANAGERS`].
pub(super) fn cap(managed: &mut Managed) {
    let mut updaters: Vec<(Option<String>, String)> =
        managed.0.iter().filter(|(_, e)| !e.applied).map(|(id, e)| (e.time.clone(), id.clone())).collect();
    if updaters.len() <= MAX_UPDATE_MANAGERS {
        return;
    }
    updaters.sort();
    let mut left = updaters.len();
    let mut first_of: HashMap<SmolStr, String> = HashMap::new();
    for (_, id) in updaters {
        if left <= MAX_UPDATE_MANAGERS {
            break;
        }
        let Some(entry) = managed.0.get(&id).cloned() else { continue };
        let Some(first) = first_of.get(&entry.api_version) else {
            first_of.insert(entry.api_version.clone(), id);
            continue;
        };
        let bucket = Entry {
            manager: ANCIENT.to_owned(),
            applied: false,
            api_version: entry.api_version.clone(),
            subresource: String::new(),
            time: None,
            set: FieldSet::default(),
        };
        let bucket_id = bucket.identity();
        if !managed.0.contains_key(&bucket_id) {
            let set = managed.0.remove(first).map(|e| e.set).unwrap_or_default();
            managed.0.insert(bucket_id.clone(), Entry { set, ..bucket });
        }
        managed.0.remove(&id);
        if let Some(bucket) = managed.0.get_mut(&bucket_id) {
            bucket.set = std::mem::take(&mut bucket.set).union(&entry.set);
            bucket.time = entry.time;
        }
        left -= 1;
    }
}

/// If a write changed nothing but times in `managedFields`, takes the old times, so that it is no write at all.
pub fn keep_times_of_no_op(old: &Value, new: &mut Value) {
    let at = "/metadata/managedFields";
    let (before, after) = (entries(old), entries(new));
    let same_entry = |(a, b): (&Value, &Value)| {
        let (Some(a), Some(b)) = (a.as_object(), b.as_object()) else { return false };
        let rest = |m: &Map<String, Value>| m.iter().filter(|(k, _)| *k != "time").count();
        rest(a) == rest(b) && a.iter().all(|(k, v)| k == "time" || b.get(k) == Some(v))
    };
    if before == after || before.len() != after.len() || !before.iter().zip(after).all(same_entry) {
        return;
    }
    let (before, after) = (before.to_vec(), after.to_vec());
    let Some(slot) = new.pointer_mut(at) else { return };
    *slot = Value::Array(before);
    // The rest must be the same too; the new times are right if it is not.
    if !same_but_revision(old, new)
        && let Some(slot) = new.pointer_mut(at)
    {
        *slot = Value::Array(after);
    }
}

fn entries(object: &Value) -> &[Value] {
    crate::meta::list_at(object, &["metadata", "managedFields"])
}

fn same_but_revision(old: &Value, new: &Value) -> bool {
    let (Some(a), Some(b)) = (old.as_object(), new.as_object()) else { return false };
    a.len() == b.len()
        && a.iter().all(|(key, value)| match (key.as_str(), value, b.get(key)) {
            ("metadata", Value::Object(a), Some(Value::Object(b))) => {
                let rest = |m: &Map<String, Value>| m.iter().filter(|(k, _)| *k != "resourceVersion").count();
                rest(a) == rest(b) && a.iter().all(|(k, v)| k == "resourceVersion" || b.get(k) == Some(v))
            }
            (_, value, other) => other == Some(value),
        })
}
