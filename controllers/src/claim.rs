//! Which objects a controller owns: those that name it, and orphans that it selects.

use apimachinery::gvk::{GroupResource, GroupVersionKind};
use apimachinery::meta;
use apimachinery::selector::LabelSelector;
use apimachinery::status::ApiError;
use serde_json::{Value, json};
use tenant_client::{Caller, Object};

use crate::context::{Context, resource};
use crate::controller::Key;
use crate::object::{controller_of, controller_reference, deleting, owners};

/// The pods that `owner` controls, orphans adopted and pods that it does not select any more released.
pub(crate) async fn claim_pods(
    context: &Context,
    key: Key<'_>,
    owner: &Value,
    kind: &GroupVersionKind,
    caller: Caller,
    selector: &LabelSelector,
) -> Result<Vec<Value>, ApiError> {
    claim(context, key, &resource("", "pods"), owner, kind, caller, selector).await
}

/// The objects of a resource that `owner` controls, orphans adopted and those that it does not select any more released.
pub(crate) async fn claim(
    context: &Context,
    key: Key<'_>,
    what: &GroupResource,
    owner: &Value,
    kind: &GroupVersionKind,
    caller: Caller,
    selector: &LabelSelector,
) -> Result<Vec<Value>, ApiError> {
    let mut claimed = Vec::new();
    for object in context.list(key, what).await? {
        let selected = selector.matches_stored(&object.stored);
        match controller_of(&object) {
            Some(reference) if reference.uid != meta::uid(owner) => {}
            Some(_) if selected => claimed.push(object.to_value()?),
            Some(_) if deleting(owner) => {}
            Some(_) => release(context, key, what, &object, owner, caller).await?,
            None if selected && !object.stored.deleting() && !deleting(owner) => {
                if let Some(adopted) = adopt(context, key, what, &object, owner, kind, caller).await? {
                    claimed.push(adopted);
                }
            }
            None => {}
        }
    }
    Ok(claimed)
}

async fn adopt(
    context: &Context,
    key: Key<'_>,
    what: &GroupResource,
    object: &Object,
    owner: &Value,
    kind: &GroupVersionKind,
    caller: Caller,
) -> Result<Option<Value>, ApiError> {
    let mut references = references(object)?;
    references.push(controller_reference(owner, kind));
    let patch = json!({"metadata": {"ownerReferences": references, "resourceVersion": object.revision.to_string()}});
    match context.merge(caller, key, what, &object.name, &object.stored.uid().to_string(), patch).await {
        Ok(()) => context.get(key, what, &object.name).await,
        Err(error) if error.code == 404 => Ok(None),
        Err(error) => Err(error),
    }
}

async fn release(
    context: &Context,
    key: Key<'_>,
    what: &GroupResource,
    object: &Object,
    owner: &Value,
    caller: Caller,
) -> Result<(), ApiError> {
    let mut references = references(object)?;
    references.retain(|r| meta::str_at(r, &["uid"]) != meta::uid(owner));
    let patch = json!({"metadata": {"ownerReferences": references, "resourceVersion": object.revision.to_string()}});
    match context.merge(caller, key, what, &object.name, &object.stored.uid().to_string(), patch).await {
        Err(error) if error.code == 404 => Ok(()),
        result => result,
    }
}

fn references(object: &Object) -> Result<Vec<Value>, ApiError> {
    if owners(object).is_empty() {
        return Ok(Vec::new());
    }
    Ok(meta::list_at(&object.to_value()?, &["metadata", "ownerReferences"]).to_vec())
}
