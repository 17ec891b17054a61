//! Objects: created, read, listed, changed and deleted, by the rules that hold for all of them.
//!
//! The registry works on objects in their storage version. What comes from or goes to a client in another version is
//! converted at the edge. Every write goes the same way: defaults, mutating admission, what the server sets,
//! validation, validating admission, one transaction of the store.

pub mod call;
mod convert;
mod create;
mod definitions;
mod delete;
mod list;
mod metadata;
mod names;
mod options;
mod patch;
pub mod place;
mod precondition;
mod read;
mod update;

use std::sync::Arc;

use apimachinery::envelope::Stored;
use apimachinery::gvk::{GroupResource, GroupVersionKind};
use apimachinery::meta;
use apimachinery::resource::Resource;
use apimachinery::rules::{Requester, Rules, rules_for};
use apimachinery::status::ApiError;
use apimachinery::tenant::TenantId;
use serde_json::Value;
use store::{Key, Precondition, Record, Revision, Store, StoreError, Write};
use tenant_client::host::Host;
use tokio::sync::Mutex;

pub use call::{Call, FieldValidation};
pub use convert::{from_storage, to_storage};
pub use delete::Deleted;
pub(crate) use delete::check_preconditions;
pub use list::{ListQuery, Listing, MatchVersion, parse_revision, parse_revision_at};
pub(crate) use names::generate as generate_name;
pub use options::{DeleteOptions, WriteOptions};
pub use patch::Patch;
pub use read::Live;
pub use update::Updated;

use crate::admission::Admission;
use crate::auth::User;
use crate::clock::SharedClock;
use crate::resources::{Catalog, Found};

/// Tenants whose definitions are read at a time, at most.
const RENEWING: usize = 16;

/// The objects of all tenants.
pub struct Registry {
    store: Arc<dyn Store>,
    catalog: Arc<Catalog>,
    clock: SharedClock,
    admission: Vec<Box<dyn Admission>>,
    host: Option<Arc<dyn Host>>,
    /// Held while a tenant's definitions are read and published; of one tenant by one at a time.
    renewing: [Mutex<()>; RENEWING],
}

impl Registry {
    /// A registry over a store, with the plugins of [`crate::admission::plugins`].
    pub fn new(store: Arc<dyn Store>, catalog: Arc<Catalog>, clock: SharedClock, host: Option<Arc<dyn Host>>) -> Self {
        Self { store, catalog, clock, admission: crate::admission::plugins(), host, renewing: Default::default() }
    }

    /// Adds plugins that run after those there are.
    pub fn add_admission(&mut self, plugins: Vec<Box<dyn Admission>>) {
        self.admission.extend(plugins);
    }

    /// The store below.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The resources of the tenants.
    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    /// The clock.
    pub fn clock(&self) -> &SharedClock {
        &self.clock
    }

    /// The host cluster, if there is one.
    pub fn host(&self) -> Option<&Arc<dyn Host>> {
        self.host.as_ref()
    }

    fn admission(&self) -> &[Box<dyn Admission>] {
        &self.admission
    }

    /// Fills in what a client left out. The object is in the version of the call's resource.
    pub(crate) fn defaulted(&self, call: &Call, object: Value) -> Result<Value, ApiError> {
        let mut stored = to_storage(&call.resource, object)?;
        rules_of(&call.resource).default(&mut stored);
        from_storage(&call.resource, stored)
    }

    /// Does all writes or none. The first one is what the request is about.
    pub(crate) async fn commit(&self, writes: Vec<Write>) -> Result<Revision, StoreError> {
        let first = writes.first().map(|write| (write.key.clone(), write.value.is_none()));
        let revision = self.store.commit(writes).await?;
        if let Some((key, gone)) = first
            && let Err(error) = self.noticed(&key, gone).await
        {
            // The write itself is done; the next request makes up for this.
            tracing::warn!(tenant = %key.collection.tenant, %error, "definitions could not be renewed");
        }
        Ok(revision)
    }

    /// The write that replaces a built-in object, which is in the version it is stored in.
    pub(crate) fn write_of(
        &self,
        tenant: TenantId,
        resource: &GroupResource,
        live: &Live,
        object: &Value,
        require: Precondition,
    ) -> Result<Write, ApiError> {
        let found = self
            .catalog
            .find_stored(tenant, resource)
            .ok_or_else(|| ApiError::internal(format!("there are no {resource}")))?;
        let key = place::key(tenant, resource, meta::namespace(object), meta::name(object));
        Ok(put(key, &encode(&found, &live.kind, object)?, require))
    }

    async fn record(&self, key: &Key) -> Result<Option<Record>, ApiError> {
        self.store.get(key).await.map_err(store_error)
    }
}

/// Rules that hold for all custom resources; the rest is in their definitions.
struct CustomRules;

impl Rules for CustomRules {
    fn unconditional_update(&self) -> bool {
        false
    }

    fn has_generation(&self) -> bool {
        true
    }
}

/// The rules of a resource's objects. Events have others in `events.k8s.io`, for the same stored objects.
pub(crate) fn rules_of(resource: &Resource) -> &'static dyn Rules {
    if resource.custom {
        return &CustomRules;
    }
    rules_for(&resource.group_resource())
}

/// Who writes, as the rules of kinds know them.
fn requester(user: &User) -> Requester<'_> {
    Requester { name: &user.name, uid: &user.uid, groups: &user.groups, extra: Some(&user.extra) }
}

/// Encodes an object for the store.
fn encode(resource: &Found, kind: &GroupVersionKind, object: &Value) -> Result<Stored, ApiError> {
    if let Some(custom) = &resource.definition {
        let fields = custom.selectable_fields(object);
        let fields: Vec<(&str, &str)> = fields.iter().map(|(k, v)| (*k, v.as_str())).collect();
        return Stored::encode(&kind.version, object, &fields).map_err(ApiError::internal);
    }
    let fields = rules_of(resource).selectable_fields(object);
    let fields: Vec<(&str, &str)> = fields.iter().map(|(k, v)| (*k, v.as_ref())).collect();
    Stored::encode(&kind.version, object, &fields).map_err(ApiError::internal)
}

fn put(key: Key, stored: &Stored, require: Precondition) -> Write {
    Write { key, value: Some(stored.as_bytes().clone()), require }
}

/// Sets `metadata.resourceVersion`.
fn set_revision(object: &mut Value, revision: Revision) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("resourceVersion".to_owned(), Value::String(revision.to_string()));
    }
}

/// What a client sees of a store that failed. Conflicts are the caller's to tell.
pub fn store_error(error: StoreError) -> ApiError {
    match error {
        StoreError::Unavailable { reason, .. } => ApiError::unavailable(format!("storage is unavailable: {reason}")),
        StoreError::Compacted { .. } => {
            ApiError::expired("The provided resource version is too old: it has been compacted. Start over without it.")
        }
        StoreError::Future { requested, current } => future_error(requested, current),
        StoreError::BadTransaction(why) => ApiError::internal(why),
        StoreError::TooLarge(limit) => ApiError::too_large(format!("the store does not take this: {limit}")),
        StoreError::Conflict { .. } => ApiError::internal("unexpected conflict"),
    }
}

/// 504 for a revision that is not there yet.
pub(crate) fn future_error(requested: Revision, current: Revision) -> ApiError {
    ApiError::timeout(format!("Timeout: Too large resource version: {requested}, current: {current}"), 1).with_cause(
        "ResourceVersionTooLarge",
        "Too large resource version",
        "",
    )
}
