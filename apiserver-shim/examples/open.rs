//! One virtual cluster on plain HTTP, without identity and in memory: for trying the API by hand.
//!
//!     cargo run -p apiserver-shim --example open -- 127.0.0.1:24000
//!     kubectl --server http://127.0.0.1:24000 get namespaces

use std::sync::Arc;

use apimachinery::status::ApiError;
use apimachinery::tenant::TenantId;
use apiserver_shim::access::{Access, Entry, Origin};
use apiserver_shim::auth::{Attributes, Authorized, User};
use apiserver_shim::clock::SystemClock;
use apiserver_shim::server::{ApiServer, Parts};
use apiserver_shim::tls::Peer;
use async_trait::async_trait;
use http::HeaderMap;

struct Everyone;

#[async_trait]
impl Access for Everyone {
    fn enter(&self, _: TenantId) -> Result<Entry, ApiError> {
        Ok(Entry::default())
    }

    async fn identify(&self, _: &Origin, _: &HeaderMap, _: &Attributes<'_>) -> Result<User, ApiError> {
        Ok(User::internal("admin"))
    }

    async fn authorize(&self, _: TenantId, _: &Attributes<'_>) -> Result<Authorized, ApiError> {
        Ok(Authorized::allow("everyone may do everything"))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let store = Arc::new(store::Embedded::in_memory()?);
    let server = ApiServer::new(Parts::new(store, Arc::new(SystemClock), None, Arc::new(Everyone)));
    let tenant = TenantId::from_bytes([1; 16]);
    let origin = Arc::new(Origin { tenant, peer: Peer::None });
    let listener = tokio::net::TcpListener::bind(address).await?;
    loop {
        let (connection, _) = listener.accept().await?;
        let (server, origin) = (server.clone(), Arc::clone(&origin));
        tokio::spawn(async move { server.serve_connection(origin, connection).await });
    }
}
