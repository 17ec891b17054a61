//! From a TCP connection to a TLS one that knows its tenant and its client.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use apimachinery::tenant::TenantId;
use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use rustls::ServerConfig;
use rustls::server::{Acceptor as HelloAcceptor, NoServerSessionStorage};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{LazyConfigAcceptor, StartHandshake};

use super::authority::{CertificateError, SERVING_LIFETIME};
use super::legacy_hello::{self, legacy_hello_complete, legacy_hello_length, messages_apart};
use super::peer::{self, AnyClient, Peer};
use crate::clock::SharedClock;
use crate::tenants::{Tenant, TenantSpec, Tenants};

/// How long a client may take from connecting to the end of the handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How many connections may be in their handshake; more are closed.
const HANDSHAKES: usize = 4096;
/// How many tenants' TLS configurations are kept (some 4 KB each); the least recently used go.
const CONFIGS: usize = 1024;

/// Which tenants can be reached through a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// All, by the server name that the client sends.
    Shared,
    /// This one, whatever server name the client sends or does not.
    Own(TenantId),
}

/// A connection after its handshake.
#[derive(Debug)]
pub struct Connection {
    /// The stream.
    pub stream: TlsStream<TcpStream>,
    /// Whose API it is for.
    pub tenant: Arc<Tenant>,
    /// What the client showed.
    pub peer: Peer,
    /// Whether the client chose HTTP/2.
    pub http2: bool,
}

/// Why a connection was closed before it came to a request. Clients learn no more than that it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refused {
    /// Too many handshakes at once.
    #[error("too many handshakes")]
    Busy,
    /// The client took too long.
    #[error("handshake timeout")]
    Timeout,
    /// No TLS hello, or half of one.
    #[error("malformed hello")]
    Malformed,
    /// The client sent no server name where one is needed.
    #[error("no server name")]
    NoServerName,
    /// The server name, or the port, belongs to no tenant that is attached.
    #[error("unknown tenant")]
    UnknownTenant,
    /// The handshake failed behind the hello: no common version, a client that does not trust us.
    #[error("handshake failed")]
    Handshake,
    /// Our own certificate could not be made.
    #[error("no certificate")]
    Certificate,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

#[derive(Debug)]
struct Kept {
    config: Arc<ServerConfig>,
    spec: Arc<TenantSpec>,
    renew: jiff::Timestamp,
    used: u64,
}

#[derive(Debug, Default)]
struct Configs {
    /// And whether the client's hello was a legacy one.
    by_tenant: HashMap<(TenantId, bool), Kept>,
    uses: u64,
}

/// Does handshakes.
///
/// # Guarantees
/// - A session never leads to another tenant than the one whose name or port the client asked for. Sessions are not
///   resumed: a ticket could carry one tenant's client into another tenant.
/// - A serving certificate is renewed when a third of its life is left, at the next handshake.
pub struct Acceptor {
    tenants: Arc<Tenants>,
    clock: SharedClock,
    provider: Arc<rustls::crypto::CryptoProvider>,
    configs: Mutex<Configs>,
    permits: Semaphore,
    accepted: Counter,
    refused: Family<Reason, Counter>,
}

impl Acceptor {
    /// An acceptor for these tenants.
    pub fn new(tenants: Arc<Tenants>, clock: SharedClock) -> Self {
        Self {
            tenants,
            clock,
            provider: Arc::new(rustls::crypto::ring::default_provider()),
            configs: Mutex::default(),
            permits: Semaphore::new(HANDSHAKES),
            accepted: Counter::default(),
            refused: Family::default(),
        }
    }

    /// Registers the counters of handshakes.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("tenantry_tls_handshakes", "Handshakes that succeeded", self.accepted.clone());
        registry.register(
            "tenantry_tls_refused",
            "Connections closed before a request, by reason",
            self.refused.clone(),
        );
    }

    /// How many connections were closed for this reason.
    pub fn refused_count(&self, why: Refused) -> u64 {
        self.refused.get_or_create(&Reason { reason: why.label() }).get()
    }

    /// Nobody has asked anything of a tenant for a while: its certificate is made anew at the next handshake.
    pub fn rest(&self, tenant: TenantId) {
        let mut configs = self.configs.lock();
        for legacy in [false, true] {
            configs.by_tenant.remove(&(tenant, legacy));
        }
    }

    /// Does the handshake.
    ///
    /// # Errors
    /// Why the connection was closed; it is counted already.
    pub async fn accept(&self, stream: TcpStream, route: Route) -> Result<Connection, Refused> {
        let result = match self.permits.try_acquire() {
            Ok(_permit) => match tokio::time::timeout(HANDSHAKE_TIMEOUT, self.handshake(stream, route)).await {
                Ok(result) => result,
                Err(_) => Err(Refused::Timeout),
            },
            Err(_) => Err(Refused::Busy),
        };
        match &result {
            Ok(_) => self.accepted.inc(),
            Err(why) => self.refused.get_or_create(&Reason { reason: why.label() }).inc(),
        };
        result
    }

    async fn handshake(&self, stream: TcpStream, route: Route) -> Result<Connection, Refused> {
        // Requests and watch events are small and must not wait for more.
        let _ = stream.set_nodelay(true);
        let (start, legacy) = hello(stream).await?;
        let tenant = match route {
            Route::Own(id) => self.tenants.get(id),
            Route::Shared => {
                let hello = start.client_hello();
                let name = hello.server_name().ok_or(Refused::NoServerName)?;
                self.tenants.by_server_name(name)
            }
        }
        .ok_or(Refused::UnknownTenant)?;
        let config = self.config(&tenant, legacy).map_err(|error| {
            tracing::error!(tenant = %tenant.id(), %error, "no serving certificate");
            Refused::Certificate
        })?;
        let stream = if legacy { finish_legacy(start, config).await } else { start.into_stream(config).await.ok() };
        let stream = stream.ok_or(Refused::Handshake)?;
        let session = stream.get_ref().1;
        let http2 = session.alpn_protocol() == Some(b"h2");
        let chain = session.peer_certificates().unwrap_or_default();
        let peer = peer::verify(tenant.authority(), chain, self.clock.now());
        Ok(Connection { stream, tenant, peer, http2 })
    }

    fn config(&self, tenant: &Tenant, legacy: bool) -> Result<Arc<ServerConfig>, CertificateError> {
        let now = self.clock.now();
        let spec = tenant.spec();
        {
            let mut configs = self.configs.lock();
            configs.uses += 1;
            let used = configs.uses;
            if let Some(kept) = configs.by_tenant.get_mut(&(tenant.id(), legacy))
                && now < kept.renew
                && Arc::ptr_eq(&kept.spec, &spec)
            {
                kept.used = used;
                return Ok(Arc::clone(&kept.config));
            }
        }
        // Two handshakes may both come here; both certificates are good and the later one is kept.
        let issued = tenant.authority().serving(&tenant.server_names(), &tenant.addresses(), now)?;
        let renew = issued.not_after - SERVING_LIFETIME / 3;
        let chain = vec![issued.certificate.clone(), tenant.authority().certificate().clone()];
        let provider = if legacy { &*legacy_hello::PROVIDER } else { &self.provider };
        let mut config = ServerConfig::builder_with_provider(Arc::clone(provider))
            .with_safe_default_protocol_versions()
            .and_then(|builder| {
                builder.with_client_cert_verifier(Arc::new(AnyClient::new())).with_single_cert(chain, issued.key.into())
            })
            .map_err(CertificateError::new)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        let config = Arc::new(config);
        let mut configs = self.configs.lock();
        if configs.by_tenant.len() >= CONFIGS {
            let oldest = configs.by_tenant.iter().min_by_key(|(_, kept)| kept.used).map(|(key, _)| *key);
            oldest.and_then(|key| configs.by_tenant.remove(&key));
        }
        let used = configs.uses;
        configs.by_tenant.insert((tenant.id(), legacy), Kept { config: Arc::clone(&config), spec, renew, used });
        Ok(config)
    }
}

/// Reads the hello. Whether it was a legacy one, and is not now.
async fn hello(mut stream: TcpStream) -> Result<(StartHandshake<TcpStream>, bool), Refused> {
    let mut sent = [0; legacy_hello::LONGEST];
    // A hello that small comes in one piece; whatever else this is, it is still there to be read.
    let length = stream.peek(&mut sent).await.map_err(|_| Refused::Malformed)?;
    let mut acceptor = HelloAcceptor::default();
    let Some(sent) = legacy_hello_length(&sent[..length]).map(|length| &mut sent[..length]) else {
        let start = LazyConfigAcceptor::new(acceptor, stream).await.map_err(|_| Refused::Malformed)?;
        return Ok((start, false));
    };
    stream.read_exact(sent).await.map_err(|_| Refused::Malformed)?;
    let complete = legacy_hello_complete(sent).ok_or(Refused::Malformed)?;
    acceptor.read_tls(&mut &complete[..]).map_err(|_| Refused::Malformed)?;
    let accepted = acceptor.accept().ok().flatten().ok_or(Refused::Malformed)?;
    Ok((StartHandshake::from_parts(accepted, stream), true))
}

/// Finishes the handshake with a client whose hello was a legacy one.
async fn finish_legacy(start: StartHandshake<TcpStream>, config: Arc<ServerConfig>) -> Option<TlsStream<TcpStream>> {
    let mut flight = Vec::new();
    let mut wrote = Ok(0);
    let mut rest = start.into_stream_with(config, |session| wrote = session.write_tls(&mut flight));
    wrote.ok()?;
    rest.get_mut()?.write_all(&messages_apart(&flight)?).await.ok()?;
    rest.await.ok()
}

impl std::fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Acceptor").finish_non_exhaustive()
    }
}

impl Refused {
    fn label(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::Timeout => "timeout",
            Self::Malformed => "malformed",
            Self::NoServerName => "no_server_name",
            Self::UnknownTenant => "unknown_tenant",
            Self::Handshake => "handshake",
            Self::Certificate => "certificate",
        }
    }
}
