//! The marks that host objects of ours carry: which tenant object each is the copy of.
//!
//! Only the syncer writes keys of the domain `tenantry.io`; what a tenant sets there never reaches the host. A mark
//! is believed only where it agrees with the namespace that it lies in (see [`Mark::read`]), so an object elsewhere
//! that bears a forged one is nobody's.

use apimachinery::tenant::TenantId;
use serde_json::{Map, Value, json};

use crate::names;

/// The domain of all our keys. Tenants' keys of this domain (and below) are never passed on.
pub const DOMAIN: &str = "tenantry.io";
/// Label on every host object and host namespace: the tenant's uid. Watches select by it and the admission policy that
/// fences our writes asks for it.
pub const TENANT: &str = "tenantry.io/tenant";
/// Annotation: the tenant object's namespace.
pub const NAMESPACE: &str = "tenantry.io/namespace";
/// Annotation: the tenant object's name.
pub const NAME: &str = "tenantry.io/name";
/// Annotation: the tenant object's uid.
pub const UID: &str = "tenantry.io/uid";
/// Annotation: the tenant object's resource, or what else we made the host object for (`token`).
pub const RESOURCE: &str = "tenantry.io/resource";
/// Annotation: the name of the virtual cluster, for people.
pub const TENANT_NAME: &str = "tenantry.io/tenant-name";
/// Annotation: a hash of what was applied last, so that a field that went away is noticed.
pub const APPLIED: &str = "tenantry.io/applied";
/// Annotation on a token secret: when its tokens are to be renewed, in seconds since 1970.
pub const RENEW_AT: &str = "tenantry.io/renew-at";
/// Annotation on a host pod: the `metadata.generation` of the tenant's pod that was applied last.
pub const GENERATION: &str = "tenantry.io/generation";
/// Domain of annotations that carry a pod's own fields for its downward API volumes.
pub const FIELD_DOMAIN: &str = "field.tenantry.io";
/// Domain below which the labels of a tenant namespace stand on its host namespace.
pub const NAMESPACE_LABEL_DOMAIN: &str = "ns.tenantry.io";
/// Annotation that a tenant sets on a config map or secret that is wanted on the host although no pod uses it.
pub const FORCE_SYNC: &str = "tenantry.io/force-sync";
/// The label that tells our host objects apart in a list or watch: it exists.
pub const SELECTOR: &str = TENANT;
/// The field manager of all our writes on the host.
pub const MANAGER: &str = "tenantry-syncer";

/// What a host object is the copy of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Whose.
    pub tenant: TenantId,
    /// `pods`, `services`, ..., or `token`.
    pub resource: String,
    /// The tenant object's namespace; empty for a namespace.
    pub namespace: String,
    /// The tenant object's name.
    pub name: String,
    /// The tenant object's uid.
    pub uid: String,
}

impl Mark {
    /// Reads the mark of a namespaced host object.
    ///
    /// # Guarantees
    /// `None` unless the object lies in the one host namespace that belongs to the mark's tenant and namespace, where
    /// `tenant_name` gives the name of a virtual cluster that is served here.
    pub fn read(object: &Value, tenant_name: impl Fn(TenantId) -> Option<String>) -> Option<Self> {
        let mark = Self::read_unchecked(object)?;
        let expected = names::host_namespace(mark.tenant, &tenant_name(mark.tenant)?, &mark.namespace);
        (apimachinery::meta::namespace(object) == expected).then_some(mark)
    }

    /// Reads the mark of a host namespace, whose own name must be the one that belongs to it.
    pub fn read_namespace(object: &Value, tenant_name: impl Fn(TenantId) -> Option<String>) -> Option<Self> {
        let mark = Self::read_unchecked(object)?;
        let expected = names::host_namespace(mark.tenant, &tenant_name(mark.tenant)?, &mark.name);
        (mark.resource == "namespaces" && apimachinery::meta::name(object) == expected).then_some(mark)
    }

    fn read_unchecked(object: &Value) -> Option<Self> {
        let metadata = apimachinery::meta::metadata(object)?;
        let tenant = metadata.get("labels")?.get(TENANT)?.as_str()?.parse().ok()?;
        let annotations = metadata.get("annotations")?;
        let text = |key: &str| annotations.get(key).and_then(Value::as_str).map(str::to_owned);
        Some(Self {
            tenant,
            resource: text(RESOURCE)?,
            namespace: text(NAMESPACE).unwrap_or_default(),
            name: text(NAME)?,
            uid: text(UID)?,
        })
    }

    /// Writes the mark into labels and annotations.
    pub fn write(&self, tenant_name: &str, labels: &mut Map<String, Value>, annotations: &mut Map<String, Value>) {
        labels.insert(TENANT.to_owned(), json!(self.tenant.to_string()));
        for (key, value) in [
            (TENANT_NAME, tenant_name),
            (RESOURCE, &self.resource),
            (NAMESPACE, &self.namespace),
            (NAME, &self.name),
            (UID, &self.uid),
        ] {
            if !value.is_empty() {
                annotations.insert(key.to_owned(), json!(value));
            }
        }
    }
}

/// Whether a label or annotation key is of our domain.
pub fn is_ours(key: &str) -> bool {
    key.split_once('/').is_some_and(|(prefix, _)| {
        prefix == DOMAIN || prefix.strip_suffix(DOMAIN).is_some_and(|head| head.ends_with('.'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENANT_A: TenantId = TenantId::from_bytes([1; 16]);

    fn host_object(namespace: &str) -> Value {
        let mark = Mark {
            tenant: TENANT_A,
            resource: "pods".into(),
            namespace: "default".into(),
            name: "web".into(),
            uid: "u".into(),
        };
        let (mut labels, mut annotations) = (Map::new(), Map::new());
        mark.write("a", &mut labels, &mut annotations);
        json!({"metadata": {"namespace": namespace, "name": "web", "labels": labels, "annotations": annotations}})
    }

    #[test]
    fn a_mark_counts_only_in_the_namespace_that_is_its_own() {
        let name = |id| (id == TENANT_A).then(|| "a".to_owned());
        let own = names::host_namespace(TENANT_A, "a", "default");
        assert_eq!(Mark::read(&host_object(&own), name).unwrap().name, "web");
        assert_eq!(Mark::read(&host_object("kube-system"), name), None);
        assert_eq!(Mark::read(&host_object(&names::host_namespace(TENANT_A, "a", "other")), name), None);
        assert_eq!(Mark::read(&host_object(&own), |_| None), None, "a tenant that is not served here");
    }

    #[test]
    fn keys_of_our_domain_are_told_from_look_alikes() {
        for key in ["tenantry.io/tenant", "ns.tenantry.io/team", "a.b.tenantry.io/x"] {
            assert!(is_ours(key), "{key}");
        }
        for key in ["tenantry.io", "nottenantry.io/x", "tenantry.io.evil.com/x", "x"] {
            assert!(!is_ours(key), "{key}");
        }
    }
}
