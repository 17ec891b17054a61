//! Events: what controllers tell users.

use apimachinery::gvk::GroupVersionKind;
use apimachinery::meta;
use serde_json::{Value, json};
use tenant_client::Caller;

use crate::context::{Context, resource};
use crate::controller::Key;

/// Tells users something about an object. One event that cannot be written is no reason to stop working.
pub(crate) async fn tell(
    context: &Context,
    caller: Caller,
    key: Key<'_>,
    about: &Value,
    kind: &GroupVersionKind,
    event: Event<'_>,
) {
    let now = context.now_text();
    let component = caller.user.rsplit(':').next().unwrap_or(caller.user);
    // Events of cluster-scoped objects lie in default.
    let namespace = if meta::namespace(about).is_empty() { "default" } else { meta::namespace(about) };
    let name = format!("{}.{:x}", meta::name(about), context.now().as_nanosecond());
    let object = json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": namespace},
        "involvedObject": {
            "apiVersion": kind.api_version().as_str(),
            "kind": kind.kind.as_str(),
            "namespace": meta::namespace(about),
            "name": meta::name(about),
            "uid": meta::uid(about),
            "resourceVersion": meta::text(about, "resourceVersion"),
        },
        "type": event.kind,
        "reason": event.reason,
        "message": event.message,
        "source": {"component": component},
        "reportingComponent": component,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    });
    let key = Key { namespace, ..key };
    if let Err(error) = context.create(caller, key, &resource("", "events"), object).await {
        tracing::debug!(tenant = %key.tenant, reason = event.reason, %error, "cannot write an event");
    }
}

/// What is told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event<'a> {
    /// `Normal` or `Warning`.
    pub(crate) kind: &'static str,
    /// One word.
    pub(crate) reason: &'static str,
    /// A sentence.
    pub(crate) message: &'a str,
}

impl<'a> Event<'a> {
    /// Something that should happen.
    pub(crate) fn normal(reason: &'static str, message: &'a str) -> Self {
        Self { kind: "Normal", reason, message }
    }

    /// Something that should not.
    pub(crate) fn warning(reason: &'static str, message: &'a str) -> Self {
        Self { kind: "Warning", reason, message }
    }
}
