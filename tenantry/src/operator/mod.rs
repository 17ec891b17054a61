//! The operator: makes what `VirtualCluster` objects of the host ask for, and removes every trace when they go.

pub mod endpoint;
pub mod host;
pub mod objects;
pub mod policy;
pub mod ports;
mod reconcile;
mod settled;
pub mod status;
mod turns;

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use apimachinery::meta::{list_at, text};
use apimachinery::tenant::TenantId;
use apiserver_shim::tenants::{TenantError, TenantSpec, Tenants};
use futures::StreamExt;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::ObjectMeta;
use kube::runtime::controller::{Action, Controller};
use kube::runtime::finalizer;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher;
use kube::{Api, Client};
use parking_lot::Mutex;
use syncer::Syncer;
use syncer::config::{Directory, TenantSettings};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use virtualcluster::{FINALIZER, Phase, VirtualCluster};

use ports::PortPool;

use crate::config::Config;
use crate::dns::Resolver;
use crate::host_facts;
use endpoint::EndpointError;
use host::WriteError;
use objects::Owner;
use settled::{Made, Settled};
use turns::{Lane, Turn, Turns};

/// How soon a load balancer's address is looked for again.
const PENDING: Duration = Duration::from_secs(2);
/// How often a kubeconfig is signed anew: its certificate lives for a year.
const RESIGN: Duration = Duration::from_secs(30 * 24 * 3600);
/// Virtual clusters that are looked at at once: those whose turn it is, and some that wait to be told that it is not.
const AT_ONCE: u16 = 100;
/// The namespace of a tenant whose host namespace holds the tenant's API Service.
const HOME: &str = "default";

/// What the operator works with.
pub struct Operator {
    client: Client,
    config: Config,
    address: IpAddr,
    /// The host's service ranges, asked for before the first virtual cluster is looked at.
    service_cidrs: OnceLock<Vec<String>>,
    tenants: Arc<Tenants>,
    controllers_scan: Box<dyn Fn(TenantId) + Send + Sync>,
    syncer: Arc<Syncer>,
    directory: Arc<Directory>,
    resolver: Resolver,
    ports: PortPool,
    tasks: TaskTracker,
    cancel: CancellationToken,
    running: Mutex<HashMap<TenantId, Running>>,
    turns: Turns,
    /// Those whose turn has come; taken by [`Operator::run`].
    coming: Mutex<Option<mpsc::Receiver<Turn>>>,
    /// Held while a resolver begins to listen, which it does once.
    beginning: tokio::sync::Mutex<()>,
    /// Namespaces of VirtualClusters in which our right to write kubeconfigs was bound, and for whom.
    bound: Mutex<HashMap<String, HashSet<TenantId>>>,
    failures: Mutex<HashMap<TenantId, u32>>,
}

/// What runs for a tenant beside its connections, and what is known of it on the host.
#[derive(Default)]
struct Running {
    dns: Option<CancellationToken>,
    settled: Settled,
    /// The kubeconfig that was written last, so that it is signed anew only when it must be.
    kubeconfig: Option<Written>,
}

/// A kubeconfig that was written.
struct Written {
    /// Server, Secret and CA.
    what: String,
    when: Instant,
}

/// What an operator is made of.
pub struct Parts {
    /// The host.
    pub client: Client,
    /// The configuration.
    pub config: Config,
    /// Where the host's pods reach this process.
    pub address: IpAddr,
    /// The tenants that are served.
    pub tenants: Arc<Tenants>,
    /// Has the controllers look at everything of a tenant.
    pub controllers_scan: Box<dyn Fn(TenantId) + Send + Sync>,
    /// Makes and removes host namespaces.
    pub syncer: Arc<Syncer>,
    /// Where the syncer reads what the admin chose.
    pub directory: Arc<Directory>,
    /// The tenants' resolver.
    pub resolver: Resolver,
    /// Owns the resolver's tasks.
    pub tasks: TaskTracker,
    /// Ends everything.
    pub cancel: CancellationToken,
}

/// Why a virtual cluster is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// The object lacks what every object of the host has.
    #[error("the VirtualCluster has no {0}")]
    Malformed(&'static str),
    /// No pair of ports is free.
    #[error("all ports are taken: raise ports.count in the configuration, or delete virtual clusters")]
    NoPort,
    /// Writing to the host failed.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The host gave the Service no address.
    #[error("the host gave Service {0} no cluster IP")]
    NoClusterIp(String),
    /// Serving or deleting the tenant failed.
    #[error(transparent)]
    Tenant(#[from] TenantError),
    /// Where the API is reached is not known.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The host namespace could not be made.
    #[error("cannot make the host namespace of the tenant's default namespace")]
    Namespace(#[from] syncer::error::SyncError),
    /// The host namespaces could not be removed.
    #[error("cannot remove the host namespaces of the virtual cluster")]
    Cleanup(#[from] syncer::error::HostError),
    /// The resolver's port could not be had.
    #[error("cannot listen on port {0} for the tenant's resolver")]
    Dns(u16, #[source] std::io::Error),
    /// The status could not be written.
    #[error("cannot write the status of the VirtualCluster")]
    Status(#[source] kube::Error),
    /// The finalizer could not be set or removed.
    #[error(transparent)]
    Finalizer(#[from] Box<finalizer::Error<OperatorError>>),
}

impl Operator {
    /// An operator; tenants that are served already keep their ports.
    pub fn new(parts: Parts) -> Arc<Self> {
        let ports =
            PortPool::new(parts.config.ports.clone(), parts.tenants.ports().into_iter().filter(|(_, p)| *p != 0));
        let (turns, coming) = Turns::new();
        Arc::new(Self {
            client: parts.client,
            config: parts.config,
            address: parts.address,
            service_cidrs: OnceLock::new(),
            tenants: parts.tenants,
            controllers_scan: parts.controllers_scan,
            syncer: parts.syncer,
            directory: parts.directory,
            resolver: parts.resolver,
            ports,
            tasks: parts.tasks,
            cancel: parts.cancel,
            running: Mutex::default(),
            turns,
            coming: Mutex::new(Some(coming)),
            beginning: tokio::sync::Mutex::default(),
            bound: Mutex::default(),
            failures: Mutex::default(),
        })
    }

    /// Follows the VirtualClusters of the host until cancelled; finishes what it has begun.
    pub async fn run(self: Arc<Self>) {
        let cancel = self.cancel.clone();
        tokio::select! {
            () = cancel.cancelled() => return,
            cidrs = host_facts::service_cidrs(&self.client) => { self.service_cidrs.get_or_init(|| cidrs); }
        }
        let all: Api<VirtualCluster> = Api::all(self.client.clone());
        let services: Api<Service> = Api::all(self.client.clone());
        let slices: Api<EndpointSlice> = Api::all(self.client.clone());
        let ours = watcher::Config::default().labels(objects::MADE_FOR);
        let coming = self.coming.lock().take();
        let config = kube::runtime::controller::Config::default().concurrency(AT_ONCE);
        let controller = Controller::new(all, watcher::Config::default()).with_config(config);
        let known = controller.store();
        let filling = self.fill_directory(&known);
        let following = controller
            .watches(services, ours.clone(), {
                let this = Arc::clone(&self);
                move |service| this.noticed(Made::Service, &service.metadata)
            })
            .watches(slices, ours, {
                let this = Arc::clone(&self);
                move |slice| this.noticed(Made::Slice, &slice.metadata)
            })
            .graceful_shutdown_on(cancel.cancelled_owned())
            .run(reconcile::looked_at, |_, _, _| Action::await_change(), Arc::clone(&self))
            .for_each(async |result| {
                if let Err(error @ kube::runtime::controller::Error::QueueError(_)) = result {
                    tracing::warn!(
                        error = apimachinery::error::chain(&error),
                        "cannot follow the VirtualClusters of the host"
                    );
                }
            });
        let working = async {
            if let Some(coming) = coming {
                Arc::clone(&self).work(coming, known.clone()).await;
            }
        };
        tokio::join!(following, filling, working);
    }

    /// Does what it is whose turn for until cancelled; finishes what it has begun.
    async fn work(self: Arc<Self>, mut coming: mpsc::Receiver<Turn>, known: Store<VirtualCluster>) {
        let mut running = JoinSet::new();
        loop {
            tokio::select! {
                () = self.cancel.cancelled() => break,
                Some(turn) = coming.recv() => {
                    // One that is gone was cleaned up before its finalizer went.
                    if let Some(vc) = known.get(&turn.who) {
                        running.spawn(reconcile::in_turn(Arc::clone(&self), vc, turn, known.clone()));
                    }
                }
                Some(_) = running.join_next() => {}
            }
        }
        while running.join_next().await.is_some() {}
    }

    /// Tells the syncer of all virtual clusters that there are, so that it knows whose the host objects are that it sees at
    /// first, and has the resolvers of those that are served answer before anything is asked of the host for them.
    async fn fill_directory(&self, known: &Store<VirtualCluster>) {
        if known.wait_until_ready().await.is_err() {
            // The controller has ended, and so does everything.
            return;
        }
        for vc in known.state() {
            let Ok((id, _, name)) = identity(&vc) else { continue };
            if vc.metadata.deletion_timestamp.is_some() {
                continue;
            }
            let served = self.tenants.get(id).map(|tenant| tenant.spec());
            if self.directory.get(id).is_none() {
                let addresses = served.as_ref().map(|spec| spec.service_ips.as_slice()).unwrap_or_default();
                self.directory.set(id, self.settings(&vc, &name, addresses));
            }
            if let Some(spec) = served.filter(|spec| spec.port != 0)
                && let Err(error) = self.listen_dns(id, spec.port + 1).await
            {
                tracing::warn!(tenant = %id, name, error = apimachinery::error::chain(&error), "the resolver has to wait");
            }
        }
        self.directory.fill();
    }

    /// What is made for a virtual cluster next.
    fn lane(&self, id: TenantId, vc: &VirtualCluster) -> Lane {
        if vc.metadata.deletion_timestamp.is_some() {
            return Lane::Going;
        }
        let ready = vc.status.as_ref().is_some_and(|status| status.phase == Some(Phase::Ready));
        let usable = ready || self.running.lock().get(&id).is_some_and(|running| running.kubeconfig.is_some());
        if usable && self.tenants.get(id).is_some() { Lane::Rest } else { Lane::First }
    }

    /// Brings a virtual cluster to its first answer, and in a turn for the rest does that. Says after which time to look again, if
    /// nothing on the host will tell.
    async fn apply(&self, vc: &VirtualCluster, lane: Lane) -> Result<Option<Duration>, OperatorError> {
        let (id, namespace, name) = identity(vc)?;
        self.running.lock().entry(id).or_default().settled.begin();
        let owner = Owner { id, namespace: &namespace, name: &name };
        let port = self.ports.take(id).ok_or(OperatorError::NoPort)?;
        // The syncer makes the host namespace of a namespace that the tenant has, so the tenant comes first; its own
        // Service's address follows in the second attach.
        let before = self.tenants.get(id).map(|t| t.spec());
        let known = before.as_ref().map(|s| s.service_ips.clone()).unwrap_or_default();
        let attached = self.tenants.attach(id, self.tenant_spec(vc, owner, port, known)).await?;
        if before.is_some_and(|before| before.options != attached.spec().options) {
            // Controllers that were off until now have seen nothing of what there is.
            (self.controllers_scan)(id);
        }
        // Its API answers from here on: who has the kubeconfig need not wait for what pods will need.
        let server = self.give_kubeconfig(vc, id, &namespace, &attached.authority().pem()).await;
        // Nor does another wait for its first answer while that is made: it has a turn of its own.
        let made = match lane {
            Lane::Rest => Some(self.place(vc, owner, port).await?),
            _ => None,
        };
        let server = match server {
            Err(OperatorError::Endpoint(error @ EndpointError::Pending(_))) => {
                self.report(vc, Phase::Pending, None, "EndpointPending", &error.to_string()).await?;
                return Ok(Some(PENDING));
            }
            server => server?,
        };
        let Some(made) = made else {
            self.turns.ask(&ObjectRef::from_obj(vc), Lane::Rest);
            return Ok(None);
        };
        let revision = self.report(vc, Phase::Ready, Some(&server), "Serving", "the API answers").await?;
        if let Some(running) = self.running.lock().get_mut(&id) {
            running.settled.finish(vc.metadata.generation, revision, server, made);
        }
        self.failures.lock().remove(&id);
        Ok(None)
    }

    /// Gives a tenant its place on the host: namespace, Service and EndpointSlice, whose revisions it tells; and its resolver.
    async fn place(&self, vc: &VirtualCluster, owner: Owner<'_>, port: u16) -> Result<[u64; 2], OperatorError> {
        let id = owner.id;
        self.listen_dns(id, port + 1).await?;
        if self.directory.get(id).is_none() {
            self.directory.set(id, self.settings(vc, owner.name, &[]));
        }
        let host_namespace = self.syncer.namespace_ensure(id, HOME).await?;
        let service = objects::service(owner, &host_namespace);
        let slice = objects::endpoint_slice(owner, &host_namespace, self.address, port);
        let (service, slice) = tokio::try_join!(
            host::apply(&self.client, "services", &service),
            host::apply(&self.client, "endpointslices", &slice)
        )?;
        let ips: Vec<IpAddr> =
            list_at(&service, &["spec", "clusterIPs"]).iter().filter_map(|ip| ip.as_str()?.parse().ok()).collect();
        if ips.is_empty() {
            return Err(OperatorError::NoClusterIp(format!("{host_namespace}/{}", objects::SERVICE)));
        }
        let settings = self.settings(vc, owner.name, &ips);
        self.tenants.attach(id, self.tenant_spec(vc, owner, port, ips)).await?;
        if self.directory.get(id).is_none_or(|known| *known != settings) {
            self.directory.set(id, settings);
            self.syncer.tenant_changed(id);
        }
        Ok([&service, &slice].map(|object| settled::revision(Some(text(object, "resourceVersion")))))
    }

    /// What the syncer must know of a virtual cluster whose Service has these addresses.
    fn settings(&self, vc: &VirtualCluster, name: &str, addresses: &[IpAddr]) -> TenantSettings {
        let address = addresses.first().map(IpAddr::to_string);
        TenantSettings {
            name: name.to_owned(),
            api_address: address.clone().unwrap_or_default(),
            api_port: objects::API_PORT,
            dns_address: address,
            cluster_domain: self.config.tenants.cluster_domain.clone(),
            policy: Arc::new(policy::of(&vc.spec)),
        }
    }

    /// Finds where the API is reached and has the kubeconfig tell.
    async fn give_kubeconfig(
        &self,
        vc: &VirtualCluster,
        id: TenantId,
        namespace: &str,
        ca: &str,
    ) -> Result<String, OperatorError> {
        let server = endpoint::find(&self.client, &self.config.api, vc).await?;
        self.write_kubeconfig(vc, id, namespace, &server, ca).await?;
        Ok(server)
    }

    /// Whether all that a virtual cluster asks for was made, and nothing of it has changed on the host.
    fn is_settled(&self, id: TenantId, vc: &VirtualCluster) -> bool {
        let running = self.running.lock();
        let Some(running) = running.get(&id) else { return false };
        let fresh = running.kubeconfig.as_ref().is_some_and(|written| written.when.elapsed() < RESIGN);
        fresh && running.settled.is(vc.metadata.generation)
    }

    /// Whether nothing is left to do for a virtual cluster, once its status says so.
    async fn settle(&self, vc: &VirtualCluster, id: TenantId) -> Result<bool, OperatorError> {
        let ours = vc.metadata.finalizers.iter().flatten().any(|f| f == FINALIZER);
        if vc.metadata.deletion_timestamp.is_some() || !ours || !self.is_settled(id, vc) {
            return Ok(false);
        }
        self.report_ready(vc, id).await?;
        Ok(true)
    }

    /// Reports once more what was reported, where somebody has written to the object since.
    async fn report_ready(&self, vc: &VirtualCluster, id: TenantId) -> Result<(), OperatorError> {
        let seen = settled::revision(vc.metadata.resource_version.as_deref());
        let server = self.running.lock().get(&id).and_then(|r| r.settled.reported_before(seen));
        if let Some(server) = server {
            self.report(vc, Phase::Ready, Some(&server), "Serving", "the API answers").await?;
        }
        Ok(())
    }

    /// Says which VirtualCluster is to be looked at when an object that was made for it changes: none if all that
    /// happened is our own write.
    fn noticed(&self, made: Made, metadata: &ObjectMeta) -> Option<ObjectRef<VirtualCluster>> {
        let (namespace, name) = objects::made_for(metadata)?;
        let id = metadata.annotations.as_ref()?.get(syncer::marks::UID).and_then(|uid| uid.parse::<TenantId>().ok());
        let revision = settled::revision(metadata.resource_version.as_deref());
        let mut running = self.running.lock();
        let news = match id.and_then(|id| running.get_mut(&id)) {
            Some(running) => running.settled.noticed(made, revision),
            None => true,
        };
        news.then(|| ObjectRef::new(&name).within(&namespace))
    }

    async fn cleanup(&self, vc: &VirtualCluster) -> Result<(), OperatorError> {
        let (id, _, name) = identity(vc)?;
        self.report(vc, Phase::Terminating, None, "Terminating", "being removed from the host").await?;
        if let Some(dns) = self.running.lock().remove(&id).and_then(|running| running.dns) {
            dns.cancel();
        }
        match self.tenants.detach(id).await {
            Ok(()) | Err(TenantError::Unknown(_)) => {}
            Err(error) => return Err(error.into()),
        }
        self.directory.remove(id);
        self.syncer.tenant_cleanup(id).await?;
        self.tenants.delete(id).await?;
        self.ports.release(id);
        self.failures.lock().remove(&id);
        self.bound.lock().retain(|_, whose| {
            whose.remove(&id);
            !whose.is_empty()
        });
        tracing::info!(tenant = %id, name, "virtual cluster removed");
        Ok(())
    }

    fn tenant_spec(&self, vc: &VirtualCluster, owner: Owner<'_>, port: u16, service_ips: Vec<IpAddr>) -> TenantSpec {
        TenantSpec {
            namespace: owner.namespace.to_owned(),
            name: owner.name.to_owned(),
            hostnames: vc.spec.server_names.clone(),
            port,
            service_ips,
            endpoint_ips: vec![self.address],
            endpoint_port: port,
            service_cidrs: self.service_cidrs.get().cloned().unwrap_or_default(),
            options: serde_json::json!({"controllers": vc.spec.controllers}),
        }
    }

    async fn listen_dns(&self, id: TenantId, port: u16) -> Result<(), OperatorError> {
        let _beginning = self.beginning.lock().await;
        if self.running.lock().get(&id).is_some_and(|running| running.dns.is_some()) {
            return Ok(());
        }
        let dns = self.cancel.child_token();
        let listen = self.config.api.listen.ip();
        let serving = self.resolver.serve(id, listen, port, &self.tasks, dns.clone());
        serving.await.map_err(|source| OperatorError::Dns(port, source))?;
        self.running.lock().entry(id).or_default().dns = Some(dns);
        Ok(())
    }

    async fn write_kubeconfig(
        &self,
        vc: &VirtualCluster,
        id: TenantId,
        namespace: &str,
        server: &str,
        ca: &str,
    ) -> Result<(), OperatorError> {
        // We may not read Secrets here, so what was written is remembered; after a restart it is written once more.
        let wanted = format!("{server} {} {ca}", vc.kubeconfig_secret_name());
        let fresh = |written: &Written| written.what == wanted && written.when.elapsed() < RESIGN;
        if self.running.lock().get(&id).and_then(|r| r.kubeconfig.as_ref()).is_some_and(fresh) {
            return Ok(());
        }
        let account = &self.config.host.service_account;
        if !account.name.is_empty() {
            if !self.bound.lock().contains_key(namespace) {
                let binding = objects::kubeconfig_binding(namespace, &self.config.host.kubeconfig_role, account);
                host::apply(&self.client, "rolebindings", &binding).await?;
            }
            self.bound.lock().entry(namespace.to_owned()).or_default().insert(id);
        }
        let kubeconfig = self.tenants.kubeconfig(id, server)?;
        let secret = objects::kubeconfig_secret(vc, &kubeconfig);
        if let Err(error) = host::apply(&self.client, "secrets", &secret).await {
            // If somebody has removed the binding, the next attempt makes it anew.
            self.bound.lock().remove(namespace);
            return Err(error.into());
        }
        if let Some(running) = self.running.lock().get_mut(&id) {
            running.kubeconfig = Some(Written { what: wanted, when: Instant::now() });
        }
        Ok(())
    }

    async fn report(
        &self,
        vc: &VirtualCluster,
        phase: Phase,
        endpoint: Option<&str>,
        reason: &str,
        message: &str,
    ) -> Result<u64, OperatorError> {
        let report = status::Report { phase, endpoint, reason, message };
        status::write(&self.client, vc, &report).await.map_err(OperatorError::Status)
    }
}

/// Uid, namespace and name.
fn identity(vc: &VirtualCluster) -> Result<(TenantId, String, String), OperatorError> {
    let metadata = &vc.metadata;
    let id = metadata.uid.as_deref().and_then(|uid| uid.parse().ok()).ok_or(OperatorError::Malformed("uid"))?;
    let namespace = metadata.namespace.clone().ok_or(OperatorError::Malformed("namespace"))?;
    Ok((id, namespace, metadata.name.clone().ok_or(OperatorError::Malformed("name"))?))
}
