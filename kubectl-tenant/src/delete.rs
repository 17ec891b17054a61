//! `delete`: the VirtualCluster with everything in it.

use std::process::ExitCode;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use kube::api::{DeleteParams, WatchEvent, WatchParams};

use crate::cli::{DeleteArgs, Global};
use crate::error::Error;
use crate::kubeconfig::{Host, api_error};
use crate::output::{self, Progress};

pub(crate) async fn run(global: &Global, args: &DeleteArgs) -> Result<ExitCode, Error> {
    let host = Host::connect(global).await?;
    let api = host.virtual_clusters();
    let vc = match host.virtual_cluster(&args.name).await {
        Err(Error::NotFound { .. }) if args.ignore_not_found => return Ok(ExitCode::SUCCESS),
        other => other?,
    };
    let deleted = api
        .delete(&args.name, &DeleteParams::background())
        .await
        .map_err(|e| api_error("delete the virtual cluster", e))?;
    if deleted.left().is_none() || args.no_wait {
        output::say(&format!("virtual cluster \"{}\" deleted", args.name));
        return Ok(ExitCode::SUCCESS);
    }
    let mut progress = Progress::new();
    let uid = vc.metadata.uid;
    let waiting = async {
        loop {
            let Some(now) = api.get_opt(&args.name).await.map_err(|e| api_error("read the virtual cluster", e))? else {
                return Ok(());
            };
            if now.metadata.uid != uid {
                return Ok(());
            }
            let params = WatchParams::default().fields(&format!("metadata.name={}", args.name)).timeout(30);
            let version = now.metadata.resource_version.unwrap_or_default();
            let mut events =
                api.watch(&params, &version).await.map_err(|e| api_error("follow the virtual cluster", e))?.boxed();
            let mut tick = tokio::time::interval(Duration::from_secs(1));
            loop {
                tokio::select! {
                    event = events.try_next() => match event.map_err(|e| api_error("follow the virtual cluster", e))? {
                        Some(WatchEvent::Deleted(_)) => return Ok(()),
                        Some(WatchEvent::Error(_)) | None => break,
                        Some(_) => {}
                    },
                    _ = tick.tick() => progress.tell(&format!("removing virtual cluster \"{}\" from the host", args.name)),
                }
            }
        }
    };
    let result = tokio::time::timeout(args.timeout, waiting).await;
    progress.done();
    result.unwrap_or_else(|_| {
        Err(Error::TimedOut {
            name: args.name.clone(),
            namespace: host.namespace.clone(),
            what: "is still there",
            seconds: args.timeout.as_secs(),
            why: "its finalizer waits until nothing of it is left on the host".to_owned(),
        })
    })?;
    output::say(&format!("virtual cluster \"{}\" deleted after {:.1} s", args.name, progress.elapsed().as_secs_f64()));
    Ok(ExitCode::SUCCESS)
}
