//! What no correct server can have said.
//!
//! The order of writes is known: it is that of their revisions, as one watcher saw them from the beginning on (the *log*).
//! So nothing is searched for. Requests are gone through in the order of time, each takes effect at the first
//! revision that explains its answer and is not before what was known to have happened when it began; if there is none, or
//! a write lies before what was known, then no order explains the history. Each watch must be a piece of the log
//! without hole or repetition.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use crate::history::{Answer, Call, Entry, Kind, Revision, Time, Told, Watched};

/// For so many violations the place in the history is shown.
const SHOWN: usize = 20;
/// How far, in time, an open watch may be behind what others know, in microseconds: bookmarks are due every 10 s, and what
/// is paused, or cut off from what is below it, is so for 6 s at most.
pub(crate) const BEHIND: Time = 25_000_000;

/// Something that cannot be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// What, with its revisions.
    pub what: String,
    /// The place in the history: entries around it, in the order in which they ended.
    pub around: String,
}

/// One write of the log.
#[derive(Clone, Debug, PartialEq)]
struct Change<'a> {
    key: &'a str,
    revision: Revision,
    /// None if it was deleted.
    value: Option<u64>,
    /// The revision of what it replaced.
    previous: Option<Revision>,
    /// What that held.
    before: Option<u64>,
}

/// A run as it is judged.
struct Judge<'a> {
    entries: &'a [Entry],
    log: Vec<Change<'a>>,
    /// For each name the places of its changes in the log.
    keys: HashMap<&'a str, Vec<usize>>,
    /// For each entry that wrote: its revision.
    wrote: Vec<Option<Revision>>,
    /// For each entry the greatest revision that was known when it began.
    low: Vec<Revision>,
    /// When a greater revision was known, and which.
    known: Vec<(Time, Revision)>,
    /// Deletes without an answer, of which one must have been done at the revision.
    one_of: Vec<(Vec<usize>, Revision)>,
    found: Vec<Violation>,
}

/// What happens at a time. In this order, if at the same time: what is not before cannot be held against anyone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Moment {
    Begins(usize),
    Ends(usize),
    Told(Revision),
}

/// Holds a history against a log, told by one watcher that saw everything, and watches against that.
#[must_use]
pub fn check(entries: &[Entry], log: &Watched, watches: &[Watched]) -> Vec<Violation> {
    let mut judge = Judge {
        entries,
        log: Vec::new(),
        keys: HashMap::new(),
        wrote: vec![None; entries.len()],
        low: vec![0; entries.len()],
        known: Vec::new(),
        one_of: Vec::new(),
        found: Vec::new(),
    };
    judge.read_log(log);
    judge.match_writes();
    judge.go_through(watches.iter().chain([log]));
    judge.judge_unanswered_deletes();
    for (number, watch) in watches.iter().enumerate() {
        judge.judge_watch(number, watch);
        judge.judge_lateness(number, watch);
    }
    judge.found
}

impl<'a> Judge<'a> {
    fn refuse(&mut self, place: Option<usize>, what: String) {
        let shown = place.filter(|_| self.found.len() < SHOWN);
        let around = shown.map_or_else(String::new, |place| around(self.entries, place));
        self.found.push(Violation { what, around });
    }

    /// Takes the log as the watcher told it. That its kinds fit is judged with the other watches.
    fn read_log(&mut self, log: &'a Watched) {
        let mut present: HashMap<&str, (u64, Revision)> = HashMap::new();
        let mut last = log.from;
        for (_, told) in &log.told {
            let Told::Change { kind, key, value, revision } = told else { continue };
            if *revision <= last {
                self.refuse(None, format!("the log tells revision {revision} after {last}"));
            }
            last = *revision;
            let value = (*kind != Kind::Deleted).then_some(*value);
            let previous = match value {
                Some(value) => present.insert(key, (value, *revision)),
                None => present.remove(key.as_str()),
            };
            let (before, previous) = previous.unzip();
            self.keys.entry(key).or_default().push(self.log.len());
            self.log.push(Change { key, revision: *revision, value, previous, before });
        }
    }

    /// Finds for each write its change, and for each change the write that it was.
    fn match_writes(&mut self) {
        let mut by_value: HashMap<u64, Vec<usize>> = HashMap::new();
        let mut by_deleted: HashMap<(&str, Revision), usize> = HashMap::new();
        for (i, change) in self.log.iter().enumerate() {
            match (change.value, change.previous) {
                (Some(value), _) => by_value.entry(value).or_default().push(i),
                (None, Some(previous)) => drop(by_deleted.insert((change.key, previous), i)),
                (None, None) => {}
            }
        }
        let mut explained = vec![false; self.log.len()];
        let mut deletes: BTreeMap<usize, (Vec<usize>, Vec<usize>)> = BTreeMap::new();
        for (place, entry) in self.entries.iter().enumerate() {
            let done = match &entry.answer {
                Answer::Done(_) | Answer::Deleted => Some(true),
                Answer::Lost => None,
                _ => Some(false),
            };
            let changes = match &entry.call {
                Call::Create { value, .. } | Call::Update { value, .. } | Call::Patch { value, .. } => {
                    by_value.get(value).map(Vec::as_slice).unwrap_or_default()
                }
                Call::Delete { key, of } => {
                    match (by_deleted.get(&(key.as_str(), *of)), done) {
                        (None, Some(true)) => self.refuse_missing(place),
                        (Some(change), Some(true)) => deletes.entry(*change).or_default().0.push(place),
                        (Some(change), None) => deletes.entry(*change).or_default().1.push(place),
                        _ => {}
                    }
                    continue;
                }
                Call::Get { .. } | Call::List(_) => continue,
            };
            for i in changes {
                explained[*i] = true;
            }
            match (changes, done) {
                ([], Some(true)) => self.refuse_missing(place),
                ([], _) => {}
                ([one], Some(false)) => {
                    let revision = self.log[*one].revision;
                    self.refuse(Some(place), format!("refused, but in the log at {revision}: {entry:?}"));
                }
                ([one], _) => {
                    let change = self.log[*one].clone();
                    self.wrote[place] = Some(change.revision);
                    self.judge_write(place, entry, &change);
                }
                (several, _) => {
                    let revisions: Vec<_> = several.iter().map(|i| self.log[*i].revision).collect();
                    self.refuse(Some(place), format!("done more than once, at {revisions:?}: {entry:?}"));
                }
            }
        }
        for (change, (done, lost)) in deletes {
            explained[change] = true;
            let revision = self.log[change].revision;
            match done[..] {
                [] => self.one_of.push((lost, revision)),
                [one] => self.wrote[one] = Some(revision),
                [one, other, ..] => {
                    let what = format!("one deletion at {revision}, but {:?} was told so too", self.entries[one]);
                    self.refuse(Some(other), what);
                }
            }
        }
        for (i, explained) in explained.into_iter().enumerate() {
            if !explained {
                let what = format!("nobody wrote what the log tells: {:?}", self.log[i]);
                self.refuse(None, what);
            }
        }
    }

    fn refuse_missing(&mut self, place: usize) {
        let what = format!("acknowledged, but not in the log: {:?}", self.entries[place]);
        self.refuse(Some(place), what);
    }

    fn judge_write(&mut self, place: usize, entry: &Entry, change: &Change<'_>) {
        if let Answer::Done(revision) = entry.answer
            && revision != change.revision
        {
            let what = format!("acknowledged at {revision}, in the log at {}: {entry:?}", change.revision);
            self.refuse(Some(place), what);
        }
        let (key, fits) = match &entry.call {
            Call::Create { key, .. } => (key, change.previous.is_none()),
            Call::Update { key, of, .. } => (key, change.previous == Some(*of)),
            Call::Patch { key, .. } => (key, change.previous.is_some()),
            Call::Delete { .. } | Call::Get { .. } | Call::List(_) => return,
        };
        if !fits || change.key != key {
            let what = format!("done at {} on {:?} of {:?}: {entry:?}", change.revision, change.previous, change.key);
            self.refuse(Some(place), what);
        }
    }

    /// Gives each request its place in the order, as time goes on.
    fn go_through<'w>(&mut self, watches: impl Iterator<Item = &'w Watched>) {
        let mut moments: Vec<(Time, Moment)> = Vec::new();
        for (place, entry) in self.entries.iter().enumerate() {
            moments.push((entry.begun, Moment::Begins(place)));
            moments.push((entry.ended, Moment::Ends(place)));
        }
        // What a watch tells has happened: no read behind that may be of the time before it.
        for watch in watches {
            moments.extend(watch.told.iter().map(|(at, told)| (*at, Moment::Told(told.revision()))));
        }
        moments.sort_unstable();
        let mut known = 0;
        for (at, moment) in moments {
            let shown = match moment {
                Moment::Begins(place) => {
                    self.low[place] = known;
                    continue;
                }
                Moment::Told(revision) => revision,
                Moment::Ends(place) => match self.place(place, self.low[place]) {
                    Ok(revision) => revision,
                    Err(what) => {
                        self.refuse(Some(place), what);
                        continue;
                    }
                },
            };
            if shown > known {
                known = shown;
                self.known.push((at, known));
            }
        }
    }

    /// The first revision from `low` on at which an entry can have taken effect; 0 if that says nothing.
    fn place(&self, place: usize, low: Revision) -> Result<Revision, String> {
        let entry = &self.entries[place];
        if let Some(revision) = self.wrote[place] {
            if revision <= low {
                return Err(format!("written at {revision}, but {low} was known before it was asked for: {entry:?}"));
            }
            // When it was done is not known from when it was given up.
            return Ok(if entry.answer == Answer::Lost { 0 } else { revision });
        }
        match (&entry.call, &entry.answer) {
            (Call::Get { key }, Answer::Found { value, revision }) => {
                self.first(entry, key, low, &|v| v == Some((*value, *revision)))
            }
            (
                Call::Get { key } | Call::Update { key, .. } | Call::Patch { key, .. } | Call::Delete { key, .. },
                Answer::Absent,
            ) => self.first(entry, key, low, &|v| v.is_none()),
            (Call::Create { key, .. }, Answer::Exists) => self.first(entry, key, low, &|v| v.is_some()),
            (Call::Update { key, of, .. } | Call::Delete { key, of }, Answer::Conflict) => {
                self.first(entry, key, low, &|v| v.is_none_or(|(_, revision)| revision != *of))
            }
            (Call::List(_), Answer::Listed { revision, objects }) => {
                if *revision < low {
                    return Err(format!("listed at {revision}, but {low} was known before: {entry:?}"));
                }
                let then = self.state(*revision);
                if then != objects.iter().map(|(key, object)| (key.as_str(), *object)).collect() {
                    return Err(format!("listed at {revision}, when there was {then:?}: {entry:?}"));
                }
                Ok(*revision)
            }
            // Of a patch it says that others were faster too often. Said to be done, but not in the log: told already.
            (Call::Patch { .. }, Answer::Conflict) | (_, Answer::Lost | Answer::Done(_) | Answer::Deleted) => Ok(0),
            _ => Err(format!("no answer to what was asked: {entry:?}")),
        }
    }

    /// The first revision from `low` on at which an object was as it was shown.
    fn first(
        &self,
        entry: &Entry,
        key: &str,
        low: Revision,
        shown: &dyn Fn(Option<(u64, Revision)>) -> bool,
    ) -> Result<Revision, String> {
        let changes = self.keys.get(key).map(Vec::as_slice).unwrap_or_default();
        let next = changes.partition_point(|i| self.log[*i].revision <= low);
        let since = |i: &usize| {
            let change = &self.log[*i];
            (change.revision, change.value.map(|value| (value, change.revision)))
        };
        let present = next.checked_sub(1).map_or((0, None), |before| since(&changes[before]));
        let mut states = std::iter::once(present).chain(changes[next..].iter().map(since));
        let fits = states.find(|(_, state)| shown(*state));
        fits.map(|(revision, _)| revision.max(low)).ok_or_else(|| {
            let near = &changes[next.saturating_sub(2)..changes.len().min(next + 4)];
            let near: Vec<_> = near.iter().map(|i| &self.log[*i]).collect();
            format!("was never so from {low} on: {entry:?}; there was {near:?}")
        })
    }

    fn state(&self, at: Revision) -> BTreeMap<&'a str, (u64, Revision)> {
        let last = |changes: &Vec<usize>| {
            let behind = changes.partition_point(|i| self.log[*i].revision <= at);
            let change = &self.log[changes[behind.checked_sub(1)?]];
            Some((change.value?, change.revision))
        };
        self.keys.iter().filter_map(|(key, changes)| Some((*key, last(changes)?))).collect()
    }

    fn judge_unanswered_deletes(&mut self) {
        for (asked, revision) in std::mem::take(&mut self.one_of) {
            if asked.iter().all(|place| revision <= self.low[*place]) {
                let what = format!("deleted at {revision}, which was known before anyone asked for it");
                self.refuse(asked.first().copied(), what);
            }
        }
    }

    fn judge_watch(&mut self, number: usize, watch: &Watched) {
        let wanted = |change: &&Change<'_>| watch.key.as_ref().is_none_or(|key| change.key == key);
        let behind = &self.log[self.log.partition_point(|change| change.revision <= watch.from)..];
        let mut log = behind.iter().filter(wanted).peekable();
        let mut at = watch.from;
        let mut wrong = None;
        for (_, told) in &watch.told {
            let fits = match told {
                Told::Bookmark(revision) => *revision >= at && log.peek().is_none_or(|next| next.revision > *revision),
                Told::Change { kind, key, value, revision } => log.next().is_some_and(|change| {
                    let kind_fits = match (change.value, change.previous) {
                        (None, _) => *kind == Kind::Deleted,
                        (Some(_), None) => *kind == Kind::Added,
                        (Some(_), Some(_)) => *kind == Kind::Modified,
                    };
                    // What was deleted is told as it was at last.
                    kind_fits
                        && change.key == key
                        && change.revision == *revision
                        && change.value.or(change.before) == Some(*value)
                }),
            };
            if !fits {
                let next = behind.iter().filter(wanted).find(|change| change.revision > at);
                let from = watch.from;
                wrong = Some(format!("watch {number} from {from} told {told:?} after {at} where the log has {next:?}"));
                break;
            }
            at = told.revision();
        }
        if let Some(wrong) = wrong {
            self.refuse(None, wrong);
        }
    }

    /// Whether a watch was told in time what there is, or by a bookmark that there is nothing for it.
    fn judge_lateness(&mut self, number: usize, watch: &Watched) {
        let known_at = |time: Time| {
            let known = self.known[..self.known.partition_point(|(at, _)| *at <= time)].last()?.1;
            let change = self.log[..self.log.partition_point(|change| change.revision <= known)].last()?;
            Some(change.revision)
        };
        let ends = [(watch.ended, Revision::MAX)];
        let mut at = watch.from;
        let late =
            watch.told.iter().map(|(time, told)| (*time, told.revision())).chain(ends).find_map(|(time, next)| {
                let then = time.checked_sub(BEHIND).filter(|then| *then >= watch.begun);
                let known = then.and_then(known_at).filter(|known| *known > at);
                let from = watch.from;
                let late = known.map(|known| {
                    format!(
                        "watch {number} from {from} was at {at} until {time} us, when {known} was known for {BEHIND} us"
                    )
                });
                at = next;
                late
            });
        if let Some(late) = late {
            self.refuse(None, late);
        }
    }
}

/// The history around an entry, for people.
fn around(entries: &[Entry], place: usize) -> String {
    let mut near: Vec<&Entry> = entries.iter().collect();
    near.sort_by_key(|entry| entry.ended);
    let at = near.iter().position(|entry| std::ptr::eq(*entry, &entries[place])).unwrap_or(0);
    let mut out = String::new();
    for entry in &near[at.saturating_sub(8)..near.len().min(at + 8)] {
        let mark = if std::ptr::eq(*entry, &entries[place]) { '>' } else { ' ' };
        let _ = writeln!(out, "{mark} {entry}");
    }
    out
}

#[cfg(test)]
mod mutations;
#[cfg(test)]
mod tests;
