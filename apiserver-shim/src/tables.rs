//! Objects as tables.

use apimachinery::field::quote;
use apimachinery::gvk::GroupVersionKind;
use apimachinery::meta;
use apimachinery::resource::Resource;
use apimachinery::status::ApiError;
use apimachinery::table::{self, Include};
use apimachinery::time::Timestamp;
use serde_json::{Value, json};

use crate::request::Query;

/// Reads `includeObject`.
///
/// # Errors
/// 400 for what it can't be.
pub(crate) fn include(query: &Query) -> Result<Include, ApiError> {
    match query.get("includeObject").unwrap_or_default() {
        "" | "Metadata" => Ok(Include::Metadata),
        "None" => Ok(Include::None),
        "Object" => Ok(Include::Object),
        other => Err(ApiError::bad_request(format!(
            "Unable to convert to Table as requested: includeObject: Invalid value: {}: must be 'Metadata', 'Object', 'None', or empty",
            quote(other)
        ))),
    }
}

/// A table of objects. What is no object of the resource (a `Scale`, a `Status`) has columns of its own or none.
///
/// # Errors
/// 406 if there is no table of such objects.
pub(crate) fn table(
    resource: &Resource,
    version: &str,
    include: Include,
    columns: bool,
    objects: &[Value],
    metadata: &Value,
    now: jiff::Timestamp,
) -> Result<Value, ApiError> {
    let now = Timestamp { seconds: now.as_second(), nanos: now.subsec_nanosecond().unsigned_abs() };
    let other = objects.iter().map(kind_of).find(|kind| kind.kind != resource.gvk.kind);
    match other {
        None => Ok(table::table(resource, version, include, columns, objects, metadata, now)),
        Some(kind) if kind.kind == "Scale" => Ok(scales(version, objects, metadata, now)),
        Some(kind) => Err(ApiError::new(406, "NotAcceptable", format!("there is no table of {}", kind.kind))),
    }
}

fn kind_of(object: &Value) -> GroupVersionKind {
    GroupVersionKind::from_api_version(meta::str_at(object, &["apiVersion"]), meta::str_at(object, &["kind"]))
}

fn scales(version: &str, scales: &[Value], metadata: &Value, now: Timestamp) -> Value {
    let column = |name: &str, ty: &str, format: &str| json!({"name": name, "type": ty, "format": format, "description": "", "priority": 0});
    let rows: Vec<Value> = scales
        .iter()
        .map(|scale| json!({"cells": table::scale_row(scale, now), "object": partial(scale, version)}))
        .collect();
    json!({
        "kind": "Table", "apiVersion": format!("meta.k8s.io/{version}"), "metadata": metadata,
        "columnDefinitions": [
            column("Name", "string", ""), column("Desired", "integer", ""),
            column("Available", "integer", ""), column("Age", "string", ""),
        ],
        "rows": rows,
    })
}

fn partial(object: &Value, version: &str) -> Value {
    crate::encode::partial(object, version)
}
