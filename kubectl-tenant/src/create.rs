//! `create`: the VirtualCluster, the wait until it answers, and its kubeconfig.

use std::io::Read;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use kube::api::{PostParams, WatchEvent, WatchParams};
use virtualcluster::{Phase, VirtualCluster, VirtualClusterSpec};

use crate::cli::{CreateArgs, Global};
use crate::error::Error;
use crate::kubeconfig::{self, Host, api_error};
use crate::output::{self, Progress};

pub(crate) async fn run(global: &Global, args: &CreateArgs) -> Result<ExitCode, Error> {
    let spec = args.filename.as_deref().map(read_spec).transpose()?.unwrap_or_default();
    let host = Host::connect(global).await?;
    let mut progress = Progress::new();
    progress.tell(&format!("creating virtual cluster \"{}\"", args.name));
    let created =
        host.virtual_clusters().create(&PostParams::default(), &VirtualCluster::new(&args.name, spec)).await.map_err(
            |error| match error {
                kube::Error::Api(status) if status.code == 409 && status.reason == "AlreadyExists" => {
                    Error::Exists { name: args.name.clone(), namespace: host.namespace.clone() }
                }
                error => api_error("create the virtual cluster", error),
            },
        )?;
    let ready = wait_ready(&host, created, args.timeout, &mut progress).await?;
    progress.done();
    output::say(&format!("virtual cluster \"{}\" is ready after {:.1} s", args.name, progress.elapsed().as_secs_f64()));
    if !args.no_kubeconfig {
        let text = host.kubeconfig(&ready).await?;
        match &args.write {
            Some(path) if path == Path::new("-") => output::print(&text)?,
            Some(path) => kubeconfig::write_told(path, &text)?,
            None => kubeconfig::merge(global, &text, args.use_context)?,
        }
    }
    if let Some(format) = args.output {
        output::print_object(format, &ready)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn read_spec(path: &Path) -> Result<VirtualClusterSpec, Error> {
    let error = |source| Error::Read { path: path.to_owned(), source };
    let text = if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map_err(error)?;
        text
    } else {
        std::fs::read_to_string(path).map_err(error)?
    };
    serde_yaml_ng::from_str(&text).map_err(|source| Error::Spec { path: path.to_owned(), source })
}

/// Follows a virtual cluster until it is ready.
async fn wait_ready(
    host: &Host,
    created: VirtualCluster,
    timeout: Duration,
    progress: &mut Progress,
) -> Result<VirtualCluster, Error> {
    let name = created.metadata.name.clone().unwrap_or_default();
    let api = host.virtual_clusters();
    let mut last = "the operator has not taken it up (is the tenantry pod running?)".to_owned();
    let waiting = async {
        let mut version = created.metadata.resource_version.clone().unwrap_or_default();
        let mut current = created;
        loop {
            if let Some(ready) = settle(current, &name, &mut last)? {
                return Ok(ready);
            }
            let params = WatchParams::default().fields(&format!("metadata.name={name}")).timeout(30);
            let mut events =
                api.watch(&params, &version).await.map_err(|e| api_error("follow the virtual cluster", e))?.boxed();
            let mut tick = tokio::time::interval(Duration::from_secs(1));
            current = loop {
                tokio::select! {
                    event = events.try_next() => match event.map_err(|e| api_error("follow the virtual cluster", e))? {
                        Some(WatchEvent::Added(vc) | WatchEvent::Modified(vc)) => break vc,
                        Some(WatchEvent::Deleted(_)) => return Err(Error::NotFound { name: name.clone(), namespace: host.namespace.clone() }),
                        Some(WatchEvent::Bookmark(_)) => {}
                        // The watch ended or its place is no longer held: look again and follow from there.
                        Some(WatchEvent::Error(_)) | None => break host.virtual_cluster(&name).await?,
                    },
                    _ = tick.tick() => progress.tell(&format!("waiting for virtual cluster \"{name}\"")),
                }
            };
            version = current.metadata.resource_version.clone().unwrap_or_default();
        }
    };
    match tokio::time::timeout(timeout, waiting).await {
        Ok(result) => result,
        Err(_) => Err(Error::TimedOut {
            name,
            namespace: host.namespace.clone(),
            what: "is not ready",
            seconds: timeout.as_secs(),
            why: last,
        }),
    }
}

/// Whether it is ready. `last` keeps what it said of itself.
fn settle(vc: VirtualCluster, name: &str, last: &mut String) -> Result<Option<VirtualCluster>, Error> {
    if let Some(condition) = vc.ready_condition() {
        *last = condition.message.clone();
    }
    match vc.status.as_ref().and_then(|s| s.phase) {
        Some(Phase::Ready) => Ok(Some(vc)),
        Some(Phase::Failed) => Err(Error::NotReady { name: name.to_owned(), why: last.clone() }),
        Some(Phase::Pending | Phase::Terminating) | None => Ok(None),
    }
}
