//! How soon a tenant sees what the host sees of its pods. `--nocapture` prints the times; docs/performance.md has those of a run.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use e2e::marks::{host_namespace, uid};
use e2e::{Cluster, Error, LIMIT, must, sleepers, text};
use serde_json::Value;

const PODS: usize = 20;

#[test]
fn every_pod_that_the_host_shows_running_the_tenant_shows_running() -> Result<(), Error> {
    let (demo, host) = (Cluster::demo()?, Cluster::host()?);
    let namespace = demo.namespace("e2e-running")?;
    // The first object for the host makes the host namespace, so that it can be watched before there are pods.
    namespace.kubectl(&["create", "service", "clusterip", "first", "--tcp=80"])?;
    let below = host_namespace(&host, &uid(&host, "demo")?, namespace.name())?.unwrap_or_default();
    let (on_host, in_tenant) = std::thread::scope(|scope| {
        let on_host = scope.spawn(|| running(&host, &below));
        let in_tenant = scope.spawn(|| running(&demo, namespace.name()));
        namespace.apply(&sleepers("many", PODS))?;
        Ok::<_, Error>((on_host.join().expect("no panic")?, in_tenant.join().expect("no panic")?))
    })?;
    assert!(on_host.keys().eq(in_tenant.keys()), "host: {on_host:?}, tenant: {in_tenant:?}");
    let mut behind: Vec<Duration> =
        in_tenant.iter().map(|(name, seen)| seen.saturating_duration_since(on_host[name])).collect();
    behind.sort();
    println!(
        "Running in the tenant after the host, {PODS} pods: median {:?}, most {:?}",
        behind[PODS / 2],
        behind[PODS - 1]
    );
    Ok(())
}

/// When each pod of a namespace was first seen Running, once all of them are.
fn running(cluster: &Cluster, namespace: &str) -> Result<BTreeMap<String, Instant>, Error> {
    let path = format!("/api/v1/namespaces/{namespace}/pods?watch=true&timeoutSeconds={}", LIMIT.as_secs());
    let failed = |source| Error::Start { command: path.clone(), source };
    let mut child = cluster.command(&["get", "--raw", &path]).stdout(Stdio::piped()).spawn().map_err(failed)?;
    let mut seen = BTreeMap::new();
    for line in child.stdout.take().map(|out| BufReader::new(out).lines()).into_iter().flatten().map_while(Result::ok) {
        let now = Instant::now();
        let event: Value = serde_json::from_str(&line).unwrap_or_default();
        if text(&event, "/object/status/phase") == "Running" {
            seen.entry(text(&event, "/object/metadata/name").to_owned()).or_insert(now);
        }
        if seen.len() == PODS {
            break;
        }
    }
    let _ = child.kill();
    child.wait().map_err(failed)?;
    must("pods that were seen Running", seen.len() == PODS, seen.len())?;
    Ok(seen)
}
