//! Jobs: pods that run to completion, each counted once.
//!
//! A pod carries a finalizer until it is counted, so one that is deleted in between is counted too. Source of behaviour:
//! KEP-2307 and `k8s.io/kubernetes/pkg/controller/job`.

mod indexes;
mod plan;

use apimachinery::gvk::GroupVersionKind;
use apimachinery::meta::{self, at, list_at, str_at};
use apimachinery::selector::LabelSelector;
use apimachinery::status::ApiError;
use async_trait::async_trait;
use futures::future::join_all;
use serde_json::{Value, json};
use tenant_client::{Caller, Change};

use crate::claim::claim_pods;
use crate::context::{Context, resource};
use crate::controller::{Again, Controller, Key};
use crate::events::{Event, tell};
use crate::object::{controller_of, deleting, seconds};
use crate::pods;
use plan::{End, Plan};

const CALLER: Caller =
    Caller { user: "system:serviceaccount:kube-system:job-controller", manager: "kube-controller-manager" };
/// On pods until they are counted.
const TRACKING: &str = "batch.kubernetes.io/job-tracking";
/// Pods that are made or deleted in one look.
const BURST: usize = 500;

/// Runs jobs. Keys are jobs.
pub(crate) struct Jobs;

#[async_trait]
impl Controller for Jobs {
    fn name(&self) -> &'static str {
        "job"
    }

    fn resources(&self) -> &'static [(&'static str, &'static str)] {
        &[("batch", "jobs")]
    }

    fn keys(&self, change: &Change, add: &mut dyn FnMut(&str, &str)) {
        let Some(object) = change.object() else { return };
        match (change.resource.group.as_str(), change.resource.resource.as_str()) {
            ("batch", "jobs") if change.new.is_some() => add(&object.namespace, &object.name),
            ("", "pods") => {
                if let Some(owner) = controller_of(object).filter(|o| o.kind == "Job") {
                    add(&object.namespace, &owner.name);
                }
            }
            _ => {}
        }
    }

    async fn reconcile(&self, context: &Context, key: Key<'_>) -> Result<Again, ApiError> {
        let jobs = resource("batch", "jobs");
        let Some(job) = context.get(key, &jobs, key.name).await? else { return Ok(None) };
        if let Some(end) = plan::finished_at(&job) {
            self.count(context, key, &job).await?;
            return expire(context, key, &job, end).await;
        }
        if deleting(&job) {
            self.count(context, key, &job).await?;
            return Ok(None);
        }
        let Some(job) = self.count(context, key, &job).await? else { return Ok(None) };
        let pods = self.pods(context, key, &job).await?;
        let plan = Plan::of(&job, &pods, context.now());
        let mut status = plan.status.clone();
        if let Some(end) = &plan.end {
            self.delete(context, key, &job, plan.delete.iter().map(|&i| &pods[i]).collect()).await?;
            let (kind, event) = match end {
                End::Complete => ("Complete", Event::normal("Completed", "Job completed")),
                End::Failed { reason, message } => ("Failed", Event::warning(reason, message)),
            };
            let running = pods.iter().any(|p| !pods::finished(p) && !plan.delete.is_empty());
            let all_gone = !running && status_has_none(&status, "terminating");
            plan::end(&mut status, end, kind, all_gone, &context.now_text());
            if list_at(&status, &["conditions"]).iter().any(|c| str_at(c, &["type"]) == kind) {
                tell(context, CALLER, key, &job, &kind_of(), event).await;
            }
            context.update_status(CALLER, key, &jobs, job, status).await?;
            return Ok(None);
        }
        self.delete(context, key, &job, plan.delete.iter().map(|&i| &pods[i]).collect()).await?;
        let made = self.create(context, key, &job, &plan.create).await;
        if made.is_ok() && !plan.create.is_empty() {
            // The pods that were just made are active; their changes bring the next look.
            let active = status["active"].as_i64().unwrap_or(0) + i64::try_from(plan.create.len()).unwrap_or(0);
            status["active"] = json!(active);
        }
        context.update_status(CALLER, key, &jobs, job, status).await?;
        made?;
        Ok(plan.again.map(seconds))
    }
}

fn kind_of() -> GroupVersionKind {
    GroupVersionKind::new("batch", "v1", "Job")
}

fn status_has_none(status: &Value, key: &str) -> bool {
    status.get(key).and_then(Value::as_i64).unwrap_or(0) == 0
}

impl Jobs {
    async fn pods(&self, context: &Context, key: Key<'_>, job: &Value) -> Result<Vec<Value>, ApiError> {
        let selector = at(job, &["spec", "selector"]).cloned().unwrap_or_default();
        let selector = LabelSelector::from_object(&selector).map_err(ApiError::internal)?;
        claim_pods(context, key, job, &kind_of(), CALLER, &selector).await
    }

    /// Counts pods that have ended: first their uids go into the status, then their finalizers go, then the uids become
    /// numbers. Returns the job as it is then; `None` if it is gone.
    async fn count(&self, context: &Context, key: Key<'_>, job: &Value) -> Result<Option<Value>, ApiError> {
        let jobs = resource("batch", "jobs");
        let what = resource("", "pods");
        let owned = owned_pods(context, key, job).await?;
        let mut current = job.clone();
        let noted = plan::note_ended(&current, &owned);
        if let Some(status) = noted {
            current["status"] = status;
            current = context.update(CALLER, key, &jobs, "status", current).await?;
        }
        let tracked = owned.iter().filter(|p| is_tracked(p) && (pods::finished(p) || deleting(p) || deleting(job)));
        for result in join_all(tracked.map(|pod| untrack(context, key, &what, pod))).await {
            result?;
        }
        if let Some(status) = plan::count_noted(&current) {
            current["status"] = status;
            current = match context.update(CALLER, key, &jobs, "status", current).await {
                Err(error) if error.code == 404 => return Ok(None),
                other => other?,
            };
        }
        Ok(Some(current))
    }

    async fn create(
        &self,
        context: &Context,
        key: Key<'_>,
        job: &Value,
        indexes: &[Option<i64>],
    ) -> Result<(), ApiError> {
        let template = at(job, &["spec", "template"]).cloned().unwrap_or_default();
        let what = resource("", "pods");
        let creates = indexes.iter().take(BURST).map(|index| {
            let mut pod = pods::from_template(&template, job, &kind_of());
            let mut finalizers = list_at(&pod, &["metadata", "finalizers"]).to_vec();
            finalizers.push(json!(TRACKING));
            pod["metadata"]["finalizers"] = Value::Array(finalizers);
            if let Some(index) = index {
                indexes::dress(&mut pod, meta::name(job), *index);
            }
            context.create(CALLER, key, &what, pod)
        });
        let mut failure = None;
        for result in join_all(creates).await {
            match result {
                Ok(pod) => {
                    let message = format!("Created pod: {}", meta::name(&pod));
                    tell(context, CALLER, key, job, &kind_of(), Event::normal("SuccessfulCreate", &message)).await;
                }
                Err(error) => failure = Some(error),
            }
        }
        let Some(error) = failure else { return Ok(()) };
        let message = format!("Error creating: {error}");
        tell(context, CALLER, key, job, &kind_of(), Event::warning("FailedCreate", &message)).await;
        Err(error)
    }

    async fn delete(&self, context: &Context, key: Key<'_>, job: &Value, doomed: Vec<&Value>) -> Result<(), ApiError> {
        let what = resource("", "pods");
        for pod in doomed.into_iter().take(BURST) {
            if is_tracked(pod) {
                untrack(context, key, &what, pod).await?;
            }
            context.delete(CALLER, key, &what, meta::name(pod), meta::uid(pod)).await?;
            let message = format!("Deleted pod: {}", meta::name(pod));
            tell(context, CALLER, key, job, &kind_of(), Event::normal("SuccessfulDelete", &message)).await;
        }
        Ok(())
    }
}

fn is_tracked(pod: &Value) -> bool {
    list_at(pod, &["metadata", "finalizers"]).iter().any(|f| f == TRACKING)
}

async fn owned_pods(context: &Context, key: Key<'_>, job: &Value) -> Result<Vec<Value>, ApiError> {
    let mut owned = Vec::new();
    for pod in context.list(key, &resource("", "pods")).await? {
        if controller_of(&pod).is_some_and(|o| o.uid == meta::uid(job)) {
            owned.push(pod.to_value()?);
        }
    }
    Ok(owned)
}

async fn untrack(
    context: &Context,
    key: Key<'_>,
    what: &apimachinery::gvk::GroupResource,
    pod: &Value,
) -> Result<(), ApiError> {
    let kept: Vec<&Value> = list_at(pod, &["metadata", "finalizers"]).iter().filter(|f| *f != TRACKING).collect();
    let patch = json!({"metadata": {"finalizers": kept, "resourceVersion": meta::text(pod, "resourceVersion")}});
    match context.merge(CALLER, key, what, meta::name(pod), meta::uid(pod), patch).await {
        Err(error) if error.code == 404 => Ok(()),
        other => other,
    }
}

/// Deletes a job that has ended when its time to live is over.
async fn expire(context: &Context, key: Key<'_>, job: &Value, end: jiff::Timestamp) -> Result<Again, ApiError> {
    let Some(ttl) = crate::object::int_at(job, &["spec", "ttlSecondsAfterFinished"]).filter(|_| !deleting(job)) else {
        return Ok(None);
    };
    let left = end.as_second() + ttl - context.now().as_second();
    if left > 0 {
        return Ok(Some(seconds(left)));
    }
    context.delete(CALLER, key, &resource("batch", "jobs"), key.name, meta::uid(job)).await?;
    Ok(None)
}
