//! What a store counts about itself, for the program to export.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Counters and gauges of a store. Read them at any time; they are not consistent with each other.
#[derive(Debug, Default)]
pub struct Stats {
    /// Transactions that became durable.
    pub commits: AtomicU64,
    /// Transactions that a precondition refused.
    pub conflicts: AtomicU64,
    /// Times that the log was made durable. `commits / fsyncs` is how many share one.
    pub fsyncs: AtomicU64,
    /// Bytes written to the log.
    pub written: AtomicU64,
    /// Snapshots of the whole state that were written.
    pub checkpoints: AtomicU64,
    /// 1 once the disk has failed and writes are refused until the store is opened again.
    pub failed: AtomicU64,
    /// Records that exist.
    pub records: AtomicU64,
    /// Bytes of their names and values.
    pub bytes: AtomicU64,
    /// Changes that are held.
    pub changes: AtomicU64,
    /// About how many bytes they keep in memory.
    pub change_bytes: AtomicU64,
    /// Tenants that are in memory, the server's own records among them.
    pub tenants: AtomicU64,
    /// Tenants at rest.
    pub at_rest: AtomicU64,
    /// About how many bytes tenants at rest take in memory.
    pub rested_bytes: AtomicU64,
    /// Times that a tenant was laid to rest.
    pub evictions: AtomicU64,
    /// Times that a tenant came back from rest.
    pub returns: AtomicU64,
    /// Cursors that are open.
    pub cursors: AtomicU64,
    /// How long it takes to make a batch durable.
    pub fsync: Buckets,
    /// How many transactions one fsync made durable.
    pub batch: Buckets,
}

/// A histogram with a bucket for every power of two.
#[derive(Debug)]
pub struct Buckets {
    counts: [AtomicU64; Self::LEN],
    sum: AtomicU64,
}

impl Default for Buckets {
    fn default() -> Self {
        Self { counts: std::array::from_fn(|_| AtomicU64::new(0)), sum: AtomicU64::new(0) }
    }
}

impl Buckets {
    /// How many buckets there are. The last one holds all that the others do not.
    pub const LEN: usize = 24;

    /// The greatest value of a bucket; the last one has no limit.
    pub const fn limit(bucket: usize) -> u64 {
        1 << bucket
    }

    /// Counts a value.
    pub(crate) fn record(&self, value: u64) {
        let bucket = (u64::BITS - value.saturating_sub(1).leading_zeros()) as usize;
        self.counts[bucket.min(Self::LEN - 1)].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// Counts a duration, in microseconds.
    pub(crate) fn record_micros(&self, duration: Duration) {
        self.record(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
    }

    /// How many values each bucket holds, and the sum of all values.
    pub fn read(&self) -> ([u64; Self::LEN], u64) {
        (std::array::from_fn(|i| self.counts[i].load(Ordering::Relaxed)), self.sum.load(Ordering::Relaxed))
    }
}
