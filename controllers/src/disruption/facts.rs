//! What of a pod's change budgets care about, read without decoding the pod; and pods that were to be evicted and were not.

use apimachinery::meta::{self, list_at, str_at};
use apimachinery::status::ApiError;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};
use tenant_client::{Change, Object};

use super::CALLER;
use crate::context::{Context, resource};
use crate::controller::{Again, Key};
use crate::object::{condition, deleting, seconds, time_at};
use crate::pods::finished;

/// How long a pod may say that it is about to go and stay.
const STALE_AFTER: SignedDuration = SignedDuration::from_secs(120);
const TARGET: &str = "DisruptionTarget";

/// What a change of a pod means.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// A budget may have to be counted anew.
    pub(super) counts: bool,
    /// The pod says since now that it is about to go.
    pub(super) doomed: bool,
}

#[derive(Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
struct Conditions {
    conditions: Vec<Condition>,
}

#[derive(Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
struct Condition {
    r#type: String,
    status: String,
}

#[derive(Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
struct Pod {
    status: Conditions,
}

impl Pod {
    fn is(&self, kind: &str) -> bool {
        self.status.conditions.iter().any(|c| c.r#type == kind && c.status == "True")
    }
}

fn conditions(object: &Object) -> Pod {
    serde_json::from_slice(object.stored.body()).unwrap_or_default()
}

/// Reads a change of a pod.
pub(super) fn seen(change: &Change) -> Seen {
    let (Some(old), Some(new)) = (&change.old, &change.new) else { return Seen { counts: true, doomed: false } };
    let (before, after) = (conditions(old), conditions(new));
    let same = old.stored.labels().eq(new.stored.labels())
        && old.stored.owners().eq(new.stored.owners())
        && old.stored.deleting() == new.stored.deleting()
        && before.is("Ready") == after.is("Ready");
    Seen { counts: !same, doomed: !new.stored.deleting() && after.is(TARGET) && !before.is(TARGET) }
}

/// Takes back the announcement of an eviction that did not come.
pub(super) async fn reprieve(context: &Context, key: Key<'_>) -> Result<Again, ApiError> {
    let pods = resource("", "pods");
    let Some(pod) = context.get(key, &pods, key.name).await? else { return Ok(None) };
    let now = context.now();
    match stale(&pod, now) {
        None => Ok(None),
        Some(at) if at > now => Ok(Some(seconds(at.as_second() - now.as_second() + 1))),
        Some(_) => {
            let mut status = pod.get("status").cloned().unwrap_or_else(|| json!({}));
            let mut conditions = list_at(&status, &["conditions"]).to_vec();
            for condition in conditions.iter_mut().filter(|c| c["type"] == TARGET) {
                *condition = json!({
                    "type": TARGET, "status": "False", "lastProbeTime": null,
                    "lastTransitionTime": context.now_text(),
                });
            }
            status["conditions"] = Value::Array(conditions);
            context.update_status(CALLER, key, &pods, pod, status).await?;
            Ok(None)
        }
    }
}

/// When the announcement of a pod's end is no longer to be believed, if it has one.
fn stale(pod: &Value, _now: Timestamp) -> Option<Timestamp> {
    if deleting(pod) || finished(pod) || meta::name(pod).is_empty() {
        return None;
    }
    let condition = condition(pod, TARGET).filter(|c| str_at(c, &["status"]) == "True")?;
    // What the kubelet announces may take as long as it takes.
    if str_at(condition, &["reason"]) == "TerminationByKubelet" {
        return None;
    }
    let since = time_at(condition, &["lastTransitionTime"])?;
    since.checked_add(STALE_AFTER).ok()
}
