//! The engine: what changes on either side wakes items, items are synced, failures are tried again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use apimachinery::gvk::GroupResource;
use apimachinery::tenant::TenantId;
use futures::StreamExt;
use tenant_client::{Event, TenantClient};
use tokio::sync::watch;
use tokio::task::{Id, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Directory};
use crate::configs::watch_configs;
use crate::context::Context;
use crate::error::{HostError, SyncError};
use crate::host::HostBridge;
use crate::host_api::{HostApi, HostDelete, HostKind};
use crate::marks;
use crate::metrics::{Metrics, ResultLabel, RoomLabel};
use crate::namespaces;
use crate::room::Room;
use crate::rooms;
use crate::watch::watch_room;
use tenant_client::work::{Item, SCAN};

const NAMESPACES: HostKind = HostKind::core("namespaces", "Namespace");

/// The syncer.
pub struct Syncer {
    context: Arc<Context>,
    rooms: Rooms,
}

#[derive(Clone)]
struct Rooms {
    all: Arc<Vec<Arc<dyn Room>>>,
    by_resource: Arc<HashMap<GroupResource, Vec<usize>>>,
}

impl Rooms {
    fn new() -> Self {
        let all = rooms::all();
        let mut by_resource: HashMap<GroupResource, Vec<usize>> = HashMap::new();
        for (index, room) in all.iter().enumerate() {
            for resource in room.tenant_resources() {
                by_resource.entry(resource).or_default().push(index);
            }
        }
        Self { all: Arc::new(all), by_resource: Arc::new(by_resource) }
    }

    fn find(&self, name: &str) -> Option<Arc<dyn Room>> {
        self.all.iter().find(|room| room.name() == name).cloned()
    }
}

impl Syncer {
    /// A syncer between tenants and the host that `client` leads to. Nothing runs before [`Syncer::run`].
    ///
    /// `bridge` answers what the API server asks of the host within requests; from now on it can.
    pub fn new(
        tenants: Arc<dyn TenantClient>,
        client: kube::Client,
        directory: Arc<Directory>,
        config: Config,
        metrics: Metrics,
        bridge: &HostBridge,
    ) -> Self {
        let host = HostApi::new(client, config.host_timeout());
        let context = Arc::new(Context::new(tenants, host, directory, config, metrics));
        bridge.connect(Arc::clone(&context));
        Self { context, rooms: Rooms::new() }
    }

    /// A tenant's settings were set or changed: everything of it is looked at again.
    pub fn tenant_changed(&self, tenant: TenantId) {
        self.context.queue.add(tenant, Item::new(SCAN, "", ""));
    }

    /// The host namespace of a tenant's namespace, made if it is not there: for what else is to lie in it.
    ///
    /// # Errors
    /// What the host or the tenant's API says; [`SyncError::Wait`] while an earlier one goes away.
    pub async fn namespace_ensure(&self, tenant: TenantId, namespace: &str) -> Result<String, SyncError> {
        namespaces::namespace_ensure(&self.context, tenant, namespace).await
    }

    /// Removes every trace of a tenant on the host and returns when it is gone. Safe to call again.
    ///
    /// The tenant must no longer be served or in the [`Directory`], or what is removed comes back.
    ///
    /// # Errors
    /// What the host says; then something may be left.
    pub async fn tenant_cleanup(&self, tenant: TenantId) -> Result<(), HostError> {
        self.context.forget(tenant);
        let host = &self.context.host;
        let selector = format!("{}={tenant}", marks::TENANT);
        loop {
            let (left, revision) = host.list(NAMESPACES, "", &selector).await?;
            if left.is_empty() {
                return Ok(());
            }
            for namespace in left.iter().filter(|n| n["metadata"]["deletionTimestamp"].is_null()) {
                let uid = Some(apimachinery::meta::uid(namespace).to_owned());
                let options = HostDelete { uid, ..HostDelete::default() };
                let name = apimachinery::meta::name(namespace);
                match host.delete(NAMESPACES, "", name, &options).await {
                    Err(e) if !e.is_conflict() => return Err(e),
                    _ => {}
                }
            }
            let stream = host.watch(NAMESPACES, "", &selector, &revision).await?;
            let mut stream = std::pin::pin!(stream);
            while let Some(event) = stream.next().await {
                if event?.0 == "DELETED" {
                    break;
                }
            }
        }
    }

    /// Runs until it is cancelled, once the [`Directory`] is filled. What is under way then is given up: the next run begins
    /// from the state it finds.
    pub async fn run(&self, cancel: CancellationToken) {
        // What the watches see of a tenant that is not in the directory is passed over for good.
        tokio::select! {
            () = cancel.cancelled() => return,
            () = self.context.directory.filled() => {}
        }
        let mut tasks = JoinSet::new();
        let mut synced = Vec::new();
        for room in self.rooms.all.iter() {
            if let Some(watching) = room.watching() {
                let (sender, receiver) = watch::channel(false);
                synced.push(receiver);
                tasks.spawn(watch_room(Arc::clone(&self.context), Arc::clone(room), watching, sender));
            }
        }
        tasks.spawn(follow_tenants(Arc::clone(&self.context), self.rooms.clone()));
        tasks.spawn(scan_all(Arc::clone(&self.context)));
        tasks.spawn(watch_configs(Arc::clone(&self.context)));
        let work = async {
            for mut receiver in synced {
                // The sender lives as long as its task, which does not end.
                let _ = receiver.wait_for(|synced| *synced).await;
            }
            tracing::info!("everything on the host has been seen");
            self.work().await;
        };
        tokio::select! {
            () = cancel.cancelled() => {}
            () = work => {}
        }
        tasks.shutdown().await;
    }

    async fn work(&self) {
        let mut running: JoinSet<Result<(), SyncError>> = JoinSet::new();
        let mut items: HashMap<Id, (TenantId, Item, Instant)> = HashMap::new();
        let mut complaints = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                Some(_) = complaints.join_next() => {}
                Some(ended) = running.join_next_with_id() => {
                    let (id, result) = match ended {
                        Ok((id, result)) => (id, Some(result)),
                        Err(error) => (error.id(), None),
                    };
                    if let Some((tenant, item, since)) = items.remove(&id) {
                        self.finish(tenant, &item, since, result, &mut complaints);
                    }
                }
                (tenant, item, waited) = self.context.queue.next(), if running.len() < self.context.config.in_flight => {
                    let label = RoomLabel { room: item.room };
                    self.context.metrics.queue_seconds.get_or_create(&label).observe(waited.as_secs_f64());
                    self.context.metrics.queue_depth.set(i64::try_from(self.context.queue.len()).unwrap_or(i64::MAX));
                    let task = sync_item(Arc::clone(&self.context), self.rooms.clone(), tenant, item.clone());
                    let handle = running.spawn(task);
                    items.insert(handle.id(), (tenant, item, Instant::now()));
                }
            }
        }
    }

    /// Counts how a sync ended, tells the tenant what it must know, and decides when to try again.
    fn finish(
        &self,
        tenant: TenantId,
        item: &Item,
        since: Instant,
        result: Option<Result<(), SyncError>>,
        complaints: &mut JoinSet<()>,
    ) {
        let context = &self.context;
        let (word, retry) = match &result {
            None => ("panic", Some(Duration::from_secs(300))),
            Some(Ok(())) => ("ok", None),
            Some(Err(SyncError::Wait(..))) => ("wait", None),
            Some(Err(SyncError::Refused(_))) => ("refused", None),
            Some(Err(error)) if error.is_race() => ("race", Some(Duration::from_millis(20))),
            Some(Err(SyncError::Host(HostError::Away(_)))) => ("away", Some(Duration::from_millis(500))),
            Some(Err(SyncError::Host(HostError::NoRight(_)))) => ("right", Some(Duration::from_millis(500))),
            Some(Err(SyncError::Host(_))) => ("host", Some(Duration::from_secs(1))),
            Some(Err(SyncError::Tenant(_))) => ("tenant", Some(Duration::from_secs(1))),
        };
        context.metrics.syncs.get_or_create(&ResultLabel { room: item.room, result: word }).inc();
        context
            .metrics
            .sync_seconds
            .get_or_create(&RoomLabel { room: item.room })
            .observe(since.elapsed().as_secs_f64());
        if context.directory.get(tenant).is_none() {
            context.queue.done(tenant, item, None);
            return;
        }
        if let Some(Err(SyncError::Host(HostError::NoRight(_)))) = &result {
            context.namespace_doubt(tenant, if item.room == "namespaces" { &item.name } else { &item.namespace });
        }
        let failures = match &result {
            Some(Err(SyncError::Wait(_, after))) => {
                context.queue.add_after(tenant, item.clone(), *after);
                context.queue.done(tenant, item, None)
            }
            _ => context.queue.done(tenant, item, retry),
        };
        let (room, namespace, name) = (item.room, &item.namespace, &item.name);
        if !matches!(&result, Some(Ok(()))) {
            context.touched.add(tenant);
        }
        match result {
            None => {
                tracing::error!(%tenant, room, %namespace, %name, "a sync panicked; the object rests for a while");
                let message = "the syncer failed on this object; it is left alone for a while".to_owned();
                self.complain(tenant, item, message, complaints);
            }
            Some(Ok(())) => context.untell(tenant, item),
            Some(Err(error)) => {
                tracing::debug!(%tenant, room, %namespace, %name, %error, failures, "a sync did not end");
                if let Some(message) = error.tenant_message() {
                    self.complain(tenant, item, message, complaints);
                }
            }
        }
    }

    /// Writes a `SyncError` event about an item, beside the work.
    fn complain(&self, tenant: TenantId, item: &Item, message: String, complaints: &mut JoinSet<()>) {
        let Some(room) = self.rooms.find(item.room) else { return };
        let Some(resource) = room.tenant_resources().first().cloned() else { return };
        let (context, item) = (Arc::clone(&self.context), item.clone());
        complaints.spawn(async move {
            let object = context.tenant_get(tenant, &resource, &item.namespace, &item.name).await;
            if let Ok(Some(object)) = object
                && let Ok(object) = object.to_value()
            {
                let rewritten = context.directory.get(tenant).map_or_else(
                    || message.clone(),
                    |s| crate::rewrite::Rewrite::new(tenant, &s.name, &item.namespace).text(&message),
                );
                context.tell(tenant, &item, &object, "SyncError", &rewritten).await;
            }
        });
    }
}

async fn sync_item(context: Arc<Context>, rooms: Rooms, tenant: TenantId, item: Item) -> Result<(), SyncError> {
    if context.directory.get(tenant).is_none() {
        return Ok(());
    }
    if item.room == SCAN {
        for room in rooms.all.iter() {
            room.scan(&context, tenant).await?;
        }
        return Ok(());
    }
    match rooms.find(item.room) {
        Some(room) => room.sync(&context, tenant, &item).await,
        None => Ok(()),
    }
}

/// Follows the tenants, for ever.
async fn follow_tenants(context: Arc<Context>, rooms: Rooms) {
    loop {
        let mut stream = context.tenants.follow();
        loop {
            match stream.next().await {
                Ok(events) => events.iter().for_each(|event| route(&context, &rooms, event)),
                Err(error) => {
                    tracing::warn!(%error, "the change log of the tenants broke off; following anew");
                    break;
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

fn route(context: &Context, rooms: &Rooms, event: &Event) {
    match event {
        Event::Attached(tenant) => context.wake(*tenant, Item::new(SCAN, "", "")),
        Event::Detached(tenant) => context.forget(*tenant),
        Event::Change(change) => {
            context.touched.add(change.tenant);
            for index in rooms.by_resource.get(change.resource.as_ref()).into_iter().flatten() {
                if let Some(room) = rooms.all.get(*index) {
                    room.tenant_changed(context, change);
                }
            }
        }
    }
}

/// Has every tenant in which something happened scanned afterwards, one after the other over the whole interval.
async fn scan_all(context: Arc<Context>) {
    let interval = Duration::from_secs(context.config.scan_seconds.max(1));
    loop {
        let mut tenants = context.touched.take();
        // Of what is not watched nobody tells.
        tenants.extend(context.placed.tenants_beyond(context.config.config_watches));
        if tenants.is_empty() {
            tokio::time::sleep(interval).await;
        }
        let step = interval / u32::try_from(tenants.len().max(1)).unwrap_or(u32::MAX);
        for tenant in tenants {
            tokio::time::sleep(step).await;
            context.wake(tenant, Item::new(SCAN, "", ""));
        }
    }
}

#[cfg(test)]
mod tests;
