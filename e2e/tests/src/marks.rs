//! What belongs to a virtual cluster on the host, by our marks.

use std::collections::BTreeSet;

use crate::{Cluster, Error, text};

/// The uid of a VirtualCluster.
///
/// # Errors
/// With kubectl's complaint.
pub fn uid(host: &Cluster, name: &str) -> Result<String, Error> {
    Ok(text(&host.get(&["virtualcluster", name, "--namespace", "default"])?, "/metadata/uid").to_owned())
}

/// The one host namespace of a tenant's namespace, if there is one.
///
/// # Errors
/// With kubectl's complaint.
pub fn host_namespace(host: &Cluster, tenant_uid: &str, namespace: &str) -> Result<Option<String>, Error> {
    let found = host.get(&["namespaces", "-l", &selector(tenant_uid)])?;
    let items = found["items"].as_array().cloned().unwrap_or_default();
    let ours = items.iter().find(|n| n["metadata"]["annotations"]["tenantry.io/name"] == namespace);
    Ok(ours.map(|n| text(n, "/metadata/name").to_owned()))
}

/// Every object of the host that carries a tenant's mark, and every namespace of it with all that lies in it: `kind/name`, or
/// `namespace: kind/name`. Kinds are those that the host's discovery names and that can be listed.
///
/// # Errors
/// With kubectl's complaint.
pub fn everything(host: &Cluster, tenant_uid: &str, namespaces: &[String]) -> Result<BTreeSet<String>, Error> {
    let kinds = |namespaced: &str| {
        let text =
            host.kubectl(&["api-resources", "--verbs=list", "--output", "name", &format!("--namespaced={namespaced}")]);
        text.map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>().join(","))
    };
    let mut found = BTreeSet::new();
    let name = "--output=name";
    for args in [["--all-namespaces", &kinds("true")?], ["--ignore-not-found", &kinds("false")?]] {
        let marked = host.kubectl(&["get", args[1], args[0], "-l", &selector(tenant_uid), name])?;
        found.extend(marked.lines().map(str::to_owned));
    }
    for namespace in namespaces {
        let inside = host.kubectl(&["get", &kinds("true")?, "--namespace", namespace, name])?;
        found.extend(inside.lines().map(|line| format!("{namespace}: {line}")));
    }
    Ok(found)
}

fn selector(tenant_uid: &str) -> String {
    format!("tenantry.io/tenant={tenant_uid}")
}
