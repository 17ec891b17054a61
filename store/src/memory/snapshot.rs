//! A state at one revision as a stream of bytes: what a checkpoint leaves on disk, and what a backup is.
//!
//! Blocks, each its length (u32, little-endian), the CRC-32 of its content (u32) and the content. The first holds the
//! format and the revision, then come records, the last holds their number. A block of records is tenant, collection
//! and for each record its name, revision (u64) and value (strings and values as in the log). A block that is a quarter
//! smaller compressed holds its length (u32) and a zstd frame.

use std::io::{self, Read, Write};

use apimachinery::tenant::TenantId;
use bytes::Bytes;
use parking_lot::RwLock;
use smol_str::SmolStr;

use super::state::State;
use super::wire::{put_str, put_value, take_str, take_tenant, take_u64, take_value};
use crate::compress::{pack, unpack};
use crate::prepare::{NAME, TRANSACTION};
use crate::{CollectionId, Record, Revision};

const MAGIC: &[u8; 20] = b"tenantry-snapshot-2\n";
/// What those begin with that were written before blocks were compressed. They are read all the same.
const MAGIC_PLAIN: &[u8; 20] = b"tenantry-snapshot-1\n";
/// About how much goes into a block. The lock is held for as long as it takes to look one up.
const BLOCK: usize = 256 << 10;
const RECORDS: u8 = 1;
const END: u8 = 2;
const PACKED: u8 = 3;
/// The most bytes of a block: what is about full, and the largest record.
const LARGEST: usize = BLOCK + TRANSACTION + NAME + 64;
/// Smaller blocks stay as they are.
const SMALL: usize = 1 << 10;

/// Writes the state at a revision that stays held meanwhile; of one tenant or of all. Gives the number of bytes.
pub(crate) fn write(
    state: &RwLock<State>,
    at: Revision,
    only: Option<TenantId>,
    out: &mut dyn Write,
) -> io::Result<u64> {
    let mut block = Vec::with_capacity(BLOCK + 4096);
    block.extend_from_slice(MAGIC);
    block.extend_from_slice(&at.to_le_bytes());
    let mut size = put_block(out, &block)?;
    let mut records = 0_u64;
    let tenants = match only {
        Some(tenant) => vec![tenant],
        // In order of their ids: the server's own records come first, which say who is who.
        None => {
            let mut tenants = state.read().tenants();
            tenants.sort_unstable();
            tenants
        }
    };
    for tenant in tenants {
        // It has no history: what it holds is what it held at any revision that is held.
        let resting = state.read().resting(tenant).cloned();
        if let Some(pack) = resting {
            for (name, found) in pack.unpack()? {
                let id = CollectionId { tenant, name };
                let mut left = &found[..];
                while !left.is_empty() {
                    let mut room = BLOCK;
                    let fits = |record: &&Record| {
                        let fits = room > 0;
                        room = room.saturating_sub(record.value.len() + 64);
                        fits
                    };
                    let (piece, rest) = left.split_at(left.iter().take_while(fits).count());
                    records += piece.len() as u64;
                    size += put_records(out, &mut block, &id, piece)?;
                    left = rest;
                }
            }
            continue;
        }
        let names: Vec<SmolStr> = state.read().collections(tenant).map(|(name, _)| name.clone()).collect();
        for name in names {
            let id = CollectionId { tenant, name };
            State::in_pieces(state, &id, at, BLOCK, |found| {
                records += found.len() as u64;
                size += put_records(out, &mut block, &id, &found)?;
                Ok(())
            })?;
        }
    }
    size += put_end(out, &mut block, records)?;
    Ok(size)
}

/// Reads what [`write`] wrote: the revision; each record is handed to `each`.
///
/// # Errors
/// [`io::ErrorKind::InvalidData`] if a byte is not what was written or some are missing.
pub(crate) fn read(
    input: &mut dyn Read,
    each: &mut dyn FnMut(&CollectionId, SmolStr, Revision, Bytes),
) -> io::Result<Revision> {
    let mut block = Vec::new();
    let at = take_head(input, &mut block)?;
    let mut records: u64 = 0;
    loop {
        take_block(input, &mut block)?;
        match block.split_first().ok_or_else(invalid)? {
            (&RECORDS, rest) => records += read_records(rest, each).ok_or_else(invalid)?,
            (&END, rest) if *rest == records.to_le_bytes() => return Ok(at),
            _ => return Err(invalid()),
        }
    }
}

/// Writes those records of a snapshot that `pick` wants, as a snapshot at the same revision.
///
/// # Errors
/// As [`read`], or what `out` said.
pub(crate) fn extract(
    input: &mut dyn Read,
    out: &mut dyn Write,
    pick: &mut dyn FnMut(&CollectionId, &Record) -> bool,
) -> io::Result<()> {
    let (mut block, mut written) = (Vec::new(), Vec::new());
    let at = take_head(input, &mut block)?;
    put_block(out, &[&MAGIC[..], &at.to_le_bytes()].concat())?;
    let (mut records, mut picked): (u64, u64) = (0, 0);
    loop {
        take_block(input, &mut block)?;
        match block.split_first().ok_or_else(invalid)? {
            (&RECORDS, rest) => {
                let (mut id, mut wanted) = (None, Vec::new());
                let each = &mut |collection: &CollectionId, name, revision, value| {
                    let record = Record { name, value, revision };
                    if pick(collection, &record) {
                        wanted.push(record);
                        id.get_or_insert_with(|| collection.clone());
                    }
                };
                records += read_records(rest, each).ok_or_else(invalid)?;
                if let Some(id) = id {
                    picked += wanted.len() as u64;
                    put_records(out, &mut written, &id, &wanted)?;
                }
            }
            (&END, rest) if *rest == records.to_le_bytes() => {
                put_end(out, &mut written, picked)?;
                return Ok(());
            }
            _ => return Err(invalid()),
        }
    }
}

fn take_head(input: &mut dyn Read, block: &mut Vec<u8>) -> io::Result<Revision> {
    take_block(input, block)?;
    let head = block.strip_prefix(MAGIC).or_else(|| block.strip_prefix(MAGIC_PLAIN));
    head.and_then(|mut rest| take_u64(&mut rest)).ok_or_else(invalid)
}

fn put_end(out: &mut dyn Write, block: &mut Vec<u8>, records: u64) -> io::Result<u64> {
    block.clear();
    block.push(END);
    block.extend_from_slice(&records.to_le_bytes());
    put_block(out, block)
}

fn read_records(mut rest: &[u8], each: &mut dyn FnMut(&CollectionId, SmolStr, Revision, Bytes)) -> Option<u64> {
    let tenant = take_tenant(&mut rest)?;
    let id = CollectionId { tenant, name: take_str(&mut rest)? };
    let mut records = 0;
    while !rest.is_empty() {
        let name = take_str(&mut rest)?;
        let revision = take_u64(&mut rest)?;
        each(&id, name, revision, take_value(&mut rest)??);
        records += 1;
    }
    Some(records)
}

fn put_records(out: &mut dyn Write, block: &mut Vec<u8>, id: &CollectionId, records: &[Record]) -> io::Result<u64> {
    block.clear();
    block.push(RECORDS);
    block.extend_from_slice(id.tenant.as_bytes());
    put_str(block, &id.name);
    for record in records {
        put_str(block, &record.name);
        block.extend_from_slice(&record.revision.to_le_bytes());
        put_value(block, Some(&record.value));
    }
    put_block(out, block)
}

fn put_block(out: &mut dyn Write, content: &[u8]) -> io::Result<u64> {
    let packed = if content.len() < SMALL { None } else { pack(content) };
    let packed = packed.map(|packed| [&[PACKED], &packed[..]].concat());
    let content = packed.as_deref().unwrap_or(content);
    out.write_all(&(content.len() as u32).to_le_bytes())?;
    out.write_all(&crc32fast::hash(content).to_le_bytes())?;
    out.write_all(content)?;
    Ok(content.len() as u64 + 8)
}

fn take_block(input: &mut dyn Read, block: &mut Vec<u8>) -> io::Result<()> {
    let mut header = [0; 8];
    input.read_exact(&mut header)?;
    let [a, b, c, d, e, f, g, h] = header;
    block.clear();
    let length = u64::from(u32::from_le_bytes([a, b, c, d]));
    // Read as it comes, so that a length that was damaged does not ask for memory that no bytes stand behind.
    let got = input.take(length).read_to_end(block)?;
    if got as u64 != length || crc32fast::hash(block) != u32::from_le_bytes([e, f, g, h]) {
        return Err(invalid());
    }
    if let Some((&PACKED, packed)) = block.split_first() {
        *block = unpack(packed, LARGEST).ok_or_else(invalid)?;
    }
    Ok(())
}

fn invalid() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "not a whole snapshot: bytes are damaged or missing")
}
