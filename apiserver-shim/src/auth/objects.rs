//! Reads of a tenant's objects that identity needs, straight from the store.

use apimachinery::envelope::Stored;
use apimachinery::status::ApiError;
use apimachinery::tenant::TenantId;
use jiff::Timestamp;
use serde_json::Value;
use smol_str::{SmolStr, format_smolstr};
use store::{CollectionId, Key, Store, StoreError};

/// The objects of one tenant.
#[derive(Clone, Copy)]
pub(crate) struct Objects<'a> {
    pub(crate) store: &'a dyn Store,
    pub(crate) tenant: TenantId,
}

impl Objects<'_> {
    /// An object of a collection (`pods`), by namespace (empty for none) and name.
    pub(crate) async fn get(
        &self,
        collection: &'static str,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Stored>, ApiError> {
        // A name with a slash would be another key: `a/b` in no namespace is `b` in `a`.
        if name.is_empty() || name.contains('/') || namespace.contains('/') {
            return Ok(None);
        }
        let collection = CollectionId { tenant: self.tenant, name: SmolStr::new_static(collection) };
        let name = if namespace.is_empty() { SmolStr::new(name) } else { format_smolstr!("{namespace}/{name}") };
        let found = self.store.get(&Key { collection, name }).await.map_err(|e| unavailable(&e))?;
        found.map(|record| Stored::from_bytes(record.value).map_err(ApiError::internal)).transpose()
    }
}

/// Since when an object is being deleted.
pub(crate) fn deleted_at(object: &Stored) -> Option<Timestamp> {
    if !object.deleting() {
        return None;
    }
    let value = object.to_value(None, 0).ok()?;
    value["metadata"]["deletionTimestamp"].as_str()?.parse().ok()
}

/// The object's JSON.
pub(crate) fn decode(object: &Stored) -> Result<Value, ApiError> {
    object.to_value(None, 0).map_err(ApiError::internal)
}

/// What a client sees when the store can not be read.
pub(crate) fn unavailable(error: &StoreError) -> ApiError {
    tracing::warn!(%error, "the store can not be read");
    ApiError::unavailable("the storage is not available").with_retry_after(1)
}
