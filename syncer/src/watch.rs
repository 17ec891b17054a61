//! Follows the host: list, then watch, for ever, and says what changed.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use apimachinery::meta;
use futures::StreamExt;
use serde_json::Value;
use smol_str::SmolStr;
use tokio::sync::watch;

use crate::context::Context;
use crate::error::HostError;
use crate::host_api::HostKind;
use crate::marks::{self, Mark};
use crate::room::{Room, Watching};

/// Follows what a room watches. `synced` becomes true once all that is there has been seen.
pub(crate) async fn watch_room(
    context: Arc<Context>,
    room: Arc<dyn Room>,
    watching: Watching,
    synced: watch::Sender<bool>,
) {
    let mut backoff = Duration::from_millis(200);
    let mut revision = String::new();
    loop {
        match follow(&context, room.as_ref(), watching, &mut revision, &synced).await {
            Ok(()) => backoff = Duration::from_millis(200),
            Err(error) => {
                if matches!(&error, HostError::Refused(_)) {
                    // Too old a revision, or a right that is missing: begin anew.
                    revision.clear();
                }
                tracing::warn!(room = room.name(), %error, "the watch on the host broke");
                context.metrics.watch_restarts.inc();
                tokio::time::sleep(backoff).await;
                backoff = (backoff * 2).min(Duration::from_secs(15));
            }
        }
    }
}

async fn follow(
    context: &Arc<Context>,
    room: &dyn Room,
    watching: Watching,
    revision: &mut String,
    synced: &watch::Sender<bool>,
) -> Result<(), HostError> {
    let (kind, selector) = match watching {
        Watching::Marked(kind) => (kind, marks::SELECTOR),
        Watching::Shared(kind) | Watching::Passing(kind) => (kind, ""),
    };
    if revision.is_empty() {
        let (items, at) = context.host.list(kind, "", selector).await?;
        replace(context, room, watching, items);
        *revision = at;
        synced.send_replace(true);
    }
    let stream = context.host.watch(kind, "", selector, revision).await?;
    let mut stream = std::pin::pin!(stream);
    while let Some(event) = stream.next().await {
        let (event, object) = event?;
        let at = meta::text(&object, "resourceVersion").to_owned();
        match event.as_str() {
            "BOOKMARK" => {}
            "DELETED" => gone(context, room, watching, object),
            _ => seen(context, room, watching, object),
        }
        if !at.is_empty() {
            *revision = at;
        }
    }
    Ok(())
}

fn replace(context: &Context, room: &dyn Room, watching: Watching, items: Vec<Value>) {
    match watching {
        Watching::Marked(kind) => {
            let mut present = HashSet::new();
            for object in items {
                if let Some(mark) = mark_of(context, kind, &object) {
                    present.insert((mark.tenant, (SmolStr::new(&mark.namespace), SmolStr::new(&mark.name))));
                }
                seen(context, room, watching, object);
            }
            for (tenant, name) in context.marked.all_names(kind.resource) {
                if !present.contains(&(tenant, name.clone()))
                    && let Some(last) = context.marked.get(tenant, kind.resource, &name.0, &name.1)
                {
                    gone(context, room, watching, last.value());
                }
            }
        }
        Watching::Shared(kind) => {
            let present: HashSet<SmolStr> = items.iter().map(|o| meta::name(o).into()).collect();
            items.into_iter().for_each(|object| seen(context, room, watching, object));
            for name in context.shared.names(kind.resource) {
                if !present.contains(&name) && context.shared.set(kind.resource, &name, None) {
                    room.shared_changed(context, &name);
                }
            }
        }
        Watching::Passing(_) => items.into_iter().for_each(|object| seen(context, room, watching, object)),
    }
}

pub(crate) fn seen(context: &Context, room: &dyn Room, watching: Watching, mut object: Value) {
    match watching {
        Watching::Marked(kind) => {
            let Some(mark) = mark_of(context, kind, &object) else { return };
            let name = (SmolStr::new(&mark.namespace), SmolStr::new(&mark.name));
            context.touched.add(mark.tenant);
            context.marked.put(mark.tenant, kind.resource, name, &mut object);
            room.host_changed(context, &mark);
        }
        Watching::Shared(kind) => {
            let name = meta::name(&object).to_owned();
            if context.shared.set(kind.resource, &name, room.reduce(&object).as_ref()) {
                room.shared_changed(context, &name);
            }
        }
        Watching::Passing(_) => room.host_seen(context, object),
    }
}

fn gone(context: &Context, room: &dyn Room, watching: Watching, mut object: Value) {
    match watching {
        Watching::Marked(kind) => {
            let Some(mark) = mark_of(context, kind, &object) else { return };
            let name = (SmolStr::new(&mark.namespace), SmolStr::new(&mark.name));
            context.touched.add(mark.tenant);
            context.marked.mark_gone(mark.tenant, kind.resource, name, &mut object);
            room.host_changed(context, &mark);
        }
        Watching::Shared(kind) => {
            if context.shared.set(kind.resource, meta::name(&object), None) {
                room.shared_changed(context, meta::name(&object));
            }
        }
        Watching::Passing(_) => {}
    }
}

/// The mark of an object, if it is of a tenant that is served here and the object is the one of that mark.
fn mark_of(context: &Context, kind: HostKind, object: &Value) -> Option<Mark> {
    let name = |tenant| context.directory.name(tenant);
    let mark =
        if kind.resource == "namespaces" { Mark::read_namespace(object, name) } else { Mark::read(object, name) }?;
    (mark.resource == kind.resource && mark.name == meta::name(object) || kind.resource == "namespaces").then_some(mark)
}
