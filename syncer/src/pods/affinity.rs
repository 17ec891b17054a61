//! Affinities and spread: selectors that look beyond the pod's own namespace must stay inside the tenant.

use apimachinery::meta::{self, list_at};
use serde_json::{Map, Value, json};

use super::translate::PodContext;
use crate::marks;
use crate::names;

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// Completes the copies of `affinity` and `topologySpreadConstraints` in `spec`.
pub(super) fn affinity_translate(original: &Value, spec: &mut Value, context: &PodContext<'_>) {
    for kind in ["podAffinity", "podAntiAffinity"] {
        for (list, inner) in [(REQUIRED, None), (PREFERRED, Some("podAffinityTerm"))] {
            let sources = list_at(original, &["affinity", kind, list]);
            let targets = spec.get_mut("affinity").and_then(|a| a.get_mut(kind)).and_then(|k| k.get_mut(list));
            let Some(targets) = targets.and_then(Value::as_array_mut) else { continue };
            for (source, target) in sources.iter().zip(targets) {
                match inner {
                    None => term_translate(source, target, context),
                    Some(inner) => term_translate(&source[inner], &mut target[inner], context),
                }
            }
        }
    }
    let constraints = list_at(original, &["topologySpreadConstraints"]);
    if let Some(targets) = spec.get_mut("topologySpreadConstraints").and_then(Value::as_array_mut) {
        for (source, target) in constraints.iter().zip(targets) {
            label_keys(source, target);
        }
    }
}

/// Requires a node by name, as a tenant's own `nodeName` does, but so that the host's scheduler still looks at it.
pub(super) fn node_require(spec: &mut Value, node: &str) {
    let field = json!({"key": "metadata.name", "operator": "In", "values": [node]});
    let required = &mut spec["affinity"]["nodeAffinity"][REQUIRED];
    match required.get_mut("nodeSelectorTerms").and_then(Value::as_array_mut) {
        Some(terms) => {
            for term in terms {
                match term.get_mut("matchFields").and_then(Value::as_array_mut) {
                    Some(fields) => fields.push(field.clone()),
                    None => term["matchFields"] = json!([field]),
                }
            }
        }
        None => *required = json!({"nodeSelectorTerms": [{"matchFields": [field]}]}),
    }
}

fn term_translate(source: &Value, target: &mut Value, context: &PodContext<'_>) {
    let host = |namespace: &Value| {
        let namespace = namespace.as_str().unwrap_or_default();
        json!(names::host_namespace(context.tenant, &context.settings.name, namespace))
    };
    let namespaces = list_at(source, &["namespaces"]);
    if !namespaces.is_empty() {
        target["namespaces"] = namespaces.iter().map(host).collect();
    }
    if source["namespaceSelector"].is_object() {
        target["namespaceSelector"] = namespace_selector(&source["namespaceSelector"], context);
    }
    label_keys(source, target);
}

/// A selector of the tenant's namespaces as one of host namespaces: the copies of their labels, within the tenant.
pub(crate) fn namespace_selector(selector: &Value, context: &PodContext<'_>) -> Value {
    let mut labels: Map<String, Value> = meta::at(selector, &["matchLabels"])
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(key, value)| (names::namespace_label(key), value.clone()))
        .collect();
    labels.insert(marks::TENANT.to_owned(), json!(context.tenant.to_string()));
    let mut out = json!({"matchLabels": labels});
    let expressions = list_at(selector, &["matchExpressions"]);
    if !expressions.is_empty() {
        out["matchExpressions"] = expressions
            .iter()
            .map(|e| {
                let key = names::namespace_label(e["key"].as_str().unwrap_or_default());
                let mut expression = json!({"key": key, "operator": e["operator"]});
                if e["values"].is_array() {
                    expression["values"] = e["values"].clone();
                }
                expression
            })
            .collect();
    }
    out
}

/// `matchLabelKeys` that the tenant's API merged into the selector must not be merged again.
fn label_keys(source: &Value, target: &mut Value) {
    let merged = list_at(source, &["labelSelector", "matchExpressions"]);
    let keys: Vec<Value> = list_at(source, &["matchLabelKeys"])
        .iter()
        .filter(|key| !merged.iter().any(|e| e["key"] == **key && e["operator"] == "In"))
        .cloned()
        .collect();
    if !keys.is_empty() {
        target["matchLabelKeys"] = Value::Array(keys);
    }
}
