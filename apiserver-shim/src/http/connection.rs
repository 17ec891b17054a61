//! One connection: HTTP/1.1 or HTTP/2, until the client goes or the server stops.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::access::Origin;
use crate::server::Shared;

/// How many requests one HTTP/2 connection may have in flight.
const STREAMS: u32 = 250;
/// How long a client may take to send the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How often a quiet HTTP/2 connection is asked whether it still lives, and how long it may take to answer. Go's clients
/// of Kubernetes ask by themselves after 30 seconds: their asking is an answer, so each idle connection is asked by one
/// side alone.
const PING_EVERY: Duration = Duration::from_secs(45);
const PING_TIMEOUT: Duration = Duration::from_secs(15);
const HEADERS_MAX: u32 = 1024 * 1024;
/// How much may wait in memory for a client that reads a stream of HTTP/2 slowly.
const SEND_BUFFER: usize = 128 * 1024;

/// Serves a connection whose handshake is done. Returns when it is closed; when the server stops, requests that have
/// begun are finished first.
pub(crate) async fn serve_connection<C>(shared: Arc<Shared>, origin: Arc<Origin>, connection: C)
where
    C: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let stop = shared.stop.clone();
    let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
        let (shared, origin) = (Arc::clone(&shared), Arc::clone(&origin));
        // In a box that goes with the answer: a watch would keep the room of all that a request may need.
        Box::pin(async move { Ok::<_, Infallible>(super::handle(shared, origin, request.map(Body::new)).await) })
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).keep_alive(true);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEADERS_MAX)
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT);
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(connection), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}
