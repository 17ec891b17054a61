//! Virtual clusters with their own certificates and rights, in memory: for trying identity by hand.
//!
//!     cargo run -p apiserver-shim --example tenants -- 127.0.0.1:24100 /tmp/kubeconfigs a b
//!     kubectl --kubeconfig /tmp/kubeconfigs/a.yaml auth whoami

use std::path::PathBuf;
use std::sync::Arc;

use apimachinery::tenant::TenantId;
use apiserver_shim::auth::server_parts;
use apiserver_shim::clock::{SharedClock, SystemClock};
use apiserver_shim::server::ApiServer;
use apiserver_shim::tenants::{TenantSpec, Tenants};
use apiserver_shim::tls::{Acceptor, Listeners};
use store::{Embedded, Store};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let folder = PathBuf::from(arguments.next().unwrap_or_else(|| ".".to_owned()));
    let store: Arc<dyn Store> = Arc::new(Embedded::in_memory()?);
    let clock: SharedClock = Arc::new(SystemClock);
    let tenants = Tenants::load(Arc::clone(&store), Arc::clone(&clock)).await?;
    let server = ApiServer::new(server_parts(store, Arc::clone(&clock), None, Arc::clone(&tenants)));
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    for (number, name) in (1u8..).zip(arguments) {
        let id = TenantId::from_bytes([number; 16]);
        let spec = TenantSpec {
            service_ips: vec!["10.96.0.1".parse()?],
            endpoint_ips: vec![address.ip()],
            endpoint_port: address.port(),
            service_cidrs: vec!["10.96.0.0/16".to_owned()],
            name: name.clone(),
            ..TenantSpec::default()
        };
        tenants.attach(id, spec).await?;
        let kubeconfig = tenants.kubeconfig(id, &format!("https://{address}"))?;
        std::fs::write(folder.join(format!("{name}.yaml")), kubeconfig)?;
    }
    let acceptor = Arc::new(Acceptor::new(Arc::clone(&tenants), clock));
    let stop = CancellationToken::new();
    Listeners::new(acceptor, tenants, server.handler(), TaskTracker::new(), stop).run(listener, address.ip()).await;
    Ok(())
}
