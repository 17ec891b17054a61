//! `pods/eviction`: a deletion that disruption budgets may hold up.
//!
//! Source: `k8s.io/kubernetes/pkg/registry/core/pod/storage/eviction.go`.

use apimachinery::field::{Errors, Path};
use apimachinery::gvk::{GroupResource, GroupVersionKind};
use apimachinery::meta::{self, at, list_at, str_at};
use apimachinery::selector::LabelSelector;
use apimachinery::status::ApiError;
use serde_json::{Value, json};

use crate::registry::{Call, DeleteOptions, Registry, check_preconditions};
use crate::status;

/// How often an eviction is tried again when someone writes in between.
const ATTEMPTS: usize = 20;
/// Granted evictions that a budget holds in memory until they show.
const DISRUPTED_MAX: usize = 2000;
const VIOLATES: &str = "Cannot evict pod as it would violate the pod's disruption budget.";
const BREAKING: &str = "ignoreStoreReadErrorWithClusterBreakingPotential";

/// Evicts a pod.
pub(super) async fn post(registry: &Registry, call: &Call, eviction: Value) -> Result<(u16, Value), ApiError> {
    if meta::name(&eviction) != call.name {
        return Err(ApiError::bad_request("name in URL does not match name in Eviction object"));
    }
    let mut options = match eviction.get("deleteOptions") {
        Some(object) => DeleteOptions::from_object(object)?,
        None => DeleteOptions::default(),
    };
    if at(&eviction, &["deleteOptions", BREAKING]) == Some(&Value::Bool(true)) {
        return Err(breaking(&call.name));
    }
    options.dry_run |= call.dry_run;
    let mut on = Call::new(call.tenant, call.user.clone(), call.resource.clone(), call.now);
    on.namespace = call.namespace.clone();
    on.name = call.name.clone();
    on.dry_run = options.dry_run;
    for _ in 0..ATTEMPTS {
        let pod = registry.get(&on).await?.to_value()?;
        if !is_over(&pod) {
            return guarded(registry, &on, &pod, &options).await.map(|()| (201, status::success(201)));
        }
        // A pod that does not run yet may become ready meanwhile, and then budgets are asked.
        let own_revision = !ended(&pod) && options.resource_version.is_none();
        let mut now = options.clone();
        if own_revision {
            now.resource_version = Some(meta::text(&pod, "resourceVersion").to_owned());
        }
        match evict(registry, &on, &now).await {
            Err(e) if own_revision && e.reason == "Conflict" && uid_holds(&options, &pod) => {}
            result => return result.map(|()| (201, status::success(201))),
        }
    }
    Err(ApiError::modified(&call.resource.group_resource(), &call.name))
}

fn breaking(name: &str) -> ApiError {
    let mut errors = Errors::default();
    let path = Path::new("deleteOptions").child(BREAKING);
    errors.invalid(&path, &json!(true), "can not be set for pod eviction, try after removing the option");
    ApiError::invalid(&GroupVersionKind::new("policy", "v1", "Eviction"), name, &errors)
}

fn uid_holds(options: &DeleteOptions, pod: &Value) -> bool {
    options.uid.as_deref().is_none_or(|uid| uid == meta::uid(pod))
}

/// Pods that no longer, or not yet, run are evicted whatever budgets say.
fn is_over(pod: &Value) -> bool {
    ended(pod) || str_at(pod, &["status", "phase"]) == "Pending"
}

fn ended(pod: &Value) -> bool {
    matches!(str_at(pod, &["status", "phase"]), "Succeeded" | "Failed")
        || at(pod, &["metadata", "deletionTimestamp"]).is_some()
}

/// Evicts a pod that runs, if its budget lets it go.
async fn guarded(registry: &Registry, on: &Call, pod: &Value, options: &DeleteOptions) -> Result<(), ApiError> {
    let unguarded = match budget_of(registry, on, pod).await? {
        None => None,
        Some(budget) if is_spare(pod, &budget) => Some(meta::name(&budget).to_owned()),
        Some(budget) => {
            take(registry, on, meta::name(&budget), meta::name(pod)).await?;
            None
        }
    };
    let mut now = options.clone();
    let own_revision = unguarded.is_some() && options.resource_version.is_none();
    if unguarded.is_some() {
        // It must not have become ready since.
        now.resource_version = Some(meta::text(pod, "resourceVersion").to_owned());
    }
    match (evict(registry, on, &now).await, unguarded) {
        (Err(e), Some(budget)) if own_revision && e.reason == "Conflict" => Err(in_progress(&budget)),
        (result, _) => result,
    }
}

/// Whether a pod does not count for its budget, so that its end takes nothing from it.
fn is_spare(pod: &Value, budget: &Value) -> bool {
    let ready = list_at(pod, &["status", "conditions"]).iter().any(|c| c["type"] == "Ready" && c["status"] == "True");
    let always = str_at(budget, &["spec", "unhealthyPodEvictionPolicy"]) == "AlwaysAllow";
    let (healthy, desired) = (number(budget, "currentHealthy"), number(budget, "desiredHealthy"));
    !ready && (always || (healthy >= desired && desired > 0))
}

/// Says in the pod's status why it goes, and deletes it.
async fn evict(registry: &Registry, on: &Call, options: &DeleteOptions) -> Result<(), ApiError> {
    let mut options = options.clone();
    if !options.dry_run {
        let now = on.now_text();
        let change = |pod: &mut Value| {
            check_preconditions(on, &options, pod)?;
            mark(pod, &now);
            Ok(())
        };
        let marked = registry.modify_unchecked(on, None, &change).await?;
        if options.resource_version.is_some() {
            options.resource_version = Some(meta::text(&marked, "resourceVersion").to_owned());
        }
    }
    registry.delete(on, &options).await.map(|_| ())
}

fn mark(pod: &mut Value, now: &str) {
    let before = list_at(pod, &["status", "conditions"]).iter().find(|c| c["type"] == "DisruptionTarget");
    let since = before.filter(|c| c["status"] == "True").and_then(|c| c.get("lastTransitionTime")).cloned();
    let condition = json!({
        "type": "DisruptionTarget", "status": "True", "lastProbeTime": null,
        "lastTransitionTime": since.unwrap_or_else(|| json!(now)),
        "reason": "EvictionByEvictionAPI", "message": "Eviction API: evicting",
    });
    super::pods::set_condition(pod, condition);
}

/// The budget that selects a pod.
async fn budget_of(registry: &Registry, on: &Call, pod: &Value) -> Result<Option<Value>, ApiError> {
    let mut matching = Vec::new();
    for budget in registry.objects(on.tenant, &budgets(), &on.namespace).await? {
        let budget = budget.to_value()?;
        let selector = at(&budget, &["spec", "selector"]).cloned().unwrap_or(Value::Null);
        if LabelSelector::from_object(&selector).is_ok_and(|s| s.matches_object(pod)) {
            matching.push(budget);
        }
    }
    if matching.len() > 1 {
        let why = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
        return Err(ApiError::new(500, "", why));
    }
    Ok(matching.pop())
}

fn budgets() -> GroupResource {
    GroupResource::new("policy", "poddisruptionbudgets")
}

/// Takes one disruption from a budget.
async fn take(registry: &Registry, on: &Call, budget: &str, pod: &str) -> Result<(), ApiError> {
    let Some(resource) = registry.catalog().find_stored(on.tenant, &budgets()) else { return Ok(()) };
    let mut of = Call::new(on.tenant, on.user.clone(), resource, on.now);
    of.namespace = on.namespace.clone();
    of.name = budget.to_owned();
    of.subresource = "status".to_owned();
    of.dry_run = on.dry_run;
    let now = on.now_text();
    let change = |budget: &mut Value| grant(budget, pod, &now);
    for _ in 0..ATTEMPTS {
        match registry.modify_unchecked(&of, None, &change).await {
            Err(e) if e.reason == "Conflict" => {}
            result => return result.map(|_| ()),
        }
    }
    Err(ApiError::timeout(format!("couldn't update PodDisruptionBudget \"{budget}\" due to conflicts"), 10))
}

fn number(budget: &Value, key: &str) -> i64 {
    at(budget, &["status", key]).and_then(Value::as_i64).unwrap_or(0)
}

/// Writes into a budget that a pod of it goes, or says why it may not.
fn grant(budget: &mut Value, pod: &str, now: &str) -> Result<(), ApiError> {
    let generation = at(budget, &["metadata", "generation"]).and_then(Value::as_i64).unwrap_or(0);
    if number(budget, "observedGeneration") < generation {
        return Err(in_progress(meta::name(budget)));
    }
    let allowed = number(budget, "disruptionsAllowed");
    let granted = at(budget, &["status", "disruptedPods"]).and_then(Value::as_object).map_or(0, serde_json::Map::len);
    let never = |why| {
        let resource = GroupResource::new("policy", "poddisruptionbudget");
        ApiError::forbidden(&resource, meta::name(budget), why)
    };
    if allowed < 0 {
        return Err(never("pdb disruptions allowed is negative"));
    }
    if granted > DISRUPTED_MAX {
        return Err(never("DisruptedPods map too big - too many evictions not confirmed by PDB controller"));
    }
    if allowed == 0 {
        let mut error = ApiError::too_many_requests(VIOLATES, 0);
        error.retry_after = None;
        return Err(error.with_cause("DisruptionBudget", why_not(budget), ""));
    }
    budget["status"]["disruptionsAllowed"] = json!(allowed - 1);
    if allowed == 1 {
        let condition = json!({
            "type": "DisruptionAllowed", "status": "False", "reason": "InsufficientPods", "message": "",
            "observedGeneration": number(budget, "observedGeneration"), "lastTransitionTime": now,
        });
        super::pods::set_condition(budget, condition);
    }
    budget["status"]["disruptedPods"][pod] = json!(now);
    Ok(())
}

/// Why a budget that was counted allows nothing.
fn why_not(budget: &Value) -> String {
    let name = meta::name(budget);
    let (healthy, desired) = (number(budget, "currentHealthy"), number(budget, "desiredHealthy"));
    let mut conditions = list_at(budget, &["status", "conditions"]).iter();
    let condition = conditions.find(|c| c["type"] == "DisruptionAllowed" && c["status"] == "False");
    let (reason, message) = condition.map_or(("", ""), |c| (str_at(c, &["reason"]), str_at(c, &["message"])));
    match (message, reason) {
        // Numbers of a budget that could not be counted tell nothing.
        (message, "SyncFailed") if !message.is_empty() => {
            format!(
                "The disruption budget {name} does not allow evicting pods currently because it failed sync: {message}"
            )
        }
        _ if healthy <= desired => {
            format!("The disruption budget {name} needs {desired} healthy pods and has {healthy} currently")
        }
        ("", _) => format!("The disruption budget {name} does not allow evicting pods currently"),
        (message, reason) => {
            format!("The disruption budget {name} does not allow evicting pods currently ({reason}): {message}")
        }
    }
}

fn in_progress(budget: &str) -> ApiError {
    let why = format!("The disruption budget {budget} is still being processed by the server.");
    ApiError::too_many_requests(VIOLATES, 10).with_cause("DisruptionBudget", why, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(status: Value) -> Value {
        json!({"metadata": {"name": "b", "generation": 1}, "status": status})
    }

    #[test]
    fn a_budget_gives_until_nothing_is_left() {
        let mut b = budget(json!({"observedGeneration": 1, "disruptionsAllowed": 1, "conditions": [
            {"type": "DisruptionAllowed", "status": "True", "reason": "SufficientPods"}]}));
        grant(&mut b, "p", "now").unwrap();
        assert_eq!(b["status"]["disruptedPods"], json!({"p": "now"}));
        assert_eq!(b["status"]["conditions"][0]["reason"], "InsufficientPods");
        assert_eq!(grant(&mut b, "q", "now").unwrap_err().code, 429);
    }

    #[test]
    fn refusals_say_why() {
        let allowed = |message: &str, reason: &str| json!([{"type": "DisruptionAllowed", "status": "False", "reason": reason, "message": message}]);
        for (status, code, text) in [
            (json!({"disruptionsAllowed": 5}), 429, "The disruption budget b is still being processed by the server."),
            (
                json!({"observedGeneration": 1, "desiredHealthy": 3, "currentHealthy": 2}),
                429,
                "The disruption budget b needs 3 healthy pods and has 2 currently",
            ),
            (
                json!({"observedGeneration": 1, "conditions": allowed("no scale", "SyncFailed")}),
                429,
                "The disruption budget b does not allow evicting pods currently because it failed sync: no scale",
            ),
            (
                json!({"observedGeneration": 1, "currentHealthy": 2, "conditions": allowed("why", "Because")}),
                429,
                "The disruption budget b does not allow evicting pods currently (Because): why",
            ),
            (
                json!({"observedGeneration": 1, "currentHealthy": 2}),
                429,
                "The disruption budget b does not allow evicting pods currently",
            ),
        ] {
            let error = grant(&mut budget(status.clone()), "p", "now").unwrap_err();
            assert_eq!((error.code, error.causes[0].message.as_str()), (code, text), "{status}");
        }
        let negative = grant(&mut budget(json!({"observedGeneration": 1, "disruptionsAllowed": -1})), "p", "now");
        assert_eq!(
            negative.unwrap_err().message,
            "poddisruptionbudget.policy \"b\" is forbidden: pdb disruptions allowed is negative"
        );
    }

    #[test]
    fn pods_that_are_not_ready_are_spare_by_policy_or_while_enough_others_are() {
        let pod = json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}});
        let enough = json!({"status": {"currentHealthy": 2, "desiredHealthy": 2}});
        let few = json!({"status": {"currentHealthy": 1, "desiredHealthy": 2}});
        let mut always = few.clone();
        always["spec"]["unhealthyPodEvictionPolicy"] = json!("AlwaysAllow");
        assert!(is_spare(&pod, &enough) && !is_spare(&pod, &few) && is_spare(&pod, &always));
        let ready = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        assert!(!is_spare(&ready, &always));
    }
}
