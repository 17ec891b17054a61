//! What Tenantry may do on the host, and what it is kept from even if its rights were larger.

use e2e::{Cluster, Error};

const US: &str = "system:serviceaccount:tenantry-system:tenantry";

fn can(host: &Cluster, verb: &str, resource: &str, namespace: &str) -> bool {
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let subresource = format!("--subresource={subresource}");
    host.kubectl(&["auth", "can-i", verb, resource, &subresource, "--namespace", namespace, "--as", US]).is_ok()
}

#[test]
fn our_rights_name_no_wildcard_and_reach_no_secret_outside_tenants() -> Result<(), Error> {
    let host = Cluster::host()?;
    let rules = host.kubectl(&["auth", "can-i", "--list", "--namespace", "kube-system", "--as", US])?;
    assert!(!rules.contains('*') || !rules.lines().any(|l| l.starts_with('*')), "{rules}");
    assert!(can(&host, "list", "pods", "kube-system"), "the question itself does not work");
    for (verb, resource) in [
        ("get", "secrets"),
        ("list", "secrets"),
        ("watch", "secrets"),
        ("create", "secrets"),
        ("get", "configmaps"),
        ("create", "pods"),
        ("create", "pods/exec"),
        ("get", "pods/log"),
        ("get", "nodes/proxy"),
        ("create", "serviceaccounts/token"),
        ("create", "clusterroles"),
        ("escalate", "clusterroles"),
        ("create", "clusterrolebindings"),
        ("impersonate", "users"),
        ("update", "nodes"),
    ] {
        assert!(!can(&host, verb, resource, "kube-system"), "we may {verb} {resource} in kube-system");
    }
    Ok(())
}

#[test]
fn the_fence_refuses_writes_outside_tenants_whatever_rights_we_have() -> Result<(), Error> {
    let host = Cluster::host()?;
    let namespace = host.namespace("e2e-fence")?;
    // All rights in one namespace that is no tenant's: the fence must hold where RBAC does not.
    namespace.kubectl(&[
        "create",
        "rolebinding",
        "all",
        "--clusterrole=cluster-admin",
        "--serviceaccount=tenantry-system:tenantry",
    ])?;
    let refused = host.eventually("the rights are seen", std::time::Duration::from_secs(20), |_| {
        match namespace.kubectl(&["create", "configmap", "x", "--as", US]) {
            Err(Error::Command { stderr, .. }) if stderr.contains("tenantry-fence") => Ok(stderr),
            Err(error) => Err(error),
            Ok(text) => Ok(format!("created: {text}")),
        }
    })?;
    assert!(refused.contains("host namespaces of tenants only"), "{refused}");
    for args in [
        vec!["create", "serviceaccount", "x"],
        vec!["create", "token", "default"],
        vec!["create", "secret", "generic", "x"],
        vec!["delete", "rolebinding", "all"],
    ] {
        let error =
            namespace.kubectl(&[&args[..], &["--as", US]].concat()).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(error.contains("tenantry-fence"), "{args:?}: {error}");
    }
    Ok(())
}
