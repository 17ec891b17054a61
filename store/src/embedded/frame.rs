//! How transactions lie in the log: frames with a checksum, each a batch that became durable at once.
//!
//! A frame is its header (32 bytes, integers little-endian: magic, CRC-32 of all behind it, length of the payload, how
//! many transactions, revision of the first one, random number of the segment) and the payload, filled up with zeros to a
//! multiple of eight. A transaction is its kind (1 byte) and what that says:
//! writes (1): count (u32), then for each the key and the value (length u32, `u32::MAX` for a deletion, bytes);
//! purge (2): the tenant. A key is tenant (16), collection and name, each a length (u16) and bytes.

use crate::Revision;
use crate::memory::Transaction;
use crate::memory::wire::{put_key, put_value, take_key, take_tenant, take_u32, take_value};

/// Bytes of a frame's header.
pub(crate) const HEADER: usize = 32;
const MAGIC: u32 = 0x5c7f_10a9;
const WRITES: u8 = 1;
const PURGE: u8 = 2;

/// A frame as it is found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub(crate) first: Revision,
    pub(crate) count: u32,
    pub(crate) payload: &'a [u8],
    /// Bytes from its beginning to the next one.
    pub(crate) size: usize,
}

/// What stands at a place in a segment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found<'a> {
    Frame(Frame<'a>),
    /// Nothing was written here.
    End,
    /// Something was, but not a whole frame of this segment.
    Broken,
}

/// Writes a frame into a buffer, all but its seal.
pub(crate) fn encode(out: &mut Vec<u8>, first: Revision, transactions: &[Transaction]) {
    out.clear();
    out.resize(HEADER, 0);
    for transaction in transactions {
        match transaction {
            Transaction::Writes(writes) => {
                out.push(WRITES);
                out.extend_from_slice(&(writes.len() as u32).to_le_bytes());
                for (key, value) in writes {
                    put_key(out, key);
                    put_value(out, value.as_ref());
                }
            }
            Transaction::Purge(tenant) => {
                out.push(PURGE);
                out.extend_from_slice(tenant.as_bytes());
            }
        }
    }
    let length = (out.len() - HEADER) as u32;
    out.resize(out.len().next_multiple_of(8), 0);
    out[0..4].copy_from_slice(&MAGIC.to_le_bytes());
    out[8..12].copy_from_slice(&length.to_le_bytes());
    out[12..16].copy_from_slice(&(transactions.len() as u32).to_le_bytes());
    out[16..24].copy_from_slice(&first.to_le_bytes());
}

/// Binds a frame to the segment it goes to, and makes its checksum.
pub(crate) fn seal(out: &mut [u8], segment: u64) {
    out[24..32].copy_from_slice(&segment.to_le_bytes());
    let crc = crc32fast::hash(&out[8..]);
    out[4..8].copy_from_slice(&crc.to_le_bytes());
}

/// Reads the frame at the beginning of `bytes`.
pub(crate) fn find(bytes: &[u8], segment: u64) -> Found<'_> {
    let Some((header, _)) = bytes.split_first_chunk::<HEADER>() else {
        return if bytes.iter().all(|b| *b == 0) { Found::End } else { Found::Broken };
    };
    if header.iter().all(|b| *b == 0) {
        return Found::End;
    }
    let u32_at = |i: usize| u32::from_le_bytes([header[i], header[i + 1], header[i + 2], header[i + 3]]);
    let u64_at = |i: usize| u64::from(u32_at(i)) | (u64::from(u32_at(i + 4)) << 32);
    let length = u32_at(8) as usize;
    let size = (HEADER + length).next_multiple_of(8);
    let whole = (u32_at(0) == MAGIC && u64_at(24) == segment).then(|| bytes.get(..size)).flatten();
    match whole {
        Some(frame) if crc32fast::hash(&frame[8..]) == u32_at(4) => {
            Found::Frame(Frame { first: u64_at(16), count: u32_at(12), payload: &frame[HEADER..HEADER + length], size })
        }
        _ => Found::Broken,
    }
}

/// How many bytes a frame of this segment has that begins here, as its header says.
pub(crate) fn begun(bytes: &[u8], segment: u64) -> usize {
    let header = bytes.get(..HEADER).filter(|h| h[..4] == MAGIC.to_le_bytes() && h[24..] == segment.to_le_bytes());
    header.and_then(|h| h[8..].first_chunk()).map_or(0, |length| HEADER + u32::from_le_bytes(*length) as usize)
}

/// Takes the transactions out of a payload. `None` if it is not well-formed.
pub(crate) fn decode(frame: &Frame<'_>) -> Option<Vec<Transaction>> {
    let mut rest = frame.payload;
    let mut transactions = Vec::with_capacity(frame.count.min(4096) as usize);
    for _ in 0..frame.count {
        let (kind, tail) = rest.split_first()?;
        rest = tail;
        transactions.push(match *kind {
            WRITES => {
                let count = take_u32(&mut rest)?;
                let mut writes = Vec::with_capacity(count.min(1024) as usize);
                for _ in 0..count {
                    let key = take_key(&mut rest)?;
                    writes.push((key, take_value(&mut rest)?));
                }
                Transaction::Writes(writes)
            }
            PURGE => Transaction::Purge(take_tenant(&mut rest)?),
            _ => return None,
        });
    }
    rest.is_empty().then_some(transactions)
}
