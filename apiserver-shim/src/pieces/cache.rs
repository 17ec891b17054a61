//! Pieces that were made lately.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};

use apimachinery::tenant::TenantId;
use parking_lot::Mutex;

use super::gzip::Piece;

/// How many bytes are kept for all tenants together.
const KEPT: usize = 16 << 20;
/// What keeping a piece costs beside its bytes, about.
const OVERHEAD: usize = 256;

/// The objects of a piece, of which tenant they are, and how they are written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) tenant: TenantId,
    /// SHA-256 of all that says what is in the piece.
    pub(super) objects: [u8; 32],
}

/// Pieces, empty as long as no one lists much. What was not asked for since it was last looked at goes first.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    pieces: HashMap<Key, Kept>,
    order: VecDeque<Key>,
    bytes: usize,
}

#[derive(Debug)]
struct Kept {
    piece: Piece,
    asked: bool,
}

impl Cache {
    /// How many bytes of one list are kept, before compression: a larger one would push itself out.
    pub(super) const fn covers(compressed: bool) -> usize {
        if compressed { 2 * KEPT } else { KEPT / 8 * 7 }
    }

    pub(super) fn get(&self, key: &Key) -> Option<Piece> {
        let mut held = self.held.lock();
        let kept = held.pieces.get_mut(key)?;
        kept.asked = true;
        Some(kept.piece.clone())
    }

    pub(super) fn put(&self, key: Key, piece: &Piece) {
        let size = piece.bytes.len() + OVERHEAD;
        // One object of that size is no list that is worth the place of all others.
        if size > KEPT / 16 {
            return;
        }
        let mut held = self.held.lock();
        let Entry::Vacant(place) = held.pieces.entry(key.clone()) else { return };
        place.insert(Kept { piece: piece.clone(), asked: false });
        held.order.push_back(key);
        held.bytes += size;
        held.shrink(KEPT);
    }

    #[cfg(test)]
    pub(super) const KEPT: usize = KEPT;

    /// How many bytes are kept, counted anew.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        let held = self.held.lock();
        let bytes = held.pieces.values().map(|kept| kept.piece.bytes.len() + OVERHEAD).sum();
        assert_eq!(held.bytes, bytes);
        bytes
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.held.lock().pieces.len()
    }
}

impl Held {
    /// Gives the oldest up until so many bytes are left; those that were asked for come behind the others once.
    fn shrink(&mut self, to: usize) {
        while self.bytes > to {
            let Some(key) = self.order.pop_front() else { return };
            let Entry::Occupied(mut kept) = self.pieces.entry(key) else { continue };
            if std::mem::take(&mut kept.get_mut().asked) {
                self.order.push_back(kept.key().clone());
            } else {
                self.bytes -= kept.remove().piece.bytes.len() + OVERHEAD;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn key(n: u32) -> Key {
        let mut objects = [0; 32];
        objects[..4].copy_from_slice(&n.to_be_bytes());
        Key { tenant: TenantId::from_bytes([1; 16]), objects }
    }

    #[test]
    fn what_is_asked_for_stays_and_no_more_than_the_bound_is_kept() {
        let cache = Cache::default();
        let piece = Piece { bytes: Bytes::from(vec![0; KEPT / 64]), sum: 0, length: 1 };
        for n in 0..200 {
            cache.put(key(n), &piece);
            assert!(cache.get(&key(0)).is_some());
        }
        assert!(cache.held.lock().bytes <= KEPT);
        assert!((60..64).contains(&cache.len()), "{}", cache.len());
        assert!(cache.get(&key(1)).is_none() && cache.get(&key(199)).is_some());
        let other = Key { tenant: TenantId::from_bytes([2; 16]), ..key(199) };
        assert!(cache.get(&other).is_none());
    }
}
