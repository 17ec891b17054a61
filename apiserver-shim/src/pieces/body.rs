//! The body of an answer that is sent in pieces.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use flate2::CompressError;
use http_body::{Frame, SizeHint};

use super::cache::{Cache, Key};
use super::gzip::{Compressor, Member, Piece};

/// How much is sent at once: with the head of its HTTP/2 frame it fills a TLS record.
pub(super) const CHUNK: usize = 16 * 1024 - 9;
/// How much room is made at once.
const ROOM: usize = 64 * 1024;

/// A piece as it is found or made.
#[derive(Debug)]
pub(super) enum Part {
    /// As it is sent.
    Ready(Piece),
    /// As it was written; what is kept under this key once it is compressed.
    Plain(Vec<u8>, Option<Key>),
}

impl Part {
    /// How many bytes it has before compression.
    pub(super) fn length(&self) -> usize {
        match self {
            Self::Ready(piece) => piece.length,
            Self::Plain(plain, _) => plain.len(),
        }
    }
}

/// A body of pieces. What is not compressed yet is when the client can take it: one piece, then others have their turn.
/// Pieces are joined and cut anew for sending.
#[derive(Debug)]
pub(crate) struct Pieced {
    /// What is to be sent next.
    ahead: BytesMut,
    head: Option<Vec<u8>>,
    parts: std::vec::IntoIter<Part>,
    tail: Option<&'static [u8]>,
    /// How many bytes are to come, if they are not compressed.
    left: usize,
    gzip: Option<Gzip>,
}

#[derive(Debug)]
struct Gzip {
    cache: Arc<Cache>,
    member: Member,
    compressor: Option<Compressor>,
    /// Whether others are to have their turn.
    pause: bool,
}

impl Pieced {
    /// All parts are [`Part::Plain`] unless there is a cache, with which this becomes gzip.
    pub(super) fn new(head: Vec<u8>, parts: Vec<Part>, tail: &'static [u8], gzip: Option<Arc<Cache>>) -> Self {
        let left = head.len() + parts.iter().map(Part::length).sum::<usize>() + tail.len();
        let gzip = gzip.map(|cache| Gzip { cache, member: Member::default(), compressor: None, pause: false });
        Self { ahead: BytesMut::new(), head: Some(head), parts: parts.into_iter(), tail: Some(tail), left, gzip }
    }

    /// Whether this is gzip.
    pub(crate) fn is_compressed(&self) -> bool {
        self.gzip.is_some()
    }

    fn next(&mut self) -> Result<Option<Bytes>, CompressError> {
        let Some(gzip) = &mut self.gzip else {
            let next = self.head.take().map(Bytes::from);
            let next = next.or_else(|| match self.parts.next()? {
                Part::Plain(plain, _) => Some(plain.into()),
                Part::Ready(piece) => Some(piece.bytes),
            });
            return Ok(next.or_else(|| self.tail.take().map(Bytes::from_static)));
        };
        if let Some(head) = self.head.take() {
            return Ok(Some(gzip.member.begin(&head).into()));
        }
        match self.parts.next() {
            Some(part) => gzip.part(part).map(Some),
            None => Ok(self.tail.take().map(|tail| std::mem::take(&mut gzip.member).end(tail).into())),
        }
    }
}

impl Gzip {
    fn part(&mut self, part: Part) -> Result<Bytes, CompressError> {
        let piece = match part {
            Part::Ready(piece) => piece,
            Part::Plain(plain, key) => {
                let piece = self.compressor.get_or_insert_default().piece(&plain)?;
                if let Some(key) = key {
                    self.cache.put(key, &piece);
                }
                self.pause = true;
                piece
            }
        };
        self.member.add(&piece);
        Ok(piece.bytes)
    }
}

impl http_body::Body for Pieced {
    type Data = Bytes;
    type Error = CompressError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CompressError>>> {
        while self.ahead.len() < CHUNK {
            if self.gzip.as_mut().is_some_and(|gzip| std::mem::take(&mut gzip.pause)) {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            let Some(next) = self.next()? else { break };
            if self.ahead.capacity() - self.ahead.len() < next.len() {
                self.ahead.reserve(next.len().max(ROOM));
            }
            self.ahead.extend_from_slice(&next);
        }
        if self.ahead.is_empty() {
            return Poll::Ready(None);
        }
        let length = self.ahead.len().min(CHUNK);
        let chunk = self.ahead.split_to(length).freeze();
        self.left = self.left.saturating_sub(length);
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.tail.is_none() && self.ahead.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        if self.gzip.is_some() { SizeHint::default() } else { SizeHint::with_exact(self.left as u64) }
    }
}
