//! One virtual cluster on plain HTTP, without identity and in memory: for trying the API by hand.
//!
//!     cargo run -p apiserver-shim --example open -- 127.0.0.1:24000
//!     kubectl --server http://127.0.0.1:24000 get namespaces

use std::sync::Arc;

use apiserver_shim::access::Origin;
use apiserver_shim::tls::Peer;

#[path = "../tests/common/open.rs"]
mod open;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let (server, _) = open::server();
    let origin = Arc::new(Origin { tenant: open::TENANT, peer: Peer::None });
    let listener = tokio::net::TcpListener::bind(address).await?;
    loop {
        let (connection, _) = listener.accept().await?;
        let (server, origin) = (server.clone(), Arc::clone(&origin));
        tokio::spawn(async move { server.serve_connection(origin, connection).await });
    }
}
