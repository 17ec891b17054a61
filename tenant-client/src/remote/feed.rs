//! One resource of one server: list, then watch, for ever, and what changed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use apimachinery::status::ApiError;
use apimachinery::tenant::TenantId;
use futures::StreamExt;
use serde_json::Value;
use smol_str::SmolStr;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use super::api::Connection;
use super::discovery::{Served, revision};
use crate::{Change, Event, List, Object};

/// Between attempts, at first and at most.
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_LAST: Duration = Duration::from_secs(15);

/// Waits longer from time to time.
pub(super) struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Self(RETRY_FIRST)
    }
}

impl Backoff {
    pub(super) async fn wait(&mut self) {
        tokio::time::sleep(self.0).await;
        self.0 = (self.0 * 2).min(RETRY_LAST);
    }

    pub(super) fn reset(&mut self) {
        self.0 = RETRY_FIRST;
    }
}

/// Objects as they were seen last.
type Seen = HashMap<(SmolStr, SmolStr), Object>;

/// Why a feed ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The resource is not served any more.
    Gone,
    /// Nobody listens.
    Unheard,
}

enum Stop {
    Ended(Ended),
    Error(ApiError),
}

impl From<ApiError> for Stop {
    fn from(error: ApiError) -> Self {
        Self::Error(error)
    }
}

/// Where changes go.
#[derive(Clone)]
pub(super) struct Listener {
    pub(super) events: mpsc::Sender<Event>,
    /// Told when what the server serves may have changed.
    pub(super) kinds: Arc<Notify>,
}

/// A resource that is followed.
pub(super) struct Feed {
    tenant: TenantId,
    connection: Arc<Connection>,
    pub(super) served: Arc<Served>,
    seen: Seen,
    /// The revision up to which `seen` is right; `None` before the first list, and when history was lost.
    at: Option<u64>,
}

impl Feed {
    /// A feed that tells of all there is as created.
    pub(super) fn new(tenant: TenantId, connection: Arc<Connection>, served: Arc<Served>) -> Self {
        Self { tenant, connection, served, seen: Seen::new(), at: None }
    }

    /// A feed that tells of what comes from now on. If that cannot be found out now, of all as created later on.
    pub(super) async fn open(tenant: TenantId, connection: Arc<Connection>, served: Arc<Served>) -> Self {
        let mut this = Self::new(tenant, connection, served);
        match this.connection.list(&this.served, "").await {
            Ok(list) => this.at = Some(take(&mut this.seen, list).1),
            Err(error) => {
                tracing::warn!(%tenant, resource = %this.served.resource, %error, "cannot list a resource yet")
            }
        }
        this
    }

    /// Follows until the resource is gone or nobody listens.
    pub(super) async fn run(mut self, listener: Listener) -> (Arc<Served>, Ended) {
        let mut backoff = Backoff::default();
        loop {
            let (begun, watching) = (Instant::now(), self.at.is_some());
            let stop = match self.at {
                None => self.relist(&listener).await,
                Some(at) => self.watch(at, &listener).await,
            };
            match stop {
                // A server that ends watches at once is not asked again at once.
                Ok(()) if watching && begun.elapsed() < RETRY_FIRST => backoff.wait().await,
                Ok(()) => backoff.reset(),
                Err(Stop::Ended(ended)) => return (self.served, ended),
                Err(Stop::Error(error)) => {
                    let (tenant, resource) = (self.tenant, &self.served.resource);
                    tracing::debug!(%tenant, %resource, %error, "a watch broke");
                    if matches!(error.code, 400..=499) && error.code != 429 {
                        // Too old a revision, a resource that is gone or a right that is: the list will tell.
                        self.at = None;
                    }
                    if let Ok(now) = self.connection.served(&self.served.resource).await {
                        self.served = now;
                    }
                    backoff.wait().await;
                }
            }
        }
    }

    async fn relist(&mut self, listener: &Listener) -> Result<(), Stop> {
        let (list, gone) = match self.connection.list(&self.served, "").await {
            Ok(list) => (list, false),
            Err(error) if error.code == 404 => (List { items: Vec::new(), revision: 0 }, true),
            Err(error) => return Err(error.into()),
        };
        let (changes, at) = take(&mut self.seen, list);
        for (old, new) in changes {
            // When it went is not known; it was there at its last revision.
            let gone = old.as_ref().map_or(at, |old| old.revision.max(at));
            let revision = new.as_ref().map_or(gone, |new| new.revision);
            self.tell(listener, old, new, revision).await?;
        }
        self.at = Some(at);
        if gone { Err(Stop::Ended(Ended::Gone)) } else { Ok(()) }
    }

    async fn watch(&mut self, at: u64, listener: &Listener) -> Result<(), Stop> {
        let stream = self.connection.watch(&self.served, at).await?;
        let mut stream = std::pin::pin!(stream);
        while let Some(event) = stream.next().await {
            let (kind, object) = event?;
            let at = revision(&object)?;
            if kind != "BOOKMARK" {
                self.event(kind == "DELETED", &object, at, listener).await?;
            }
            self.at = Some(at);
        }
        Ok(())
    }

    async fn event(&mut self, deleted: bool, object: &Value, at: u64, listener: &Listener) -> Result<(), Stop> {
        let object = self.served.object(object)?;
        let key = (object.namespace.clone(), object.name.clone());
        if deleted {
            let old = self.seen.remove(&key).unwrap_or(object);
            return self.tell(listener, Some(old), None, at).await;
        }
        let old = self.seen.insert(key, object.clone());
        self.tell(listener, old, Some(object), at).await
    }

    async fn tell(
        &self,
        listener: &Listener,
        old: Option<Object>,
        new: Option<Object>,
        revision: u64,
    ) -> Result<(), Stop> {
        let resource = Arc::clone(&self.served.resource);
        let is_kind = matches!(resource.resource.as_str(), "customresourcedefinitions" | "apiservices");
        let change = Change { tenant: self.tenant, resource, old, new, revision };
        let sent = listener.events.send(Event::Change(Arc::new(change))).await;
        if is_kind {
            listener.kinds.notify_one();
        }
        sent.map_err(|_| Stop::Ended(Ended::Unheard))
    }
}

/// An object before and after.
type Difference = (Option<Object>, Option<Object>);

/// Takes a list for what there is. Returns what differs from what was seen, as old and new objects, and the list's revision.
pub(super) fn take(seen: &mut Seen, list: List) -> (Vec<Difference>, u64) {
    let mut before = std::mem::take(seen);
    let mut changes = Vec::new();
    for object in list.items {
        let key = (object.namespace.clone(), object.name.clone());
        let old = before.remove(&key);
        if old.as_ref().is_none_or(|old| old.revision != object.revision) {
            changes.push((old, Some(object.clone())));
        }
        seen.insert(key, object);
    }
    // What went comes first: an object that was made anew under another name may have taken its place.
    let gone = before.into_values().map(|old| (Some(old), None));
    (gone.chain(changes).collect(), list.revision)
}
