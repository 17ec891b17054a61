//! The objects that a new virtual cluster holds before anyone has written to it.
//!
//! Roles, bindings, flow schemas, priority levels and classes are the same in every cluster: they are encoded once per
//! process, with uids and a creation time that do not differ between tenants. So attaching encodes next to nothing, the
//! decoded roles of all tenants are the same memory, and a store may hold the bytes once (116 KB of a tenant's 118 KB).
//! Namespaces and what names keys or addresses are each tenant's own.
//!
//! Source: a stock cluster, by `generate/bootstrap.go`.

use std::collections::HashMap;
use std::io::Read;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use apimachinery::envelope::Stored;
use apimachinery::gvk::GroupResource;
use apimachinery::meta::{name, namespace};
use apimachinery::rbac::PolicyRule;
use apimachinery::rules::rules_for;
use apimachinery::tenant::TenantId;
use bytes::Bytes;
use futures::future::try_join_all;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use smol_str::{SmolStr, format_smolstr};
use store::{CollectionId, Key, Precondition, Store, StoreError, Write};

use super::{TenantError, TenantSpec};
use crate::clock::rfc3339;
use crate::tls::Authority;

/// Counts up when objects are added, so that tenants that are there already get them at the next start.
pub(super) const VERSION: u32 = 1;
/// `creationTimestamp` of the objects that all tenants share: when the facts were taken.
const SHARED_CREATED: &str = "2026-11-23T00:00:00Z";
const PACKED: &[u8] = include_bytes!("bootstrap.json.gz");

/// An object ready to be stored.
struct Template {
    collection: SmolStr,
    name: SmolStr,
    value: Bytes,
}

#[derive(Deserialize)]
struct Facts {
    group: SmolStr,
    version: SmolStr,
    resource: SmolStr,
    items: Vec<Value>,
}

static SHARED: LazyLock<Result<Vec<Template>, String>> = LazyLock::new(shared);

/// The rules of the cluster roles that all tenants begin with, by the bytes of the stored object: most tenants never
/// change them, so the decoded form is shared too.
static SHARED_RULES: LazyLock<HashMap<Bytes, Arc<[PolicyRule]>>> = LazyLock::new(|| {
    let templates = SHARED.as_deref().unwrap_or_default();
    let roles = templates.iter().filter(|t| t.collection.ends_with("roles"));
    roles.filter_map(|t| Some((t.value.clone(), decode_rules(&t.value)?))).collect()
});

/// The rules of a stored `Role` or `ClusterRole`; none if it can not be read.
pub(crate) fn role_rules(stored: &Bytes) -> Option<Arc<[PolicyRule]>> {
    SHARED_RULES.get(stored).cloned().or_else(|| decode_rules(stored))
}

fn decode_rules(stored: &Bytes) -> Option<Arc<[PolicyRule]>> {
    let stored = Stored::from_bytes(stored.clone()).ok()?;
    let value = stored.to_value(None, 0).ok()?;
    Some(PolicyRule::list(value.get("rules")).into())
}

fn shared() -> Result<Vec<Template>, String> {
    let mut text = Vec::new();
    flate2::read::GzDecoder::new(PACKED).read_to_end(&mut text).map_err(|e| e.to_string())?;
    let facts: Vec<Facts> = serde_json::from_slice(&text).map_err(|e| e.to_string())?;
    let mut templates = Vec::new();
    for kind in facts {
        let resource = GroupResource::new(kind.group, kind.resource);
        for mut object in kind.items {
            let place = format!("{}/{}/{}", collection_name(&resource), namespace(&object), name(&object));
            let seed = Sha256::digest(format!("tenantry bootstrap {place}"));
            let mut uid = [0; 16];
            uid.copy_from_slice(&seed[..16]);
            let uid = uuid::Builder::from_random_bytes(uid).into_uuid();
            object["metadata"]["uid"] = json!(uid.to_string());
            object["metadata"]["creationTimestamp"] = json!(SHARED_CREATED);
            templates.push(template(&resource, &kind.version, &object)?);
        }
    }
    Ok(templates)
}

fn collection_name(resource: &GroupResource) -> SmolStr {
    if resource.group.is_empty() {
        resource.resource.clone()
    } else {
        format_smolstr!("{}/{}", resource.group, resource.resource)
    }
}

fn template(resource: &GroupResource, version: &str, object: &Value) -> Result<Template, String> {
    let fields = rules_for(resource).selectable_fields(object);
    let fields: Vec<(&str, &str)> = fields.iter().map(|(k, v)| (*k, v.as_ref())).collect();
    let stored = Stored::encode(version, object, &fields).map_err(|e| e.to_string())?;
    let name = match namespace(object) {
        "" => SmolStr::new(name(object)),
        namespace => format_smolstr!("{namespace}/{}", name(object)),
    };
    Ok(Template { collection: collection_name(resource), name, value: stored.as_bytes().clone() })
}

fn own(group: &str, version: &str, resource: &str, created: &str, mut object: Value) -> Result<Template, TenantError> {
    object["metadata"]["uid"] = json!(uuid::Uuid::new_v4().to_string());
    object["metadata"]["creationTimestamp"] = json!(created);
    template(&GroupResource::new(group, resource), version, &object).map_err(TenantError::Bootstrap)
}

/// Writes all objects that a tenant lacks, except those with addresses. What is there stays as it is.
pub(super) async fn write_all(
    store: &dyn Store,
    id: TenantId,
    authority: &Authority,
    created: Timestamp,
) -> Result<(), TenantError> {
    let created = rfc3339(created);
    let shared = SHARED.as_ref().map_err(|e| TenantError::Bootstrap(e.clone()))?;
    let mut tenants_own = Vec::new();
    for name in ["default", "kube-node-lease", "kube-public", "kube-system"] {
        let namespace = json!({
            "metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}},
            "spec": {"finalizers": ["kubernetes"]},
            "status": {"phase": "Active"},
        });
        tenants_own.push(own("", "v1", "namespaces", &created, namespace)?);
    }
    let trust = json!({
        "metadata": {"name": "extension-apiserver-authentication", "namespace": "kube-system"},
        "data": {"client-ca-file": authority.pem()},
    });
    tenants_own.push(own("", "v1", "configmaps", &created, trust)?);
    // A transaction writes one record of a collection at most. All go to the store at once, which makes them durable
    // together.
    let mut transactions: Vec<Vec<Write>> = Vec::new();
    let mut filled: HashMap<SmolStr, usize> = HashMap::new();
    for found in shared.iter().chain(&tenants_own) {
        let index = filled.entry(found.collection.clone()).or_default();
        if *index == transactions.len() {
            transactions.push(Vec::new());
        }
        let collection = CollectionId { tenant: id, name: found.collection.clone() };
        let key = Key { collection, name: found.name.clone() };
        transactions[*index].push(Write { key, value: Some(found.value.clone()), require: Precondition::Absent });
        *index += 1;
    }
    try_join_all(transactions.into_iter().map(|writes| commit_absent(store, writes))).await?;
    Ok(())
}

/// Does the writes whose keys have no record yet.
async fn commit_absent(store: &dyn Store, mut writes: Vec<Write>) -> Result<(), StoreError> {
    while !writes.is_empty() {
        match store.commit(writes.clone()).await {
            Ok(_) => return Ok(()),
            Err(StoreError::Conflict { index, .. }) if index < writes.len() => {
                writes.remove(index);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Writes the objects that say where the API is, or brings them up to date: `default/kubernetes` with its endpoints, the
/// service ranges. Without addresses there are none of them yet.
pub(super) async fn write_addresses(
    store: &dyn Store,
    id: TenantId,
    spec: &TenantSpec,
    created: Timestamp,
) -> Result<(), TenantError> {
    let created = rfc3339(created);
    let port = if spec.endpoint_port == 0 { spec.port } else { spec.endpoint_port };
    let mut wanted = Vec::new();
    if let Some(first) = spec.service_ips.first() {
        wanted.push(own("", "v1", "services", &created, service(&spec.service_ips, *first, port))?);
        if !spec.endpoint_ips.is_empty() {
            wanted.push(own("", "v1", "endpoints", &created, endpoints(&spec.endpoint_ips, port))?);
            let slice = endpoint_slice(&spec.endpoint_ips, spec.endpoint_ips[0], port);
            wanted.push(own("discovery.k8s.io", "v1", "endpointslices", &created, slice)?);
        }
        let address = json!({
            "metadata": {"name": first.to_string(), "labels": {
                "ipaddress.kubernetes.io/ip-family": family(*first),
                "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
            }},
            "spec": {"parentRef": {"name": "kubernetes", "namespace": "default", "resource": "services"}},
        });
        wanted.push(own("networking.k8s.io", "v1", "ipaddresses", &created, address)?);
    }
    if !spec.service_cidrs.is_empty() {
        let range = json!({
            "metadata": {"name": "kubernetes", "finalizers": ["networking.k8s.io/service-cidr-finalizer"]},
            "spec": {"cidrs": spec.service_cidrs},
            "status": {"conditions": [{
                "type": "Ready", "status": "True", "reason": "", "lastTransitionTime": created,
                "message": "Kubernetes Service CIDR is ready",
            }]},
        });
        wanted.push(own("networking.k8s.io", "v1", "servicecidrs", &created, range)?);
    }
    try_join_all(wanted.into_iter().map(|found| commit_present(store, id, found))).await?;
    Ok(())
}

/// Writes an object, or brings everything but the metadata of the one that is there up to date.
async fn commit_present(store: &dyn Store, id: TenantId, wanted: Template) -> Result<(), StoreError> {
    let key = Key { collection: CollectionId { tenant: id, name: wanted.collection }, name: wanted.name };
    loop {
        let (value, require) = match store.get(&key).await? {
            None => (wanted.value.clone(), Precondition::Absent),
            Some(current) => match updated(&current.value, &wanted.value) {
                Some(value) => (value, Precondition::Revision(current.revision)),
                None => return Ok(()),
            },
        };
        match store.commit(vec![Write { key: key.clone(), value: Some(value), require }]).await {
            Ok(_) => return Ok(()),
            Err(StoreError::Conflict { .. }) => {}
            Err(error) => return Err(error),
        }
    }
}

/// `wanted` under the metadata of `current`; none if everything but metadata is the same already.
fn updated(current: &Bytes, wanted: &Bytes) -> Option<Bytes> {
    let stored = Stored::from_bytes(current.clone()).ok()?;
    let old = stored.to_value(None, 0).ok()?;
    let mut new = Stored::from_bytes(wanted.clone()).ok()?.to_value(None, 0).ok()?;
    new["metadata"] = old["metadata"].clone();
    if new == old {
        return None;
    }
    let wanted = Stored::from_bytes(wanted.clone()).ok()?;
    let fields: Vec<(&str, &str)> = wanted.fields().collect();
    Some(Stored::encode(stored.version(), &new, &fields).ok()?.as_bytes().clone())
}

fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}

fn service(addresses: &[IpAddr], first: IpAddr, port: u16) -> Value {
    let families: Vec<&str> = addresses.iter().map(|a| family(*a)).collect();
    json!({
        "metadata": {
            "name": "kubernetes", "namespace": "default",
            "labels": {"component": "apiserver", "provider": "kubernetes"},
        },
        "spec": {
            "type": "ClusterIP",
            "clusterIP": first.to_string(),
            "clusterIPs": addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>(),
            "ipFamilies": families,
            "ipFamilyPolicy": if addresses.len() > 1 { "RequireDualStack" } else { "SingleStack" },
            "internalTrafficPolicy": "Cluster",
            "sessionAffinity": "None",
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": port}],
        },
        "status": {"loadBalancer": {}},
    })
}

fn endpoints(addresses: &[IpAddr], port: u16) -> Value {
    let addresses: Vec<Value> = addresses.iter().map(|a| json!({"ip": a.to_string()})).collect();
    json!({
        "metadata": {
            "name": "kubernetes", "namespace": "default",
            "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
        },
        "subsets": [{
            "addresses": addresses,
            "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
        }],
    })
}

fn endpoint_slice(addresses: &[IpAddr], first: IpAddr, port: u16) -> Value {
    let same = addresses.iter().filter(|a| a.is_ipv4() == first.is_ipv4());
    json!({
        "metadata": {
            "name": "kubernetes", "namespace": "default", "generation": 1,
            "labels": {"kubernetes.io/service-name": "kubernetes"},
        },
        "addressType": family(first),
        "endpoints": same.map(|a| json!({"addresses": [a.to_string()], "conditions": {"ready": true}}))
            .collect::<Vec<_>>(),
        "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
    })
}
