//! What controllers count. Labels are names of controllers only: tenants cannot make more of them.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// Which controller.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct ControllerLabel {
    pub(crate) controller: &'static str,
}

/// The counters of all controllers.
#[derive(Debug)]
pub struct Metrics {
    pub(crate) reconciles: Family<ControllerLabel, Counter>,
    pub(crate) errors: Family<ControllerLabel, Counter>,
    pub(crate) panics: Counter,
    pub(crate) depth: Gauge,
    pub(crate) wait: Histogram,
    pub(crate) work: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        let seconds = || Histogram::new(exponential_buckets(0.0001, 4.0, 10));
        Self {
            reconciles: Family::default(),
            errors: Family::default(),
            panics: Counter::default(),
            depth: Gauge::default(),
            wait: seconds(),
            work: seconds(),
        }
    }
}

impl Metrics {
    /// Registers them.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("tenantry_controllers");
        registry.register("reconciles", "Objects looked at", self.reconciles.clone());
        registry.register("errors", "Looks that failed and are repeated", self.errors.clone());
        registry.register("panics", "Looks that panicked", self.panics.clone());
        registry.register("queue_depth", "Objects that wait", self.depth.clone());
        registry.register("wait_seconds", "Time from a change to the look at the object", self.wait.clone());
        registry.register("work_seconds", "Time that a look takes", self.work.clone());
    }
}
