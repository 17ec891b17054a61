//! Host objects that someone deletes or edits are put back.

use e2e::marks::{host_namespace, uid};
use e2e::{Cluster, Error, LIMIT, Tenant, must, text};
use serde_json::Value;

/// The host namespace of a tenant's `default`.
fn home(host: &Cluster, tenant: &str) -> Result<String, Error> {
    Ok(host_namespace(host, &uid(host, tenant)?, "default")?.unwrap_or_default())
}

#[test]
fn a_service_is_put_back_with_its_address() -> Result<(), Error> {
    let (tenant, host) = (Tenant::create("e2e-drift-svc")?, Cluster::host()?);
    tenant.cluster().kubectl(&["create", "service", "clusterip", "kept", "--tcp=80"])?;
    let namespace = home(&host, tenant.name())?;
    let at = ["--namespace", namespace.as_str()];
    let address = tenant.cluster().get(&["service", "kept"])?;
    let evil = r#"{"spec":{"selector":{"app":"evil"},"ports":[{"port":81}]},"metadata":{"labels":{"app":"evil"}}}"#;
    host.kubectl(&[&["patch", "service", "kept", "--type=merge", "--patch", evil], &at[..]].concat())?;
    host.eventually("the edited Service is put back", LIMIT, |host| {
        let found = host.get(&[&["service", "kept"], &at[..]].concat())?;
        let same = text(&found, "/spec/selector/app") == "kept" && found["spec"]["ports"][0]["port"] == 80;
        must("the Service", same && text(&found, "/metadata/labels/app") == "kept", found)
    })?;
    let mark = r#"{"metadata":{"labels":{"tenantry.io/tenant":null}}}"#;
    host.kubectl(&[&["patch", "service", "kept", "--type=merge", "--patch", mark], &at[..]].concat())?;
    host.eventually("the Service has its mark again", LIMIT, |host| {
        host.kubectl(
            &[
                &[
                    "get",
                    "services",
                    "--field-selector",
                    "metadata.name=kept",
                    "--selector",
                    "tenantry.io/tenant",
                    "--output=name",
                ],
                &at[..],
            ]
            .concat(),
        )
        .and_then(|found| must("the Service", !found.is_empty(), &found))
    })?;
    host.kubectl(&[&["delete", "service", "kept"], &at[..]].concat())?;
    host.eventually("the deleted Service is made again with the address that its tenant knows", LIMIT, |host| {
        let found = host.get(&[&["service", "kept"], &at[..]].concat())?;
        must("the address", text(&found, "/spec/clusterIP") == text(&address, "/spec/clusterIP"), found)
    })
}

#[test]
fn a_namespace_gets_its_labels_and_our_binding_back() -> Result<(), Error> {
    let (tenant, host) = (Tenant::create("e2e-drift-ns")?, Cluster::host()?);
    tenant.cluster().kubectl(&["create", "service", "clusterip", "some", "--tcp=80"])?;
    let namespace = home(&host, tenant.name())?;
    let before = host.get(&["namespace", &namespace])?;
    let edit = r#"{"metadata":{"labels":{"kubernetes.io.ns.tenantry.io/metadata.name":"other","pod-security.kubernetes.io/enforce":"privileged"}}}"#;
    host.kubectl(&["patch", "namespace", &namespace, "--type=merge", "--patch", edit])?;
    host.eventually("the labels are put back", LIMIT, |host| {
        let found = host.get(&["namespace", &namespace])?;
        must("the labels", found["metadata"]["labels"] == before["metadata"]["labels"], &found["metadata"]["labels"])
    })?;
    host.kubectl(&["delete", "rolebinding", "--all", "--namespace", &namespace])?;
    // It is missed by the first write that needs it, and that waits for it.
    tenant.cluster().kubectl(&["create", "service", "clusterip", "more", "--tcp=80"])?;
    let found = host.kubectl(&["get", "rolebindings", "--namespace", &namespace, "--output=name"])?;
    must("role bindings", !found.is_empty(), &found)
}

#[test]
fn a_namespace_that_is_deleted_is_made_again_with_what_belongs_in_it() -> Result<(), Error> {
    let (tenant, host) = (Tenant::create("e2e-drift-gone")?, Cluster::host()?);
    tenant.cluster().kubectl(&["create", "service", "clusterip", "some", "--tcp=80"])?;
    let namespace = home(&host, tenant.name())?;
    host.kubectl(&["delete", "namespace", &namespace, "--wait=true", "--timeout=60s"])?;
    host.eventually("the namespace and its Services are there again", LIMIT, |host| {
        host.kubectl(&["get", "service", "some", "kubernetes", "--namespace", &namespace])
    })?;
    tenant.cluster().kubectl(&["create", "service", "clusterip", "more", "--tcp=80"])?;
    Ok(())
}

/// Left out on simulated nodes (`make test` says so).
mod real {
    use super::*;

    const APP: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {greeting: hello}
---
apiVersion: v1
kind: Secret
metadata: {name: secret}
stringData: {word: hush}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: app}
spec:
  selector: {matchLabels: {app: app}}
  template:
    metadata: {labels: {app: app}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: app
        image: docker.io/library/busybox:1
        command: [sleep, "3600"]
        envFrom: [{configMapRef: {name: settings}}, {secretRef: {name: secret}}]
"#;

    #[test]
    fn pods_are_replaced_and_what_they_use_is_put_back() -> Result<(), Error> {
        let (tenant, host) = (Tenant::create("e2e-drift-pod")?, Cluster::host()?);
        let cluster = tenant.cluster();
        cluster.apply("default", APP)?;
        cluster.kubectl(&["rollout", "status", "deployment/app", "--timeout=90s"])?;
        let namespace = home(&host, tenant.name())?;
        let at = ["--namespace", namespace.as_str()];
        let on_host = |args: &[&str]| host.kubectl(&[args, &at[..]].concat());

        for (kind, name, path, value) in
            [("configmap", "settings", "/data/greeting", "hello"), ("secret", "secret", "/data/word", "aHVzaA==")]
        {
            let there = |what: &str| {
                host.eventually(what, LIMIT, |host| {
                    let found: Value = host.get(&[&[kind, name], &at[..]].concat())?;
                    must(what, text(&found, path) == value, "another value")
                })
            };
            let key = path.rsplit('/').next().unwrap_or_default();
            on_host(&[
                "patch",
                kind,
                name,
                "--type=merge",
                "--patch",
                &format!(r#"{{"data":{{"{key}":"ZXZpbA=="}}}}"#),
            ])?;
            there(&format!("the edited {kind} is put back"))?;
            on_host(&["delete", kind, name])?;
            there(&format!("the deleted {kind} is made again"))?;
        }

        let pod =
            cluster.kubectl(&["get", "pods", "-l", "app=app", "--output", "jsonpath={.items[0].metadata.name}"])?;
        on_host(&["label", "pod", &pod, "app=evil", "--overwrite"])?;
        host.eventually("the labels of the pod are put back", LIMIT, |_| {
            let app = on_host(&["get", "pod", &pod, "--output", "jsonpath={.metadata.labels.app}"])?;
            must("the label", app == "app", &app)
        })?;
        on_host(&["delete", "pod", &pod, "--grace-period=1"])?;
        cluster.eventually("another pod is ready, and the lost one is gone", LIMIT, |cluster| {
            let found = cluster.get(&["pods", "-l", "app=app"])?;
            let ready = |p: &Value| {
                p["status"]["conditions"]
                    .as_array()
                    .is_some_and(|c| c.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"))
            };
            let items = found["items"].as_array().cloned().unwrap_or_default();
            must(
                "one other pod",
                items.len() == 1 && ready(&items[0]) && text(&items[0], "/metadata/name") != pod,
                found,
            )
        })
    }
}
