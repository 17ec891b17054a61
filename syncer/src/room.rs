//! What a kind must bring along to be synced: one implementation of [`Room`] in a folder of its own.

use std::sync::Arc;

use apimachinery::gvk::GroupResource;
use apimachinery::tenant::TenantId;
use async_trait::async_trait;
use serde_json::Value;
use tenant_client::Change;

use crate::context::Context;
use crate::error::SyncError;
use crate::host_api::HostKind;
use crate::marks::Mark;
use tenant_client::work::Item;

/// What is watched on the host for a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Watching {
    /// Objects with our mark, kept in [`crate::cache::Marked`].
    Marked(HostKind),
    /// All objects, reduced by [`Room::reduce`], kept in [`crate::cache::Shared`].
    Shared(HostKind),
    /// All objects, handed to [`Room::host_seen`] and not kept.
    Passing(HostKind),
}

/// A kind and all that is particular about syncing it.
///
/// # Guarantees
/// [`Room::sync`] never runs twice at once for the same item, and only when what is watched on the host is known.
#[async_trait]
pub(crate) trait Room: Send + Sync {
    /// Its name: that of its host resource where it has one.
    fn name(&self) -> &'static str;

    /// The tenant resources that it looks at. The objects of the first are its items.
    fn tenant_resources(&self) -> Vec<GroupResource>;

    /// What is watched on the host for it.
    fn watching(&self) -> Option<Watching> {
        None
    }

    /// A tenant object of one of [`Room::tenant_resources`] changed: wakes what must be looked at.
    fn tenant_changed(&self, context: &Context, change: &Change) {
        if let Some(object) = change.object() {
            context.wake(change.tenant, Item::new(self.name(), &object.namespace, &object.name));
        }
    }

    /// A host object with our mark changed.
    fn host_changed(&self, context: &Context, mark: &Mark) {
        context.wake(mark.tenant, Item::new(self.name(), &mark.namespace, &mark.name));
    }

    /// What of a shared host object matters; `None` if it is not for tenants.
    fn reduce(&self, _object: &Value) -> Option<Value> {
        None
    }

    /// What matters of a shared host object changed.
    fn shared_changed(&self, _context: &Context, _name: &str) {}

    /// A passing host object was seen.
    fn host_seen(&self, _context: &Context, _object: Value) {}

    /// Brings the two sides of an item together.
    async fn sync(&self, context: &Arc<Context>, tenant: TenantId, item: &Item) -> Result<(), SyncError>;

    /// Wakes everything of a tenant: what it has, and what the host has of it.
    async fn scan(&self, context: &Arc<Context>, tenant: TenantId) -> Result<(), SyncError> {
        if let Some(resource) = self.tenant_resources().first() {
            for object in context.tenants.list(tenant, resource, None).await?.items {
                context.wake(tenant, Item::new(self.name(), &object.namespace, &object.name));
            }
        }
        if let Some(Watching::Marked(kind)) = self.watching() {
            for (namespace, name) in context.marked.names(tenant, kind.resource) {
                context.wake(tenant, Item::new(self.name(), &namespace, &name));
            }
        }
        Ok(())
    }
}
