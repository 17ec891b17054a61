//! What a watcher costs in memory, counted by the allocator: deterministic, so the bound is tight.

#![allow(clippy::unwrap_used, reason = "a test's helpers may fail it")]

mod common;

use std::alloc::System;
use std::sync::Arc;

use apiserver_shim::access::Origin;
use apiserver_shim::tls::Peer;
use bytes::Bytes;
use cap::Cap;
use common::{CONFIG_MAPS, Server, TENANT, config_map};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

const WATCHERS: usize = 200;
/// What a watch may take beyond its connection, both ends of its stream included.
const BOUND: usize = 8 * 1024;

async fn connect(server: &Server) -> SendRequest<Full<Bytes>> {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let (server, origin) = (server.0.clone(), Arc::new(Origin { tenant: TENANT, peer: Peer::None }));
    tokio::spawn(async move { server.serve_connection(origin, far).await });
    let (client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(near)).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn watch(client: &mut SendRequest<Full<Bytes>>, since: &str) -> Incoming {
    let uri = format!("http://test{CONFIG_MAPS}?watch=1&allowWatchBookmarks=true&resourceVersion={since}");
    client.ready().await.unwrap();
    let request = http::Request::builder().uri(uri).body(Full::new(Bytes::new())).unwrap();
    let response = client.send_request(request).await.unwrap();
    assert_eq!(response.status(), 200);
    response.into_body()
}

/// One test: the allocator is the process's.
#[tokio::test]
async fn a_watcher_stays_within_its_bound() {
    let server = Server::start();
    let mut client = server.client().await;
    let (_, list) = client.get(CONFIG_MAPS).await;
    let since = list["metadata"]["resourceVersion"].as_str().unwrap();
    let mut connection = connect(&server).await;
    let mut watches = vec![watch(&mut connection, since).await];
    let before = ALLOCATOR.allocated();
    for _ in 0..WATCHERS {
        watches.push(watch(&mut connection, since).await);
    }
    let watcher = (ALLOCATOR.allocated() - before) / WATCHERS;
    println!("watcher: {watcher} bytes");
    assert!(watcher <= BOUND, "{watcher} bytes for a watcher");

    // What all were told is not kept by any of them.
    let before = ALLOCATOR.allocated();
    let (code, _) = client.post(CONFIG_MAPS, config_map("a")).await;
    assert_eq!(code, 201);
    for watch in &mut watches {
        watch.frame().await.unwrap().unwrap();
    }
    let told = ALLOCATOR.allocated().saturating_sub(before) / WATCHERS;
    println!("watcher that was told an event: {told} bytes more");
    assert!(told <= 512, "{told} bytes for a watcher that was told");

    drop(watches);
    drop(connection);
}
