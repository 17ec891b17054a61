//! What the syncer tells Prometheus. Labels are rooms and results, never anything that a tenant can make more of.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// Which room a figure is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RoomLabel {
    /// `pods`, `services`, ...
    pub room: &'static str,
}

/// Which room, and how a sync ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ResultLabel {
    /// `pods`, `services`, ...
    pub room: &'static str,
    /// `ok`, `wait`, `refused`, `race`, `away`, `right`, `host`, `tenant` or `panic`.
    pub result: &'static str,
}

/// The syncer's figures.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Objects that wait to be looked at.
    pub queue_depth: Gauge,
    /// Seconds that an object waited in the queue.
    pub queue_seconds: Family<RoomLabel, Histogram>,
    /// Seconds that a sync took.
    pub sync_seconds: Family<RoomLabel, Histogram>,
    /// Syncs by how they ended.
    pub syncs: Family<ResultLabel, Counter>,
    /// Watches on the host that broke and were opened anew.
    pub watch_restarts: Counter,
    /// Events of the host that were not brought up because a tenant's share was used up.
    pub events_dropped: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        let histogram = || Histogram::new(exponential_buckets(0.001, 2.0, 16));
        Self {
            queue_depth: Gauge::default(),
            queue_seconds: Family::new_with_constructor(histogram as fn() -> Histogram),
            sync_seconds: Family::new_with_constructor(histogram as fn() -> Histogram),
            syncs: Family::default(),
            watch_restarts: Counter::default(),
            events_dropped: Counter::default(),
        }
    }
}

impl Metrics {
    /// The figures, registered with the prefix `tenantry_syncer`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("tenantry_syncer");
        registry.register("queue_depth", "Objects that wait to be synced", metrics.queue_depth.clone());
        registry.register("queue_seconds", "Seconds an object waited to be synced", metrics.queue_seconds.clone());
        registry.register("sync_seconds", "Seconds a sync took", metrics.sync_seconds.clone());
        registry.register("syncs", "Syncs by result", metrics.syncs.clone());
        registry.register("watch_restarts", "Host watches opened anew", metrics.watch_restarts.clone());
        registry.register("events_dropped", "Host events not brought up", metrics.events_dropped.clone());
        metrics
    }
}
