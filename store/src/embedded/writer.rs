//! The one thread that writes: takes what waits, checks preconditions, makes it durable with one fsync, applies it.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use apimachinery::tenant::TenantId;
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::log::Log;
use crate::memory::{Memory, Transaction, unavailable};
use crate::{Key, Precondition, Record, Revision, StoreError, Write};

/// Transactions that one fsync makes durable, at most.
const BATCH: usize = 4096;
/// Bytes after which a batch takes no further transaction.
const BATCH_BYTES: usize = 8 << 20;

/// What the writer is asked to do.
pub(crate) enum Op {
    Commit {
        writes: Vec<Write>,
        reply: oneshot::Sender<Result<Revision, StoreError>>,
    },
    Purge {
        tenant: TenantId,
        reply: oneshot::Sender<Result<Revision, StoreError>>,
    },
    /// How many bytes the log has, and how many a snapshot at the revision would free.
    Measure {
        at: Revision,
        reply: oneshot::Sender<(u64, u64)>,
    },
    /// A snapshot at the revision is durable: remove what it replaces.
    Cut {
        at: Revision,
        reply: oneshot::Sender<io::Result<()>>,
    },
}

/// An answer that waits for the batch to become durable: also a refusal may speak of what is not durable yet.
struct Waiting {
    reply: oneshot::Sender<Result<Revision, StoreError>>,
    answer: Result<Revision, StoreError>,
}

#[derive(Default)]
struct Batch {
    transactions: Vec<Transaction>,
    waiting: Vec<Waiting>,
    /// What the keys of this batch hold after it.
    ahead: HashMap<Key, Option<(Revision, Bytes)>>,
    /// Tenants that this batch purges. Their records are not looked up in the state any more.
    purged: Vec<TenantId>,
    bytes: usize,
}

/// Runs until all senders are gone.
pub(crate) fn run(shared: &Arc<Memory>, mut log: Option<Log>, mut ops: mpsc::Receiver<Op>) {
    let mut taken = Vec::new();
    while ops.blocking_recv_many(&mut taken, BATCH) > 0 {
        // What is brought back stays until the batch has been applied.
        let _in_place = shared.in_place.read();
        let mut batch = Batch::default();
        for op in taken.drain(..) {
            match op {
                Op::Commit { writes, reply } => {
                    let answer = batch.commit(shared, writes);
                    if matches!(answer, Err(StoreError::Conflict { .. })) {
                        shared.stats.conflicts.fetch_add(1, Ordering::Relaxed);
                    }
                    batch.waiting.push(Waiting { reply, answer });
                }
                Op::Purge { tenant, reply } => {
                    let answer = Ok(batch.purge(shared, tenant));
                    batch.waiting.push(Waiting { reply, answer });
                }
                Op::Measure { at, reply } => {
                    batch.finish(shared, &mut log);
                    let _ = reply.send(log.as_ref().map_or((0, 0), |log| log.bytes(at)));
                }
                Op::Cut { at, reply } => {
                    batch.finish(shared, &mut log);
                    let _ = reply.send(log.as_mut().map_or(Ok(()), |log| log.cut(at)));
                }
            }
            if batch.bytes > BATCH_BYTES {
                batch.finish(shared, &mut log);
            }
        }
        batch.finish(shared, &mut log);
        if taken.capacity() > BATCH / 4 {
            taken = Vec::new();
        }
    }
    if let Some(log) = log.filter(|_| shared.failure().is_none()) {
        log.close(shared.state.read().revision);
    }
    shared.close();
}

impl Batch {
    fn next_revision(&self, shared: &Memory) -> Revision {
        shared.state.read().revision + 1 + self.transactions.len() as u64
    }

    fn commit(&mut self, shared: &Memory, writes: Vec<Write>) -> Result<Revision, StoreError> {
        for write in &writes {
            let back = shared.bring_back(write.key.collection.tenant);
            back.map_err(|e| unavailable("bringing the tenant back into memory", &e))?;
        }
        for (index, write) in writes.iter().enumerate() {
            let holds = match write.require {
                Precondition::None => true,
                Precondition::Absent => self.revision_of(shared, &write.key).is_none(),
                Precondition::Revision(r) => self.revision_of(shared, &write.key) == Some(r),
            };
            if !holds {
                return Err(StoreError::Conflict { index, current: self.current(shared, &write.key) });
            }
        }
        let revision = self.next_revision(shared);
        let mut kept = Vec::with_capacity(writes.len());
        for write in writes {
            self.bytes += write.key.name.len() + write.value.as_ref().map_or(0, Bytes::len) + 64;
            self.ahead.insert(write.key.clone(), write.value.clone().map(|value| (revision, value)));
            kept.push((write.key, write.value));
        }
        self.transactions.push(Transaction::Writes(kept));
        Ok(revision)
    }

    fn purge(&mut self, shared: &Memory, tenant: TenantId) -> Revision {
        let revision = self.next_revision(shared);
        self.ahead.retain(|key, _| key.collection.tenant != tenant);
        self.purged.push(tenant);
        self.transactions.push(Transaction::Purge(tenant));
        revision
    }

    fn revision_of(&self, shared: &Memory, key: &Key) -> Option<Revision> {
        match self.ahead.get(key) {
            Some(ahead) => ahead.as_ref().map(|(revision, _)| *revision),
            None if self.purged.contains(&key.collection.tenant) => None,
            None => shared.state.read().revision_of(key),
        }
    }

    fn current(&self, shared: &Memory, key: &Key) -> Option<Record> {
        match self.ahead.get(key) {
            Some(ahead) => ahead.as_ref().map(|(revision, value)| Record {
                name: key.name.clone(),
                value: value.clone(),
                revision: *revision,
            }),
            None if self.purged.contains(&key.collection.tenant) => None,
            None => shared.state.read().get(key),
        }
    }

    /// Makes the batch durable, applies it and answers. Leaves it empty.
    fn finish(&mut self, shared: &Memory, log: &mut Option<Log>) {
        let Self { transactions, waiting, .. } = std::mem::take(self);
        if waiting.is_empty() {
            return;
        }
        if let Err((reason, maybe_committed)) = persist(shared, log, &transactions) {
            for Waiting { reply, answer } in waiting {
                let maybe_committed = maybe_committed && answer.is_ok();
                let _ = reply.send(Err(StoreError::Unavailable { reason: reason.clone(), maybe_committed }));
            }
            return;
        }
        let sizes = {
            let mut state = shared.state.write();
            state.now = shared.now();
            for transaction in &transactions {
                let next = state.revision + 1;
                state.apply(next, transaction);
            }
            state.sizes
        };
        shared.report(sizes);
        shared.topics.wake(transactions.iter());
        for Waiting { reply, answer } in waiting {
            let _ = reply.send(answer);
        }
    }
}

/// Why a batch is not durable, and whether it may be nevertheless.
fn persist(shared: &Memory, log: &mut Option<Log>, transactions: &[Transaction]) -> Result<(), (String, bool)> {
    if let Some(reason) = shared.failure() {
        return Err((reason, false));
    }
    if transactions.is_empty() {
        return Ok(());
    }
    if let Some(log) = log {
        let first = shared.state.read().revision + 1;
        let start = Instant::now();
        match log.append(first, transactions) {
            Ok(written) => {
                shared.stats.written.fetch_add(written, Ordering::Relaxed);
                shared.stats.fsyncs.fetch_add(1, Ordering::Relaxed);
            }
            Err(e) => {
                let reason = format!("writing the log failed: {e}; writes are refused until the store is opened again");
                tracing::error!(error = %e, "writing the log failed, no further writes are taken");
                shared.fail(reason.clone());
                return Err((reason, true));
            }
        }
        shared.stats.fsync.record_micros(start.elapsed());
    }
    shared.stats.commits.fetch_add(transactions.len() as u64, Ordering::Relaxed);
    shared.stats.batch.record(transactions.len() as u64);
    Ok(())
}
