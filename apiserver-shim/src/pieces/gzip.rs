//! One gzip member out of pieces that were compressed each for itself.
//!
//! Deflate is a sequence of blocks. A piece is blocks of its own that refer to nothing before them and end with an empty
//! stored block, hence at a full byte (a *sync flush*), so pieces may follow each other in any order.
//!
//! Source: RFC 1951, RFC 1952.

use bytes::Bytes;
use crc32fast::Hasher;
use flate2::{Compress, CompressError, Compression, FlushCompress};

/// Magic, deflate, no name or time, unknown system.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
/// How much a stored block can hold.
const STORED_MOST: usize = 0xffff;

/// A piece as it is sent: compressed, or as it was written.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub(super) bytes: Bytes,
    /// CRC-32 of what was compressed; 0 if it was not.
    pub(super) sum: u32,
    /// How long it was when it was written.
    pub(super) length: usize,
}

impl Piece {
    /// One that is not compressed. It has no more room than its bytes.
    pub(super) fn plain(bytes: Vec<u8>) -> Self {
        let bytes = Bytes::from(bytes.into_boxed_slice());
        Self { length: bytes.len(), bytes, sum: 0 }
    }
}

/// Compresses pieces. The room that it needs is used again for the next one.
#[derive(Debug)]
pub(super) struct Compressor {
    deflate: Compress,
    room: Vec<u8>,
}

impl Default for Compressor {
    fn default() -> Self {
        Self { deflate: Compress::new(Compression::fast(), false), room: Vec::new() }
    }
}

impl Compressor {
    pub(super) fn piece(&mut self, plain: &[u8]) -> Result<Piece, CompressError> {
        self.deflate.reset();
        self.room.clear();
        self.room.reserve(plain.len() + plain.len() / 4 + 64);
        loop {
            let read = usize::try_from(self.deflate.total_in()).unwrap_or(plain.len());
            self.deflate.compress_vec(&plain[read..], &mut self.room, FlushCompress::Sync)?;
            // As long as there is room left, nothing is left to be written.
            if self.room.len() < self.room.capacity() {
                break;
            }
            self.room.reserve(plain.len() / 4 + 64);
        }
        Ok(Piece { bytes: Bytes::copy_from_slice(&self.room), sum: crc32fast::hash(plain), length: plain.len() })
    }
}

/// What is around the pieces of a member, and the checksum of all.
#[derive(Debug, Default)]
pub(super) struct Member {
    sum: Hasher,
    length: usize,
}

impl Member {
    /// What the member begins with: `plain`, as it is.
    pub(super) fn begin(&mut self, plain: &[u8]) -> Vec<u8> {
        let mut out = HEADER.to_vec();
        self.store(plain, false, &mut out);
        out
    }

    /// Takes a piece into account.
    pub(super) fn add(&mut self, piece: &Piece) {
        self.sum.combine(&Hasher::new_with_initial_len(piece.sum, piece.length as u64));
        self.length += piece.length;
    }

    /// What the member ends with: `plain`, as it is.
    pub(super) fn end(mut self, plain: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        self.store(plain, true, &mut out);
        out.extend_from_slice(&self.sum.finalize().to_le_bytes());
        // The length is told modulo 2^32.
        out.extend_from_slice(&(self.length as u32).to_le_bytes());
        out
    }

    /// Writes stored blocks, which are at full bytes.
    fn store(&mut self, plain: &[u8], last: bool, out: &mut Vec<u8>) {
        self.sum.update(plain);
        self.length += plain.len();
        let mut chunks = plain.chunks(STORED_MOST).peekable();
        while let Some(chunk) = chunks.next() {
            let length = chunk.len() as u16;
            out.push(u8::from(last && chunks.peek().is_none()));
            out.extend_from_slice(&length.to_le_bytes());
            out.extend_from_slice(&(!length).to_le_bytes());
            out.extend_from_slice(chunk);
        }
    }
}
