//! What the syncer remembers of the host: the objects that carry our mark, as bytes, and a few kinds without secrets.

use std::collections::HashMap;
use std::sync::Arc;

use apimachinery::tenant::TenantId;
use bytes::Bytes;
use parking_lot::RwLock;
use serde_json::Value;
use smol_str::SmolStr;

/// A host object as it was seen last.
#[derive(Clone, Debug)]
pub(crate) struct HostObject {
    /// Its JSON, without managed fields.
    body: Bytes,
    /// The node of a pod; empty for what has none.
    pub(crate) node: SmolStr,
    /// It is gone; this is how it was at the end.
    pub(crate) gone: bool,
}

impl HostObject {
    fn new(object: &mut Value, gone: bool) -> Self {
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("managedFields");
        }
        let node = apimachinery::meta::str_at(object, &["spec", "nodeName"]).into();
        Self { body: object.to_string().into(), node, gone }
    }

    /// The object.
    pub(crate) fn value(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// The tenant name of an object: namespace and name.
type Name = (SmolStr, SmolStr);
type ByName = HashMap<Name, Arc<HostObject>>;

/// Host objects with our mark, by tenant, resource and tenant name.
#[derive(Debug, Default)]
pub(crate) struct Marked {
    tenants: RwLock<HashMap<TenantId, HashMap<&'static str, ByName>>>,
    /// The tenant and namespace of each host namespace.
    namespaces: RwLock<HashMap<SmolStr, (TenantId, SmolStr)>>,
}

impl Marked {
    /// The host object of a tenant object; also one that is gone, until [`Marked::settle`].
    pub(crate) fn get(
        &self,
        tenant: TenantId,
        resource: &'static str,
        namespace: &str,
        name: &str,
    ) -> Option<Arc<HostObject>> {
        let tenants = self.tenants.read();
        tenants.get(&tenant)?.get(resource)?.get(&(namespace.into(), name.into())).cloned()
    }

    /// Remembers an object.
    pub(crate) fn put(&self, tenant: TenantId, resource: &'static str, name: Name, object: &mut Value) {
        if resource == "namespaces" {
            let host_name = SmolStr::new(apimachinery::meta::name(object));
            self.namespaces.write().insert(host_name, (tenant, name.1.clone()));
        }
        let object = Arc::new(HostObject::new(object, false));
        self.tenants.write().entry(tenant).or_default().entry(resource).or_default().insert(name, object);
    }

    /// An object is gone; how it was at the end stays until someone has dealt with it.
    pub(crate) fn mark_gone(&self, tenant: TenantId, resource: &'static str, name: Name, last: &mut Value) {
        if resource == "namespaces" {
            self.namespaces.write().remove(apimachinery::meta::name(last));
        }
        let object = Arc::new(HostObject::new(last, true));
        self.tenants.write().entry(tenant).or_default().entry(resource).or_default().insert(name, object);
    }

    /// Forgets an object that is gone.
    pub(crate) fn settle(&self, tenant: TenantId, resource: &'static str, namespace: &str, name: &str) {
        let mut tenants = self.tenants.write();
        let Some(by_resource) = tenants.get_mut(&tenant) else { return };
        if let Some(by_name) = by_resource.get_mut(resource) {
            let key = (namespace.into(), name.into());
            if by_name.get(&key).is_some_and(|o| o.gone) {
                by_name.remove(&key);
            }
            if by_name.is_empty() {
                by_resource.remove(resource);
            }
        }
        if by_resource.is_empty() {
            tenants.remove(&tenant);
        }
    }

    /// The tenant names of all objects of a tenant and resource.
    pub(crate) fn names(&self, tenant: TenantId, resource: &'static str) -> Vec<Name> {
        let tenants = self.tenants.read();
        let names = tenants.get(&tenant).and_then(|t| t.get(resource)).map(|names| names.keys().cloned().collect());
        names.unwrap_or_default()
    }

    /// Whether a pod of a tenant is on a node.
    pub(crate) fn uses_node(&self, tenant: TenantId, node: &str) -> bool {
        let tenants = self.tenants.read();
        let pods = tenants.get(&tenant).and_then(|t| t.get("pods"));
        pods.is_some_and(|pods| pods.values().any(|pod| !pod.gone && pod.node == node))
    }

    /// All names of a resource, over all tenants.
    pub(crate) fn all_names(&self, resource: &'static str) -> Vec<(TenantId, Name)> {
        let tenants = self.tenants.read();
        let mut all = Vec::new();
        for (tenant, by_resource) in tenants.iter() {
            all.extend(by_resource.get(resource).into_iter().flat_map(|n| n.keys()).map(|n| (*tenant, n.clone())));
        }
        all
    }

    /// The tenant and its namespace that a host namespace belongs to.
    pub(crate) fn namespace_of(&self, host_namespace: &str) -> Option<(TenantId, SmolStr)> {
        self.namespaces.read().get(host_namespace).cloned()
    }

    /// Forgets a tenant.
    pub(crate) fn forget(&self, tenant: TenantId) {
        self.tenants.write().remove(&tenant);
        self.namespaces.write().retain(|_, (t, _)| *t != tenant);
    }
}

/// Host objects that all tenants see the same of, reduced to that: nodes, classes.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    objects: RwLock<HashMap<(&'static str, SmolStr), Bytes>>,
}

impl Shared {
    /// The object, reduced.
    pub(crate) fn get(&self, resource: &'static str, name: &str) -> Option<Value> {
        let objects = self.objects.read();
        serde_json::from_slice(objects.get(&(resource, name.into()))?).ok()
    }

    /// Remembers an object, or with `None` that it is gone. Whether that changed anything.
    pub(crate) fn set(&self, resource: &'static str, name: &str, object: Option<&Value>) -> bool {
        let mut objects = self.objects.write();
        match object {
            None => objects.remove(&(resource, name.into())).is_some(),
            Some(object) => {
                let body: Bytes = object.to_string().into();
                objects.insert((resource, name.into()), body.clone()).is_none_or(|old| old != body)
            }
        }
    }

    /// The names of all objects of a resource.
    pub(crate) fn names(&self, resource: &'static str) -> Vec<SmolStr> {
        self.objects.read().keys().filter(|(r, _)| *r == resource).map(|(_, n)| n.clone()).collect()
    }
}
