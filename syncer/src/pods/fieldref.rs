//! The downward API: where a pod's own fields are asked for, it must see the tenant's values, not the host's.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use apimachinery::field::quote;
use apimachinery::meta;
use serde_json::{Value, json};

use crate::config::Policy;
use crate::names;

/// How a field path is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The host pod has the same value.
    Host,
    /// This value.
    Literal(String),
}

/// The answer for one field of a tenant pod.
pub(super) fn field_answer(pod: &Value, field_path: &str, policy: &Policy) -> Answer {
    let map = |key: &str| meta::at(pod, &["metadata", key]);
    match field_path {
        "metadata.namespace" => Answer::Literal(meta::namespace(pod).to_owned()),
        "metadata.uid" => Answer::Literal(meta::uid(pod).to_owned()),
        "spec.serviceAccountName" => Answer::Literal(meta::str_at(pod, &["spec", "serviceAccountName"]).to_owned()),
        "metadata.labels" => Answer::Literal(map_text(map("labels"))),
        "metadata.annotations" => Answer::Literal(map_text(map("annotations"))),
        _ => match subscript(field_path) {
            Some(("metadata.labels", key)) if !policy.passes_label(key) => literal_of(map("labels"), key),
            Some(("metadata.annotations", key)) if !policy.passes_annotation(key) => {
                literal_of(map("annotations"), key)
            }
            _ => Answer::Host,
        },
    }
}

/// The item of a downward API volume that gives `answer`: literals are carried by an annotation on the host pod, which
/// the node's kubelet follows when it changes.
pub(super) fn volume_field_ref(field_path: &str, answer: Answer, carried: &mut BTreeMap<String, String>) -> Value {
    match answer {
        Answer::Host => json!({"apiVersion": "v1", "fieldPath": field_path}),
        Answer::Literal(value) => {
            let key = names::field_annotation(field_path);
            let path = format!("metadata.annotations['{key}']");
            carried.insert(key, value);
            json!({"apiVersion": "v1", "fieldPath": path})
        }
    }
}

/// A literal as the value of a variable: `$` doubled, so that nothing in it expands.
pub(super) fn env_literal(value: &str) -> String {
    value.replace('$', "$$")
}

fn literal_of(map: Option<&Value>, key: &str) -> Answer {
    Answer::Literal(map.and_then(|m| m.get(key)).and_then(Value::as_str).unwrap_or_default().to_owned())
}

/// `metadata.labels['key']` as its two parts.
fn subscript(path: &str) -> Option<(&str, &str)> {
    let (map, rest) = path.split_once("['")?;
    Some((map, rest.strip_suffix("']")?))
}

/// A map as the kubelet writes it into a file: sorted lines `key="value"`.
fn map_text(map: Option<&Value>) -> String {
    let mut out = String::new();
    for (key, value) in map.and_then(Value::as_object).into_iter().flatten().collect::<BTreeMap<_, _>>() {
        let separator = if out.is_empty() { "" } else { "\n" };
        // Writing to a string does not fail.
        let _ = write!(out, "{separator}{key}={}", quote(value.as_str().unwrap_or_default()));
    }
    out
}
