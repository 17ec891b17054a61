//! The host objects that the operator makes for a virtual cluster: pure functions.

use std::net::IpAddr;

use apimachinery::tenant::TenantId;
use kube::api::ObjectMeta;
use serde_json::{Value, json};
use virtualcluster::{KUBECONFIG_KEY, VirtualCluster};

use crate::config::ObjectName;

/// Label of what the operator makes in a host namespace: by it, a deletion or an edit is noticed.
pub const MADE_FOR: &str = "tenantry.io/made-for";
/// Name of the host Service of a tenant, in the host namespace of the tenant's `default`: its API and its resolver.
pub const SERVICE: &str = "kubernetes";
/// Type of kubeconfig Secrets: the one that the fence lets us write beside a VirtualCluster.
pub const KUBECONFIG_TYPE: &str = "tenantry.io/kubeconfig";
/// Name of the RoleBinding beside a VirtualCluster.
pub const KUBECONFIG_BINDING: &str = "tenantry-kubeconfig";
/// Port at which pods find the tenant's API.
pub const API_PORT: u16 = 443;
/// Port at which pods find the tenant's resolver.
pub const DNS_PORT: u16 = 53;

const RESOURCE: &str = "virtualclusters";

/// A virtual cluster as its host objects tell of it.
#[derive(Clone, Copy, Debug)]
pub struct Owner<'a> {
    /// Uid.
    pub id: TenantId,
    /// Namespace of the VirtualCluster.
    pub namespace: &'a str,
    /// Name of the VirtualCluster.
    pub name: &'a str,
}

impl Owner<'_> {
    fn metadata(&self, namespace: &str, name: &str) -> Value {
        json!({
            "namespace": namespace,
            "name": name,
            "labels": {(syncer::marks::TENANT): self.id.to_string(), (MADE_FOR): RESOURCE},
            "annotations": {
                (syncer::marks::RESOURCE): RESOURCE,
                (syncer::marks::NAMESPACE): self.namespace,
                (syncer::marks::NAME): self.name,
                (syncer::marks::UID): self.id.to_string(),
                (syncer::marks::TENANT_NAME): self.name,
            },
        })
    }
}

/// The VirtualCluster (namespace and name) that an object was made for.
pub fn made_for(metadata: &ObjectMeta) -> Option<(String, String)> {
    let annotation = |key: &str| metadata.annotations.as_ref()?.get(key).cloned();
    Some((annotation(syncer::marks::NAMESPACE)?, annotation(syncer::marks::NAME)?))
}

/// The Service through which pods reach the tenant's API and its resolver. It has no selector: its endpoints are ours.
pub fn service(owner: Owner<'_>, host_namespace: &str) -> Value {
    let port = |name: &str, port: u16, protocol: &str| json!({"name": name, "port": port, "protocol": protocol});
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": owner.metadata(host_namespace, SERVICE),
        "spec": {
            "type": "ClusterIP",
            "ports": [port("https", API_PORT, "TCP"), port("dns", DNS_PORT, "UDP"), port("dns-tcp", DNS_PORT, "TCP")],
        },
    })
}

/// Where that Service leads: this process, at the tenant's own ports.
pub fn endpoint_slice(owner: Owner<'_>, host_namespace: &str, address: IpAddr, port: u16) -> Value {
    let mut metadata = owner.metadata(host_namespace, SERVICE);
    metadata["labels"]["kubernetes.io/service-name"] = json!(SERVICE);
    metadata["labels"]["endpointslice.kubernetes.io/managed-by"] = json!("tenantry.io");
    let to = |name: &str, port: u16, protocol: &str| json!({"name": name, "port": port, "protocol": protocol});
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": metadata,
        "addressType": if address.is_ipv4() { "IPv4" } else { "IPv6" },
        "endpoints": [{"addresses": [address.to_string()], "conditions": {"ready": true}}],
        "ports": [to("https", port, "TCP"), to("dns", port + 1, "UDP"), to("dns-tcp", port + 1, "TCP")],
    })
}

/// Lets us write the kubeconfig Secret in the namespace of a VirtualCluster.
pub fn kubeconfig_binding(namespace: &str, role: &str, account: &ObjectName) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"namespace": namespace, "name": KUBECONFIG_BINDING},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": account.name, "namespace": account.namespace}],
    })
}

/// The kubeconfig Secret. It goes with its VirtualCluster.
pub fn kubeconfig_secret(vc: &VirtualCluster, kubeconfig: &str) -> Value {
    let metadata = &vc.metadata;
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "type": KUBECONFIG_TYPE,
        "metadata": {
            "namespace": metadata.namespace,
            "name": vc.kubeconfig_secret_name(),
            "ownerReferences": [{
                "apiVersion": "tenantry.io/v1alpha1",
                "kind": "VirtualCluster",
                "name": metadata.name,
                "uid": metadata.uid,
                "controller": true,
            }],
        },
        "stringData": {KUBECONFIG_KEY: kubeconfig},
    })
}
