//! StatefulSets: pods with an ordinal, a name and a volume that stay.
//!
//! Source of behaviour: `k8s.io/kubernetes/pkg/controller/statefulset`.

use apimachinery::gvk::GroupVersionKind;
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
use crate::object::{controller_of, controller_reference, deleting, int_at, seconds};
use crate::{pods, revisions};

const CALLER: Caller =
    Caller { user: "system:serviceaccount:kube-system:statefulset-controller", manager: "kube-controller-manager" };
const POD_NAME: &str = "statefulset.kubernetes.io/pod-name";
const POD_INDEX: &str = "apps.kubernetes.io/pod-index";

/// Keeps stateful sets. Keys are stateful sets.
pub(crate) struct StatefulSets;

/// What is to be done next.
#[derive(Debug, Default, PartialEq)]
struct Plan {
    /// Ordinals of pods to make.
    create: Vec<i64>,
    /// Places of pods to delete.
    delete: Vec<usize>,
}

#[async_trait]
impl Controller for StatefulSets {
    fn name(&self) -> &'static str {
        "statefulset"
    }

    fn resources(&self) -> &'static [(&'static str, &'static str)] {
        &[("apps", "statefulsets")]
    }

    fn keys(&self, change: &Change, add: &mut dyn FnMut(&str, &str)) {
        let Some(object) = change.object() else { return };
        match (change.resource.group.as_str(), change.resource.resource.as_str()) {
            ("apps", "statefulsets") if change.new.is_some() => add(&object.namespace, &object.name),
            ("", "pods") => {
                for pod in [&change.old, &change.new].into_iter().flatten() {
                    if let Some(owner) = controller_of(pod).filter(|o| o.kind == "StatefulSet") {
                        add(&pod.namespace, &owner.name);
                    }
                }
            }
            _ => {}
        }
    }

    async fn reconcile(&self, context: &Context, key: Key<'_>) -> Result<Again, ApiError> {
        let sets = resource("apps", "statefulsets");
        let Some(set) = context.get(key, &sets, key.name).await? else { return Ok(None) };
        if deleting(&set) {
            return Ok(None);
        }
        let selector = LabelSelector::from_object(&set["spec"]["selector"]).map_err(ApiError::internal)?;
        let (all, newest) = revisions::sync(context, key, &set, &kind(), CALLER, &selector).await?;
        let update = meta::name(&all[newest]).to_owned();
        let current =
            Some(str_at(&set, &["status", "currentRevision"])).filter(|c| !c.is_empty()).unwrap_or(&update).to_owned();
        let pods: Vec<Value> = claim_pods(context, key, &set, &kind(), CALLER, &selector)
            .await?
            .into_iter()
            .filter(|p| ordinal(&set, p).is_some())
            .collect();
        let plan = plan(&set, &pods, &update, context);
        for &place in &plan.delete {
            context
                .delete(CALLER, key, &resource("", "pods"), meta::name(&pods[place]), meta::uid(&pods[place]))
                .await?;
            let message = format!("delete Pod {} in StatefulSet {} successful", meta::name(&pods[place]), key.name);
            tell(context, CALLER, key, &set, &kind(), Event::normal("SuccessfulDelete", &message)).await;
        }
        for &ordinal in &plan.create {
            let wanted = if ordinal < partition(&set) + first(&set) { &current } else { &update };
            let revision = all.iter().find(|r| meta::name(r) == wanted).unwrap_or(&all[newest]);
            create(context, key, &set, ordinal, revision).await?;
        }
        let pods = claim_pods(context, key, &set, &kind(), CALLER, &selector).await?;
        let (status, again) = status(&set, &pods, &current, &update, context);
        revisions::clean_up(context, key, &set, CALLER, &all, |r| {
            let name = meta::name(r);
            name == current || name == update || pods.iter().any(|p| revision_of(p) == name)
        })
        .await?;
        context.update_status(CALLER, key, &sets, set, status).await?;
        Ok(again.map(seconds))
    }
}

fn kind() -> GroupVersionKind {
    GroupVersionKind::new("apps", "v1", "StatefulSet")
}

fn first(set: &Value) -> i64 {
    int_at(set, &["spec", "ordinals", "start"]).unwrap_or(0)
}

fn partition(set: &Value) -> i64 {
    int_at(set, &["spec", "updateStrategy", "rollingUpdate", "partition"]).unwrap_or(0)
}

fn ordinal(set: &Value, pod: &Value) -> Option<i64> {
    let (parent, ordinal) = meta::name(pod).rsplit_once('-')?;
    (parent == meta::name(set)).then(|| ordinal.parse().ok())?
}

fn revision_of(pod: &Value) -> &str {
    str_at(pod, &["metadata", "labels", revisions::HASH])
}

fn is_available(set: &Value, pod: &Value, context: &Context) -> bool {
    let min_ready = int_at(set, &["spec", "minReadySeconds"]).unwrap_or(0);
    pods::seconds_to_available(pod, min_ready, context.now()) == Some(0)
}

fn plan(set: &Value, pods: &[Value], update: &str, context: &Context) -> Plan {
    plan_by(set, pods, update, |pod| is_available(set, pod, context))
}

/// The next step: one pod at a time in order, or all at once for `Parallel`.
fn plan_by(set: &Value, pods: &[Value], update: &str, available: impl Fn(&Value) -> bool) -> Plan {
    let replicas = int_at(set, &["spec", "replicas"]).unwrap_or(1);
    let parallel = str_at(set, &["spec", "podManagementPolicy"]) == "Parallel";
    let (begin, end) = (first(set), first(set) + replicas);
    let place = |n: i64| pods.iter().position(|p| ordinal(set, p) == Some(n));
    let mut plan = Plan::default();
    for n in begin..end {
        match place(n) {
            None => plan.create.push(n),
            // A pod that has ended is made anew under the same name.
            Some(i) if pods::finished(&pods[i]) && !deleting(&pods[i]) => plan.delete.push(i),
            Some(i) if !parallel && (deleting(&pods[i]) || !available(&pods[i])) => return plan,
            Some(_) => {}
        }
        if !parallel && plan != Plan::default() {
            return plan;
        }
    }
    let mut condemned: Vec<(i64, usize)> = (0..pods.len())
        .filter_map(|i| Some((ordinal(set, &pods[i])?, i)))
        .filter(|(n, _)| *n < begin || *n >= end)
        .collect();
    condemned.sort_by_key(|(n, _)| std::cmp::Reverse(*n));
    for (_, i) in condemned {
        if deleting(&pods[i]) {
            if !parallel {
                return plan;
            }
            continue;
        }
        plan.delete.push(i);
        if !parallel {
            return plan;
        }
    }
    if plan != Plan::default() || str_at(set, &["spec", "updateStrategy", "type"]) == "OnDelete" {
        return plan;
    }
    // From the last to the first: the next pod is replaced when all behind it are new and work.
    for n in (begin + partition(set)..end).rev() {
        let Some(i) = place(n) else { return plan };
        if revision_of(&pods[i]) != update && !deleting(&pods[i]) {
            plan.delete.push(i);
            return plan;
        }
        if deleting(&pods[i]) || !available(&pods[i]) {
            return plan;
        }
    }
    plan
}

async fn create(context: &Context, key: Key<'_>, set: &Value, ordinal: i64, revision: &Value) -> Result<(), ApiError> {
    let name = format!("{}-{ordinal}", meta::name(set));
    for template in list_at(set, &["spec", "volumeClaimTemplates"]) {
        ensure_claim(context, key, set, template, &name).await?;
    }
    let pod = pod_of(set, ordinal, revision);
    match context.create(CALLER, key, &resource("", "pods"), pod).await {
        Ok(_) => {
            let message = format!("create Pod {name} in StatefulSet {} successful", key.name);
            tell(context, CALLER, key, set, &kind(), Event::normal("SuccessfulCreate", &message)).await;
            Ok(())
        }
        // The old one is on its way out: its deletion brings the next look.
        Err(error) if error.reason == "AlreadyExists" => Ok(()),
        Err(error) => {
            let message = format!("create Pod {name} in StatefulSet {} failed error: {error}", key.name);
            tell(context, CALLER, key, set, &kind(), Event::warning("FailedCreate", &message)).await;
            Err(error)
        }
    }
}

async fn ensure_claim(
    context: &Context,
    key: Key<'_>,
    set: &Value,
    template: &Value,
    pod: &str,
) -> Result<(), ApiError> {
    let what = resource("", "persistentvolumeclaims");
    let name = format!("{}-{pod}", meta::name(template));
    if context.get(key, &what, &name).await?.is_some() {
        return Ok(());
    }
    let mut claim = template.clone();
    claim["metadata"]["name"] = json!(name);
    claim["metadata"]["namespace"] = json!(key.namespace);
    for (label, value) in at(set, &["spec", "selector", "matchLabels"]).and_then(Value::as_object).into_iter().flatten()
    {
        claim["metadata"]["labels"][label] = value.clone();
    }
    if str_at(set, &["spec", "persistentVolumeClaimRetentionPolicy", "whenDeleted"]) == "Delete" {
        claim["metadata"]["ownerReferences"] = json!([controller_reference(set, &kind())]);
    }
    if let Some(claim) = claim.as_object_mut() {
        claim.remove("status");
    }
    context.create(CALLER, key, &what, claim).await?;
    let message = format!("create Claim {name} Pod {pod} in StatefulSet {} success", key.name);
    tell(context, CALLER, key, set, &kind(), Event::normal("SuccessfulCreate", &message)).await;
    Ok(())
}

fn pod_of(set: &Value, ordinal: i64, revision: &Value) -> Value {
    let name = format!("{}-{ordinal}", meta::name(set));
    let mut pod = pods::from_template(&revisions::template(revision), set, &kind());
    if let Some(metadata) = pod["metadata"].as_object_mut() {
        metadata.remove("generateName");
        metadata.insert("name".to_owned(), json!(name));
    }
    pod["metadata"]["labels"][POD_NAME] = json!(name);
    pod["metadata"]["labels"][POD_INDEX] = json!(ordinal.to_string());
    pod["metadata"]["labels"][revisions::HASH] = json!(meta::name(revision));
    pod["spec"]["hostname"] = json!(name);
    pod["spec"]["subdomain"] = json!(str_at(set, &["spec", "serviceName"]));
    let claims = list_at(set, &["spec", "volumeClaimTemplates"]);
    let mut volumes = list_at(&pod, &["spec", "volumes"]).to_vec();
    volumes.retain(|v| claims.iter().all(|c| meta::name(c) != str_at(v, &["name"])));
    volumes.extend(claims.iter().map(
        |c| json!({"name": meta::name(c), "persistentVolumeClaim": {"claimName": format!("{}-{name}", meta::name(c))}}),
    ));
    if !volumes.is_empty() {
        pod["spec"]["volumes"] = Value::Array(volumes);
    }
    pod
}

fn status(set: &Value, pods: &[Value], current: &str, update: &str, context: &Context) -> (Value, Option<i64>) {
    let live: Vec<&Value> = pods.iter().filter(|p| ordinal(set, p).is_some()).collect();
    let min_ready = int_at(set, &["spec", "minReadySeconds"]).unwrap_or(0);
    let waits =
        live.iter().filter_map(|p| pods::seconds_to_available(p, min_ready, context.now())).filter(|w| *w > 0).min();
    let count = |test: &dyn Fn(&Value) -> bool| live.iter().filter(|p| test(p)).count();
    let updated = count(&|p| revision_of(p) == update && !deleting(p));
    let ready = count(&pods::ready);
    let replicas = int_at(set, &["spec", "replicas"]).unwrap_or(1);
    let rolled = i64::try_from(updated).unwrap_or(0) == replicas && ready == updated && live.len() == updated;
    let mut status = json!({
        "observedGeneration": int_at(set, &["metadata", "generation"]),
        "replicas": live.len(),
        "availableReplicas": count(&|p| is_available(set, p, context)),
        "currentRevision": if rolled { update } else { current },
        "updateRevision": update,
        "collisionCount": int_at(set, &["status", "collisionCount"]).unwrap_or(0),
    });
    let on_current = if rolled { updated } else { count(&|p| revision_of(p) == current && !deleting(p)) };
    for (key, n) in [("readyReplicas", ready), ("currentReplicas", on_current), ("updatedReplicas", updated)] {
        if n > 0 {
            status[key] = json!(n);
        }
    }
    if let Some(conditions) = at(set, &["status", "conditions"]) {
        status["conditions"] = conditions.clone();
    }
    (status, waits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(replicas: i64, more: Value) -> Value {
        let mut set = json!({"metadata": {"name": "db"}, "spec": {"replicas": replicas, "updateStrategy": {"type": "RollingUpdate"}}});
        for (key, value) in more.as_object().unwrap() {
            set["spec"][key] = value.clone();
        }
        set
    }

    fn pod(n: i64, ready: bool, revision: &str) -> Value {
        json!({
            "metadata": {"name": format!("db-{n}"), "labels": {"controller-revision-hash": revision}},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]},
        })
    }

    fn step(set: &Value, pods: &[Value]) -> Plan {
        plan_by(set, pods, "new", pods::ready)
    }

    #[test]
    fn pods_come_one_by_one_and_all_at_once_where_order_does_not_matter() {
        let ordered = set(3, json!({}));
        assert_eq!(step(&ordered, &[]).create, [0]);
        assert_eq!(step(&ordered, &[pod(0, false, "new")]), Plan::default());
        assert_eq!(step(&ordered, &[pod(0, true, "new")]).create, [1]);
        let parallel = set(3, json!({"podManagementPolicy": "Parallel"}));
        assert_eq!(step(&parallel, &[pod(0, false, "new")]).create, [1, 2]);
    }

    #[test]
    fn pods_go_from_the_last_one() {
        let pods = [pod(0, true, "new"), pod(1, true, "new"), pod(2, true, "new")];
        assert_eq!(step(&set(1, json!({})), &pods).delete, [2]);
    }

    #[test]
    fn a_roll_begins_at_the_end_waits_for_each_and_stops_at_the_partition() {
        let pods = [pod(0, true, "old"), pod(1, true, "old"), pod(2, true, "old")];
        assert_eq!(step(&set(3, json!({})), &pods).delete, [2]);
        let pods = [pod(0, true, "old"), pod(1, true, "old"), pod(2, true, "new")];
        assert_eq!(step(&set(3, json!({})), &pods).delete, [1]);
        let partitioned =
            set(3, json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}}));
        assert_eq!(step(&partitioned, &pods), Plan::default());
    }
}
