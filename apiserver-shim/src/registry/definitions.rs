//! CustomResourceDefinitions: what a tenant's definitions come to is kept in the catalog, and renewed with every write of
//! one of them, before the writer is answered.

use std::collections::HashSet;
use std::sync::Arc;

use apimachinery::crd::{self, CLEANUP_FINALIZER, CustomVersion};
use apimachinery::gvk::GroupResource;
use apimachinery::meta;
use apimachinery::status::ApiError;
use apimachinery::tenant::TenantId;
use serde_json::{Value, json};
use store::{Key, Precondition, RangeQuery, StoreError, Write};

use super::{Call, DeleteOptions, ListQuery, Live, RENEWING, Registry, encode, place, put, store_error};
use crate::auth::User;
use crate::clock::rfc3339;
use crate::resources::{CustomResources, Found};

/// The collection that definitions lie in.
const COLLECTION: &str = "apiextensions.k8s.io/customresourcedefinitions";

fn definitions() -> GroupResource {
    GroupResource::new("apiextensions.k8s.io", "customresourcedefinitions")
}

impl Registry {
    /// Reads a tenant's definitions if that was not done yet.
    ///
    /// # Errors
    /// 503 if the store is away.
    pub async fn load(&self, tenant: TenantId) -> Result<(), ApiError> {
        if self.catalog.is_current(tenant) { Ok(()) } else { self.renew(tenant, false).await }
    }

    /// A tenant's definitions were written by others: they are read before the next request.
    pub fn forget(&self, tenant: TenantId) {
        self.catalog.doubt(tenant);
    }

    /// Nobody has asked anything of a tenant for a while: lets go of what its definitions come to, unless somebody is
    /// `inside` nevertheless, who may still need it. Whoever comes next reads it.
    pub(crate) fn rest(&self, tenant: TenantId, inside: impl Fn() -> bool) {
        if inside() {
            return;
        }
        self.catalog.doubt(tenant);
        // Who has come in before that and found all there is seen now; who comes in after it reads anew.
        if !inside() {
            self.catalog.drop_doubted(tenant);
        }
    }

    /// Takes note of a write that was done.
    pub(super) async fn noticed(&self, key: &Key, gone: bool) -> Result<(), ApiError> {
        let tenant = key.collection.tenant;
        let concerned = key.collection.name == COLLECTION
            || (gone && self.catalog.is_terminating(tenant, &place::collection_resource(&key.collection.name)));
        if concerned {
            // A writer who goes away before it is done leaves it to the next request.
            self.catalog.doubt(tenant);
            self.renew(tenant, true).await?;
        }
        Ok(())
    }

    /// Brings status and catalog up to a tenant's definitions; unless `anyway`, only if nobody else did it meanwhile. Those
    /// that go have their objects deleted first.
    async fn renew(&self, tenant: TenantId, anyway: bool) -> Result<(), ApiError> {
        let Some(kind) = self.catalog.find_stored(tenant, &definitions()) else { return Ok(()) };
        let all = {
            // Two who read at a time could publish in the other order.
            let lane = usize::from(tenant.as_bytes()[TenantId::WIDTH - 1]) % RENEWING;
            let _one = self.renewing[lane].lock().await;
            if !anyway && self.catalog.is_current(tenant) {
                return Ok(());
            }
            self.read_definitions(tenant, &kind).await?
        };
        for (live, value) in &all {
            if live.stored.deleting() {
                Box::pin(self.clean_up(tenant, &kind, value)).await?;
            }
        }
        Ok(())
    }

    /// Reads a tenant's definitions, accepts those that are new, and publishes what they come to.
    async fn read_definitions(&self, tenant: TenantId, kind: &Found) -> Result<Vec<(Live, Value)>, ApiError> {
        let collection = place::collection(tenant, &definitions());
        let range = self.store.range(&collection, RangeQuery::default()).await.map_err(store_error)?;
        let stored_kind = Arc::new(place::storage_kind(kind));
        let mut all: Vec<(Live, Value)> = Vec::with_capacity(range.records.len());
        for record in range.records {
            let live = Live::from_record(&stored_kind, record)?;
            let value = live.to_value()?;
            all.push((live, value));
        }
        for i in 0..all.len() {
            self.accept(tenant, kind, &mut all, i).await?;
        }
        self.publish(tenant, all.iter().map(|(_, value)| value));
        Ok(all)
    }

    /// Gives a definition its names, and writes its status if that changed.
    async fn accept(
        &self,
        tenant: TenantId,
        kind: &Found,
        all: &mut [(Live, Value)],
        i: usize,
    ) -> Result<(), ApiError> {
        let (live, value) = &all[i];
        if live.stored.deleting() {
            return Ok(());
        }
        let others = all.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, (_, other))| other);
        let outcome = crd::accept_names(value, others, &rfc3339(self.clock.now()));
        if !outcome.changed {
            return Ok(());
        }
        let mut new = value.clone();
        new["status"] = outcome.status;
        let key = place::key(tenant, &definitions(), "", meta::name(&new));
        let stored = encode(kind, &live.kind, &new)?;
        let write = put(key, &stored, Precondition::Revision(live.revision));
        match self.store.commit(vec![write]).await {
            Ok(revision) => {
                let live = Live { stored, revision, kind: Arc::clone(&live.kind) };
                all[i] = (live, new);
                Ok(())
            }
            // Whoever was faster renews too.
            Err(StoreError::Conflict { .. }) => Ok(()),
            Err(e) => Err(store_error(e)),
        }
    }

    fn publish<'a>(&self, tenant: TenantId, all: impl Iterator<Item = &'a Value>) {
        let mut published = Vec::new();
        let mut terminating = HashSet::new();
        for definition in all {
            let names = &definition["status"]["acceptedNames"];
            if definition["metadata"].get("deletionTimestamp").is_some() {
                let group = meta::str_at(definition, &["spec", "group"]);
                terminating.insert(GroupResource::new(group, meta::str_at(definition, &["spec", "names", "plural"])));
            }
            if !crd::condition_is_true(definition, "Established") || names.is_null() {
                continue;
            }
            let versions = meta::list_at(definition, &["spec", "versions"]).iter().filter(|v| v["served"] == true);
            let compiled = versions.filter_map(|v| {
                let compiled = CustomVersion::compile(definition, meta::str_at(v, &["name"]));
                compiled.inspect_err(|error| tracing::warn!(%tenant, %error, "a definition can not be served")).ok()
            });
            let compiled: Vec<Arc<CustomVersion>> = compiled.map(Arc::new).collect();
            published.push((Arc::new(definition.clone()), compiled));
        }
        self.catalog.set_custom(tenant, CustomResources::new(published, terminating));
    }

    /// Deletes the objects of a definition that goes, and lets it go when there are none left.
    async fn clean_up(&self, tenant: TenantId, kind: &Found, definition: &Value) -> Result<(), ApiError> {
        let finalizers = meta::list_at(definition, &["metadata", "finalizers"]);
        if !finalizers.iter().any(|f| f == CLEANUP_FINALIZER) {
            return Ok(());
        }
        let group = meta::str_at(definition, &["spec", "group"]);
        let resource = GroupResource::new(group, meta::str_at(definition, &["spec", "names", "plural"]));
        let user = User::internal("system:apiserver");
        // Objects may be left of a definition that serves no version any more.
        let unserved = || {
            let compiled = CustomVersion::compile(definition, crd::storage_version(definition)?).ok()?;
            Some(Found::custom(Arc::new(compiled), false))
        };
        if let Some(found) = self.catalog.find_stored(tenant, &resource).or_else(unserved) {
            let call = Call::new(tenant, user.clone(), found, self.clock.now());
            let pending: Vec<Live> = self.list(&call, &ListQuery::default()).await?.items;
            if pending.iter().any(|live| !live.stored.deleting()) {
                self.delete_collection(&call, &ListQuery::default(), &DeleteOptions::default()).await?;
            }
        }
        if self.store.count(&place::collection(tenant, &resource)).await.map_err(store_error)? > 0 {
            return Ok(());
        }
        let key = place::key(tenant, &definitions(), "", meta::name(definition));
        let Some(record) = self.record(&key).await? else { return Ok(()) };
        let live = Live::from_record(&Arc::new(place::storage_kind(kind)), record)?;
        let mut new = live.to_value()?;
        let left: Vec<Value> = meta::list_at(&new, &["metadata", "finalizers"])
            .iter()
            .filter(|f| *f != CLEANUP_FINALIZER)
            .cloned()
            .collect();
        let require = Precondition::Revision(live.revision);
        let write = if left.is_empty() {
            Write { key: key.clone(), value: None, require }
        } else {
            new["metadata"]["finalizers"] = json!(left);
            put(key.clone(), &encode(kind, &live.kind, &new)?, require)
        };
        match self.store.commit(vec![write]).await {
            Ok(_) => Box::pin(self.renew(tenant, true)).await,
            Err(StoreError::Conflict { .. }) => Ok(()),
            Err(e) => Err(store_error(e)),
        }
    }
}
