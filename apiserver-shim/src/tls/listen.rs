//! Listeners: one port for all tenants, and one for each tenant that has a port of its own.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use apimachinery::tenant::TenantId;
use futures::future::BoxFuture;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::acceptor::{Acceptor, Connection, Route};
use crate::tenants::Tenants;

/// How long to wait after the system refused to give a connection (out of file descriptors, mostly).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long to wait before a port that could not be had is tried again.
const BIND_PAUSE: Duration = Duration::from_secs(5);

/// What is done with a connection. The future ends when the connection does.
pub type Handler = Arc<dyn Fn(Connection) -> BoxFuture<'static, ()> + Send + Sync>;

/// Takes connections until it is stopped.
///
/// # Guarantees
/// - When [`Listeners::run`] returns, no listener is open; connections are the caller's [`TaskTracker`]'s.
/// - A tenant's own port is open while the tenant is attached and closed when it is detached.
pub struct Listeners {
    acceptor: Arc<Acceptor>,
    tenants: Arc<Tenants>,
    handler: Handler,
    connections: TaskTracker,
    stop: CancellationToken,
}

impl Listeners {
    /// Listeners whose connections run in `connections` and that end when `stop` is cancelled.
    pub fn new(
        acceptor: Arc<Acceptor>,
        tenants: Arc<Tenants>,
        handler: Handler,
        connections: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        Self { acceptor, tenants, handler, connections, stop }
    }

    /// Serves all tenants on `shared`, and each on its own port at `address`, until stopped.
    pub async fn run(self, shared: TcpListener, address: IpAddr) {
        let this = Arc::new(self);
        let mut changes = this.tenants.changes();
        let mut tasks = JoinSet::new();
        tasks.spawn(Arc::clone(&this).serve(shared, Route::Shared, this.stop.clone()));
        let mut open: HashMap<TenantId, (u16, CancellationToken)> = HashMap::new();
        loop {
            let wanted: HashMap<TenantId, u16> =
                this.tenants.ports().into_iter().filter(|(_, port)| *port != 0).collect();
            open.retain(|id, (port, stop)| {
                let stays = wanted.get(id) == Some(port);
                if !stays {
                    stop.cancel();
                }
                stays
            });
            let mut failed = false;
            for (id, port) in wanted {
                if open.contains_key(&id) {
                    continue;
                }
                match TcpListener::bind(SocketAddr::new(address, port)).await {
                    Ok(listener) => {
                        let stop = this.stop.child_token();
                        tasks.spawn(Arc::clone(&this).serve(listener, Route::Own(id), stop.clone()));
                        open.insert(id, (port, stop));
                    }
                    Err(error) => {
                        failed = true;
                        tracing::error!(tenant = %id, port, %error, "can not listen on the tenant's port");
                    }
                }
            }
            tokio::select! {
                () = this.stop.cancelled() => break,
                changed = changes.changed() => if changed.is_err() { break },
                Some(_) = tasks.join_next() => {}
                () = tokio::time::sleep(BIND_PAUSE), if failed => {}
            }
        }
        while tasks.join_next().await.is_some() {}
    }

    async fn serve(self: Arc<Self>, listener: TcpListener, route: Route, stop: CancellationToken) {
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            let Ok((stream, _)) = accepted else {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let acceptor = Arc::clone(&self.acceptor);
            let handler = Arc::clone(&self.handler);
            self.connections.spawn(async move {
                if let Ok(connection) = acceptor.accept(stream, route).await {
                    handler(connection).await;
                }
            });
        }
    }
}

impl std::fmt::Debug for Listeners {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listeners").finish_non_exhaustive()
    }
}
