//! The ports that serve single tenants: pairs out of a range, API first, DNS behind it.

use std::collections::HashMap;

use apimachinery::tenant::TenantId;
use parking_lot::Mutex;

use crate::config::Ports;

/// Which tenant has which pair of ports. What is given out is kept in the tenant's record, so it survives restarts.
#[derive(Debug)]
pub struct PortPool {
    range: Ports,
    taken: Mutex<HashMap<u16, TenantId>>,
}

impl PortPool {
    /// A pool of which these are taken.
    pub fn new(range: Ports, taken: impl IntoIterator<Item = (TenantId, u16)>) -> Self {
        let taken = taken.into_iter().map(|(id, port)| (port, id)).collect();
        Self { range, taken: Mutex::new(taken) }
    }

    /// The first port of a pair for a tenant: the one it has, or the lowest that is free. `None` when all are taken.
    pub fn take(&self, tenant: TenantId) -> Option<u16> {
        let mut taken = self.taken.lock();
        if let Some((port, _)) = taken.iter().find(|(_, id)| **id == tenant) {
            return Some(*port);
        }
        let pairs = (0..self.range.count / 2).map(|i| self.range.first + i * 2);
        let port = pairs.into_iter().find(|port| !taken.contains_key(port))?;
        taken.insert(port, tenant);
        Some(port)
    }

    /// Gives a tenant's pair back.
    pub fn release(&self, tenant: TenantId) {
        self.taken.lock().retain(|_, id| *id != tenant);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_keeps_its_pair_and_what_is_given_back_is_given_out_again() {
        let id = |n: u8| TenantId::from_bytes([n; 16]);
        let pool = PortPool::new(Ports { first: 20_000, count: 5 }, [(id(1), 20_000)]);
        assert_eq!(pool.take(id(1)), Some(20_000));
        assert_eq!(pool.take(id(2)), Some(20_002));
        assert_eq!(pool.take(id(3)), None, "half a pair is none");
        pool.release(id(1));
        assert_eq!(pool.take(id(3)), Some(20_000));
    }
}
