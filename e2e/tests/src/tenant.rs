//! Virtual clusters of a test's own.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::host::run_dir;
use crate::{Cluster, Error};

/// Where VirtualClusters of tests lie on the host.
const NAMESPACE: &str = "default";

/// A virtual cluster that lives as long as this value.
#[derive(Debug)]
pub struct Tenant {
    name: String,
    cluster: Cluster,
    kubeconfig: PathBuf,
}

impl Tenant {
    /// Creates a virtual cluster with `kubectl tenant create` and waits until it is ready.
    ///
    /// # Errors
    /// With the command's complaint.
    pub fn create(prefix: &str) -> Result<Self, Error> {
        Self::create_with_spec(prefix, "{}")
    }

    /// Creates a virtual cluster with this spec (YAML).
    ///
    /// # Errors
    /// With the command's complaint.
    pub fn create_with_spec(prefix: &str, spec: &str) -> Result<Self, Error> {
        let name = format!("{prefix}-{}", std::process::id());
        let kubeconfig = run_dir().join(format!("{name}.kubeconfig"));
        let file = run_dir().join(format!("{name}.spec.yaml"));
        let written = |source| Error::Start { command: format!("write {}", file.display()), source };
        std::fs::write(&file, spec).map_err(written)?;
        let (spec, write) = (file.display().to_string(), kubeconfig.display().to_string());
        let created = tenant_command(&["create", &name, "--filename", &spec, "--write", &write]);
        let _ = std::fs::remove_file(&file);
        created?;
        let cluster = Cluster::with_kubeconfig(kubeconfig.clone())?;
        Ok(Self { name, cluster, kubeconfig })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// kubectl for it.
    #[must_use]
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Deletes it and waits until it is gone from the host.
    ///
    /// # Errors
    /// With the command's complaint.
    pub fn delete(self) -> Result<(), Error> {
        tenant_command(&["delete", &self.name]).map(drop)
    }
}

impl Drop for Tenant {
    fn drop(&mut self) {
        let _ = tenant_command(&["delete", &self.name, "--no-wait", "--ignore-not-found"]);
        let _ = std::fs::remove_file(&self.kubeconfig);
    }
}

/// Runs `kubectl tenant` against the host and returns what it printed.
///
/// # Errors
/// With what it complained when it fails.
pub fn tenant_command(args: &[&str]) -> Result<String, Error> {
    let binary = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/release/kubectl-tenant");
    let shown = format!("kubectl tenant {}", args.join(" "));
    let mut command = Command::new(binary);
    command.arg("--kubeconfig").arg(run_dir().join("host.kubeconfig")).args(["--namespace", NAMESPACE]).args(args);
    let output = command.output().map_err(|source| Error::Start { command: shown.clone(), source })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(Error::Command { command: shown, stderr: String::from_utf8_lossy(&output.stderr).into_owned() })
}
