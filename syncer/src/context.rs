//! What all rooms share: the two sides, what is known of the host, and the queue.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use apimachinery::gvk::GroupResource;
use apimachinery::status::ApiError;
use apimachinery::tenant::TenantId;
use parking_lot::Mutex;
use serde_json::{Value, json};
use smol_str::SmolStr;
use tenant_client::{Caller, DeleteOptions, Object, Target, TenantClient};
use tokio::time::Instant;

use crate::cache::{Marked, Shared};
use crate::config::{Config, Directory, TenantSettings};
use crate::configs::Placed;
use crate::error::SyncError;
use crate::host_api::HostApi;
use crate::metrics::Metrics;
use crate::pods::Use;
use crate::touched::Touched;
use crate::{clock, names};
use tenant_client::work::{Item, Queue};

/// Who the syncer is in a tenant.
pub(crate) const CALLER: Caller =
    Caller { user: "system:serviceaccount:kube-system:tenantry-syncer", manager: "tenantry" };

/// What all rooms share.
pub(crate) struct Context {
    pub(crate) tenants: Arc<dyn TenantClient>,
    pub(crate) host: HostApi,
    pub(crate) directory: Arc<Directory>,
    pub(crate) config: Config,
    pub(crate) marked: Marked,
    pub(crate) shared: Shared,
    pub(crate) queue: Queue,
    pub(crate) metrics: Metrics,
    pub(crate) in_use: InUse,
    /// Host namespaces that are there with all that must be in them.
    pub(crate) ready_namespaces: Mutex<HashSet<(TenantId, SmolStr)>>,
    /// Host namespaces that were just made, by the rooms that have not scanned them yet: nothing is in them that is not known.
    pub(crate) fresh_namespaces: Mutex<HashSet<(TenantId, &'static str, SmolStr)>>,
    /// When the tokens of a pod are to be renewed, by pod uid.
    pub(crate) tokens: Mutex<HashMap<(TenantId, String), Instant>>,
    /// The config objects that are on the host.
    pub(crate) placed: Placed,
    /// When the lease of a node is to be renewed, by the node's name.
    pub(crate) leases: Mutex<HashMap<(TenantId, SmolStr), Instant>>,
    /// Services that a call is changing on the host at this moment, before the tenant's own object is written.
    pub(crate) pending_services: Mutex<HashMap<(TenantId, Item), Instant>>,
    /// Host events that wait to be brought up.
    pub(crate) events: PendingEvents,
    /// Whom the slow scan looks at next.
    pub(crate) touched: Touched,
    /// What a tenant was told last about an object, so that it is told once.
    told: Mutex<HashMap<(TenantId, Item), String>>,
}

impl Context {
    pub(crate) fn new(
        tenants: Arc<dyn TenantClient>,
        host: HostApi,
        directory: Arc<Directory>,
        config: Config,
        metrics: Metrics,
    ) -> Self {
        Self {
            tenants,
            host,
            directory,
            queue: Queue::new(config.queue_per_tenant, config.in_flight_per_tenant),
            config,
            metrics,
            marked: Marked::default(),
            shared: Shared::default(),
            in_use: InUse::default(),
            ready_namespaces: Mutex::default(),
            fresh_namespaces: Mutex::default(),
            tokens: Mutex::default(),
            placed: Placed::default(),
            leases: Mutex::default(),
            pending_services: Mutex::default(),
            events: PendingEvents::default(),
            touched: Touched::default(),
            told: Mutex::default(),
        }
    }

    /// Whether a call is changing a service. A call that takes longer than this has failed.
    pub(crate) fn service_is_pending(&self, tenant: TenantId, item: &Item) -> bool {
        const LONGEST: Duration = Duration::from_secs(10);
        let mut pending = self.pending_services.lock();
        pending.retain(|_, since| since.elapsed() < LONGEST);
        pending.contains_key(&(tenant, item.clone()))
    }

    /// Looks at an item soon.
    pub(crate) fn wake(&self, tenant: TenantId, item: Item) {
        if self.directory.get(tenant).is_some() {
            self.queue.add(tenant, item);
        }
    }

    /// The settings of a tenant.
    pub(crate) fn settings(&self, tenant: TenantId) -> Result<Arc<TenantSettings>, SyncError> {
        self.directory.get(tenant).ok_or(SyncError::Wait(
            "the operator has not said how the virtual cluster is set up",
            Duration::from_secs(5),
        ))
    }

    /// The host namespace of a tenant's namespace.
    pub(crate) fn host_namespace(&self, tenant: TenantId, namespace: &str) -> Result<String, SyncError> {
        Ok(names::host_namespace(tenant, &self.settings(tenant)?.name, namespace))
    }

    /// Reads a tenant object; `None` if there is none.
    pub(crate) async fn tenant_get(
        &self,
        tenant: TenantId,
        resource: &GroupResource,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Object>, SyncError> {
        match self.tenants.get(Target { tenant, resource, namespace, name, subresource: "" }).await {
            Ok(object) => Ok(Some(object)),
            Err(e) if e.code == 404 => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// Deletes a tenant object with this uid; fine if it is gone or another one has its name.
    pub(crate) async fn tenant_delete(
        &self,
        tenant: TenantId,
        resource: &GroupResource,
        object: &Value,
        grace_seconds: Option<i64>,
    ) -> Result<(), SyncError> {
        let (namespace, name) = (apimachinery::meta::namespace(object), apimachinery::meta::name(object));
        let options = DeleteOptions {
            grace_period_seconds: grace_seconds,
            uid: Some(apimachinery::meta::uid(object).to_owned()),
            propagation_policy: Some("Background"),
            ..DeleteOptions::default()
        };
        match self.tenants.delete(CALLER, Target { tenant, resource, namespace, name, subresource: "" }, options).await
        {
            Err(ApiError { code: 404 | 409, .. }) | Ok(()) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    /// Tells the tenant something about an object of its own, once.
    pub(crate) async fn tell(&self, tenant: TenantId, item: &Item, object: &Value, reason: &str, message: &str) {
        let key = (tenant, item.clone());
        let said = format!("{reason}: {message}");
        if self.told.lock().get(&key) == Some(&said) {
            return;
        }
        let namespace = match apimachinery::meta::namespace(object) {
            "" => "default",
            namespace => namespace,
        };
        let (uid, now) = (apimachinery::meta::uid(object), clock::now_text());
        let hash = names::hash(&[uid.as_bytes(), said.as_bytes()]);
        let name: String = apimachinery::meta::name(object).chars().take(200).collect();
        let event = json!({
            "apiVersion": "v1", "kind": "Event",
            "metadata": {"name": format!("{name}.{hash}"), "namespace": namespace},
            "involvedObject": {
                "apiVersion": object["apiVersion"], "kind": object["kind"], "namespace": apimachinery::meta::namespace(object),
                "name": apimachinery::meta::name(object), "uid": uid,
            },
            "type": "Warning", "reason": reason, "message": message.chars().take(1024).collect::<String>(),
            "source": {"component": "tenantry-syncer"}, "reportingComponent": "tenantry-syncer", "reportingInstance": "tenantry",
            "firstTimestamp": now, "lastTimestamp": now, "count": 1,
        });
        let events = GroupResource::new("", "events");
        let target = Target { tenant, resource: &events, namespace, name: "", subresource: "" };
        match self.tenants.create(CALLER, target, event).await {
            Ok(_) | Err(ApiError { code: 409, .. }) => {
                self.told.lock().insert(key, said);
            }
            Err(error) => tracing::debug!(%tenant, %error, "an event could not be written"),
        }
    }

    /// There is nothing more to complain about.
    pub(crate) fn untell(&self, tenant: TenantId, item: &Item) {
        let mut told = self.told.lock();
        if !told.is_empty() {
            let key = (tenant, item.clone());
            if told.get(&key).is_some_and(|said| said.starts_with("SyncError")) {
                told.remove(&key);
            }
        }
    }

    /// The object is gone: what was said about it no longer matters.
    pub(crate) fn forget_told(&self, tenant: TenantId, item: &Item) {
        self.told.lock().remove(&(tenant, item.clone()));
    }

    /// A host namespace is gone or going: what is known of it no longer holds.
    pub(crate) fn namespace_lost(&self, tenant: TenantId, namespace: &str) {
        self.ready_namespaces.lock().remove(&(tenant, namespace.into()));
        self.placed.forget(tenant, Some(namespace));
    }

    /// The host gives us no right in a tenant's host namespace: our binding there may be gone, and is made again before the next write.
    pub(crate) fn namespace_doubt(&self, tenant: TenantId, namespace: &str) {
        self.ready_namespaces.lock().remove(&(tenant, namespace.into()));
    }

    /// Forgets all that is remembered of a tenant.
    pub(crate) fn forget(&self, tenant: TenantId) {
        self.queue.forget(tenant);
        self.marked.forget(tenant);
        self.in_use.forget(tenant);
        self.events.tenants.lock().remove(&tenant);
        self.touched.forget(tenant);
        self.ready_namespaces.lock().retain(|(t, _)| *t != tenant);
        self.fresh_namespaces.lock().retain(|(t, ..)| *t != tenant);
        self.tokens.lock().retain(|(t, _), _| *t != tenant);
        self.placed.forget(tenant, None);
        self.leases.lock().retain(|(t, _), _| *t != tenant);
        self.pending_services.lock().retain(|(t, _), _| *t != tenant);
        self.told.lock().retain(|(t, _), _| *t != tenant);
    }
}

/// Host events by tenant; each tenant may have so many waiting.
#[derive(Debug, Default)]
pub(crate) struct PendingEvents {
    tenants: Mutex<HashMap<TenantId, HashMap<Item, Value>>>,
}

impl PendingEvents {
    const LIMIT: usize = 256;

    /// Keeps an event, the last one of its name. `false` if the tenant has too many waiting.
    pub(crate) fn put(&self, tenant: TenantId, item: &Item, event: Value) -> bool {
        let mut tenants = self.tenants.lock();
        let waiting = tenants.entry(tenant).or_default();
        if waiting.len() >= Self::LIMIT && !waiting.contains_key(item) {
            return false;
        }
        waiting.insert(item.clone(), event);
        true
    }

    /// Takes an event out.
    pub(crate) fn take(&self, tenant: TenantId, item: &Item) -> Option<Value> {
        let mut tenants = self.tenants.lock();
        let waiting = tenants.get_mut(&tenant)?;
        let event = waiting.remove(item);
        if waiting.is_empty() {
            tenants.remove(&tenant);
        }
        event
    }
}

/// Which config maps and secrets are used, by which pods.
#[derive(Debug, Default)]
pub(crate) struct InUse {
    tenants: Mutex<HashMap<TenantId, HashMap<SmolStr, Namespace>>>,
}

#[derive(Debug, Default)]
struct Namespace {
    pods: HashMap<SmolStr, BTreeSet<Use>>,
    counts: HashMap<Use, u32>,
}

impl InUse {
    /// What a pod uses now (nothing, if it is gone). Returns what began or ceased to be used.
    pub(crate) fn set(&self, tenant: TenantId, namespace: &str, pod: &str, uses: BTreeSet<Use>) -> Vec<Use> {
        let mut tenants = self.tenants.lock();
        if uses.is_empty() && !tenants.get(&tenant).is_some_and(|t| t.contains_key(namespace)) {
            return Vec::new();
        }
        let by_namespace = tenants.entry(tenant).or_default();
        let entry = by_namespace.entry(namespace.into()).or_default();
        let before = if uses.is_empty() { entry.pods.remove(pod) } else { entry.pods.insert(pod.into(), uses.clone()) };
        let before = before.unwrap_or_default();
        let mut changed = Vec::new();
        for began in uses.difference(&before) {
            let count = entry.counts.entry(began.clone()).or_default();
            *count += 1;
            if *count == 1 {
                changed.push(began.clone());
            }
        }
        for ended in before.difference(&uses) {
            if let Some(count) = entry.counts.get_mut(ended) {
                *count -= 1;
                if *count == 0 {
                    entry.counts.remove(ended);
                    changed.push(ended.clone());
                }
            }
        }
        if entry.pods.is_empty() {
            by_namespace.remove(namespace);
        }
        if by_namespace.is_empty() {
            tenants.remove(&tenant);
        }
        changed
    }

    /// Whether a pod uses it.
    pub(crate) fn contains(&self, tenant: TenantId, namespace: &str, what: &Use) -> bool {
        let tenants = self.tenants.lock();
        tenants.get(&tenant).and_then(|t| t.get(namespace)).is_some_and(|n| n.counts.contains_key(what))
    }

    fn forget(&self, tenant: TenantId) {
        self.tenants.lock().remove(&tenant);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_several_pods_use_is_used_until_the_last_is_gone() {
        const T: TenantId = TenantId::from_bytes([1; 16]);
        let in_use = InUse::default();
        let uses = |names: &[&str]| names.iter().map(|n| Use::Secret((*n).to_owned())).collect::<BTreeSet<_>>();
        assert_eq!(in_use.set(T, "ns", "a", uses(&["x", "y"])).len(), 2);
        assert_eq!(in_use.set(T, "ns", "b", uses(&["x"])), []);
        assert_eq!(in_use.set(T, "ns", "a", uses(&[])), [Use::Secret("y".into())]);
        assert!(in_use.contains(T, "ns", &Use::Secret("x".into())));
        assert!(!in_use.contains(T, "ns", &Use::ConfigMap("x".into())));
        assert_eq!(in_use.set(T, "ns", "b", uses(&[])), [Use::Secret("x".into())]);
        assert!(in_use.tenants.lock().is_empty(), "what is idle costs nothing");
    }
}
