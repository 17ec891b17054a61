//! Whose turn it is: who waits for a first answer does not wait for what else is made on the host, and who came first is
//! served first.
//!
//! kube's controller keeps no order among those that are due while it is at its limit, and looks at each that it runs
//! whenever one of them goes on. So it only says who is to be looked at; each waits here until its turn comes.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use kube::runtime::reflector::ObjectRef;
use parking_lot::Mutex;
use tokio::sync::mpsc::{self, error::TrySendError};
use virtualcluster::VirtualCluster;

/// Virtual clusters that are brought to their first answer at once, for which the rest is made at once, and that are removed
/// at once.
const FIRST_AT_ONCE: usize = 8;
const REST_AT_ONCE: usize = 4;
const GOING_AT_ONCE: usize = 32;
/// While so many are brought to their first answer, the rest is made for one at a time: they share the host's processors.
const CROWD: usize = 3;

/// A virtual cluster.
type Who = ObjectRef<VirtualCluster>;

/// What a turn is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// Nobody can use it yet: keys, first objects, kubeconfig.
    First,
    /// It answers; what its pods need on the host, and its status.
    Rest,
    /// It is being removed, which may take as long as the host takes to remove namespaces.
    Going,
}

const LANES: [Lane; 3] = [Lane::First, Lane::Rest, Lane::Going];

/// The turns of all virtual clusters.
#[derive(Clone, Debug)]
pub(super) struct Turns {
    inner: Arc<Mutex<Inner>>,
    come: mpsc::Sender<Turn>,
}

#[derive(Debug, Default)]
struct Inner {
    lanes: [Waiting; 3],
    /// Those that have a turn, and whether they were asked for again since.
    running: HashMap<Who, bool>,
}

#[derive(Debug, Default)]
struct Waiting {
    running: usize,
    order: VecDeque<Who>,
    present: HashSet<Who>,
}

/// A turn, until it is dropped. A virtual cluster has one at a time.
#[derive(Debug)]
pub(super) struct Turn {
    turns: Turns,
    /// Whose.
    pub(super) who: Who,
    /// What for.
    pub(super) lane: Lane,
    /// Whether it ends when it is dropped: one that could not be given out never began.
    given: bool,
}

impl Turns {
    /// Turns that nobody has taken, and where they come out.
    pub(super) fn new() -> (Self, mpsc::Receiver<Turn>) {
        // No more turns than this are under way.
        let (come, coming) = mpsc::channel(FIRST_AT_ONCE + REST_AT_ONCE + GOING_AT_ONCE);
        (Self { inner: Arc::default(), come }, coming)
    }

    /// Asks for a turn, behind all who wait in this lane. Who waits there already does not wait twice; who has a turn is asked
    /// for in [`Turn::end`].
    pub(super) fn ask(&self, who: &Who, lane: Lane) {
        let mut inner = self.inner.lock();
        if let Some(again) = inner.running.get_mut(who) {
            *again = true;
            return;
        }
        let waiting = &mut inner.lanes[lane as usize];
        if waiting.present.insert(who.clone()) {
            waiting.order.push_back(who.clone());
            self.give(&mut inner);
        }
    }

    fn give(&self, inner: &mut Inner) {
        for lane in LANES {
            while inner.has_room(lane) {
                let waiting = &mut inner.lanes[lane as usize];
                let Some(who) = waiting.order.pop_front() else { break };
                waiting.present.remove(&who);
                if let Some(again) = inner.running.get_mut(&who) {
                    *again = true;
                    continue;
                }
                let turn = Turn { turns: self.clone(), who: who.clone(), lane, given: true };
                // There is room for all turns that are under way; nobody takes them only when everything ends.
                match self.come.try_send(turn) {
                    Ok(()) => {
                        inner.lanes[lane as usize].running += 1;
                        inner.running.insert(who, false);
                    }
                    Err(TrySendError::Full(mut turn) | TrySendError::Closed(mut turn)) => turn.given = false,
                }
            }
        }
    }

    fn over(&self, who: &Who, lane: Lane) -> bool {
        let mut inner = self.inner.lock();
        let again = inner.running.remove(who).unwrap_or_default();
        inner.lanes[lane as usize].running -= 1;
        // Less of a crowd makes room for the rest, too.
        self.give(&mut inner);
        again
    }
}

impl Inner {
    fn has_room(&self, lane: Lane) -> bool {
        let most = match lane {
            Lane::First => FIRST_AT_ONCE,
            Lane::Rest if self.lanes[Lane::First as usize].running >= CROWD => 1,
            Lane::Rest => REST_AT_ONCE,
            Lane::Going => GOING_AT_ONCE,
        };
        self.lanes[lane as usize].running < most
    }
}

impl Turn {
    /// It is over. Says whether who had it was asked for meanwhile.
    pub(super) fn end(mut self) -> bool {
        self.given = false;
        self.turns.over(&self.who, self.lane)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.given {
            self.turns.over(&self.who, self.lane);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(i: usize) -> Who {
        ObjectRef::new(&format!("c{i}"))
    }

    fn come(coming: &mut mpsc::Receiver<Turn>) -> Vec<Turn> {
        std::iter::from_fn(|| coming.try_recv().ok()).collect()
    }

    fn names(turns: &[Turn]) -> Vec<Who> {
        turns.iter().map(|turn| turn.who.clone()).collect()
    }

    /// Turns of virtual clusters that nobody else names.
    fn taken(turns: &Turns, coming: &mut mpsc::Receiver<Turn>, lane: Lane, count: usize) -> Vec<Turn> {
        (0..count).for_each(|i| turns.ask(&who(1000 + 100 * lane as usize + i), lane));
        let taken = come(coming);
        assert_eq!(taken.len(), count);
        taken
    }

    #[test]
    fn first_answers_do_not_wait_for_the_rest_of_others() {
        let (turns, mut coming) = Turns::new();
        let _rest = taken(&turns, &mut coming, Lane::Rest, REST_AT_ONCE);
        turns.ask(&who(1), Lane::Rest);
        assert!(come(&mut coming).is_empty());
        taken(&turns, &mut coming, Lane::First, FIRST_AT_ONCE);
    }

    #[test]
    fn who_came_first_is_served_first_and_each_once() {
        let (turns, mut coming) = Turns::new();
        let mut first = taken(&turns, &mut coming, Lane::First, FIRST_AT_ONCE);
        for i in [1, 2, 1, 3] {
            turns.ask(&who(i), Lane::First);
        }
        first.truncate(FIRST_AT_ONCE - 2);
        let two = come(&mut coming);
        assert_eq!(names(&two), [who(1), who(2)]);
        drop(two);
        assert_eq!(names(&come(&mut coming)), [who(3)]);
    }

    #[test]
    fn while_many_wait_for_their_first_answer_the_rest_is_made_for_one_at_a_time() {
        let (turns, mut coming) = Turns::new();
        let first = taken(&turns, &mut coming, Lane::First, CROWD);
        for i in [1, 2, 3] {
            turns.ask(&who(i), Lane::Rest);
        }
        let one = come(&mut coming);
        assert_eq!(names(&one), [who(1)]);
        drop(first);
        assert_eq!(names(&come(&mut coming)), [who(2), who(3)]);
    }

    #[test]
    fn who_has_a_turn_gets_no_other_and_is_told_when_it_ends() {
        let (turns, mut coming) = Turns::new();
        turns.ask(&who(1), Lane::First);
        let mut one = come(&mut coming);
        turns.ask(&who(1), Lane::Going);
        assert!(come(&mut coming).is_empty());
        assert!(one.pop().is_some_and(Turn::end));
        turns.ask(&who(1), Lane::Going);
        assert!(come(&mut coming).pop().is_some_and(|turn| !turn.end()));
        let inner = turns.inner.lock();
        assert!(
            inner.running.is_empty() && inner.lanes.iter().all(|lane| lane.running == 0 && lane.present.is_empty())
        );
    }
}
