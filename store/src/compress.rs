//! What is smaller compressed: blocks of snapshots and backups, large values in etcd, tenants at rest. Where it pays and
//! where not was measured (docs/performance.md, "Compression").

use std::io;

/// How hard compression tries where a tenant is laid to rest. Levels above make these blocks no smaller.
pub(crate) const REST: i32 = 3;
/// How hard compression tries: the levels above take twice the time for some percent.
const LEVEL: i32 = 1;

/// The length (u32, little-endian) and a zstd frame, if that saves at least a quarter.
pub(crate) fn pack(bytes: &[u8]) -> Option<Vec<u8>> {
    let length = u32::try_from(bytes.len()).ok()?;
    let frame = squeeze(bytes, LEVEL).ok()?;
    (frame.len() + 4 <= bytes.len() / 4 * 3).then(|| [&length.to_le_bytes(), &frame[..]].concat())
}

/// What was packed. `None` if these bytes are not what [`pack`] gave, or more than `most` were packed.
pub(crate) fn unpack(packed: &[u8], most: usize) -> Option<Vec<u8>> {
    let (length, frame) = packed.split_first_chunk()?;
    let length = u32::from_le_bytes(*length) as usize;
    let fits = (length <= most).then_some(frame)?;
    expand(fits, length).ok()
}

/// A zstd frame.
pub(crate) fn squeeze(bytes: &[u8], level: i32) -> io::Result<Vec<u8>> {
    zstd::bulk::compress(bytes, level)
}

/// The bytes of a frame that had so many.
///
/// # Errors
/// If this is no whole frame of so many.
pub(crate) fn expand(frame: &[u8], length: usize) -> io::Result<Vec<u8>> {
    let bytes = zstd::bulk::decompress(frame, length)?;
    if bytes.len() == length { Ok(bytes) } else { Err(io::ErrorKind::InvalidData.into()) }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    #[test]
    fn what_saves_a_quarter_is_packed_and_comes_back() {
        let text = br#"{"kind":"ConfigMap","apiVersion":"v1"}"#.repeat(100);
        let packed = pack(&text).unwrap();
        assert!(packed.len() < text.len() / 4 * 3);
        assert_eq!(unpack(&packed, text.len()).unwrap(), text);
        let mut random = vec![0; 4000];
        StdRng::seed_from_u64(1).fill(&mut random[..]);
        assert!(pack(&random).is_none() && pack(b"").is_none());
    }

    #[test]
    fn what_is_not_whole_or_too_large_does_not_come_back() {
        let packed = pack(&[b'x'; 1000]).unwrap();
        assert!(unpack(&packed, 999).is_none());
        assert!(unpack(&packed[..packed.len() - 1], 1000).is_none());
        assert!(unpack(&[&999_u32.to_le_bytes(), &packed[4..]].concat(), 2000).is_none());
        assert!(unpack(b"", 1).is_none());
    }
}
