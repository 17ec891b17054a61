//! Group `admissionregistration.k8s.io`.

use serde_json::Value;

use super::cells::{Cells, cells};
use crate::meta::{list_at, str_at};

pub(super) fn row(kind: &str, o: &Cells<'_>) -> Option<Vec<Value>> {
    Some(match kind {
        "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration" => {
            cells![o.name(), o.count(&["webhooks"]), o.age()]
        }
        "ValidatingAdmissionPolicy" => cells![o.name(), o.count(&["spec", "validations"]), param_kind(o), o.age()],
        "MutatingAdmissionPolicy" => cells![o.name(), o.count(&["spec", "mutations"]), param_kind(o), o.age()],
        "ValidatingAdmissionPolicyBinding" | "MutatingAdmissionPolicyBinding" => {
            cells![o.name(), o.text(&["spec", "policyName"]), param(o), o.age()]
        }
        _ => return None,
    })
}

fn param_kind(o: &Cells<'_>) -> String {
    match o.at(&["spec", "paramKind"]) {
        Some(kind) => format!("{}/{}", str_at(kind, &["apiVersion"]), str_at(kind, &["kind"])),
        None => "<unset>".to_owned(),
    }
}

fn param(o: &Cells<'_>) -> String {
    let Some(param) = o.at(&["spec", "paramRef"]) else {
        return "<unset>".to_owned();
    };
    let (namespace, name) = (str_at(param, &["namespace"]), str_at(param, &["name"]));
    match (name.is_empty(), param.get("selector")) {
        (false, _) if namespace.is_empty() => format!("*/{name}"),
        (false, _) => format!("{namespace}/{name}"),
        (true, Some(selector)) => go_selector(selector),
        (true, None) => "<unset>".to_owned(),
    }
}

/// A selector as Go's generated code prints the struct: that is what the stock server shows here.
fn go_selector(selector: &Value) -> String {
    let labels = selector.get("matchLabels").and_then(Value::as_object).into_iter().flatten();
    let labels: String = labels.map(|(k, v)| format!("{k}: {},", v.as_str().unwrap_or_default())).collect();
    let expressions: String = list_at(selector, &["matchExpressions"])
        .iter()
        .map(|e| {
            let values: Vec<&str> = list_at(e, &["values"]).iter().filter_map(Value::as_str).collect();
            let part = |key| str_at(e, &[key]);
            format!(
                "LabelSelectorRequirement{{Key:{},Operator:{},Values:[{}],}},",
                part("key"),
                part("operator"),
                values.join(" ")
            )
        })
        .collect();
    format!(
        "&LabelSelector{{MatchLabels:map[string]string{{{labels}}},MatchExpressions:[]LabelSelectorRequirement{{{expressions}}},}}"
    )
}
