//! ReplicaSets and ReplicationControllers: as many pods as asked for.

use std::collections::HashMap;

use apimachinery::gvk::{GroupResource, GroupVersionKind};
use apimachinery::meta::{self, at, list_at, str_at};
use apimachinery::selector::LabelSelector;
use apimachinery::status::ApiError;
use async_trait::async_trait;
use futures::future::join_all;
use serde_json::{Map, Value, json};
use tenant_client::{Caller, Change};

use crate::claim::claim_pods;
use crate::context::{Context, resource};
use crate::controller::{Again, Controller, Key};
use crate::events::{Event, tell};
use crate::object::{controller_of, deleting, int_at, seconds, set_condition};
use crate::pods;

/// Pods that are made or deleted in one look. More follow in the next, which the changes of these bring about.
const BURST: usize = 500;
/// Pods that are made at once, at first; doubled while all goes well, so that a refusal is not met 500 times.
const SLOW_START: usize = 1;

/// One of the two kinds.
pub(crate) struct Replicas {
    name: &'static str,
    resources: &'static [(&'static str, &'static str)],
    what: GroupResource,
    kind: GroupVersionKind,
    caller: Caller,
}

/// What is to be done.
#[derive(Debug, Default, PartialEq)]
struct Plan {
    create: usize,
    delete: Vec<usize>,
}

impl Replicas {
    /// ReplicaSets.
    pub(crate) fn replica_sets() -> Self {
        Self {
            name: "replicaset",
            resources: &[("apps", "replicasets")],
            what: resource("apps", "replicasets"),
            kind: GroupVersionKind::new("apps", "v1", "ReplicaSet"),
            caller: Caller {
                user: "system:serviceaccount:kube-system:replicaset-controller",
                manager: "kube-controller-manager",
            },
        }
    }

    /// ReplicationControllers.
    pub(crate) fn replication_controllers() -> Self {
        Self {
            name: "replicationcontroller",
            resources: &[("", "replicationcontrollers")],
            what: resource("", "replicationcontrollers"),
            kind: GroupVersionKind::new("", "v1", "ReplicationController"),
            caller: Caller {
                user: "system:serviceaccount:kube-system:replication-controller",
                manager: "kube-controller-manager",
            },
        }
    }

    fn selector(&self, owner: &Value) -> Result<LabelSelector, ApiError> {
        let selector = at(owner, &["spec", "selector"]).cloned().unwrap_or_default();
        if self.kind.group.is_empty() {
            return Ok(selector
                .as_object()
                .filter(|m| !m.is_empty())
                .map_or_else(LabelSelector::nothing, LabelSelector::from_map));
        }
        LabelSelector::from_object(&selector).map_err(ApiError::internal)
    }

    async fn create_pods(&self, context: &Context, key: Key<'_>, owner: &Value, count: usize) -> Result<(), ApiError> {
        let template = at(owner, &["spec", "template"]).cloned().unwrap_or_default();
        let pod = pods::from_template(&template, owner, &self.kind);
        let resource = resource("", "pods");
        let mut left = count;
        let mut batch = SLOW_START;
        while left > 0 {
            let now = batch.min(left);
            let results = join_all((0..now).map(|_| context.create(self.caller, key, &resource, pod.clone()))).await;
            let mut failure = None;
            for result in results {
                match result {
                    Ok(pod) => {
                        let message = format!("Created pod: {}", meta::name(&pod));
                        tell(context, self.caller, key, owner, &self.kind, Event::normal("SuccessfulCreate", &message))
                            .await;
                    }
                    Err(error) => failure = Some(error),
                }
            }
            if let Some(error) = failure {
                let message = format!("Error creating: {error}");
                tell(context, self.caller, key, owner, &self.kind, Event::warning("FailedCreate", &message)).await;
                return Err(error);
            }
            left -= now;
            batch *= 2;
        }
        Ok(())
    }

    async fn delete_pods(
        &self,
        context: &Context,
        key: Key<'_>,
        owner: &Value,
        doomed: Vec<&Value>,
    ) -> Result<(), ApiError> {
        let resource = resource("", "pods");
        let deletes =
            doomed.iter().map(|pod| context.delete(self.caller, key, &resource, meta::name(pod), meta::uid(pod)));
        for (pod, result) in doomed.iter().zip(join_all(deletes).await) {
            result?;
            let message = format!("Deleted pod: {}", meta::name(pod));
            tell(context, self.caller, key, owner, &self.kind, Event::normal("SuccessfulDelete", &message)).await;
        }
        Ok(())
    }
}

#[async_trait]
impl Controller for Replicas {
    fn name(&self) -> &'static str {
        self.name
    }

    fn resources(&self) -> &'static [(&'static str, &'static str)] {
        self.resources
    }

    fn keys(&self, change: &Change, add: &mut dyn FnMut(&str, &str)) {
        let Some(object) = change.object() else { return };
        if *change.resource == self.what {
            if change.new.is_some() {
                add(&object.namespace, &object.name);
            }
        } else if change.resource.group.is_empty() && change.resource.resource == "pods" {
            let mut owned = false;
            for pod in [&change.old, &change.new].into_iter().flatten() {
                if let Some(owner) = controller_of(pod) {
                    owned = true;
                    if owner.kind == self.kind.kind {
                        add(&pod.namespace, &owner.name);
                    }
                }
            }
            if !owned {
                // An orphan: whoever selects it may adopt it. An empty name asks all of the namespace.
                add(&object.namespace, "");
            }
        }
    }

    async fn reconcile(&self, context: &Context, key: Key<'_>) -> Result<Again, ApiError> {
        if key.name.is_empty() {
            return self.adopt(context, key).await;
        }
        let Some(owner) = context.get(key, &self.what, key.name).await? else { return Ok(None) };
        if deleting(&owner) {
            return Ok(None);
        }
        let pods = claim_pods(context, key, &owner, &self.kind, self.caller, &self.selector(&owner)?).await?;
        let wanted = usize::try_from(int_at(&owner, &["spec", "replicas"]).unwrap_or(1)).unwrap_or(0);
        let plan = plan(&pods, wanted);
        let mut result = Ok(());
        if plan.create > 0 {
            result = self.create_pods(context, key, &owner, plan.create.min(BURST)).await;
        } else if !plan.delete.is_empty() {
            let doomed = plan.delete.iter().take(BURST).map(|&i| &pods[i]).collect();
            result = self.delete_pods(context, key, &owner, doomed).await;
        }
        // Present state, own writes included.
        let Some(owner) = context.get(key, &self.what, key.name).await? else { return Ok(None) };
        let pods = claim_pods(context, key, &owner, &self.kind, self.caller, &self.selector(&owner)?).await?;
        let (status, again) = status(&owner, &pods, context, result.as_ref().err(), plan.create > 0);
        context.update_status(self.caller, key, &self.what, owner, status).await?;
        result.map(|()| again)
    }
}

impl Replicas {
    /// Looks at all owners of a namespace in which there is a pod without one.
    async fn adopt(&self, context: &Context, key: Key<'_>) -> Result<Again, ApiError> {
        for owner in context.list(key, &self.what).await? {
            let value = owner.to_value()?;
            if !owner.stored.deleting() {
                claim_pods(context, key, &value, &self.kind, self.caller, &self.selector(&value)?).await?;
            }
        }
        Ok(None)
    }
}

fn plan(pods: &[Value], wanted: usize) -> Plan {
    let active: Vec<usize> = (0..pods.len()).filter(|&i| pods::active(&pods[i])).collect();
    if active.len() <= wanted {
        return Plan { create: wanted - active.len(), delete: Vec::new() };
    }
    let mut on_node: HashMap<&str, usize> = HashMap::new();
    for &i in &active {
        *on_node.entry(str_at(&pods[i], &["spec", "nodeName"])).or_default() += 1;
    }
    let mut ranked = active.clone();
    ranked.sort_by_key(|&i| pods::deletion_rank(&pods[i], on_node[str_at(&pods[i], &["spec", "nodeName"])]));
    ranked.truncate(active.len() - wanted);
    Plan { create: 0, delete: ranked }
}

fn status(
    owner: &Value,
    pods: &[Value],
    context: &Context,
    failure: Option<&ApiError>,
    creating: bool,
) -> (Value, Again) {
    let template = at(owner, &["spec", "template"]).cloned().unwrap_or_default();
    let min_ready = int_at(owner, &["spec", "minReadySeconds"]).unwrap_or(0);
    let (mut replicas, mut labelled, mut ready, mut available, mut soon) = (0, 0, 0, 0, None::<i64>);
    for pod in pods.iter().filter(|p| pods::active(p)) {
        replicas += 1;
        labelled += u32::from(pods::fully_labelled(pod, &template));
        match pods::seconds_to_available(pod, min_ready, context.now()) {
            None => {}
            Some(0) => {
                ready += 1;
                available += 1;
            }
            Some(wait) => {
                ready += 1;
                soon = Some(soon.map_or(wait, |s| s.min(wait)));
            }
        }
    }
    let mut status = Map::new();
    let mut count = |key: &str, n: u32| {
        if n > 0 || key == "replicas" {
            status.insert(key.to_owned(), json!(n));
        }
    };
    count("replicas", replicas);
    count("fullyLabeledReplicas", labelled);
    count("readyReplicas", ready);
    count("availableReplicas", available);
    let terminating = pods.iter().filter(|p| deleting(p) && !pods::finished(p)).count();
    if at(owner, &["kind"]).and_then(Value::as_str) == Some("ReplicaSet") {
        status.insert("terminatingReplicas".to_owned(), json!(terminating));
    }
    if let Some(generation) = int_at(owner, &["metadata", "generation"]) {
        status.insert("observedGeneration".to_owned(), json!(generation));
    }
    let mut conditions = list_at(owner, &["status", "conditions"]).to_vec();
    conditions.retain(|c| str_at(c, &["type"]) != "ReplicaFailure");
    if let Some(error) = failure {
        let reason = if creating { "FailedCreate" } else { "FailedDelete" };
        let mut old = list_at(owner, &["status", "conditions"]).to_vec();
        set_condition(
            &mut old,
            json!({"type": "ReplicaFailure", "status": "True", "reason": reason, "message": error.message}),
            &context.now_text(),
        );
        conditions = old;
    }
    if !conditions.is_empty() {
        status.insert("conditions".to_owned(), Value::Array(conditions));
    }
    (Value::Object(status), soon.map(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, phase: &str, node: &str) -> Value {
        json!({"metadata": {"name": name}, "spec": {"nodeName": node}, "status": {"phase": phase}})
    }

    #[test]
    fn pods_that_lack_are_made_and_finished_ones_do_not_count() {
        let pods = [pod("a", "Running", "n"), pod("b", "Failed", "n")];
        assert_eq!(plan(&pods, 3), Plan { create: 2, delete: Vec::new() });
        assert_eq!(plan(&pods, 1), Plan::default());
    }

    #[test]
    fn of_pods_that_are_too_many_the_unscheduled_and_the_doubled_on_a_node_go_first() {
        let pods =
            [pod("a", "Running", "n1"), pod("b", "Running", "n2"), pod("c", "Running", "n2"), pod("d", "Pending", "")];
        assert_eq!(plan(&pods, 3).delete, [3]);
        let two = plan(&pods, 2).delete;
        assert!(two[0] == 3 && (two[1] == 1 || two[1] == 2), "{two:?}");
    }
}
