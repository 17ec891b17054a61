//! The seam to authentication and authorization: the two questions that every request must pass.

use apimachinery::status::ApiError;
use apimachinery::tenant::TenantId;
use async_trait::async_trait;
use http::HeaderMap;
use rustls_pki_types::CertificateDer;

use crate::auth::{Attributes, Authorized, User};

/// Who is at the other end of a connection, as far as the connection tells.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The tenant whose address was dialled.
    pub tenant: TenantId,
    /// The client's certificate chain, leaf first, verified against the tenant's CA by the handshake. Empty if it sent none.
    pub certificates: Vec<CertificateDer<'static>>,
}

/// Who may come in, and do what.
#[async_trait]
pub trait Access: Send + Sync + 'static {
    /// Finds out who a request is from; impersonation headers are already followed in what this returns. Requests
    /// without credentials are anonymous's.
    ///
    /// # Errors
    /// 401 for credentials that are not good, 403 for an impersonation that is not allowed.
    async fn identify(&self, peer: &Peer, headers: &HeaderMap) -> Result<User, ApiError>;

    /// Decides whether a user may do something.
    ///
    /// # Errors
    /// 500 or 503 if the rules can't be read.
    async fn authorize(&self, tenant: TenantId, attributes: &Attributes<'_>) -> Result<Authorized, ApiError>;
}
