//! Between the versions in which an object is served and the one in which it is stored.

use apimachinery::gvk::GroupVersionKind;
use apimachinery::meta;
use apimachinery::status::ApiError;
use serde_json::Value;

use super::place;
use crate::resources::Found;

/// Whether objects of a resource are served just as they are stored.
pub(super) fn is_stored(resource: &Found) -> bool {
    resource.definition.is_none() && place::storage_kind(resource) == resource.gvk
}

/// Converts an object from the version of the resource to the one it is stored in.
///
/// # Errors
/// 501 if there is no conversion between them.
pub fn to_storage(resource: &Found, object: Value) -> Result<Value, ApiError> {
    let to = place::storage_kind(resource);
    if resource.definition.is_some() {
        refuse_webhook(resource, &object, &to)?;
        return Ok(stored_custom(&to, object));
    }
    if to == resource.gvk { Ok(object) } else { crate::conversion::convert(object, &resource.gvk, &to) }
}

/// Converts an object from the version it is stored in to the one of the resource.
///
/// # Errors
/// 501 if there is no conversion between them.
pub fn from_storage(resource: &Found, object: Value) -> Result<Value, ApiError> {
    if let Some(custom) = &resource.definition {
        refuse_webhook(resource, &object, &resource.gvk)?;
        return Ok(custom.read(object));
    }
    let from = place::storage_kind(resource);
    if from == resource.gvk { Ok(object) } else { crate::conversion::convert(object, &from, &resource.gvk) }
}

/// Changing `apiVersion` alone would pass off an object as one of a version that its webhook has not made.
fn refuse_webhook(resource: &Found, object: &Value, to: &GroupVersionKind) -> Result<(), ApiError> {
    let from = meta::str_at(object, &["apiVersion"]);
    let to = to.api_version();
    if !resource.webhook || from == to {
        return Ok(());
    }
    Err(ApiError::not_implemented(format!(
        "conversion webhook for {from}, Kind={} failed: conversion to {to} by webhook is not implemented; use version {}, \
         in which objects are stored, or set spec.conversion.strategy of the definition to None",
        resource.gvk.kind, resource.storage_version
    )))
}

/// Versions of a definition differ in `apiVersion` alone.
fn stored_custom(to: &GroupVersionKind, mut object: Value) -> Value {
    if let Some(fields) = object.as_object_mut() {
        fields.insert("apiVersion".to_owned(), Value::String(to.api_version().to_string()));
    }
    object
}
