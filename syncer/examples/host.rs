//! Two virtual clusters, `a` and `b`, over a real host cluster, without the operator: for trying the syncer by hand.
//!
//!     cargo run -p syncer --example host -- HOST_KUBECONFIG DIRECTORY OWN_ADDRESS
//!     kubectl --kubeconfig DIRECTORY/a.kubeconfig get pods
//!
//! `OWN_ADDRESS` is where pods reach this machine. The state is kept in `DIRECTORY`; everything on the host goes with
//! `kubectl delete namespace -l tenantry.io/tenant`.

use std::error::Error;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use apimachinery::tenant::TenantId;
use apiserver_shim::auth::server_parts;
use apiserver_shim::clock::{SharedClock, SystemClock};
use apiserver_shim::server::ApiServer;
use apiserver_shim::tenants::{TenantSpec, Tenants};
use apiserver_shim::tls::{Acceptor, Listeners};
use k8s_openapi::api::core::v1::{Endpoints, Namespace, Service};
use kube::api::{Api, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};
use store::Store;
use syncer::Syncer;
use syncer::config::{Config, Directory, Policy, TenantSettings};
use syncer::host::HostBridge;
use syncer::metrics::Metrics;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const SYSTEM: &str = "syncer-example";
const PORT: u16 = 26440;

/// A Service of the host that leads to a port of this machine; returns its cluster IP.
async fn lead_here(client: &kube::Client, name: &str, own: &str, port: u16) -> Result<String, Box<dyn Error>> {
    let apply = PatchParams::apply("example").force();
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}});
    Api::<Namespace>::all(client.clone()).patch(SYSTEM, &apply, &Patch::Apply(namespace)).await?;
    let service: Value = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"ports": [{"name": "https", "port": 443, "targetPort": port}]}});
    let services = Api::<Service>::namespaced(client.clone(), SYSTEM);
    let service = services.patch(name, &apply, &Patch::Apply(service)).await?;
    let endpoints: Value = json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": name},
        "subsets": [{"addresses": [{"ip": own}], "ports": [{"name": "https", "port": port}]}]});
    Api::<Endpoints>::namespaced(client.clone(), SYSTEM).patch(name, &apply, &Patch::Apply(endpoints)).await?;
    Ok(service.spec.and_then(|s| s.cluster_ip).unwrap_or_default())
}

async fn dns_address(client: &kube::Client) -> Option<String> {
    let services = Api::<Service>::namespaced(client.clone(), "kube-system");
    services.get("kube-dns").await.ok()?.spec?.cluster_ip
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let [_, kubeconfig, directory, own] = std::env::args().collect::<Vec<_>>().try_into().map_err(|_| "see the top")?;
    tracing_subscriber::fmt().with_env_filter(std::env::var("RUST_LOG").unwrap_or("info,syncer=debug".into())).init();
    let options = KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(Kubeconfig::read_from(kubeconfig)?, &options).await?;
    let client = kube::Client::try_from(config)?;

    let clock: SharedClock = Arc::new(SystemClock);
    let path = Path::new(&directory);
    std::fs::create_dir_all(path)?;
    let store: Arc<dyn Store> = Arc::new(store::Embedded::open(&path.join("store"), store::Options::default())?);
    let tenants = Tenants::load(Arc::clone(&store), Arc::clone(&clock)).await?;
    let bridge = HostBridge::new();
    let known = Arc::new(Directory::default());
    let parts = server_parts(store, Arc::clone(&clock), Some(bridge.clone()), Arc::clone(&tenants));
    let server = ApiServer::new(parts);
    let seam = server.client(tenants.clone());
    let syncer =
        Arc::new(Syncer::new(seam, client.clone(), known.clone(), Config::default(), Metrics::default(), &bridge));
    let stop = CancellationToken::new();
    let running = tokio::spawn({
        let (syncer, stop) = (syncer.clone(), stop.clone());
        async move { syncer.run(stop).await }
    });
    let acceptor = Arc::new(Acceptor::new(tenants.clone(), clock));
    let listeners = Listeners::new(acceptor, tenants.clone(), server.handler(), TaskTracker::new(), stop.clone());
    let shared = TcpListener::bind(("0.0.0.0", PORT)).await?;
    tokio::spawn(listeners.run(shared, IpAddr::from([0, 0, 0, 0])));

    for (index, name) in ["a", "b"].into_iter().enumerate() {
        let id = TenantId::from_bytes([index as u8 + 1; 16]);
        let port = PORT + 1 + index as u16;
        let address = lead_here(&client, name, &own, port).await?;
        let policy =
            Policy { storage_classes: syncer::config::Allow { all: true, names: Vec::new() }, ..Policy::default() };
        known.set(
            id,
            TenantSettings {
                name: name.to_owned(),
                api_address: address.clone(),
                api_port: 443,
                dns_address: dns_address(&client).await,
                cluster_domain: "cluster.local".to_owned(),
                policy: Arc::new(policy),
            },
        );
        let spec = TenantSpec {
            name: name.to_owned(),
            port,
            service_ips: vec![address.parse()?],
            endpoint_ips: vec![own.parse()?],
            ..TenantSpec::default()
        };
        tenants.attach(id, spec).await?;
        syncer.tenant_changed(id);
        let kubeconfig = tenants.kubeconfig(id, &format!("https://127.0.0.1:{PORT}"))?;
        std::fs::write(path.join(format!("{name}.kubeconfig")), kubeconfig)?;
    }
    tracing::info!("ready");
    tokio::signal::ctrl_c().await?;
    stop.cancel();
    running.await?;
    Ok(())
}
