//! The least that runs.

/// A Deployment `name` of so many pods, labelled `app: name`, that say `started`, sleep and end within a second.
#[must_use]
pub fn sleepers(name: &str, replicas: usize) -> String {
    format!(
        r#"
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{{name: app, image: "docker.io/library/busybox:1", command: [sh, -c, "echo started; sleep 3600"]}}]
"#
    )
}
