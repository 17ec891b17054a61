//! The status of a VirtualCluster.

use super::settled::revision;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;
use virtualcluster::{CONDITION_READY, Phase, VirtualCluster, VirtualClusterStatus};

/// What is reported.
pub struct Report<'a> {
    /// Where it stands.
    pub phase: Phase,
    /// Where the API is reached; as it was if `None`.
    pub endpoint: Option<&'a str>,
    /// One word.
    pub reason: &'a str,
    /// A sentence.
    pub message: &'a str,
}

/// The phase of a virtual cluster whose reconciliation failed: one that was served is served still.
pub fn phase_after_failure(vc: &VirtualCluster) -> Phase {
    match vc.status.as_ref().and_then(|s| s.phase) {
        Some(Phase::Ready) => Phase::Ready,
        _ => Phase::Pending,
    }
}

/// Writes the status if it changed. Gives the revision of the object with it; 0 if it is gone.
///
/// # Errors
/// The host's; an object that is gone is none.
pub async fn write(client: &Client, vc: &VirtualCluster, report: &Report<'_>) -> Result<u64, kube::Error> {
    let old = vc.status.clone().unwrap_or_default();
    let new = status(vc, &old, report);
    if new == old {
        return Ok(revision(vc.metadata.resource_version.as_deref()));
    }
    let namespace = vc.metadata.namespace.as_deref().unwrap_or_default();
    let api: Api<VirtualCluster> = Api::namespaced(client.clone(), namespace);
    let patch = Patch::Merge(json!({"metadata": {"uid": vc.metadata.uid}, "status": new}));
    let name = vc.metadata.name.as_deref().unwrap_or_default();
    match api.patch_status(name, &PatchParams::default(), &patch).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(0),
        result => result.map(|written| revision(written.metadata.resource_version.as_deref())),
    }
}

fn status(vc: &VirtualCluster, old: &VirtualClusterStatus, report: &Report<'_>) -> VirtualClusterStatus {
    let ready = if report.phase == Phase::Ready && report.reason == "Serving" { "True" } else { "False" };
    let before = old.conditions.iter().find(|c| c.type_ == CONDITION_READY);
    let since = before.filter(|c| c.status == ready).map(|c| c.last_transition_time.clone());
    let condition = Condition {
        type_: CONDITION_READY.to_owned(),
        status: ready.to_owned(),
        reason: report.reason.to_owned(),
        message: report.message.to_owned(),
        last_transition_time: since.unwrap_or_else(|| Time(Timestamp::now())),
        observed_generation: vc.metadata.generation,
    };
    let id = vc.metadata.uid.as_deref().and_then(|uid| uid.parse().ok());
    VirtualClusterStatus {
        phase: Some(report.phase),
        conditions: vec![condition],
        endpoint: report.endpoint.map(str::to_owned).or_else(|| old.endpoint.clone()),
        server_name: id.map(apiserver_shim::tenants::server_name),
        kubeconfig_secret_name: (report.phase == Phase::Ready)
            .then(|| vc.kubeconfig_secret_name())
            .or_else(|| old.kubeconfig_secret_name.clone()),
        kubernetes_version: Some(apiserver_shim::KUBERNETES_VERSION.to_owned()),
        observed_generation: vc.metadata.generation,
    }
}
