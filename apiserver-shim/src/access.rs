//! The two questions that every request must pass: who is it from, and may they do that.

use std::sync::Arc;

use apimachinery::status::ApiError;
use apimachinery::tenant::TenantId;
use async_trait::async_trait;
use http::HeaderMap;
use tokio_util::sync::CancellationToken;

use crate::auth::impersonate::impersonate;
use crate::auth::{Attributes, Authenticator, Authorized, Authorizer, User};
use crate::tenants::{GateGuard, Tenants};
use crate::tls::Peer;

/// Where a connection comes from, as far as it tells.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The tenant whose address was dialled.
    pub tenant: TenantId,
    /// What the client showed in the handshake.
    pub peer: Peer,
}

/// A request that was let into a tenant. While it lives the tenant is not taken away; it must end soon after
/// [`Entry::closing`] is cancelled.
#[derive(Debug, Default)]
pub struct Entry {
    /// Keeps the tenant.
    pub guard: Option<GateGuard>,
    /// Is cancelled when the tenant begins to leave.
    pub closing: CancellationToken,
}

/// Who may come in, and do what.
#[async_trait]
pub trait Access: Send + Sync + 'static {
    /// Lets a request into a tenant.
    ///
    /// # Errors
    /// 503 if it is not served (any more).
    fn enter(&self, tenant: TenantId) -> Result<Entry, ApiError>;

    /// Finds out who a request is from; impersonation headers are already followed in what this returns. Requests
    /// without credentials are anonymous's. `attributes` say what the request wants; their user is not known yet.
    ///
    /// # Errors
    /// 401 for credentials that are not good, 403 for an impersonation that is not allowed.
    async fn identify(
        &self,
        origin: &Origin,
        headers: &HeaderMap,
        attributes: &Attributes<'_>,
    ) -> Result<User, ApiError>;

    /// Decides whether a user may do something.
    ///
    /// # Errors
    /// 500 or 503 if the rules can't be read.
    async fn authorize(&self, tenant: TenantId, attributes: &Attributes<'_>) -> Result<Authorized, ApiError>;

    /// Whether anything that was let into a tenant may still run, a watch for instance.
    fn is_inside(&self, _tenant: TenantId) -> bool {
        true
    }

    /// Nobody has asked anything of a tenant for a while: what can be read again need not be held.
    fn rest(&self, _tenant: TenantId) {}
}

/// Access by the tenants' own certificates, tokens and RBAC.
pub struct TenantAccess {
    tenants: Arc<Tenants>,
    authenticator: Arc<Authenticator>,
    authorizer: Arc<Authorizer>,
}

impl TenantAccess {
    /// Access to these tenants.
    pub fn new(tenants: Arc<Tenants>, authenticator: Arc<Authenticator>, authorizer: Arc<Authorizer>) -> Self {
        Self { tenants, authenticator, authorizer }
    }
}

fn away() -> ApiError {
    ApiError::unavailable("this virtual cluster is not served here (any more)")
}

/// A tenant that is closed and there nevertheless will be back soon.
fn closed() -> ApiError {
    ApiError::unavailable("this virtual cluster is being restored: try again").with_retry_after(1)
}

#[async_trait]
impl Access for TenantAccess {
    fn enter(&self, tenant: TenantId) -> Result<Entry, ApiError> {
        let tenant = self.tenants.get(tenant).ok_or_else(away)?;
        let guard = tenant.gate().enter().ok_or_else(closed)?;
        Ok(Entry { guard: Some(guard), closing: tenant.gate().closing().clone() })
    }

    async fn identify(
        &self,
        origin: &Origin,
        headers: &HeaderMap,
        attributes: &Attributes<'_>,
    ) -> Result<User, ApiError> {
        let tenant = self.tenants.get(origin.tenant).ok_or_else(away)?;
        let user = self.authenticator.authenticate(&tenant, &origin.peer, headers).await?;
        let attributes = Attributes { user: &user, ..*attributes };
        let other = impersonate(&self.authorizer, origin.tenant, headers, &attributes).await?;
        Ok(other.unwrap_or(user))
    }

    async fn authorize(&self, tenant: TenantId, attributes: &Attributes<'_>) -> Result<Authorized, ApiError> {
        self.authorizer.authorize(tenant, attributes).await
    }

    fn is_inside(&self, tenant: TenantId) -> bool {
        self.tenants.get(tenant).is_some_and(|tenant| !tenant.gate().is_empty())
    }

    fn rest(&self, tenant: TenantId) {
        self.authorizer.forget(tenant);
    }
}
