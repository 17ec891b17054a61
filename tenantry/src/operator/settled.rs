//! What was made for a virtual cluster and has not changed since: it need not be made once more because the host tells
//! us of our own writes.
//!
//! Revisions of one object are compared by their order, as Kubernetes promises since 1.35 (KEP-5504). One that is no
//! number is 0 and never older than what is known.

use std::time::{Duration, Instant};

/// How long what was made is taken for made: later on it is made sure of again, in case the host did not tell.
const RECENT: Duration = Duration::from_secs(30);

/// What is made in the host namespace of a virtual cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Made {
    /// Its Service.
    Service,
    /// Its EndpointSlice.
    Slice,
}

/// A revision as a number.
pub(super) fn revision(text: Option<&str>) -> u64 {
    text.and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// How far a virtual cluster is what its object says.
#[derive(Debug, Default)]
pub(super) struct Settled {
    done: Option<Done>,
    /// The last revisions of what was made that the host told of since it was begun.
    told: [u64; 2],
}

#[derive(Debug)]
struct Done {
    when: Instant,
    generation: Option<i64>,
    /// Revision of the VirtualCluster with the status that was written.
    reported: u64,
    server: String,
    /// Revisions of what was made.
    made: [u64; 2],
}

impl Settled {
    /// All is made anew.
    pub(super) fn begin(&mut self) {
        *self = Self::default();
    }

    /// All is made. What the host has told of meanwhile must be no newer.
    pub(super) fn finish(&mut self, generation: Option<i64>, reported: u64, server: String, made: [u64; 2]) {
        let ours = made.iter().zip(self.told).all(|(made, told)| *made > 0 && told <= *made);
        self.done = (ours && reported > 0).then(|| Done { when: Instant::now(), generation, reported, server, made });
    }

    /// Whether an object of this generation was settled just before.
    pub(super) fn is(&self, generation: Option<i64>) -> bool {
        self.done.as_ref().is_some_and(|done| done.generation == generation && done.when.elapsed() < RECENT)
    }

    /// The server that was reported, if it was before this revision of the VirtualCluster.
    pub(super) fn reported_before(&self, revision: u64) -> Option<String> {
        self.done.as_ref().filter(|done| done.reported < revision).map(|done| done.server.clone())
    }

    /// The host tells of something that was made. Says whether that is news.
    pub(super) fn noticed(&mut self, made: Made, revision: u64) -> bool {
        let at = made as usize;
        if revision > 0 && self.done.as_ref().is_some_and(|done| revision <= done.made[at]) {
            return false;
        }
        self.told[at] = if revision == 0 { u64::MAX } else { revision.max(self.told[at]) };
        self.done = None;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_writes_are_no_news_and_those_of_others_are() {
        let mut settled = Settled::default();
        assert!(!settled.is(Some(1)));
        settled.begin();
        // The host may tell of a write before it has answered it.
        assert!(settled.noticed(Made::Service, 10));
        settled.finish(Some(1), 20, "https://a".to_owned(), [10, 12]);
        assert!(settled.is(Some(1)) && !settled.is(Some(2)));
        assert!(!settled.noticed(Made::Slice, 12));
        assert_eq!(settled.reported_before(20), None);
        assert_eq!(settled.reported_before(21).as_deref(), Some("https://a"));
        // Another's write of the Service is older than ours of the slice, and news all the same.
        assert!(settled.noticed(Made::Service, 11));
        assert!(!settled.is(Some(1)));
        settled.begin();
        assert!(settled.noticed(Made::Service, 30));
        settled.finish(Some(1), 31, "https://a".to_owned(), [11, 12]);
        assert!(!settled.is(Some(1)), "changed while it was looked at");
    }
}
