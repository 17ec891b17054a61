//! The embedded engine: everything in memory, an append-only log below.
//!
//! One thread writes. It takes all transactions that wait, checks their preconditions, makes them durable with one
//! fsync, applies them to the state in memory, and only then answers. Readers share a lock with that last step alone.

mod backup;
#[cfg(feature = "bench")]
mod bare;
pub mod disk;
mod frame;
mod log;
mod segment;
#[cfg(test)]
mod tests;
mod writer;

use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use apimachinery::tenant::TenantId;
use async_trait::async_trait;
use parking_lot::Mutex;
use smol_str::SmolStr;
use tokio::sync::{mpsc, oneshot};

#[cfg(feature = "bench")]
pub use self::bare::BareLog;
use self::disk::{Disk, DiskFile, Folder};
use self::log::Log;
use self::writer::Op;
use crate::memory::{Memory, State, Swap, closed, snapshot, unavailable};
use crate::prepare::prepare;
use crate::{
    CollectionId, Cursor, Key, Range, RangeQuery, Record, Rested, Revision, Scope, Stats, Store, StoreError, Write,
};

/// Transactions that wait for the writer, at most; more wait in their callers.
const QUEUE: usize = 4096;
/// How an embedded store behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// A compaction writes a snapshot when that frees at least so many bytes of log, and at least as many as the
    /// present records have.
    pub checkpoint_bytes: u64,
    /// A tenant at rest that takes more bytes than this when it is packed lies in a file beside the store; others stay in
    /// memory, packed.
    pub rest_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { checkpoint_bytes: 16 << 20, rest_bytes: 64 << 10 }
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
    shared: Arc<Memory>,
    ops: Mutex<Option<mpsc::Sender<Op>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    disk: Mutex<Option<Arc<dyn Disk>>>,
    options: Options,
}

impl Embedded {
    /// Opens the store in a folder, or makes one there. Reads all of it: do this where blocking is fine.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(path: &Path, options: Options) -> Result<Self, OpenError> {
        let io = |source| OpenError::Io { file: path.display().to_string(), source };
        let folder = Folder::open(path).map_err(io)?.ok_or_else(|| OpenError::Locked(path.display().to_string()))?;
        let swap = Swap::new(path.join(format!("rest{}", log::TEMPORARY)));
        Self::on_disk(Arc::new(folder), log::SEGMENT, Some(swap), options)
    }

    /// Opens the store on a disk of another kind: one that tests put below it. Tenants at rest that are large lie in the
    /// file `rest`, of which nothing needs to survive.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open_on(disk: Arc<dyn Disk>, rest: PathBuf, options: Options) -> Result<Self, OpenError> {
        Self::on_disk(disk, log::SEGMENT, Some(Swap::new(rest)), options)
    }

    fn on_disk(
        disk: Arc<dyn Disk>,
        segment: u64,
        swap: Option<Arc<Swap>>,
        options: Options,
    ) -> Result<Self, OpenError> {
        let (log, state, recovered) = Log::open(disk.clone(), segment)?;
        if recovered.torn > 0 {
            tracing::warn!(bytes = recovered.torn, "dropped a write that was cut off before it was acknowledged");
        }
        Self::start(Memory::with_swap(state, swap, options.rest_bytes), Some(log), Some(disk), options)
    }

    /// A store that forgets all when it is dropped.
    ///
    /// # Errors
    /// [`OpenError::Io`] if no thread can be started.
    pub fn in_memory() -> Result<Self, OpenError> {
        Self::start(Memory::new(State::default()), None, None, Options::default())
    }

    fn start(
        memory: Memory,
        log: Option<Log>,
        disk: Option<Arc<dyn Disk>>,
        options: Options,
    ) -> Result<Self, OpenError> {
        let shared = Arc::new(memory);
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

fn snapshot_write(shared: &Memory, disk: &dyn Disk, at: Revision) -> io::Result<()> {
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

#[async_trait]
impl Store for Embedded {
    async fn commit(&self, writes: Vec<Write>) -> Result<Revision, StoreError> {
        let writes = prepare(writes)?;
        // The writer would bring them back too, but all others would wait for it.
        for write in &writes {
            self.shared.come_back(write.key.collection.tenant).await?;
        }
        self.ask(|reply| Op::Commit { writes, reply }).await?
    }

    async fn get(&self, key: &Key) -> Result<Option<Record>, StoreError> {
        self.shared.get(key).await
    }

    async fn range(&self, collection: &CollectionId, query: RangeQuery) -> Result<Range, StoreError> {
        self.shared.range(collection, &query).await
    }

    async fn count(&self, collection: &CollectionId) -> Result<usize, StoreError> {
        self.shared.count(collection).await
    }

    async fn collections(&self, tenant: TenantId) -> Result<Vec<SmolStr>, StoreError> {
        self.shared.collections(tenant).await
    }

    async fn tenants(&self) -> Result<Vec<TenantId>, StoreError> {
        Ok(self.shared.tenants())
    }

    fn revision(&self) -> Revision {
        self.shared.state.read().revision
    }

    fn oldest(&self) -> Revision {
        self.shared.state.read().oldest
    }

    fn follow(&self, scope: Scope, from: Revision) -> Result<Box<dyn Cursor>, StoreError> {
        self.shared.follow(scope, from)
    }

    async fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        let _one = self.shared.maintenance.lock().await;
        self.shared.trim(revision).await?;
        self.checkpoint_if_due().await
    }

    fn bound(&self, changes: u64, bytes: u64) -> Revision {
        self.shared.state.read().bound(changes, bytes)
    }

    async fn purge(&self, tenant: TenantId) -> Result<(), StoreError> {
        self.ask(|reply| Op::Purge { tenant, reply }).await??;
        Ok(())
    }

    async fn rest(&self, idle: Duration) -> Rested {
        self.shared.rest(idle).await
    }

    fn at_rest(&self, tenant: TenantId) -> bool {
        self.shared.state.read().resting(tenant).is_some()
    }

    async fn backup(&self, tenant: Option<TenantId>, out: Box<dyn io::Write + Send>) -> Result<Revision, StoreError> {
        self.shared.backup(tenant, out).await
    }

    fn health(&self) -> Result<(), StoreError> {
        match self.shared.failure() {
            Some(reason) => Err(StoreError::Unavailable { reason, maybe_committed: false }),
            None => self.writer().map(drop),
        }
    }

    fn is_lost(&self) -> bool {
        self.health().is_err()
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
