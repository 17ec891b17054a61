//! All objects of a tenant replaced by others while the server runs: what a restore of one virtual cluster comes to.
//!
//! The tenant is closed, what it shall have is put aside under an id that nobody else has (it is *staged*), its record is told of
//! that, and then it is made equal, object by object, by ordinary writes: whoever follows the change log sees each. Until the
//! record is told, nothing has changed and a failure leaves the tenant as it was; from then on what is staged wins, and is what the
//! tenant has before it is served again, after a crash too.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use apimachinery::envelope::Stored;
use apimachinery::tenant::TenantId;
use bytes::Bytes;
use smol_str::{SmolStr, format_smolstr};
use store::{CollectionId, Key, Plain, Precondition, RangeQuery, Record, RestoreError, Store, StoreError, Write};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::record::{self, TenantRecord};
use super::set::DRAIN_TIMEOUT;
use super::{TenantError, Tenants};

/// The collection, among the server's own, that says for whom a tenant id is staged.
const STAGED: &str = "staged";
/// Written first: what kinds there are, and where objects lie.
const FIRST: [&str; 2] = ["apiextensions.k8s.io/customresourcedefinitions", "namespaces"];
/// Objects that are written at a time.
const PENDING: usize = 256;
/// How long to wait before going on when the store does not take writes.
const AGAIN: Duration = Duration::from_secs(1);

/// Why the objects of a tenant were not replaced.
#[derive(Debug, thiserror::Error)]
pub enum ReplaceError<E> {
    /// What was to be put in their place is refused. Nothing was changed.
    #[error(transparent)]
    Refused(E),
    /// Requests to the tenant did not end in time. Nothing was changed.
    #[error("requests to the virtual cluster are still running after {} s: try again", DRAIN_TIMEOUT.as_secs())]
    Busy,
    /// What was to be put in their place could not be kept. Nothing was changed.
    #[error("nothing was changed")]
    Stage(#[from] RestoreError),
    /// The tenant's records could not be read or written.
    #[error(transparent)]
    Tenant(#[from] TenantError),
    /// The store failed while the record was told of what is kept.
    #[error(
        "the store failed half-way: the virtual cluster is as it was, and is that or restored when the server is started again"
    )]
    Unknown(#[source] TenantError),
    /// The store failed when all was kept that shall be there.
    #[error(
        "the store failed half-way: the virtual cluster answers 503 until the server is started again, which completes it"
    )]
    Begun(#[source] TenantError),
}

impl Tenants {
    /// Replaces all objects of a tenant that is served by what `make` makes of those it has. Requests and watches end first and
    /// get 503 until it is done. Says how many objects were written or deleted. While the store is away it waits.
    ///
    /// # Guarantees
    /// All or nothing: who is let in afterwards finds all that was there before or all that `make` gave, whatever fails or ends
    /// meanwhile. Revisions only grow.
    ///
    /// # Errors
    /// See [`ReplaceError`].
    pub async fn replace<E: Send>(
        &self,
        id: TenantId,
        make: impl FnOnce(Vec<Plain>) -> Result<Vec<Plain>, E> + Send,
    ) -> Result<usize, ReplaceError<E>> {
        let lock = self.lock(id).await;
        let _busy = lock.lock().await;
        let kept = self.record(id).await?.filter(|kept| kept.attached).ok_or(TenantError::Unknown(id))?;
        let tenant = self.get(id).ok_or(TenantError::Unknown(id))?;
        let closed = tokio::time::timeout(DRAIN_TIMEOUT, tenant.gate().close()).await;
        let staged = match closed {
            Err(_) => Err(ReplaceError::Busy),
            Ok(()) => self.stage(id, &kept, make).await,
        };
        let staged = match staged {
            Ok(staged) => staged,
            Err(error) => {
                if let Err(error) = self.insist(id, || self.serve(id, kept.clone())).await {
                    tracing::error!(tenant = %id, %error, "a virtual cluster answers 503 until the server is started again");
                }
                return Err(error);
            }
        };
        let written = self.insist(id, || self.unstage(id, kept.clone(), staged)).await.map_err(ReplaceError::Begun)?;
        let kept = TenantRecord { staged: None, ..kept };
        self.insist(id, || self.serve(id, kept.clone())).await.map_err(ReplaceError::Begun)?;
        Ok(written)
    }

    /// Does what has to be done now until the store takes it: one that is away may come back.
    async fn insist<T, F>(&self, id: TenantId, step: impl Fn() -> F + Send + Sync) -> Result<T, TenantError>
    where
        F: Future<Output = Result<T, TenantError>> + Send,
    {
        loop {
            match step().await {
                Err(TenantError::Store(error)) if !self.store.is_lost() => {
                    tracing::warn!(tenant = %id, %error, "a restore has to wait for the store");
                    tokio::time::sleep(AGAIN).await;
                }
                done => return done,
            }
        }
    }

    /// Puts aside what a tenant shall have, and tells its record where.
    async fn stage<E>(
        &self,
        id: TenantId,
        kept: &TenantRecord,
        make: impl FnOnce(Vec<Plain>) -> Result<Vec<Plain>, E> + Send,
    ) -> Result<TenantId, ReplaceError<E>> {
        let store = &self.store;
        self.sweep(Some(id)).await?;
        let present = read_all(store.as_ref(), id).await.map_err(TenantError::from)?;
        let wanted = make(present).map_err(ReplaceError::Refused)?;
        let staged = TenantId::from_bytes(*Uuid::new_v4().as_bytes());
        let name = Bytes::from(id.to_string());
        let mark = Write { key: mark_key(staged), value: Some(name), require: Precondition::None };
        store.commit(vec![mark]).await.map_err(RestoreError::from)?;
        if let Err(error) = store::put_tenant(store, staged, wanted).await {
            // Of a store that is away, writes may be on their way yet: the mark stays, so that these are given up too, by the
            // next restore or the next start.
            let away = matches!(error, RestoreError::Store(StoreError::Unavailable { .. }));
            if !away && let Err(error) = self.discard(staged).await {
                tracing::warn!(tenant = %id, %error, "what was staged for a restore stays until the next one or the next start");
            }
            return Err(error.into());
        }
        let told = TenantRecord { staged: Some(staged), ..kept.clone() };
        let Err(error) = self.put_over(id, &told).await else { return Ok(staged) };
        match self.insist(id, || self.take_back(id, kept, staged)).await {
            Ok(true) => Ok(staged),
            Ok(false) => {
                if let Err(error) = self.discard(staged).await {
                    tracing::warn!(tenant = %id, %error, "what was staged for a restore stays until the next one or the next start");
                }
                Err(error.into())
            }
            Err(_) => Err(ReplaceError::Unknown(error)),
        }
    }

    /// Finds out whether a tenant's record was told of what is staged, and if it was not, sees to it that it never is: a write of it
    /// that is on its way yet finds another revision than it requires.
    async fn take_back(&self, id: TenantId, kept: &TenantRecord, staged: TenantId) -> Result<bool, TenantError> {
        if self.record(id).await?.is_some_and(|now| now.staged == Some(staged)) {
            return Ok(true);
        }
        self.put_over(id, kept).await?;
        Ok(false)
    }

    /// Writes a tenant's record in the place of the one that is there now.
    async fn put_over(&self, id: TenantId, kept: &TenantRecord) -> Result<(), TenantError> {
        let key = record::key(id);
        let present = self.store.get(&key).await?.ok_or(TenantError::Unknown(id))?;
        let value = Some(record::encode(id, kept)?);
        self.store.commit(vec![Write { key, value, require: Precondition::Revision(present.revision) }]).await?;
        Ok(())
    }

    /// Makes a tenant equal to what is staged for it, and gives that up. May be done again.
    pub(super) async fn unstage(
        &self,
        id: TenantId,
        kept: TenantRecord,
        staged: TenantId,
    ) -> Result<usize, TenantError> {
        let lost = || TenantError::Record { id: id.to_string(), reason: format!("nothing is staged under {staged}") };
        if self.store.collections(staged).await?.is_empty() {
            // A tenant is never without objects: that would not be a restore.
            return Err(lost());
        }
        let written = make_equal(&self.store, staged, id).await?;
        if let Some(told) = self.replaced.get() {
            told(id);
        }
        self.put(id, &TenantRecord { staged: None, ..kept }).await?;
        if let Err(error) = self.discard(staged).await {
            tracing::warn!(tenant = %id, %error, "what was staged for a restore stays until the next start");
        }
        Ok(written)
    }

    /// Gives up what is staged and was not told of, or is no longer wanted.
    pub(super) async fn discard(&self, staged: TenantId) -> Result<(), TenantError> {
        self.store.purge(staged).await?;
        let write = Write { key: mark_key(staged), value: None, require: Precondition::None };
        self.store.commit(vec![write]).await?;
        Ok(())
    }

    /// Gives up what is staged and no record was told of, of all tenants or of one.
    pub(super) async fn sweep(&self, only: Option<TenantId>) -> Result<(), TenantError> {
        let found = self.store.range(&marks(), RangeQuery::default()).await?;
        for record in found.records {
            let Ok(staged) = record.name.parse() else { continue };
            let whose = std::str::from_utf8(&record.value).ok().and_then(|id| id.parse().ok());
            if only.is_some() && only != whose {
                continue;
            }
            let wanted = match whose {
                Some(id) => self.record(id).await?.is_some_and(|kept| kept.staged == Some(staged)),
                None => false,
            };
            if !wanted {
                self.discard(staged).await?;
            }
        }
        Ok(())
    }

    /// Has `told` called whenever all objects of a tenant were replaced, before anyone is let in: for who remembers something of them
    /// that the change log does not tell. Only the first one is.
    pub fn on_replaced(&self, told: impl Fn(TenantId) + Send + Sync + 'static) {
        let _ = self.replaced.set(Box::new(told));
    }
}

fn marks() -> CollectionId {
    CollectionId { tenant: TenantId::SYSTEM, name: SmolStr::new_static(STAGED) }
}

fn mark_key(staged: TenantId) -> Key {
    Key { collection: marks(), name: format_smolstr!("{staged}") }
}

/// All records of a tenant.
async fn read_all(store: &dyn Store, id: TenantId) -> Result<Vec<Plain>, StoreError> {
    let mut all = Vec::new();
    for name in store.collections(id).await? {
        let collection = CollectionId { tenant: id, name: name.clone() };
        let found = store.range(&collection, RangeQuery::default()).await?;
        all.extend(found.records.into_iter().map(|record| (name.clone(), record.name, record.value)));
    }
    Ok(all)
}

/// Writes and deletes until a tenant has what another one has. Gives the number of objects that were not the same.
async fn make_equal(store: &Arc<dyn Store>, from: TenantId, into: TenantId) -> Result<usize, StoreError> {
    let mut written = 0;
    loop {
        let mut names: BTreeSet<SmolStr> = store.collections(from).await?.into_iter().collect();
        names.extend(store.collections(into).await?);
        let first = FIRST.iter().filter_map(|name| names.take(*name)).collect::<Vec<_>>();
        let before = written;
        for name in first.into_iter().chain(names) {
            written += collection_make_equal(store, name, from, into).await?;
        }
        // Nobody else writes; what was refused because somebody did is looked at once more.
        if written == before {
            return Ok(written);
        }
    }
}

async fn collection_make_equal(
    store: &Arc<dyn Store>,
    name: SmolStr,
    from: TenantId,
    into: TenantId,
) -> Result<usize, StoreError> {
    let of = |tenant| CollectionId { tenant, name: name.clone() };
    let wanted = store.range(&of(from), RangeQuery::default()).await?.records;
    let present = store.range(&of(into), RangeQuery::default()).await?.records;
    let mut differing: BTreeMap<SmolStr, (Option<Record>, Option<Bytes>)> =
        present.into_iter().map(|record| (record.name.clone(), (Some(record), None))).collect();
    for Record { name, value, .. } in wanted {
        match differing.get_mut(&name) {
            Some((Some(record), _)) if record.value == value => drop(differing.remove(&name)),
            Some((_, wanted)) => *wanted = Some(value),
            None => drop(differing.insert(name, (None, Some(value)))),
        }
    }
    let count = differing.len();
    let mut pending = JoinSet::new();
    for (name, (present, wanted)) in differing {
        if pending.len() == PENDING
            && let Some(done) = pending.join_next().await
        {
            settled(done)?;
        }
        let (store, key) = (Arc::clone(store), Key { collection: of(into), name });
        pending.spawn(async move { object_replace(store.as_ref(), key, present, wanted).await });
    }
    while let Some(done) = pending.join_next().await {
        settled(done)?;
    }
    Ok(count)
}

/// Puts an object in the place of another. One with another uid is another object: the first goes before it comes.
async fn object_replace(
    store: &dyn Store,
    key: Key,
    present: Option<Record>,
    wanted: Option<Bytes>,
) -> Result<(), StoreError> {
    let uid = |value: &Bytes| Stored::from_bytes(value.clone()).ok().map(|stored| stored.uid());
    let mut require = Precondition::Absent;
    if let Some(present) = present {
        require = Precondition::Revision(present.revision);
        if wanted.as_ref().is_none_or(|wanted| uid(wanted) != uid(&present.value)) {
            store.commit(vec![Write { key: key.clone(), value: None, require }]).await?;
            require = Precondition::Absent;
        }
    }
    if wanted.is_some() {
        let write = |require| store.commit(vec![Write { key: key.clone(), value: wanted.clone(), require }]);
        match write(require).await {
            // It was staged, so it fits where there is nothing: a precondition that names a revision takes a few bytes more.
            Err(StoreError::TooLarge(_)) if require != Precondition::Absent => {
                store.commit(vec![Write { key: key.clone(), value: None, require }]).await?;
                write(Precondition::Absent).await?;
            }
            written => drop(written?),
        }
    }
    Ok(())
}

fn settled(done: Result<Result<(), StoreError>, tokio::task::JoinError>) -> Result<(), StoreError> {
    match done {
        Ok(Ok(()) | Err(StoreError::Conflict { .. })) => Ok(()),
        Ok(Err(error)) => Err(error),
        Err(error) => Err(StoreError::Unavailable { reason: error.to_string(), maybe_committed: true }),
    }
}
