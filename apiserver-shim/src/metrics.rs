//! What the server counts. Labels come from what the server knows, never from what a client or tenant chose.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use jiff::SignedDuration;
use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::request::RequestInfo;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    verb: &'static str,
    scope: &'static str,
    code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Verb {
    verb: &'static str,
}

/// What is counted of requests.
#[derive(Debug)]
pub struct Metrics {
    requests: Family<Request, Counter>,
    seconds: Family<Verb, Histogram, fn() -> Histogram>,
    watchers: Gauge<i64, AtomicI64>,
    panics: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        let buckets = || Histogram::new(exponential_buckets(0.0005, 2.0, 16));
        Self {
            requests: Family::default(),
            seconds: Family::new_with_constructor(buckets),
            watchers: Gauge::default(),
            panics: Counter::default(),
        }
    }
}

/// What of a request becomes a label, known once it is parsed.
#[derive(Debug, Default)]
pub(crate) struct RequestLabel(Mutex<Option<(&'static str, &'static str)>>);

/// One watcher, counted while it lives.
#[derive(Debug)]
pub(crate) struct Watching(Arc<Metrics>);

impl RequestLabel {
    pub(crate) fn set(&self, info: &RequestInfo) {
        *self.0.lock() = Some((verb(&info.verb), scope(info)));
    }
}

impl Metrics {
    /// Adds all metrics to a registry.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("apiserver_requests", "Requests by verb, scope and code", self.requests.clone());
        registry.register(
            "apiserver_request_duration_seconds",
            "Time from a request's head to its answer's",
            self.seconds.clone(),
        );
        registry.register("apiserver_watchers", "Watches that are open", self.watchers.clone());
        registry.register("apiserver_panics", "Requests whose handler panicked", self.panics.clone());
    }

    pub(crate) fn request(&self, label: &RequestLabel, code: u16, took: SignedDuration) {
        let (verb, scope) = label.0.lock().unwrap_or(("other", "other"));
        self.requests.get_or_create(&Request { verb, scope, code }).inc();
        if verb != "watch" && verb != "connect" {
            self.seconds.get_or_create(&Verb { verb }).observe(took.as_secs_f64());
        }
    }

    pub(crate) fn panicked(&self) {
        self.panics.inc();
    }

    pub(crate) fn watcher(self: &Arc<Self>) -> Watching {
        self.watchers.inc();
        Watching(Arc::clone(self))
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.watchers.dec();
    }
}

fn verb(verb: &str) -> &'static str {
    const VERBS: [&str; 9] =
        ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection", "post"];
    VERBS.into_iter().find(|v| *v == verb).unwrap_or("other")
}

fn scope(info: &RequestInfo) -> &'static str {
    if !info.is_resource {
        "path"
    } else if info.is_long_running() && info.verb != "watch" {
        "stream"
    } else if info.name.is_empty() {
        if info.namespace.is_empty() { "cluster" } else { "namespace" }
    } else {
        "object"
    }
}
