//! The server under test.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use apimachinery::tenant::TenantId;
use apiserver_shim::auth::server_parts;
use apiserver_shim::clock::{Clock, SystemClock};
use apiserver_shim::server::ApiServer;
use apiserver_shim::tenants::{TenantSpec, Tenants};
use apiserver_shim::tls::{Acceptor, Listeners};
use clap::Args;
use jiff::{SignedDuration, Timestamp};
use store::{Embedded, Etcd, EtcdOptions, Keeper, Options, Retention, Store};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpSocket;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::broken::{Broken, Fault};
use crate::disk::FailingDisk;

/// How far the clock is behind at first. It is never turned before the time of the certificates that are made then, nor
/// beyond the present, which clients hold against certificates.
pub const BEHIND: Duration = Duration::from_secs(24 * 3600);
/// How old a watch may be that is taken up again.
const HISTORY: Duration = Duration::from_secs(30);
/// How often older history is given up.
const COMPACT_EVERY: Duration = Duration::from_secs(2);
/// Connections that wait to be taken.
const BACKLOG: u32 = 1024;
/// Bytes of log that a snapshot must free: few, so that there are many snapshots.
const CHECKPOINT: u64 = 256 << 10;

/// What the log says when the virtual cluster has left memory.
pub const RESTED: &str = "left memory";

/// What to serve.
#[derive(Args)]
pub struct ServeArguments {
    /// Where to listen, with others that share the port.
    #[arg(long)]
    listen: SocketAddr,
    /// Where to write the kubeconfig of the one virtual cluster.
    #[arg(long)]
    kubeconfig: PathBuf,
    /// The folder of the embedded store.
    #[arg(long, required_unless_present = "etcd")]
    store: Option<PathBuf>,
    /// The members of the etcd that is the store.
    #[arg(long)]
    etcd: Vec<String>,
    /// What is wrong with the store.
    #[arg(long)]
    broken: Option<Fault>,
}

/// A clock that is turned.
struct TurnedClock(AtomicI64);

impl Clock for TurnedClock {
    fn now(&self) -> Timestamp {
        SystemClock.now() + SignedDuration::from_secs(self.0.load(Ordering::Relaxed))
    }
}

/// Serves until it is killed. A line of standard input turns the clock (by how many seconds it is off), or has history given
/// up and who is cold then laid to rest (`rest` and the revision up to which).
///
/// # Errors
/// What keeps it from starting.
pub async fn serve(arguments: ServeArguments) -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_ansi(false).with_max_level(tracing_subscriber::filter::LevelFilter::WARN).init();
    let store: Arc<dyn Store> = match arguments.store {
        Some(folder) => {
            let honest = arguments.broken != Some(Fault::EarlyAnswer);
            let disk = FailingDisk::open(&folder, rand::random(), honest)?.ok_or("the store is in use")?;
            // Tenants at rest are in the file one time, and in memory another one.
            let rest_bytes = if rand::random() { 0 } else { Options::default().rest_bytes };
            let options = Options { checkpoint_bytes: CHECKPOINT, rest_bytes };
            Arc::new(Embedded::open_on(Arc::new(disk), folder.join("rest.tmp"), options)?)
        }
        None => {
            let options = EtcdOptions { endpoints: arguments.etcd, prefix: "/tenantry".to_owned(), tls: None };
            Arc::new(Etcd::open(options).await?)
        }
    };
    let store = match arguments.broken {
        Some(fault) => Broken::over(store, fault),
        None => store,
    };
    let clock = Arc::new(TurnedClock(AtomicI64::new(-i64::try_from(BEHIND.as_secs())?)));
    let tenants = Tenants::load(store.clone(), clock.clone()).await?;
    let server = ApiServer::new(server_parts(store.clone(), clock.clone(), None, tenants.clone()));
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    socket.bind(arguments.listen)?;
    let listener = socket.listen(BACKLOG)?;
    let address = listener.local_addr()?;
    let id = TenantId::from_bytes([1; 16]);
    let spec = TenantSpec {
        service_ips: vec!["10.96.0.1".parse()?],
        endpoint_ips: vec![address.ip()],
        endpoint_port: 443,
        service_cidrs: vec!["10.96.0.0/16".to_owned()],
        name: "robust".to_owned(),
        ..TenantSpec::default()
    };
    tenants.attach(id, spec).await?;
    let written = arguments.kubeconfig.with_extension("new");
    std::fs::write(&written, tenants.kubeconfig(id, &format!("https://{address}"))?)?;
    std::fs::rename(written, arguments.kubeconfig)?;
    let tasks = TaskTracker::new();
    tasks.spawn(keep_history(store.clone()));
    let acceptor = Arc::new(Acceptor::new(tenants.clone(), clock.clone()));
    tasks.spawn(obey(store, clock, acceptor.clone(), server.clone()));
    let stop = CancellationToken::new();
    Listeners::new(acceptor, tenants, server.handler(), tasks, stop).run(listener, address.ip()).await;
    Ok(())
}

async fn keep_history(store: Arc<dyn Store>) {
    let mut keeper = Keeper::new(Retention { age: HISTORY, ..Retention::default() });
    let mut tick = tokio::time::interval(COMPACT_EVERY);
    loop {
        tick.tick().await;
        // A store that fails says so to clients.
        let _ = keeper.run(store.as_ref(), Instant::now()).await;
    }
}

async fn obey(store: Arc<dyn Store>, clock: Arc<TurnedClock>, acceptor: Arc<Acceptor>, server: ApiServer) {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if let Ok(seconds) = line.parse() {
            clock.0.store(seconds, Ordering::Relaxed);
        }
        let Some(Ok(revision)) = line.strip_prefix("rest ").map(str::parse) else { continue };
        // A store that fails says so to clients.
        let _ = store.compact(revision).await;
        for tenant in store.rest(Duration::ZERO).await.tenants {
            acceptor.rest(tenant);
            server.rest(tenant);
            tracing::warn!(%tenant, "{RESTED}");
        }
    }
}
