//! Facts about the host cluster, as `make up` wrote them down.

use std::path::PathBuf;

use serde::Deserialize;

use crate::Error;

/// `.run/host.json`: what kind of host it is and what its nodes can do.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HostFacts {
    /// `local`, `simulated`, `kind` or `existing`.
    pub kind: String,
    /// Whether containers run. If not, pods are only shown as Running.
    pub pods: bool,
    /// Whether exec, attach and port-forward work.
    pub exec: bool,
    /// Whether containers have logs.
    pub logs: bool,
    /// Whether pods reach each other, Services and DNS.
    pub network: bool,
    /// The nodes and the addresses at which node ports answer.
    pub nodes: Vec<Node>,
}

/// A node of the host.
#[derive(Clone, Debug, Deserialize)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its internal address.
    pub address: String,
}

impl HostFacts {
    /// Reads the facts of the running host.
    ///
    /// # Errors
    /// [`Error::NoHost`] when no host runs.
    pub fn read() -> Result<Self, Error> {
        let path = run_dir().join("host.json");
        let text = std::fs::read(&path).map_err(|source| Error::NoHost { path: path.display().to_string(), source })?;
        serde_json::from_slice(&text).map_err(|source| Error::Json { what: path.display().to_string(), source })
    }
}

/// Where `make up` keeps the state of this checkout: `$TENANTRY_RUN`, else `.run` at its top.
pub(crate) fn run_dir() -> PathBuf {
    std::env::var_os("TENANTRY_RUN")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../.run")), PathBuf::from)
}
