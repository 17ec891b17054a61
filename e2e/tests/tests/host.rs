//! The host cluster itself: if these fail, every other end-to-end failure may be the host's.

use e2e::{Cluster, Error, HostFacts};

const WEB: &str = include_str!("../../host/demo.yaml");

#[test]
fn all_nodes_are_ready() -> Result<(), Error> {
    let host = Cluster::host()?;
    let facts = HostFacts::read()?;
    assert!(!facts.nodes.is_empty(), "host.json names no node");
    for node in &facts.nodes {
        host.kubectl(&["wait", "--for=condition=Ready", "--timeout=30s", "node", &node.name])?;
    }
    Ok(())
}

/// Left out on simulated nodes (`make test` says so).
mod real {
    use super::*;

    #[test]
    fn a_deployment_answers_by_the_name_of_its_service_with_exec_and_logs() -> Result<(), Error> {
        let host = Cluster::host()?;
        let namespace = host.namespace("e2e-web")?;
        namespace.apply(WEB)?;
        namespace.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"])?;

        let name = format!("http://web.{}.svc.cluster.local", namespace.name());
        let page = namespace.kubectl(&["exec", "deployment/web", "--", "wget", "-q", "-O", "-", &name])?;
        assert!(page.contains("Hello from Tenantry"), "the Service answers with: {page}");

        let log = namespace.kubectl(&["logs", "deployment/web", "--all-pods"])?;
        assert!(log.contains("response:200"), "the log shows no request: {log}");
        Ok(())
    }

    #[test]
    fn a_claim_gets_a_volume_that_a_pod_writes_to() -> Result<(), Error> {
        let host = Cluster::host()?;
        let namespace = host.namespace("e2e-claim")?;
        namespace.apply(CLAIM)?;
        namespace.kubectl(&["wait", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s", "pod/writer"])?;
        assert_eq!(namespace.kubectl(&["logs", "writer"])?, "kept\n");
        Ok(())
    }

    const CLAIM: &str = r#"
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}
---
apiVersion: v1
kind: Pod
metadata: {name: writer}
spec:
  restartPolicy: Never
  containers:
  - name: writer
    image: docker.io/library/busybox:1
    command: [sh, -c, "echo kept > /data/file && cat /data/file"]
    volumeMounts: [{name: data, mountPath: /data}]
  volumes: [{name: data, persistentVolumeClaim: {claimName: data}}]
"#;
}
