//! Pods get the priority of their priority class.
//!
//! Source: `k8s.io/kubernetes/plugin/pkg/admission/priority`.

use apimachinery::gvk::GroupResource;
use apimachinery::meta;
use apimachinery::status::ApiError;
use async_trait::async_trait;
use serde_json::{Value, json};

use super::{Admission, Operation, Request};

pub(super) struct Priority;

fn classes() -> GroupResource {
    GroupResource::new("scheduling.k8s.io", "priorityclasses")
}

#[async_trait]
impl Admission for Priority {
    fn name(&self) -> &'static str {
        "Priority"
    }

    async fn mutate(&self, request: &mut Request<'_>) -> Result<(), ApiError> {
        if !request.is_for("", "pods", "") {
            return Ok(());
        }
        match (request.operation, request.old) {
            (Operation::Create, _) => {}
            (Operation::Update, Some(old)) => {
                if let Some(pod) = request.object.as_mut() {
                    keep(pod, old);
                }
                return Ok(());
            }
            _ => return Ok(()),
        }
        let named = request.object.as_ref().map(|p| meta::str_at(p, &["spec", "priorityClassName"]).to_owned());
        let class = class(request, &named.unwrap_or_default()).await?;
        let Some(pod) = request.object.as_mut() else { return Ok(()) };
        let priority = class.as_ref().and_then(|c| c.get("value")).and_then(Value::as_i64).unwrap_or(0);
        let policy = match &class {
            Some(class) => meta::str_at(class, &["preemptionPolicy"]).to_owned(),
            None => "PreemptLowerPriority".to_owned(),
        };
        let refuse =
            |pod: &Value, why: String| Err(ApiError::forbidden(&GroupResource::new("", "pods"), meta::name(pod), &why));
        if let Some(given) = pod["spec"].get("priority").and_then(Value::as_i64).filter(|g| *g != priority) {
            return refuse(
                pod,
                format!(
                    "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller computed {priority} from the given PriorityClass name"
                ),
            );
        }
        let given = meta::str_at(pod, &["spec", "preemptionPolicy"]).to_owned();
        if !policy.is_empty() && !given.is_empty() && given != policy {
            return refuse(
                pod,
                format!(
                    "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission controller computed {policy} from the given PriorityClass name"
                ),
            );
        }
        pod["spec"]["priority"] = json!(priority);
        if !policy.is_empty() {
            pod["spec"]["preemptionPolicy"] = json!(policy);
        }
        if let Some(class) = &class {
            pod["spec"]["priorityClassName"] = json!(meta::name(class));
        }
        Ok(())
    }

    async fn validate(&self, request: &Request<'_>) -> Result<(), ApiError> {
        let writes = matches!(request.operation, Operation::Create | Operation::Update);
        if !writes || !request.is_for("scheduling.k8s.io", "priorityclasses", "") {
            return Ok(());
        }
        let Some(class) = request.object.as_ref().filter(|c| c["globalDefault"] == true) else { return Ok(()) };
        match default_class(request).await? {
            Some(other) if request.operation == Operation::Create || meta::name(&other) != meta::name(class) => {
                let why = format!(
                    "PriorityClass {} is already marked as default. Only one default can exist",
                    meta::name(&other)
                );
                Err(ApiError::forbidden(&classes(), meta::name(class), &why))
            }
            _ => Ok(()),
        }
    }
}

/// Values that were set by us on create stay when a client leaves them out.
fn keep(pod: &mut Value, old: &Value) {
    for key in ["priority", "preemptionPolicy"] {
        if pod["spec"].get(key).is_none()
            && let Some(value) = old["spec"].get(key)
        {
            pod["spec"][key] = value.clone();
        }
    }
}

async fn class(request: &Request<'_>, name: &str) -> Result<Option<Value>, ApiError> {
    if name.is_empty() {
        return default_class(request).await;
    }
    match request.registry.object(request.call.tenant, &classes(), "", name).await? {
        Some(class) => class.to_value().map(Some),
        None => Err(ApiError::forbidden(
            &GroupResource::new("", "pods"),
            request.object.as_ref().map(meta::name).unwrap_or_default(),
            &format!("no PriorityClass with name {name} was found"),
        )),
    }
}

/// The class that is marked as default; of more than one, that of the lowest value.
async fn default_class(request: &Request<'_>) -> Result<Option<Value>, ApiError> {
    let mut found: Option<Value> = None;
    let value = |class: &Value| class["value"].as_i64().unwrap_or(0);
    for class in request.registry.objects(request.call.tenant, &classes(), "").await? {
        let class = class.to_value()?;
        if class["globalDefault"] == true && found.as_ref().is_none_or(|f| value(f) > value(&class)) {
            found = Some(class);
        }
    }
    Ok(found)
}
