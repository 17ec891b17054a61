//! Namespaces that are being deleted: first the pods in them go, then everything else, then they.
//!
//! Source of conditions and order: KEP-5080 (ordered namespace deletion) and
//! `k8s.io/kubernetes/pkg/controller/namespace/deletion`.

use std::collections::BTreeMap;
use std::time::Duration;

use apimachinery::gvk::GroupResource;
use apimachinery::meta::{list_at, str_at};
use apimachinery::status::ApiError;
use async_trait::async_trait;
use serde_json::{Value, json};
use tenant_client::{Caller, Change, DeleteOptions, Target};

use crate::context::{Context, gone_is_fine, resource};
use crate::controller::{Again, Controller, Key};
use crate::object::{deleting, set_condition};

const CALLER: Caller =
    Caller { user: "system:serviceaccount:kube-system:namespace-controller", manager: "kube-controller-manager" };
const FINALIZER: &str = "kubernetes";
/// How soon to look again at what is left, should no change say so.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Deletes what is in a namespace that is being deleted. Keys are namespaces.
pub(crate) struct Namespaces;

/// What is left in a namespace.
#[derive(Default)]
struct Remaining {
    counts: BTreeMap<String, usize>,
    finalizers: BTreeMap<String, usize>,
    failures: Vec<String>,
}

#[async_trait]
impl Controller for Namespaces {
    fn name(&self) -> &'static str {
        "namespace"
    }

    fn resources(&self) -> &'static [(&'static str, &'static str)] {
        &[("", "namespaces")]
    }

    fn keys(&self, change: &Change, add: &mut dyn FnMut(&str, &str)) {
        let Some(object) = change.object() else { return };
        if change.resource.group.is_empty() && change.resource.resource == "namespaces" {
            if change.new.as_ref().is_some_and(|n| n.stored.deleting()) {
                add("", &object.name);
            }
        } else if change.new.is_none() && !object.namespace.is_empty() {
            // The last object of a namespace may be gone.
            add("", &object.namespace);
        }
    }

    async fn reconcile(&self, context: &Context, key: Key<'_>) -> Result<Again, ApiError> {
        let namespaces = resource("", "namespaces");
        let Some(mut namespace) = context.get(key, &namespaces, key.name).await? else { return Ok(None) };
        let finalizers = list_at(&namespace, &["spec", "finalizers"]);
        if !deleting(&namespace) || !finalizers.iter().any(|f| f == FINALIZER) {
            return Ok(None);
        }
        let remaining = empty(context, key).await?;
        let conditions = conditions(&namespace, &remaining, &context.now_text());
        if remaining.counts.is_empty() && remaining.failures.is_empty() {
            let left: Vec<Value> = finalizers.iter().filter(|f| *f != FINALIZER).cloned().collect();
            namespace["spec"]["finalizers"] = Value::Array(left);
            context.update(CALLER, key, &namespaces, "finalize", namespace).await?;
            return Ok(None);
        }
        let mut status = namespace.get("status").cloned().unwrap_or_else(|| json!({}));
        status["conditions"] = Value::Array(conditions);
        context.update_status(CALLER, key, &namespaces, namespace, status).await?;
        if let Some(failure) = remaining.failures.first() {
            return Err(ApiError::internal(failure));
        }
        Ok(Some(LOOK_AGAIN))
    }
}

/// Deletes what is in the namespace, pods before all else, and says what is left.
async fn empty(context: &Context, key: Key<'_>) -> Result<Remaining, ApiError> {
    let mut remaining = Remaining::default();
    delete_all(context, key, &resource("", "pods"), &mut remaining).await;
    if !remaining.counts.is_empty() || !remaining.failures.is_empty() {
        return Ok(remaining);
    }
    for found in context.client.resources(key.tenant).await? {
        if found.namespaced {
            delete_all(context, key, &found.resource, &mut remaining).await;
        }
    }
    Ok(remaining)
}

async fn delete_all(context: &Context, key: Key<'_>, what: &GroupResource, remaining: &mut Remaining) {
    let listed = context.client.list(key.tenant, what, Some(key.name)).await;
    let items = match listed {
        Ok(list) => list.items,
        Err(error) => return remaining.failures.push(format!("{what}: {error}")),
    };
    for item in items {
        if !item.stored.deleting() {
            let target =
                Target { tenant: key.tenant, resource: what, namespace: key.name, name: &item.name, subresource: "" };
            let options = DeleteOptions { propagation_policy: Some("Background"), ..DeleteOptions::default() };
            if let Err(error) = gone_is_fine(context.client.delete(CALLER, target, options).await) {
                remaining.failures.push(format!("{what} {}: {error}", item.name));
            }
        }
        let target =
            Target { tenant: key.tenant, resource: what, namespace: key.name, name: &item.name, subresource: "" };
        let Ok(left) = context.client.get(target).await else { continue };
        *remaining.counts.entry(qualified(what)).or_default() += 1;
        if left.stored.has_finalizers()
            && let Ok(left) = left.to_value()
        {
            for finalizer in list_at(&left, &["metadata", "finalizers"]).iter().filter_map(Value::as_str) {
                *remaining.finalizers.entry(finalizer.to_owned()).or_default() += 1;
            }
        }
    }
}

/// As conditions name resources: with a dot behind them also in the core group.
fn qualified(what: &GroupResource) -> String {
    format!("{}.{}", what.resource, what.group)
}

fn conditions(namespace: &Value, remaining: &Remaining, now: &str) -> Vec<Value> {
    let mut conditions = list_at(namespace, &["status", "conditions"]).to_vec();
    let mut set = |kind: &str, bad: bool, reason: &str, message: String| {
        let status = if bad { "True" } else { "False" };
        set_condition(
            &mut conditions,
            json!({"type": kind, "status": status, "reason": reason, "message": message}),
            now,
        );
    };
    let fine = "All resources successfully discovered".to_owned();
    set("NamespaceDeletionDiscoveryFailure", false, "ResourcesDiscovered", fine);
    set(
        "NamespaceDeletionGroupVersionParsingFailure",
        false,
        "ParsedGroupVersions",
        "All legacy kube types successfully parsed".to_owned(),
    );
    if remaining.failures.is_empty() {
        let message = "All content successfully deleted, may be waiting on finalization".to_owned();
        set("NamespaceDeletionContentFailure", false, "ContentDeleted", message);
    } else {
        let message = format!(
            "Failed to delete all resource types, {} remaining: {}",
            remaining.failures.len(),
            remaining.failures.join(", ")
        );
        set("NamespaceDeletionContentFailure", true, "ContentDeletionFailed", message);
    }
    let list = |counts: &BTreeMap<String, usize>, what: &str| -> String {
        counts.iter().map(|(name, n)| format!("{name} {what} {n} resource instances")).collect::<Vec<_>>().join(", ")
    };
    if remaining.counts.is_empty() {
        set("NamespaceContentRemaining", false, "ContentRemoved", "All content successfully removed".to_owned());
    } else {
        let message = format!("Some resources are remaining: {}", list(&remaining.counts, "has"));
        set("NamespaceContentRemaining", true, "SomeResourcesRemain", message);
    }
    if remaining.finalizers.is_empty() {
        set(
            "NamespaceFinalizersRemaining",
            false,
            "ContentHasNoFinalizers",
            "All content-preserving finalizers finished".to_owned(),
        );
    } else {
        let message =
            format!("Some content in the namespace has finalizers remaining: {}", list(&remaining.finalizers, "in"));
        set("NamespaceFinalizersRemaining", true, "SomeFinalizersRemain", message);
    }
    debug_assert!(conditions.iter().all(|c| !str_at(c, &["type"]).is_empty()));
    conditions
}
