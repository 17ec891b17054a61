//! Objects as rows of `metav1.Table`, as `kubectl get` shows them.
//!
//! The columns come from the built-in table or a custom resource's `additionalPrinterColumns`; what stands in the cells
//! of built-in kinds is worked out here, a file per group. Source of what the cells say:
//! `k8s.io/kubernetes/pkg/printers/internalversion`.

mod admission;
mod apps;
mod autoscaling;
mod batch;
mod cells;
mod core;
mod custom;
mod event;
mod extension;
mod jsonpath;
mod network;
mod node;
mod pod;
mod storage;

use serde_json::{Map, Value, json};

pub use cells::human_duration;
pub use custom::{ColumnError, CustomColumn};
pub use jsonpath::{JsonPath, JsonPathError};

use crate::builtin;
use crate::gvk::GroupVersionKind;
use crate::resource::Resource;
use crate::time::Timestamp;
use cells::Cells;

/// `includeObject`: what of the object a row carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Include {
    /// Nothing.
    None,
    /// Its metadata, as a `PartialObjectMetadata`.
    #[default]
    Metadata,
    /// All of it.
    Object,
}

/// The column definitions of a resource's table.
pub fn columns(resource: &Resource) -> Vec<Value> {
    if resource.custom {
        let name = definition("Name", "string", "name", "", 0);
        return std::iter::once(name).chain(resource.printer_columns.iter().map(CustomColumn::definition)).collect();
    }
    let columns = builtin::columns(&resource.gvk.group, &resource.gvk.version, &resource.gvk.kind);
    if columns.is_empty() {
        return vec![definition("Name", "string", "name", "", 0), definition("Created At", "date", "", "", 0)];
    }
    columns.iter().map(|c| definition(&c.name, &c.ty, &c.format, "", c.priority)).collect()
}

fn definition(name: &str, ty: &str, format: &str, description: &str, priority: i32) -> Value {
    json!({"name": name, "type": ty, "format": format, "description": description, "priority": priority})
}

/// The cells of an object's row. The object is canonical; `now` is what ages are counted from.
pub fn row(resource: &Resource, object: &Value, now: Timestamp) -> Vec<Value> {
    let cells = Cells { object, now };
    if resource.custom {
        let name = std::iter::once(json!(cells.name()));
        return name.chain(resource.printer_columns.iter().map(|column| column.cell(object, now))).collect();
    }
    builtin_row(&resource.gvk, &cells)
        .unwrap_or_else(|| vec![json!(cells.name()), json!(cells.text(&["metadata", "creationTimestamp"]))])
}

/// The cells of a `Scale`.
pub fn scale_row(scale: &Value, now: Timestamp) -> Vec<Value> {
    autoscaling::scale(&Cells { object: scale, now })
}

/// `conditions` of an object's row: a pod that has ended is `Completed`.
pub fn row_conditions(resource: &Resource, object: &Value) -> Option<Value> {
    if resource.custom || resource.gvk.kind != "Pod" || !resource.gvk.group.is_empty() {
        return None;
    }
    pod::conditions(object)
}

/// A `Table` of these objects.
///
/// `version` is that of `meta.k8s.io` (`v1`); `with_columns` is false for all but the first table of a watch; `metadata`
/// is the list's or, with one object, holds its `resourceVersion`.
pub fn table(
    resource: &Resource,
    version: &str,
    include: Include,
    with_columns: bool,
    objects: &[Value],
    metadata: &Value,
    now: Timestamp,
) -> Value {
    let rows: Vec<Value> = objects.iter().map(|object| table_row(resource, version, include, object, now)).collect();
    // The stock server's printer for kinds without columns of their own makes no list when there is nothing to list.
    let plain =
        !resource.custom && builtin::columns(&resource.gvk.group, &resource.gvk.version, &resource.gvk.kind).is_empty();
    json!({
        "kind": "Table",
        "apiVersion": format!("meta.k8s.io/{version}"),
        "metadata": metadata,
        "columnDefinitions": if with_columns { Value::Array(columns(resource)) } else { Value::Null },
        "rows": if plain && rows.is_empty() { Value::Null } else { Value::Array(rows) },
    })
}

fn table_row(resource: &Resource, version: &str, include: Include, object: &Value, now: Timestamp) -> Value {
    let mut out = Map::new();
    out.insert("cells".to_owned(), Value::Array(row(resource, object, now)));
    if let Some(conditions) = row_conditions(resource, object) {
        out.insert("conditions".to_owned(), conditions);
    }
    let object = match include {
        Include::None => Value::Null,
        Include::Metadata => json!({
            "kind": "PartialObjectMetadata",
            "apiVersion": format!("meta.k8s.io/{version}"),
            "metadata": object.get("metadata").cloned().unwrap_or_else(|| json!({})),
        }),
        Include::Object => {
            let mut object = object.clone();
            if let Some(object) = object.as_object_mut() {
                object.insert("kind".to_owned(), json!(resource.gvk.kind));
                object.insert("apiVersion".to_owned(), json!(resource.gvk.api_version()));
            }
            object
        }
    };
    out.insert("object".to_owned(), object);
    Value::Object(out)
}

fn builtin_row(gvk: &GroupVersionKind, cells: &Cells<'_>) -> Option<Vec<Value>> {
    let kind = gvk.kind.as_str();
    match gvk.group.as_str() {
        "" if kind == "Pod" => Some(pod::row(cells)),
        "" if kind == "Node" => Some(node::row(cells)),
        "" | "events.k8s.io" if kind == "Event" => Some(event::row(cells)),
        "" => core::row(kind, cells),
        "apps" => apps::row(kind, cells),
        "batch" => batch::row(kind, cells),
        "autoscaling" => autoscaling::row(gvk, cells),
        "networking.k8s.io" | "discovery.k8s.io" => network::row(kind, cells),
        "storage.k8s.io" => storage::row(kind, cells),
        "admissionregistration.k8s.io" => admission::row(kind, cells),
        _ => extension::row(kind, cells),
    }
}

#[cfg(test)]
mod tests;
