//! Aggregated discovery: all groups in one document, `apidiscovery.k8s.io/v2`.

use apimachinery::gvk::GroupVersionKind;
use apimachinery::resource::{Group, Resource};
use apimachinery::tenant::TenantId;
use serde_json::{Value, json};

use crate::resources::Catalog;

/// The `APIGroupDiscoveryList` of `/api` or `/apis`.
pub(super) fn list(catalog: &Catalog, tenant: TenantId, core: bool) -> Value {
    let groups = catalog.groups(tenant);
    let items: Vec<Value> = groups.iter().filter(|g| g.name.is_empty() == core).map(group).collect();
    json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items})
}

fn group(group: &Group) -> Value {
    let versions: Vec<Value> = group
        .versions
        .iter()
        .map(|(version, resources)| {
            let resources: Vec<Value> = resources.iter().map(|r| resource(r)).collect();
            json!({"version": version, "resources": resources, "freshness": "Current"})
        })
        .collect();
    let metadata = if group.name.is_empty() { json!({}) } else { json!({"name": group.name}) };
    json!({"metadata": metadata, "versions": versions})
}

fn resource(resource: &Resource) -> Value {
    let mut entry = json!({
        "resource": resource.gvr.resource, "responseKind": kind(resource, &resource.gvk),
        "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": resource.singular, "verbs": resource.verbs,
    });
    if !resource.short_names.is_empty() {
        entry["shortNames"] = json!(resource.short_names);
    }
    if !resource.categories.is_empty() {
        entry["categories"] = json!(resource.categories);
    }
    if !resource.subresources.is_empty() {
        let subresources: Vec<Value> = resource
            .subresources
            .iter()
            .map(|s| json!({"subresource": s.name, "responseKind": kind(resource, &s.gvk), "verbs": s.verbs}))
            .collect();
        entry["subresources"] = json!(subresources);
    }
    entry
}

/// Built-in kinds leave out the group and version that they share with their resource.
fn kind(resource: &Resource, kind: &GroupVersionKind) -> Value {
    let same = kind.group == resource.gvk.group && kind.version == resource.gvk.version;
    if same && !resource.custom {
        json!({"group": "", "version": "", "kind": kind.kind})
    } else {
        json!({"group": kind.group, "version": kind.version, "kind": kind.kind})
    }
}
