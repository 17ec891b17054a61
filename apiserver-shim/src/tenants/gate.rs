//! A gate that requests pass and that can be closed behind the last of them.

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// Lets requests in until it is closed.
///
/// # Guarantees
/// - After [`Gate::close`] has returned, no guard exists and none will.
/// - From the moment close begins, [`Gate::closing`] wakes who waits on it: what runs long must end then.
#[derive(Debug, Default)]
pub struct Gate {
    tracker: TaskTracker,
    closing: CancellationToken,
}

/// A request that is inside. Dropping it leaves.
#[derive(Debug)]
pub struct GateGuard {
    _token: TaskTrackerToken,
}

impl Gate {
    /// Enters; `None` once the gate is closing.
    pub fn enter(&self) -> Option<GateGuard> {
        // Taken before the look at `closing`, so that close either refuses or waits for us.
        let token = self.tracker.token();
        (!self.closing.is_cancelled()).then_some(GateGuard { _token: token })
    }

    /// Whether nobody is inside. Who has entered and then done something that this thread has seen is counted.
    pub fn is_empty(&self) -> bool {
        self.tracker.is_empty()
    }

    /// Is cancelled when the gate begins to close.
    pub fn closing(&self) -> &CancellationToken {
        &self.closing
    }

    /// Refuses newcomers and waits until all who are inside have left.
    pub async fn close(&self) {
        self.closing.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[tokio::test]
    async fn close_refuses_newcomers_and_waits_for_those_inside() {
        let gate = Gate::default();
        let guard = gate.enter().unwrap();
        assert!(!gate.closing().is_cancelled());
        assert!(gate.close().now_or_never().is_none());
        assert!(gate.closing().is_cancelled());
        assert!(gate.enter().is_none());
        assert!(!gate.is_empty());
        drop(guard);
        assert!(gate.is_empty());
        assert!(gate.close().now_or_never().is_some());
    }
}
