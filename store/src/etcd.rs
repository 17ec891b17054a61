//! The etcd engine: etcd makes durable and orders, this process holds a copy of all in memory and reads from that.
//!
//! A transaction is one of etcd's. One watch on all keys feeds the copy ([`follow`]), which begins at the oldest revision
//! that etcd still has, so that history is there after a restart too. A read first asks etcd for its present
//! revision and waits until the copy has reached it ([`consistency`]): it sees what any process had acknowledged before.
//! Revisions are etcd's; others who write to the same cluster leave gaps in them.

mod client;
mod consistency;
mod follow;
mod keys;
mod proto;
#[cfg(test)]
mod tests;
mod value;
mod write;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use apimachinery::tenant::TenantId;
use async_trait::async_trait;
use parking_lot::Mutex;
use smol_str::SmolStr;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::client::{Client, Failure};
use self::keys::Keys;
use self::proto::{CompactionRequest, CompactionResponse};
use self::write::Op;
use crate::memory::{Memory, closed};
use crate::prepare::prepare;
use crate::{
    CollectionId, Cursor, Key, Range, RangeQuery, Record, Rested, Revision, Scope, Stats, Store, StoreError, Write,
};

/// Transactions that wait to be sent, at most; more wait in their callers.
const QUEUE: usize = 1024;
/// Reads that wait for the next round of asking for the revision, at most.
const READS: usize = 4096;
/// etcd walks all of its records to compact: not more often than this.
const COMPACT_EVERY: Duration = Duration::from_secs(60);

/// Where etcd is.
#[derive(Clone, Debug)]
pub struct EtcdOptions {
    /// URLs of the members: `https://etcd-0.etcd:2379`.
    pub endpoints: Vec<String>,
    /// What all keys begin with. Nothing else may write below it.
    pub prefix: String,
    /// How to know etcd and to be known by it. Needed for endpoints with `https`.
    pub tls: Option<Tls>,
}

/// Files with PEM. They are read whenever a connection is made: a renewed one is used then.
#[derive(Clone, Debug)]
pub struct Tls {
    /// Certificates of the authorities that etcd's certificate may be from.
    pub ca: PathBuf,
    /// Our certificate and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// Why the store in etcd cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum EtcdError {
    /// No member answers, or etcd refuses us.
    #[error("{0}")]
    Unavailable(String),
    /// Something else is below our prefix: it belongs to another program.
    #[error("etcd has a key below {prefix:?} that is not of this store: {key:?}; give the store a prefix of its own")]
    Foreign {
        /// The prefix of the options.
        prefix: String,
        /// The first such key.
        key: String,
    },
}

/// What the handle and its tasks share.
struct Core {
    memory: Arc<Memory>,
    client: Client,
    keys: Keys,
    /// The id of the cluster that was found at the beginning.
    cluster: u64,
    /// The revision that the memory is at.
    reached: watch::Sender<Revision>,
    /// Someone waits for a revision that may bring no change of ours.
    progress: Notify,
    /// Why the watch is interrupted, if it is.
    away: Mutex<Option<String>>,
    /// A key below our prefix that is not ours.
    foreign: Mutex<Option<String>>,
}

impl Core {
    /// Waits until the memory has reached a revision. False if that takes too long.
    async fn reach(&self, revision: Revision, patience: Duration) -> bool {
        let mut reached = self.reached.subscribe();
        if *reached.borrow_and_update() >= revision {
            return true;
        }
        let end = Instant::now() + patience;
        // etcd passes over a request for progress while it is still catching up, so this one is made again.
        while Instant::now() < end {
            self.progress.notify_one();
            let wait = tokio::time::timeout(AGAIN, reached.wait_for(|now| *now >= revision));
            match wait.await.map(|found| found.is_ok()) {
                Ok(found) => return found,
                Err(_) if self.memory.is_closed() => return false,
                Err(_) => {}
            }
        }
        false
    }

    fn reason(&self, otherwise: &str) -> String {
        self.memory.failure().or_else(|| self.away.lock().clone()).unwrap_or_else(|| otherwise.to_owned())
    }
}

/// How long to wait for an answer to a request for progress.
const AGAIN: Duration = Duration::from_millis(100);

/// A store in etcd 3.5 or 3.6. Several processes may have it open.
///
/// # Guarantees
/// Beside those of [`Store`]: a read without a revision sees all that any process was acknowledged before it began. What
/// cannot be told (etcd is away, has no leader, or its answer was lost) is [`StoreError::Unavailable`]; cursors wait
/// meanwhile and miss nothing, and end with [`StoreError::Compacted`] if etcd gave up what they did not see.
///
/// # Assumptions
/// Nothing else writes below the prefix. A cluster that was restored from a snapshot was given greater revisions (`etcdutl
/// snapshot restore --bump-revision --mark-compacted`) and this process was restarted; one whose revisions went
/// back is noticed and not used.
pub struct Etcd {
    core: Arc<Core>,
    ops: Mutex<Option<mpsc::Sender<Op>>>,
    reads: mpsc::Sender<oneshot::Sender<Result<(), StoreError>>>,
    /// The writer, which ends by itself when there are no more transactions.
    writer: Mutex<JoinSet<()>>,
    /// The follower and the reader.
    tasks: Mutex<JoinSet<Option<()>>>,
    cancel: CancellationToken,
    compacted: Mutex<Option<Instant>>,
}

impl Etcd {
    /// Opens the store: reads all of it.
    ///
    /// # Errors
    /// See [`EtcdError`].
    pub async fn open(options: EtcdOptions) -> Result<Self, EtcdError> {
        let keys = Keys::new(&options.prefix);
        let client = Client::new(options.endpoints, options.tls);
        let loaded = follow::load(&client, &keys).await.map_err(|e| match e {
            follow::LoadError::Failed(failure) => EtcdError::Unavailable(failure.to_string()),
            follow::LoadError::Foreign(key) => EtcdError::Foreign { prefix: options.prefix.clone(), key },
        })?;
        let (revision, present) = (loaded.state.revision, loaded.present);
        let core = Arc::new(Core {
            memory: Arc::new(Memory::new(loaded.state)),
            client,
            keys,
            cluster: loaded.cluster,
            reached: watch::Sender::new(revision),
            progress: Notify::new(),
            away: Mutex::default(),
            foreign: Mutex::default(),
        });
        let cancel = CancellationToken::new();
        let (ops, transactions) = mpsc::channel(QUEUE);
        let (reads, waiting) = mpsc::channel(READS);
        let (mut writer, mut tasks) = (JoinSet::new(), JoinSet::new());
        writer.spawn(write::run(core.clone(), transactions));
        tasks.spawn(cancel.clone().run_until_cancelled_owned(follow::run(core.clone())));
        tasks.spawn(cancel.clone().run_until_cancelled_owned(consistency::run(core.clone(), waiting)));
        let store = Self {
            core,
            ops: Mutex::new(Some(ops)),
            reads,
            writer: Mutex::new(writer),
            tasks: Mutex::new(tasks),
            cancel,
            compacted: Mutex::default(),
        };
        // History is replayed up to here: as long as that goes on, it may take its time.
        let mut before = 0;
        while !store.core.reach(present, client::PATIENCE).await {
            let now = *store.core.reached.borrow();
            if now == before {
                return Err(EtcdError::Unavailable(store.core.reason("etcd does not tell its history")));
            }
            before = now;
        }
        match store.core.foreign.lock().take() {
            Some(key) => Err(EtcdError::Foreign { prefix: options.prefix, key }),
            None => Ok(()),
        }?;
        Ok(store)
    }

    /// What this store counts.
    pub fn stats(&self) -> Arc<Stats> {
        self.core.memory.stats.clone()
    }

    /// Waits until the memory has all that was acknowledged before.
    async fn consistent(&self) -> Result<(), StoreError> {
        let (reply, answer) = oneshot::channel();
        self.reads.send(reply).await.map_err(|_| closed(false))?;
        answer.await.map_err(|_| closed(false))?
    }

    async fn ask(
        &self,
        op: impl FnOnce(oneshot::Sender<Result<Revision, StoreError>>) -> Op,
    ) -> Result<Revision, StoreError> {
        let ops = self.ops.lock().clone().ok_or_else(|| closed(false))?;
        let (reply, answer) = oneshot::channel();
        ops.send(op(reply)).await.map_err(|_| closed(false))?;
        drop(ops);
        answer.await.map_err(|_| closed(true))?
    }
}

#[async_trait]
impl Store for Etcd {
    async fn commit(&self, writes: Vec<Write>) -> Result<Revision, StoreError> {
        let writes = prepare(writes)?;
        self.ask(|reply| Op::Commit { writes, reply }).await
    }

    async fn get(&self, key: &Key) -> Result<Option<Record>, StoreError> {
        self.consistent().await?;
        self.core.memory.get(key).await
    }

    async fn range(&self, collection: &CollectionId, query: RangeQuery) -> Result<Range, StoreError> {
        // A revision that is ahead of us may be known to another process.
        if query.at.is_none_or(|at| at > self.revision()) {
            self.consistent().await?;
        }
        self.core.memory.range(collection, &query).await
    }

    async fn count(&self, collection: &CollectionId) -> Result<usize, StoreError> {
        self.consistent().await?;
        self.core.memory.count(collection).await
    }

    async fn collections(&self, tenant: TenantId) -> Result<Vec<SmolStr>, StoreError> {
        self.consistent().await?;
        self.core.memory.collections(tenant).await
    }

    async fn tenants(&self) -> Result<Vec<TenantId>, StoreError> {
        self.consistent().await?;
        Ok(self.core.memory.tenants())
    }

    fn revision(&self) -> Revision {
        self.core.memory.state.read().revision
    }

    fn oldest(&self) -> Revision {
        self.core.memory.state.read().oldest
    }

    fn follow(&self, scope: Scope, from: Revision) -> Result<Box<dyn Cursor>, StoreError> {
        self.core.memory.follow(scope, from)
    }

    async fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        let _one = self.core.memory.maintenance.lock().await;
        self.core.memory.trim(revision).await?;
        if self.compacted.lock().is_some_and(|last| last.elapsed() < COMPACT_EVERY) {
            return Ok(());
        }
        let asked = self.core.client.insist(proto::COMPACT, CompactionRequest { revision }).await;
        match asked.map(|_: CompactionResponse| ()) {
            // Another process was faster.
            Ok(()) | Err(Failure::Compacted) => {
                *self.compacted.lock() = Some(Instant::now());
                self.core.memory.stats.checkpoints.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            Err(e) => Err(write::refusal(e, false)),
        }
    }

    fn bound(&self, changes: u64, bytes: u64) -> Revision {
        self.core.memory.state.read().bound(changes, bytes)
    }

    async fn purge(&self, tenant: TenantId) -> Result<(), StoreError> {
        self.ask(|reply| Op::Purge { tenant, reply }).await.map(drop)
    }

    async fn rest(&self, idle: Duration) -> Rested {
        self.core.memory.rest(idle).await
    }

    fn at_rest(&self, tenant: TenantId) -> bool {
        self.core.memory.state.read().resting(tenant).is_some()
    }

    async fn backup(&self, tenant: Option<TenantId>, out: Box<dyn io::Write + Send>) -> Result<Revision, StoreError> {
        self.consistent().await?;
        self.core.memory.backup(tenant, out).await
    }

    fn health(&self) -> Result<(), StoreError> {
        if self.ops.lock().is_none() {
            return Err(closed(false));
        }
        match self.core.memory.failure().or_else(|| self.core.away.lock().clone()) {
            Some(reason) => Err(StoreError::Unavailable { reason, maybe_committed: false }),
            None => Ok(()),
        }
    }

    fn is_lost(&self) -> bool {
        self.ops.lock().is_none() || self.core.memory.failure().is_some()
    }

    async fn close(&self) {
        drop(self.ops.lock().take());
        let mut writer = std::mem::take(&mut *self.writer.lock());
        while writer.join_next().await.is_some() {}
        self.cancel.cancel();
        let mut tasks = std::mem::take(&mut *self.tasks.lock());
        while tasks.join_next().await.is_some() {}
        self.core.memory.close();
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.core.memory.close();
    }
}
