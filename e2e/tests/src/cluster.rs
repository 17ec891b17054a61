//! kubectl against one cluster.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::Error;
use crate::host::run_dir;

/// A cluster and the stock kubectl that talks to it.
#[derive(Clone, Debug)]
pub struct Cluster {
    kubectl: PathBuf,
    kubeconfig: PathBuf,
}

impl Cluster {
    /// The host cluster, as its admin.
    ///
    /// # Errors
    /// [`Error::NoHost`] when none runs.
    pub fn host() -> Result<Self, Error> {
        Self::with_kubeconfig(run_dir().join("host.kubeconfig"))
    }

    /// The virtual cluster `demo` that `make up` created, as its admin.
    ///
    /// # Errors
    /// [`Error::NoHost`] when there is none.
    pub fn demo() -> Result<Self, Error> {
        Self::with_kubeconfig(run_dir().join("demo.kubeconfig"))
    }

    /// The cluster that a kubeconfig names.
    ///
    /// # Errors
    /// [`Error::NoHost`] when the file cannot be read.
    pub fn with_kubeconfig(kubeconfig: PathBuf) -> Result<Self, Error> {
        std::fs::metadata(&kubeconfig)
            .map_err(|source| Error::NoHost { path: kubeconfig.display().to_string(), source })?;
        Ok(Self { kubectl: run_dir().join("bin/kubectl"), kubeconfig })
    }

    /// Where `make up` keeps the state of this checkout, its programs in `bin`.
    #[must_use]
    pub fn run_dir() -> PathBuf {
        run_dir()
    }

    /// The kubeconfig of this cluster.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// A kubectl command that is yet to be started, for tests that hold on to it.
    #[must_use]
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.kubectl);
        command.arg("--kubeconfig").arg(&self.kubeconfig).args(args);
        command
    }

    /// Runs kubectl and returns what it printed.
    ///
    /// # Errors
    /// With what it complained when it fails.
    pub fn kubectl(&self, args: &[&str]) -> Result<String, Error> {
        self.kubectl_with_input(args, "")
    }

    /// Runs kubectl with `input` on its standard input.
    ///
    /// # Errors
    /// With what it complained when it fails.
    pub fn kubectl_with_input(&self, args: &[&str], input: &str) -> Result<String, Error> {
        let shown = format!("kubectl {}", args.join(" "));
        let failed = |source| Error::Start { command: shown.clone(), source };
        let mut child = self
            .command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        if let Some(mut stdin) = child.stdin.take() {
            // A command that does not read its input may be gone already; its own exit code says whether that is an error.
            let _ = stdin.write_all(input.as_bytes());
        }
        let output = child.wait_with_output().map_err(failed)?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(Error::Command { command: shown, stderr: String::from_utf8_lossy(&output.stderr).into_owned() })
    }

    /// Applies manifests (YAML or JSON).
    ///
    /// # Errors
    /// With kubectl's complaint.
    pub fn apply(&self, namespace: &str, manifests: &str) -> Result<(), Error> {
        self.kubectl_with_input(&["--namespace", namespace, "apply", "--filename", "-"], manifests).map(drop)
    }

    /// `kubectl get ARGS` as JSON.
    ///
    /// # Errors
    /// With kubectl's complaint.
    pub fn get(&self, args: &[&str]) -> Result<Value, Error> {
        let args = [&["get", "--output", "json"], args].concat();
        let text = self.kubectl(&args)?;
        serde_json::from_str(&text)
            .map_err(|source| Error::Json { what: format!("kubectl {}", args.join(" ")), source })
    }

    /// `kubectl get --raw PATH` as JSON.
    ///
    /// # Errors
    /// With kubectl's complaint.
    pub fn raw(&self, path: &str) -> Result<Value, Error> {
        let text = self.kubectl(&["get", "--raw", path])?;
        serde_json::from_str(&text).map_err(|source| Error::Json { what: path.to_owned(), source })
    }

    /// Asks again until `condition` gives something, at most `limit` long.
    ///
    /// # Errors
    /// [`Error::Timeout`] with the last error of `condition`.
    pub fn eventually<T>(
        &self,
        what: &str,
        limit: Duration,
        condition: impl Fn(&Self) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let end = Instant::now() + limit;
        loop {
            match condition(self) {
                Ok(found) => return Ok(found),
                Err(error) if Instant::now() >= end => {
                    let (what, seconds) = (what.to_owned(), limit.as_secs());
                    return Err(Error::Timeout { what, seconds, last: error.to_string() });
                }
                Err(_) => std::thread::sleep(Duration::from_millis(200)),
            }
        }
    }

    /// A namespace of the test's own, deleted when it is dropped.
    ///
    /// # Errors
    /// With kubectl's complaint.
    pub fn namespace(&self, prefix: &str) -> Result<Namespace<'_>, Error> {
        let manifest = format!(r#"{{"apiVersion":"v1","kind":"Namespace","metadata":{{"generateName":"{prefix}-"}}}}"#);
        let args = ["create", "--filename", "-", "--output", "jsonpath={.metadata.name}"];
        Ok(Namespace { cluster: self, name: self.kubectl_with_input(&args, &manifest)? })
    }
}

/// A namespace that lives as long as this value.
#[derive(Debug)]
pub struct Namespace<'a> {
    cluster: &'a Cluster,
    name: String,
}

impl Namespace<'_> {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs kubectl in it.
    ///
    /// # Errors
    /// With kubectl's complaint.
    pub fn kubectl(&self, args: &[&str]) -> Result<String, Error> {
        self.cluster.kubectl(&[&["--namespace", self.name.as_str()], args].concat())
    }

    /// Applies manifests in it.
    ///
    /// # Errors
    /// With kubectl's complaint.
    pub fn apply(&self, manifests: &str) -> Result<(), Error> {
        self.cluster.apply(&self.name, manifests)
    }
}

impl Drop for Namespace<'_> {
    fn drop(&mut self) {
        let _ = self.cluster.kubectl(&["delete", "namespace", &self.name, "--wait=false"]);
    }
}
