//! Between the versions in which an object is served and the one in which it is stored.

use apimachinery::resource::Resource;
use apimachinery::status::ApiError;
use serde_json::Value;

use super::place;

/// Converts an object from the version of the resource to the one it is stored in.
///
/// # Errors
/// 501 if there is no conversion between them.
pub fn to_storage(resource: &Resource, object: Value) -> Result<Value, ApiError> {
    let to = place::storage_kind(resource);
    if to == resource.gvk { Ok(object) } else { crate::conversion::convert(object, &resource.gvk, &to) }
}

/// Converts an object from the version it is stored in to the one of the resource.
///
/// # Errors
/// 501 if there is no conversion between them.
pub fn from_storage(resource: &Resource, object: Value) -> Result<Value, ApiError> {
    let from = place::storage_kind(resource);
    if from == resource.gvk { Ok(object) } else { crate::conversion::convert(object, &from, &resource.gvk) }
}
