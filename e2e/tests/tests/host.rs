//! The host cluster itself: if these fail, every other end-to-end failure may be the host's.

use e2e::{Cluster, Error, HostFacts};

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
    fn a_web_app_answers_by_the_name_of_its_service_with_exec_and_logs() -> Result<(), Error> {
        e2e::web::deploy_and_ask(&Cluster::host()?)
    }

    #[test]
    fn a_claim_gets_a_volume_that_a_pod_without_root_writes_to() -> Result<(), Error> {
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
    securityContext: {runAsNonRoot: true, runAsUser: 65534}
    volumeMounts: [{name: data, mountPath: /data}]
  volumes: [{name: data, persistentVolumeClaim: {claimName: data}}]
"#;
}
