//! Pods that have ended and that nobody deletes: past a number of them the oldest go.
//!
//! Of what a stock pod garbage collector does, this is all that is ours to do. The syncer knows which pods the host still
//! runs; pods of nodes that are gone or out of service are the host's own collector's, and the syncer brings their end up. A
//! tenant's picture of nodes is no proof that a pod has ended, so no pod goes because of it. Pods that are deleted before
//! they have a node go at once. Source of behaviour: `k8s.io/kubernetes/pkg/controller/podgc`.

use apimachinery::meta::{self, str_at};
use apimachinery::status::ApiError;
use async_trait::async_trait;
use serde_json::Value;
use tenant_client::{Caller, Change, DeleteOptions, Object, Target};

use crate::context::{Context, gone_is_fine, resource};
use crate::controller::{Again, Controller, Key};

const CALLER: Caller =
    Caller { user: "system:serviceaccount:kube-system:pod-garbage-collector", manager: "kube-controller-manager" };
/// How many ended pods of a tenant stay (`--terminated-pod-gc-threshold`).
const THRESHOLD: usize = 12_500;
/// One ended pod in so many asks for a count, so that counting costs little however many pods end. A power of two.
const SAMPLE: u8 = 64;
/// The only key: all pods of a tenant.
const ALL: &str = "all";

/// Deletes ended pods. The key is all of a tenant's.
pub(crate) struct PodGarbage;

#[async_trait]
impl Controller for PodGarbage {
    fn name(&self) -> &'static str {
        "pod-garbage-collector"
    }

    fn resources(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }

    fn scan_key(&self) -> Option<&'static str> {
        Some(ALL)
    }

    fn keys(&self, change: &Change, add: &mut dyn FnMut(&str, &str)) {
        if !change.resource.group.is_empty() || change.resource.resource != "pods" {
            return;
        }
        let Some(new) = change.new.as_ref().filter(|n| ended(n)) else { return };
        if !change.old.as_ref().is_some_and(ended) && new.stored.uid().as_bytes()[15] % SAMPLE == 0 {
            add("", ALL);
        }
    }

    async fn reconcile(&self, context: &Context, key: Key<'_>) -> Result<Again, ApiError> {
        let pods = resource("", "pods");
        let mut all = context.client.list(key.tenant, &pods, None).await?.items;
        all.retain(|pod| ended(pod) && !pod.stored.deleting());
        if all.len() <= THRESHOLD {
            return Ok(None);
        }
        let mut values = Vec::with_capacity(all.len());
        for pod in &all {
            values.push(pod.to_value()?);
        }
        for pod in surplus(&values, THRESHOLD) {
            let (namespace, name) = (meta::namespace(pod), meta::name(pod));
            let target = Target { tenant: key.tenant, resource: &pods, namespace, name, subresource: "" };
            let options = DeleteOptions {
                grace_period_seconds: Some(0),
                uid: Some(meta::uid(pod).to_owned()),
                ..DeleteOptions::default()
            };
            gone_is_fine(context.client.delete(CALLER, target, options).await)?;
        }
        Ok(None)
    }
}

/// Whether a pod has run to its end, told without decoding it.
fn ended(pod: &Object) -> bool {
    matches!(pod.stored.field("status.phase"), Some("Succeeded" | "Failed"))
}

/// The pods past a number of them: those that were evicted first, then the oldest.
fn surplus(pods: &[Value], keep: usize) -> Vec<&Value> {
    let mut all: Vec<&Value> = pods.iter().collect();
    all.sort_by_key(|pod| {
        let evicted = str_at(pod, &["status", "phase"]) == "Failed" && str_at(pod, &["status", "reason"]) == "Evicted";
        (!evicted, meta::text(pod, "creationTimestamp"), meta::name(pod))
    });
    all.truncate(pods.len().saturating_sub(keep));
    all
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn evicted_and_old_pods_go_first() {
        let pod = |name: &str, created: &str, reason: &str| {
            json!({
                "metadata": {"name": name, "creationTimestamp": created},
                "status": {"phase": "Failed", "reason": reason},
            })
        };
        let pods = [
            pod("new", "2026-01-03T00:00:00Z", ""),
            pod("b", "2026-01-01T00:00:00Z", ""),
            pod("a", "2026-01-01T00:00:00Z", ""),
            pod("evicted", "2026-01-02T00:00:00Z", "Evicted"),
        ];
        let names = |keep| surplus(&pods, keep).into_iter().map(meta::name).collect::<Vec<_>>();
        assert_eq!(names(1), ["evicted", "a", "b"]);
        assert!(names(4).is_empty() && names(9).is_empty());
    }
}
