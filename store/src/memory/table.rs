//! The records of one collection: names in order, each with its versions.
//!
//! A sorted vector in pieces. Against a `BTreeMap` it holds a collection of one record in 100 bytes instead of 900
//! (most collections of an idle tenant are that small), and it knows how many records lie behind a name without
//! walking them.

use bytes::Bytes;
use smol_str::SmolStr;

use crate::Revision;

/// Records in a piece, at most.
const PIECE: usize = 128;

/// A value at a revision; a deletion if there is none.
#[derive(Clone, Debug)]
pub(crate) struct Version {
    pub(crate) revision: Revision,
    pub(crate) value: Option<Bytes>,
}

/// A name and what it held since the oldest revision that is kept.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) name: SmolStr,
    pub(crate) head: Version,
    /// Superseded versions, oldest first. Most entries have none.
    older: Option<Box<Older>>,
}

#[derive(Debug)]
struct Older(Vec<Version>);

impl Entry {
    /// The version that stood at a revision. `None` if the name did not exist then.
    pub(crate) fn at(&self, revision: Revision) -> Option<(&Bytes, Revision)> {
        let version = if self.head.revision <= revision {
            &self.head
        } else {
            self.older.as_ref()?.0.iter().rev().find(|v| v.revision <= revision)?
        };
        version.value.as_ref().map(|value| (value, version.revision))
    }

    /// Gives up the versions that no revision from `oldest` on shows. True if nothing is left.
    fn trim(&mut self, oldest: Revision) -> bool {
        if let Some(older) = &mut self.older {
            let versions = &mut older.0;
            let shown = if self.head.revision <= oldest {
                versions.len()
            } else {
                versions.partition_point(|v| v.revision <= oldest).saturating_sub(1)
            };
            versions.drain(..shown);
            if versions.first().is_some_and(|v| v.value.is_none() && v.revision <= oldest) {
                versions.remove(0);
            }
            if versions.is_empty() {
                self.older = None;
            } else {
                versions.shrink_to_fit();
            }
        }
        self.older.is_none() && self.head.value.is_none() && self.head.revision <= oldest
    }
}

#[derive(Debug)]
struct Piece {
    /// The name of the first entry, here to be found without a look at the entries.
    first: SmolStr,
    entries: Vec<Entry>,
    live: usize,
}

/// Names in order.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pieces: Vec<Piece>,
    live: usize,
}

impl Table {
    /// How many names hold a value now.
    pub(crate) fn live(&self) -> usize {
        self.live
    }

    /// Whether there is nothing, not even a deletion that an old revision needs.
    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Entry> {
        let (piece, place) = self.find(name);
        place.ok().map(|i| &self.pieces[piece].entries[i])
    }

    /// Puts a version in front; gives the one before if it held a value, and the name as it is kept here. Deleting
    /// what is not there does nothing.
    pub(crate) fn put(&mut self, name: &SmolStr, version: Version) -> (Option<(Bytes, Revision)>, SmolStr) {
        let now = version.value.is_some();
        let (mut at, place) = self.find(name);
        match place {
            Ok(i) => {
                let piece = &mut self.pieces[at];
                let entry = &mut piece.entries[i];
                let before = std::mem::replace(&mut entry.head, version);
                let was = before.value.clone().map(|value| (value, before.revision));
                entry.older.get_or_insert_with(|| Box::new(Older(Vec::with_capacity(1)))).0.push(before);
                let name = entry.name.clone();
                piece.live = piece.live + usize::from(now) - usize::from(was.is_some());
                self.live = self.live + usize::from(now) - usize::from(was.is_some());
                (was, name)
            }
            Err(_) if !now => (None, name.clone()),
            Err(mut i) => {
                if self.pieces.is_empty() {
                    self.pieces.reserve_exact(1);
                    self.pieces.push(Piece { first: name.clone(), entries: Vec::new(), live: 0 });
                } else if self.pieces[at].entries.len() == PIECE {
                    (at, i) = self.split(at, i);
                }
                let piece = &mut self.pieces[at];
                if piece.entries.len() == piece.entries.capacity() {
                    piece.entries.reserve_exact((piece.entries.len() / 4).max(1));
                }
                if i == 0 {
                    piece.first = name.clone();
                }
                piece.entries.insert(i, Entry { name: name.clone(), head: version, older: None });
                piece.live += 1;
                self.live += 1;
                (None, name.clone())
            }
        }
    }

    /// Gives up the versions of a name that no revision from `oldest` on shows.
    pub(crate) fn trim(&mut self, name: &str, oldest: Revision) {
        let (at, Ok(i)) = self.find(name) else { return };
        let Piece { first, entries, .. } = &mut self.pieces[at];
        if entries[i].trim(oldest) {
            entries.remove(i);
            match entries.first() {
                None => {
                    self.pieces.remove(at);
                    return;
                }
                Some(entry) if i == 0 => *first = entry.name.clone(),
                Some(_) => {}
            }
            if entries.len() * 2 < entries.capacity() {
                entries.shrink_to_fit();
            }
        }
    }

    /// Entries from a name on, deletions among them.
    pub(crate) fn from(&self, start: &str) -> impl Iterator<Item = &Entry> + '_ {
        let (at, place) = self.find(start);
        let (Ok(i) | Err(i)) = place;
        let first = self.pieces.get(at).map(|p| &p.entries[i..]).unwrap_or_default();
        first.iter().chain(self.pieces.iter().skip(at + 1).flat_map(|p| p.entries.iter()))
    }

    /// How many names before this one hold a value now.
    pub(crate) fn rank(&self, name: &str) -> usize {
        let (at, place) = self.find(name);
        let (Ok(i) | Err(i)) = place;
        let whole: usize = self.pieces[..at].iter().map(|p| p.live).sum();
        let part = self.pieces.get(at).map(|p| &p.entries[..i]).unwrap_or_default();
        whole + part.iter().filter(|e| e.head.value.is_some()).count()
    }

    /// The piece in which a name is or belongs, and its place there.
    fn find(&self, name: &str) -> (usize, Result<usize, usize>) {
        let at = self.pieces.partition_point(|p| p.first.as_str() <= name);
        let at = at.saturating_sub(1);
        match self.pieces.get(at) {
            Some(piece) => (at, piece.entries.binary_search_by(|e| e.name.as_str().cmp(name))),
            None => (0, Err(0)),
        }
    }

    /// Makes room in a full piece; gives where the place `i` of it has gone.
    fn split(&mut self, at: usize, i: usize) -> (usize, usize) {
        let last = at + 1 == self.pieces.len();
        let piece = &mut self.pieces[at];
        // What is written in order leaves full pieces behind.
        let middle = if last && i == PIECE { PIECE } else { PIECE / 2 };
        let entries = piece.entries.split_off(middle);
        piece.entries.shrink_to_fit();
        let live = entries.iter().filter(|e| e.head.value.is_some()).count();
        piece.live -= live;
        // A new piece is empty only if the entry to come is its first.
        let first = entries.first().map(|e| e.name.clone()).unwrap_or_default();
        self.pieces.insert(at + 1, Piece { first, entries, live });
        if i > middle || middle == PIECE { (at + 1, i - middle) } else { (at, i) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    /// Thousands of names, written in order and at random, deleted and trimmed, against a map of the present records.
    #[test]
    fn a_table_of_many_pieces_agrees_with_a_map() {
        let mut rng = StdRng::seed_from_u64(7);
        let (mut table, mut map) = (Table::default(), BTreeMap::new());
        let mut revision = 0;
        for round in 0..6 {
            for i in 0..4000 {
                revision += 1;
                let n = if round == 0 { i } else { rng.random_range(0..6000) };
                let name = SmolStr::new(format!("some-namespace/{n:05}"));
                let keep = round == 0 || rng.random_bool(if round % 2 == 0 { 0.7 } else { 0.2 });
                let value = keep.then(|| Bytes::from(revision.to_string()));
                let (before, _) = table.put(&name, Version { revision, value: value.clone() });
                let was = match value {
                    Some(value) => map.insert(name.clone(), (value, revision)),
                    None => map.remove(&name),
                };
                assert_eq!(before, was);
                table.trim(&name, revision);
                assert_eq!(table.get(&name).and_then(|e| e.at(revision)).is_some(), keep);
            }
            assert_eq!(table.live(), map.len());
            let held = table.from("").filter_map(|e| e.at(revision).map(|(v, r)| (e.name.clone(), (v.clone(), r))));
            assert!(held.eq(map.clone()));
            for _ in 0..200 {
                let name = format!("some-namespace/{:05}", rng.random_range(0..6000));
                assert_eq!(table.rank(&name), map.range(..SmolStr::new(&name)).count());
                let next = table.from(&name).find(|e| e.head.value.is_some()).map(|e| &e.name);
                assert_eq!(next, map.range(SmolStr::new(&name)..).next().map(|(n, _)| n));
            }
        }
        for name in map.keys() {
            revision += 1;
            table.put(name, Version { revision, value: None });
            table.trim(name, revision);
        }
        assert!(table.is_empty() && table.live() == 0);
    }
}
