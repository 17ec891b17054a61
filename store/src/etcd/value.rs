//! Values as they lie in etcd: as they are, or a mark and what they are compressed to. The mark is no beginning of an
//! object; a value that has it nevertheless is marked as not compressed.

use bytes::Bytes;

use crate::compress::{pack, unpack};
use crate::prepare::TRANSACTION;

const MARK: &[u8; 4] = b"\0zst";
/// Stands for the length of what is not compressed.
const PLAIN: [u8; 4] = u32::MAX.to_le_bytes();
/// Values below this stay as they are: most are, and compressing one saves etcd less than it costs.
const LEAST: usize = 16 << 10;

/// What is put into etcd for a value.
pub(crate) fn value_encode(value: &Bytes) -> Bytes {
    if value.len() >= LEAST
        && let Some(packed) = pack(value)
    {
        return [MARK, &packed[..]].concat().into();
    }
    if value.starts_with(MARK) {
        return [MARK, &PLAIN[..], value].concat().into();
    }
    value.clone()
}

/// The value that was put. `None` if it was not put by a store.
pub(crate) fn value_decode(found: Vec<u8>) -> Option<Bytes> {
    let Some(marked) = found.strip_prefix(MARK) else { return Some(found.into()) };
    match marked.strip_prefix(&PLAIN) {
        Some(plain) => Some(Bytes::copy_from_slice(plain)),
        None => unpack(marked, TRANSACTION).map(Bytes::from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_comes_back_and_large_ones_take_less_room() {
        let large = "some text ".repeat(10_000);
        for value in ["", "{}", "\0zst", "\0zst{}", &large, &format!("\0zst{large}")] {
            let value = Bytes::copy_from_slice(value.as_bytes());
            let encoded = value_encode(&value);
            assert!(encoded.len() <= value.len() / 2 || value.len() < LEAST);
            assert_eq!(value_decode(encoded.to_vec()), Some(value));
        }
        assert_eq!(value_decode(b"\0zst".to_vec()), None);
        assert_eq!(value_decode(b"\0zst\x05\0\0\0 no frame".to_vec()), None);
    }
}
