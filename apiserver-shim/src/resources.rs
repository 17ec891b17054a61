//! Which resources a tenant has: the built-in ones, the same for all, and its custom ones.

use std::collections::{HashMap, HashSet};
use std::ops::Deref;
use std::sync::Arc;

use apimachinery::builtin;
use apimachinery::crd::CustomVersion;
use apimachinery::gvk::{GroupResource, GroupVersionResource};
use apimachinery::meta;
use apimachinery::resource::{Group, Resource};
use apimachinery::tenant::TenantId;
use parking_lot::RwLock;
use serde_json::Value;
use smol_str::SmolStr;

/// A resource of a tenant: a built-in one, or a version of a custom one with its compiled schema.
#[derive(Clone, Debug)]
pub struct Found {
    resource: Arc<Resource>,
    /// Its compiled definition, if it is custom.
    pub definition: Option<Arc<CustomVersion>>,
    /// Whether a webhook converts between its versions.
    pub webhook: bool,
}

impl Deref for Found {
    type Target = Resource;

    fn deref(&self) -> &Resource {
        &self.resource
    }
}

impl Found {
    /// A built-in resource.
    pub fn built_in(resource: &Arc<Resource>) -> Self {
        Self { resource: Arc::clone(resource), definition: None, webhook: false }
    }

    /// Whether this is the very same resource: of a custom one, compiled from the same state of its definition.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.resource, &other.resource)
            && match (&self.definition, &other.definition) {
                (Some(a), Some(b)) => Arc::ptr_eq(a, b) && self.webhook == other.webhook,
                (None, None) => true,
                _ => false,
            }
    }

    /// A version of a custom resource.
    pub(crate) fn custom(version: Arc<CustomVersion>, webhook: bool) -> Self {
        Self { resource: Arc::clone(version.resource()), definition: Some(version), webhook }
    }
}

/// The custom resources of one tenant. A tenant without any costs nothing here.
#[derive(Debug, Default)]
pub struct CustomResources {
    groups: Vec<Group>,
    by_gvr: HashMap<GroupVersionResource, Found>,
    /// Their definitions, as they are published.
    definitions: Vec<Arc<Value>>,
    /// Resources whose definition waits for its objects to go.
    terminating: HashSet<GroupResource>,
}

impl CustomResources {
    /// Custom resources of definitions: each with its versions that are served, compiled.
    pub fn new(definitions: Vec<(Arc<Value>, Vec<Arc<CustomVersion>>)>, terminating: HashSet<GroupResource>) -> Self {
        let mut this = Self { terminating, ..Self::default() };
        for (definition, versions) in definitions {
            let webhook = meta::str_at(&definition, &["spec", "conversion", "strategy"]) == "Webhook";
            this.definitions.push(definition);
            for version in versions {
                let resource = Arc::clone(version.resource());
                let group = this.groups.iter().position(|g| g.name == resource.gvr.group).unwrap_or_else(|| {
                    this.groups.push(Group { name: resource.gvr.group.clone(), versions: Vec::new() });
                    this.groups.len() - 1
                });
                let there = &mut this.groups[group].versions;
                let place = there.iter().position(|(v, _)| *v == resource.gvr.version).unwrap_or_else(|| {
                    there.push((resource.gvr.version.clone(), Vec::new()));
                    there.len() - 1
                });
                there[place].1.push(Arc::clone(&resource));
                this.by_gvr.insert(resource.gvr.clone(), Found::custom(version, webhook));
            }
        }
        this.groups.sort_by(|a, b| a.name.cmp(&b.name));
        for group in &mut this.groups {
            group.versions.sort_by(|(a, _), (b, _)| rank(b).cmp(&rank(a)).then_with(|| a.cmp(b)));
            for (_, resources) in &mut group.versions {
                resources.sort_by(|a, b| a.gvr.resource.cmp(&b.gvr.resource));
            }
        }
        this
    }

    fn find(&self, gvr: &GroupVersionResource) -> Option<Found> {
        self.by_gvr.get(gvr).cloned()
    }

    fn find_stored(&self, resource: &GroupResource) -> Option<Found> {
        let mut versions =
            self.by_gvr.values().filter(|v| v.gvr.group == resource.group && v.gvr.resource == resource.resource);
        let first = versions.clone().next();
        versions.find(|v| v.gvr.version == v.storage_version).or(first).cloned()
    }
}

/// How a version ranks: `v2` before `v1` before `v2beta1` before `v1beta2` before `v1alpha1` before anything else.
///
/// Source: `k8s.io/apimachinery/pkg/version`.
fn rank(version: &str) -> (u8, u32, u32) {
    let parse = || {
        let rest = version.strip_prefix('v')?;
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let major: u32 = rest[..digits].parse().ok()?;
        let (stage, minor) = match &rest[digits..] {
            "" => (3, ""),
            rest => match (rest.strip_prefix("beta"), rest.strip_prefix("alpha")) {
                (Some(minor), _) => (2, minor),
                (_, Some(minor)) => (1, minor),
                _ => return None,
            },
        };
        let minor = if stage == 3 { 0 } else { minor.parse().ok()? };
        Some((stage, major, minor))
    };
    parse().unwrap_or((0, 0, 0))
}

/// What is known of a tenant's custom resources.
#[derive(Debug)]
struct Custom {
    /// None if it has none.
    resources: Option<Arc<CustomResources>>,
    /// Whether they are what its definitions come to. If not, they are read before the next request.
    current: bool,
}

/// The resources of all tenants.
#[derive(Debug, Default)]
pub struct Catalog {
    custom: RwLock<HashMap<TenantId, Custom>>,
}

impl Catalog {
    /// The resource at this place of the API, if the tenant has it.
    pub fn find(&self, tenant: TenantId, gvr: &GroupVersionResource) -> Option<Found> {
        builtin::resource(&gvr.group, &gvr.version, &gvr.resource)
            .map(Found::built_in)
            .or_else(|| self.custom(tenant)?.find(gvr))
    }

    /// The resource of this name, in the version in which its objects are stored.
    pub fn find_stored(&self, tenant: TenantId, resource: &GroupResource) -> Option<Found> {
        builtin::resource_any_version(&resource.group, &resource.resource)
            .map(Found::built_in)
            .or_else(|| self.custom(tenant)?.find_stored(resource))
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

    /// The groups of a tenant's custom resources.
    pub fn custom_groups(&self, tenant: TenantId) -> Vec<Group> {
        self.custom(tenant).map(|c| c.groups.clone()).unwrap_or_default()
    }

    /// The definitions of a tenant's custom resources, as they are published.
    pub fn definitions(&self, tenant: TenantId) -> Vec<Arc<Value>> {
        self.custom(tenant).map(|c| c.definitions.clone()).unwrap_or_default()
    }

    /// Whether the definition of a resource waits for its objects to go.
    pub fn is_terminating(&self, tenant: TenantId, resource: &GroupResource) -> bool {
        self.custom(tenant).is_some_and(|c| c.terminating.contains(resource))
    }

    /// Replaces a tenant's custom resources by what its definitions come to now.
    pub fn set_custom(&self, tenant: TenantId, resources: CustomResources) {
        let none = resources.groups.is_empty() && resources.terminating.is_empty();
        let resources = (!none).then(|| Arc::new(resources));
        self.custom.write().insert(tenant, Custom { resources, current: true });
    }

    /// Whether a tenant's custom resources are what its definitions come to.
    pub(crate) fn is_current(&self, tenant: TenantId) -> bool {
        self.custom.read().get(&tenant).is_some_and(|custom| custom.current)
    }

    /// A tenant's definitions are to be read before the next request. Requests that run go on with what there is.
    pub(crate) fn doubt(&self, tenant: TenantId) {
        if let Some(custom) = self.custom.write().get_mut(&tenant) {
            custom.current = false;
        }
    }

    /// Lets go of what is known of a tenant, unless it was read again since it was doubted.
    pub(crate) fn drop_doubted(&self, tenant: TenantId) {
        let mut custom = self.custom.write();
        if custom.get(&tenant).is_some_and(|custom| !custom.current) {
            custom.remove(&tenant);
        }
        if custom.len() * 4 < custom.capacity() {
            custom.shrink_to_fit();
        }
    }

    fn custom(&self, tenant: TenantId) -> Option<Arc<CustomResources>> {
        self.custom.read().get(&tenant)?.resources.clone()
    }
}

/// Adds a custom group's versions to a built-in group of the same name.
fn merge(group: &mut Group, custom: &Group) {
    for (version, resources) in &custom.versions {
        let version: &SmolStr = version;
        match group.versions.iter_mut().find(|(v, _)| v == version) {
            Some((_, there)) => {
                there.extend(resources.iter().cloned());
                there.sort_by(|a, b| a.gvr.resource.cmp(&b.gvr.resource));
            }
            None => group.versions.push((version.clone(), resources.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_since_it_was_doubted_stays() {
        let (catalog, tenant) = (Catalog::default(), TenantId::from_bytes([1; 16]));
        let widgets = GroupResource::new("example.com", "widgets");
        let read = || {
            let terminating = HashSet::from([widgets.clone()]);
            catalog.set_custom(tenant, CustomResources::new(Vec::new(), terminating));
        };
        assert!(!catalog.is_current(tenant));
        read();
        catalog.drop_doubted(tenant);
        assert!(catalog.is_current(tenant) && catalog.is_terminating(tenant, &widgets));
        catalog.doubt(tenant);
        assert!(!catalog.is_current(tenant) && catalog.is_terminating(tenant, &widgets));
        read();
        catalog.drop_doubted(tenant);
        assert!(catalog.is_terminating(tenant, &widgets));
        catalog.doubt(tenant);
        catalog.drop_doubted(tenant);
        assert!(!catalog.is_terminating(tenant, &widgets));
    }

    #[test]
    fn versions_rank_by_stability_and_age() {
        let mut versions = ["foo", "v1alpha1", "v1beta2", "v2beta1", "v1", "v10", "v2"];
        versions.sort_by_key(|v| std::cmp::Reverse(super::rank(v)));
        assert_eq!(versions, ["v10", "v2", "v1", "v2beta1", "v1beta2", "v1alpha1", "foo"]);
    }
}
