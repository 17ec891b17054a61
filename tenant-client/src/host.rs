//! What an API server needs of the host cluster, within a request.

use std::pin::Pin;

use apimachinery::status::ApiError;
use apimachinery::tenant::TenantId;
use async_trait::async_trait;
use bytes::Bytes;
use futures::Stream;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};

/// A connection whose bytes are not looked at.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// The body of an answer, as it comes.
pub type ByteStream = Pin<Box<dyn Stream<Item = Result<Bytes, std::io::Error>> + Send>>;

/// A request for a subresource of a pod or service that the host must answer: `log`, `exec`, `attach`, `portforward`, `proxy`.
pub struct StreamRequest {
    /// Whose.
    pub tenant: TenantId,
    /// The tenant's namespace.
    pub namespace: String,
    /// `pods` or `services`.
    pub resource: &'static str,
    /// The object's name; for `proxy` with scheme and port as the client wrote them (`https:web:443`).
    pub name: String,
    /// The subresource, for `proxy` with the rest of the path (`proxy/a/b`).
    pub subresource: String,
    /// The raw query, without `?`.
    pub query: String,
    /// The request's method.
    pub method: http::Method,
    /// The request's headers, without credentials and hop-by-hop headers other than those of an upgrade.
    pub headers: http::HeaderMap,
    /// The request's body.
    pub body: ByteStream,
}

/// What the host says to a [`StreamRequest`].
pub enum StreamResponse {
    /// An answer with a body.
    Body(http::Response<ByteStream>),
    /// The host switched protocols: these headers go to the client, then bytes both ways.
    Upgraded(http::Response<()>, Box<dyn Duplex>),
}

/// The host cluster as far as requests of tenants need it at once. What can wait is the syncer's.
#[async_trait]
pub trait Host: Send + Sync + 'static {
    /// Creates or updates the host Service of a tenant's Service and returns it with what the host allotted:
    /// `spec.clusterIP`, `clusterIPs`, `ipFamilies`, `ipFamilyPolicy`, `ports[].nodePort`, `healthCheckNodePort`.
    /// `old` is the Service before an update. A dry run asks the host for a dry run.
    ///
    /// # Errors
    /// The host's refusal in the tenant's words; 503 if the host is away.
    async fn service_apply(
        &self,
        tenant: TenantId,
        service: Value,
        old: Option<&Value>,
        dry_run: bool,
    ) -> Result<Value, ApiError>;

    /// Passes a request through.
    ///
    /// # Errors
    /// 404 if the pod has no host object, 503 if the host is away.
    async fn stream(&self, request: StreamRequest) -> Result<StreamResponse, ApiError>;
}
