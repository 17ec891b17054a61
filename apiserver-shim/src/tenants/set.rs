//! All tenants that this server serves.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use apimachinery::tenant::TenantId;
use jiff::Timestamp;
use parking_lot::RwLock;
use store::{Precondition, RangeQuery, Store, StoreError, Write};
use tokio::sync::{Mutex, watch};

use super::record::{self, TenantRecord};
use super::{SERVER_NAME_SUFFIX, SpecError, Tenant, TenantSpec, bootstrap};
use crate::auth::token::TokenKey;
use crate::clock::{SharedClock, rfc3339};
use crate::tls::authority::CLIENT_LIFETIME;
use crate::tls::{self, Authority, CertificateError};

/// How long detach waits for requests that are under way.
pub(super) const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

/// Why a tenant could not be attached, detached or deleted.
#[derive(Debug, thiserror::Error)]
pub enum TenantError {
    /// What was said of it is wrong.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// Its keys could not be made.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// Its record or its first objects could not be written or read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its record in the store is damaged.
    #[error("the record of virtual cluster {id} can not be read: {reason}")]
    Record {
        /// Whose, as its key has it.
        id: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The facts of bootstrap objects that are built in can not be used: a broken build.
    #[error("bootstrap objects: {0}")]
    Bootstrap(String),
    /// There is none with this id.
    #[error("no virtual cluster {0}")]
    Unknown(TenantId),
}

#[derive(Debug, Default)]
struct Served {
    by_id: HashMap<TenantId, Arc<Tenant>>,
    /// Hostnames and ports of those that are served, and of those that are about to be.
    by_hostname: HashMap<String, TenantId>,
    by_port: HashMap<u16, TenantId>,
}

impl Served {
    /// Takes a spec's hostnames and port for a tenant, if no other tenant has them.
    fn reserve(&mut self, id: TenantId, spec: &TenantSpec) -> Result<(), SpecError> {
        for name in &spec.hostnames {
            if self.by_hostname.get(name).is_some_and(|owner| *owner != id) {
                return Err(SpecError::HostnameTaken(name.clone()));
            }
        }
        if self.by_port.get(&spec.port).is_some_and(|owner| *owner != id) {
            return Err(SpecError::PortTaken(spec.port));
        }
        self.by_hostname.extend(spec.hostnames.iter().map(|name| (name.clone(), id)));
        if spec.port != 0 {
            self.by_port.insert(spec.port, id);
        }
        Ok(())
    }

    /// Gives up what a tenant holds beyond what its present spec says; all of it if it is not served.
    fn settle(&mut self, id: TenantId) {
        let spec = self.by_id.get(&id).map(|tenant| tenant.spec());
        let keeps_name = |name: &String| spec.as_ref().is_some_and(|s| s.hostnames.contains(name));
        self.by_hostname.retain(|name, owner| *owner != id || keeps_name(name));
        self.by_port.retain(|port, owner| *owner != id || spec.as_ref().is_some_and(|s| s.port == *port));
    }
}

/// The tenants that are attached, and the records of all.
///
/// # Guarantees
/// - What [`Tenants::attach`] has returned is served after a restart too, with the same keys.
/// - After [`Tenants::detach`] no request of the tenant runs and none begins.
/// - After [`Tenants::delete`] nothing of the tenant is left in the store.
pub struct Tenants {
    pub(super) store: Arc<dyn Store>,
    clock: SharedClock,
    served: RwLock<Served>,
    changed: watch::Sender<u64>,
    /// One attach, detach or delete at a time of each tenant; the store is shared by all of them anyway.
    busy: Mutex<HashMap<TenantId, Arc<Mutex<()>>>>,
    /// Who is told when all objects of a tenant were replaced.
    pub(super) replaced: OnceLock<Box<dyn Fn(TenantId) + Send + Sync>>,
}

impl Tenants {
    /// The tenants whose records lie in the store, those attached being served.
    ///
    /// # Errors
    /// When a record can not be read: a server that forgets a tenant is worse than one that does not start.
    pub async fn load(store: Arc<dyn Store>, clock: SharedClock) -> Result<Arc<Self>, TenantError> {
        let this = Self {
            store,
            clock,
            served: RwLock::default(),
            changed: watch::Sender::new(0),
            busy: Mutex::default(),
            replaced: OnceLock::new(),
        };
        let range = this.store.range(&record::collection(), RangeQuery::default()).await?;
        for found in range.records {
            let wrong = |reason: String| TenantError::Record { id: found.name.to_string(), reason };
            let id: TenantId = found.name.parse().map_err(|_| wrong("its key is no uuid".to_owned()))?;
            let kept: TenantRecord = serde_json::from_slice(&found.value).map_err(|e| wrong(e.to_string()))?;
            if kept.attached {
                this.served.write().reserve(id, &kept.spec)?;
                if kept.bootstrapped == bootstrap::VERSION && kept.staged.is_none() {
                    this.list(id, kept)?;
                    continue;
                }
                let half_way = kept.staged.is_some();
                match this.serve(id, kept).await {
                    // Reads of all others go on when the disk is full.
                    Err(TenantError::Store(error)) if half_way => {
                        tracing::error!(tenant = %id, %error, "a restore cannot be completed: the virtual cluster is not served until it is attached again");
                    }
                    served => drop(served?),
                }
            }
        }
        // What was served has taken over what was staged for it.
        if let Err(error) = this.sweep(None).await {
            tracing::warn!(%error, "what was staged for restores that were broken off stays until the next start");
        }
        Ok(Arc::new(this))
    }

    /// Serves a tenant from now on: makes its keys and first objects if it is new, takes on a changed spec if not.
    /// Doing it again changes nothing.
    ///
    /// # Errors
    /// See [`TenantError`]; nothing is served then that was not before.
    pub async fn attach(&self, id: TenantId, spec: TenantSpec) -> Result<Arc<Tenant>, TenantError> {
        spec.check(id)?;
        let lock = self.lock(id).await;
        let _busy = lock.lock().await;
        self.served.write().reserve(id, &spec)?;
        let attached = self.attach_reserved(id, spec).await;
        self.served.write().settle(id);
        attached
    }

    async fn attach_reserved(&self, id: TenantId, spec: TenantSpec) -> Result<Arc<Tenant>, TenantError> {
        let kept = match self.record(id).await? {
            Some(mut kept) => {
                if !kept.attached || kept.spec != spec {
                    kept.attached = true;
                    kept.spec = spec;
                    self.put(id, &kept).await?;
                }
                kept
            }
            None => {
                let now = self.clock.now();
                let authority = Authority::generate(id, now)?;
                let kept = TenantRecord {
                    spec,
                    attached: true,
                    created: rfc3339(now),
                    ca_certificate: authority.certificate().to_vec(),
                    ca_key: authority.key().to_vec(),
                    token_key: TokenKey::generate()?.into_pkcs8(),
                    bootstrapped: 0,
                    staged: None,
                };
                self.put(id, &kept).await?;
                kept
            }
        };
        self.serve(id, kept).await
    }

    /// Stops serving a tenant and keeps its data.
    ///
    /// # Errors
    /// [`TenantError::Unknown`], or the store's.
    pub async fn detach(&self, id: TenantId) -> Result<(), TenantError> {
        let lock = self.lock(id).await;
        let _busy = lock.lock().await;
        let mut kept = self.record(id).await?.ok_or(TenantError::Unknown(id))?;
        self.stop_serving(id).await;
        if kept.attached {
            kept.attached = false;
            self.put(id, &kept).await?;
        }
        Ok(())
    }

    /// Stops serving a tenant and deletes everything it has. One that is not there is deleted already.
    ///
    /// # Errors
    /// The store's; may be done again then.
    pub async fn delete(&self, id: TenantId) -> Result<(), TenantError> {
        let lock = self.lock(id).await;
        {
            let _busy = lock.lock().await;
            self.stop_serving(id).await;
            if let Some(staged) = self.record(id).await?.and_then(|kept| kept.staged) {
                self.discard(staged).await?;
            }
            // The record goes last, so that a delete that was cut off is seen and done again.
            self.store.purge(id).await?;
            let write = Write { key: record::key(id), value: None, require: Precondition::None };
            if self.record(id).await?.is_some() {
                self.store.commit(vec![write]).await?;
            }
        }
        self.busy.lock().await.remove(&id);
        Ok(())
    }

    /// A tenant that is served.
    pub fn get(&self, id: TenantId) -> Option<Arc<Tenant>> {
        self.served.read().by_id.get(&id).cloned()
    }

    /// The tenant that a TLS server name leads to.
    pub fn by_server_name(&self, name: &str) -> Option<Arc<Tenant>> {
        let name = name.to_ascii_lowercase();
        let served = self.served.read();
        let id = match name.strip_suffix(SERVER_NAME_SUFFIX) {
            // Only the hyphenated form: one name for each tenant.
            Some(uid) if uid.len() == 36 => uid.parse().ok()?,
            _ => *served.by_hostname.get(&name)?,
        };
        served.by_id.get(&id).cloned()
    }

    /// The ids of those that are served.
    pub fn ids(&self) -> Vec<TenantId> {
        self.served.read().by_id.keys().copied().collect()
    }

    /// The own port of each that is served; 0 for none.
    pub fn ports(&self) -> Vec<(TenantId, u16)> {
        self.served.read().by_id.values().map(|t| (t.id(), t.spec().port)).collect()
    }

    /// Wakes whoever waits on it when a tenant was attached, detached or changed. Compare with [`Tenants::ids`].
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// A kubeconfig of the tenant's admin (`kubernetes-admin` in `system:masters`), signed anew, for clients that reach
    /// the shared port at `server` (`https://host:port`).
    ///
    /// # Errors
    /// [`TenantError::Unknown`] if it is not served.
    pub fn kubeconfig(&self, id: TenantId, server: &str) -> Result<String, TenantError> {
        let tenant = self.get(id).ok_or(TenantError::Unknown(id))?;
        let now = self.clock.now();
        let client = tenant.authority().client("kubernetes-admin", &["system:masters"], CLIENT_LIFETIME, now)?;
        Ok(tls::kubeconfig(id, tenant.authority(), &client, server, &tenant.spec().name))
    }

    pub(super) async fn lock(&self, id: TenantId) -> Arc<Mutex<()>> {
        Arc::clone(self.busy.lock().await.entry(id).or_default())
    }

    pub(super) async fn record(&self, id: TenantId) -> Result<Option<TenantRecord>, TenantError> {
        let Some(found) = self.store.get(&record::key(id)).await? else { return Ok(None) };
        let wrong = |e: serde_json::Error| TenantError::Record { id: id.to_string(), reason: e.to_string() };
        serde_json::from_slice(&found.value).map(Some).map_err(wrong)
    }

    pub(super) async fn put(&self, id: TenantId, kept: &TenantRecord) -> Result<(), TenantError> {
        let value = Some(record::encode(id, kept)?);
        self.store.commit(vec![Write { key: record::key(id), value, require: Precondition::None }]).await?;
        Ok(())
    }

    /// Gives a tenant what is staged for it, makes first objects where they lack and puts the tenant on the list.
    pub(super) async fn serve(&self, id: TenantId, mut kept: TenantRecord) -> Result<Arc<Tenant>, TenantError> {
        if let Some(staged) = kept.staged.take() {
            self.unstage(id, kept.clone(), staged).await?;
        }
        let authority = Authority::from_der(kept.ca_certificate.clone(), kept.ca_key.clone());
        let created: Timestamp = kept.created.parse().unwrap_or(Timestamp::UNIX_EPOCH);
        let store = self.store.as_ref();
        let addresses = bootstrap::write_addresses(store, id, &kept.spec, created);
        if kept.bootstrapped == bootstrap::VERSION {
            addresses.await?;
        } else {
            futures::try_join!(bootstrap::write_all(store, id, &authority, created), addresses)?;
            kept.bootstrapped = bootstrap::VERSION;
            self.put(id, &kept).await?;
        }
        self.list(id, kept)
    }

    /// Puts a tenant on the list, or gives the one that is there its present spec. Its objects are looked at no more:
    /// whether those with addresses are right is seen to when it is attached, as the operator does after each start too.
    fn list(&self, id: TenantId, kept: TenantRecord) -> Result<Arc<Tenant>, TenantError> {
        let mut served = self.served.write();
        let (tenant, changed) = match served.by_id.get(&id) {
            // One whose objects were replaced was closed for good.
            Some(tenant) if !tenant.gate().closing().is_cancelled() => {
                let changed = *tenant.spec() != kept.spec;
                if changed {
                    tenant.set_spec(kept.spec);
                }
                (Arc::clone(tenant), changed)
            }
            _ => {
                let authority = Authority::from_der(kept.ca_certificate, kept.ca_key);
                let tenant = Arc::new(Tenant::new(id, kept.spec, authority, TokenKey::from_pkcs8(kept.token_key)?));
                served.by_id.insert(id, Arc::clone(&tenant));
                (tenant, true)
            }
        };
        drop(served);
        if changed {
            // Who follows looks at the list of all tenants then.
            self.changed.send_modify(|n| *n += 1);
        }
        Ok(tenant)
    }

    async fn stop_serving(&self, id: TenantId) {
        let tenant = {
            let mut served = self.served.write();
            let tenant = served.by_id.remove(&id);
            served.settle(id);
            tenant
        };
        let Some(tenant) = tenant else { return };
        self.changed.send_modify(|n| *n += 1);
        if tokio::time::timeout(DRAIN_TIMEOUT, tenant.gate().close()).await.is_err() {
            tracing::warn!(tenant = %id, "requests are still running at the end of the time to drain");
        }
    }
}

impl std::fmt::Debug for Tenants {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tenants").field("served", &self.served.read().by_id.len()).finish_non_exhaustive()
    }
}
