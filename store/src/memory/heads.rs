//! What tells the names of a run apart, beside them: a search looks at a few lines of memory instead of at a name
//! somewhere else for each step.

use std::ops::Range;

use super::run::FULL;

/// For each name the four bytes behind those that all of them begin with.
#[derive(Debug)]
pub(super) struct Heads {
    /// How many bytes at the beginning all names have in common, or fewer.
    shared: usize,
    heads: [u32; FULL],
}

impl Heads {
    /// Of at most [`FULL`] names in order, and one that none of them is before.
    pub(super) fn of<'a>(first: &str, names: impl DoubleEndedIterator<Item = &'a str> + Clone) -> Self {
        let shared = names.clone().next_back().map_or(0, |last| shared(first, last));
        let mut heads = [0; FULL];
        for (head, name) in heads.iter_mut().zip(names) {
            *head = head_of(name, shared);
        }
        Self { shared, heads }
    }

    /// The places of the names with the head of this one, or where it would be put; the rest is told by the names.
    pub(super) fn narrow(&self, names: usize, first: &str, name: &str) -> Range<usize> {
        let (first, begin) = (&first.as_bytes()[..self.shared], &name.as_bytes()[..self.shared.min(name.len())]);
        if begin != first {
            let at = if begin < first { 0 } else { names };
            return at..at;
        }
        let (head, heads) = (head_of(name, self.shared), &self.heads[..names]);
        let start = heads.partition_point(|h| *h < head);
        let equal = heads[start..].iter().take_while(|h| **h == head).count();
        start..start + equal
    }

    /// Whether a name begins as all others do. If not, all must be made anew.
    pub(super) fn cover(&self, first: &str, name: &str) -> bool {
        name.as_bytes().get(..self.shared) == Some(&first.as_bytes()[..self.shared])
    }

    /// Takes in a name at a place among so many.
    pub(super) fn insert(&mut self, names: usize, at: usize, name: &str) {
        self.heads.copy_within(at..names, at + 1);
        self.set(at, name);
    }

    /// The name at a place is this one now.
    pub(super) fn set(&mut self, at: usize, name: &str) {
        self.heads[at] = head_of(name, self.shared);
    }

    /// The name at a place has gone.
    pub(super) fn remove(&mut self, names: usize, at: usize) {
        self.heads.copy_within(at + 1..names, at);
    }

    /// The second half of these, of the names from a place on.
    pub(super) fn split_off(&self, at: usize) -> Self {
        let mut heads = [0; FULL];
        heads[..FULL - at].copy_from_slice(&self.heads[at..]);
        Self { shared: self.shared, heads }
    }

    /// Whether names from one to another have more in common than is known here.
    pub(super) fn is_loose(&self, first: &str, last: &str) -> bool {
        shared(first, last) > self.shared
    }
}

/// What two names, and all between them, begin with.
fn shared(a: &str, b: &str) -> usize {
    a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count()
}

/// Of two names the greater has the greater head, or the same.
fn head_of(name: &str, from: usize) -> u32 {
    let rest = &name.as_bytes()[from..];
    match rest.first_chunk() {
        Some(head) => u32::from_be_bytes(*head),
        None => (0..4).fold(0, |head, i| head << 8 | u32::from(rest.get(i).copied().unwrap_or(0))),
    }
}
