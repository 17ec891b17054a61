//! Which config maps, secrets and endpoints are on the host, and in which state we left them there.

use std::collections::{BTreeSet, HashMap};

use apimachinery::tenant::TenantId;
use parking_lot::Mutex;
use smol_str::SmolStr;
use tenant_client::work::Item;
use tokio::sync::Notify;

/// What is known of an object that we placed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// The tenant's revision that the host shows; 0 if that is not certain.
    pub(crate) revision: u64,
    /// `resourceVersion` on the host when it was last compared.
    pub(crate) host_version: SmolStr,
}

/// The objects that are on the host, by tenant and item.
#[derive(Debug, Default)]
pub(crate) struct Placed {
    places: Mutex<HashMap<(TenantId, Item), Place>>,
    changed: Notify,
}

impl Placed {
    /// What is known of an object; `None` if we did not place it.
    pub(crate) fn get(&self, tenant: TenantId, item: &Item) -> Option<Place> {
        self.places.lock().get(&(tenant, item.clone())).cloned()
    }

    /// An object is on the host.
    pub(crate) fn set(&self, tenant: TenantId, item: &Item, place: Place) {
        if self.places.lock().insert((tenant, item.clone()), place).is_none() {
            self.changed.notify_one();
        }
    }

    /// An object is on the host, in a state that is to be looked at.
    pub(crate) fn doubt(&self, tenant: TenantId, item: &Item) {
        let mut places = self.places.lock();
        let new = !places.contains_key(&(tenant, item.clone()));
        places.entry((tenant, item.clone())).or_default().revision = 0;
        if new {
            self.changed.notify_one();
        }
    }

    /// An object is to leave the host; whether it was there.
    pub(crate) fn remove(&self, tenant: TenantId, item: &Item) -> bool {
        let there = self.places.lock().remove(&(tenant, item.clone())).is_some();
        if there {
            self.changed.notify_one();
        }
        there
    }

    /// The items of a tenant and room.
    pub(crate) fn items(&self, tenant: TenantId, room: &str) -> Vec<Item> {
        let places = self.places.lock();
        places.keys().filter(|(t, item)| *t == tenant && item.room == room).map(|(_, item)| item.clone()).collect()
    }

    /// The rooms and namespaces in which something is placed.
    pub(crate) fn namespaces(&self) -> BTreeSet<(TenantId, &'static str, SmolStr)> {
        self.places.lock().keys().map(|(tenant, item)| (*tenant, item.room, item.namespace.clone())).collect()
    }

    /// The tenants that have something on the host, if it lies in more rooms and namespaces than `limit`.
    pub(crate) fn tenants_beyond(&self, limit: usize) -> BTreeSet<TenantId> {
        let namespaces = self.namespaces();
        if namespaces.len() <= limit {
            return BTreeSet::new();
        }
        namespaces.into_iter().map(|(tenant, ..)| tenant).collect()
    }

    /// Waits until something was placed or removed.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Forgets a namespace, or with `None` all of a tenant.
    pub(crate) fn forget(&self, tenant: TenantId, namespace: Option<&str>) {
        self.places.lock().retain(|(t, item), _| *t != tenant || namespace.is_some_and(|n| item.namespace != n));
        self.changed.notify_one();
    }
}
