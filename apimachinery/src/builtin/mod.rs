//! The built-in table: what the stock Kubernetes API looks like, as data.
//!
//! `make generate` writes `apimachinery/data` from the Kubernetes Go modules; here it is unpacked, once, on first use.
//! It holds the resources that a stock server serves by default and the types of all their kinds.

mod openapi;
mod read;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use smol_str::SmolStr;

pub use openapi::{openapi_v2, openapi_v3, openapi_v3_document, openapi_v3_paths};

use crate::gvk::GroupVersionKind;
use crate::resource::{Column, Group, Resource};
use crate::schema::{KindSchema, Schema, StructId};

/// Kinds that every group version has: options of requests, and what answers are made of. They are looked up in
/// `meta.k8s.io/v1` whatever group a client gives them.
const COMMON_KINDS: [&str; 12] = [
    "APIGroup",
    "APIGroupList",
    "APIResourceList",
    "APIVersions",
    "CreateOptions",
    "DeleteOptions",
    "GetOptions",
    "ListOptions",
    "PatchOptions",
    "Status",
    "UpdateOptions",
    "WatchEvent",
];

struct Table {
    schema: Arc<Schema>,
    kinds: HashMap<GroupVersionKind, StructId>,
    groups: Vec<Group>,
    /// By group and plural: all served versions, preferred first.
    resources: HashMap<(SmolStr, SmolStr), Vec<Arc<Resource>>>,
    columns: HashMap<GroupVersionKind, Vec<Column>>,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let (schema, kinds) = read::types();
    let schema = Arc::new(schema);
    let groups = read::groups(&schema, &kinds);
    let mut resources: HashMap<_, Vec<Arc<Resource>>> = HashMap::new();
    for resource in groups.iter().flat_map(|g| &g.versions).flat_map(|(_, r)| r) {
        let key = (resource.gvr.group.clone(), resource.gvr.resource.clone());
        resources.entry(key).or_default().push(resource.clone());
    }
    Table { schema, kinds, groups, resources, columns: read::columns() }
});

/// All groups in the order in which discovery lists them, the core group first.
pub fn groups() -> &'static [Group] {
    &TABLE.groups
}

/// The resource with this plural in this group and version.
pub fn resource(group: &str, version: &str, plural: &str) -> Option<&'static Arc<Resource>> {
    versions(group, plural).iter().find(|r| r.gvr.version == version)
}

/// The resource in the version in which its objects are stored, or the preferred one if it is not stored at all.
pub fn resource_any_version(group: &str, plural: &str) -> Option<&'static Arc<Resource>> {
    let versions = versions(group, plural);
    versions.iter().find(|r| r.gvr.version == r.storage_version).or_else(|| versions.first())
}

/// The resource whose objects have this kind.
pub fn resource_of_kind(kind: &GroupVersionKind) -> Option<&'static Arc<Resource>> {
    let group = TABLE.groups.iter().find(|g| g.name == kind.group)?;
    let (_, resources) = group.versions.iter().find(|(version, _)| *version == kind.version)?;
    resources.iter().find(|r| r.gvk.kind == kind.kind)
}

/// The schema of a kind: of resources, their lists, what subresources take, request options, reviews and meta kinds.
pub fn kind_schema(kind: &GroupVersionKind) -> Option<KindSchema> {
    let root = TABLE.kinds.get(kind).or_else(|| {
        let common = COMMON_KINDS.contains(&kind.kind.as_str());
        common.then(|| TABLE.kinds.get(&GroupVersionKind::new("meta.k8s.io", "v1", kind.kind.clone())))?
    })?;
    Some(KindSchema { schema: TABLE.schema.clone(), root: *root })
}

/// The columns of a kind's table; none where the stock server has no printer for it.
pub fn columns(group: &str, version: &str, kind: &str) -> &'static [Column] {
    TABLE.columns.get(&GroupVersionKind::new(group, version, kind)).map(Vec::as_slice).unwrap_or_default()
}

/// The schema of `ListMeta`, which every list has as its `metadata`.
pub fn list_meta() -> KindSchema {
    definition("io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta")
}

/// The schema of `ObjectMeta`, which every object has as its `metadata`.
pub fn object_meta() -> KindSchema {
    definition("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta")
}

#[expect(clippy::expect_used, reason = "the table is part of the program; a test looks each definition up")]
fn definition(name: &str) -> KindSchema {
    let root = TABLE.schema.find(name).expect("the table has the definitions of metadata");
    KindSchema { schema: TABLE.schema.clone(), root }
}

/// All structs of the built-in kinds.
pub fn schema() -> &'static Arc<Schema> {
    &TABLE.schema
}

fn versions(group: &str, plural: &str) -> &'static [Arc<Resource>] {
    TABLE.resources.get(&(SmolStr::new(group), SmolStr::new(plural))).map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests;
