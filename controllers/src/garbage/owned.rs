//! Who depends on whom: the owned objects of each tenant, by the uids of their owners.
//!
//! The index of a tenant is made by one listing, when its collector first looks at all of it, and kept by the change log
//! from then on. It answers only once it is whole, and tells up to which revision. What it names is to be read before it
//! is believed: an object may be gone, or owned no more, since.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use apimachinery::gvk::GroupResource;
use apimachinery::status::ApiError;
use apimachinery::tenant::TenantId;
use parking_lot::Mutex;
use tenant_client::{Change, Object, Resource, TenantClient};
use uuid::Uuid;

/// How many objects are taken from an index at once.
const PAGE: usize = 256;

/// The indexes of all tenants.
#[derive(Default)]
pub(super) struct Owned {
    tenants: Mutex<HashMap<TenantId, Arc<Tenant>>>,
}

/// The index of one tenant.
#[derive(Default)]
struct Tenant {
    /// Held while its objects are listed: who needs the index meanwhile waits for it.
    listing: tokio::sync::Mutex<()>,
    index: Mutex<Index>,
}

/// Where an object is: a number of its resource, its namespace and name with a slash between them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    resource: u16,
    path: Box<str>,
}

impl Place {
    fn of(resource: u16, object: &Object) -> Self {
        Self { resource, path: format!("{}/{}", object.namespace, object.name).into() }
    }

    pub(super) fn namespace(&self) -> &str {
        self.path.split_once('/').map_or("", |(namespace, _)| namespace)
    }

    pub(super) fn name(&self) -> &str {
        self.path.split_once('/').map_or("", |(_, name)| name)
    }
}

/// An owner and an object that names it.
type Entry = (Uuid, Place);

#[derive(Debug, Default)]
struct Index {
    phase: Phase,
    /// Resources by their numbers.
    resources: Vec<Arc<GroupResource>>,
    entries: BTreeSet<Entry>,
    /// What changes did to entries while objects are listed: put in, or took out.
    meanwhile: BTreeMap<Entry, bool>,
    /// All that happened up to here is in it.
    revision: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    /// Nothing is known.
    #[default]
    Unknown,
    /// Objects are being listed.
    Listing,
    /// Everything is known.
    Whole,
}

impl Index {
    fn number(&mut self, resource: &GroupResource) -> u16 {
        let at = self.resources.iter().position(|r| **r == *resource).unwrap_or_else(|| {
            self.resources.push(Arc::new(resource.clone()));
            self.resources.len() - 1
        });
        u16::try_from(at).unwrap_or(u16::MAX)
    }

    fn set(&mut self, entry: Entry, there: bool) {
        match self.phase {
            Phase::Unknown => {}
            Phase::Listing => {
                self.meanwhile.insert(entry, there);
            }
            Phase::Whole if there => {
                self.entries.insert(entry);
            }
            Phase::Whole => {
                self.entries.remove(&entry);
            }
        }
    }

    fn change(&mut self, change: &Change) {
        if self.phase == Phase::Unknown {
            return;
        }
        self.revision = self.revision.max(change.revision);
        let has_owners = |object: &Option<Object>| object.as_ref().is_some_and(|o| o.stored.owners().next().is_some());
        if !has_owners(&change.old) && !has_owners(&change.new) {
            return;
        }
        let number = self.number(&change.resource);
        if let Some(old) = &change.old {
            for owner in old.stored.owners() {
                let kept = change.new.as_ref().is_some_and(|new| new.stored.owners().any(|o| o.uid == owner.uid));
                if !kept {
                    self.set((owner.uid, Place::of(number, old)), false);
                }
            }
        }
        if let Some(new) = &change.new {
            for owner in new.stored.owners() {
                let had = change.old.as_ref().is_some_and(|old| old.stored.owners().any(|o| o.uid == owner.uid));
                if !had {
                    self.set((owner.uid, Place::of(number, new)), true);
                }
            }
        }
    }

    /// What was listed is right up to this revision; what happened since is added.
    fn finish(&mut self, listed: u64) {
        self.phase = Phase::Whole;
        for (entry, there) in std::mem::take(&mut self.meanwhile) {
            self.set(entry, there);
        }
        self.revision = self.revision.max(listed);
    }

    fn of<'a>(&'a self, owner: Uuid) -> impl Iterator<Item = &'a Place> + 'a {
        let first = (owner, Place { resource: 0, path: Box::default() });
        self.entries.range(first..).take_while(move |(of, _)| *of == owner).map(|(_, place)| place)
    }
}

/// What an index knows of an owner.
pub(super) struct Known {
    /// Its dependents and their resources.
    pub(super) places: Vec<(Arc<GroupResource>, Place)>,
    /// What happened up to here is known.
    pub(super) revision: u64,
}

impl Owned {
    /// Follows a change. Changes of a tenant come in the order in which its follower is told of them.
    pub(super) fn change(&self, change: &Change) {
        if let Some(tenant) = self.existing(change.tenant) {
            tenant.index.lock().change(change);
        }
    }

    /// Whether an owner may have dependents, as far as changes were followed.
    pub(super) fn may_own(&self, tenant: TenantId, owner: Uuid) -> bool {
        let Some(tenant) = self.existing(tenant) else { return true };
        let index = tenant.index.lock();
        index.phase != Phase::Whole || index.of(owner).next().is_some()
    }

    /// Forgets a tenant of which changes were missed, or will be, or that nobody uses.
    pub(super) fn forget(&self, tenant: TenantId) {
        if let Some(tenant) = self.tenants.lock().remove(&tenant) {
            // Who is listing for it just now must not take it for whole.
            *tenant.index.lock() = Index::default();
        }
    }

    /// The dependents of an owner. Lists the tenant's objects if that was not done yet.
    ///
    /// # Errors
    /// What the lists answered; 409 if changes were missed meanwhile.
    pub(super) async fn dependents(
        &self,
        client: &dyn TenantClient,
        tenant: TenantId,
        resources: &[Resource],
        owner: Uuid,
    ) -> Result<Known, ApiError> {
        let (found, _) = self.whole(client, tenant, resources, &mut |_, _| {}).await?;
        let index = found.index.lock();
        let places =
            index.of(owner).filter_map(|p| Some((index.resources.get(usize::from(p.resource))?.clone(), p.clone())));
        Ok(Known { places: places.collect(), revision: index.revision })
    }

    /// Lists all objects of a tenant, each shown to `see`, and makes its index whole if it is not.
    ///
    /// # Errors
    /// As [`Owned::dependents`].
    pub(super) async fn survey(
        &self,
        client: &dyn TenantClient,
        tenant: TenantId,
        resources: &[Resource],
        see: &mut (dyn FnMut(&Resource, &Object) + Send),
    ) -> Result<(), ApiError> {
        if self.whole(client, tenant, resources, see).await?.1 {
            return Ok(());
        }
        for resource in resources {
            for object in client.list(tenant, &resource.resource, None).await?.items {
                see(resource, &object);
            }
        }
        Ok(())
    }

    /// The owned objects of a tenant behind one of them, a page of them.
    ///
    /// # Errors
    /// 409 if its index is not whole (any more).
    pub(super) fn page(
        &self,
        tenant: TenantId,
        after: Option<&Entry>,
    ) -> Result<Vec<(Arc<GroupResource>, Entry)>, ApiError> {
        let tenant = self.existing(tenant).ok_or_else(missed)?;
        let index = tenant.index.lock();
        if index.phase != Phase::Whole {
            return Err(missed());
        }
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let entries = index.entries.range::<Entry, _>((from, Bound::Unbounded)).take(PAGE);
        let of = |e: &Entry| Some((index.resources.get(usize::from(e.1.resource))?.clone(), e.clone()));
        Ok(entries.filter_map(of).collect())
    }

    fn existing(&self, tenant: TenantId) -> Option<Arc<Tenant>> {
        self.tenants.lock().get(&tenant).cloned()
    }

    /// The index of a tenant, whole, and whether objects were listed for it, which then were shown to `see`.
    async fn whole(
        &self,
        client: &dyn TenantClient,
        tenant: TenantId,
        resources: &[Resource],
        see: &mut (dyn FnMut(&Resource, &Object) + Send),
    ) -> Result<(Arc<Tenant>, bool), ApiError> {
        let found = Arc::clone(self.tenants.lock().entry(tenant).or_default());
        let _listing = found.listing.lock().await;
        if found.index.lock().phase == Phase::Whole {
            return Ok((Arc::clone(&found), false));
        }
        // From here on changes are noted. All that the follower has told of before is in the lists.
        *found.index.lock() = Index { phase: Phase::Listing, ..Index::default() };
        let mut first = u64::MAX;
        for resource in resources {
            let list = match client.list(tenant, &resource.resource, None).await {
                Ok(list) => list,
                Err(error) => {
                    *found.index.lock() = Index::default();
                    return Err(error);
                }
            };
            first = first.min(list.revision);
            for object in &list.items {
                see(resource, object);
                if object.stored.owners().next().is_some() {
                    let mut index = found.index.lock();
                    let number = index.number(&resource.resource);
                    index.entries.extend(object.stored.owners().map(|o| (o.uid, Place::of(number, object))));
                }
            }
        }
        let mut index = found.index.lock();
        if index.phase != Phase::Listing {
            *index = Index::default();
            return Err(missed());
        }
        index.finish(if first == u64::MAX { 0 } else { first });
        drop(index);
        Ok((Arc::clone(&found), true))
    }
}

fn missed() -> ApiError {
    let all = GroupResource::new("", "all");
    ApiError::conflict(&all, "", "what was known of the tenant's objects was given up meanwhile: looking again")
}

#[cfg(test)]
mod tests {
    use apimachinery::envelope::Stored;
    use apimachinery::gvk::GroupVersionKind;
    use serde_json::json;

    use super::*;

    fn pod(name: &str, owners: &[u128]) -> Object {
        let owners: Vec<_> = owners.iter().map(|o| json!({"uid": Uuid::from_u128(*o).to_string()})).collect();
        let value =
            json!({"metadata": {"name": name, "uid": Uuid::from_u128(99).to_string(), "ownerReferences": owners}});
        Object {
            kind: Arc::new(GroupVersionKind::new("", "v1", "Pod")),
            namespace: "n".into(),
            name: name.into(),
            revision: 1,
            stored: Stored::encode("v1", &value, &[]).unwrap(),
        }
    }

    fn change(old: Option<Object>, new: Option<Object>, revision: u64) -> Change {
        let resource = Arc::new(GroupResource::new("", "pods"));
        Change { tenant: TenantId::from_bytes([1; 16]), resource, old, new, revision }
    }

    fn names(index: &Index, owner: u128) -> Vec<String> {
        index.of(Uuid::from_u128(owner)).map(|p| format!("{} {}", p.namespace(), p.name())).collect()
    }

    #[test]
    fn what_is_written_while_objects_are_listed_wins_over_the_lists() {
        let mut index = Index { phase: Phase::Listing, ..Index::default() };
        // The log: `gone` was deleted, `new` was made, `moved` got another owner. The lists were read before.
        index.change(&change(Some(pod("gone", &[7])), None, 5));
        index.change(&change(None, Some(pod("new", &[7])), 6));
        index.change(&change(Some(pod("moved", &[7])), Some(pod("moved", &[8])), 7));
        let number = index.number(&GroupResource::new("", "pods"));
        for object in [pod("gone", &[7]), pod("moved", &[7]), pod("there", &[7, 9])] {
            index.entries.extend(object.stored.owners().map(|o| (o.uid, Place::of(number, &object))));
        }
        index.finish(4);
        assert_eq!(names(&index, 7), ["n new", "n there"]);
        assert_eq!((names(&index, 8), names(&index, 9)), (vec!["n moved".to_owned()], vec!["n there".to_owned()]));
        assert_eq!(index.revision, 7);
        index.change(&change(Some(pod("there", &[7, 9])), None, 8));
        assert_eq!((names(&index, 7).len(), names(&index, 9).len()), (1, 0));
    }

    #[test]
    fn an_index_that_is_not_whole_says_no_to_nobody() {
        let owned = Owned::default();
        let tenant = TenantId::from_bytes([1; 16]);
        assert!(owned.may_own(tenant, Uuid::from_u128(7)));
        owned.tenants.lock().entry(tenant).or_default().index.lock().finish(1);
        assert!(!owned.may_own(tenant, Uuid::from_u128(7)));
        owned.change(&change(None, Some(pod("p", &[7])), 2));
        assert!(owned.may_own(tenant, Uuid::from_u128(7)));
        owned.forget(tenant);
        assert!(owned.may_own(tenant, Uuid::from_u128(8)));
    }
}
