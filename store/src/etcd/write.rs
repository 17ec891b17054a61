//! Transactions as etcd has them. One task sends them, many at a time, and outlives the callers that wait: what was begun
//! is not undone because nobody waits for it any more.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use apimachinery::tenant::TenantId;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot};

use super::Core;
use super::client::{Failure, PATIENCE, header};
use super::keys::Keys;
use super::proto::{
    self, Compare, DeleteRangeRequest, KeyValue, PutRequest, RangeRequest, Request, RequestOp, Response, Target,
    TxnRequest, TxnResponse,
};
use super::value::{value_decode, value_encode};
use crate::{Precondition, Record, Revision, StoreError, Write};

/// Transactions that etcd is asked for at a time, at most.
const FLYING: usize = 512;

/// What the writer is asked to do.
pub(super) enum Op {
    Commit { writes: Vec<Write>, reply: oneshot::Sender<Result<Revision, StoreError>> },
    Purge { tenant: TenantId, reply: oneshot::Sender<Result<Revision, StoreError>> },
}

/// Runs until all senders are gone and all is answered.
pub(super) async fn run(core: Arc<Core>, mut ops: mpsc::Receiver<Op>) {
    let mut flying = FuturesUnordered::new();
    let mut open = true;
    while open || !flying.is_empty() {
        tokio::select! {
            op = ops.recv(), if open && flying.len() < FLYING => match op {
                Some(op) => flying.push(answer(&core, op)),
                None => open = false,
            },
            Some(()) = flying.next(), if !flying.is_empty() => {}
        }
    }
}

async fn answer(core: &Core, op: Op) {
    let (done, reply) = match op {
        Op::Commit { writes, reply } => (commit(core, &writes).await, reply),
        Op::Purge { tenant, reply } => (purge(core, tenant).await, reply),
    };
    match &done {
        Ok(_) => core.memory.stats.commits.fetch_add(1, Ordering::Relaxed),
        Err(StoreError::Conflict { .. }) => core.memory.stats.conflicts.fetch_add(1, Ordering::Relaxed),
        Err(_) => 0,
    };
    let _ = reply.send(done);
}

async fn commit(core: &Core, writes: &[Write]) -> Result<Revision, StoreError> {
    usable(core)?;
    let mut answer = core.client.transact(request(&core.keys, writes)).await.map_err(|e| refusal(e, true))?;
    let revision = header(answer.header.take()).map_err(|e| refusal(e, true))?.revision;
    let done = outcome(writes, answer, revision);
    // So that who was answered finds it, or what was in its way, in the memory. It is durable even if that takes long,
    // and reads look for themselves.
    core.reach(revision, PATIENCE).await;
    done
}

async fn purge(core: &Core, tenant: TenantId) -> Result<Revision, StoreError> {
    usable(core)?;
    let (key, range_end) = core.keys.tenant(tenant);
    let mark = PutRequest { key: core.keys.purged(), value: Bytes::copy_from_slice(tenant.as_bytes()) };
    let request = TxnRequest {
        success: vec![op(Request::DeleteRange(DeleteRangeRequest { key, range_end })), op(Request::Put(mark))],
        ..TxnRequest::default()
    };
    // To purge twice is to purge.
    let answer: TxnResponse = core.client.insist(proto::TXN, request).await.map_err(|e| refusal(e, true))?;
    let revision = header(answer.header).map_err(|e| refusal(e, true))?.revision;
    core.reach(revision, PATIENCE).await;
    Ok(revision)
}

fn usable(core: &Core) -> Result<(), StoreError> {
    match core.memory.failure() {
        Some(reason) => Err(StoreError::Unavailable { reason, maybe_committed: false }),
        None => Ok(()),
    }
}

/// What a failed call is to the caller of the store.
pub(super) fn refusal(failure: Failure, write: bool) -> StoreError {
    match failure {
        Failure::Away { reason, maybe } => StoreError::Unavailable { reason, maybe_committed: write && maybe },
        Failure::TooLarge(limit) => StoreError::TooLarge(limit),
        other => StoreError::Unavailable { reason: other.to_string(), maybe_committed: false },
    }
}

fn op(request: Request) -> RequestOp {
    RequestOp { request: Some(request) }
}

/// The transaction: preconditions compare the revisions of keys; if one does not hold, the keys are read instead.
fn request(keys: &Keys, writes: &[Write]) -> TxnRequest {
    let mut request = TxnRequest::default();
    for write in writes {
        let key = keys.record(&write.key);
        let wanted = match write.require {
            Precondition::None => None,
            // Keys that do not exist have revision 0.
            Precondition::Absent => Some(0),
            Precondition::Revision(revision) => Some(revision),
        };
        if let Some(revision) = wanted {
            let union = Some(Target::ModRevision(revision));
            request.compare.push(Compare { target: proto::MOD, key: key.clone(), union });
            request.failure.push(op(Request::Range(RangeRequest { key: key.clone(), ..RangeRequest::default() })));
        }
        request.success.push(op(match &write.value {
            Some(value) => Request::Put(PutRequest { key, value: value_encode(value) }),
            None => Request::DeleteRange(DeleteRangeRequest { key, range_end: Vec::new() }),
        }));
    }
    request
}

/// What an answer at a revision means for the writes.
fn outcome(writes: &[Write], answer: TxnResponse, revision: Revision) -> Result<Revision, StoreError> {
    if answer.succeeded {
        return Ok(revision);
    }
    let found = answer.responses.into_iter().map(|response| match response.response {
        Some(Response::Range(range)) => range.kvs.into_iter().next(),
        None => None,
    });
    let conditional = writes.iter().enumerate().filter(|(_, write)| write.require != Precondition::None);
    let conflict = conditional.zip(found).find(|((_, write), found)| !holds(write.require, found.as_ref()));
    match conflict {
        Some(((index, _), None)) => Err(StoreError::Conflict { index, current: None }),
        Some(((index, write), Some(kv))) => {
            let revision = kv.mod_revision;
            let value = value_decode(kv.value).ok_or_else(|| StoreError::Unavailable {
                reason: format!("the value of {} in etcd was not put by this program", write.key.name),
                maybe_committed: false,
            })?;
            let current = Some(Record { name: write.key.name.clone(), value, revision });
            Err(StoreError::Conflict { index, current })
        }
        None => Err(StoreError::Unavailable {
            reason: "etcd refused a transaction whose conditions hold".to_owned(),
            maybe_committed: false,
        }),
    }
}

fn holds(require: Precondition, found: Option<&KeyValue>) -> bool {
    match require {
        Precondition::None => true,
        Precondition::Absent => found.is_none(),
        Precondition::Revision(revision) => found.is_some_and(|kv| kv.mod_revision == revision),
    }
}
