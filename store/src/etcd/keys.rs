//! Where records lie in etcd.
//!
//! `PREFIX/t/TENANT/COLLECTION NUL NAME`, the tenant as 32 hexadecimal digits: fixed in width, and to be read in
//! `etcdctl`. A collection has no NUL in its name, so none begins like a record of another, and records lie in the order
//! of their names. Beside them `PREFIX/purged` holds the tenant that was purged last: who follows the prefix learns
//! from it that the deletions of that revision are a purge.

use apimachinery::tenant::TenantId;
use smol_str::SmolStr;

use crate::{CollectionId, Key};

const DIGITS: usize = 2 * TenantId::WIDTH;

/// What a key of ours is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Record(Key),
    Purged,
}

/// The keys below a prefix.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    /// Ends with a slash.
    prefix: Vec<u8>,
}

impl Keys {
    /// The keys below a prefix, which ends with one slash or none.
    pub(crate) fn new(prefix: &str) -> Self {
        Self { prefix: format!("{}/", prefix.strip_suffix('/').unwrap_or(prefix)).into_bytes() }
    }

    /// All there are: the first, and the first one behind the last.
    pub(crate) fn all(&self) -> (Vec<u8>, Vec<u8>) {
        (self.prefix.clone(), behind(&self.prefix))
    }

    /// Those of a tenant.
    pub(crate) fn tenant(&self, id: TenantId) -> (Vec<u8>, Vec<u8>) {
        let mut first = self.prefix.clone();
        first.extend_from_slice(b"t/");
        for byte in id.as_bytes() {
            first.extend_from_slice(format!("{byte:02x}").as_bytes());
        }
        first.push(b'/');
        let end = behind(&first);
        (first, end)
    }

    pub(crate) fn record(&self, key: &Key) -> Vec<u8> {
        let (mut out, _) = self.tenant(key.collection.tenant);
        out.extend_from_slice(key.collection.name.as_bytes());
        out.push(0);
        out.extend_from_slice(key.name.as_bytes());
        out
    }

    pub(crate) fn purged(&self) -> Vec<u8> {
        [&self.prefix[..], b"purged"].concat()
    }

    /// What a key is. `None` if it is none of ours.
    pub(crate) fn parse(&self, key: &[u8]) -> Option<Found> {
        let rest = key.strip_prefix(&self.prefix[..])?;
        if rest == b"purged" {
            return Some(Found::Purged);
        }
        let (digits, rest) = rest.strip_prefix(b"t/")?.split_first_chunk::<DIGITS>()?;
        let digits = std::str::from_utf8(digits).ok()?;
        let mut id = [0; TenantId::WIDTH];
        for (i, byte) in id.iter_mut().enumerate() {
            *byte = u8::from_str_radix(digits.get(2 * i..2 * i + 2)?, 16).ok()?;
        }
        let rest = std::str::from_utf8(rest.strip_prefix(b"/")?).ok()?;
        let (collection, name) = rest.split_once('\0')?;
        let collection = CollectionId { tenant: TenantId::from_bytes(id), name: SmolStr::new(collection) };
        Some(Found::Record(Key { collection, name: SmolStr::new(name) }))
    }
}

/// The first key behind all that begin with `prefix`, whose last byte is not the greatest there is.
fn behind(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_as_it_was_written_and_lies_in_its_ranges_alone() {
        let keys = Keys::new("/tenantry/");
        assert_eq!(keys.all(), (b"/tenantry/".to_vec(), b"/tenantry0".to_vec()));
        let of = |tenant: u8, collection: &str, name: &str| Key {
            collection: CollectionId { tenant: TenantId::from_bytes([tenant; 16]), name: collection.into() },
            name: name.into(),
        };
        let wanted = [
            of(1, "apps/pods", "a/x"),
            of(1, "pods", "a/x"),
            of(1, "pods", "a\0b"),
            of(1, "pods.x", "ä"),
            of(0xf0, "pods", "x"),
        ];
        for key in &wanted {
            let written = keys.record(key);
            let (first, end) = keys.tenant(key.collection.tenant);
            assert!(first <= written && written < end);
            assert_eq!(keys.parse(&written), Some(Found::Record(key.clone())));
        }
        let written: Vec<_> = wanted.iter().map(|key| keys.record(key)).collect();
        assert!(!written.is_sorted() || written.is_sorted_by(|a, b| a < b));
        assert_eq!(keys.parse(&keys.purged()), Some(Found::Purged));
        for foreign in [&b"/tenantry/"[..], b"/registry/pods/x", b"/tenantry/t/01/pods\0x", b"/tenantry/x"] {
            assert_eq!(keys.parse(foreign), None);
        }
        // One prefix does not see into another that begins alike.
        assert!(keys.parse(&Keys::new("/tenantry2").record(&wanted[0])).is_none());
    }
}
