//! A server in this process, without identity, and a client that speaks HTTP to it over a pipe in memory.

#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used)]

use std::sync::Arc;

use apimachinery::tenant::TenantId;
use apiserver_shim::access::Origin;
use apiserver_shim::server::ApiServer;
use apiserver_shim::tls::Peer;
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::Value;

pub mod open;
pub use open::TENANT;

pub struct Server(pub ApiServer);

pub struct Client(hyper::client::conn::http1::SendRequest<Full<Bytes>>);

impl Server {
    pub fn start() -> Self {
        Self(open::server().0)
    }

    /// A connection to the server as one of its tenants sees it.
    pub async fn connect(&self, tenant: TenantId) -> Client {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let server = self.0.clone();
        let origin = Arc::new(Origin { tenant, peer: Peer::None });
        tokio::spawn(async move { server.serve_connection(origin, far).await });
        let (client, connection) = hyper::client::conn::http1::handshake(TokioIo::new(near)).await.unwrap();
        tokio::spawn(connection);
        Client(client)
    }

    /// A client of a tenant that has the namespace `default`.
    pub async fn client(&self) -> Client {
        let mut client = self.connect(TENANT).await;
        let made = client.post("/api/v1/namespaces", serde_json::json!({"metadata": {"name": "default"}})).await;
        assert!(matches!(made.0, 201 | 409), "{made:?}");
        client
    }
}

impl Client {
    pub async fn send(&mut self, request: Request<Full<Bytes>>) -> Response<Incoming> {
        self.0.ready().await.unwrap();
        self.0.send_request(request).await.unwrap()
    }

    pub async fn raw(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> (u16, HeaderMap, Bytes) {
        let mut request =
            Request::builder().method(method).uri(path).header("host", "test").header("user-agent", "tests/1");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.send(request.body(Full::new(Bytes::copy_from_slice(body))).unwrap()).await;
        let (parts, body) = response.into_parts();
        (parts.status.as_u16(), parts.headers, body.collect().await.unwrap().to_bytes())
    }

    pub async fn json(&mut self, method: &str, path: &str, content_type: &str, body: Value) -> (u16, Value) {
        let bytes = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let (code, _, answer) = self.raw(method, path, &[("content-type", content_type)], &bytes).await;
        (code, serde_json::from_slice(&answer).unwrap_or(Value::Null))
    }

    pub async fn get(&mut self, path: &str) -> (u16, Value) {
        self.json("GET", path, "application/json", Value::Null).await
    }

    pub async fn post(&mut self, path: &str, body: Value) -> (u16, Value) {
        self.json("POST", path, "application/json", body).await
    }

    pub async fn put(&mut self, path: &str, body: Value) -> (u16, Value) {
        self.json("PUT", path, "application/json", body).await
    }

    pub async fn merge(&mut self, path: &str, body: Value) -> (u16, Value) {
        self.json("PATCH", path, "application/merge-patch+json", body).await
    }

    pub async fn delete(&mut self, path: &str) -> (u16, Value) {
        self.json("DELETE", path, "application/json", Value::Null).await
    }

    /// Begins a watch; its events are read one by one.
    pub async fn watch(mut self, path: &str) -> Watch {
        let request = Request::builder().uri(path).header("host", "test").body(Full::new(Bytes::new())).unwrap();
        let response = self.send(request).await;
        assert_eq!(response.status(), 200);
        Watch { body: response.into_body(), rest: Vec::new(), _client: self }
    }
}

pub struct Watch {
    body: Incoming,
    rest: Vec<u8>,
    _client: Client,
}

impl Watch {
    /// The next event; `None` when the watch has ended.
    pub async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.rest.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            let frame = self.body.frame().await?.unwrap();
            self.rest.extend_from_slice(&frame.into_data().unwrap());
        }
    }

    /// Type and name of the next event.
    pub async fn brief(&mut self) -> String {
        let event = self.next().await.unwrap();
        format!("{} {}", event["type"].as_str().unwrap(), event["object"]["metadata"]["name"].as_str().unwrap_or("-"))
    }
}

pub fn config_map(name: &str) -> Value {
    serde_json::json!({"metadata": {"name": name}, "data": {"k": "v"}})
}

pub const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
