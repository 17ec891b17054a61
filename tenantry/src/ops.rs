//! The port for operations: `/metrics`, `/livez` and `/readyz`. It tells nothing of any tenant by name.
//!
//! A store whose disk has failed takes no writes before it is opened again, so `/livez` fails then: whoever asks starts the program anew.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::registry::Registry;
use store::Store;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// What the port tells.
pub struct Ops {
    registry: Registry,
    store: Arc<dyn Store>,
    ready: AtomicBool,
}

impl Ops {
    /// The port for these metrics and this store; not ready yet.
    pub fn new(registry: Registry, store: Arc<dyn Store>) -> Self {
        Self { registry, store, ready: AtomicBool::new(false) }
    }

    /// Says whether tenants are served.
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Release);
    }
}

/// Serves until cancelled.
///
/// # Errors
/// When the listener fails.
pub async fn serve(listener: TcpListener, ops: Arc<Ops>, cancel: CancellationToken) -> std::io::Result<()> {
    let router = Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(ops);
    axum::serve(listener, router).with_graceful_shutdown(cancel.cancelled_owned()).await
}

/// Listens on an address.
///
/// # Errors
/// When the address is taken or not ours.
pub async fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}

async fn livez(State(ops): State<Arc<Ops>>) -> Response {
    match ops.store.health() {
        Ok(()) => "ok".into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn readyz(State(ops): State<Arc<Ops>>) -> Response {
    if ops.ready.load(Ordering::Acquire) {
        livez(State(ops)).await
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready").into_response()
    }
}

async fn metrics(State(ops): State<Arc<Ops>>) -> Response {
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &ops.registry) {
        Ok(()) => ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
            .into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
