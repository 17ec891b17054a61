//! Long lists, written and compressed in pieces.
//!
//! A piece is some neighbours of a list. Where it ends its objects say, not their places in the list, so a change moves no
//! other piece. Pieces are compressed each for itself and are put together to one gzip member. What was made lately is kept
//! as it was sent, compressed or not, for the next list that has the same objects at the same revisions: a list that comes
//! again makes only what has changed. What is sent as it is stored is not kept, to copy it costs no more. Between pieces
//! others have their turn.

mod body;
mod cache;
mod gzip;

use std::ops::Range;
use std::sync::Arc;

use apimachinery::status::ApiError;
use apimachinery::tenant::TenantId;
use sha2::{Digest, Sha256};

use body::Part;
pub(crate) use body::Pieced;
pub(crate) use cache::Cache;
use cache::Key;
use gzip::Piece;

use crate::encode::ListWriter;
use crate::registry::{Listing, Live};

/// A piece has at least so many bytes, as its objects are stored, if there are as many. At most these are new when one object changes.
const LEAST: usize = 12 * 1024;
/// It has no more than this, but for one object that is larger: a compressor looks back no further.
const MOST: usize = 32 * 1024;
/// How many bytes more than the least a piece has, about.
const BEYOND: u64 = 8 * 1024;
/// How much is written before others have their turn.
const TURN: usize = 256 * 1024;
/// Answers longer than this are compressed, as the stock server does.
pub(crate) const COMPRESS_FROM: usize = 128 * 1024;

/// Writes a list. It is compressed if the client takes that (`gzip`) and it is long enough.
///
/// # Errors
/// 500 if an object can't be read.
pub(crate) async fn list(
    cache: &Arc<Cache>,
    tenant: TenantId,
    writer: &ListWriter<'_>,
    listing: &Listing,
    gzip: bool,
) -> Result<Pieced, ApiError> {
    let items = &listing.items;
    // What is written of an object beside its body is shorter than this.
    let stored: usize = items.iter().map(|live| live.stored.as_bytes().len() + 256).sum();
    let long = stored > COMPRESS_FROM;
    let pack = gzip && long;
    let names = (pack || long && writer.transcodes()).then(|| Names::new(tenant, writer, pack));
    let (mut parts, mut kept_to, mut since) = (Vec::new(), 0, 0);
    for range in cut(items) {
        let first = range.start == 0;
        let pick = &items[range.clone()];
        let key = names.as_ref().map(|names| names.key(pick, first));
        if let Some(piece) = key.as_ref().and_then(|key| cache.get(key)) {
            kept_to += piece.length;
            parts.push((range, Part::Ready(piece)));
            continue;
        }
        let plain = write(writer, pick, first)?;
        since += plain.len();
        kept_to += plain.len();
        // Of a list that is longer than what is kept the begin is kept, not the end in turn for the begin.
        let part = match key.filter(|_| kept_to <= Cache::covers(pack)) {
            Some(key) if !pack => {
                let piece = Piece::plain(plain);
                cache.put(key, &piece);
                Part::Ready(piece)
            }
            key => Part::Plain(plain, key),
        };
        parts.push((range, part));
        if since >= TURN {
            since = 0;
            tokio::task::yield_now().await;
        }
    }
    let length = parts.iter().map(|(_, part)| part.length()).sum();
    let head = writer.head(listing, length)?;
    let gzip = pack && head.len() + length + writer.tail().len() > COMPRESS_FROM;
    if pack && !gzip {
        for (range, part) in parts.iter_mut().filter(|(_, part)| matches!(part, Part::Ready(_))) {
            *part = Part::Plain(write(writer, &items[range.clone()], range.start == 0)?, None);
        }
    }
    let parts = parts.into_iter().map(|(_, part)| part).collect();
    Ok(Pieced::new(head, parts, writer.tail(), gzip.then(|| Arc::clone(cache))))
}

fn write(writer: &ListWriter<'_>, items: &[Live], first: bool) -> Result<Vec<u8>, ApiError> {
    let size: usize = items.iter().map(|live| live.stored.body().len() + 64).sum();
    let mut out = Vec::with_capacity(size);
    writer.items(items, first, &mut out)?;
    Ok(out)
}

/// Where the pieces of a list begin and end.
fn cut(items: &[Live]) -> Vec<Range<usize>> {
    let mut pieces = Vec::new();
    let (mut start, mut size) = (0, 0);
    for (i, live) in items.iter().enumerate() {
        let length = live.stored.as_bytes().len();
        if size > 0 && size + length > MOST {
            pieces.push(start..i);
            (start, size) = (i, 0);
        }
        size += length;
        if size >= LEAST && ends_piece(live, length) {
            pieces.push(start..i + 1);
            (start, size) = (i + 1, 0);
        }
    }
    if start < items.len() {
        pieces.push(start..items.len());
    }
    pieces
}

/// Whether an object likes to be the last of its piece, the more so the larger it is: by its uid, which is random.
fn ends_piece(live: &Live, length: usize) -> bool {
    let random = live.stored.uid().as_u128() as u32;
    u64::from(random) * BEYOND < (length as u64) << 32
}

/// What tells the pieces of one form of one tenant's lists apart.
struct Names {
    tenant: TenantId,
    form: Sha256,
}

impl Names {
    fn new(tenant: TenantId, writer: &ListWriter<'_>, compressed: bool) -> Self {
        let form = Sha256::new_with_prefix(writer.form()).chain_update([0, u8::from(compressed)]);
        Self { tenant, form }
    }

    /// An object of a tenant has one state at a revision. The first piece of a list begins without a comma.
    fn key(&self, items: &[Live], first: bool) -> Key {
        let mut hash = self.form.clone();
        hash.update([u8::from(first)]);
        for live in items {
            hash.update(live.stored.uid().as_bytes());
            hash.update(live.revision.to_be_bytes());
        }
        Key { tenant: self.tenant, objects: hash.finalize().into() }
    }
}

#[cfg(test)]
mod tests;
