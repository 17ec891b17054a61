//! What an admin chooses: once for the syncer, and for each virtual cluster.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use apimachinery::tenant::TenantId;
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// The syncer as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Config {
    /// Who we are on the host: bound in each host namespace before anything is written there. `None` binds nothing,
    /// for a syncer whose host credentials need no binding (tests, an admin's kubeconfig).
    pub access: Option<HostAccess>,
    /// Syncs that run at once.
    pub in_flight: usize,
    /// Syncs of one tenant that run at once.
    pub in_flight_per_tenant: usize,
    /// Objects of one tenant that may wait; beyond it a full scan of that tenant is noted instead.
    pub queue_per_tenant: usize,
    /// How often, in seconds, everything is compared with everything, for what events missed.
    pub scan_seconds: u64,
    /// How many watches on config maps and secrets of single host namespaces there may be; each holds a connection.
    /// What is edited on the host beyond them is put back by the scan.
    pub config_watches: usize,
    /// How long, in seconds, a request to the host may take.
    pub host_timeout_seconds: u64,
}

/// The role that the syncer gets in each host namespace, and who it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HostAccess {
    /// Name of the ClusterRole that a RoleBinding in each host namespace refers to.
    pub cluster_role: String,
    /// The syncer's own service account.
    pub service_account: String,
    /// The namespace of that service account.
    pub service_account_namespace: String,
}

/// What the syncer must know of a virtual cluster beyond its objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantSettings {
    /// Name of the VirtualCluster; never changes for a tenant.
    pub name: String,
    /// Address that pods find the tenant's API at: the cluster IP of its host Service.
    pub api_address: String,
    /// Port of that Service.
    pub api_port: u16,
    /// Address of the tenant's resolver: the cluster IP of its host Service. `None` while there is none: pods with
    /// `dnsPolicy: ClusterFirst` then wait.
    pub dns_address: Option<String>,
    /// The tenant's DNS domain: `cluster.local`.
    pub cluster_domain: String,
    /// What the admin allows.
    pub policy: Arc<Policy>,
}

#[cfg(test)]
impl TenantSettings {
    /// Those of a tenant without a resolver, to whom the defaults are allowed.
    pub(crate) fn demo() -> Self {
        Self {
            name: "demo".into(),
            api_address: "10.96.0.50".into(),
            api_port: 443,
            dns_address: None,
            cluster_domain: "cluster.local".into(),
            policy: Arc::default(),
        }
    }
}

/// What an admin allows a virtual cluster on the host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Policy {
    /// Pods.
    pub pods: PodPolicy,
    /// Services.
    pub services: ServicePolicy,
    /// Which nodes the tenant sees.
    pub nodes: NodePolicy,
    /// Whether its nodes have leases that are renewed: only a node controller of the tenant's own reads them.
    pub node_leases: bool,
    /// Host storage classes that claims may name; they are visible in the tenant.
    pub storage_classes: Allow,
    /// Host runtime classes that pods may name; they are visible in the tenant.
    pub runtime_classes: Allow,
    /// Host priority classes that pods may name; they are visible in the tenant. Never `system-` ones.
    pub priority_classes: Allow,
    /// Keys of annotations that are not passed on, in addition to [`DENIED_KEYS`]: whole keys, or `domain/*` with all
    /// that lies below the domain.
    pub denied_keys: Vec<String>,
    /// Keys that are passed on although [`DENIED_KEYS`] names them, in the same form.
    pub allowed_keys: Vec<String>,
}

/// How much pods may do on the node that they run on: the levels of the Pod Security Standards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PodSecurity {
    /// Anything: only for tenants that may own the nodes.
    None,
    /// What Pod Security calls baseline.
    #[default]
    Baseline,
    /// What Pod Security calls restricted.
    Restricted,
}

impl PodSecurity {
    /// The level as `pod-security.kubernetes.io/enforce` calls it.
    pub fn as_label(self) -> &'static str {
        match self {
            Self::None => "privileged",
            Self::Baseline => "baseline",
            Self::Restricted => "restricted",
        }
    }
}

/// What pods may ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PodPolicy {
    /// The level that pods are held to, here and by the label on the host namespace.
    pub security: PodSecurity,
    /// Pods may name the node they run on; it becomes a node affinity, so that the host's scheduler still decides.
    pub allow_node_name: bool,
    /// Host schedulers that pods may name, beyond `default-scheduler`.
    pub schedulers: Vec<String>,
    /// CSI drivers that pods may use inline.
    pub csi_drivers: Vec<String>,
    /// Added to the node selector of every pod; wins over the tenant's.
    pub node_selector: BTreeMap<String, String>,
    /// Added to the tolerations of every pod.
    pub tolerations: Vec<Toleration>,
}

/// A toleration, as in `pod.spec.tolerations`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Toleration {
    /// Taint key; empty for all.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub key: String,
    /// `Exists` or `Equal`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub operator: String,
    /// Taint value.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub value: String,
    /// Taint effect; empty for all.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub effect: String,
}

/// What services may ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ServicePolicy {
    /// `externalIPs`: lets a tenant take over traffic of any address.
    pub allow_external_ips: bool,
    /// `loadBalancerClass`es that services may name.
    pub load_balancer_classes: Vec<String>,
    /// Services of type `NodePort` are refused.
    pub deny_node_ports: bool,
    /// Services of type `LoadBalancer` are refused.
    pub deny_load_balancers: bool,
}

/// Which nodes a tenant sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum NodePolicy {
    /// Those that its pods run on.
    #[default]
    InUse,
    /// All.
    All,
}

/// Which classes of a kind are allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Allow {
    /// All of the host's.
    pub all: bool,
    /// These.
    pub names: Vec<String>,
}

impl Allow {
    /// Whether this one is allowed.
    pub fn allows(&self, name: &str) -> bool {
        self.all || self.names.iter().any(|n| n == name)
    }
}

/// Annotations that mean something to what runs on a host beside Kubernetes itself, or to Kubernetes: networks, cloud
/// identities, meshes, load balancers. Whoever could set them would speak with the admin's voice.
pub const DENIED_KEYS: &[&str] = &[
    "kubernetes.io/*",
    "k8s.io/*",
    "tenantry.io/*",
    "cncf.io/*",
    "projectcalico.org/*",
    "cilium.io/*",
    "antrea.io/*",
    "ovn.org/*",
    "istio.io/*",
    "linkerd.io/*",
    "consul.hashicorp.com/*",
    "vault.hashicorp.com/*",
    "amazonaws.com/*",
    "cloud.google.com/*",
    "azure.com/*",
    "azure.workload.identity/*",
    "openshift.io/*",
    "cattle.io/*",
    "metallb.io/*",
    "metallb.universe.tf/*",
    "kyverno.io/*",
    "gatekeeper.sh/*",
    "openpolicyagent.org/*",
    "kata-containers.io/*",
    "nvidia.com/*",
];

/// Annotations of [`DENIED_KEYS`]' domains that are harmless, and that programs expect to find on their pod.
pub const ALLOWED_KEYS: &[&str] = &[
    "kubectl.kubernetes.io/default-container",
    "kubectl.kubernetes.io/default-logs-container",
    "kubectl.kubernetes.io/restartedAt",
    "kubernetes.io/change-cause",
    "kubernetes.io/description",
];

impl Policy {
    /// Whether an annotation with this key may reach the host.
    pub fn passes_annotation(&self, key: &str) -> bool {
        if crate::marks::is_ours(key) {
            return false;
        }
        let hit = |mut patterns: Box<dyn Iterator<Item = &str> + '_>| patterns.any(|p| key_matches(p, key));
        if hit(Box::new(self.denied_keys.iter().map(String::as_str))) {
            return false;
        }
        hit(Box::new(ALLOWED_KEYS.iter().copied().chain(self.allowed_keys.iter().map(String::as_str))))
            || !hit(Box::new(DENIED_KEYS.iter().copied()))
    }

    /// Whether a label with this key may reach the host. Selectors go by labels, so all do but ours and what the admin denies.
    pub fn passes_label(&self, key: &str) -> bool {
        !crate::marks::is_ours(key) && !self.denied_keys.iter().any(|p| key_matches(p, key))
    }
}

/// `domain/*` matches keys of the domain and of all below it; anything else matches itself.
fn key_matches(pattern: &str, key: &str) -> bool {
    match pattern.strip_suffix("/*") {
        None => pattern == key,
        Some(domain) => key.split_once('/').is_some_and(|(prefix, _)| {
            prefix == domain || prefix.strip_suffix(domain).is_some_and(|head| head.ends_with('.'))
        }),
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            access: None,
            in_flight: 64,
            in_flight_per_tenant: 8,
            queue_per_tenant: 20_000,
            scan_seconds: 300,
            config_watches: 200,
            host_timeout_seconds: 30,
        }
    }
}

impl Config {
    /// How long a request to the host may take.
    pub fn host_timeout(&self) -> Duration {
        Duration::from_secs(self.host_timeout_seconds)
    }
}

/// The virtual clusters that the operator has told the syncer of, shared with [`crate::host::HostBridge`].
#[derive(Debug, Default)]
pub struct Directory {
    tenants: RwLock<HashMap<TenantId, Arc<TenantSettings>>>,
    filled: watch::Sender<bool>,
}

impl Directory {
    /// Adds a tenant or changes its settings. The syncer learns of it through [`crate::Syncer::tenant_changed`].
    pub fn set(&self, tenant: TenantId, settings: TenantSettings) {
        self.tenants.write().insert(tenant, Arc::new(settings));
    }

    /// All virtual clusters that there were when the operator first looked are here. Of one that comes later the host has
    /// nothing before it is set here.
    pub fn fill(&self) {
        self.filled.send_replace(true);
    }

    /// Waits until [`Directory::fill`].
    pub async fn filled(&self) {
        // The sender is ours, so this ends in no other way.
        let _ = self.filled.subscribe().wait_for(|filled| *filled).await;
    }

    /// Forgets a tenant.
    pub fn remove(&self, tenant: TenantId) {
        self.tenants.write().remove(&tenant);
    }

    /// The settings of a tenant, if it is known.
    pub fn get(&self, tenant: TenantId) -> Option<Arc<TenantSettings>> {
        self.tenants.read().get(&tenant).cloned()
    }

    /// The name of a tenant, if it is known.
    pub fn name(&self, tenant: TenantId) -> Option<String> {
        self.get(tenant).map(|s| s.name.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_that_speak_for_the_admin_stay_behind() {
        let mut policy = Policy::default();
        for key in [
            "container.apparmor.security.beta.kubernetes.io/web",
            "seccomp.security.alpha.kubernetes.io/pod",
            "k8s.v1.cni.cncf.io/networks",
            "iam.amazonaws.com/role",
            "service.beta.kubernetes.io/aws-load-balancer-internal",
            "tenantry.io/uid",
            "x.tenantry.io/y",
            "sidecar.istio.io/inject",
        ] {
            assert!(!policy.passes_annotation(key), "{key}");
        }
        for key in ["plain", "example.com/x", "kubectl.kubernetes.io/restartedAt", "notkubernetes.io/x"] {
            assert!(policy.passes_annotation(key), "{key}");
        }
        policy.allowed_keys = vec!["istio.io/*".into(), "tenantry.io/uid".into()];
        policy.denied_keys = vec!["plain".into()];
        assert!(policy.passes_annotation("sidecar.istio.io/inject"));
        assert!(!policy.passes_annotation("tenantry.io/uid"), "our marks are never anyone else's");
        assert!(!policy.passes_annotation("plain"));
        assert!(policy.passes_label("app.kubernetes.io/name") && !policy.passes_label("tenantry.io/tenant"));
    }
}
