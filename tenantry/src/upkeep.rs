//! What the store needs now and then: history beyond its limits goes, and tenants that nobody uses leave memory.

use std::sync::Arc;
use std::time::{Duration, Instant};

use apimachinery::tenant::TenantId;
use store::{Keeper, Retention, Store};
use tokio_util::sync::CancellationToken;

use crate::config;

/// How often history beyond its limits is given up, and so how late a tenant may leave memory.
const EVERY: Duration = Duration::from_secs(10);

/// The one who looks after a store.
pub(crate) struct Upkeep {
    store: Arc<dyn Store>,
    keeper: Keeper,
    /// After what time a tenant is cold.
    idle: Option<Duration>,
    rested: Box<dyn Fn(TenantId) + Send + Sync>,
}

impl Upkeep {
    /// Whoever leaves memory is told to `rested`.
    pub(crate) fn new(
        store: Arc<dyn Store>,
        config: &config::Store,
        rested: impl Fn(TenantId) + Send + Sync + 'static,
    ) -> Self {
        let age = Duration::from_secs(config.history_seconds);
        let idle = (config.rest_seconds > 0).then(|| Duration::from_secs(config.rest_seconds));
        let keeper = Keeper::new(Retention { age, ..Retention::default() });
        Self { store, keeper, idle, rested: Box::new(rested) }
    }

    /// Runs until cancelled.
    pub(crate) async fn run(mut self, cancel: CancellationToken) {
        let mut tick = tokio::time::interval(EVERY);
        let mut due = Instant::now();
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                _ = tick.tick() => {}
            }
            let now = Instant::now();
            if let Err(error) = self.keeper.run(self.store.as_ref(), now).await {
                tracing::error!(error = apimachinery::error::chain(&error), "cannot compact the store");
            }
            if let Some(idle) = self.idle.filter(|_| now >= due) {
                let next = tokio::select! {
                    () = cancel.cancelled() => return,
                    next = self.rest(idle) => next,
                };
                due = now + next;
            }
        }
    }

    /// Lays to rest who is cold. Says when to look again: nobody is cold before that.
    async fn rest(&self, idle: Duration) -> Duration {
        let rested = self.store.rest(idle).await;
        // Some may be back already, having left first of many.
        rested.tenants.iter().filter(|tenant| self.store.at_rest(**tenant)).for_each(|tenant| (self.rested)(*tenant));
        if !rested.tenants.is_empty() {
            tracing::debug!(tenants = rested.tenants.len(), "left memory");
        }
        rested.next.map_or(idle, |next| next.min(idle))
    }
}
