//! The operator: makes what `VirtualCluster` objects of the host ask for, and removes every trace when they go.

pub mod endpoint;
pub mod host;
pub mod objects;
pub mod policy;
pub mod ports;
pub mod status;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use apimachinery::meta::list_at;
use apimachinery::tenant::TenantId;
use apiserver_shim::tenants::{TenantError, TenantSpec, Tenants};
use futures::StreamExt;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::ObjectMeta;
use kube::runtime::controller::{Action, Controller};
use kube::runtime::finalizer::{self, finalizer};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;
use kube::{Api, Client};
use parking_lot::Mutex;
use syncer::Syncer;
use syncer::config::{Directory, TenantSettings};
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

/// How soon a reconciliation that failed is tried again, at first and at most.
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_LAST: Duration = Duration::from_secs(60);
/// How soon a load balancer's address is looked for again.
const PENDING: Duration = Duration::from_secs(2);
/// How often a kubeconfig is signed anew: its certificate lives for a year.
const RESIGN: Duration = Duration::from_secs(30 * 24 * 3600);
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
    failures: Mutex<HashMap<TenantId, u32>>,
}

/// What runs for a tenant beside its connections.
struct Running {
    dns: CancellationToken,
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
        let config = kube::runtime::controller::Config::default().concurrency(16);
        let services: Api<Service> = Api::all(self.client.clone());
        let slices: Api<EndpointSlice> = Api::all(self.client.clone());
        let ours = watcher::Config::default().labels(objects::MADE_FOR);
        Controller::new(all, watcher::Config::default())
            .with_config(config)
            .watches(services, ours.clone(), |service| owner(&service.metadata))
            .watches(slices, ours, |slice| owner(&slice.metadata))
            .graceful_shutdown_on(cancel.cancelled_owned())
            .run(reconcile, retry, self)
            .for_each(async |result| {
                if let Err(error @ kube::runtime::controller::Error::QueueError(_)) = result {
                    tracing::warn!(
                        error = crate::logging::chain(&error),
                        "cannot follow the VirtualClusters of the host"
                    );
                }
            })
            .await;
    }

    async fn apply(&self, vc: &VirtualCluster) -> Result<Action, OperatorError> {
        let (id, namespace, name) = identity(vc)?;
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
        let mut settings = TenantSettings {
            name: name.clone(),
            api_address: String::new(),
            api_port: objects::API_PORT,
            dns_address: None,
            cluster_domain: self.config.tenants.cluster_domain.clone(),
            policy: Arc::new(policy::of(&vc.spec)),
        };
        if self.directory.get(id).is_none() {
            self.directory.set(id, settings.clone());
        }
        let host_namespace = self.syncer.namespace_ensure(id, HOME).await?;
        let service = host::apply(&self.client, "services", &objects::service(owner, &host_namespace)).await?;
        let ips: Vec<IpAddr> =
            list_at(&service, &["spec", "clusterIPs"]).iter().filter_map(|ip| ip.as_str()?.parse().ok()).collect();
        let ip =
            *ips.first().ok_or_else(|| OperatorError::NoClusterIp(format!("{host_namespace}/{}", objects::SERVICE)))?;
        let slice = objects::endpoint_slice(owner, &host_namespace, self.address, port);
        host::apply(&self.client, "endpointslices", &slice).await?;
        let tenant = self.tenants.attach(id, self.tenant_spec(vc, owner, port, ips)).await?;
        self.listen_dns(id, port + 1).await?;
        settings.api_address = ip.to_string();
        settings.dns_address = Some(ip.to_string());
        self.directory.set(id, settings);
        self.syncer.tenant_changed(id);
        let server = match endpoint::find(&self.client, &self.config.api, vc).await {
            Ok(server) => server,
            Err(error @ EndpointError::Pending(_)) => {
                self.report(vc, Phase::Pending, None, "EndpointPending", &error.to_string()).await?;
                return Ok(Action::requeue(PENDING));
            }
            Err(error) => return Err(error.into()),
        };
        self.write_kubeconfig(vc, id, &namespace, &server, &tenant.authority().pem()).await?;
        self.report(vc, Phase::Ready, Some(&server), "Serving", "the API answers").await?;
        self.failures.lock().remove(&id);
        Ok(Action::requeue(RESIGN))
    }

    async fn cleanup(&self, vc: &VirtualCluster) -> Result<Action, OperatorError> {
        let (id, _, name) = identity(vc)?;
        self.report(vc, Phase::Terminating, None, "Terminating", "being removed from the host").await?;
        if let Some(running) = self.running.lock().remove(&id) {
            running.dns.cancel();
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
        tracing::info!(tenant = %id, name, "virtual cluster removed");
        Ok(Action::await_change())
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
        if self.running.lock().contains_key(&id) {
            return Ok(());
        }
        let dns = self.cancel.child_token();
        let listen = self.config.api.listen.ip();
        let serving = self.resolver.serve(id, listen, port, &self.tasks, dns.clone());
        serving.await.map_err(|source| OperatorError::Dns(port, source))?;
        self.running.lock().insert(id, Running { dns, kubeconfig: None });
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
        let account = &self.config.host.service_account;
        if !account.name.is_empty() {
            let binding = objects::kubeconfig_binding(namespace, &self.config.host.kubeconfig_role, account);
            host::apply(&self.client, "rolebindings", &binding).await?;
        }
        // We may not read Secrets here, so what was written is remembered; after a restart it is written once more.
        let wanted = format!("{server} {} {ca}", vc.kubeconfig_secret_name());
        let fresh = |written: &Written| written.what == wanted && written.when.elapsed() < RESIGN;
        if self.running.lock().get(&id).and_then(|r| r.kubeconfig.as_ref()).is_some_and(fresh) {
            return Ok(());
        }
        let kubeconfig = self.tenants.kubeconfig(id, server)?;
        host::apply(&self.client, "secrets", &objects::kubeconfig_secret(vc, &kubeconfig)).await?;
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
    ) -> Result<(), OperatorError> {
        let report = status::Report { phase, endpoint, reason, message };
        status::write(&self.client, vc, &report).await.map_err(OperatorError::Status)
    }
}

/// The VirtualCluster that is to be looked at when an object that was made for it changes.
fn owner(metadata: &ObjectMeta) -> Option<ObjectRef<VirtualCluster>> {
    objects::made_for(metadata).map(|(namespace, name)| ObjectRef::new(&name).within(&namespace))
}

/// Uid, namespace and name.
fn identity(vc: &VirtualCluster) -> Result<(TenantId, String, String), OperatorError> {
    let metadata = &vc.metadata;
    let id = metadata.uid.as_deref().and_then(|uid| uid.parse().ok()).ok_or(OperatorError::Malformed("uid"))?;
    let namespace = metadata.namespace.clone().ok_or(OperatorError::Malformed("namespace"))?;
    Ok((id, namespace, metadata.name.clone().ok_or(OperatorError::Malformed("name"))?))
}

async fn reconcile(vc: Arc<VirtualCluster>, operator: Arc<Operator>) -> Result<Action, OperatorError> {
    let (_, namespace, _) = identity(&vc)?;
    let api: Api<VirtualCluster> = Api::namespaced(operator.client.clone(), &namespace);
    let result = finalizer(&api, FINALIZER, Arc::clone(&vc), async |event| match event {
        finalizer::Event::Apply(vc) => operator.apply(&vc).await,
        finalizer::Event::Cleanup(vc) => operator.cleanup(&vc).await,
    })
    .await;
    result.map_err(|error| match error {
        finalizer::Error::ApplyFailed(error) | finalizer::Error::CleanupFailed(error) => error,
        error => OperatorError::Finalizer(Box::new(error)),
    })
}

/// Tells of a failure, in the status and in the log, and when to try again.
fn retry(vc: Arc<VirtualCluster>, error: &OperatorError, operator: Arc<Operator>) -> Action {
    let text = crate::logging::chain(error);
    let Ok((id, _, name)) = identity(&vc) else { return Action::await_change() };
    let failures = {
        let mut failures = operator.failures.lock();
        let count = failures.entry(id).or_default();
        *count = count.saturating_add(1);
        *count
    };
    tracing::warn!(tenant = %id, name, error = text, failures, "cannot reconcile a virtual cluster");
    let tasks = operator.tasks.clone();
    tasks.spawn(async move {
        let phase = if vc.metadata.deletion_timestamp.is_some() {
            Phase::Terminating
        } else {
            status::phase_after_failure(&vc)
        };
        if let Err(error) = operator.report(&vc, phase, None, "ReconcileFailed", &text).await {
            tracing::warn!(tenant = %id, error = crate::logging::chain(&error), "cannot report a failure");
        }
    });
    Action::requeue(RETRY_FIRST.saturating_mul(1 << failures.min(10)).min(RETRY_LAST))
}
