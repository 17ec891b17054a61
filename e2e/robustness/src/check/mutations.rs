//! The checker finds what it says that it finds: histories that a correct server could have had, each changed in one
//! way in which servers are wrong.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, IteratorRandom};
use rand::{Rng, SeedableRng};

use super::{BEHIND, check};
use crate::history::{Answer, Call, Entry, How, Kind, Objects, Revision, Time, Told, Watched};

const CLIENTS: usize = 5;
const KEYS: [&str; 4] = ["a", "b", "c", "d"];
/// One thing takes effect in each step.
const STEPS: u64 = 600;
/// Microseconds of a step: all of them together are twice as long as a watch may be behind.
const STEP: Time = 2 * BEHIND / STEPS;
/// The watch that is never taken up again.
const STAYS: usize = 0;

/// A history, and what nobody but its maker knows of it.
#[derive(Clone, Default)]
struct Played {
    entries: Vec<Entry>,
    log: Watched,
    watches: Vec<Watched>,
    /// For each entry the revision of the state in which it took effect, its own one included.
    at: Vec<Revision>,
    /// When a revision of the log was reached.
    times: BTreeMap<Revision, Time>,
    /// What there was when it was.
    states: BTreeMap<Revision, Objects>,
}

/// What a correct server would do, a step after the other; what is asked overlaps with the steps around.
fn play(seed: u64) -> Played {
    let random = &mut StdRng::seed_from_u64(seed);
    let mut played = Played::default();
    let (mut objects, mut revision, mut values) = (Objects::new(), 100, 0);
    let mut free = [0; CLIENTS];
    let open =
        |key: Option<&str>, from, begun| Watched { from, key: key.map(str::to_owned), begun, ..Watched::default() };
    played.log.from = revision;
    played.watches = [None, None, None, Some("a")].map(|key| open(key, revision, 0)).to_vec();
    let mut followed: Vec<usize> = (0..played.watches.len()).collect();
    for now in (1..=STEPS).map(|step| step * STEP) {
        let Some(client) = (0..CLIENTS).filter(|client| free[*client] < now).choose(random) else { continue };
        // Others write too: revisions have gaps.
        revision += random.random_range(3..8);
        values += 1;
        let before = objects.clone();
        let (call, answer) = ask(random, &mut objects, revision, values);
        let begun = random.random_range(free[client].max(now.saturating_sub(3 * STEP))..now);
        let ended = random.random_range(now + 1..now + 3 * STEP);
        free[client] = ended;
        let lost = random.random_bool(0.05);
        let answer = if lost { Answer::Lost } else { answer };
        played.entries.push(Entry { client, call, begun, ended, answer });
        played.at.push(revision);
        let told = difference(&before, &objects, revision);
        if let Some(told) = told {
            played.times.insert(revision, now);
            played.states.insert(revision, objects.clone());
            played.log.told.push((now + 1, told));
        }
        for number in &mut followed {
            let watch = &mut played.watches[*number];
            let at = watch.told.last().map_or(watch.from, |(_, told)| told.revision());
            let soon = now + random.random_range(2..STEP / 2);
            let wanted = |key: &str| watch.key.as_ref().is_none_or(|wanted| wanted == key);
            let news = played.log.told.iter().map(|(_, told)| told).filter(|told| told.revision() > at);
            let news = news.filter(|told| matches!(told, Told::Change { key, .. } if wanted(key)));
            let news: Vec<_> = news.map(|told| (soon, told.clone())).collect();
            watch.told.extend(news);
            watch.ended = soon;
            if random.random_bool(0.1) {
                watch.told.push((soon, Told::Bookmark(revision)));
            }
            if *number != STAYS && random.random_bool(0.02) {
                // Where it was, or a little before.
                let back = random.random_range(0..3);
                let from = watch.told.iter().rev().nth(back).map_or(watch.from, |(_, told)| told.revision());
                let again = open(watch.key.clone().as_deref(), from, soon);
                *number = played.watches.len();
                played.watches.push(again);
            }
        }
    }
    let end = (STEPS + 1) * STEP;
    followed.iter().for_each(|number| played.watches[*number].ended = end);
    played
}

/// Asks for something, and does it.
fn ask(random: &mut StdRng, objects: &mut Objects, revision: Revision, value: u64) -> (Call, Answer) {
    let key = KEYS[random.random_range(0..KEYS.len())].to_owned();
    let present = objects.get(&key).copied();
    // What a client knows may be stale.
    let known = |random: &mut StdRng| present.map_or(revision - 1, |(_, of)| of - u64::from(random.random_bool(0.2)));
    let mut put = |answer: Answer| {
        if answer == Answer::Done(revision) {
            objects.insert(key.clone(), (value, revision));
        }
        answer
    };
    match random.random_range(0..10) {
        0 | 1 => {
            let answer = if present.is_some() { Answer::Exists } else { Answer::Done(revision) };
            (Call::Create { key: key.clone(), value }, put(answer))
        }
        2 | 3 => {
            let of = known(random);
            let answer = match present {
                None => Answer::Absent,
                Some((_, there)) if there != of => Answer::Conflict,
                Some(_) => Answer::Done(revision),
            };
            (Call::Update { key: key.clone(), value, of }, put(answer))
        }
        4 => {
            let answer = if present.is_some() { Answer::Done(revision) } else { Answer::Absent };
            (Call::Patch { key: key.clone(), value }, put(answer))
        }
        5 => {
            let of = known(random);
            let answer = match present {
                None => Answer::Absent,
                Some((_, there)) if there != of => Answer::Conflict,
                Some(_) => Answer::Deleted,
            };
            if answer == Answer::Deleted {
                objects.remove(&key);
            }
            (Call::Delete { key, of }, answer)
        }
        6 => {
            let how = *[How::Whole, How::Pages, How::Watch].choose(random).unwrap();
            (Call::List(how), Answer::Listed { revision, objects: objects.clone() })
        }
        _ => {
            let found = present.map_or(Answer::Absent, |(value, revision)| Answer::Found { value, revision });
            (Call::Get { key }, found)
        }
    }
}

/// What one write changed.
fn difference(before: &Objects, after: &Objects, revision: Revision) -> Option<Told> {
    let key = KEYS.into_iter().find(|key| before.get(*key) != after.get(*key))?;
    let (kind, value) = match (before.get(key), after.get(key)) {
        (None, Some((value, _))) => (Kind::Added, *value),
        (_, Some((value, _))) => (Kind::Modified, *value),
        (Some((value, _)), None) => (Kind::Deleted, *value),
        (None, None) => return None,
    };
    Some(Told::Change { kind, key: key.to_owned(), value, revision })
}

type Mutation = fn(&mut Played, &mut StdRng) -> Option<()>;

/// Each changes a history so that no correct server can have had it.
const MUTATIONS: [(&str, Mutation); 31] = [
    ("an acknowledged write is lost", |h, random| {
        let (place, revision) = h.done(random, |_| true)?;
        h.forget(revision);
        matches!(h.entries[place].answer, Answer::Done(_)).then_some(())
    }),
    ("an acknowledged deletion is lost", |h, random| {
        let place = h.entry(random, |e, _| e.answer == Answer::Deleted)?;
        h.forget(h.at[place]);
        Some(())
    }),
    ("two create it", |h, random| h.also(random, |e| e.answer == Answer::Exists)),
    ("two replace one revision", |h, random| {
        h.also(random, |e| matches!(e.call, Call::Update { .. }) && e.answer == Answer::Conflict)
    }),
    ("what is not there is updated", |h, random| {
        h.also(random, |e| matches!(e.call, Call::Update { .. }) && e.answer == Answer::Absent)
    }),
    ("two are told that they deleted it", |h, random| {
        let place = h.entry(random, |e, _| e.answer == Answer::Deleted)?;
        let again = Entry { client: CLIENTS, ..h.entries[place].clone() };
        h.entries.push(again);
        Some(())
    }),
    ("a refused write is done", |h, random| {
        let (place, _) = h.done(random, |_| true)?;
        h.entries[place].answer =
            if matches!(h.entries[place].call, Call::Create { .. }) { Answer::Exists } else { Answer::Conflict };
        Some(())
    }),
    ("a write is acknowledged at another revision", |h, random| {
        let (place, revision) = h.done(random, |_| true)?;
        h.entries[place].answer = Answer::Done(revision + 1);
        Some(())
    }),
    ("a write is done twice", |h, random| {
        let (place, revision) = h.done(random, |e| !matches!(e.call, Call::Create { .. }))?;
        let (key, value) = written(&h.entries[place].call)?;
        h.insert(Told::Change { kind: Kind::Modified, key, value, revision: revision + 1 });
        Some(())
    }),
    ("something is written that nobody wrote", |h, random| {
        let (place, revision) = h.done(random, |_| true)?;
        let (key, _) = written(&h.entries[place].call)?;
        h.insert(Told::Change { kind: Kind::Modified, key, value: 1_000_000, revision: revision + 1 });
        Some(())
    }),
    ("a get of what was replaced before", |h, random| {
        let (place, old) = h.outlived(random, |e| matches!(e.answer, Answer::Found { .. }))?;
        let Call::Get { key } = &h.entries[place].call else { return None };
        let (value, revision) = *h.states[&old].get(key)?;
        h.entries[place].answer = Answer::Found { value, revision };
        Some(())
    }),
    ("a get of what is written later", |h, random| {
        let later = |h: &Played, key: &str, ended| {
            let writes = h.entries.iter().filter(|e| e.begun > ended && matches!(e.answer, Answer::Done(_)));
            writes.clone().filter(|e| written(&e.call).is_some_and(|(k, _)| k == key)).count() > 0
        };
        let fits = |h: &Played, e: &Entry| matches!(&e.call, Call::Get { key } if e.answer != Answer::Lost && later(h, key, e.ended));
        let place = (0..h.entries.len()).filter(|place| fits(h, &h.entries[*place])).choose(random)?;
        let (Call::Get { key }, ended) = (&h.entries[place].call, h.entries[place].ended) else { return None };
        let write = h.entries.iter().find(|e| {
            e.begun > ended && matches!(e.answer, Answer::Done(_)) && written(&e.call).is_some_and(|(k, _)| k == *key)
        })?;
        let (Answer::Done(revision), (_, value)) = (&write.answer, written(&write.call)?) else { return None };
        h.entries[place].answer = Answer::Found { value, revision: *revision };
        Some(())
    }),
    ("a get finds nothing of what is there", |h, random| {
        let gone: BTreeMap<String, Revision> = h.log.told.iter().filter_map(|(_, told)| deleted(told)).collect();
        let stays = |key: &str, since: Revision| gone.get(key).is_none_or(|gone| *gone < since);
        let found = |h: &Played, e: &Entry| match (&e.call, &e.answer) {
            (Call::Get { key }, Answer::Found { revision, .. }) => {
                stays(key, *revision) && h.times[revision] + STEP < e.begun
            }
            _ => false,
        };
        let place = (0..h.entries.len()).filter(|place| found(h, &h.entries[*place])).choose(random)?;
        h.entries[place].answer = Answer::Absent;
        Some(())
    }),
    ("a list of before", |h, random| {
        let (place, old) = h.outlived(random, |e| matches!(e.answer, Answer::Listed { .. }))?;
        h.entries[place].answer = Answer::Listed { revision: old, objects: h.states[&old].clone() };
        Some(())
    }),
    ("a list with the objects of before", |h, random| {
        let (place, old) = h.outlived(random, |e| matches!(e.answer, Answer::Listed { .. }))?;
        let Answer::Listed { objects, .. } = &mut h.entries[place].answer else { return None };
        (*objects != h.states[&old]).then(|| *objects = h.states[&old].clone())
    }),
    ("a list with one object of before", |h, random| {
        let (place, old) = h.outlived(random, |e| matches!(e.answer, Answer::Listed { .. }))?;
        let Answer::Listed { objects, .. } = &mut h.entries[place].answer else { return None };
        let other = KEYS.into_iter().find(|key| objects.get(*key) != h.states[&old].get(*key))?;
        match h.states[&old].get(other) {
            Some(object) => drop(objects.insert(other.to_owned(), *object)),
            None => drop(objects.remove(other)),
        }
        Some(())
    }),
    ("a list lacks an object", |h, random| {
        let place =
            h.entry(random, |e, _| matches!(&e.answer, Answer::Listed { objects, .. } if !objects.is_empty()))?;
        let Answer::Listed { objects, .. } = &mut h.entries[place].answer else { return None };
        objects.pop_first().map(drop)
    }),
    ("a watch lacks an event", |h, random| {
        let (watch, i) = h.event(random)?;
        (i + 1 < watch.told.len()).then(|| drop(watch.told.remove(i)))
    }),
    ("a watch tells an event twice", |h, random| {
        let (watch, i) = h.event(random)?;
        watch.told.insert(i, watch.told[i].clone());
        Some(())
    }),
    ("a watch tells two events in the wrong order", |h, random| {
        let (watch, i) = h.event(random)?;
        let both = matches!(watch.told.get(i + 1), Some((_, Told::Change { .. })));
        both.then(|| watch.told.swap(i, i + 1))
    }),
    ("an event of the wrong type", |h, random| {
        let (watch, i) = h.event(random)?;
        let Told::Change { kind, .. } = &mut watch.told[i].1 else { return None };
        *kind = if *kind == Kind::Modified { Kind::Added } else { Kind::Modified };
        Some(())
    }),
    ("an event with what an object held before or after", |h, random| {
        let (watch, i) = h.event(random)?;
        let Told::Change { value, .. } = &mut watch.told[i].1 else { return None };
        *value -= 1;
        Some(())
    }),
    ("an event before its write was asked for", |h, random| {
        let (place, at) = h.done(random, |_| true)?;
        let begun = h.entries[place].begun;
        let told = h.watches.iter_mut().flat_map(|w| &mut w.told).find(|(_, told)| told.revision() == at)?;
        told.0 = begun - 1;
        Some(())
    }),
    ("an event of an object that was not asked for", |h, random| {
        let (revision, other) = h.log.told.iter().map(|(_, told)| (told.revision(), told)).choose(random)?;
        let other = other.clone();
        let mut filtered = h.watches.iter_mut().filter(|watch| watch.key.is_some());
        let watch = filtered.find(|w| w.from < revision && w.told.last().is_some_and(|t| t.1.revision() > revision))?;
        let i = watch.told.partition_point(|(_, told)| told.revision() < revision);
        (watch.told[i].1 != other).then(|| watch.told.insert(i, (watch.told[i].0, other)))
    }),
    ("a bookmark ahead of what was told", |h, random| {
        let (watch, i) = h.event(random)?;
        let (at, ahead) = (watch.told[i].0, watch.told[i].1.revision());
        watch.told.insert(i, (at, Told::Bookmark(ahead)));
        Some(())
    }),
    ("a watch ends with a bookmark ahead of what was told", |h, random| {
        let (watch, i) = h.event(random)?;
        let (at, ahead) = (watch.told[i].0, watch.told[i].1.revision() + 1);
        watch.told.truncate(i);
        watch.told.push((at, Told::Bookmark(ahead)));
        Some(())
    }),
    ("a bookmark that goes back", |h, random| {
        let (watch, i) = h.event(random)?;
        let (at, back) = (watch.told[i].0, watch.told[i].1.revision() - 1);
        watch.told.insert(i + 1, (at, Told::Bookmark(back)));
        Some(())
    }),
    ("a watch that is taken up again skips an event", |h, random| {
        let watch = h.again(random)?;
        matches!(watch.told[..], [(_, Told::Change { .. }), _, ..]).then(|| drop(watch.told.remove(0)))
    }),
    ("a watch that is taken up again tells an event again", |h, random| {
        let log = h.log.clone();
        let watch = h.again(random)?;
        let last = log.told.iter().rev().find(|(_, told)| told.revision() <= watch.from)?;
        watch.told.insert(0, (watch.begun, last.1.clone()));
        Some(())
    }),
    ("a watch gets stuck", |h, _| {
        let watch = &mut h.watches[STAYS];
        watch.told.truncate(watch.told.len() / 3);
        Some(())
    }),
    ("no bookmark comes where nothing happens", |h, _| {
        // As of an object that is never written.
        let watch = Watched { key: Some("none".into()), from: 100, ended: (STEPS + 1) * STEP, ..Watched::default() };
        h.watches.push(watch);
        Some(())
    }),
];

impl Played {
    /// Some entry that fits.
    fn entry(&self, random: &mut StdRng, fits: impl Fn(&Entry, Revision) -> bool) -> Option<usize> {
        (0..self.at.len()).filter(|place| fits(&self.entries[*place], self.at[*place])).choose(random)
    }

    /// Some acknowledged write, and its revision.
    fn done(&self, random: &mut StdRng, fits: impl Fn(&Entry) -> bool) -> Option<(usize, Revision)> {
        let place = self.entry(random, |entry, at| entry.answer == Answer::Done(at) && fits(entry))?;
        Some((place, self.at[place]))
    }

    /// Some read, and a revision that was past before it began, with other contents.
    fn outlived(&self, random: &mut StdRng, fits: impl Fn(&Entry) -> bool) -> Option<(usize, Revision)> {
        let stale = |place: &usize| {
            let entry = &self.entries[*place];
            let known: Vec<_> = self.times.iter().filter(|(_, time)| **time + STEP < entry.begun).collect();
            let (newest, _) = known.last()?;
            let differs = |old: &Revision| match &entry.call {
                Call::Get { key } => self.states[old].get(key) != self.states[*newest].get(key),
                _ => self.states[old] != self.states[*newest],
            };
            let old = known.iter().rev().skip(1).map(|(revision, _)| **revision).find(differs)?;
            fits(entry).then_some((*place, old))
        };
        (0..self.entries.len()).filter_map(|place| stale(&place)).choose(random)
    }

    /// Takes a change out of all that tells of it.
    fn forget(&mut self, revision: Revision) {
        for watch in self.watches.iter_mut().chain([&mut self.log]) {
            watch.told.retain(|(_, told)| !matches!(told, Told::Change { revision: of, .. } if *of == revision));
        }
    }

    /// Puts a change into all that should tell of it.
    fn insert(&mut self, change: Told) {
        let Told::Change { key, revision, .. } = &change else { return };
        for watch in self.watches.iter_mut().chain([&mut self.log]) {
            let i = watch.told.partition_point(|(_, told)| told.revision() < *revision);
            let wanted = watch.key.as_ref().is_none_or(|wanted| wanted == key);
            if wanted && watch.from < *revision && i < watch.told.len() {
                watch.told.insert(i, (watch.told[i].0, change.clone()));
            }
        }
    }

    /// Does what was refused.
    fn also(&mut self, random: &mut StdRng, fits: impl Fn(&Entry) -> bool) -> Option<()> {
        let place = self.entry(random, |entry, _| fits(entry))?;
        let revision = self.at[place] + 1;
        let (key, value) = written(&self.entries[place].call)?;
        self.entries[place].answer = Answer::Done(revision);
        self.insert(Told::Change { kind: Kind::Modified, key, value, revision });
        Some(())
    }

    /// Some event of some watch.
    fn event(&mut self, random: &mut StdRng) -> Option<(&mut Watched, usize)> {
        let watch = self.watches.iter_mut().filter(|watch| watch.told.len() > 10).choose(random)?;
        let changes = watch.told.iter().enumerate().filter(|(_, (_, told))| matches!(told, Told::Change { .. }));
        let i = changes.map(|(i, _)| i).choose(random)?;
        Some((watch, i))
    }

    /// Some watch that was taken up again.
    fn again(&mut self, random: &mut StdRng) -> Option<&mut Watched> {
        self.watches.iter_mut().skip(4).filter(|watch| watch.told.len() > 1 && watch.key.is_none()).choose(random)
    }
}

fn written(call: &Call) -> Option<(String, u64)> {
    match call {
        Call::Create { key, value } | Call::Update { key, value, .. } | Call::Patch { key, value } => {
            Some((key.clone(), *value))
        }
        _ => None,
    }
}

fn deleted(told: &Told) -> Option<(String, Revision)> {
    match told {
        Told::Change { kind: Kind::Deleted, key, revision, .. } => Some((key.clone(), *revision)),
        _ => None,
    }
}

#[test]
fn each_way_to_be_wrong_is_found_and_what_is_right_is_not_refused() {
    let mut changed: BTreeMap<&str, usize> = BTreeMap::new();
    for seed in 0..50 {
        let played = play(seed);
        let found = check(&played.entries, &played.log, &played.watches);
        assert!(found.is_empty(), "seed {seed}, nothing was changed: {found:#?}");
        for (name, mutation) in MUTATIONS {
            let mut wrong = played.clone();
            if mutation(&mut wrong, &mut StdRng::seed_from_u64(seed)).is_none() {
                continue;
            }
            *changed.entry(name).or_default() += 1;
            let found = check(&wrong.entries, &wrong.log, &wrong.watches);
            assert!(!found.is_empty(), "seed {seed}, not found: {name}");
        }
    }
    for (name, _) in MUTATIONS {
        assert!(changed.get(name).is_some_and(|times| *times > 10), "hardly tried: {name}: {changed:?}");
    }
}
