//! What of a pod's change budgets care about, read without decoding the pod; and pods that were to be evicted and were not.

use apimachinery::meta::{self, list_at, str_at};
use apimachinery::status::ApiError;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};
use smol_str::SmolStr;
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

/// What budgets ask of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Pod {
    pub(super) name: SmolStr,
    /// Whether it is being deleted.
    pub(super) deleting: bool,
    pub(super) ready: bool,
    /// Whether it says that it is about to go.
    pub(super) doomed: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct OnlyStatus {
    status: OnlyConditions,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct OnlyConditions {
    conditions: Vec<Condition>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Condition {
    r#type: String,
    status: String,
}

/// Reads a pod, without decoding the rest of it.
pub(super) fn read(pod: &Object) -> Pod {
    // A body that is no JSON is reported where it is decoded; here it has no conditions.
    let OnlyStatus { status } = serde_json::from_slice(pod.stored.body()).unwrap_or_default();
    let is = |kind: &str| status.conditions.iter().any(|c| c.r#type == kind && c.status == "True");
    Pod { name: pod.name.clone(), deleting: pod.stored.deleting(), ready: is("Ready"), doomed: is(TARGET) }
}

/// Reads a change of a pod.
pub(super) fn seen(change: &Change) -> Seen {
    let (Some(old), Some(new)) = (&change.old, &change.new) else { return Seen { counts: true, doomed: false } };
    let (before, after) = (read(old), read(new));
    let same = old.stored.labels().eq(new.stored.labels())
        && old.stored.owners().eq(new.stored.owners())
        && (before.deleting, before.ready) == (after.deleting, after.ready);
    Seen { counts: !same, doomed: !after.deleting && after.doomed && !before.doomed }
}

/// Takes back the announcement of an eviction that did not come.
pub(super) async fn reprieve(context: &Context, key: Key<'_>) -> Result<Again, ApiError> {
    let pods = resource("", "pods");
    let Some(pod) = context.get(key, &pods, key.name).await? else { return Ok(None) };
    let now = context.now();
    match stale(&pod) {
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
fn stale(pod: &Value) -> Option<Timestamp> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_announcement_is_believed_for_two_minutes() {
        let pod = |reason: &str, phase: &str| {
            json!({"metadata": {"name": "p"}, "status": {"phase": phase, "conditions": [{"type": TARGET,
                "status": "True", "reason": reason, "lastTransitionTime": "2026-01-01T00:00:00Z"}]}})
        };
        let until = Some("2026-01-01T00:02:00Z".parse().unwrap());
        assert_eq!(stale(&pod("EvictionByEvictionAPI", "Running")), until);
        assert_eq!(stale(&pod("TerminationByKubelet", "Running")), None);
        assert_eq!(stale(&pod("EvictionByEvictionAPI", "Failed")), None);
        let mut going = pod("EvictionByEvictionAPI", "Running");
        going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        assert_eq!(stale(&going), None);
    }
}
