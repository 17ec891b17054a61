//! Which replica set is which revision.

use apimachinery::gvk::GroupVersionKind;
use apimachinery::meta::{self, at, str_at};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::plan;
use crate::object::{controller_reference, int_at};

/// The number of a revision, on deployments and replica sets.
pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
const MAX: &str = "deployment.kubernetes.io/max-replicas";
const HASH: &str = "pod-template-hash";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Letters and digits that make no words.
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// The index of the replica set with the deployment's template; the oldest if there are several.
pub(super) fn newest(deployment: &Value, sets: &[Value]) -> Option<usize> {
    let wanted = at(deployment, &["spec", "template"]).map(without_hash);
    let mut same: Vec<usize> =
        (0..sets.len()).filter(|&i| at(&sets[i], &["spec", "template"]).map(without_hash) == wanted).collect();
    same.sort_by_key(|&i| str_at(&sets[i], &["metadata", "creationTimestamp"]).to_owned());
    same.first().copied()
}

fn without_hash(template: &Value) -> Value {
    let mut template = template.clone();
    if let Some(labels) = template.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.remove(HASH);
    }
    template
}

/// The revision of a replica set; 0 if it has none.
pub(super) fn of(set: &Value) -> i64 {
    str_at(set, &["metadata", "annotations", REVISION]).parse().unwrap_or(0)
}

/// The revision that the newest replica set should have: one more than any other.
pub(super) fn number(sets: &[Value], newest: Option<usize>) -> String {
    let others = sets.iter().enumerate().filter(|(i, _)| Some(*i) != newest).map(|(_, s)| of(s)).max().unwrap_or(0);
    let own = newest.map_or(0, |i| of(&sets[i]));
    own.max(others + 1).to_string()
}

/// Brings the annotations of the newest replica set up to date; whether anything changed.
pub(super) fn annotate(set: &mut Value, deployment: &Value, number: &str) -> bool {
    let before = set.clone();
    let old = str_at(set, &["metadata", "annotations", REVISION]).to_owned();
    for (key, value) in inherited(deployment) {
        set["metadata"]["annotations"][&key] = value;
    }
    if !old.is_empty() && old != number {
        let history = str_at(set, &["metadata", "annotations", REVISION_HISTORY]);
        let history = if history.is_empty() { old } else { format!("{history},{old}") };
        set["metadata"]["annotations"][REVISION_HISTORY] = json!(history);
    }
    set["metadata"]["annotations"][REVISION] = json!(number);
    annotate_size(set, deployment);
    let min_ready = int_at(deployment, &["spec", "minReadySeconds"]);
    if min_ready != int_at(set, &["spec", "minReadySeconds"])
        && let Some(spec) = set.get_mut("spec").and_then(Value::as_object_mut)
    {
        match min_ready {
            Some(n) => spec.insert("minReadySeconds".to_owned(), json!(n)),
            None => spec.remove("minReadySeconds"),
        };
    }
    *set != before
}

/// Notes how many replicas the deployment wants, so that a later change of that number is told from a roll.
pub(super) fn annotate_size(set: &mut Value, deployment: &Value) {
    let desired = plan::desired(deployment);
    set["metadata"]["annotations"][DESIRED] = json!(desired.to_string());
    set["metadata"]["annotations"][MAX] = json!((desired + plan::max_surge(deployment)).to_string());
}

/// How many replicas the deployment wanted when a set was last scaled.
pub(super) fn desired_before(set: &Value) -> Option<i64> {
    str_at(set, &["metadata", "annotations", DESIRED]).parse().ok()
}

/// How many replicas there could be in all when a set was last scaled.
pub(super) fn max_before(set: &Value) -> Option<i64> {
    str_at(set, &["metadata", "annotations", MAX]).parse().ok()
}

/// The replica set of the deployment's template.
pub(super) fn replica_set(deployment: &Value, sets: &[Value], number: &str, kind: &GroupVersionKind) -> Value {
    let template = at(deployment, &["spec", "template"]).cloned().unwrap_or_default();
    let hash = hash(&template, int_at(deployment, &["status", "collisionCount"]).unwrap_or(0));
    let mut template = template;
    template["metadata"]["labels"][HASH] = json!(hash);
    let mut selector = at(deployment, &["spec", "selector"]).cloned().unwrap_or_default();
    selector["matchLabels"][HASH] = json!(hash);
    let mut annotations = inherited(deployment);
    annotations.insert(REVISION.to_owned(), json!(number));
    let mut spec = json!({
        "replicas": plan::initial_replicas(deployment, sets),
        "selector": selector,
        "template": template,
    });
    if let Some(min_ready) = int_at(deployment, &["spec", "minReadySeconds"]) {
        spec["minReadySeconds"] = json!(min_ready);
    }
    let mut set = json!({
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": format!("{}-{hash}", meta::name(deployment)),
            "namespace": meta::namespace(deployment),
            "labels": template["metadata"]["labels"],
            "annotations": annotations,
            "ownerReferences": [controller_reference(deployment, kind)],
        },
        "spec": spec,
    });
    annotate_size(&mut set, deployment);
    set
}

/// Annotations that go from a deployment to its newest replica set.
fn inherited(deployment: &Value) -> Map<String, Value> {
    let skipped = |key: &str| {
        matches!(key, LAST_APPLIED | REVISION | REVISION_HISTORY | DESIRED | MAX)
            || key == "deprecated.deployment.rollback.to"
    };
    let annotations = at(deployment, &["metadata", "annotations"]).and_then(Value::as_object);
    annotations.into_iter().flatten().filter(|(k, _)| !skipped(k)).map(|(k, v)| (k.clone(), v.clone())).collect()
}

/// A short hash of a template: stable, as its objects' keys are sorted.
fn hash(template: &Value, collisions: i64) -> String {
    let mut digest = Sha256::new();
    digest.update(template.to_string());
    if collisions > 0 {
        digest.update(collisions.to_be_bytes());
    }
    digest.finalize().iter().take(10).map(|b| char::from(ALPHABET[usize::from(*b) % ALPHABET.len()])).collect()
}
