//! Watches: cursors over the change log, written to clients as they read.
//!
//! Nothing is queued for a watcher: it holds a place in shared history and takes the next change when its connection
//! can carry more. One that is slow falls behind and costs nothing, until its place is no longer held. Which changes are
//! its events is read off the envelopes; what an event looks like is written once for all watchers that want it so.

mod event;
mod frames;
mod source;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use apimachinery::status::ApiError;
use bytes::Bytes;
use futures::stream::FuturesUnordered;
use futures::{Stream, StreamExt};
use rand::Rng;

pub(crate) use event::EventKind;
pub(crate) use frames::Frames;

use crate::encode::WatchEncoder;
use crate::registry::{Call, ListQuery, Registry};
use source::Source;

/// How long a watch lives that names no `timeoutSeconds`: between this and twice this.
const DEFAULT_LIFE: Duration = Duration::from_secs(1800);

/// Begins a watch. The stream ends when its time is over, when `end` is done, or after an error event.
///
/// # Errors
/// 400 or 504 for a revision that can't be watched from; one that is too old becomes an error event in the stream.
pub(crate) async fn watch(
    registry: Arc<Registry>,
    frames: Arc<Frames>,
    call: Call,
    query: ListQuery,
    encoder: WatchEncoder,
    end: impl Future<Output = ()> + Send + 'static,
) -> Result<impl Stream<Item = Result<Bytes, Infallible>> + Send + 'static, ApiError> {
    let life = match query.timeout_seconds {
        Some(seconds) if seconds > 0 => Duration::from_secs(seconds),
        _ => DEFAULT_LIFE + DEFAULT_LIFE.mul_f64(rand::rng().random::<f64>()),
    };
    // Asked again only when it was woken, not with every event.
    let mut end = FuturesUnordered::from_iter([async move {
        tokio::select! {
            () = end => {}
            () = tokio::time::sleep(life) => {}
        }
    }]);
    let source = Box::new(Source::begin(registry, frames, call, query, encoder).await?);
    let frames = futures::stream::unfold(source, |mut source| async move {
        let frame = source.next().await?;
        Some((Ok(frame), source))
    });
    Ok(frames.take_until(Box::pin(async move { end.next().await })))
}
