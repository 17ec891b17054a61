//! What a tenant can observe, and what it cannot.

use e2e::marks::{everything, host_namespace, uid};
use e2e::{Cluster, Error, LIMIT, Tenant, must, tenant_command, text};

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
fn deleting_a_virtual_cluster_leaves_nothing_on_the_host() -> Result<(), Error> {
    let (tenant, host) = (Tenant::create("e2e-delete")?, Cluster::host()?);
    tenant.cluster().kubectl(&["create", "namespace", "more"])?;
    tenant.cluster().apply("more", EVERYTHING)?;
    let (uid, name) = (uid(&host, tenant.name())?, tenant.name().to_owned());
    let namespace = host_namespace(&host, &uid, "more")?.unwrap_or_default();
    host.eventually("the pod is on the host with what it uses", LIMIT, |host| {
        let there = ["pod/app", "service/some", "configmap/used", "secret/used", "persistentvolumeclaim/data"];
        host.kubectl(&[&["get", "--namespace", namespace.as_str()], &there[..]].concat())
    })?;
    let before = everything(&host, &uid, &[])?;
    assert!(before.iter().any(|o| o == &format!("namespace/{namespace}")) && before.contains("pod/app"), "{before:?}");
    tenant.delete()?;
    let left = everything(&host, &uid, &[])?;
    assert!(left.is_empty(), "{left:?}");
    host.eventually("no volume is left of its claim, and its kubeconfig Secret is collected", LIMIT, |host| {
        let volumes =
            host.kubectl(&["get", "persistentvolumes", "--output", "jsonpath={.items[*].spec.claimRef.namespace}"])?;
        must("volumes", !volumes.contains(&namespace), &volumes)?;
        let secret = format!("{name}-kubeconfig");
        let secrets =
            host.kubectl(&["get", "secret", &secret, "--namespace", "default", "--ignore-not-found", "--output=name"])?;
        must("the kubeconfig Secret", secrets.is_empty(), &secrets)
    })
}

const EVERYTHING: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: used}
data: {a: b}
---
apiVersion: v1
kind: Secret
metadata: {name: used}
stringData: {a: b}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}
---
apiVersion: v1
kind: Service
metadata: {name: some}
spec: {selector: {app: app}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Pod
metadata: {name: app, labels: {app: app}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: app
    image: docker.io/library/busybox:1
    command: [sleep, "3600"]
    envFrom: [{configMapRef: {name: used}}]
    volumeMounts: [{name: data, mountPath: /data}]
  volumes: [{name: data, persistentVolumeClaim: {claimName: data}}, {name: secret, secret: {secretName: used}}]
"#;

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
        let ask = "wget -q -O - --no-check-certificate --header \"Authorization: Bearer $(cat /var/run/secrets/kubernetes.io/serviceaccount/token)\" \
                   https://kubernetes.default.svc/api";
        assert!(run(ask)?.contains("APIVersions"), "the wget of busybox reaches the tenant's API");
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

    const FORBIDDEN: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: forbidden}
spec:
  hostNetwork: true
  containers: [{name: app, image: "docker.io/library/busybox:1"}]
"#;

    #[test]
    fn a_pod_that_the_admin_does_not_allow_says_why() -> Result<(), Error> {
        let demo = Cluster::demo()?;
        let namespace = demo.namespace("e2e-refused")?;
        demo.eventually("the service account is there", LIMIT, |_| {
            namespace.kubectl(&["get", "serviceaccount", "default"])
        })?;
        namespace.apply(FORBIDDEN)?;
        demo.eventually("the pod's status tells", LIMIT, |_| {
            let row = namespace.kubectl(&["get", "pod", "forbidden", "--no-headers"])?;
            must("the row of the pod", row.contains("NotAllowed"), &row)?;
            let described = namespace.kubectl(&["describe", "pod", "forbidden"])?;
            must("its description", described.contains("spec.hostNetwork"), &described)
        })
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
}
