//! Values that many tenants hold are in memory once.
//!
//! Every virtual cluster begins with the same objects under the same names (116 KB of the 118 KB of an idle one). So a
//! record that is put is compared with the one seen last under the same name and length, whoever has it; if the bytes
//! are equal both share them, and the name too. Nothing is said of which values these are: after an upgrade the old
//! ones are shared as before, and so are the new ones.
//!
//! A table of fixed size, so that it costs the same however much is stored. What was shared often stays in its place
//! while other records pass by.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::ops::Range;

use bytes::Bytes;
use smol_str::SmolStr;

/// Places in the table, a power of two.
const PLACES: usize = 2048;
/// A record has this many places to be in.
const WAYS: usize = 4;
/// Larger values are not shared: the table keeps a value until the next sweep after its last record has gone.
const LARGEST: usize = 16 << 10;

/// A record that others may share.
#[derive(Debug)]
struct Seen {
    /// Of name and length: what differs is told apart without a look at either.
    hash: u64,
    name: SmolStr,
    value: Bytes,
    /// How often it was shared, less the records that wanted its place since.
    shared: u32,
}

/// The records that were seen last.
#[derive(Debug)]
pub(crate) struct Common {
    places: Vec<Option<Seen>>,
    // Without a seed of its own, so that what is shared does not differ from run to run.
    hasher: BuildHasherDefault<DefaultHasher>,
}

impl Default for Common {
    fn default() -> Self {
        Self { places: std::iter::repeat_with(|| None).take(PLACES).collect(), hasher: BuildHasherDefault::default() }
    }
}

impl Common {
    /// The same name and value, in the memory of an earlier record that has both if one is known.
    pub(crate) fn share(&mut self, name: &SmolStr, value: Bytes) -> (SmolStr, Bytes) {
        if value.len() > LARGEST {
            return (name.clone(), value);
        }
        let hash = self.hash(name, &value);
        let places = self.places_of(hash);
        let places = &mut self.places[places];
        for seen in places.iter_mut().flatten() {
            if seen.hash == hash && seen.value == value && seen.name == *name {
                seen.shared = seen.shared.saturating_add(1);
                return (seen.name.clone(), seen.value.clone());
            }
        }
        // Into a free place, or that of the one that was shared least; of equals the oldest, which stands last.
        let worth = |place: &Option<Seen>| place.as_ref().map_or(0, |seen| u64::from(seen.shared) + 1);
        if let Some((i, place)) = places.iter_mut().enumerate().rev().min_by_key(|(_, place)| worth(place)) {
            match place {
                Some(seen) if seen.shared > 0 => seen.shared -= 1,
                place => {
                    *place = Some(Seen { hash, name: name.clone(), value: value.clone(), shared: 0 });
                    places[..=i].rotate_right(1);
                }
            }
        }
        (name.clone(), value)
    }

    /// Whether another record has this name and these bytes, in the same memory, as far as is known.
    pub(crate) fn is_shared(&self, name: &SmolStr, value: &Bytes) -> bool {
        let seen = self.places[self.places_of(self.hash(name, value))].iter().flatten();
        let same = |seen: &&Seen| {
            seen.value.as_ptr() == value.as_ptr() && seen.value.len() == value.len() && seen.name == *name
        };
        seen.into_iter().find(same).is_some_and(|seen| seen.shared > 0)
    }

    fn hash(&self, name: &SmolStr, value: &Bytes) -> u64 {
        self.hasher.hash_one((name.as_str(), value.len()))
    }

    fn places_of(&self, hash: u64) -> Range<usize> {
        let first = hash as usize % (PLACES / WAYS) * WAYS;
        first..first + WAYS
    }

    /// The same collection's name, in the memory of an earlier one.
    pub(crate) fn share_name(&mut self, name: &SmolStr) -> SmolStr {
        if name.is_heap_allocated() { self.share(name, Bytes::new()).0 } else { name.clone() }
    }

    /// Gives up values that no record has any more.
    pub(crate) fn sweep(&mut self) {
        for place in &mut self.places {
            if place.as_ref().is_some_and(|seen| seen.value.is_unique()) {
                *place = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(common: &mut Common, name: &str, value: &str) -> (SmolStr, Bytes) {
        common.share(&name.into(), Bytes::copy_from_slice(value.as_bytes()))
    }

    #[test]
    fn what_many_have_is_shared_though_others_pass_by() {
        let mut common = Common::default();
        let (_, first) = put(&mut common, "system:node", "rules");
        for round in 0..50 {
            let (name, value) = put(&mut common, "system:node", "rules");
            assert_eq!((name.as_str(), value.as_ptr()), ("system:node", first.as_ptr()));
            for i in 0..PLACES {
                put(&mut common, &format!("pod-{i}"), &format!("{round}"));
            }
        }
    }

    #[test]
    fn nearly_all_of_many_are_shared_though_the_table_was_full() {
        let mut common = Common::default();
        for i in 0..10 * PLACES {
            put(&mut common, &format!("pod-{i}"), "x");
        }
        let tenant = |common: &mut Common| (0..200).map(|i| put(common, &format!("role-{i}"), "rules").1).collect();
        let first: Vec<Bytes> = tenant(&mut common);
        let second: Vec<Bytes> = tenant(&mut common);
        let shared = first.iter().zip(&second).filter(|(a, b)| a.as_ptr() == b.as_ptr()).count();
        assert!(shared >= 195, "{shared} of 200 are shared");
    }

    #[test]
    fn only_the_same_bytes_under_the_same_name_are_shared() {
        let mut common = Common::default();
        let (_, a) = put(&mut common, "a", "12");
        for (name, value) in [("a", "13"), ("b", "12"), ("a", "123")] {
            let (_, other) = put(&mut common, name, value);
            assert_eq!(other, value);
            assert_ne!(other.as_ptr(), a.as_ptr());
        }
    }

    #[test]
    fn what_no_one_has_any_more_is_given_up() {
        let mut common = Common::default();
        let (_, kept) = put(&mut common, "a", "1");
        drop(put(&mut common, "b", "2"));
        common.sweep();
        assert_eq!(common.places.iter().flatten().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["a"]);
        drop(kept);
        common.sweep();
        assert!(common.places.iter().all(Option::is_none));
    }
}
