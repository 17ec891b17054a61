//! Tenants in which there may be something to repair.
//!
//! Where nothing happened on either side since everything was compared with everything, there is nothing that events
//! missed, and to look would bring a tenant at rest back into memory. So the slow scan looks only where something has
//! happened since.

use std::collections::HashSet;

use apimachinery::tenant::TenantId;
use parking_lot::Mutex;

/// The tenants.
#[derive(Debug, Default)]
pub(crate) struct Touched(Mutex<HashSet<TenantId>>);

impl Touched {
    /// Something happened, or may have.
    pub(crate) fn add(&self, tenant: TenantId) {
        self.0.lock().insert(tenant);
    }

    /// Those since the last time.
    pub(crate) fn take(&self) -> HashSet<TenantId> {
        std::mem::take(&mut *self.0.lock())
    }

    pub(crate) fn forget(&self, tenant: TenantId) {
        self.0.lock().remove(&tenant);
    }
}
