//! Wiring: all roles in one process, started in the order in which they need each other, stopped in the other one.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use apiserver_shim::auth::server_parts;
use apiserver_shim::clock::{SharedClock, SystemClock};
use apiserver_shim::server::ApiServer;
use apiserver_shim::tenants::{TenantError, Tenants};
use apiserver_shim::tls::{Acceptor, Listeners};
use controllers::Controllers;
use kube::config::{InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config as HostConfig};
use prometheus_client::registry::Registry;
use store::{Embedded, Etcd, EtcdError, EtcdOptions, OpenError, Options, Store, Tls};
use syncer::Syncer;
use syncer::config::Directory;
use syncer::host::HostBridge;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cli::ServerArgs;
use crate::config::{self, Config, ConfigError};
use crate::dns::{Resolver, Upstreams, UpstreamsError};
use crate::operator::{self, Operator};
use crate::ops::{self, Ops};
use crate::restore::Restorer;
use crate::upkeep::Upkeep;
use crate::{backup, host_facts, logging, store_metrics};

/// How long what was begun may take when the program is told to end.
const GRACE: Duration = Duration::from_secs(10);

/// Why the server could not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The configuration is refused.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The log's filter is refused.
    #[error("log.level")]
    Log(#[from] tracing_subscriber::filter::ParseError),
    /// The runtime or a signal handler could not be had.
    #[error("cannot start")]
    Start(#[source] std::io::Error),
    /// The store cannot be opened.
    #[error("cannot open the store in {}", path.display())]
    Store {
        /// Its directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: OpenError,
    },
    /// The store in etcd cannot be opened.
    #[error("cannot open the store in etcd (store.etcd)")]
    Etcd(#[from] EtcdError),
    /// The tenants' records cannot be read.
    #[error("cannot load the virtual clusters")]
    Tenants(#[from] TenantError),
    /// An address cannot be listened on.
    #[error("cannot listen on {address} ({field})")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The configuration's field.
        field: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The host's kubeconfig cannot be used.
    #[error("cannot use the kubeconfig of the host cluster (host.kubeconfig)")]
    Kubeconfig(#[from] KubeconfigError),
    /// There is no service account of a pod.
    #[error("this is no pod with a service account; name the host cluster with host.kubeconfig or --host-kubeconfig")]
    InCluster(#[from] InClusterError),
    /// No client can be made for the host.
    #[error("cannot use the host cluster")]
    Host(#[source] kube::Error),
    /// The upstream resolvers are not known.
    #[error(transparent)]
    Upstreams(#[from] UpstreamsError),
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// What keeps it from starting.
pub fn run(args: &ServerArgs) -> Result<(), ServerError> {
    let config = args.configuration()?;
    logging::start(&config.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(ServerError::Start)?;
    runtime.block_on(serve(config))
}

async fn serve(config: Config) -> Result<(), ServerError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(ServerError::Start)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(ServerError::Start)?;
    let api_listener = listen(config.api.listen, "api.listen").await?;
    let ops_listener = listen(config.ops.listen, "ops.listen").await?;
    let host = host_client(&config).await?;
    let upstreams = Upstreams::new(&config.tenants.upstream_dns)?;
    let mut registry = Registry::default();

    let store = open_store(&config.store, &mut registry).await?;
    let clock: SharedClock = Arc::new(SystemClock);
    let tenants = Tenants::load(Arc::clone(&store), Arc::clone(&clock)).await?;
    tracing::info!(virtual_clusters = tenants.ids().len(), revision = store.revision(), "store opened");

    let bridge = HostBridge::new();
    let parts = server_parts(Arc::clone(&store), Arc::clone(&clock), Some(bridge.clone()), Arc::clone(&tenants));
    let api = ApiServer::new(parts);
    api.metrics().register(&mut registry);
    let acceptor = Arc::new(Acceptor::new(Arc::clone(&tenants), Arc::clone(&clock)));
    acceptor.register(&mut registry);
    let client = api.client(tenants.clone());

    let (stop, background) = (CancellationToken::new(), CancellationToken::new());
    let (connections, tasks) = (TaskTracker::new(), TaskTracker::new());
    let listeners =
        Listeners::new(Arc::clone(&acceptor), Arc::clone(&tenants), api.handler(), connections.clone(), stop.clone());
    tasks.spawn(listeners.run(api_listener, config.api.listen.ip()));
    match backup::listen(&config.store.path) {
        Ok(listener) => {
            let disk = config.store.etcd.is_none().then(|| config.store.path.clone());
            let restorer = Restorer::new(Arc::clone(&tenants), disk);
            tasks.spawn(backup::serve(listener, Arc::clone(&store), restorer, background.clone()));
        }
        Err(error) => {
            tracing::warn!(%error, "no backup or restore while running: no socket can be made in store.path");
        }
    }
    let controllers = {
        let tenants = Arc::clone(&tenants);
        let enabled = move |id| tenants.get(id).is_some_and(|t| t.spec().options["controllers"] != "external");
        Controllers::new(client.clone(), move || clock.now(), enabled, &controllers::Config::default())
    };
    controllers.metrics().register(&mut registry);
    let controllers_scan = Box::new(controllers.scan());
    let scan_restored = controllers.scan();
    let upkeep = {
        let (api, controllers_rest) = (api.clone(), controllers.rest());
        Upkeep::new(Arc::clone(&store), &config.store, move |tenant| {
            acceptor.rest(tenant);
            api.rest(tenant);
            controllers_rest(tenant);
        })
    };
    tasks.spawn(upkeep.run(background.clone()));
    tasks.spawn(controllers.run(background.clone()));

    let directory = Arc::<Directory>::default();
    let metrics = syncer::metrics::Metrics::register(&mut registry);
    let syncing = syncer_config(&config);
    let syncer = Arc::new(Syncer::new(client.clone(), host.clone(), Arc::clone(&directory), syncing, metrics, &bridge));
    {
        let (syncer, cancel) = (Arc::clone(&syncer), background.clone());
        tasks.spawn(async move { syncer.run(cancel).await });
    }
    tenants.on_replaced({
        let (api, scan, syncer) = (api.clone(), scan_restored, Arc::clone(&syncer));
        move |tenant| {
            api.registry().forget(tenant);
            scan(tenant);
            syncer.tenant_changed(tenant);
        }
    });
    let ops = Arc::new(Ops::new(registry, Arc::clone(&store)));
    tasks.spawn(serve_ops(ops_listener, Arc::clone(&ops), background.clone()));
    tasks.spawn(host_facts::adopt_openapi(host.clone(), api.clone(), background.clone()));
    let operator = Operator::new(operator::Parts {
        client: host.clone(),
        address: address(&config),
        tenants,
        controllers_scan,
        syncer,
        directory,
        resolver: Resolver::new(client, config.tenants.cluster_domain.clone(), upstreams),
        tasks: tasks.clone(),
        cancel: background.clone(),
        config,
    });
    tasks.spawn(operator.run());
    ops.set_ready(true);
    tracing::info!("serving");

    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping");
    ops.set_ready(false);
    stop.cancel();
    let ending = async {
        api.stop().await;
        connections.close();
        connections.wait().await;
        background.cancel();
        tasks.close();
        tasks.wait().await;
    };
    if tokio::time::timeout(GRACE, ending).await.is_err() {
        tracing::warn!("what was begun took too long and is cut off");
    }
    store.close().await;
    tracing::info!("stopped");
    Ok(())
}

async fn open_store(config: &config::Store, registry: &mut Registry) -> Result<Arc<dyn Store>, ServerError> {
    let Some(etcd) = &config.etcd else {
        let opened = Embedded::open(&config.path, Options::default());
        let embedded = opened.map_err(|source| ServerError::Store { path: config.path.clone(), source })?;
        store_metrics::register(registry, embedded.stats());
        return Ok(Arc::new(embedded));
    };
    let tls = etcd.ca_file.clone().map(|ca| Tls { ca, identity: etcd.cert_file.clone().zip(etcd.key_file.clone()) });
    let options = EtcdOptions { endpoints: etcd.endpoints.clone(), prefix: etcd.prefix.clone(), tls };
    let etcd = Etcd::open(options).await?;
    store_metrics::register(registry, etcd.stats());
    Ok(Arc::new(etcd))
}

async fn listen(address: SocketAddr, field: &'static str) -> Result<TcpListener, ServerError> {
    TcpListener::bind(address).await.map_err(|source| ServerError::Listen { address, field, source })
}

async fn host_client(config: &Config) -> Result<Client, ServerError> {
    let host = match &config.host.kubeconfig {
        Some(path) => {
            HostConfig::from_custom_kubeconfig(Kubeconfig::read_from(path)?, &KubeConfigOptions::default()).await?
        }
        None => HostConfig::incluster()?,
    };
    Client::try_from(host).map_err(ServerError::Host)
}

/// Where the host's pods reach us: as configured, or the listening address, or the loopback of a single machine.
fn address(config: &Config) -> IpAddr {
    let listening = config.api.listen.ip();
    let fallback = if listening.is_unspecified() { IpAddr::from([127, 0, 0, 1]) } else { listening };
    config.host.address.unwrap_or(fallback)
}

fn syncer_config(config: &Config) -> syncer::config::Config {
    let account = &config.host.service_account;
    let access = (!account.name.is_empty()).then(|| syncer::config::HostAccess {
        cluster_role: config.host.tenant_namespace_role.clone(),
        service_account: account.name.clone(),
        service_account_namespace: account.namespace.clone(),
    });
    syncer::config::Config { access, ..syncer::config::Config::default() }
}

async fn serve_ops(listener: TcpListener, ops: Arc<Ops>, cancel: CancellationToken) {
    if let Err(error) = ops::serve(listener, ops, cancel).await {
        tracing::error!(%error, "the port for operations failed");
    }
}
