//! Workloads of a tenant on real nodes, from `kubectl apply` to finished or rolled, as its user waits for them.

use e2e::{Cluster, Error, LIMIT, Namespace, Tenant, must, sleepers, text};

/// Left out on simulated nodes (`make test` says so).
mod real {
    use super::*;

    /// A namespace of demo that takes pods.
    fn namespace<'a>(demo: &'a Cluster, prefix: &str) -> Result<Namespace<'a>, Error> {
        let namespace = demo.namespace(prefix)?;
        demo.eventually("the service account is there", LIMIT, |_| {
            namespace.kubectl(&["get", "serviceaccount", "default"])
        })?;
        Ok(namespace)
    }

    fn gone(demo: &Cluster, namespace: &Namespace<'_>, what: &str) -> Result<(), Error> {
        demo.eventually(&format!("no {what} are left"), LIMIT, |_| {
            let left = namespace.kubectl(&["get", what, "--output=name"])?;
            must(what, left.is_empty(), &left)
        })
    }

    const JOB: &str = r#"
apiVersion: batch/v1
kind: Job
metadata: {name: sum}
spec:
  completions: 3
  parallelism: 2
  template:
    spec:
      restartPolicy: Never
      terminationGracePeriodSeconds: 1
      containers: [{name: app, image: "docker.io/library/busybox:1", command: [sh, -c, "echo done"]}]
---
apiVersion: batch/v1
kind: Job
metadata: {name: fails}
spec:
  backoffLimit: 1
  template:
    spec:
      restartPolicy: Never
      containers: [{name: app, image: "docker.io/library/busybox:1", command: [sh, -c, "exit 3"]}]
"#;

    #[test]
    fn a_job_runs_to_its_end_and_a_failing_one_to_its_limit() -> Result<(), Error> {
        let demo = Cluster::demo()?;
        let namespace = namespace(&demo, "e2e-job")?;
        namespace.apply(JOB)?;
        namespace.kubectl(&["wait", "--for=condition=Complete", "--timeout=90s", "job/sum"])?;
        namespace.kubectl(&["wait", "--for=condition=Failed", "--timeout=120s", "job/fails"])?;
        let job = demo.get(&["job", "sum", "--namespace", namespace.name()])?;
        assert_eq!(job["status"]["succeeded"], 3, "{job}");
        assert_eq!(namespace.kubectl(&["logs", "--selector", "job-name=sum"])?, "done\ndone\ndone\n");
        let failed = demo.get(&["job", "fails", "--namespace", namespace.name()])?;
        assert_eq!(failed["status"]["failed"], 2, "{failed}");
        let pods = demo.get(&["pods", "-l", "job-name=fails", "--namespace", namespace.name()])?;
        assert_eq!(pods["items"][0]["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"], 3);
        namespace.kubectl(&["delete", "job", "--all", "--timeout=60s"])?;
        gone(&demo, &namespace, "pods")
    }

    const CRON: &str = r#"
apiVersion: batch/v1
kind: CronJob
metadata: {name: tick}
spec:
  schedule: "* * * * *"
  successfulJobsHistoryLimit: 1
  jobTemplate:
    spec:
      template:
        spec:
          restartPolicy: Never
          containers: [{name: app, image: "docker.io/library/busybox:1", command: [sh, -c, "echo tick"]}]
"#;

    #[test]
    fn a_cron_job_runs_by_its_clock_and_by_hand() -> Result<(), Error> {
        let demo = Cluster::demo()?;
        let namespace = namespace(&demo, "e2e-cron")?;
        namespace.apply(CRON)?;
        namespace.kubectl(&["create", "job", "by-hand", "--from=cronjob/tick"])?;
        namespace.kubectl(&["wait", "--for=condition=Complete", "--timeout=60s", "job/by-hand"])?;
        namespace.kubectl(&[
            "wait",
            "--for=jsonpath={.status.lastSuccessfulTime}",
            "--timeout=120s",
            "cronjob/tick",
        ])?;
        namespace.kubectl(&["delete", "cronjob", "tick", "--cascade=foreground", "--timeout=60s"])?;
        demo.eventually("its jobs go with it", LIMIT, |_| {
            let jobs = namespace.kubectl(&["get", "jobs", "--output=name"])?;
            // `kubectl create job --from` makes the cron job the owner of that one too.
            must("jobs", jobs.is_empty(), &jobs)
        })
    }

    const STATEFUL: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: db}
spec: {clusterIP: None, selector: {app: db}, ports: [{port: 80}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  replicas: 2
  selector: {matchLabels: {app: db}}
  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}
  template:
    metadata: {labels: {app: db}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: app
        image: docker.io/library/busybox:1
        command: [sh, -c, "hostname >> /data/names; exec sleep 3600"]
        env: [{name: STEP, value: "1"}]
        volumeMounts: [{name: data, mountPath: /data}]
"#;

    #[test]
    fn a_stateful_set_keeps_names_and_volumes_through_a_rollout() -> Result<(), Error> {
        let demo = Cluster::demo()?;
        let namespace = namespace(&demo, "e2e-stateful")?;
        namespace.apply(STATEFUL)?;
        namespace.kubectl(&["rollout", "status", "statefulset/db", "--timeout=120s"])?;
        assert_eq!(namespace.kubectl(&["exec", "db-1", "--", "cat", "/data/names"])?, "db-1\n");
        namespace.kubectl(&["set", "env", "statefulset/db", "STEP=2"])?;
        namespace.kubectl(&["rollout", "status", "statefulset/db", "--timeout=120s"])?;
        assert_eq!(
            namespace.kubectl(&["exec", "db-1", "--", "cat", "/data/names"])?,
            "db-1\ndb-1\n",
            "the volume stays"
        );
        let name = format!("db-0.db.{}.svc.cluster.local", namespace.name());
        demo.eventually("a pod is found by its own name", LIMIT, |_| {
            namespace.kubectl(&["exec", "db-1", "--", "nslookup", &name])
        })?;
        namespace.kubectl(&["scale", "statefulset/db", "--replicas=1"])?;
        namespace.kubectl(&["wait", "--for=delete", "pod/db-1", "--timeout=60s"])?;
        namespace.kubectl(&["delete", "statefulset", "db", "--timeout=60s"])?;
        gone(&demo, &namespace, "pods")?;
        let claims = namespace.kubectl(&["get", "persistentvolumeclaims", "--output=name"])?;
        assert_eq!(claims.lines().count(), 2, "claims outlive the set");
        namespace.kubectl(&["delete", "persistentvolumeclaims", "--all", "--timeout=60s"])?;
        Ok(())
    }

    const DAEMON: &str = r#"
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: app, image: "docker.io/library/busybox:1", command: [sleep, "3600"], env: [{name: STEP, value: "1"}]}]
"#;

    #[test]
    fn a_daemon_set_runs_on_each_node_that_the_tenant_sees() -> Result<(), Error> {
        let demo = Cluster::demo()?;
        let namespace = namespace(&demo, "e2e-daemon")?;
        namespace.apply(DAEMON)?;
        let rolled = ["rollout", "status", "daemonset/agent", "--timeout=120s"];
        namespace.kubectl(&rolled)?;
        let nodes = demo.kubectl(&["get", "nodes", "--output", "jsonpath={.items[*].metadata.name}"])?;
        let on =
            namespace.kubectl(&["get", "pods", "-l", "app=agent", "--output", "jsonpath={.items[*].spec.nodeName}"])?;
        let sorted = |text: &str| {
            let mut names: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
            names.sort();
            names
        };
        assert!(!on.is_empty());
        assert_eq!(sorted(&on), sorted(&nodes));
        namespace.kubectl(&["set", "env", "daemonset/agent", "STEP=2"])?;
        namespace.kubectl(&rolled)?;
        namespace.kubectl(&["delete", "daemonset", "agent", "--timeout=60s"])?;
        gone(&demo, &namespace, "pods")
    }

    const POD: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: app, labels: {app: app}, annotations: {note: first}}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: app, image: "docker.io/library/busybox:1", command: [sh, -c, "echo ready; exec sleep 3600"]}]
"#;

    /// The pod on the host.
    fn below(demo_namespace: &str) -> Result<serde_json::Value, Error> {
        let host = Cluster::host()?;
        let uid = e2e::marks::uid(&host, "demo")?;
        let namespace = e2e::marks::host_namespace(&host, &uid, demo_namespace)?.unwrap_or_default();
        host.get(&["pod", "app", "--namespace", &namespace])
    }

    #[test]
    fn what_may_change_of_a_running_pod_reaches_it_without_a_new_one() -> Result<(), Error> {
        let demo = Cluster::demo()?;
        let namespace = namespace(&demo, "e2e-change")?;
        namespace.apply(POD)?;
        namespace.kubectl(&["wait", "--for=condition=Ready", "--timeout=60s", "pod/app"])?;
        let first = below(namespace.name())?;
        namespace.kubectl(&["label", "pod", "app", "added=label", "app=other", "--overwrite"])?;
        namespace.kubectl(&["annotate", "pod", "app", "note-", "more=text"])?;
        let add = r#"{"spec":{"tolerations":[{"key":"special","operator":"Exists"}],"activeDeadlineSeconds":3000}}"#;
        let kept = demo.get(&["pod", "app", "--namespace", namespace.name()])?;
        let mut tolerations = kept["spec"]["tolerations"].as_array().cloned().unwrap_or_default();
        let mut patch: serde_json::Value = serde_json::from_str(add).unwrap_or_default();
        tolerations.extend(patch["spec"]["tolerations"].as_array().cloned().unwrap_or_default());
        patch["spec"]["tolerations"] = tolerations.into();
        namespace.kubectl(&["patch", "pod", "app", "--type=merge", "--patch", &patch.to_string()])?;
        let image = "registry.k8s.io/e2e-test-images/agnhost:2.63.0";
        namespace.kubectl(&["set", "image", "pod/app", &format!("app={image}")])?;
        demo.eventually("all of it is on the host", LIMIT, |_| {
            let now = below(namespace.name())?;
            let (meta, spec) = (&now["metadata"], &now["spec"]);
            let told = meta["labels"]["added"] == "label" && meta["labels"]["app"] == "other";
            must("labels", told, meta)?;
            must("annotations", meta["annotations"]["more"] == "text" && meta["annotations"]["note"].is_null(), meta)?;
            let tolerated = spec["tolerations"].as_array().is_some_and(|t| t.iter().any(|t| t["key"] == "special"));
            must("tolerations", tolerated && spec["activeDeadlineSeconds"] == 3000, spec)?;
            must("the image", spec["containers"][0]["image"] == image, spec)
        })?;
        demo.eventually("the container runs the other image", LIMIT, |_| {
            let pod = demo.get(&["pod", "app", "--namespace", namespace.name()])?;
            let status = &pod["status"]["containerStatuses"][0];
            must("the status", status["restartCount"] == 1 && text(status, "/image") == image, status)
        })?;
        assert_eq!(below(namespace.name())?["metadata"]["uid"], first["metadata"]["uid"], "it is the same pod");
        Ok(())
    }

    #[test]
    fn a_debug_container_joins_a_running_pod() -> Result<(), Error> {
        let demo = Cluster::demo()?;
        let namespace = namespace(&demo, "e2e-debug")?;
        namespace.apply(POD)?;
        namespace.kubectl(&["wait", "--for=condition=Ready", "--timeout=60s", "pod/app"])?;
        let image = "--image=docker.io/library/busybox:1";
        // The default profile asks for SYS_PTRACE, which Pod Security's baseline forbids (docs/differences.md).
        let debug = [
            "debug",
            "app",
            image,
            "--profile=baseline",
            "--container=look",
            "--target=app",
            "--",
            "sh",
            "-c",
            "echo looked; sleep 1",
        ];
        namespace.kubectl(&debug)?;
        demo.eventually("it has run to its end, as the tenant sees", LIMIT, |_| {
            let pod = demo.get(&["pod", "app", "--namespace", namespace.name()])?;
            let status = &pod["status"]["ephemeralContainerStatuses"][0];
            must("the status", status["state"]["terminated"]["reason"] == "Completed", status)
        })?;
        assert_eq!(namespace.kubectl(&["logs", "app", "--container=look"])?, "looked\n");
        let copy = [
            "debug",
            "app",
            image,
            "--profile=baseline",
            "--copy-to=copied",
            "--container=look",
            "--",
            "sleep",
            "3600",
        ];
        namespace.kubectl(&copy)?;
        namespace.kubectl(&["wait", "--for=condition=Ready", "--timeout=60s", "pod/copied"])?;
        Ok(())
    }

    #[test]
    fn an_evicted_pod_ends_on_the_host_and_is_replaced() -> Result<(), Error> {
        let demo = Cluster::demo()?;
        let namespace = namespace(&demo, "e2e-evict")?;
        namespace.apply(&sleepers("app", 2))?;
        namespace.kubectl(&["rollout", "status", "deployment/app", "--timeout=60s"])?;
        let name = namespace.kubectl(&["get", "pods", "--output", "jsonpath={.items[0].metadata.name}"])?;
        let eviction = format!(
            r#"{{"apiVersion":"policy/v1","kind":"Eviction","metadata":{{"name":"{name}","namespace":"{}"}}}}"#,
            namespace.name()
        );
        let path = format!("/api/v1/namespaces/{}/pods/{name}/eviction", namespace.name());
        demo.kubectl_with_input(&["create", "--raw", &path, "--filename", "-"], &eviction)?;
        namespace.kubectl(&["wait", "--for=delete", &format!("pod/{name}"), "--timeout=60s"])?;
        namespace.kubectl(&["rollout", "status", "deployment/app", "--timeout=60s"])?;
        let now = namespace.kubectl(&["get", "pods", "--output=name"])?;
        assert!(!now.contains(&name) && now.lines().count() == 2, "{now}");
        Ok(())
    }

    #[test]
    fn a_drain_evicts_the_tenants_own_pods() -> Result<(), Error> {
        // A tenant of its own: a drain takes all pods of the node.
        let tenant = Tenant::create("e2e-drain")?;
        let cluster = tenant.cluster();
        cluster.apply("default", &sleepers("app", 2))?;
        cluster.kubectl(&["rollout", "status", "deployment/app", "--timeout=60s"])?;
        let pods = || cluster.kubectl(&["get", "pods", "--output=jsonpath={.items[*].metadata.name}"]);
        let (before, node) =
            (pods()?, cluster.kubectl(&["get", "pods", "--output=jsonpath={.items[0].spec.nodeName}"])?);
        cluster.kubectl(&["drain", &node, "--ignore-daemonsets", "--timeout=60s"])?;
        let after = pods()?;
        assert!(before.split(' ').all(|name| !after.contains(name)), "before: {before}; after: {after}");
        // The node is the host's and takes pods all the same (docs/differences.md).
        cluster.kubectl(&["rollout", "status", "deployment/app", "--timeout=60s"])?;
        Ok(())
    }
}
