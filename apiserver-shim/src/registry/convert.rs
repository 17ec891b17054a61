//! Between the versions in which an object is served and the one in which it is stored.

use apimachinery::crd::CustomVersion;
use apimachinery::status::ApiError;
use serde_json::Value;

use super::place;
use crate::resources::Found;

/// Converts an object from the version of the resource to the one it is stored in.
///
/// # Errors
/// 501 if there is no conversion between them.
pub fn to_storage(resource: &Found, object: Value) -> Result<Value, ApiError> {
    if let Some(custom) = &resource.definition {
        return Ok(stored_custom(custom, object));
    }
    let to = place::storage_kind(resource);
    if to == resource.gvk { Ok(object) } else { crate::conversion::convert(object, &resource.gvk, &to) }
}

/// Converts an object from the version it is stored in to the one of the resource.
///
/// # Errors
/// 501 if there is no conversion between them.
pub fn from_storage(resource: &Found, object: Value) -> Result<Value, ApiError> {
    if let Some(custom) = &resource.definition {
        return Ok(custom.read(object));
    }
    let from = place::storage_kind(resource);
    if from == resource.gvk { Ok(object) } else { crate::conversion::convert(object, &from, &resource.gvk) }
}

/// Versions of a definition differ in `apiVersion` alone.
fn stored_custom(custom: &CustomVersion, mut object: Value) -> Value {
    let kind = place::storage_kind(custom.resource());
    if let Some(fields) = object.as_object_mut() {
        fields.insert("apiVersion".to_owned(), Value::String(kind.api_version().to_string()));
    }
    object
}
