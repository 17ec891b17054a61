//! `pods/eviction`: a deletion that disruption budgets may hold up.
//!
//! Source: `k8s.io/kubernetes/pkg/registry/core/pod/storage/eviction.go`.

use apimachinery::gvk::GroupResource;
use apimachinery::meta;
use apimachinery::selector::LabelSelector;
use apimachinery::status::ApiError;
use serde_json::{Value, json};

use crate::registry::{Call, DeleteOptions, Registry, store_error};
use crate::status;

/// Evicts a pod.
pub(super) async fn post(registry: &Registry, call: &Call, eviction: Value) -> Result<(u16, Value), ApiError> {
    let name = meta::name(&eviction);
    if !name.is_empty() && name != call.name {
        return Err(ApiError::bad_request("name in URL does not match name in Eviction object"));
    }
    let mut options = match eviction.get("deleteOptions") {
        Some(object) => DeleteOptions::from_object(object)?,
        None => DeleteOptions::default(),
    };
    options.dry_run |= call.dry_run;
    let mut on = Call::new(call.tenant, call.user.clone(), call.resource.clone(), call.now);
    on.namespace = call.namespace.clone();
    on.name = call.name.clone();
    on.dry_run = options.dry_run;
    let pod = registry.get(&on).await?.to_value()?;
    if !is_over(&pod) {
        budget(registry, call, &pod, options.dry_run).await?;
    }
    if !options.dry_run {
        let now = call.now_text();
        registry.modify_unchecked(&on, None, &|pod: &mut Value| mark(pod, &now)).await?;
    }
    registry.delete(&on, &options).await?;
    Ok((201, status::success(201)))
}

/// Pods that no longer, or not yet, run are evicted whatever budgets say.
fn is_over(pod: &Value) -> bool {
    matches!(meta::str_at(pod, &["status", "phase"]), "Succeeded" | "Failed" | "Pending")
        || pod["metadata"].get("deletionTimestamp").is_some()
}

/// Says in the pod's status why it goes.
fn mark(pod: &mut Value, now: &str) -> Result<(), ApiError> {
    let condition = json!({
        "type": "DisruptionTarget", "status": "True", "lastProbeTime": null, "lastTransitionTime": now,
        "reason": "EvictionByEvictionAPI", "message": "Eviction API: evicting",
    });
    super::pods::set_condition(pod, condition);
    Ok(())
}

/// Asks the budget of a pod, and takes one disruption from it.
async fn budget(registry: &Registry, call: &Call, pod: &Value, dry_run: bool) -> Result<(), ApiError> {
    let resource = GroupResource::new("policy", "poddisruptionbudgets");
    let Some(budgets) = registry.catalog().find_stored(call.tenant, &resource) else { return Ok(()) };
    let mut on = Call::new(call.tenant, call.user.clone(), budgets, call.now);
    on.namespace = call.namespace.clone();
    on.subresource = "status".to_owned();
    on.manager = "kube-apiserver".to_owned();
    on.dry_run = dry_run;
    let collection = crate::registry::place::collection(call.tenant, &resource);
    let query = store::RangeQuery { prefix: format!("{}/", call.namespace).into(), ..store::RangeQuery::default() };
    let range = registry.store().range(&collection, query).await.map_err(store_error)?;
    let mut matching = Vec::new();
    for record in range.records {
        let stored = apimachinery::envelope::Stored::from_bytes(record.value).map_err(ApiError::internal)?;
        let budget: Value = serde_json::from_slice(stored.body()).map_err(ApiError::internal)?;
        let selector = meta::at(&budget, &["spec", "selector"]).cloned().unwrap_or(Value::Null);
        let selects = LabelSelector::from_object(&selector).is_ok_and(|s| s.matches_object(pod));
        if selects {
            matching.push(meta::name(&budget).to_owned());
        }
    }
    match matching.as_slice() {
        [] => Ok(()),
        [only] => {
            on.name = only.clone();
            take(registry, call, &on, pod).await
        }
        _ => Err(ApiError::new(
            500,
            "InternalError",
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
        )),
    }
}

async fn take(registry: &Registry, call: &Call, on: &Call, pod: &Value) -> Result<(), ApiError> {
    let name = meta::name(pod).to_owned();
    let now = call.now_text();
    let ready =
        meta::list_at(pod, &["status", "conditions"]).iter().any(|c| c["type"] == "Ready" && c["status"] == "True");
    let change = |budget: &mut Value| {
        let number = |key: &str| meta::at(budget, &["status", key]).and_then(Value::as_i64).unwrap_or(0);
        let always = meta::str_at(budget, &["spec", "unhealthyPodEvictionPolicy"]) == "AlwaysAllow";
        let enough = number("currentHealthy") >= number("desiredHealthy") && number("desiredHealthy") > 0;
        if !ready && (always || enough) {
            return Ok(());
        }
        let generation = budget["metadata"]["generation"].as_i64().unwrap_or(0);
        if number("observedGeneration") < generation {
            let mut error =
                ApiError::too_many_requests("Cannot evict pod as it would violate the pod's disruption budget.", 10);
            error
                .causes
                .push(cause(format!("The disruption budget {} is still being processed by the server.", on.name)));
            return Err(error);
        }
        if number("disruptionsAllowed") <= 0 {
            let mut error =
                ApiError::too_many_requests("Cannot evict pod as it would violate the pod's disruption budget.", 0);
            error.retry_after = None;
            error.causes.push(cause(format!(
                "The disruption budget {} needs {} healthy pods and has {} currently",
                on.name,
                number("desiredHealthy"),
                number("currentHealthy")
            )));
            return Err(error);
        }
        let left = number("disruptionsAllowed") - 1;
        budget["status"]["disruptionsAllowed"] = json!(left);
        budget["status"]["disruptedPods"][name.as_str()] = json!(now);
        Ok(())
    };
    registry.modify_unchecked(on, None, &change).await.map(|_| ())
}

fn cause(message: String) -> apimachinery::status::Cause {
    apimachinery::status::Cause { reason: "DisruptionBudget".to_owned(), message, field: String::new() }
}
