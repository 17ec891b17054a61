//! `Status` objects of requests that went well.

use apimachinery::gvk::GroupResource;
use apimachinery::meta;
use serde_json::{Value, json};

/// The answer to a deletion that is done.
pub(crate) fn deleted(resource: &GroupResource, name: &str, object: &Value) -> Value {
    let mut details = json!({"name": name, "kind": resource.resource, "uid": meta::uid(object)});
    if !resource.group.is_empty() {
        details["group"] = json!(resource.group);
    }
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
}

/// The answer to something that was done (`pods/binding`, `pods/eviction`).
pub(crate) fn success(code: u16) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": code})
}
