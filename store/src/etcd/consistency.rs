//! Reads that see what others wrote: etcd is asked for its revision, with the consent of its majority, and the memory
//! brought up to that. All who wait when a question goes out share the answer.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::Core;
use super::client::{Failure, PATIENCE, header};
use super::proto::RangeRequest;
use crate::{Revision, StoreError};

/// Reads that share a question, at most.
const ROUND: usize = 4096;

/// Answers until nobody can ask any more.
pub(super) async fn run(core: Arc<Core>, mut waiting: mpsc::Receiver<oneshot::Sender<Result<(), StoreError>>>) {
    let mut round = Vec::new();
    while waiting.recv_many(&mut round, ROUND).await > 0 {
        let answer = catch_up(&core).await;
        for reply in round.drain(..) {
            let _ = reply.send(answer.clone());
        }
    }
}

async fn catch_up(core: &Core) -> Result<(), StoreError> {
    let refuse = |reason: String| StoreError::Unavailable { reason, maybe_committed: false };
    if let Some(reason) = core.memory.failure() {
        return Err(refuse(reason));
    }
    let (revision, _) = core.present().await.map_err(|e| refuse(e.to_string()))?;
    if core.reach(revision, PATIENCE).await {
        return Ok(());
    }
    Err(refuse(core.reason("etcd's watch lags behind")))
}

impl Core {
    /// The present revision of the cluster, and its id.
    pub(super) async fn present(&self) -> Result<(Revision, u64), Failure> {
        let request = RangeRequest { key: self.keys.purged(), count_only: true, ..RangeRequest::default() };
        let header = header(self.client.range(request).await?.header)?;
        Ok((header.revision, header.cluster_id))
    }
}
