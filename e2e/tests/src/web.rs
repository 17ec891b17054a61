//! The small web application of `make up`, in any cluster.

use std::time::Duration;

use crate::{Cluster, Error};

const MANIFESTS: &str = include_str!("../../host/demo.yaml");

/// Deploys the application in a namespace of its own and asks it, by the name of its Service, from one of its pods; then reads the log.
///
/// # Errors
/// With what failed or what was answered instead.
pub fn deploy_and_ask(cluster: &Cluster) -> Result<(), Error> {
    let namespace = cluster.namespace("e2e-web")?;
    namespace.apply(MANIFESTS)?;
    namespace.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"])?;

    let url = format!("http://web.{}.svc.cluster.local", namespace.name());
    // The nodes' proxies learn of a new Service a moment after its pods are ready; until then a connection hangs.
    cluster.eventually("the Service answers", Duration::from_secs(60), |_| {
        let ask = ["exec", "deployment/web", "--", "timeout", "3", "wget", "-q", "-O", "-", &url];
        expect(&url, &namespace.kubectl(&ask)?, "Hello from Tenantry")
    })?;
    let log = namespace.kubectl(&["logs", "--selector", "app=web", "--tail=-1"])?;
    expect("the log", &log, "response:200")
}

fn expect(what: &str, got: &str, wanted: &str) -> Result<(), Error> {
    if got.contains(wanted) {
        return Ok(());
    }
    Err(Error::Unexpected { what: format!("{what} lacks {wanted:?}"), got: got.to_owned() })
}
