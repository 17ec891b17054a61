//! What can go wrong, and what to do about it.

use std::path::PathBuf;

use kube::config::KubeconfigError;

/// Why a command failed. The text says what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cannot read the kubeconfig of the host cluster; name one with --kubeconfig or $KUBECONFIG")]
    HostKubeconfig(#[source] KubeconfigError),
    #[error("cannot use the kubeconfig of the host cluster; 'kubectl config view' shows it")]
    HostClient(#[source] kube::Error),
    #[error(
        "Tenantry is not installed on this cluster: it serves no virtualclusters.tenantry.io. Install the chart: helm install tenantry charts/tenantry -n tenantry-system --create-namespace. Or is this not the host cluster? Name its context with --context"
    )]
    NotInstalled,
    #[error("virtual cluster \"{name}\" not found in namespace \"{namespace}\"; 'kubectl tenant list -A' shows all")]
    NotFound { name: String, namespace: String },
    #[error(
        "virtual cluster \"{name}\" exists already in namespace \"{namespace}\"; 'kubectl tenant kubeconfig {name}' prints its kubeconfig"
    )]
    Exists { name: String, namespace: String },
    #[error("cannot {what}")]
    Api {
        what: String,
        #[source]
        source: kube::Error,
    },
    #[error("cannot {what}: {message}")]
    Refused { what: String, message: String },
    #[error("virtual cluster \"{name}\" is not ready: {why}")]
    NotReady { name: String, why: String },
    #[error(
        "virtual cluster \"{name}\" {what} after {seconds} s: {why}; 'kubectl describe virtualcluster {name} -n {namespace}' and the log of the tenantry pod say more"
    )]
    TimedOut { name: String, namespace: String, what: &'static str, seconds: u64, why: String },
    #[error(
        "Secret \"{secret}\" in namespace \"{namespace}\" has no kubeconfig under the key \"config\"; delete it and the operator makes it anew"
    )]
    NoKubeconfig { secret: String, namespace: String },
    #[error("cannot read {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("cannot write {}", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the spec in {} is not valid", path.display())]
    Spec {
        path: PathBuf,
        #[source]
        source: serde_yaml_ng::Error,
    },
    #[error("cannot merge the kubeconfig into {}; write it to a file of its own with --write", path.display())]
    Merge {
        path: PathBuf,
        #[source]
        source: KubeconfigError,
    },
    #[error("cannot print the result")]
    Print(#[from] serde_json::Error),
    #[error("cannot print the result")]
    PrintYaml(#[from] serde_yaml_ng::Error),
    #[error("cannot write to standard output")]
    Stdout(#[source] std::io::Error),
    #[error("cannot run \"{command}\"; is it installed and in $PATH?")]
    Spawn {
        command: String,
        #[source]
        source: std::io::Error,
    },
}
