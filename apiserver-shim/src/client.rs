//! The tenant seam in process: controllers and syncer read and write through the registry, with full admission.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, LazyLock};

use apimachinery::builtin;
use apimachinery::envelope::Stored;
use apimachinery::gvk::{GroupResource, GroupVersionKind};
use apimachinery::patch::PatchType;
use apimachinery::resource::Group;
use apimachinery::status::ApiError;
use apimachinery::tenant::TenantId;
use async_trait::async_trait;
use bytes::Bytes;
use serde_json::Value;
use smol_str::SmolStr;
use store::{Cursor, Revision, Scope, StoreError};
use tenant_client::{Caller, Event, EventStream, List, Object, Patch, Resource, Target, TenantClient};
use tokio::sync::watch;

use crate::auth::User;
use crate::decode;
use crate::registry::{self, Call, Live, from_storage, place, store_error};
use crate::server::Shared;
use crate::special;
use crate::tenants::{GateGuard, Tenants};

/// Which tenants are served.
pub trait Served: Send + Sync + 'static {
    /// Those that are served now.
    fn ids(&self) -> Vec<TenantId>;

    /// Changes when one comes or goes.
    fn changes(&self) -> watch::Receiver<u64>;

    /// Lets a call to a tenant in, and keeps it open while the call runs.
    ///
    /// # Errors
    /// 503 while all its objects are being replaced: half of that must not be acted upon.
    fn enter(&self, _tenant: TenantId) -> Result<Option<GateGuard>, ApiError> {
        Ok(None)
    }
}

impl Served for Tenants {
    fn ids(&self) -> Vec<TenantId> {
        Self::ids(self)
    }

    fn changes(&self) -> watch::Receiver<u64> {
        Self::changes(self)
    }

    fn enter(&self, tenant: TenantId) -> Result<Option<GateGuard>, ApiError> {
        let Some(tenant) = self.get(tenant) else { return Ok(None) };
        let closed = || ApiError::unavailable("this virtual cluster is being restored");
        tenant.gate().enter().map(Some).ok_or_else(closed)
    }
}

/// The seam over a server's registry.
pub(crate) struct LocalClient {
    shared: Arc<Shared>,
    served: Arc<dyn Served>,
}

impl LocalClient {
    pub(crate) fn new(shared: Arc<Shared>, served: Arc<dyn Served>) -> Self {
        Self { shared, served }
    }

    async fn call(&self, caller: Caller, target: Target<'_>) -> Result<Call, ApiError> {
        self.shared.registry.load(target.tenant).await?;
        let catalog = self.shared.registry.catalog();
        let resource = catalog
            .find_stored(target.tenant, target.resource)
            .ok_or_else(|| ApiError::not_found(target.resource, target.name))?;
        let mut call = Call::new(target.tenant, User::internal(caller.user), resource, self.shared.clock.now());
        call.namespace = target.namespace.to_owned();
        call.name = target.name.to_owned();
        call.subresource = target.subresource.to_owned();
        call.manager = caller.manager.to_owned();
        call.field_validation = registry::FieldValidation::Ignore;
        Ok(call)
    }
}

const READER: Caller = Caller { user: "system:apiserver", manager: "" };

/// The built-in resources whose objects are stored, the same for all tenants.
static BUILT_IN: LazyLock<Vec<Resource>> = LazyLock::new(|| {
    let mut found = Vec::new();
    add_stored(builtin::groups(), &mut found);
    found
});

/// Adds the resources of groups whose objects are stored, each once.
fn add_stored(groups: &[Group], found: &mut Vec<Resource>) {
    for resource in groups.iter().flat_map(|group| &group.versions).flat_map(|(_, resources)| resources) {
        let name = place::storage_resource(&resource.group_resource());
        let stored = resource.allows("list") && resource.allows("delete");
        if stored && !found.iter().any(|r| r.resource == name) {
            found.push(Resource {
                resource: name,
                kind: place::storage_kind(resource),
                namespaced: resource.namespaced,
            });
        }
    }
}

fn object(live: Live, namespace: &str, name: &str) -> Object {
    Object {
        kind: live.kind,
        namespace: namespace.into(),
        name: name.into(),
        revision: live.revision,
        stored: live.stored,
    }
}

#[async_trait]
impl TenantClient for LocalClient {
    fn tenants(&self) -> Vec<TenantId> {
        self.served.ids()
    }

    fn follow(&self) -> Box<dyn EventStream> {
        let mut changes = self.served.changes();
        changes.mark_changed();
        let from = self.shared.registry.store().revision();
        Box::new(Follower {
            shared: Arc::clone(&self.shared),
            served: Arc::clone(&self.served),
            changes,
            known: BTreeSet::new(),
            cursor: None,
            from,
            kinds: HashMap::new(),
        })
    }

    fn in_order(&self) -> bool {
        true
    }

    async fn get(&self, target: Target<'_>) -> Result<Object, ApiError> {
        let _inside = self.served.enter(target.tenant)?;
        let call = self.call(READER, target).await?;
        let live = self.shared.registry.get(&call).await?;
        Ok(object(live, target.namespace, target.name))
    }

    async fn scale(&self, target: Target<'_>) -> Result<Option<Value>, ApiError> {
        let _inside = self.served.enter(target.tenant)?;
        let call = self.call(READER, Target { subresource: "scale", ..target }).await?;
        special::get(&self.shared.registry, &call).await
    }

    async fn list(
        &self,
        tenant: TenantId,
        resource: &GroupResource,
        namespace: Option<&str>,
    ) -> Result<List, ApiError> {
        let _inside = self.served.enter(tenant)?;
        let namespace = namespace.unwrap_or_default();
        let call = self.call(READER, Target { tenant, resource, namespace, name: "", subresource: "" }).await?;
        let collection = place::collection(tenant, resource);
        let kind = Arc::new(place::storage_kind(&call.resource));
        let prefix = if namespace.is_empty() { SmolStr::default() } else { format!("{namespace}/").into() };
        let query = store::RangeQuery { prefix, ..store::RangeQuery::default() };
        let range = self.shared.registry.store().range(&collection, query).await.map_err(store_error)?;
        let mut items = Vec::with_capacity(range.records.len());
        for record in range.records {
            let record_name = record.name.clone();
            let (namespace, name) = place::split_record_name(&record_name);
            items.push(object(Live::from_record(&kind, record)?, namespace, name));
        }
        Ok(List { items, revision: range.revision })
    }

    async fn resources(&self, tenant: TenantId) -> Result<Vec<Resource>, ApiError> {
        let _inside = self.served.enter(tenant)?;
        self.shared.registry.load(tenant).await?;
        let mut found = BUILT_IN.clone();
        add_stored(&self.shared.registry.catalog().custom_groups(tenant), &mut found);
        Ok(found)
    }

    async fn create(&self, caller: Caller, target: Target<'_>, object: Value) -> Result<Value, ApiError> {
        let _inside = self.served.enter(target.tenant)?;
        let call = self.call(caller, target).await?;
        if !call.subresource.is_empty() || special::is_virtual(&call) {
            let kind = match call.resource.subresource(&call.subresource) {
                Some(sub) => sub.gvk.clone(),
                None => call.resource.gvk.clone(),
            };
            let object = decode::value_of(&call, &kind, object)?;
            return special::post(&self.shared, &call, object).await.map(|(_, answer)| answer);
        }
        let object = decode::value(&call, object)?;
        from_storage(&call.resource, self.shared.registry.create(&call, object).await?)
    }

    async fn update(&self, caller: Caller, target: Target<'_>, object: Value) -> Result<Value, ApiError> {
        let _inside = self.served.enter(target.tenant)?;
        let call = self.call(caller, target).await?;
        if let Some(kind) = special::projected(&call) {
            let object = decode::value_of(&call, &kind, object)?;
            return special::put(&self.shared.registry, &call, object).await;
        }
        let object = decode::value(&call, object)?;
        let updated = self.shared.registry.update(&call, object).await?;
        from_storage(&call.resource, updated.object)
    }

    async fn patch(&self, caller: Caller, target: Target<'_>, patch: Patch) -> Result<Value, ApiError> {
        let _inside = self.served.enter(target.tenant)?;
        let call = self.call(caller, target).await?;
        let (kind, value, force) = match patch {
            Patch::Json(value) => (PatchType::Json, value, false),
            Patch::Merge(value) => (PatchType::Merge, value, false),
            Patch::Strategic(value) => (PatchType::Strategic, value, false),
            Patch::Apply { object, force } => (PatchType::Apply, object, force),
        };
        let patch = registry::Patch { kind, value, force, strict: Vec::new() };
        if special::projected(&call).is_some() {
            return special::patch(&self.shared.registry, &call, &patch).await;
        }
        let updated = self.shared.registry.patch(&call, &patch).await?;
        from_storage(&call.resource, updated.object)
    }

    async fn delete(
        &self,
        caller: Caller,
        target: Target<'_>,
        options: tenant_client::DeleteOptions,
    ) -> Result<(), ApiError> {
        let _inside = self.served.enter(target.tenant)?;
        let call = self.call(caller, target).await?;
        let options = registry::DeleteOptions {
            grace_period_seconds: options.grace_period_seconds,
            uid: options.uid,
            resource_version: options.resource_version,
            propagation_policy: options.propagation_policy.map(str::to_owned),
            ..registry::DeleteOptions::default()
        };
        self.shared.registry.delete(&call, &options).await.map(|_| ())
    }
}

/// A cursor over everything, seen as events of the tenants that are served.
struct Follower {
    shared: Arc<Shared>,
    served: Arc<dyn Served>,
    changes: watch::Receiver<u64>,
    known: BTreeSet<TenantId>,
    cursor: Option<Box<dyn Cursor>>,
    from: Revision,
    /// Built-in resources by the names of their collections.
    kinds: HashMap<SmolStr, (Arc<GroupResource>, Arc<GroupVersionKind>)>,
}

#[async_trait]
impl EventStream for Follower {
    async fn next(&mut self) -> Result<Vec<Event>, ApiError> {
        loop {
            let mut events = VecDeque::new();
            if self.changes.has_changed().unwrap_or(false) {
                self.changes.mark_unchanged();
                self.look_around(&mut events);
            }
            if !events.is_empty() {
                return Ok(events.into());
            }
            let mut cursor = match self.cursor.take() {
                Some(cursor) => cursor,
                None => self.shared.registry.store().follow(Scope::All, self.from).map_err(lost)?,
            };
            let changes = tokio::select! {
                changes = cursor.next() => changes,
                changed = self.changes.changed() => {
                    self.cursor = Some(cursor);
                    if changed.is_err() {
                        return Err(ApiError::unavailable("the server stops"));
                    }
                    self.changes.mark_changed();
                    continue;
                }
            };
            self.cursor = Some(cursor);
            for change in changes.map_err(lost)? {
                self.tell(&change, &mut events)?;
            }
            if !events.is_empty() {
                return Ok(events.into());
            }
        }
    }
}

fn lost(error: StoreError) -> ApiError {
    match error {
        StoreError::Compacted { .. } => ApiError::expired("changes were missed: follow anew and list"),
        other => store_error(other),
    }
}

impl Follower {
    /// Tells which tenants came and went.
    fn look_around(&mut self, events: &mut VecDeque<Event>) {
        let now: BTreeSet<TenantId> = self.served.ids().into_iter().collect();
        for gone in self.known.difference(&now) {
            events.push_back(Event::Detached(*gone));
            self.shared.registry.rest(*gone, || self.shared.access.is_inside(*gone));
        }
        events.extend(now.difference(&self.known).map(|t| Event::Attached(*t)));
        self.known = now;
    }

    fn tell(&mut self, change: &store::Change, events: &mut VecDeque<Event>) -> Result<(), ApiError> {
        let tenant = change.key.collection.tenant;
        if !self.known.contains(&tenant) {
            // Its attachment may not have been seen yet: it comes before its changes. Where it has not been told of yet
            // either, the change is left out, and who lists at the attachment sees what it made: so are the first objects
            // of a tenant, each of which would have all tenants looked at.
            if self.changes.has_changed().unwrap_or(false) {
                self.changes.mark_unchanged();
                self.look_around(events);
            }
            if !self.known.contains(&tenant) {
                return Ok(());
            }
        }
        let (namespace, name) = place::split_record_name(&change.key.name);
        let mut resource = None;
        let mut object = |value: &Bytes, revision: Revision| -> Result<Object, ApiError> {
            let stored = Stored::from_bytes(value.clone()).map_err(ApiError::internal)?;
            let (found, kind) = self.kind(tenant, &change.key.collection.name, stored.version());
            resource = Some(found);
            Ok(object(Live { kind, stored, revision }, namespace, name))
        };
        let old = change.previous.as_ref().map(|(value, revision)| object(value, *revision)).transpose()?;
        let new = change.value.as_ref().map(|value| object(value, change.revision)).transpose()?;
        let Some(resource) = resource else { return Ok(()) };
        let change = tenant_client::Change { tenant, resource, old, new, revision: change.revision };
        events.push_back(Event::Change(Arc::new(change)));
        Ok(())
    }

    fn kind(
        &mut self,
        tenant: TenantId,
        collection: &SmolStr,
        version: &str,
    ) -> (Arc<GroupResource>, Arc<GroupVersionKind>) {
        if let Some(found) = self.kinds.get(collection) {
            return found.clone();
        }
        let name = place::collection_resource(collection);
        let Some(resource) = self.shared.registry.catalog().find_stored(tenant, &name) else {
            // The definition is gone, and its objects went with it: what their kind was called is not known any more.
            let kind = GroupVersionKind::new(name.group.clone(), version, "");
            return (Arc::new(name), Arc::new(kind));
        };
        let found = (Arc::new(name), Arc::new(place::storage_kind(&resource)));
        if !resource.custom {
            self.kinds.insert(collection.clone(), found.clone());
        }
        found
    }
}
