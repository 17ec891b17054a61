//! Following all tenants: a task for each server, a task for each of its resources, one bounded queue.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use apimachinery::gvk::GroupResource;
use apimachinery::status::ApiError;
use apimachinery::tenant::TenantId;
use async_trait::async_trait;
use futures::StreamExt;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Shared;
use super::api::Connection;
use super::feed::{Backoff, Ended, Feed, Listener};
use crate::{Event, EventStream};

/// Events that wait for their follower; then servers wait.
const QUEUE: usize = 1024;
/// Lists of one server at once, when it is attached.
const LISTS: usize = 8;
/// When discovery is read after a definition changed: servers take a moment to serve what it defines.
const DISCOVER_AFTER: [Duration; 3] = [Duration::from_millis(250), Duration::from_secs(2), Duration::from_secs(8)];

/// Events of all tenants. Its tasks end with it.
pub(super) struct Follower {
    events: mpsc::Receiver<Event>,
    _tasks: JoinSet<()>,
}

impl Follower {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let (sender, events) = mpsc::channel(QUEUE);
        let mut tasks = JoinSet::new();
        tasks.spawn(supervise(shared, sender));
        Self { events, _tasks: tasks }
    }
}

#[async_trait]
impl EventStream for Follower {
    async fn next(&mut self) -> Result<Vec<Event>, ApiError> {
        let mut events = Vec::new();
        match self.events.recv_many(&mut events, QUEUE).await {
            0 => Err(ApiError::unavailable("the virtual clusters are not followed any more")),
            _ => Ok(events),
        }
    }
}

/// Follows those that are attached.
async fn supervise(shared: Arc<Shared>, events: mpsc::Sender<Event>) {
    let mut changed = shared.changed.subscribe();
    let mut running: BTreeMap<TenantId, (Arc<Connection>, JoinSet<()>)> = BTreeMap::new();
    loop {
        changed.borrow_and_update();
        let now = shared.tenants.read().clone();
        let same = |tenant: &TenantId, connection: &Arc<Connection>| {
            now.get(tenant).is_some_and(|now| Arc::ptr_eq(now, connection))
        };
        let ended: Vec<TenantId> = running.iter().filter(|(t, (c, _))| !same(t, c)).map(|(t, _)| *t).collect();
        for tenant in ended {
            if let Some((_, mut task)) = running.remove(&tenant) {
                task.shutdown().await;
            }
            if events.send(Event::Detached(tenant)).await.is_err() {
                return;
            }
        }
        for (tenant, connection) in now {
            running.entry(tenant).or_insert_with(|| {
                let mut task = JoinSet::new();
                task.spawn(follow_tenant(tenant, Arc::clone(&connection), events.clone()));
                (connection, task)
            });
        }
        if changed.changed().await.is_err() {
            return;
        }
    }
}

async fn follow_tenant(tenant: TenantId, connection: Arc<Connection>, events: mpsc::Sender<Event>) {
    let mut backoff = Backoff::default();
    while let Err(error) = follow_server(tenant, &connection, &events).await {
        tracing::warn!(%tenant, %error, "cannot follow a virtual cluster; following it anew");
        backoff.wait().await;
    }
}

/// Follows a server until nobody listens.
async fn follow_server(
    tenant: TenantId,
    connection: &Arc<Connection>,
    events: &mpsc::Sender<Event>,
) -> Result<(), ApiError> {
    let mut followed: HashSet<GroupResource> = HashSet::new();
    let mut opening = Vec::new();
    for (resource, served) in connection.discover().await?.iter() {
        if served.allows(&["list", "watch"]) {
            followed.insert(resource.clone());
            opening.push(Feed::open(tenant, Arc::clone(connection), Arc::clone(served)));
        }
    }
    let feeds: Vec<Feed> = futures::stream::iter(opening).buffer_unordered(LISTS).collect().await;
    if events.send(Event::Attached(tenant)).await.is_err() {
        return Ok(());
    }
    let listener = Listener { events: events.clone(), kinds: Arc::new(Notify::new()) };
    let mut tasks = JoinSet::new();
    for feed in feeds {
        tasks.spawn(feed.run(listener.clone()));
    }
    let mut look: Vec<Instant> = Vec::new();
    loop {
        let next = look.first().copied();
        tokio::select! {
            Some(ended) = tasks.join_next() => match ended {
                Ok((_, Ended::Unheard)) => return Ok(()),
                Ok((served, Ended::Gone)) => {
                    followed.remove(served.resource.as_ref());
                }
                Err(error) => return Err(ApiError::internal(error)),
            },
            () = listener.kinds.notified() => look = DISCOVER_AFTER.map(|after| Instant::now() + after).to_vec(),
            () = tokio::time::sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {
                look.remove(0);
                match connection.discover().await {
                    Ok(all) => for (resource, served) in all.iter() {
                        if served.allows(&["list", "watch"]) && followed.insert(resource.clone()) {
                            let feed = Feed::new(tenant, Arc::clone(connection), Arc::clone(served));
                            tasks.spawn(feed.run(listener.clone()));
                        }
                    },
                    Err(error) => {
                        tracing::warn!(%tenant, %error, "cannot see what an API server serves now");
                        look.push(Instant::now() + DISCOVER_AFTER[2]);
                    }
                }
            }
        }
    }
}
