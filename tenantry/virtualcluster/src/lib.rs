//! The `VirtualCluster` custom resource, group `tenantry.io/v1alpha1`: what a platform admin asks for and what the
//! operator reports. The chart's CRD is generated from these types.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The finalizer under which the operator removes every trace of a virtual cluster from the host.
pub const FINALIZER: &str = "tenantry.io/virtualcluster";

/// The key of the kubeconfig in its Secret.
pub const KUBECONFIG_KEY: &str = "config";

/// The condition that tells whether the virtual cluster answers.
pub const CONDITION_READY: &str = "Ready";

/// What a virtual cluster should be.
#[derive(CustomResource, Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[kube(
    group = "tenantry.io",
    version = "v1alpha1",
    kind = "VirtualCluster",
    plural = "virtualclusters",
    singular = "virtualcluster",
    shortname = "vc",
    category = "tenantry",
    namespaced,
    status = "VirtualClusterStatus",
    derive = "Default",
    derive = "PartialEq",
    printcolumn = r#"{"name":"Phase","type":"string","jsonPath":".status.phase"}"#,
    printcolumn = r#"{"name":"Version","type":"string","jsonPath":".status.kubernetesVersion"}"#,
    printcolumn = r#"{"name":"Endpoint","type":"string","jsonPath":".status.endpoint"}"#,
    printcolumn = r#"{"name":"Kubeconfig","type":"string","jsonPath":".status.kubeconfigSecretName","priority":1}"#,
    printcolumn = r#"{"name":"Reason","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].reason","priority":1}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase", default)]
pub struct VirtualClusterSpec {
    /// Who runs the controllers (deployments, jobs, garbage collection, ...) of this virtual cluster.
    pub controllers: Controllers,
    /// Which nodes of the host the tenant sees.
    pub nodes: NodeVisibility,
    /// The Pod Security Standard that pods must meet to reach the host.
    pub pod_security: PodSecurity,
    /// Names of the host's priority classes that pods may use; others are left off the host pod.
    #[schemars(length(max = 100))]
    pub priority_classes: Vec<String>,
    /// Names of the host's runtime classes that pods may use; pods that ask for others are refused.
    #[schemars(length(max = 100))]
    pub runtime_classes: Vec<String>,
    /// Names of the host's storage classes that claims may use; all of them if not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100))]
    pub storage_classes: Option<Vec<String>>,
    /// DNS names, beside the built-in one, under which the API is reached from outside.
    #[schemars(length(max = 16))]
    pub server_names: Vec<String>,
    /// The kubeconfig Secret.
    pub kubeconfig: KubeconfigSpec,
}

/// Who runs the controllers.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Controllers {
    /// Tenantry does.
    #[default]
    Internal,
    /// A kube-controller-manager that the tenant points at the virtual cluster.
    External,
}

/// Which nodes of the host a tenant sees.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum NodeVisibility {
    /// Those that run a pod of the tenant.
    #[default]
    InUse,
    /// All.
    All,
}

/// A Pod Security Standard.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PodSecurity {
    /// No restriction beyond what the syncer never passes on. Only for tenants that are trusted with the nodes.
    Privileged,
    /// Known privilege escalations are refused.
    #[default]
    Baseline,
    /// Current hardening practice is required.
    Restricted,
}

/// The kubeconfig Secret of a virtual cluster.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KubeconfigSpec {
    /// Name of the Secret, in the namespace of the VirtualCluster; `<name>-kubeconfig` if not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: Option<String>,
    /// URL that the kubeconfig names as server; the address of Tenantry's API Service if not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^https://[^/]+$"))]
    pub server: Option<String>,
}

/// What the operator reports.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VirtualClusterStatus {
    /// Where it stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// `Ready`, with the reason when it is not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions_schema")]
    pub conditions: Vec<Condition>,
    /// URL under which the API is reached from outside.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The name that clients give in SNI (`tls-server-name` of the kubeconfig).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// The Secret with the kubeconfig, in the namespace of the VirtualCluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubeconfig_secret_name: Option<String>,
    /// The Kubernetes version the API speaks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubernetes_version: Option<String>,
    /// The generation of the spec that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

/// Where a virtual cluster stands.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum Phase {
    /// Accepted, not yet served.
    Pending,
    /// Served.
    Ready,
    /// Being removed from the host.
    Terminating,
    /// Cannot be served; the `Ready` condition says why and what to do.
    Failed,
}

impl VirtualCluster {
    /// The name of its kubeconfig Secret.
    pub fn kubeconfig_secret_name(&self) -> String {
        let default = || format!("{}-kubeconfig", self.metadata.name.as_deref().unwrap_or_default());
        self.spec.kubeconfig.secret_name.clone().unwrap_or_else(default)
    }

    /// The `Ready` condition.
    pub fn ready_condition(&self) -> Option<&Condition> {
        self.status.as_ref()?.conditions.iter().find(|c| c.type_ == CONDITION_READY)
    }
}

fn conditions_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["type", "status", "lastTransitionTime", "reason", "message"],
            "properties": {
                "type": {"type": "string"},
                "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
                "observedGeneration": {"type": "integer", "format": "int64"},
                "lastTransitionTime": {"type": "string", "format": "date-time"},
                "reason": {"type": "string"},
                "message": {"type": "string"},
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::CustomResourceExt;

    /// `UPDATE=1 cargo test -p virtualcluster` writes the chart's CRD; without it the test fails where the two differ.
    #[test]
    fn the_charts_crd_is_the_one_of_these_types() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../charts/tenantry/crds/virtualclusters.yaml");
        let header = "# Generated from tenantry/virtualcluster; `make generate` writes it.\n";
        let want = header.to_owned() + &serde_yaml_ng::to_string(&VirtualCluster::crd()).unwrap();
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(path, &want).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap_or_default(), want, "run `make generate`");
    }

    #[test]
    fn an_empty_spec_has_safe_defaults() {
        let spec: VirtualClusterSpec = serde_json::from_str("{}").unwrap();
        assert_eq!(spec.pod_security, PodSecurity::Baseline);
        assert_eq!(spec.controllers, Controllers::Internal);
        assert_eq!(spec.storage_classes, None);
    }
}
