//! Tenants that leave memory while nobody asks for them, and come back with the first who does.
//!
//! A tenant is cold when its history has been given up and nothing of it was read or written for some time. It is packed
//! ([`super::pack`]) and its tables go. Log and snapshots know nothing of it: what is durable is what it was.
//!
//! Whoever reads or writes brings it back first. Cursors do not need that: there is nothing to tell of a tenant at rest,
//! and what is written to it is told as ever.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use apimachinery::tenant::TenantId;
use tokio::task::spawn_blocking;

use super::pack::Pack;
use super::state::Tables;
use super::{Memory, State, unavailable};
use crate::{CollectionId, Rested, StoreError};

/// About how many bytes of records are looked up at a time to be packed.
const PIECE: usize = 256 << 10;
/// Tenants that come back at a time, at most; of one tenant one at a time.
pub(super) const RETURNING: usize = 16;

impl Memory {
    /// Milliseconds since the store was opened.
    pub(crate) fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Asks something of a tenant that is in memory for it, brought back if need be.
    pub(crate) async fn read<T>(
        self: &Arc<Self>,
        tenant: TenantId,
        ask: impl Fn(&State) -> T + Send,
    ) -> Result<T, StoreError> {
        loop {
            {
                let state = self.state.read();
                if state.wanted(tenant, self.now()) {
                    return Ok(ask(&state));
                }
            }
            self.come_back(tenant).await?;
        }
    }

    /// Brings a tenant back if it is at rest. All who ask at once wait for one of them.
    pub(crate) async fn come_back(self: &Arc<Self>, tenant: TenantId) -> Result<(), StoreError> {
        let Some(pack) = self.state.read().resting(tenant).cloned() else { return Ok(()) };
        let lane = usize::from(tenant.as_bytes()[TenantId::WIDTH - 1]) % RETURNING;
        let Some(lane) = self.returning.get(lane) else { return Ok(()) };
        let _one = lane.lock().await;
        let back = if pack.is_filed() {
            let memory = self.clone();
            spawn_blocking(move || memory.bring_back(tenant)).await.map_err(io::Error::other).flatten()
        } else {
            self.bring_back(tenant)
        };
        back.map_err(|e| unavailable("bringing the tenant back into memory", &e))
    }

    /// Brings a tenant back if it is at rest, here and now.
    pub(crate) fn bring_back(&self, tenant: TenantId) -> io::Result<()> {
        let Some(pack) = self.state.read().resting(tenant).cloned() else { return Ok(()) };
        let tables = Tables::new(pack.unpack()?, self.now());
        let (sizes, pack) = {
            let mut state = self.state.write();
            let Some(pack) = state.bring_back(tenant, &pack, tables) else { return Ok(()) };
            (state.sizes, pack)
        };
        self.stats.rested_bytes.fetch_sub(pack.size(), Ordering::Relaxed);
        self.stats.returns.fetch_add(1, Ordering::Relaxed);
        self.report(sizes);
        Ok(())
    }

    /// Lays to rest all that are cold, one after the other. See [`crate::Store::rest`].
    pub(crate) async fn rest(self: &Arc<Self>, idle: Duration) -> Rested {
        let idle = u64::try_from(idle.as_millis()).unwrap_or(u64::MAX);
        let now = self.now();
        let (cold, next) = self.state.read().cold(now, idle);
        let mut tenants = Vec::new();
        for tenant in cold {
            let memory = self.clone();
            // What is packed is what a snapshot at any revision that is held has of it, so no snapshot may be half
            // written, and no history be given up meanwhile.
            let held = self.maintenance.lock().await;
            let laid = spawn_blocking(move || memory.lay_to_rest(tenant, idle)).await;
            match laid.map_err(io::Error::other).flatten() {
                Ok(true) => tenants.push(tenant),
                Ok(false) => {}
                Err(error) => tracing::warn!(%tenant, %error, "a cold tenant could not be packed; it stays in memory"),
            }
            drop(held);
        }
        if !tenants.is_empty() {
            self.state.write().sweep();
        }
        Rested { tenants, next: next.map(Duration::from_millis) }
    }

    fn lay_to_rest(&self, tenant: TenantId, idle: u64) -> io::Result<bool> {
        let (names, used, at) = {
            let state = self.state.read();
            let Some((names, used)) = state.is_cold(tenant, self.now(), idle) else { return Ok(false) };
            (names, used, state.revision)
        };
        let mut collections = Vec::with_capacity(names.len());
        for name in names {
            let id = CollectionId { tenant, name };
            let mut records = Vec::new();
            State::in_pieces(&self.state, &id, at, PIECE, |found| {
                let state = self.state.read();
                records.extend(found.into_iter().map(|record| {
                    let shared = state.is_shared(&record);
                    (record, shared)
                }));
                Ok(())
            })?;
            collections.push(super::pack::Collected { name: id.name, records });
        }
        let pack = match Pack::new(&self.values, &collections, self.swap.as_ref(), self.largest) {
            Err(error) if self.swap.is_some() => {
                tracing::warn!(%error, "the file for tenants at rest cannot be written; this one stays in memory, packed");
                Pack::new(&self.values, &collections, None, 0)?
            }
            other => other?,
        };
        drop(collections);
        let size = pack.size();
        // Not while a transaction that was checked against it waits to be applied.
        let none_waits = self.in_place.write();
        let (sizes, tables) = {
            let mut state = self.state.write();
            let Some(tables) = state.lay_to_rest(tenant, used, Arc::new(pack)) else { return Ok(false) };
            (state.sizes, tables)
        };
        drop(none_waits);
        drop(tables);
        self.stats.rested_bytes.fetch_add(size, Ordering::Relaxed);
        self.stats.evictions.fetch_add(1, Ordering::Relaxed);
        self.report(sizes);
        Ok(true)
    }
}
