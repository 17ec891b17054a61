//! One follower, one queue, one set of workers.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use apimachinery::tenant::TenantId;
use futures::FutureExt;
use jiff::Timestamp;
use tenant_client::work::{Item, Queue, SCAN};
use tenant_client::{Change, Event, TenantClient};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::context::{Clock, Context, resource};
use crate::controller::{Controller, Key};
use crate::metrics::{ControllerLabel, Metrics};
use crate::{
    aggregation, cronjob, daemonset, deployment, disruption, endpoints, event_ttl, garbage, job, namespace, podgc,
    protection, replicas, resourcequota, serviceaccount, statefulset,
};

/// How soon a look that failed is repeated, at first.
const RETRY: Duration = Duration::from_millis(100);
/// How soon the change log is followed again after it was lost.
const FOLLOW_AGAIN: Duration = Duration::from_secs(1);

/// How much controllers may do at once.
#[derive(Clone, Debug)]
pub struct Config {
    /// Looks that run at once.
    pub workers: usize,
    /// Looks of one tenant that run at once.
    pub workers_per_tenant: usize,
    /// Objects of one tenant that may wait; beyond it the whole tenant is looked at instead.
    pub queue_per_tenant: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { workers: 64, workers_per_tenant: 16, queue_per_tenant: 20_000 }
    }
}

/// The controllers of all tenants.
pub struct Controllers {
    shared: Arc<Shared>,
    workers: usize,
}

struct Shared {
    context: Context,
    queue: Queue,
    all: Vec<Box<dyn Controller>>,
    metrics: Arc<Metrics>,
    enabled: Box<dyn Fn(TenantId) -> bool + Send + Sync>,
}

impl Controllers {
    /// Controllers for the tenants of a client that `enabled` says yes to.
    pub fn new(
        client: Arc<dyn TenantClient>,
        clock: impl Fn() -> Timestamp + Send + Sync + 'static,
        enabled: impl Fn(TenantId) -> bool + Send + Sync + 'static,
        config: &Config,
    ) -> Self {
        let clock: Clock = Arc::new(clock);
        let shared = Shared {
            context: Context { client, clock },
            queue: Queue::new(config.queue_per_tenant, config.workers_per_tenant),
            all: all(),
            metrics: Arc::default(),
            enabled: Box::new(enabled),
        };
        Self { shared: Arc::new(shared), workers: config.workers.max(1) }
    }

    /// What they count.
    pub fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.shared.metrics)
    }

    /// Looks at everything of a tenant: for whoever has turned its controllers on.
    pub fn scan(&self) -> impl Fn(TenantId) + Send + Sync + use<> {
        let shared = Arc::clone(&self.shared);
        move |tenant| shared.queue.add(tenant, Item::new(SCAN, "", ""))
    }

    /// Lets go of what can be read again of a tenant that nobody uses: for whoever takes tenants out of memory.
    pub fn rest(&self) -> impl Fn(TenantId) + Send + Sync + use<> {
        let shared = Arc::clone(&self.shared);
        move |tenant| shared.all.iter().for_each(|controller| controller.rest(tenant))
    }

    /// Works until cancelled, and finishes what it has begun.
    pub async fn run(self, cancel: CancellationToken) {
        let mut tasks = JoinSet::new();
        tasks.spawn(follow(Arc::clone(&self.shared), cancel.clone()));
        for _ in 0..self.workers {
            tasks.spawn(work(Arc::clone(&self.shared), cancel.clone()));
        }
        while tasks.join_next().await.is_some() {}
    }
}

fn all() -> Vec<Box<dyn Controller>> {
    vec![
        Box::new(namespace::Namespaces),
        Box::new(serviceaccount::DefaultServiceAccount),
        Box::new(serviceaccount::RootCa),
        Box::new(replicas::Replicas::replica_sets()),
        Box::new(replicas::Replicas::replication_controllers()),
        Box::new(deployment::Deployments),
        Box::new(statefulset::StatefulSets),
        Box::new(daemonset::DaemonSets),
        Box::new(job::Jobs),
        Box::new(cronjob::CronJobs),
        Box::new(endpoints::Endpoints),
        Box::new(disruption::Disruption),
        Box::new(protection::Protection::claims()),
        Box::new(protection::Protection::volumes()),
        Box::new(protection::Protection::classes()),
        Box::new(aggregation::Aggregation),
        Box::new(podgc::PodGarbage),
        Box::<event_ttl::EventTtl>::default(),
        Box::new(resourcequota::ResourceQuotas),
        Box::<garbage::GarbageCollector>::default(),
    ]
}

async fn follow(shared: Arc<Shared>, cancel: CancellationToken) {
    loop {
        let mut stream = shared.context.client.follow();
        let error = loop {
            let events = tokio::select! {
                () = cancel.cancelled() => return,
                events = stream.next() => events,
            };
            match events {
                Ok(events) => events.iter().for_each(|event| shared.take(event)),
                Err(error) => break error,
            }
        };
        // Following anew begins with a scan of every tenant, so nothing is missed.
        tracing::warn!(%error, "the change log was lost, controllers follow it anew");
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(FOLLOW_AGAIN) => {}
        }
    }
}

async fn work(shared: Arc<Shared>, cancel: CancellationToken) {
    loop {
        let (tenant, item, waited) = tokio::select! {
            () = cancel.cancelled() => return,
            next = shared.queue.next() => next,
        };
        shared.metrics.wait.observe(waited.as_secs_f64());
        shared.metrics.depth.set(i64::try_from(shared.queue.len()).unwrap_or(i64::MAX));
        let begun = Instant::now();
        let looked = AssertUnwindSafe(shared.look(tenant, &item)).catch_unwind().await;
        shared.metrics.work.observe(begun.elapsed().as_secs_f64());
        let retry = looked.unwrap_or_else(|_| {
            shared.metrics.panics.inc();
            tracing::error!(%tenant, controller = item.room, namespace = %item.namespace, name = %item.name, "a controller panicked");
            Some(RETRY)
        });
        shared.queue.done(tenant, &item, retry);
    }
}

impl Shared {
    fn take(&self, event: &Event) {
        match event {
            Event::Attached(tenant) => {
                self.all.iter().for_each(|c| c.forget(*tenant));
                self.queue.add(*tenant, Item::new(SCAN, "", ""));
            }
            Event::Detached(tenant) => {
                self.all.iter().for_each(|c| c.forget(*tenant));
                self.queue.forget(*tenant);
            }
            Event::Change(change) => self.route(change),
        }
    }

    /// The controllers that work for a tenant.
    fn of(&self, tenant: TenantId) -> impl Iterator<Item = &dyn Controller> {
        let enabled = (self.enabled)(tenant);
        self.all.iter().map(|c| &**c).filter(move |c| enabled || c.for_every_tenant())
    }

    fn route(&self, change: &Change) {
        let enabled = (self.enabled)(change.tenant);
        for controller in &self.all {
            if !enabled && !controller.for_every_tenant() {
                controller.forget(change.tenant);
                continue;
            }
            let room = controller.name();
            controller.keys(change, &mut |namespace, name| {
                self.queue.add(change.tenant, Item::new(room, namespace, name));
            });
        }
    }

    /// Looks at an item; says after which time to try again if that failed.
    async fn look(&self, tenant: TenantId, item: &Item) -> Option<Duration> {
        if item.room == SCAN {
            return self.scan(tenant).await;
        }
        let controller = self.of(tenant).find(|c| c.name() == item.room)?;
        let label = ControllerLabel { controller: item.room };
        self.metrics.reconciles.get_or_create(&label).inc();
        let key = Key { tenant, namespace: &item.namespace, name: &item.name };
        match controller.reconcile(&self.context, key).await {
            Ok(None) => None,
            Ok(Some(delay)) => {
                self.queue.add_after(tenant, item.clone(), delay);
                None
            }
            Err(error) => {
                self.metrics.errors.get_or_create(&label).inc();
                // Conflicts are the way of the world: somebody else wrote first, and we look again.
                if error.code == 409 {
                    tracing::debug!(%tenant, controller = item.room, namespace = %item.namespace, name = %item.name, %error, "looking again");
                } else {
                    tracing::warn!(%tenant, controller = item.room, namespace = %item.namespace, name = %item.name, %error, "a controller failed");
                }
                Some(RETRY)
            }
        }
    }

    /// Looks at everything a tenant has.
    async fn scan(&self, tenant: TenantId) -> Option<Duration> {
        for controller in self.of(tenant) {
            if let Some(name) = controller.scan_key() {
                self.queue.add(tenant, Item::new(controller.name(), "", name));
            }
            for (group, plural) in controller.resources() {
                match self.context.client.list(tenant, &resource(group, plural), None).await {
                    Ok(list) => {
                        for object in list.items {
                            self.queue.add(tenant, Item::new(controller.name(), &object.namespace, &object.name));
                        }
                    }
                    Err(error) => {
                        tracing::warn!(%tenant, plural, %error, "cannot look at all objects of a virtual cluster");
                        return Some(RETRY);
                    }
                }
            }
        }
        None
    }
}
