//! ControllerRevisions: the pod templates that stateful sets and daemon sets have had.

use apimachinery::gvk::GroupVersionKind;
use apimachinery::meta::{self, at};
use apimachinery::selector::LabelSelector;
use apimachinery::status::ApiError;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tenant_client::Caller;

use crate::claim::claim;
use crate::context::{Context, resource};
use crate::controller::Key;
use crate::object::{controller_reference, int_at};

/// The label of pods that tells their revision: the revision's name for stateful sets, its hash for daemon sets.
pub(crate) const HASH: &str = "controller-revision-hash";
/// The label of a revision with its hash.
const REVISION_HASH: &str = "controller.kubernetes.io/hash";
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// The revisions of an owner, oldest first, and the place of the present one, which is made or renumbered as needed.
pub(crate) async fn sync(
    context: &Context,
    key: Key<'_>,
    owner: &Value,
    kind: &GroupVersionKind,
    caller: Caller,
    selector: &LabelSelector,
) -> Result<(Vec<Value>, usize), ApiError> {
    let what = resource("apps", "controllerrevisions");
    let mut all = claim(context, key, &what, owner, kind, caller, selector).await?;
    all.sort_by_key(|r| int_at(r, &["revision"]).unwrap_or(0));
    let data = data(owner);
    let last = all.last().and_then(|r| int_at(r, &["revision"])).unwrap_or(0);
    match all.iter().position(|r| r.get("data") == Some(&data)) {
        Some(i) if i + 1 == all.len() => {}
        Some(i) => {
            // Rolled back: an old template is the newest again.
            let mut revision = all.remove(i);
            revision["revision"] = json!(last + 1);
            all.push(context.update(caller, key, &what, "", revision).await?);
        }
        None => {
            let hash = hash(&data, int_at(owner, &["status", "collisionCount"]).unwrap_or(0));
            let mut labels =
                at(owner, &["spec", "template", "metadata", "labels"]).cloned().unwrap_or_else(|| json!({}));
            labels[REVISION_HASH] = json!(hash);
            if kind.kind == "DaemonSet" {
                labels[HASH] = json!(hash);
            }
            let revision = json!({
                "apiVersion": "apps/v1",
                "kind": "ControllerRevision",
                "metadata": {
                    "name": format!("{}-{hash}", meta::name(owner)),
                    "namespace": meta::namespace(owner),
                    "labels": labels,
                    "ownerReferences": [controller_reference(owner, kind)],
                },
                "data": data,
                "revision": last + 1,
            });
            all.push(context.create(caller, key, &what, revision).await?);
        }
    }
    let newest = all.len() - 1;
    Ok((all, newest))
}

/// Deletes the oldest revisions beyond a limit, those in use excepted.
pub(crate) async fn clean_up(
    context: &Context,
    key: Key<'_>,
    owner: &Value,
    caller: Caller,
    revisions: &[Value],
    in_use: impl Fn(&Value) -> bool,
) -> Result<(), ApiError> {
    let limit = usize::try_from(int_at(owner, &["spec", "revisionHistoryLimit"]).unwrap_or(10)).unwrap_or(0);
    let idle: Vec<&Value> = revisions.iter().filter(|r| !in_use(r)).collect();
    for revision in &idle[..idle.len().saturating_sub(limit)] {
        let what = resource("apps", "controllerrevisions");
        context.delete(caller, key, &what, meta::name(revision), meta::uid(revision)).await?;
    }
    Ok(())
}

/// The hash of a revision.
pub(crate) fn hash_of(revision: &Value) -> &str {
    meta::str_at(revision, &["metadata", "labels", REVISION_HASH])
}

/// The pod template that a revision keeps.
pub(crate) fn template(revision: &Value) -> Value {
    let mut template = at(revision, &["data", "spec", "template"]).cloned().unwrap_or_default();
    if let Some(template) = template.as_object_mut() {
        template.remove("$patch");
    }
    template
}

/// What a revision keeps: a patch that replaces the template, as `kubectl rollout undo` applies it.
fn data(owner: &Value) -> Value {
    let mut template = at(owner, &["spec", "template"]).cloned().unwrap_or_default();
    template["$patch"] = json!("replace");
    json!({"spec": {"template": template}})
}

fn hash(data: &Value, collisions: i64) -> String {
    let mut digest = Sha256::new();
    digest.update(data.to_string());
    digest.update(collisions.to_be_bytes());
    digest.finalize().iter().take(10).map(|b| char::from(ALPHABET[usize::from(*b) % ALPHABET.len()])).collect()
}
