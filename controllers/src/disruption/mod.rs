//! Disruption budgets: how many of the pods that a budget selects may be evicted now.
//!
//! `pods/eviction` takes from `status.disruptionsAllowed`; here it is counted. Source of behaviour:
//! `k8s.io/kubernetes/pkg/controller/disruption`.

mod budget;
mod facts;
mod scale;

use apimachinery::gvk::GroupVersionKind;
use apimachinery::meta::{self, at};
use apimachinery::selector::LabelSelector;
use apimachinery::status::ApiError;
use async_trait::async_trait;
use serde_json::{Value, json};
use tenant_client::{Caller, Change};

use crate::context::{Context, resource};
use crate::controller::{Again, Controller, Key};
use crate::events::{Event, tell};
use crate::object::{int_at, seconds};
use budget::{Count, Expected};
use scale::Scales;

const CALLER: Caller =
    Caller { user: "system:serviceaccount:kube-system:disruption-controller", manager: "kube-controller-manager" };
/// Before the name of a pod in a key's name. No budget has it in its name.
const POD: &str = "pod|";

/// Counts disruptions. Keys are budgets; one without a name is all of a namespace, `pod|name` is a pod whose condition
/// says that it is about to go.
pub(crate) struct Disruption;

#[async_trait]
impl Controller for Disruption {
    fn name(&self) -> &'static str {
        "disruption"
    }

    fn resources(&self) -> &'static [(&'static str, &'static str)] {
        &[("policy", "poddisruptionbudgets")]
    }

    fn keys(&self, change: &Change, add: &mut dyn FnMut(&str, &str)) {
        let Some(object) = change.object() else { return };
        match (change.resource.group.as_str(), change.resource.resource.as_str()) {
            ("policy", "poddisruptionbudgets") if change.new.is_some() => add(&object.namespace, &object.name),
            ("", "pods") => {
                let seen = facts::seen(change);
                if seen.counts {
                    add(&object.namespace, "");
                }
                if seen.doomed {
                    add(&object.namespace, &format!("{POD}{}", object.name));
                }
            }
            _ => {}
        }
    }

    async fn reconcile(&self, context: &Context, key: Key<'_>) -> Result<Again, ApiError> {
        if let Some(name) = key.name.strip_prefix(POD) {
            return facts::reprieve(context, Key { name, ..key }).await;
        }
        let budgets = resource("policy", "poddisruptionbudgets");
        if !key.name.is_empty() {
            let Some(budget) = context.get(key, &budgets, key.name).await? else { return Ok(None) };
            return sync(context, key, budget, &Scales::default()).await;
        }
        let scales = Scales::default();
        let mut again: Again = None;
        for budget in context.list(key, &budgets).await? {
            let key = Key { name: &budget.name, ..key };
            let next = sync(context, key, budget.to_value()?, &scales).await?;
            again = again.into_iter().chain(next).min();
        }
        Ok(again)
    }
}

fn kind() -> GroupVersionKind {
    GroupVersionKind::new("policy", "v1", "PodDisruptionBudget")
}

/// Why a budget cannot be counted.
#[derive(Debug)]
enum Failure {
    /// The API did not answer.
    Api(ApiError),
    /// The budget, or what it selects, allows no count: told in its status until something changes.
    Spec(String),
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self::Api(error)
    }
}

async fn sync(context: &Context, key: Key<'_>, budget: Value, scales: &Scales) -> Result<Again, ApiError> {
    let budgets = resource("policy", "poddisruptionbudgets");
    let now = context.now();
    let (status, again, result) = match count(context, key, &budget, scales).await {
        Ok(count) => {
            let again = count.recheck.map(|at| seconds(at.as_second() - now.as_second() + 1));
            (budget::status(&budget, &count, &context.now_text()), again, Ok(()))
        }
        Err(Failure::Spec(message)) => (budget::failed(&budget, &message, &context.now_text()), None, Ok(())),
        // Nobody may be evicted while the count may be wrong.
        Err(Failure::Api(error)) => (budget::failed(&budget, &error.message, &context.now_text()), None, Err(error)),
    };
    if let Some(message) = budget::news(&budget, &status) {
        let event = Event::warning("CalculateExpectedPodCountFailed", &message);
        tell(context, CALLER, key, &budget, &kind(), event).await;
    }
    context.update_status(CALLER, key, &budgets, budget, status).await?;
    result.map(|()| again)
}

async fn count(context: &Context, key: Key<'_>, budget: &Value, scales: &Scales) -> Result<Count, Failure> {
    let selector = at(budget, &["spec", "selector"]).cloned().unwrap_or_default();
    let selector = LabelSelector::from_object(&selector).map_err(|e| Failure::Spec(e.to_string()))?;
    let mut pods = Vec::new();
    for pod in context.list(key, &resource("", "pods")).await? {
        if selector.matches_stored(&pod.stored) {
            pods.push(pod);
        }
    }
    let expected = match budget::expected(budget) {
        Expected::Pods => pods.len(),
        Expected::Scale => {
            let scale = scales.expected(context, key, &pods).await?;
            if scale.unmanaged
                && int_at(budget, &["status", "observedGeneration"]) != int_at(budget, &["metadata", "generation"])
            {
                unmanaged(context, key, budget).await;
            }
            scale.sum
        }
    };
    let expected = i32::try_from(expected).unwrap_or(i32::MAX);
    let pods: Vec<facts::Pod> = pods.iter().map(facts::read).collect();
    budget::count(budget, expected, &pods, context.now()).map_err(Failure::Spec)
}

/// Said once for each generation of a budget.
async fn unmanaged(context: &Context, key: Key<'_>, budget: &Value) {
    let message = format!(
        "Budget {} selects pods that no controller keeps: they have no scale, so percentages and maxUnavailable do not \
         count them. Set spec.minAvailable to a number to count them.",
        meta::name(budget)
    );
    tell(context, CALLER, key, budget, &kind(), Event::warning("UnmanagedPods", &message)).await;
}

/// The condition of a budget that says whether pods may go.
fn allowed_condition(allowed: bool, generation: Option<i64>) -> Value {
    let (status, reason) = if allowed { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
    condition(status, reason, "", generation)
}

fn condition(status: &str, reason: &str, message: &str, generation: Option<i64>) -> Value {
    let mut condition = json!({"type": "DisruptionAllowed", "status": status, "reason": reason, "message": message});
    if let Some(generation) = generation.filter(|g| *g > 0) {
        condition["observedGeneration"] = json!(generation);
    }
    condition
}
