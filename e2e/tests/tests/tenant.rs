//! What a tenant can observe, and what it cannot.

use std::time::Duration;

use e2e::{Cluster, Error, Tenant, tenant_command};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(60);

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The one host namespace of a tenant's namespace.
fn host_namespace(host: &Cluster, tenant_uid: &str, namespace: &str) -> Result<Option<String>, Error> {
    let found = host.get(&["namespaces", "-l", &format!("tenantry.io/tenant={tenant_uid}")])?;
    let items = found["items"].as_array().cloned().unwrap_or_default();
    let ours = items.iter().find(|n| n["metadata"]["annotations"]["tenantry.io/name"] == namespace);
    Ok(ours.map(|n| text(n, "/metadata/name").to_owned()))
}

fn uid(host: &Cluster, name: &str) -> Result<String, Error> {
    Ok(text(&host.get(&["virtualcluster", name, "--namespace", "default"])?, "/metadata/uid").to_owned())
}

/// `kubectl auth whoami` at a cluster's address, with a token and nothing else.
fn who_is(cluster: &Cluster, token: &str) -> Result<String, Error> {
    let of = |field: &str| {
        let path = format!("--output=jsonpath={{.clusters[0].cluster.{field}}}");
        cluster.kubectl(&["config", "view", "--minify", &path])
    };
    let (server, name) = (of("server")?, of("tls-server-name")?);
    let mut command =
        cluster.command(&["--kubeconfig", "/dev/null", "--server", &server, "--insecure-skip-tls-verify"]);
    if !name.is_empty() {
        command.args(["--tls-server-name", &name]);
    }
    command.args(["--token", token.trim(), "auth", "whoami", "--output", "jsonpath={.status.userInfo.username}"]);
    let output =
        command.output().map_err(|source| Error::Start { command: "kubectl auth whoami".to_owned(), source })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(Error::Command { command: "kubectl auth whoami".to_owned(), stderr })
}

#[test]
fn a_new_virtual_cluster_has_the_namespaces_of_a_new_cluster() -> Result<(), Error> {
    let demo = Cluster::demo()?;
    let names = demo.kubectl(&["get", "namespaces", "--output", "name"])?;
    for name in ["default", "kube-node-lease", "kube-public", "kube-system"] {
        assert!(names.lines().any(|n| n == format!("namespace/{name}")), "{names}");
    }
    let who = demo.kubectl(&["auth", "whoami", "--output", "jsonpath={.status.userInfo.groups}"])?;
    assert!(who.contains("system:masters"), "{who}");
    Ok(())
}

#[test]
fn credentials_of_one_virtual_cluster_are_refused_by_another_and_by_the_host() -> Result<(), Error> {
    let (a, host, demo) = (Tenant::create("e2e-foreign")?, Cluster::host()?, Cluster::demo()?);
    a.cluster()
        .eventually("the service account is there", LIMIT, |a| a.kubectl(&["get", "serviceaccount", "default"]))?;
    let token = a.cluster().kubectl(&["create", "token", "default"])?;
    assert_eq!(who_is(a.cluster(), &token)?, "system:serviceaccount:default:default");
    for (name, other) in [("another virtual cluster", &demo), ("the host", &host)] {
        let refused = who_is(other, &token).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(refused.contains("Unauthorized"), "{name} does not refuse a token of a virtual cluster: {refused}");
    }
    Ok(())
}

#[test]
fn names_that_are_the_same_in_two_virtual_clusters_do_not_meet() -> Result<(), Error> {
    let (a, b) = (Tenant::create("e2e-same-a")?, Tenant::create("e2e-same-b")?);
    for (tenant, value) in [(&a, "of-a"), (&b, "of-b")] {
        let literal = format!("--from-literal=whose={value}");
        tenant.cluster().kubectl(&["create", "configmap", "same", &literal])?;
    }
    for (tenant, value) in [(&a, "of-a"), (&b, "of-b")] {
        assert_eq!(
            tenant.cluster().kubectl(&["get", "configmap", "same", "--output", "jsonpath={.data.whose}"])?,
            value
        );
    }
    a.cluster().kubectl(&["delete", "configmap", "same"])?;
    b.cluster().kubectl(&["get", "configmap", "same"])?;
    Ok(())
}

#[test]
fn what_is_not_used_by_a_pod_stays_off_the_host() -> Result<(), Error> {
    let (tenant, host) = (Tenant::create("e2e-unused")?, Cluster::host()?);
    tenant.cluster().kubectl(&["create", "configmap", "unused", "--from-literal=a=b"])?;
    tenant.cluster().kubectl(&["create", "service", "clusterip", "used", "--tcp=80"])?;
    let namespace = host_namespace(&host, &uid(&host, tenant.name())?, "default")?.unwrap_or_default();
    host.kubectl(&["get", "service", "used", "--namespace", &namespace])?;
    assert!(host.kubectl(&["get", "configmap", "unused", "--namespace", &namespace]).is_err());
    let ip = |cluster: &Cluster, args: &[&str]| {
        cluster.kubectl(&[&["get", "service", "used", "--output", "jsonpath={.spec.clusterIP}"], args].concat())
    };
    assert_eq!(
        ip(tenant.cluster(), &[])?,
        ip(&host, &["--namespace", &namespace])?,
        "the Service's address is the host's"
    );
    Ok(())
}

#[test]
fn host_objects_that_someone_edits_or_deletes_are_put_back() -> Result<(), Error> {
    let (tenant, host) = (Tenant::create("e2e-drift")?, Cluster::host()?);
    tenant.cluster().kubectl(&["create", "service", "clusterip", "kept", "--tcp=80"])?;
    let namespace = host_namespace(&host, &uid(&host, tenant.name())?, "default")?.unwrap_or_default();
    let at = ["--namespace", namespace.as_str()];
    host.kubectl(
        &[&["patch", "service", "kept", "--type=merge", "--patch", r#"{"spec":{"selector":{"app":"evil"}}}"#], &at[..]]
            .concat(),
    )?;
    host.eventually("the edited Service is put back", LIMIT, |host| {
        let selector = host
            .kubectl(&[&["get", "service", "kept", "--output", "jsonpath={.spec.selector.app}"], &at[..]].concat())?;
        if selector == "kept" {
            Ok(())
        } else {
            Err(Error::Command { command: "selector".to_owned(), stderr: selector })
        }
    })?;
    host.kubectl(&[&["delete", "service", "kept"], &at[..]].concat())?;
    host.eventually("the deleted Service is made again", LIMIT, |host| {
        host.kubectl(&[&["get", "service", "kept"], &at[..]].concat())
    })?;
    Ok(())
}

#[test]
fn deleting_a_virtual_cluster_leaves_nothing_on_the_host() -> Result<(), Error> {
    let (tenant, host) = (Tenant::create("e2e-delete")?, Cluster::host()?);
    tenant.cluster().kubectl(&["create", "namespace", "more"])?;
    tenant.cluster().kubectl(&["create", "service", "clusterip", "some", "--tcp=80", "--namespace", "more"])?;
    let (uid, name) = (uid(&host, tenant.name())?, tenant.name().to_owned());
    assert!(host_namespace(&host, &uid, "more")?.is_some());
    tenant.delete()?;
    let left = host.kubectl(&[
        "get",
        "namespaces,persistentvolumes",
        "-l",
        &format!("tenantry.io/tenant={uid}"),
        "--output",
        "name",
    ])?;
    assert_eq!(left, "");
    host.eventually("the kubeconfig Secret is collected", LIMIT, |host| {
        match host.kubectl(&["get", "secret", &format!("{name}-kubeconfig"), "--namespace", "default"]) {
            Err(_) => Ok(()),
            Ok(found) => Err(Error::Command { command: "get secret".to_owned(), stderr: found }),
        }
    })
}

#[test]
fn the_command_line_says_what_to_do() -> Result<(), Error> {
    let error = tenant_command(&["get", "no-such-cluster"]).err().map(|e| e.to_string()).unwrap_or_default();
    assert!(error.contains("not found") && error.contains("kubectl tenant list -A"), "{error}");
    let list = tenant_command(&["list", "--output", "wide"])?;
    assert!(list.starts_with("NAME") && list.contains("demo") && list.contains("Ready"), "{list}");
    let inside = tenant_command(&["connect", "demo", "--", "sh", "-c", "grep -c tls-server-name $KUBECONFIG"])?;
    assert_eq!(inside.trim(), "1");
    Ok(())
}

/// Left out on simulated nodes (`make test` says so).
mod real {
    use super::*;

    const CLIENT: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: client, labels: {app: client}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: shell
    image: docker.io/library/busybox:1
    command: [sleep, "3600"]
    env:
    - {name: POD_NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
    - {name: POD_UID, valueFrom: {fieldRef: {fieldPath: metadata.uid}}}
---
apiVersion: v1
kind: Pod
metadata: {name: api}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: agnhost
    image: registry.k8s.io/e2e-test-images/agnhost:2.63.0
    args: [inclusterclient, --poll-interval=1]
"#;

    #[test]
    fn a_pod_reaches_services_of_other_namespaces_and_the_tenants_own_api() -> Result<(), Error> {
        let demo = Cluster::demo()?;
        let namespace = demo.namespace("e2e-client")?;
        demo.eventually("the service account is there", LIMIT, |_| {
            namespace.kubectl(&["get", "serviceaccount", "default"])
        })?;
        namespace.apply(CLIENT)?;
        namespace.kubectl(&["wait", "--for=condition=Ready", "--timeout=60s", "pod/client"])?;
        let run = |command: &str| namespace.kubectl(&["exec", "client", "--", "sh", "-c", command]);

        let page = run("wget -q -O - http://web.default.svc.cluster.local")?;
        assert!(page.contains("Hello from Tenantry"), "{page}");
        let short = run("wget -q -O - http://web.default")?;
        assert_eq!(short, page);

        assert_eq!(run("echo -n $POD_NAMESPACE")?, namespace.name());
        let pod = demo.get(&["pod", "client", "--namespace", namespace.name()])?;
        assert_eq!(run("echo -n $POD_UID")?, text(&pod, "/metadata/uid"));

        let token = run("cat /var/run/secrets/kubernetes.io/serviceaccount/token")?;
        assert_eq!(who_is(&demo, &token)?, format!("system:serviceaccount:{}:default", namespace.name()));
        demo.eventually("client-go in a pod reaches the tenant's API with the mounted token and CA", LIMIT, |_| {
            let log = namespace.kubectl(&["logs", "api"])?;
            let asked =
                log.matches("authz_header=").count() >= 3 && !log.contains("<empty>") && !log.contains("status=failed");
            if asked { Ok(()) } else { Err(Error::Command { command: "logs api".to_owned(), stderr: log }) }
        })?;
        Ok(())
    }

    #[test]
    fn the_host_pod_lies_in_its_namespace_with_our_marks_and_without_rights() -> Result<(), Error> {
        let (demo, host) = (Cluster::demo()?, Cluster::host()?);
        let uid = uid(&host, "demo")?;
        let namespace = host_namespace(&host, &uid, "default")?.unwrap_or_default();
        let pods = host.get(&["pods", "--namespace", &namespace, "-l", "app=web"])?;
        let pod = &pods["items"][0];
        assert_eq!(pod["metadata"]["labels"]["tenantry.io/tenant"], uid);
        let name = text(pod, "/metadata/name");
        let tenant_pod = demo.get(&["pod", name, "--namespace", "default"])?;
        assert_eq!(text(pod, "/metadata/annotations/tenantry.io~1uid"), text(&tenant_pod, "/metadata/uid"));
        assert_eq!(pod["spec"]["automountServiceAccountToken"], false);
        for volume in pod["spec"]["volumes"].as_array().into_iter().flatten() {
            let sources = volume["projected"]["sources"].as_array().into_iter().flatten();
            assert!(sources.into_iter().all(|s| s.get("serviceAccountToken").is_none()), "{volume}");
        }
        Ok(())
    }

    #[test]
    fn logs_scale_and_rollout_work() -> Result<(), Error> {
        let demo = Cluster::demo()?;
        let namespace = demo.namespace("e2e-roll")?;
        demo.eventually("the service account is there", LIMIT, |_| {
            namespace.kubectl(&["get", "serviceaccount", "default"])
        })?;
        let image = "--image=docker.io/library/busybox:1";
        namespace.kubectl(&["create", "deployment", "app", image, "--", "sh", "-c", "echo started; sleep 3600"])?;
        namespace.kubectl(&["rollout", "status", "deployment/app", "--timeout=60s"])?;
        assert_eq!(namespace.kubectl(&["logs", "deployment/app"])?, "started\n");
        namespace.kubectl(&["scale", "deployment/app", "--replicas=3"])?;
        namespace.kubectl(&["rollout", "status", "deployment/app", "--timeout=60s"])?;
        namespace.kubectl(&["set", "env", "deployment/app", "STEP=2"])?;
        namespace.kubectl(&["rollout", "status", "deployment/app", "--timeout=90s"])?;
        namespace.kubectl(&["rollout", "undo", "deployment/app"])?;
        namespace.kubectl(&["rollout", "status", "deployment/app", "--timeout=90s"])?;
        let history = namespace.kubectl(&["rollout", "history", "deployment/app"])?;
        assert!(history.lines().any(|l| l.starts_with('3')), "{history}");
        Ok(())
    }

    #[test]
    fn a_host_pod_that_is_deleted_is_replaced_by_the_tenants_deployment() -> Result<(), Error> {
        let (demo, host) = (Cluster::demo()?, Cluster::host()?);
        let namespace = demo.namespace("e2e-lost")?;
        demo.eventually("the service account is there", LIMIT, |_| {
            namespace.kubectl(&["get", "serviceaccount", "default"])
        })?;
        let image = "--image=docker.io/library/busybox:1";
        namespace.kubectl(&["create", "deployment", "app", image, "--", "sleep", "3600"])?;
        namespace.kubectl(&["rollout", "status", "deployment/app", "--timeout=60s"])?;
        let name = namespace.kubectl(&["get", "pods", "--output", "jsonpath={.items[0].metadata.name}"])?;
        let host_ns = host_namespace(&host, &uid(&host, "demo")?, namespace.name())?.unwrap_or_default();
        host.kubectl(&["delete", "pod", &name, "--namespace", &host_ns, "--grace-period=1"])?;
        demo.eventually("another pod is ready", LIMIT, |_| {
            let args = [
                "get",
                "pods",
                "--field-selector",
                "status.phase=Running",
                "--output",
                "jsonpath={.items[*].metadata.name}",
            ];
            let names = namespace.kubectl(&args)?;
            let replaced = !names.is_empty() && !names.contains(&name);
            if replaced { Ok(()) } else { Err(Error::Command { command: "get pods".to_owned(), stderr: names }) }
        })
    }
}
