//! The server that is tested, from the outside.

use crate::{Cluster, Error, HostFacts};

/// How many panics the server has counted, by the names of its counters. The server is the chart's pod.
///
/// # Errors
/// When its metrics cannot be read.
pub fn panics() -> Result<Vec<(String, u64)>, Error> {
    let text = metrics()?;
    let counters = text.lines().filter(|line| !line.starts_with('#') && line.contains("panic"));
    let read = |line: &str| {
        let (name, value) = line.rsplit_once(' ')?;
        Some((name.to_owned(), value.parse().ok()?))
    };
    let found: Vec<(String, u64)> = counters.filter_map(read).collect();
    if found.is_empty() {
        Err(Error::Unexpected { what: "no counter of panics".to_owned(), got: text })
    } else {
        Ok(found)
    }
}

fn metrics() -> Result<String, Error> {
    let facts = HostFacts::read()?;
    debug_assert!(facts.pods, "on simulated nodes the server is a process of this machine");
    let host = Cluster::host()?;
    let port = "--output=jsonpath={.spec.containers[0].ports[?(@.name=='ops')].containerPort}";
    let port = host.kubectl(&["get", "pod", "tenantry-0", "--namespace", "tenantry-system", port])?;
    host.kubectl(&["get", "--raw", &format!("/api/v1/namespaces/tenantry-system/pods/tenantry-0:{port}/proxy/metrics")])
}
