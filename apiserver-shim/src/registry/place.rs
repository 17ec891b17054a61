//! Where objects lie in the store.

use apimachinery::gvk::{GroupResource, GroupVersionKind};
use apimachinery::resource::Resource;
use apimachinery::tenant::TenantId;
use smol_str::{SmolStr, format_smolstr};
use store::{CollectionId, Key};

/// The group and resource under which a resource's objects lie. Events are one storage with two faces.
pub fn storage_resource(resource: &GroupResource) -> GroupResource {
    if resource.group == "events.k8s.io" && resource.resource == "events" {
        GroupResource::new("", "events")
    } else {
        resource.clone()
    }
}

/// The kind that a resource's objects are stored as.
pub fn storage_kind(resource: &Resource) -> GroupVersionKind {
    let mut kind = resource.gvk.clone();
    kind.group = storage_resource(&resource.group_resource()).group;
    kind.version = if kind.group == resource.gvk.group { resource.storage_version.clone() } else { "v1".into() };
    kind
}

/// `group/resource`, or just the resource in the core group.
pub fn collection_name(resource: &GroupResource) -> SmolStr {
    let resource = storage_resource(resource);
    if resource.group.is_empty() {
        resource.resource
    } else {
        format_smolstr!("{}/{}", resource.group, resource.resource)
    }
}

/// The resource whose objects a collection of this name holds.
pub fn collection_resource(name: &str) -> GroupResource {
    let (group, resource) = name.split_once('/').unwrap_or(("", name));
    GroupResource::new(group, resource)
}

/// The collection of a resource in a tenant.
pub fn collection(tenant: TenantId, resource: &GroupResource) -> CollectionId {
    CollectionId { tenant, name: collection_name(resource) }
}

/// `namespace/name`, or just the name of what has no namespace.
pub fn record_name(namespace: &str, name: &str) -> SmolStr {
    if namespace.is_empty() { name.into() } else { format_smolstr!("{namespace}/{name}") }
}

/// Namespace and name of a record.
pub fn split_record_name(record: &str) -> (&str, &str) {
    record.split_once('/').unwrap_or(("", record))
}

/// The key of an object.
pub fn key(tenant: TenantId, resource: &GroupResource, namespace: &str, name: &str) -> Key {
    Key { collection: collection(tenant, resource), name: record_name(namespace, name) }
}
