//! What a resource is to the API: its names, scope, verbs and schema. Built-in and custom resources are both this.

use std::sync::Arc;

use smol_str::SmolStr;

use crate::gvk::{GroupResource, GroupVersionKind, GroupVersionResource};
use crate::schema::KindSchema;
use crate::table::CustomColumn;

/// A resource in one version, as it is served.
#[derive(Clone, Debug)]
pub struct Resource {
    /// Group, version and plural.
    pub gvr: GroupVersionResource,
    /// Group, version and kind of its objects.
    pub gvk: GroupVersionKind,
    /// Singular name.
    pub singular: SmolStr,
    /// Kind of its lists.
    pub list_kind: SmolStr,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// Verbs, sorted, as discovery says.
    pub verbs: Vec<SmolStr>,
    /// Short names.
    pub short_names: Vec<SmolStr>,
    /// Categories, such as `all`.
    pub categories: Vec<SmolStr>,
    /// Its subresources, sorted by name.
    pub subresources: Vec<Subresource>,
    /// The version of the group in which objects are stored; objects of other versions are converted.
    pub storage_version: SmolStr,
    /// `storageVersionHash` of discovery; empty for what is not stored (reviews).
    pub storage_version_hash: SmolStr,
    /// The schema of its kind.
    pub schema: KindSchema,
    /// Whether this comes from a CustomResourceDefinition.
    pub custom: bool,
    /// Columns of a custom resource's table after the name: its `additionalPrinterColumns`.
    pub printer_columns: Vec<CustomColumn>,
}

/// A subresource as discovery has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subresource {
    /// `status`, `scale`, `log`, ...
    pub name: SmolStr,
    /// Kind of what it takes and gives, with group and version where they are not the resource's.
    pub gvk: GroupVersionKind,
    /// Verbs, sorted.
    pub verbs: Vec<SmolStr>,
}

impl Resource {
    /// Group and plural.
    pub fn group_resource(&self) -> GroupResource {
        self.gvr.group_resource()
    }

    /// Whether it has this subresource.
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|s| s.name == name)
    }

    /// Whether discovery offers this verb.
    pub fn allows(&self, verb: &str) -> bool {
        self.verbs.iter().any(|v| v == verb)
    }

    /// Whether its kind has a top-level field of this name (`spec`, `status`).
    pub fn has_field(&self, name: &str) -> bool {
        self.schema.root().field(name).is_some()
    }
}

/// A group with its versions, the preferred one first, as discovery lists them.
#[derive(Clone, Debug)]
pub struct Group {
    /// Name; empty for the core group.
    pub name: SmolStr,
    /// Versions, preferred first, with their resources sorted by name.
    pub versions: Vec<(SmolStr, Vec<Arc<Resource>>)>,
}

/// A column of `kubectl get`, as a `Table` describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Header.
    pub name: SmolStr,
    /// `string`, `integer`, `number`, `boolean` or `date`.
    pub ty: SmolStr,
    /// OpenAPI format; `name` marks the column that identifies the object.
    pub format: SmolStr,
    /// 0 is always shown, above only on request (`-o wide`).
    pub priority: i32,
    /// Where the description stands: an OpenAPI definition and a field of it (`...ObjectMeta.name`); may be empty.
    pub description_of: SmolStr,
}
