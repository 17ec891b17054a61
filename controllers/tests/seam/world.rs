//! A server in this process, and both forms of the seam to it.

use std::sync::Arc;

use apiserver_shim::access::Origin;
use apiserver_shim::server::ApiServer;
use apiserver_shim::tls::Peer;
use http::{HeaderValue, Request, Response, header};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use kube::client::Body;
use store::{Embedded, Store};
use tenant_client::remote::RemoteClient;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::suite::Seam;

#[path = "../../../apiserver-shim/tests/common/open.rs"]
mod open;
use open::TENANT;

pub struct World {
    server: ApiServer,
    store: Arc<Embedded>,
    /// Cancelled: what is connected is cut off, and nothing gets through.
    wire: watch::Sender<CancellationToken>,
}

impl World {
    pub fn start() -> Self {
        let (server, store) = open::server();
        Self { server, store, wire: watch::Sender::new(CancellationToken::new()) }
    }

    pub fn local(&self) -> Seam {
        Seam { client: self.server.client(Arc::new(open::OneTenant::default())), tenant: TENANT }
    }

    pub fn remote(&self) -> Seam {
        self.remote_client().1
    }

    pub fn remote_client(&self) -> (Arc<RemoteClient>, Seam) {
        let (server, wire) = (self.server.clone(), self.wire.subscribe());
        let service = tower::service_fn(move |request| carry(server.clone(), wire.borrow().clone(), request));
        let client = Arc::new(RemoteClient::new());
        client.attach(TENANT, kube::Client::new(service, "default"));
        (client.clone(), Seam { client, tenant: TENANT })
    }

    pub fn disconnect(&self) {
        self.wire.borrow().cancel();
    }

    pub fn connect(&self) {
        self.wire.send_replace(CancellationToken::new());
    }

    /// Gives up all history: watches from before must list anew.
    pub async fn forget_history(&self) {
        self.store.compact(self.store.revision()).await.unwrap();
    }
}

/// Sends a request over a connection of its own.
async fn carry(
    server: ApiServer,
    wire: CancellationToken,
    mut request: Request<Body>,
) -> Result<Response<Incoming>, Box<dyn std::error::Error + Send + Sync>> {
    if wire.is_cancelled() {
        return Err("the wire is cut".into());
    }
    let (near, far) = tokio::io::duplex(64 * 1024);
    let origin = Arc::new(Origin { tenant: TENANT, peer: Peer::None });
    tokio::spawn(async move {
        tokio::select! {
            () = wire.cancelled() => {}
            () = server.serve_connection(origin, far) => {}
        }
    });
    request.headers_mut().insert(header::HOST, HeaderValue::from_static("test"));
    let (mut client, connection) = hyper::client::conn::http1::handshake(TokioIo::new(near)).await?;
    tokio::spawn(connection);
    Ok(client.send_request(request).await?)
}
