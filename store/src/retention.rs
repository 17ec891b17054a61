//! How much history a store keeps.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::{Revision, Store, StoreError};

/// The limits. History goes when it is beyond any of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// How old a change gets.
    pub age: Duration,
    /// How many changes there are.
    pub changes: u64,
    /// About how many bytes of memory changes and superseded values keep.
    pub bytes: u64,
}

impl Default for Retention {
    /// Ten minutes, a million changes, 256 MiB.
    fn default() -> Self {
        Self { age: Duration::from_secs(600), changes: 1_000_000, bytes: 256 << 20 }
    }
}

/// Compacts a store to its limits. Its owner calls [`Keeper::run`] from time to time: every few seconds under load.
#[derive(Debug)]
pub struct Keeper {
    limits: Retention,
    /// When which revision was the present one. A few, spread over the age.
    marks: VecDeque<(Instant, Revision)>,
}

/// Into how many steps the age is divided.
const STEPS: u32 = 32;

impl Keeper {
    /// One that begins now to know how old revisions are.
    pub fn new(limits: Retention) -> Self {
        Self { limits, marks: VecDeque::new() }
    }

    /// Gives up what is beyond the limits.
    ///
    /// # Errors
    /// Those of [`Store::compact`].
    pub async fn run(&mut self, store: &dyn Store, now: Instant) -> Result<(), StoreError> {
        let aged = self.aged(store.revision(), now).unwrap_or(0);
        let to = aged.max(store.bound(self.limits.changes, self.limits.bytes));
        if to > store.oldest() { store.compact(to).await } else { Ok(()) }
    }

    /// The newest revision that was the present one as long ago as changes may live.
    fn aged(&mut self, revision: Revision, now: Instant) -> Option<Revision> {
        let step = self.limits.age / STEPS;
        if self.marks.back().is_none_or(|(at, _)| now.duration_since(*at) >= step) {
            self.marks.push_back((now, revision));
        }
        let old = self.marks.partition_point(|(at, _)| now.duration_since(*at) >= self.limits.age);
        self.marks.drain(..old).next_back().map(|(_, revision)| revision)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::suite::{collection, put};
    use crate::{Embedded, RangeQuery};

    #[tokio::test]
    async fn history_goes_by_age_number_and_size() {
        let store = Arc::new(Embedded::in_memory().unwrap());
        let pods = collection(1, "pods");
        let start = Instant::now();
        let minute = |m: u64| start + Duration::from_secs(60 * m);
        let mut keeper = Keeper::new(Retention { changes: 100, bytes: 100_000, ..Retention::default() });
        let mut revisions = Vec::new();
        for m in 0..30_u64 {
            revisions.push(store.commit(vec![put(&pods, "x", &m.to_string())]).await.unwrap());
            keeper.run(&*store, minute(m)).await.unwrap();
            assert_eq!(store.oldest(), if m < 10 { 0 } else { revisions[m as usize - 10] });
        }
        for _ in 0..200 {
            store.commit(vec![put(&pods, "x", "")]).await.unwrap();
        }
        keeper.run(&*store, minute(30)).await.unwrap();
        assert_eq!(store.oldest(), store.revision() - 100);
        let large = "x".repeat(20_000);
        for _ in 0..10 {
            store.commit(vec![put(&pods, "x", &large)]).await.unwrap();
        }
        keeper.run(&*store, minute(31)).await.unwrap();
        assert_eq!(store.oldest(), store.revision() - 4);
        assert_eq!(store.range(&pods, RangeQuery::default()).await.unwrap().records.len(), 1);
    }
}
