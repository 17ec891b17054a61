//! Pods get the overhead and the scheduling of their runtime class.
//!
//! Source: KEP-688; `k8s.io/kubernetes/plugin/pkg/admission/runtimeclass`.

use apimachinery::gvk::GroupResource;
use apimachinery::meta::{self, list_at, str_at};
use apimachinery::quantity::Quantity;
use apimachinery::status::ApiError;
use async_trait::async_trait;
use serde_json::{Map, Value};

use super::{Admission, Operation, Request};

pub(super) struct RuntimeClass;

#[async_trait]
impl Admission for RuntimeClass {
    fn name(&self) -> &'static str {
        "RuntimeClass"
    }

    async fn mutate(&self, request: &mut Request<'_>) -> Result<(), ApiError> {
        let Some(class) = class(request).await? else { return Ok(()) };
        let Some(pod) = request.object.as_mut() else { return Ok(()) };
        class_apply(pod, &class).map_err(|why| refusal(pod, &why))
    }

    async fn validate(&self, request: &Request<'_>) -> Result<(), ApiError> {
        if request.operation != Operation::Create || !request.is_for("", "pods", "") {
            return Ok(());
        }
        let class = class(request).await?;
        let Some(pod) = &request.object else { return Ok(()) };
        let fixed = class.as_ref().and_then(|c| c.get("overhead")).map(|o| &o["podFixed"]);
        match (fixed, pod["spec"].get("overhead")) {
            (Some(fixed), overhead) if !same_quantities(fixed, overhead.unwrap_or(&Value::Null)) => {
                Err(refusal(pod, OTHER_OVERHEAD))
            }
            (None, Some(_)) => {
                let why = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead";
                Err(refusal(pod, why))
            }
            _ => Ok(()),
        }
    }
}

const OTHER_OVERHEAD: &str = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";

fn refusal(pod: &Value, why: &str) -> ApiError {
    ApiError::forbidden(&GroupResource::new("", "pods"), meta::name(pod), why)
}

/// The runtime class that a new pod names.
async fn class(request: &Request<'_>) -> Result<Option<Value>, ApiError> {
    if request.operation != Operation::Create || !request.is_for("", "pods", "") {
        return Ok(None);
    }
    let Some(pod) = &request.object else { return Ok(None) };
    let Some(name) = pod["spec"].get("runtimeClassName").and_then(Value::as_str) else { return Ok(None) };
    let classes = GroupResource::new("node.k8s.io", "runtimeclasses");
    match request.registry.object(request.call.tenant, &classes, "", name).await? {
        Some(class) => class.to_value().map(Some),
        None => Err(refusal(pod, &format!("pod rejected: RuntimeClass {name:?} not found"))),
    }
}

/// Puts into a pod what its class says, or tells why both cannot hold.
fn class_apply(pod: &mut Value, class: &Value) -> Result<(), String> {
    if let Some(overhead) = class.get("overhead") {
        let fixed = &overhead["podFixed"];
        let given = &pod["spec"]["overhead"];
        if given.as_object().is_some_and(|o| !o.is_empty()) && !same_quantities(fixed, given) {
            return Err(OTHER_OVERHEAD.to_owned());
        }
        pod["spec"]["overhead"] = fixed.clone();
    }
    let scheduling = &class["scheduling"];
    if let Some(wanted) = scheduling["nodeSelector"].as_object() {
        let mut selector = pod["spec"]["nodeSelector"].as_object().cloned().unwrap_or_else(Map::new);
        for (key, value) in wanted {
            let (value, given) = (value.as_str().unwrap_or(""), selector.get(key).and_then(Value::as_str));
            if let Some(given) = given.filter(|g| *g != value) {
                return Err(format!(
                    "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value}; pod.spec.nodeSelector[{key}] = {given}"
                ));
            }
            selector.insert(key.clone(), value.into());
        }
        pod["spec"]["nodeSelector"] = Value::Object(selector);
    }
    let added = list_at(scheduling, &["tolerations"]);
    if !added.is_empty() {
        let all: Vec<Value> = list_at(&pod["spec"], &["tolerations"]).iter().chain(added).cloned().collect();
        pod["spec"]["tolerations"] = Value::Array(tolerations_without_covered(&all));
    }
    Ok(())
}

fn same_quantities(a: &Value, b: &Value) -> bool {
    let parsed = |v: &Value| -> Option<Vec<(String, Quantity)>> {
        let entries = v.as_object().into_iter().flatten();
        entries.map(|(k, v)| Some((k.clone(), Quantity::parse(v.as_str()?).ok()?))).collect()
    };
    match (parsed(a), parsed(b)) {
        (Some(a), Some(b)) => a.len() == b.len() && a.iter().all(|x| b.contains(x)),
        _ => false,
    }
}

/// The tolerations without those that another one covers. Of equal ones the first stays.
fn tolerations_without_covered(all: &[Value]) -> Vec<Value> {
    let mut kept: Vec<Value> = Vec::new();
    for (i, one) in all.iter().enumerate() {
        let later = all.iter().skip(i + 1).any(|other| other != one && covers(other, one));
        if !later && !kept.iter().any(|other| covers(other, one)) {
            kept.push(one.clone());
        }
    }
    kept
}

/// Whether whatever `narrow` tolerates, `wide` tolerates too.
fn covers(wide: &Value, narrow: &Value) -> bool {
    let text = |t: &Value, field: &str| str_at(t, &[field]).to_owned();
    let exists = text(wide, "operator") == "Exists";
    let any_key = text(wide, "key").is_empty() && exists;
    let any_effect = text(wide, "effect").is_empty();
    let outlasts = match (wide["tolerationSeconds"].as_i64(), narrow["tolerationSeconds"].as_i64()) {
        (None, _) => true,
        (Some(wide), Some(narrow)) => narrow <= wide,
        (Some(_), None) => false,
    };
    wide == narrow
        || ((any_key || text(wide, "key") == text(narrow, "key"))
            && (any_effect || text(wide, "effect") == text(narrow, "effect"))
            && (text(wide, "effect") != "NoExecute" || outlasts)
            && (exists || (text(narrow, "operator") == "Equal" && text(wide, "value") == text(narrow, "value"))))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_class_adds_to_a_pod_what_its_nodes_need() {
        let class = json!({"overhead": {"podFixed": {"cpu": "10m"}}, "scheduling": {
            "nodeSelector": {"kind": "vm"}, "tolerations": [{"key": "vm", "operator": "Exists"}]}});
        let mut pod = json!({"spec": {"nodeSelector": {"zone": "a"}, "tolerations": [
            {"key": "vm", "operator": "Equal", "value": "x", "effect": "NoSchedule"}, {"key": "other", "operator": "Exists"}]}});
        class_apply(&mut pod, &class).unwrap();
        assert_eq!(
            pod["spec"],
            json!({"overhead": {"cpu": "10m"}, "nodeSelector": {"kind": "vm", "zone": "a"},
                "tolerations": [{"key": "other", "operator": "Exists"}, {"key": "vm", "operator": "Exists"}]})
        );
        class_apply(&mut pod, &class).unwrap();
        pod["spec"]["nodeSelector"]["kind"] = json!("metal");
        assert!(
            class_apply(&mut pod, &class)
                .unwrap_err()
                .starts_with("conflict: runtimeClass.scheduling.nodeSelector[kind]")
        );
        pod["spec"]["overhead"]["cpu"] = json!("0.01");
        assert!(same_quantities(&pod["spec"]["overhead"], &class["overhead"]["podFixed"]));
    }
}
