//! One virtual cluster from a backup, in its own place and as another one, on a host that runs its pods.

use std::io::Write;
use std::process::Stdio;

use e2e::{Cluster, Error, LIMIT, Tenant, must, text};

const WEB: &str = r#"
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: web}
spec:
  serviceName: web
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: web
        image: docker.io/library/busybox:1
        imagePullPolicy: IfNotPresent
        command: [sh, -c, "echo hello > /tmp/index.html && exec httpd -f -p 8080 -h /tmp"]
        readinessProbe: {httpGet: {port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: NodePort, selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {is: before}
"#;

/// Left out on simulated nodes (`make test` says so): no pod answers there.
mod real {
    use super::*;

    #[test]
    fn a_virtual_cluster_comes_back_and_a_copy_of_it_runs_beside_it() -> Result<(), Error> {
        let (source, copy) = (Tenant::create("e2e-source")?, Tenant::create("e2e-copy")?);
        let from = format!("default/{}", source.name());
        let (a, b) = (source.cluster(), copy.cluster());
        a.apply("default", WEB)?;
        runs(a)?;
        let (service, pod) = (a.get(&["service", "web"])?, a.get(&["pod", "web-0"])?);
        let backup = tenantry(&["backup"], &[])?;

        // As another one, with what it was when the backup was taken.
        a.kubectl(&["delete", "configmap", "settings"])?;
        tenantry(&["restore", "--virtual-cluster", &from, "--as", copy.name()], &backup)?;
        runs(b)?;
        assert_eq!(b.get(&["configmap", "settings"])?["data"]["is"], "before");
        let copied = b.eventually("the Service of the copy has an address", LIMIT, |b| {
            let service = b.get(&["service", "web"])?;
            must("an address", !text(&service, "/spec/clusterIP").is_empty(), &service).map(|()| service)
        })?;
        for field in ["/spec/clusterIP", "/spec/ports/0/nodePort"] {
            assert_ne!(copied.pointer(field), service.pointer(field), "{field} is the copy's own");
        }
        assert!(a.get(&["configmap", "settings"]).is_err(), "the original is not touched");
        assert_eq!(a.get(&["pod", "web-0"])?["metadata"]["uid"], pod["metadata"]["uid"]);
        // In its place: what was lost comes back, what runs is not started again.
        let refused = tenantry(&["restore", "--virtual-cluster", &from], &backup).unwrap_err().to_string();
        assert!(refused.contains("--replace"), "{refused}");
        a.kubectl(&["create", "configmap", "late"])?;
        let before = a.get(&["configmap", "late"])?;
        tenantry(&["restore", "--virtual-cluster", &from, "--replace"], &backup)?;
        let settings = a.get(&["configmap", "settings"])?;
        let revision = |o: &serde_json::Value| text(o, "/metadata/resourceVersion").parse::<u64>().unwrap_or_default();
        assert!(revision(&settings) > revision(&before), "revisions go on");
        assert!(a.get(&["configmap", "late"]).is_err());
        runs(a)?;
        let now = a.get(&["pod", "web-0"])?;
        assert_eq!(now["metadata"]["uid"], pod["metadata"]["uid"]);
        assert_eq!(now["status"]["containerStatuses"][0]["restartCount"], 0);
        assert_eq!(a.get(&["service", "web"])?["spec"]["clusterIP"], service["spec"]["clusterIP"]);

        // All is deleted by accident, pods and Service too.
        a.kubectl(&["delete", "statefulset,service,configmap", "--all", "--timeout=60s"])?;
        a.kubectl(&["wait", "--for=delete", "pod/web-0", "--timeout=60s"])?;
        tenantry(&["restore", "--virtual-cluster", &from, "--replace"], &backup)?;
        runs(a)
    }

    /// The web server runs and answers by the name of its Service.
    fn runs(cluster: &Cluster) -> Result<(), Error> {
        cluster.eventually("the pod is there", LIMIT, |c| {
            c.kubectl(&["wait", "--for=condition=Ready", "--timeout=5s", "pod/web-0"])
        })?;
        let ask = ["exec", "web-0", "--", "timeout", "3", "wget", "-q", "-O", "-", "http://web"];
        cluster.eventually("the Service answers", LIMIT, |c| {
            let answer = c.kubectl(&ask)?;
            must("the answer", answer == "hello\n", &answer)
        })
    }

    /// Runs the program in the server's pod.
    fn tenantry(args: &[&str], input: &[u8]) -> Result<Vec<u8>, Error> {
        let host = Cluster::host()?;
        let args = [&["--namespace", "tenantry-system", "exec", "-i", "tenantry-0", "--", "tenantry"], args].concat();
        let shown = format!("kubectl {}", args.join(" "));
        let failed = |source| Error::Start { command: shown.clone(), source };
        let mut command = host.command(&args);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(failed)?;
        if let Some(mut stdin) = child.stdin.take() {
            // One that is refused early does not read it all; its exit code says so.
            let _ = stdin.write_all(input);
        }
        let output = child.wait_with_output().map_err(failed)?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        Err(Error::Command { command: shown, stderr: String::from_utf8_lossy(&output.stderr).into_owned() })
    }
}
