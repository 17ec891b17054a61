//! Virtual clusters whose controllers somebody else runs: `spec.controllers: external`.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use e2e::{Cluster, Error, Tenant};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(90);

/// A controller manager that runs as long as this value.
struct ControllerManager {
    process: Child,
    log: PathBuf,
}

impl ControllerManager {
    /// Starts the host's own binary as docs/admins.md says. Its log stays for whoever asks why the test failed.
    fn start(cluster: &Cluster) -> Result<Self, Error> {
        let log = Cluster::run_dir().join("log/e2e-controller-manager.log");
        let shown = "kube-controller-manager".to_owned();
        let failed = |source| Error::Start { command: shown.clone(), source };
        let out = std::fs::create_dir_all(Cluster::run_dir().join("log")).and_then(|()| File::create(&log));
        let process = Command::new(Cluster::run_dir().join("bin/kube-controller-manager"))
            .arg(format!("--kubeconfig={}", cluster.kubeconfig().display()))
            .args(["--use-service-account-credentials=true", "--secure-port=0", "--v=2"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(out.map_err(failed)?)
            .spawn()
            .map_err(failed)?;
        Ok(Self { process, log })
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// How many caches were waited for, and how many of them came.
    fn caches(&self) -> (usize, usize) {
        let log = self.log();
        let count = |text: &str| log.lines().filter(|line| line.contains(text)).count();
        (count("\"Waiting for caches to sync\""), count("\"Caches are synced\""))
    }
}

impl Drop for ControllerManager {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn unexpected<T>(what: &str, got: impl Into<String>) -> Result<T, Error> {
    Err(Error::Unexpected { what: what.to_owned(), got: got.into() })
}

fn ready_addresses(cluster: &Cluster, namespace: &str) -> Result<usize, Error> {
    let selector = ["--selector", "kubernetes.io/service-name=web", "--namespace", namespace];
    let slices = cluster.get(&[&["endpointslices"], &selector[..]].concat())?;
    let slices = slices["items"].as_array().cloned().unwrap_or_default();
    let endpoints = slices.iter().filter_map(|slice| slice["endpoints"].as_array()).flatten();
    Ok(endpoints.filter(|e| e["conditions"]["ready"] == Value::Bool(true)).count())
}

fn rolls_a_deployment(cluster: &Cluster, namespace: &str) -> Result<(), Error> {
    let within = |args: &[&str]| cluster.kubectl(&[args, &["--namespace", namespace]].concat());
    within(&["rollout", "status", "deployment/web", "--timeout=90s"])?;
    within(&["set", "env", "deployment/web", "GENERATION=2"])?;
    within(&["rollout", "status", "deployment/web", "--timeout=90s"])?;
    cluster.eventually("the Service's endpoints are ready", LIMIT, |cluster| {
        match ready_addresses(cluster, namespace)? {
            2 => Ok(()),
            count => unexpected("ready endpoints", count.to_string()),
        }
    })
}

/// Custom resources, in a group that the collector did not know when it started.
fn collects_garbage(cluster: &Cluster, namespace: &str) -> Result<(), Error> {
    cluster.apply(
        namespace,
        r#"{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"widgets.example.com"},
            "spec":{"group":"example.com","scope":"Namespaced","names":{"plural":"widgets","singular":"widget","kind":"Widget"},
            "versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object"}}}]}}"#,
    )?;
    cluster.kubectl(&["wait", "--for=condition=Established", "customresourcedefinition/widgets.example.com"])?;
    let within = |args: &[&str]| cluster.kubectl(&[args, &["--namespace", namespace]].concat());
    within(&["create", "configmap", "owner"])?;
    let uid = within(&["get", "configmap", "owner", "--output=jsonpath={.metadata.uid}"])?;
    cluster.apply(
        namespace,
        &format!(
            r#"{{"apiVersion":"example.com/v1","kind":"Widget","metadata":{{"name":"owned","ownerReferences":
                [{{"apiVersion":"v1","kind":"ConfigMap","name":"owner","uid":"{uid}"}}]}}}}"#
        ),
    )?;
    within(&["delete", "configmap", "owner"])?;
    within(&["wait", "--for=delete", "widget/owned", "--timeout=90s"]).map(drop)
}

/// The heartbeat of the first node, and when it was.
fn heartbeat(cluster: &Cluster) -> Result<(String, String), Error> {
    let node = cluster.kubectl(&["get", "nodes", "--output=jsonpath={.items[0].metadata.name}"])?;
    let at = ["--namespace", "kube-node-lease", "--output=jsonpath={.spec.renewTime}"];
    let time = cluster.kubectl(&[&["get", "lease", &node], &at[..]].concat())?;
    Ok((node, time))
}

/// A node controller finds its nodes alive: they have heartbeats.
fn nodes_stay_ready(cluster: &Cluster) -> Result<(), Error> {
    let (node, first) = cluster.eventually("the node has a lease", LIMIT, heartbeat)?;
    cluster.eventually("the lease is renewed", LIMIT, |cluster| match heartbeat(cluster)? {
        (_, time) if time > first => Ok(()),
        (_, time) => unexpected("renewTime", time),
    })?;
    let ready = "--output=jsonpath={.status.conditions[?(@.type==\"Ready\")].status}";
    assert_eq!(cluster.kubectl(&["get", "node", &node, ready])?, "True");
    let lost = cluster.kubectl(&["get", "events", "--all-namespaces", "--field-selector=reason=NodeNotReady"])?;
    assert_eq!(lost, "", "the node was taken for dead");
    Ok(())
}

/// Left out where the host brings no controller manager (`make test` says so).
mod stock {
    use super::*;

    #[test]
    fn a_stock_controller_manager_does_all_that_ours_would() -> Result<(), Error> {
        let tenant = Tenant::create_with_spec("e2e-external", "controllers: external")?;
        let cluster = tenant.cluster();
        let namespace = "shop";
        cluster.kubectl(&["create", "namespace", namespace])?;
        cluster.apply(namespace, include_str!("../../host/demo.yaml"))?;
        assert_eq!(
            cluster.kubectl(&["get", "serviceaccounts,replicasets", "--all-namespaces"])?,
            "",
            "who made these?"
        );

        let manager = ControllerManager::start(cluster)?;
        rolls_a_deployment(cluster, namespace)?;
        collects_garbage(cluster, namespace)?;
        nodes_stay_ready(cluster)?;
        cluster.kubectl(&["delete", "namespace", namespace, "--timeout=90s"])?;

        let (waited, synced) = manager.caches();
        assert!(waited > 30 && waited == synced, "{synced} of {waited} caches are synced:\n{}", manager.log());
        let log = manager.log();
        let broken: Vec<&str> = log.lines().filter(|l| l.starts_with('E') && l.contains("reflector")).collect();
        assert!(broken.is_empty(), "informers complain: {broken:#?}");
        Ok(())
    }
}
