//! Events end an hour after they were last written.
//!
//! A stock API server gives each event a lease of etcd; here one timer serves all tenants. A tenant with events has one
//! entry in the queue, for when the oldest of them ends; a tenant without has none. It works for every tenant, whoever runs
//! its controllers, because it is the API server's part (`--event-ttl`).

use std::collections::HashSet;
use std::time::Duration;

use apimachinery::status::ApiError;
use apimachinery::tenant::TenantId;
use async_trait::async_trait;
use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use serde::Deserialize;
use tenant_client::{Caller, Change, DeleteOptions, Object, Target};

use crate::context::{Context, gone_is_fine, resource};
use crate::controller::{Again, Controller, Key};

const CALLER: Caller = Caller { user: "system:apiserver", manager: "" };
/// How long an event lives after it was last written.
const TTL: SignedDuration = SignedDuration::from_secs(3600);
/// Events of one tenant end together, so that a tenant in which much happens is looked at once in so long.
const TOGETHER: Duration = Duration::from_secs(60);
/// Deletions that wait for the store at once: it makes them durable together.
const AT_ONCE: usize = 64;
/// The only key: all events of a tenant.
const ALL: &str = "all";

/// Ends events. The key is all of a tenant's.
#[derive(Default)]
pub(crate) struct EventTtl {
    /// Tenants with events: their next look is in the queue.
    waiting: Mutex<HashSet<TenantId>>,
}

#[async_trait]
impl Controller for EventTtl {
    fn name(&self) -> &'static str {
        "event-ttl"
    }

    fn resources(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }

    fn scan_key(&self) -> Option<&'static str> {
        Some(ALL)
    }

    fn for_every_tenant(&self) -> bool {
        true
    }

    fn keys(&self, change: &Change, add: &mut dyn FnMut(&str, &str)) {
        let event = change.resource.group.is_empty() && change.resource.resource == "events";
        if event && change.new.is_some() && self.waiting.lock().insert(change.tenant) {
            add("", ALL);
        }
    }

    async fn reconcile(&self, context: &Context, key: Key<'_>) -> Result<Again, ApiError> {
        let events = resource("", "events");
        let now = context.now();
        let mut next: Option<Timestamp> = None;
        let mut over = Vec::new();
        for event in context.client.list(key.tenant, &events, None).await?.items {
            match ends(&event) {
                Some(end) if end > now => next = next.into_iter().chain([end]).min(),
                _ if event.stored.deleting() => {}
                _ => over.push(event),
            }
        }
        for some in over.chunks(AT_ONCE) {
            let mut deletions = Vec::with_capacity(some.len());
            for event in some {
                deletions.push(delete(context, key, event));
            }
            join_all(deletions).await.into_iter().collect::<Result<(), ApiError>>()?;
        }
        let Some(next) = next else { return self.rest(context, key).await };
        self.waiting.lock().insert(key.tenant);
        let wait = Duration::try_from(next.duration_since(now)).unwrap_or_default();
        Ok(Some(wait.max(TOGETHER)))
    }
}

impl EventTtl {
    /// A tenant has no events any more. One that was written since the list has asked for no look, as there was
    /// one to come: the next look, at once, finds when it ends.
    async fn rest(&self, context: &Context, key: Key<'_>) -> Result<Again, ApiError> {
        self.waiting.lock().remove(&key.tenant);
        let left = context.client.list(key.tenant, &resource("", "events"), None).await?.items;
        let any = left.iter().any(|event| !event.stored.deleting());
        Ok((any && self.waiting.lock().insert(key.tenant)).then_some(Duration::ZERO))
    }
}

/// Deletes an event, but not one that was written again meanwhile.
async fn delete(context: &Context, key: Key<'_>, event: &Object) -> Result<(), ApiError> {
    let resource = resource("", "events");
    let (namespace, name) = (event.namespace.as_str(), event.name.as_str());
    let target = Target { tenant: key.tenant, resource: &resource, namespace, name, subresource: "" };
    let options = DeleteOptions { resource_version: Some(event.revision.to_string()), ..DeleteOptions::default() };
    gone_is_fine(context.client.delete(CALLER, target, options).await)
}

/// The times of an event, in both of its faces.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Times {
    metadata: Created,
    last_timestamp: Option<String>,
    event_time: Option<String>,
    series: Option<Series>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Created {
    creation_timestamp: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Series {
    last_observed_time: Option<String>,
}

/// When an event ends; `None` if it does not tell when it was written.
fn ends(event: &Object) -> Option<Timestamp> {
    end(event.stored.body())
}

fn end(body: &[u8]) -> Option<Timestamp> {
    let times: Times = serde_json::from_slice(body).ok()?;
    let written = [
        times.metadata.creation_timestamp,
        times.last_timestamp,
        times.event_time,
        times.series.and_then(|s| s.last_observed_time),
    ];
    written.into_iter().flatten().filter_map(|t| t.parse::<Timestamp>().ok()).max()?.checked_add(TTL).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_ends_an_hour_after_it_was_last_seen() {
        for (body, wanted) in [
            (r#"{"metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"}}"#, Some("2026-01-01T01:00:00Z")),
            (
                r#"{"metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"}, "lastTimestamp": "2026-01-01T00:30:00Z", "eventTime": null}"#,
                Some("2026-01-01T01:30:00Z"),
            ),
            (
                r#"{"metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"}, "eventTime": "2026-01-01T00:00:00.5Z", "series": {"lastObservedTime": "2026-01-01T02:00:00.123456Z"}}"#,
                Some("2026-01-01T03:00:00.123456Z"),
            ),
            ("{}", None),
        ] {
            assert_eq!(end(body.as_bytes()), wanted.map(|t| t.parse().unwrap()), "{body}");
        }
    }
}
