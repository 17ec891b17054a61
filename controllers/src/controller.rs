//! What a controller is.

use std::time::Duration;

use apimachinery::status::ApiError;
use apimachinery::tenant::TenantId;
use async_trait::async_trait;
use tenant_client::Change;

use crate::context::Context;

/// An object to look at, by namespace (empty for what has none) and name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key<'a> {
    pub(crate) tenant: TenantId,
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
}

/// When to look again although nothing changed; `None` for not at all.
pub(crate) type Again = Option<Duration>;

/// A controller.
#[async_trait]
pub(crate) trait Controller: Send + Sync {
    /// Its name: the room of its work items, and its label in metrics.
    fn name(&self) -> &'static str;

    /// The resources, as group and plural, whose objects are its keys: all are looked at when a tenant appears.
    fn resources(&self) -> &'static [(&'static str, &'static str)];

    /// A key that stands for all of a tenant, looked at when a tenant appears.
    fn scan_key(&self) -> Option<&'static str> {
        None
    }

    /// Whether it works also for tenants whose controllers are somebody else's: what a stock API server does by itself.
    fn for_every_tenant(&self) -> bool {
        false
    }

    /// Of what it knows of a tenant by its changes, nothing holds any more: some were missed, or will not be told. A look
    /// at all of the tenant follows if it is to work for it.
    fn forget(&self, _tenant: TenantId) {}

    /// Nobody uses a tenant: lets go of what can be read again when it is needed. No look follows.
    fn rest(&self, _tenant: TenantId) {}

    /// Says which keys a change concerns.
    fn keys(&self, change: &Change, add: &mut dyn FnMut(&str, &str));

    /// Compares what is with what should be and does what is missing.
    ///
    /// # Errors
    /// What the API server answered; the key is looked at again, later each time. An object that is gone is no error.
    async fn reconcile(&self, context: &Context, key: Key<'_>) -> Result<Again, ApiError>;
}
