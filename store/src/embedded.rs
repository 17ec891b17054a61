//! The embedded engine: everything in memory, an append-only log below.
//!
//! One thread writes. It takes all transactions that wait, checks their preconditions, makes them durable with one
//! fsync, applies them to the state in memory, and only then answers. Readers share a lock with that last step alone.

mod backup;
#[cfg(feature = "bench")]
mod bare;
mod cursor;
mod disk;
mod frame;
mod log;
mod segment;
mod snapshot;
mod state;
mod table;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::HashSet;
use std::io::{self, BufWriter, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use apimachinery::tenant::TenantId;
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use smol_str::SmolStr;
use tokio::sync::{mpsc, oneshot};

pub use self::backup::RestoreError;
#[cfg(feature = "bench")]
pub use self::bare::BareLog;
use self::cursor::{Place, Topics};
use self::disk::{Disk, DiskFile, Folder};
use self::log::Log;
use self::state::{Sizes, State};
use self::writer::Op;
use crate::{CollectionId, Cursor, Key, Range, RangeQuery, Record, Revision, Scope, Stats, Store, StoreError, Write};

/// Transactions that wait for the writer, at most; more wait in their callers.
const QUEUE: usize = 4096;
/// The longest name of a record or collection, in bytes.
const NAME: usize = 1024;
/// The most bytes of a transaction.
const TRANSACTION: usize = 16 << 20;
/// Changes that a compaction gives up before it lets others at the state.
const TRIM: usize = 1024;

/// How an embedded store behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// A compaction writes a snapshot when that frees at least so many bytes of log, and at least as many as the
    /// present records have.
    pub checkpoint_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { checkpoint_bytes: 16 << 20 }
    }
}

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process, or another part of this one, has it open.
    #[error("{0} is in use by another process")]
    Locked(String),
    /// Bytes that were durable are not what they were. Nothing was changed; restore a backup.
    #[error("{file} is damaged at byte {offset}: restore the store from a backup")]
    Corrupt {
        /// The file in the store's folder.
        file: String,
        /// Where its contents stop making sense.
        offset: u64,
    },
    /// The file system refused.
    #[error("{file} cannot be used")]
    Io {
        /// The file or folder.
        file: String,
        /// What it said.
        source: io::Error,
    },
}

/// What the handle, the writer and the cursors share.
pub(crate) struct Shared {
    pub(crate) state: RwLock<State>,
    pub(crate) topics: Topics,
    pub(crate) stats: Arc<Stats>,
    failure: Mutex<Option<String>>,
    closed: AtomicBool,
}

impl Shared {
    fn failure(&self) -> Option<String> {
        self.failure.lock().clone()
    }

    fn fail(&self, reason: String) {
        self.stats.failed.store(1, Ordering::Relaxed);
        self.failure.lock().get_or_insert(reason);
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.topics.wake_all();
    }

    fn report(&self, sizes: Sizes) {
        self.stats.records.store(sizes.records, Ordering::Relaxed);
        self.stats.bytes.store(sizes.bytes, Ordering::Relaxed);
        self.stats.changes.store(sizes.changes, Ordering::Relaxed);
        self.stats.change_bytes.store(sizes.change_bytes, Ordering::Relaxed);
    }
}

/// A store in a folder of this machine, or in memory alone.
///
/// # Guarantees
/// Beside those of [`Store`]: after a crash at any moment (of the process, the system or the power) every transaction
/// that was acknowledged is there; one that was not is there whole or not at all. After an error of the disk no further
/// write is taken until the store is opened again; reads go on.
///
/// # Assumptions
/// What the file system reported as synced stays.
pub struct Embedded {
    shared: Arc<Shared>,
    ops: Mutex<Option<mpsc::Sender<Op>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    disk: Mutex<Option<Arc<dyn Disk>>>,
    options: Options,
    /// One compaction at a time: a snapshot needs the revision it is made at to stay held.
    maintenance: tokio::sync::Mutex<()>,
}

impl Embedded {
    /// Opens the store in a folder, or makes one there. Reads all of it: do this where blocking is fine.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(path: &Path, options: Options) -> Result<Self, OpenError> {
        let io = |source| OpenError::Io { file: path.display().to_string(), source };
        let folder = Folder::open(path).map_err(io)?.ok_or_else(|| OpenError::Locked(path.display().to_string()))?;
        Self::on_disk(Arc::new(folder), log::SEGMENT, options)
    }

    fn on_disk(disk: Arc<dyn Disk>, segment: u64, options: Options) -> Result<Self, OpenError> {
        let (log, state, recovered) = Log::open(disk.clone(), segment)?;
        if recovered.torn > 0 {
            tracing::warn!(bytes = recovered.torn, "dropped a write that was cut off before it was acknowledged");
        }
        Self::start(state, Some(log), Some(disk), options)
    }

    /// A store that forgets all when it is dropped.
    ///
    /// # Errors
    /// [`OpenError::Io`] if no thread can be started.
    pub fn in_memory() -> Result<Self, OpenError> {
        Self::start(State::default(), None, None, Options::default())
    }

    fn start(state: State, log: Option<Log>, disk: Option<Arc<dyn Disk>>, options: Options) -> Result<Self, OpenError> {
        let sizes = state.sizes;
        let shared = Arc::new(Shared {
            state: RwLock::new(state),
            topics: Topics::default(),
            stats: Arc::default(),
            failure: Mutex::default(),
            closed: AtomicBool::new(false),
        });
        shared.report(sizes);
        let (ops, receiver) = mpsc::channel(QUEUE);
        let writer = std::thread::Builder::new()
            .name("store-writer".into())
            .spawn({
                let shared = shared.clone();
                move || writer::run(&shared, log, receiver)
            })
            .map_err(|source| OpenError::Io { file: "store-writer".into(), source })?;
        Ok(Self {
            shared,
            ops: Mutex::new(Some(ops)),
            writer: Mutex::new(Some(writer)),
            disk: Mutex::new(disk),
            options,
            maintenance: tokio::sync::Mutex::default(),
        })
    }

    /// What this store counts.
    pub fn stats(&self) -> Arc<Stats> {
        self.shared.stats.clone()
    }

    /// The way to the writer.
    fn writer(&self) -> Result<mpsc::Sender<Op>, StoreError> {
        self.ops.lock().clone().filter(|ops| !ops.is_closed()).ok_or_else(|| closed(false))
    }

    async fn ask<T>(&self, op: impl FnOnce(oneshot::Sender<T>) -> Op) -> Result<T, StoreError> {
        let ops = self.writer()?;
        let (reply, answer) = oneshot::channel();
        ops.send(op(reply)).await.map_err(|_| closed(false))?;
        drop(ops);
        answer.await.map_err(|_| closed(true))
    }

    /// Writes a snapshot at the oldest revision and removes the log that it replaces, if that frees enough.
    async fn checkpoint_if_due(&self) -> Result<(), StoreError> {
        let Some(disk) = self.disk.lock().clone() else { return Ok(()) };
        let (at, live) = {
            let state = self.shared.state.read();
            (state.oldest, state.sizes.bytes)
        };
        let (_, free) = self.ask(|reply| Op::Measure { at, reply }).await?;
        if free < self.options.checkpoint_bytes.max(live) {
            return Ok(());
        }
        let shared = self.shared.clone();
        let written = tokio::task::spawn_blocking(move || snapshot_write(&shared, &*disk, at)).await;
        written
            .map_err(|e| unavailable("writing a snapshot", &e))?
            .map_err(|e| unavailable("writing a snapshot", &e))?;
        let cut = self.ask(|reply| Op::Cut { at, reply }).await?;
        cut.map_err(|e| unavailable("removing old log files", &e))?;
        self.shared.stats.checkpoints.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

fn closed(maybe_committed: bool) -> StoreError {
    StoreError::Unavailable { reason: "the store is closed".into(), maybe_committed }
}

fn unavailable(doing: &str, error: &dyn std::fmt::Display) -> StoreError {
    StoreError::Unavailable { reason: format!("{doing} failed: {error}"), maybe_committed: false }
}

fn snapshot_write(shared: &Shared, disk: &dyn Disk, at: Revision) -> io::Result<()> {
    let name = log::snapshot_name(at);
    let temporary = format!("{name}{}", log::TEMPORARY);
    let mut out = BufWriter::with_capacity(1 << 20, Sequential { file: disk.create(&temporary)?, at: 0 });
    let written = snapshot::write(&shared.state, at, None, &mut out).and_then(|_| out.flush());
    if let Err(e) = written.and_then(|()| out.get_mut().file.sync()) {
        let _ = disk.remove(&temporary);
        return Err(e);
    }
    disk.rename(&temporary, &name)?;
    disk.sync()
}

/// A file that is written from its beginning to its end.
struct Sequential {
    file: Box<dyn DiskFile>,
    at: u64,
}

impl io::Write for Sequential {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_at(self.at, bytes)?;
        self.at += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Refuses what no engine takes, and gives each value memory of its own: a slice would keep alive the request that it
/// came in.
fn prepare(mut writes: Vec<Write>) -> Result<Vec<Write>, StoreError> {
    let mut bytes = 0;
    let mut collections = HashSet::new();
    for write in &writes {
        let (collection, name) = (&write.key.collection.name, &write.key.name);
        if collection.contains('\0') {
            return Err(StoreError::BadTransaction("a collection's name has a NUL"));
        }
        if collection.is_empty() || name.is_empty() {
            return Err(StoreError::BadTransaction("a collection or record has an empty name"));
        }
        if collection.len() > NAME || name.len() > NAME {
            return Err(StoreError::BadTransaction("a name is longer than 1024 bytes"));
        }
        bytes += collection.len() + name.len() + write.value.as_ref().map_or(0, Bytes::len);
        if writes.len() > 1 && !collections.insert(&write.key.collection) {
            return Err(StoreError::BadTransaction("two writes to one collection"));
        }
    }
    if writes.is_empty() {
        return Err(StoreError::BadTransaction("no writes"));
    }
    if bytes > TRANSACTION {
        return Err(StoreError::BadTransaction("more than 16 MiB"));
    }
    for write in &mut writes {
        if let Some(value) = &mut write.value {
            *value = Bytes::copy_from_slice(value);
        }
    }
    Ok(writes)
}

#[async_trait]
impl Store for Embedded {
    async fn commit(&self, writes: Vec<Write>) -> Result<Revision, StoreError> {
        let writes = prepare(writes)?;
        self.ask(|reply| Op::Commit { writes, reply }).await?
    }

    async fn get(&self, key: &Key) -> Result<Option<Record>, StoreError> {
        Ok(self.shared.state.read().get(key))
    }

    async fn range(&self, collection: &CollectionId, query: RangeQuery) -> Result<Range, StoreError> {
        self.shared.state.read().range(collection, &query)
    }

    async fn count(&self, collection: &CollectionId) -> Result<usize, StoreError> {
        Ok(self.shared.state.read().count(collection))
    }

    async fn collections(&self, tenant: TenantId) -> Result<Vec<SmolStr>, StoreError> {
        let state = self.shared.state.read();
        Ok(state.collections(tenant).filter(|(_, live)| *live > 0).map(|(name, _)| name.clone()).collect())
    }

    async fn tenants(&self) -> Result<Vec<TenantId>, StoreError> {
        let state = self.shared.state.read();
        let mut tenants = state.tenants();
        tenants.retain(|tenant| state.collections(*tenant).any(|(_, live)| live > 0));
        tenants.sort_unstable();
        Ok(tenants)
    }

    fn revision(&self) -> Revision {
        self.shared.state.read().revision
    }

    fn oldest(&self) -> Revision {
        self.shared.state.read().oldest
    }

    fn follow(&self, scope: Scope, from: Revision) -> Result<Box<dyn Cursor>, StoreError> {
        Ok(Box::new(Place::open(&self.shared, scope, from)?))
    }

    async fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        let _one = self.maintenance.lock().await;
        {
            let state = self.shared.state.read();
            if revision > state.revision {
                return Err(StoreError::Future { requested: revision, current: state.revision });
            }
        }
        loop {
            let sizes = {
                let mut state = self.shared.state.write();
                let dropped = state.trim(revision, TRIM);
                if let Some(dropped) = &dropped {
                    self.shared.topics.drop_changes(dropped);
                }
                dropped.map(|_| state.sizes)
            };
            let Some(sizes) = sizes else { break };
            self.shared.report(sizes);
            tokio::task::yield_now().await;
        }
        self.checkpoint_if_due().await
    }

    fn bound(&self, changes: u64, bytes: u64) -> Revision {
        self.shared.state.read().bound(changes, bytes)
    }

    async fn purge(&self, tenant: TenantId) -> Result<(), StoreError> {
        self.ask(|reply| Op::Purge { tenant, reply }).await??;
        Ok(())
    }

    fn health(&self) -> Result<(), StoreError> {
        match self.shared.failure() {
            Some(reason) => Err(StoreError::Unavailable { reason, maybe_committed: false }),
            None => self.writer().map(drop),
        }
    }

    async fn close(&self) {
        drop(self.ops.lock().take());
        let writer = self.writer.lock().take();
        if let Some(writer) = writer {
            let _ = tokio::task::spawn_blocking(move || writer.join()).await;
        }
        // With the writer gone this was the last to hold the folder's lock.
        drop(self.disk.lock().take());
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        drop(self.ops.get_mut().take());
        if let Some(writer) = self.writer.get_mut().take() {
            let _ = writer.join();
        }
    }
}
