//! Garbage collection: what its owners leave behind goes, and owners that wait for it are told.
//!
//! Who depends on an owner is told by an index that the change log keeps ([`owned`]), so that an owner without dependents
//! costs nothing when it goes. Source of behaviour: `k8s.io/kubernetes/pkg/controller/garbagecollector`.

mod owned;

use apimachinery::gvk::{GroupResource, GroupVersionKind};
use apimachinery::meta::{self, list_at, str_at};
use apimachinery::status::ApiError;
use apimachinery::tenant::TenantId;
use async_trait::async_trait;
use serde_json::{Value, json};
use tenant_client::{Caller, Change, DeleteOptions, Object, Resource, Target};
use uuid::Uuid;

use self::owned::{Owned, Place};
use crate::context::{Context, gone_is_fine};
use crate::controller::{Again, Controller, Key};
use crate::object::{OwnerReference, owners};

const CALLER: Caller =
    Caller { user: "system:serviceaccount:kube-system:generic-garbage-collector", manager: "kube-controller-manager" };
const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";
/// Between the parts of a key's name. No resource has it in its name.
const SEPARATOR: char = '|';
/// In the place of the resource: the key is an owner's uid.
const OWNER: &str = "uid";
/// The key that stands for all of a tenant.
const ALL: &str = "all";

/// Collects garbage. Keys are `resource.group|name`, or `uid|...` for the dependents of an owner that is gone.
#[derive(Default)]
pub(crate) struct GarbageCollector {
    owned: Owned,
}

/// What a look at a tenant's objects needs.
#[derive(Clone, Copy)]
struct Look<'a> {
    context: &'a Context,
    owned: &'a Owned,
    resources: &'a [Resource],
}

impl<'a> Look<'a> {
    fn resource(&self, name: &GroupResource) -> Option<&'a Resource> {
        self.resources.iter().find(|r| r.resource == *name)
    }

    /// Whether the dependents of an owner, of which `key` tells the namespace, may be there.
    fn reaches(&self, resource: &Resource, place: &Place, key: Key<'_>, everywhere: bool) -> bool {
        everywhere || (resource.namespaced && place.namespace() == key.namespace)
    }
}

/// What the references of an object lead to.
#[derive(Debug, Default, PartialEq)]
struct Sorted {
    /// Owners that are there to stay.
    solid: usize,
    /// Uids of owners that are gone.
    gone: Vec<String>,
    /// Uids of owners that wait for this object to go.
    waiting: Vec<String>,
}

#[async_trait]
impl Controller for GarbageCollector {
    fn name(&self) -> &'static str {
        "garbagecollector"
    }

    fn resources(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }

    fn scan_key(&self) -> Option<&'static str> {
        Some(ALL)
    }

    fn forget(&self, tenant: TenantId) {
        self.owned.forget(tenant);
    }

    fn rest(&self, tenant: TenantId) {
        // The first owner that goes afterwards has the tenant's objects listed.
        self.owned.forget(tenant);
    }

    fn keys(&self, change: &Change, add: &mut dyn FnMut(&str, &str)) {
        if is_event(&change.resource) {
            return;
        }
        self.owned.change(change);
        let mut went = |owner: &Object| {
            if self.owned.may_own(change.tenant, owner.stored.uid()) {
                add(&owner.namespace, &format!("{OWNER}{SEPARATOR}{}", owner.stored.uid()));
            }
        };
        match (&change.old, &change.new) {
            // Where changes are told as differences, another object may have taken the place of one that went.
            (Some(old), Some(new)) if old.stored.uid() != new.stored.uid() => went(old),
            (Some(old), None) => went(old),
            _ => {}
        }
        let own = |object: &Object| format!("{}{SEPARATOR}{}", change.resource, object.name);
        match (&change.old, &change.new) {
            (_, Some(new)) => {
                let same_owners = change.old.as_ref().is_some_and(|old| old.stored.owners().eq(new.stored.owners()));
                let owned = new.stored.owners().next().is_some() && !same_owners;
                if owned || (new.stored.deleting() && new.stored.has_finalizers()) {
                    add(&new.namespace, &own(new));
                }
                if let Some(old) = change.old.as_ref().filter(|_| !same_owners) {
                    let left = owners(new);
                    blocked(old, |owner| !left.contains(owner), add);
                }
            }
            (Some(old), None) => blocked(old, |_| true, add),
            (None, None) => {}
        }
    }

    async fn reconcile(&self, context: &Context, key: Key<'_>) -> Result<Again, ApiError> {
        let mut resources = context.client.resources(key.tenant).await?;
        resources.retain(|r| !is_event(&r.resource));
        let look = Look { context, owned: &self.owned, resources: &resources };
        if key.name == ALL {
            return collect_all(look, key).await.map(|()| None);
        }
        let Some((what, rest)) = key.name.split_once(SEPARATOR) else { return Ok(None) };
        if what == OWNER {
            let uid = Uuid::parse_str(rest).map_err(ApiError::internal)?;
            for (resource, object) in known_dependents(look, key, uid, key.namespace.is_empty()).await?.0 {
                let inside = Key { namespace: &object.namespace, name: &object.name, ..key };
                collect(look, inside, &resource).await?;
            }
            return Ok(None);
        }
        let (found, name) = match rest.split_once(SEPARATOR) {
            Some((name, group)) => (resources.iter().find(|r| r.kind.kind == what && r.kind.group == group), name),
            None => {
                let (plural, group) = what.split_once('.').unwrap_or((what, ""));
                (resources.iter().find(|r| r.resource.resource == plural && r.resource.group == group), rest)
            }
        };
        let Some(found) = found else { return Ok(None) };
        let namespace = if found.namespaced { key.namespace } else { "" };
        collect(look, Key { namespace, name, ..key }, found).await?;
        Ok(None)
    }
}

/// Events come and go in numbers, own nothing and are owned by nothing.
fn is_event(resource: &GroupResource) -> bool {
    resource.resource == "events" && matches!(resource.group.as_str(), "" | "events.k8s.io")
}

/// The owners that an object held back until now.
fn blocked(old: &Object, no_more: impl Fn(&OwnerReference) -> bool, add: &mut dyn FnMut(&str, &str)) {
    for owner in owners(old).iter().filter(|o| o.block_owner_deletion == Some(true) && no_more(o)) {
        // Its resource is found when its turn comes: here only its kind is known.
        let (group, _) = owner.api_version.rsplit_once('/').unwrap_or(("", ""));
        add(&old.namespace, &format!("{}{SEPARATOR}{}{SEPARATOR}{group}", owner.kind, owner.name));
    }
}

/// Looks at all that has an owner or waits for its dependents: what happened while nobody looked.
async fn collect_all(look: Look<'_>, key: Key<'_>) -> Result<(), ApiError> {
    let mut waiting = Vec::new();
    let mut see = |resource: &Resource, object: &Object| {
        if object.stored.deleting() && object.stored.has_finalizers() {
            waiting.push((resource.resource.clone(), object.namespace.clone(), object.name.clone()));
        }
    };
    look.owned.survey(&*look.context.client, key.tenant, look.resources, &mut see).await?;
    for (resource, namespace, name) in &waiting {
        let Some(resource) = look.resource(resource) else { continue };
        collect(look, Key { namespace, name, ..key }, resource).await?;
    }
    let mut last = None;
    loop {
        let page = look.owned.page(key.tenant, last.as_ref())?;
        for (resource, (_, place)) in &page {
            let Some(resource) = look.resource(resource) else { continue };
            collect(look, Key { namespace: place.namespace(), name: place.name(), ..key }, resource).await?;
        }
        let Some((_, entry)) = page.into_iter().next_back() else { return Ok(()) };
        last = Some(entry);
    }
}

/// Looks at one object: is it waiting for its dependents, or garbage itself?
async fn collect(look: Look<'_>, key: Key<'_>, resource: &Resource) -> Result<(), ApiError> {
    let context = look.context;
    let target = Target {
        tenant: key.tenant,
        resource: &resource.resource,
        namespace: key.namespace,
        name: key.name,
        subresource: "",
    };
    let object = match context.client.get(target).await {
        Ok(object) => object,
        Err(error) if error.code == 404 => return Ok(()),
        Err(error) => return Err(error),
    };
    if object.stored.deleting() {
        let value = object.to_value()?;
        let has = |finalizer: &str| list_at(&value, &["metadata", "finalizers"]).iter().any(|f| f == finalizer);
        if has(ORPHAN) {
            let all = orphan(look, key, &object).await?;
            return if all { remove_finalizer(context, key, resource, value, ORPHAN).await } else { Ok(()) };
        }
        if has(FOREGROUND) {
            return foreground(look, key, resource, &object, value).await;
        }
        return Ok(());
    }
    let references = owners(&object);
    if references.is_empty() {
        return Ok(());
    }
    let sorted = sort(look, key, &references).await?;
    let bad: Vec<&String> = sorted.gone.iter().chain(&sorted.waiting).collect();
    if bad.is_empty() {
        return Ok(());
    }
    if sorted.solid > 0 {
        return drop_references(context, key, resource, &object, |uid| bad.iter().any(|b| *b == uid)).await;
    }
    let waits_for_it = !sorted.waiting.is_empty();
    let own = if waits_for_it {
        known_dependents(look, key, object.stored.uid(), !resource.namespaced).await?.0
    } else {
        Vec::new()
    };
    let value = object.to_value()?;
    let kept = list_at(&value, &["metadata", "finalizers"]);
    let held = !own.is_empty();
    if held && circular(&own)? {
        unblock(context, key, resource, &object).await?;
    }
    let policy = if held || kept.iter().any(|f| f == FOREGROUND) {
        "Foreground"
    } else if kept.iter().any(|f| f == ORPHAN) {
        "Orphan"
    } else {
        "Background"
    };
    let options = DeleteOptions {
        uid: Some(object.stored.uid().to_string()),
        propagation_policy: Some(policy),
        ..DeleteOptions::default()
    };
    gone_is_fine(context.client.delete(CALLER, target, options).await)
}

/// Whether one of the dependents of an object that is about to wait for them waits itself: it may do so for this object.
fn circular(dependents: &[Dependent]) -> Result<bool, ApiError> {
    for (_, dependent) in dependents {
        if waits(dependent)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Lets an object hold its owners back no longer.
async fn unblock(context: &Context, key: Key<'_>, resource: &Resource, object: &Object) -> Result<(), ApiError> {
    let value = object.to_value()?;
    let mut references = list_at(&value, &["metadata", "ownerReferences"]).to_vec();
    for reference in references.iter_mut().filter(|r| r["blockOwnerDeletion"] == true) {
        reference["blockOwnerDeletion"] = json!(false);
    }
    let patch = json!({"metadata": {"ownerReferences": references, "resourceVersion": object.revision.to_string()}});
    gone(context.merge(CALLER, key, &resource.resource, key.name, &object.stored.uid().to_string(), patch).await)
}

/// Deletes the dependents of an owner that waits for them, and lets it go when those that hold it are gone.
async fn foreground(
    look: Look<'_>,
    key: Key<'_>,
    resource: &Resource,
    owner: &Object,
    value: Value,
) -> Result<(), ApiError> {
    let uid = owner.stored.uid();
    let holds = |dependent: &Object| dependent.stored.owners().any(|o| o.uid == uid && o.blocks_deletion);
    let Some(found) = all_dependents(look, key, owner, !resource.namespaced).await? else { return Ok(()) };
    for (what, dependent) in found.iter().filter(|(_, d)| !d.stored.deleting()) {
        let inside = Key { namespace: &dependent.namespace, name: &dependent.name, ..key };
        Box::pin(collect(look, inside, what)).await?;
    }
    if found.iter().any(|(_, d)| holds(d)) {
        // Some of them may be gone by now; those that are not say so when they go.
        match all_dependents(look, key, owner, !resource.namespaced).await? {
            Some(left) if !left.iter().any(|(_, d)| holds(d)) => {}
            _ => return Ok(()),
        }
    }
    remove_finalizer(look.context, key, resource, value, FOREGROUND).await
}

/// Takes an owner out of the references of its dependents. Says whether these were all: if not, a change is to come.
async fn orphan(look: Look<'_>, key: Key<'_>, owner: &Object) -> Result<bool, ApiError> {
    let text = owner.stored.uid().to_string();
    let Some(found) = all_dependents(look, key, owner, key.namespace.is_empty()).await? else { return Ok(false) };
    for (what, dependent) in found {
        let inside = Key { namespace: &dependent.namespace, name: &dependent.name, ..key };
        drop_references(look.context, inside, &what, &dependent, |uid| uid == text).await?;
    }
    Ok(true)
}

async fn remove_finalizer(
    context: &Context,
    key: Key<'_>,
    resource: &Resource,
    value: Value,
    finalizer: &str,
) -> Result<(), ApiError> {
    let kept: Vec<&Value> = list_at(&value, &["metadata", "finalizers"]).iter().filter(|f| *f != finalizer).collect();
    let patch = json!({"metadata": {"finalizers": kept, "resourceVersion": meta::text(&value, "resourceVersion")}});
    gone(context.merge(CALLER, key, &resource.resource, key.name, meta::uid(&value), patch).await)
}

async fn drop_references(
    context: &Context,
    key: Key<'_>,
    resource: &Resource,
    object: &Object,
    drop: impl Fn(&str) -> bool,
) -> Result<(), ApiError> {
    let value = object.to_value()?;
    let references = list_at(&value, &["metadata", "ownerReferences"]);
    let kept: Vec<&Value> = references.iter().filter(|r| !drop(str_at(r, &["uid"]))).collect();
    if kept.len() == references.len() {
        return Ok(());
    }
    let patch = json!({"metadata": {"ownerReferences": kept, "resourceVersion": object.revision.to_string()}});
    gone(context.merge(CALLER, key, &resource.resource, key.name, &object.stored.uid().to_string(), patch).await)
}

/// Takes a 404 for success. A conflict is none: somebody wrote, and the object must be looked at again.
fn gone(result: Result<(), ApiError>) -> Result<(), ApiError> {
    match result {
        Err(error) if error.code == 404 => Ok(()),
        other => other,
    }
}

/// An object and its resource.
type Dependent = (Resource, Object);

/// The objects that name an owner, as far as changes were followed (the revision says how far): those in its namespace,
/// or everywhere if it has none. One that is made later finds out by itself that its owner is gone.
async fn known_dependents(
    look: Look<'_>,
    key: Key<'_>,
    owner: Uuid,
    everywhere: bool,
) -> Result<(Vec<Dependent>, u64), ApiError> {
    let client = &*look.context.client;
    let known = look.owned.dependents(client, key.tenant, look.resources, owner).await?;
    let mut found = Vec::new();
    for (resource, place) in &known.places {
        let Some(resource) = look.resource(resource).filter(|r| look.reaches(r, place, key, everywhere)) else {
            continue;
        };
        let (resource_name, namespace, name) = (&resource.resource, place.namespace(), place.name());
        let target = Target { tenant: key.tenant, resource: resource_name, namespace, name, subresource: "" };
        match client.get(target).await {
            Ok(object) if object.stored.owners().any(|o| o.uid == owner) => found.push((resource.clone(), object)),
            Ok(_) => {}
            Err(error) if error.code == 404 => {}
            Err(error) => return Err(error),
        }
    }
    Ok((found, known.revision))
}

/// All objects that named an owner when it was written last. `None` if changes up to then have not been followed yet:
/// that of the owner itself, which has it looked at again, is one of them.
async fn all_dependents(
    look: Look<'_>,
    key: Key<'_>,
    owner: &Object,
    everywhere: bool,
) -> Result<Option<Vec<Dependent>>, ApiError> {
    let (client, uid) = (&look.context.client, owner.stored.uid());
    if client.in_order() {
        let (found, revision) = known_dependents(look, key, uid, everywhere).await?;
        return Ok((revision >= owner.revision).then_some(found));
    }
    let mut found = Vec::new();
    for resource in look.resources.iter().filter(|r| r.namespaced || everywhere) {
        let namespace = (!everywhere).then_some(key.namespace);
        for object in client.list(key.tenant, &resource.resource, namespace).await?.items {
            if object.stored.owners().any(|o| o.uid == uid) {
                found.push((resource.clone(), object));
            }
        }
    }
    Ok(Some(found))
}

async fn sort(look: Look<'_>, key: Key<'_>, references: &[OwnerReference]) -> Result<Sorted, ApiError> {
    let mut sorted = Sorted::default();
    for reference in references {
        let kind = GroupVersionKind::from_api_version(&reference.api_version, &reference.kind);
        // A kind that is not served (any more) may come back: its objects are not taken for gone.
        let Some(resource) = look.resources.iter().find(|r| r.kind.kind == kind.kind && r.kind.group == kind.group)
        else {
            sorted.solid += 1;
            continue;
        };
        let namespace = if resource.namespaced { key.namespace } else { "" };
        match owner(look.context, key, &resource.resource, namespace, reference).await? {
            None => sorted.gone.push(reference.uid.clone()),
            Some(owner) if waits(&owner)? && reference.block_owner_deletion == Some(true) => {
                sorted.waiting.push(reference.uid.clone())
            }
            Some(_) => sorted.solid += 1,
        }
    }
    Ok(sorted)
}

/// The owner that a reference means: same name and same uid.
async fn owner(
    context: &Context,
    key: Key<'_>,
    resource: &GroupResource,
    namespace: &str,
    reference: &OwnerReference,
) -> Result<Option<Object>, ApiError> {
    let target = Target { tenant: key.tenant, resource, namespace, name: &reference.name, subresource: "" };
    match context.client.get(target).await {
        Ok(found) => Ok((found.stored.uid().to_string() == reference.uid).then_some(found)),
        Err(error) if error.code == 404 => Ok(None),
        Err(error) => Err(error),
    }
}

fn waits(owner: &Object) -> Result<bool, ApiError> {
    if !owner.stored.deleting() || !owner.stored.has_finalizers() {
        return Ok(false);
    }
    Ok(list_at(&owner.to_value()?, &["metadata", "finalizers"]).iter().any(|f| f == FOREGROUND))
}
