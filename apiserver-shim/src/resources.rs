//! Which resources a tenant has: the built-in ones, the same for all, and its custom ones.

use std::collections::HashMap;
use std::sync::Arc;

use apimachinery::builtin;
use apimachinery::gvk::{GroupResource, GroupVersionResource};
use apimachinery::resource::{Group, Resource};
use apimachinery::tenant::TenantId;
use parking_lot::RwLock;

/// The custom resources of one tenant. A tenant without any costs nothing here.
#[derive(Debug, Default)]
pub struct CustomResources {
    groups: Vec<Group>,
    by_gvr: HashMap<GroupVersionResource, Arc<Resource>>,
}

impl CustomResources {
    /// Custom resources by their groups, as discovery lists them.
    pub fn new(groups: Vec<Group>) -> Self {
        let by_gvr = groups
            .iter()
            .flat_map(|g| &g.versions)
            .flat_map(|(_, resources)| resources)
            .map(|r| (r.gvr.clone(), Arc::clone(r)))
            .collect();
        Self { groups, by_gvr }
    }

    fn find(&self, gvr: &GroupVersionResource) -> Option<Arc<Resource>> {
        self.by_gvr.get(gvr).cloned()
    }
}

/// The resources of all tenants.
#[derive(Debug, Default)]
pub struct Catalog {
    custom: RwLock<HashMap<TenantId, Arc<CustomResources>>>,
}

impl Catalog {
    /// The resource at this place of the API, if the tenant has it.
    pub fn find(&self, tenant: TenantId, gvr: &GroupVersionResource) -> Option<Arc<Resource>> {
        builtin::resource(&gvr.group, &gvr.version, &gvr.resource).cloned().or_else(|| self.custom(tenant)?.find(gvr))
    }

    /// The resource of this name, in the version in which its objects are stored.
    pub fn find_stored(&self, tenant: TenantId, resource: &GroupResource) -> Option<Arc<Resource>> {
        if let Some(found) = builtin::resource_any_version(&resource.group, &resource.resource) {
            return Some(Arc::clone(found));
        }
        let custom = self.custom(tenant)?;
        let versions = custom.groups.iter().filter(|g| g.name == resource.group).flat_map(|g| &g.versions);
        let mut found = versions.flat_map(|(_, r)| r).filter(|r| r.gvr.resource == resource.resource);
        let first = found.clone().next().cloned();
        found.find(|r| r.gvr.version == r.storage_version).cloned().or(first)
    }

    /// Whether a tenant has this group.
    pub fn has_group(&self, tenant: TenantId, group: &str) -> bool {
        let has = |groups: &[Group]| groups.iter().any(|g| g.name == group);
        has(builtin::groups()) || self.custom(tenant).is_some_and(|c| has(&c.groups))
    }

    /// Whether a tenant has anything in this version of a group.
    pub fn has_version(&self, tenant: TenantId, group: &str, version: &str) -> bool {
        let has =
            |groups: &[Group]| groups.iter().any(|g| g.name == group && g.versions.iter().any(|(v, _)| v == version));
        has(builtin::groups()) || self.custom(tenant).is_some_and(|c| has(&c.groups))
    }

    /// The groups a tenant has, built-in ones first.
    pub fn groups(&self, tenant: TenantId) -> Vec<Group> {
        let mut groups = builtin::groups().to_vec();
        for custom in self.custom(tenant).iter().flat_map(|c| &c.groups) {
            match groups.iter_mut().find(|g| g.name == custom.name) {
                Some(group) => merge(group, custom),
                None => groups.push(custom.clone()),
            }
        }
        groups
    }

    /// Replaces a tenant's custom resources.
    pub fn set_custom(&self, tenant: TenantId, resources: CustomResources) {
        let mut custom = self.custom.write();
        if resources.groups.is_empty() {
            custom.remove(&tenant);
        } else {
            custom.insert(tenant, Arc::new(resources));
        }
    }

    fn custom(&self, tenant: TenantId) -> Option<Arc<CustomResources>> {
        self.custom.read().get(&tenant).cloned()
    }
}

/// Adds a custom group's versions to a built-in group of the same name.
fn merge(group: &mut Group, custom: &Group) {
    for (version, resources) in &custom.versions {
        match group.versions.iter_mut().find(|(v, _)| v == version) {
            Some((_, there)) => {
                there.extend(resources.iter().cloned());
                there.sort_by(|a, b| a.gvr.resource.cmp(&b.gvr.resource));
            }
            None => group.versions.push((version.clone(), resources.clone())),
        }
    }
}
