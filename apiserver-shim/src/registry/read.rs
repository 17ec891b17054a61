//! Reading one object.

use std::sync::Arc;

use apimachinery::envelope::Stored;
use apimachinery::gvk::GroupVersionKind;
use apimachinery::status::ApiError;
use serde_json::Value;
use store::{Record, Revision};

use super::{Call, Registry, place};

/// An object as it stands in the store.
#[derive(Clone, Debug)]
pub struct Live {
    /// The kind it is stored as.
    pub kind: Arc<GroupVersionKind>,
    /// Envelope and body.
    pub stored: Stored,
    /// The revision of its last write.
    pub revision: Revision,
}

impl Live {
    pub(crate) fn from_record(kind: &Arc<GroupVersionKind>, record: Record) -> Result<Self, ApiError> {
        let stored = Stored::from_bytes(record.value).map_err(ApiError::internal)?;
        Ok(Self { kind: Arc::clone(kind), stored, revision: record.revision })
    }

    /// Decodes it, in the version it is stored in.
    ///
    /// # Errors
    /// 500 if the body is not JSON.
    pub fn to_value(&self) -> Result<Value, ApiError> {
        self.stored.to_value(Some(&self.kind), self.revision).map_err(ApiError::internal)
    }
}

impl Registry {
    /// Reads the object that a call is about.
    ///
    /// # Errors
    /// 404 if there is none.
    pub async fn get(&self, call: &Call) -> Result<Live, ApiError> {
        self.find(call).await?.ok_or_else(|| ApiError::not_found(&call.resource.group_resource(), &call.name))
    }

    pub(super) async fn find(&self, call: &Call) -> Result<Option<Live>, ApiError> {
        let key = place::key(call.tenant, &call.resource.group_resource(), &call.namespace, &call.name);
        let kind = Arc::new(place::storage_kind(&call.resource));
        self.record(&key).await?.map(|record| Live::from_record(&kind, record)).transpose()
    }
}

impl Registry {
    /// Reads an object by its resource and name.
    ///
    /// # Errors
    /// 503 if the store is away.
    pub async fn object(
        &self,
        tenant: apimachinery::tenant::TenantId,
        resource: &apimachinery::gvk::GroupResource,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Live>, ApiError> {
        let Some(found) = self.catalog.find_stored(tenant, resource) else { return Ok(None) };
        let kind = Arc::new(place::storage_kind(&found));
        let key = place::key(tenant, resource, namespace, name);
        self.record(&key).await?.map(|record| Live::from_record(&kind, record)).transpose()
    }

    /// Reads a namespace.
    ///
    /// # Errors
    /// 503 if the store is away.
    pub async fn namespace(
        &self,
        tenant: apimachinery::tenant::TenantId,
        name: &str,
    ) -> Result<Option<Live>, ApiError> {
        self.object(tenant, &apimachinery::gvk::GroupResource::new("", "namespaces"), "", name).await
    }

    /// Reads all objects of a resource in a namespace, or (if it is empty) everywhere.
    ///
    /// # Errors
    /// 503 if the store is away.
    pub async fn objects(
        &self,
        tenant: apimachinery::tenant::TenantId,
        resource: &apimachinery::gvk::GroupResource,
        namespace: &str,
    ) -> Result<Vec<Live>, ApiError> {
        let Some(found) = self.catalog.find_stored(tenant, resource) else { return Ok(Vec::new()) };
        let kind = Arc::new(place::storage_kind(&found));
        let prefix = if namespace.is_empty() { String::new() } else { format!("{namespace}/") };
        let query = store::RangeQuery { prefix: prefix.into(), ..store::RangeQuery::default() };
        let range = self.store.range(&place::collection(tenant, resource), query).await;
        let records = range.map_err(super::store_error)?.records;
        records.into_iter().map(|record| Live::from_record(&kind, record)).collect()
    }

    /// Reads an object, waiting a while for it if it is not there.
    ///
    /// # Errors
    /// 503 if the store is away.
    pub async fn object_soon(
        &self,
        tenant: apimachinery::tenant::TenantId,
        resource: &apimachinery::gvk::GroupResource,
        namespace: &str,
        name: &str,
        wait: std::time::Duration,
    ) -> Result<Option<Live>, ApiError> {
        let scope = store::Scope::Collection(place::collection(tenant, resource));
        let mut cursor = self.store.follow(scope, self.store.revision()).map_err(super::store_error)?;
        let found = async {
            loop {
                if let Some(found) = self.object(tenant, resource, namespace, name).await? {
                    return Ok(Some(found));
                }
                cursor.next().await.map_err(super::store_error)?;
            }
        };
        tokio::time::timeout(wait, found).await.unwrap_or(Ok(None))
    }
}
