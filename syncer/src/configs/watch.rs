//! Watches the config maps and secrets of host namespaces that hold some of ours, one namespace at a time, as that is
//! all we may see; metadata alone, as what is in them is not needed to know that someone touched them.
//!
//! Each watch holds a connection, so there is a limit to them; what is beyond it waits for the slow scan.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use apimachinery::meta;
use apimachinery::tenant::TenantId;
use futures::StreamExt;
use serde_json::Value;
use smol_str::SmolStr;
use tenant_client::work::Item;
use tokio::task::{AbortHandle, JoinSet};

use super::{CONFIG_MAPS, SECRETS};
use crate::context::Context;
use crate::error::HostError;
use crate::host_api::HostKind;
use crate::marks;

/// Changes come in bursts (a pod with its config); one look after each is enough.
const PAUSE: Duration = Duration::from_millis(500);

/// Keeps a watch on each namespace in which something is placed, up to the limit. Does not end.
pub(crate) async fn watch_configs(context: Arc<Context>) {
    let mut tasks = JoinSet::new();
    let mut running: HashMap<(TenantId, &'static str, SmolStr), AbortHandle> = HashMap::new();
    loop {
        context.placed.changed().await;
        tokio::time::sleep(PAUSE).await;
        while tasks.try_join_next().is_some() {}
        let wanted = context.placed.namespaces();
        running.retain(|key, task| {
            let stays = wanted.contains(key);
            if !stays {
                task.abort();
            }
            stays
        });
        for key in wanted {
            let kind = match key.1 {
                "configmaps" => CONFIG_MAPS.kind,
                "secrets" => SECRETS.kind,
                _ => continue,
            };
            if running.len() < context.config.config_watches && !running.contains_key(&key) {
                let task = watch_namespace(Arc::clone(&context), key.0, key.2.clone(), kind);
                running.insert(key, tasks.spawn(task));
            }
        }
    }
}

async fn watch_namespace(context: Arc<Context>, tenant: TenantId, namespace: SmolStr, kind: HostKind) {
    let mut backoff = Duration::from_secs(1);
    loop {
        let ended = follow(&context, tenant, &namespace, kind).await;
        // What happens until it is followed again is not told.
        context.touched.add(tenant);
        match ended {
            Ok(()) => backoff = Duration::from_secs(1),
            Err(error) => {
                tracing::debug!(%tenant, %namespace, kind = kind.resource, %error, "the watch on a host namespace broke");
                context.metrics.watch_restarts.inc();
                tokio::time::sleep(backoff).await;
                backoff = (backoff * 2).min(Duration::from_secs(60));
            }
        }
    }
}

async fn follow(context: &Context, tenant: TenantId, namespace: &str, kind: HostKind) -> Result<(), HostError> {
    let Ok(host_namespace) = context.host_namespace(tenant, namespace) else { return Ok(()) };
    let selector = format!("{}={tenant}", marks::TENANT);
    let stream = context.host.watch_metadata(kind, &host_namespace, &selector).await?;
    let mut stream = std::pin::pin!(stream);
    while let Some(event) = stream.next().await {
        let (event, object) = event?;
        if event != "BOOKMARK" {
            touched(context, tenant, namespace, kind, event == "DELETED", &object);
        }
    }
    Ok(())
}

/// Someone wrote one of our objects, perhaps we ourselves.
fn touched(context: &Context, tenant: TenantId, namespace: &str, kind: HostKind, deleted: bool, object: &Value) {
    let annotation = |key: &str| object["metadata"]["annotations"][key].as_str().unwrap_or_default();
    let name = annotation(marks::NAME);
    if annotation(marks::RESOURCE) == "token" {
        if deleted && context.tokens.lock().remove(&(tenant, annotation(marks::UID).to_owned())).is_some() {
            context.wake(tenant, Item::new("pods", namespace, name));
        }
        return;
    }
    if annotation(marks::RESOURCE) != kind.resource {
        return;
    }
    let item = Item::new(kind.resource, namespace, name);
    let known = context.placed.get(tenant, &item);
    // What we took away ourselves is no longer placed.
    let ours = match &known {
        Some(place) => !deleted && place.host_version == meta::text(object, "resourceVersion"),
        None => deleted,
    };
    if !ours {
        context.touched.add(tenant);
        context.placed.doubt(tenant, &item);
        context.wake(tenant, item);
    }
}
