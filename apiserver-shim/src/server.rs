//! The server: what its parts share, and how the program drives it.

use std::sync::Arc;

use apimachinery::tenant::TenantId;
use bytes::Bytes;
use store::Store;
use tenant_client::TenantClient;
use tenant_client::host::Host;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::access::{Access, Origin};
use crate::client::{LocalClient, Served};
use crate::clock::SharedClock;
use crate::discovery::Documents;
use crate::metrics::Metrics;
use crate::pages::Paths;
use crate::pieces;
use crate::registry::Registry;
use crate::resources::Catalog;
use crate::special::Posts;
use crate::tls::{Connection, Handler};
use crate::watch::Frames;

/// What the parts of a server share.
pub struct Shared {
    pub(crate) registry: Arc<Registry>,
    pub(crate) access: Arc<dyn Access>,
    pub(crate) posts: Posts,
    pub(crate) paths: Paths,
    pub(crate) documents: Documents,
    pub(crate) frames: Arc<Frames>,
    pub(crate) pieces: Arc<pieces::Cache>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) clock: SharedClock,
    pub(crate) stop: CancellationToken,
    pub(crate) streams: TaskTracker,
    pub(crate) flow_schema_uid: String,
    pub(crate) priority_level_uid: String,
}

/// The API server of all tenants. Cheap to clone.
#[derive(Clone)]
pub struct ApiServer {
    shared: Arc<Shared>,
}

/// What a server is made of.
pub struct Parts {
    /// The registry that it serves.
    pub registry: Arc<Registry>,
    /// Who may do what.
    pub access: Arc<dyn Access>,
    /// What answers posts that create no object: reviews, tokens.
    pub posts: Posts,
    /// What else is served at paths that are no resources.
    pub paths: Paths,
    /// Where its metrics go.
    pub metrics: Arc<Metrics>,
}

impl Parts {
    /// A registry over a store, and who may use it.
    pub fn new(
        store: Arc<dyn Store>,
        clock: SharedClock,
        host: Option<Arc<dyn Host>>,
        access: Arc<dyn Access>,
    ) -> Self {
        let registry = Registry::new(store, Arc::new(Catalog::default()), clock, host);
        Self {
            registry: Arc::new(registry),
            access,
            posts: Posts::default(),
            paths: Paths::default(),
            metrics: Arc::default(),
        }
    }
}

impl ApiServer {
    /// A server. Nothing runs until a connection is given to it.
    pub fn new(parts: Parts) -> Self {
        let clock = Arc::clone(parts.registry.clock());
        let shared = Shared {
            registry: parts.registry,
            access: parts.access,
            posts: parts.posts,
            paths: parts.paths,
            documents: Documents::default(),
            frames: Arc::default(),
            pieces: Arc::default(),
            metrics: parts.metrics,
            clock,
            stop: CancellationToken::new(),
            streams: TaskTracker::new(),
            flow_schema_uid: Uuid::new_v4().to_string(),
            priority_level_uid: Uuid::new_v4().to_string(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// The objects it serves.
    pub fn registry(&self) -> &Arc<Registry> {
        &self.shared.registry
    }

    /// Replaces the OpenAPI documents: v2, and v3 by their paths (`api/v1`, `apis/apps/v1`). All are JSON.
    pub fn set_openapi(&self, v2: Bytes, v3: Vec<(String, Bytes)>) {
        self.shared.documents.set(v2, v3);
    }

    /// What it counts.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.shared.metrics
    }

    /// The tenant seam over this server, for the tenants that are served.
    pub fn client(&self, served: Arc<dyn Served>) -> Arc<dyn TenantClient> {
        Arc::new(LocalClient::new(Arc::clone(&self.shared), served))
    }

    /// What [`crate::tls::Listeners`] does with connections.
    pub fn handler(&self) -> Handler {
        let server = self.clone();
        Arc::new(move |connection: Connection| {
            let server = server.clone();
            Box::pin(async move {
                let origin = Origin { tenant: connection.tenant.id(), peer: connection.peer };
                server.serve_connection(Arc::new(origin), connection.stream).await;
            })
        })
    }

    /// Serves a connection until it is closed or the server stops.
    pub async fn serve_connection<C>(&self, origin: Arc<Origin>, connection: C)
    where
        C: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        crate::http::serve_connection(Arc::clone(&self.shared), origin, connection).await;
    }

    /// Nobody has asked anything of a tenant for a while: lets go of what can be read again.
    pub fn rest(&self, tenant: TenantId) {
        self.shared.access.rest(tenant);
        self.shared.registry.rest(tenant, || self.shared.access.is_inside(tenant));
    }

    /// Ends watches and streams cleanly and tells clients to come back. Connections close when what they began is done;
    /// who serves them waits for that.
    pub async fn stop(&self) {
        self.shared.stop.cancel();
        self.shared.streams.close();
        self.shared.streams.wait().await;
    }
}
