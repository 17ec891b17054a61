//! Discovery as it was before it was aggregated: a document for each group and version.

use apimachinery::gvk::api_version;
use apimachinery::resource::{Group, Resource, Subresource};
use apimachinery::status::ApiError;
use apimachinery::tenant::TenantId;
use axum::body::Body;
use http::Response;
use serde_json::{Value, json};

use crate::http::{Exchange, respond};
use crate::resources::Catalog;

/// `/`: the paths there are.
pub(super) fn root(exchange: &Exchange) -> Result<Response<Body>, ApiError> {
    let mut paths: Vec<String> =
        ["/api", "/apis", "/healthz", "/livez", "/openapi/v2", "/openapi/v3", "/readyz", "/version"]
            .map(str::to_owned)
            .to_vec();
    paths.extend(exchange.shared.paths.keys().map(str::to_owned));
    for group in exchange.registry().catalog().groups(exchange.origin.tenant) {
        if !group.name.is_empty() {
            paths.push(format!("/apis/{}", group.name));
        }
        for (version, _) in &group.versions {
            let prefix = if group.name.is_empty() { "/api" } else { "/apis" };
            paths.push(format!("{prefix}/{}", api_version(&group.name, version)));
        }
    }
    paths.sort();
    let body = serde_json::to_vec_pretty(&json!({"paths": paths})).map_err(ApiError::internal)?;
    Ok(respond::bytes(200, "application/json", body, &exchange.headers))
}

/// `/api`
pub(super) fn versions(host: &str) -> Value {
    json!({
        "kind": "APIVersions", "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": host}],
    })
}

/// `/apis`
pub(super) fn groups(catalog: &Catalog, tenant: TenantId) -> Value {
    let groups: Vec<Value> = catalog.groups(tenant).iter().filter(|g| !g.name.is_empty()).map(body).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `/apis/GROUP`
pub(super) fn group(catalog: &Catalog, tenant: TenantId, name: &str) -> Option<Value> {
    let group = catalog.groups(tenant).into_iter().find(|g| g.name == name && !name.is_empty())?;
    let mut found = body(&group);
    found["kind"] = json!("APIGroup");
    found["apiVersion"] = json!("v1");
    Some(found)
}

fn body(group: &Group) -> Value {
    let entry = |version: &str| json!({"groupVersion": api_version(&group.name, version), "version": version});
    let versions: Vec<Value> = group.versions.iter().map(|(v, _)| entry(v)).collect();
    json!({"name": group.name, "versions": versions, "preferredVersion": versions.first()})
}

/// `/api/VERSION`, `/apis/GROUP/VERSION`
pub(super) fn resources(catalog: &Catalog, tenant: TenantId, group: &str, version: &str) -> Option<Value> {
    let groups = catalog.groups(tenant);
    let (_, resources) = groups.iter().find(|g| g.name == group)?.versions.iter().find(|(v, _)| v == version)?;
    let mut entries = Vec::new();
    for resource in resources {
        entries.push(entry(resource));
        entries.extend(resource.subresources.iter().map(|sub| subentry(resource, sub)));
    }
    let mut list = json!({
        "kind": "APIResourceList", "groupVersion": api_version(group, version), "resources": entries,
    });
    if !group.is_empty() {
        list["apiVersion"] = json!("v1");
    }
    Some(list)
}

fn entry(resource: &Resource) -> Value {
    let mut entry = json!({
        "name": resource.gvr.resource, "singularName": resource.singular, "namespaced": resource.namespaced,
        "kind": resource.gvk.kind, "verbs": resource.verbs,
    });
    if !resource.short_names.is_empty() {
        entry["shortNames"] = json!(resource.short_names);
    }
    if !resource.categories.is_empty() {
        entry["categories"] = json!(resource.categories);
    }
    if !resource.storage_version_hash.is_empty() {
        entry["storageVersionHash"] = json!(resource.storage_version_hash);
    }
    entry
}

fn subentry(resource: &Resource, sub: &Subresource) -> Value {
    let mut entry = json!({
        "name": format!("{}/{}", resource.gvr.resource, sub.name), "singularName": "",
        "namespaced": resource.namespaced, "kind": sub.gvk.kind, "verbs": sub.verbs,
    });
    if sub.gvk.group != resource.gvk.group || sub.gvk.version != resource.gvk.version {
        entry["group"] = json!(sub.gvk.group);
        entry["version"] = json!(sub.gvk.version);
    }
    entry
}
