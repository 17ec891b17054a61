//! DaemonSets: a pod on each node that the tenant sees and that the pod may run on.
//!
//! Source of behaviour: `k8s.io/kubernetes/pkg/controller/daemon`.

use std::collections::BTreeMap;

use apimachinery::gvk::GroupVersionKind;
use apimachinery::intstr::IntOrString;
use apimachinery::meta::{self, at, list_at, str_at};
use apimachinery::selector::LabelSelector;
use apimachinery::status::ApiError;
use async_trait::async_trait;
use serde_json::{Value, json};
use tenant_client::{Caller, Change};

use crate::claim::claim_pods;
use crate::context::{Context, resource};
use crate::controller::{Again, Controller, Key};
use crate::events::{Event, tell};
use crate::object::{controller_of, deleting, int_at};
use crate::{pods, revisions};

const CALLER: Caller =
    Caller { user: "system:serviceaccount:kube-system:daemon-set-controller", manager: "kube-controller-manager" };
/// Taints that pods of daemon sets bear: nodes have them while they are new, ill or being emptied.
const TOLERATED: [(&str, &str); 6] = [
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];

/// Keeps daemon sets. Keys are daemon sets; one without a name and namespace is all of them.
pub(crate) struct DaemonSets;

#[async_trait]
impl Controller for DaemonSets {
    fn name(&self) -> &'static str {
        "daemonset"
    }

    fn resources(&self) -> &'static [(&'static str, &'static str)] {
        &[("apps", "daemonsets")]
    }

    fn keys(&self, change: &Change, add: &mut dyn FnMut(&str, &str)) {
        let Some(object) = change.object() else { return };
        match (change.resource.group.as_str(), change.resource.resource.as_str()) {
            ("apps", "daemonsets") if change.new.is_some() => add(&object.namespace, &object.name),
            // Nodes tell of their health all the time; only which there are, and their labels, matter here.
            ("", "nodes") => {
                let same = match (&change.old, &change.new) {
                    (Some(old), Some(new)) => old.stored.labels().eq(new.stored.labels()),
                    _ => false,
                };
                if !same {
                    add("", "");
                }
            }
            ("", "pods") => {
                for pod in [&change.old, &change.new].into_iter().flatten() {
                    if let Some(owner) = controller_of(pod).filter(|o| o.kind == "DaemonSet") {
                        add(&pod.namespace, &owner.name);
                    }
                }
            }
            _ => {}
        }
    }

    async fn reconcile(&self, context: &Context, key: Key<'_>) -> Result<Again, ApiError> {
        let sets = resource("apps", "daemonsets");
        if key.name.is_empty() {
            for set in context.client.list(key.tenant, &sets, None).await?.items {
                let inside = Key { namespace: &set.namespace, name: &set.name, ..key };
                sync(context, inside).await?;
            }
            return Ok(None);
        }
        sync(context, key).await.map(|()| None)
    }
}

fn kind() -> GroupVersionKind {
    GroupVersionKind::new("apps", "v1", "DaemonSet")
}

async fn sync(context: &Context, key: Key<'_>) -> Result<(), ApiError> {
    let sets = resource("apps", "daemonsets");
    let Some(set) = context.get(key, &sets, key.name).await? else { return Ok(()) };
    if deleting(&set) {
        return Ok(());
    }
    let selector = LabelSelector::from_object(&set["spec"]["selector"]).map_err(ApiError::internal)?;
    let (all, newest) = revisions::sync(context, key, &set, &kind(), CALLER, &selector).await?;
    let hash = revisions::hash_of(&all[newest]).to_owned();
    let mut nodes = Vec::new();
    for node in context.client.list(key.tenant, &resource("", "nodes"), None).await?.items {
        let node = node.to_value()?;
        if fits(&set, &node) {
            nodes.push(meta::name(&node).to_owned());
        }
    }
    let pods = claim_pods(context, key, &set, &kind(), CALLER, &selector).await?;
    let plan = plan(&set, &nodes, &pods, &hash);
    let what = resource("", "pods");
    for &place in &plan.delete {
        context.delete(CALLER, key, &what, meta::name(&pods[place]), meta::uid(&pods[place])).await?;
        let message = format!("Deleted pod: {}", meta::name(&pods[place]));
        tell(context, CALLER, key, &set, &kind(), Event::normal("SuccessfulDelete", &message)).await;
    }
    let mut failure = None;
    for node in &plan.create {
        match context.create(CALLER, key, &what, pod_of(&set, node, &hash)).await {
            Ok(pod) => {
                let message = format!("Created pod: {}", meta::name(&pod));
                tell(context, CALLER, key, &set, &kind(), Event::normal("SuccessfulCreate", &message)).await;
            }
            Err(error) => failure = Some(error),
        }
    }
    let pods = claim_pods(context, key, &set, &kind(), CALLER, &selector).await?;
    let status = status(&set, &nodes, &pods, &hash, context);
    revisions::clean_up(context, key, &set, CALLER, &all, |r| {
        let own = revisions::hash_of(r);
        own == hash || pods.iter().any(|p| hash_of(p) == own)
    })
    .await?;
    context.update_status(CALLER, key, &sets, set.clone(), status).await?;
    let Some(error) = failure else { return Ok(()) };
    tell(context, CALLER, key, &set, &kind(), Event::warning("FailedCreate", &format!("Error creating: {error}")))
        .await;
    Err(error)
}

#[derive(Debug, Default, PartialEq)]
struct Plan {
    create: Vec<String>,
    delete: Vec<usize>,
}

fn hash_of(pod: &Value) -> &str {
    str_at(pod, &["metadata", "labels", revisions::HASH])
}

/// The node that a pod is for: where it runs, or where its affinity binds it to.
fn node_of(pod: &Value) -> &str {
    let bound = str_at(pod, &["spec", "nodeName"]);
    if !bound.is_empty() {
        return bound;
    }
    let pointer = "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms/0/matchFields/0/values/0";
    pod.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Whether the pod may run on a node, by the node's labels; taints are the scheduler's.
fn fits(set: &Value, node: &Value) -> bool {
    let labels = at(node, &["metadata", "labels"]).and_then(Value::as_object);
    let spec = at(set, &["spec", "template", "spec"]).cloned().unwrap_or_default();
    let selected = at(&spec, &["nodeSelector"]).and_then(Value::as_object);
    if selected.is_some_and(|s| s.iter().any(|(k, v)| labels.and_then(|l| l.get(k)) != Some(v))) {
        return false;
    }
    let terms = list_at(
        &spec,
        &["affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms"],
    );
    terms.is_empty() || terms.iter().any(|term| term_matches(term, node, labels))
}

fn term_matches(term: &Value, node: &Value, labels: Option<&serde_json::Map<String, Value>>) -> bool {
    let label = |key: &str| labels.and_then(|l| l.get(key)).and_then(Value::as_str);
    let field = |key: &str| (key == "metadata.name").then(|| meta::name(node));
    let expressions = list_at(term, &["matchExpressions"]);
    let fields = list_at(term, &["matchFields"]);
    (!expressions.is_empty() || !fields.is_empty())
        && expressions.iter().all(|e| requirement(e, label(str_at(e, &["key"]))))
        && fields.iter().all(|e| requirement(e, field(str_at(e, &["key"]))))
}

fn requirement(expression: &Value, value: Option<&str>) -> bool {
    let values = list_at(expression, &["values"]);
    let listed = value.is_some_and(|v| values.iter().any(|w| w == v));
    let number = |v: Option<&str>| v.and_then(|v| v.parse::<i64>().ok());
    let bound = number(values.first().and_then(Value::as_str));
    match str_at(expression, &["operator"]) {
        "In" => listed,
        "NotIn" => !listed,
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => number(value).zip(bound).is_some_and(|(v, b)| v > b),
        "Lt" => number(value).zip(bound).is_some_and(|(v, b)| v < b),
        _ => false,
    }
}

fn plan(set: &Value, nodes: &[String], pods: &[Value], hash: &str) -> Plan {
    let mut by_node: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (place, pod) in pods.iter().enumerate() {
        by_node.entry(node_of(pod)).or_default().push(place);
    }
    let mut plan = Plan::default();
    for (node, places) in &by_node {
        if !nodes.iter().any(|n| n == node) {
            plan.delete.extend(places.iter().filter(|&&i| !deleting(&pods[i])));
            continue;
        }
        // One that has ended is replaced; of several that live the oldest stays.
        let (ended, mut living): (Vec<usize>, Vec<usize>) = places.iter().partition(|&&i| pods::finished(&pods[i]));
        plan.delete.extend(ended.into_iter().filter(|&i| !deleting(&pods[i])));
        living.retain(|&i| !deleting(&pods[i]));
        living.sort_by_key(|&i| str_at(&pods[i], &["metadata", "creationTimestamp"]));
        plan.delete.extend(living.into_iter().skip(1));
    }
    plan.create = nodes
        .iter()
        .filter(|n| by_node.get(n.as_str()).is_none_or(|p| p.iter().all(|&i| pods::finished(&pods[i]))))
        .cloned()
        .collect();
    if str_at(set, &["spec", "updateStrategy", "type"]) != "OnDelete" {
        roll(set, nodes, pods, hash, &mut plan);
    }
    plan
}

/// Deletes old pods, as many as may be missing at once; those that do not work count already.
fn roll(set: &Value, nodes: &[String], pods: &[Value], hash: &str, plan: &mut Plan) {
    let total = i32::try_from(nodes.len()).unwrap_or(i32::MAX);
    let limit =
        at(set, &["spec", "updateStrategy", "rollingUpdate", "maxUnavailable"]).and_then(IntOrString::from_value);
    let allowed = limit.and_then(|l| l.scaled(total, true)).unwrap_or(1).max(1);
    let serving = |n: &&String| pods.iter().any(|p| node_of(p) == n.as_str() && pods::ready(p) && !deleting(p));
    let missing = i32::try_from(nodes.iter().filter(|n| !serving(n)).count()).unwrap_or(0);
    let old = |i: &usize| hash_of(&pods[*i]) != hash && !deleting(&pods[*i]) && !plan.delete.contains(i);
    let all: Vec<usize> = (0..pods.len()).filter(old).collect();
    let (working, broken): (Vec<usize>, Vec<usize>) = all.into_iter().partition(|&i| pods::ready(&pods[i]));
    plan.delete.extend(broken);
    plan.delete.extend(working.into_iter().take(usize::try_from(allowed - missing).unwrap_or(0)));
}

fn pod_of(set: &Value, node: &str, hash: &str) -> Value {
    let mut pod = pods::from_template(&set["spec"]["template"], set, &kind());
    pod["metadata"]["labels"][revisions::HASH] = json!(hash);
    let bind = json!({"key": "metadata.name", "operator": "In", "values": [node]});
    let terms = list_at(
        &pod,
        &["spec", "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms"],
    );
    let terms = if terms.is_empty() { vec![json!({})] } else { terms.to_vec() };
    let bound: Vec<Value> = terms
        .into_iter()
        .map(|mut term| {
            term["matchFields"] = json!([bind]);
            term
        })
        .collect();
    pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"] =
        json!({"nodeSelectorTerms": bound});
    let mut tolerations = list_at(&pod, &["spec", "tolerations"]).to_vec();
    for (key, effect) in TOLERATED {
        if !tolerations.iter().any(|t| str_at(t, &["key"]) == key && str_at(t, &["effect"]) == effect) {
            tolerations.push(json!({"key": key, "operator": "Exists", "effect": effect}));
        }
    }
    pod["spec"]["tolerations"] = Value::Array(tolerations);
    pod
}

fn status(set: &Value, nodes: &[String], pods: &[Value], hash: &str, context: &Context) -> Value {
    let min_ready = int_at(set, &["spec", "minReadySeconds"]).unwrap_or(0);
    let here = |n: &String| pods.iter().filter(|p| node_of(p) == n && !deleting(p)).collect::<Vec<_>>();
    let count = |test: &dyn Fn(&Value) -> bool| nodes.iter().filter(|n| here(n).into_iter().any(test)).count();
    let available = count(&|p| pods::seconds_to_available(p, min_ready, context.now()) == Some(0));
    let mut status = json!({
        "currentNumberScheduled": count(&|_| true),
        "numberMisscheduled": pods.iter().filter(|p| !nodes.iter().any(|n| n == node_of(p))).count(),
        "desiredNumberScheduled": nodes.len(),
        "numberReady": count(&pods::ready),
        "observedGeneration": int_at(set, &["metadata", "generation"]),
    });
    let updated = count(&|p| hash_of(p) == hash);
    for (key, n) in [
        ("updatedNumberScheduled", updated),
        ("numberAvailable", available),
        ("numberUnavailable", nodes.len() - available),
    ] {
        if n > 0 {
            status[key] = json!(n);
        }
    }
    for key in ["collisionCount", "conditions"] {
        if let Some(value) = at(set, &["status", key]) {
            status[key] = value.clone();
        }
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(node: &str, hash: &str, ready: bool) -> Value {
        json!({
            "metadata": {"name": node, "labels": {"controller-revision-hash": hash}}, "spec": {"nodeName": node},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]},
        })
    }

    fn set() -> Value {
        json!({"spec": {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}}, "template": {"spec": {"nodeSelector": {"disk": "ssd"}}}}})
    }

    #[test]
    fn a_pod_for_each_node_and_none_elsewhere() {
        let nodes = ["a".to_owned(), "b".to_owned()];
        let plan = plan(&set(), &nodes, &[pod("a", "h", true), pod("c", "h", true)], "h");
        assert_eq!(plan, Plan { create: vec!["b".to_owned()], delete: vec![1] });
    }

    #[test]
    fn a_roll_replaces_as_many_at_once_as_may_be_missing() {
        let nodes = ["a".to_owned(), "b".to_owned(), "c".to_owned()];
        let all = [pod("a", "old", true), pod("b", "old", true), pod("c", "old", true)];
        assert_eq!(plan(&set(), &nodes, &all, "new").delete, [0]);
        let one_new = [pod("a", "new", false), pod("b", "old", true), pod("c", "old", true)];
        assert_eq!(plan(&set(), &nodes, &one_new, "new").delete, Vec::<usize>::new());
    }

    #[test]
    fn nodes_are_chosen_by_their_labels() {
        let node = |disk: &str| json!({"metadata": {"name": "n", "labels": {"disk": disk}}});
        assert!(fits(&set(), &node("ssd")) && !fits(&set(), &node("hdd")));
    }
}
