//! Reading objects.

use apimachinery::gvk::GroupVersionKind;
use apimachinery::meta::{self, list_at, str_at};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use tenant_client::Object;

/// A reference to an owner, with as much as controllers ask of it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct OwnerReference {
    pub(crate) api_version: String,
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) controller: Option<bool>,
    pub(crate) block_owner_deletion: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct OnlyMetadata {
    metadata: OnlyOwners,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct OnlyOwners {
    owner_references: Vec<OwnerReference>,
}

/// The owners of an object, without decoding the rest of it.
pub(crate) fn owners(object: &Object) -> Vec<OwnerReference> {
    if object.stored.owners().next().is_none() {
        return Vec::new();
    }
    // A body that is no JSON is reported where it is decoded; here it has no owners.
    serde_json::from_slice::<OnlyMetadata>(object.stored.body())
        .map(|m| m.metadata.owner_references)
        .unwrap_or_default()
}

/// The owner that controls an object.
pub(crate) fn controller_of(object: &Object) -> Option<OwnerReference> {
    if !object.stored.owners().any(|o| o.controller) {
        return None;
    }
    owners(object).into_iter().find(|o| o.controller == Some(true))
}

/// A reference that makes `owner` the controller of something.
pub(crate) fn controller_reference(owner: &Value, kind: &GroupVersionKind) -> Value {
    json!({
        "apiVersion": kind.api_version().as_str(),
        "kind": kind.kind.as_str(),
        "name": meta::name(owner),
        "uid": meta::uid(owner),
        "controller": true,
        "blockOwnerDeletion": true,
    })
}

/// Whether `metadata.deletionTimestamp` is set.
pub(crate) fn deleting(object: &Value) -> bool {
    meta::at(object, &["metadata", "deletionTimestamp"]).is_some()
}

/// A number somewhere below.
pub(crate) fn int_at(object: &Value, path: &[&str]) -> Option<i64> {
    meta::at(object, path).and_then(Value::as_i64)
}

/// A truth value somewhere below, false if it is not there.
pub(crate) fn bool_at(object: &Value, path: &[&str]) -> bool {
    meta::at(object, path).and_then(Value::as_bool).unwrap_or(false)
}

/// A time somewhere below.
pub(crate) fn time_at(object: &Value, path: &[&str]) -> Option<Timestamp> {
    str_at(object, path).parse().ok()
}

/// `status.conditions[type]`
pub(crate) fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    list_at(object, &["status", "conditions"]).iter().find(|c| str_at(c, &["type"]) == kind)
}

/// Sets a condition of a list, keeping the time of its last transition while its status stays.
pub(crate) fn set_condition(conditions: &mut Vec<Value>, mut new: Value, now: &str) {
    let kind = str_at(&new, &["type"]).to_owned();
    let old = conditions.iter().position(|c| str_at(c, &["type"]) == kind);
    let kept = old.map(|i| &conditions[i]).filter(|c| c.get("status") == new.get("status"));
    let since = kept.and_then(|c| c.get("lastTransitionTime")).cloned();
    new["lastTransitionTime"] = since.unwrap_or_else(|| json!(now));
    match old {
        Some(i) => conditions[i] = new,
        None => conditions.push(new),
    }
}

/// A duration in whole seconds, at least none.
pub(crate) fn seconds(n: i64) -> std::time::Duration {
    std::time::Duration::from_secs(n.max(0).unsigned_abs())
}
