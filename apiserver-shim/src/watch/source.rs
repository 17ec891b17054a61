//! Where a watcher's events come from: the state it begins with, then the change log.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use apimachinery::envelope::{Selectable, Stored};
use apimachinery::gvk::GroupVersionKind;
use apimachinery::rules::Rules;
use apimachinery::status::ApiError;
use bytes::{Bytes, BytesMut};
use smol_str::SmolStr;
use store::{Change, Cursor, RangeQuery, Record, Revision, Scope, StoreError};
use tokio::time::{Instant, Sleep};

use super::{EventKind, Frames};
use crate::encode::{Form, WatchEncoder};
use crate::registry::{Call, ListQuery, Live, Registry, parse_revision_at, place, rules_of, store_error};

/// How many objects of the initial state are read at once.
const INITIAL_PAGE: usize = 256;
/// How often a watcher that asked for bookmarks gets one, at most.
const BOOKMARK_EVERY: Duration = Duration::from_secs(10);
/// How much is written at once when many events wait.
const FRAME: usize = 64 * 1024;
/// A watcher for which at least so many changes wait is behind: it is not waited for more, and others get their turn.
const BEHIND: usize = 256;

pub(super) struct Source {
    registry: Arc<Registry>,
    frames: Arc<Frames>,
    call: Call,
    query: ListQuery,
    encoder: WatchEncoder,
    /// Set if other watchers get the same bytes.
    form: Option<Form>,
    kind: Arc<GroupVersionKind>,
    rules: &'static dyn Rules,
    prefix: SmolStr,
    /// The state to begin with, until it is told.
    initial: Option<Initial>,
    /// `None` once the watch is over.
    cursor: Option<Box<dyn Cursor>>,
    /// Changes that are events of this watcher.
    waiting: VecDeque<(EventKind, Arc<Change>)>,
    /// Whether the cursor may have changes without waiting.
    behind: bool,
    /// The revision the client knows.
    told: Revision,
    from: Revision,
    /// When the next bookmark is due, if the client wants some.
    bookmark: Option<Pin<Box<Sleep>>>,
    /// Why the watch is over before it began.
    failure: Option<ApiError>,
}

/// What is written to the client at once: one event as it is shared, or several.
#[derive(Default)]
struct Output {
    one: Bytes,
    many: BytesMut,
}

impl Output {
    fn push(&mut self, frame: Bytes) {
        if self.is_empty() {
            self.one = frame;
            return;
        }
        self.many.extend_from_slice(&std::mem::take(&mut self.one));
        self.many.extend_from_slice(&frame);
    }

    fn len(&self) -> usize {
        self.one.len() + self.many.len()
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn into_bytes(self) -> Bytes {
        if self.one.is_empty() { self.many.freeze() } else { self.one }
    }
}

struct Initial {
    at: Revision,
    start: SmolStr,
    bookmark: bool,
}

impl Source {
    pub(super) async fn begin(
        registry: Arc<Registry>,
        frames: Arc<Frames>,
        call: Call,
        query: ListQuery,
        encoder: WatchEncoder,
    ) -> Result<Self, ApiError> {
        query.check_fields(&call)?;
        let wanted = match query.resource_version.as_str() {
            "" => 0,
            text => parse_revision_at(text)?,
        };
        let from_state = query.send_initial_events.unwrap_or(wanted == 0);
        if from_state && wanted > 0 {
            registry.reach(wanted).await?;
        }
        let store = Arc::clone(registry.store());
        let collection = place::collection(call.tenant, &call.resource.group_resource());
        if from_state && query.resource_version.is_empty() {
            // The most recent state is wanted: a read that asks for that brings here what other processes were acknowledged.
            store.count(&collection).await.map_err(store_error)?;
        }
        let present = store.revision();
        let from = if from_state || wanted == 0 { present } else { wanted };
        let prefix = if call.namespace.is_empty() { SmolStr::default() } else { format!("{}/", call.namespace).into() };
        let mut source = Self {
            kind: Arc::new(place::storage_kind(&call.resource)),
            rules: rules_of(&call.resource),
            prefix,
            initial: from_state.then(|| Initial { at: present, start: SmolStr::default(), bookmark: query.bookmarks }),
            cursor: None,
            waiting: VecDeque::new(),
            behind: true,
            told: from,
            from,
            bookmark: query.bookmarks.then(|| Box::pin(tokio::time::sleep(BOOKMARK_EVERY))),
            failure: None,
            form: encoder.form(),
            registry,
            frames,
            call,
            query,
            encoder,
        };
        match store.follow(Scope::Collection(collection), from.min(present)) {
            Ok(cursor) => source.cursor = Some(cursor),
            Err(e @ StoreError::Compacted { .. }) => source.failure = Some(too_old(&e)),
            Err(e) => return Err(store_error(e)),
        }
        Ok(source)
    }

    /// The next bytes for the client; `None` ends the watch.
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        let mut out = Output::default();
        loop {
            if let Err(error) = self.fill(&mut out).await {
                out.push(self.encoder.error(&error).into());
                self.cursor = None;
                self.initial = None;
                self.waiting.clear();
                return Some(out.into_bytes());
            }
            if !out.is_empty() {
                return Some(out.into_bytes());
            }
            self.cursor.as_ref()?;
        }
    }

    async fn fill(&mut self, out: &mut Output) -> Result<(), ApiError> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        if let Some(initial) = self.initial.take() {
            self.initial = self.tell_state(initial, out).await?;
            return Ok(());
        }
        loop {
            while let Some((kind, change)) = self.waiting.pop_front() {
                self.tell_change(kind, &change, out)?;
                if out.len() >= FRAME {
                    return Ok(());
                }
            }
            if !self.behind {
                break;
            }
            self.look()?;
            if self.waiting.is_empty() && out.is_empty() {
                // There may be many changes that are nothing to this watcher: others have their turn meanwhile.
                tokio::task::yield_now().await;
            }
        }
        if out.is_empty() { self.wait(out).await } else { Ok(()) }
    }

    /// Takes from the log what is there and is an event of this watcher.
    fn look(&mut self) -> Result<(), ApiError> {
        let Self { cursor, query, rules, prefix, from, waiting, .. } = self;
        let Some(cursor) = cursor else {
            self.behind = false;
            return Ok(());
        };
        let mut kinds = Vec::new();
        let picked = cursor.poll_picked(&mut |change| {
            let kind = event_kind(query, *rules, prefix, *from, change);
            kinds.extend(kind);
            kind.is_some()
        });
        match picked.map_err(|e| too_old(&e))? {
            Some(changes) => waiting.extend(kinds.into_iter().zip(changes)),
            None => self.behind = false,
        }
        Ok(())
    }

    /// Waits for changes, or until a bookmark is due.
    async fn wait(&mut self, out: &mut Output) -> Result<(), ApiError> {
        let Self { cursor, bookmark, query, rules, prefix, from, waiting, .. } = self;
        let Some(cursor) = cursor else { return Ok(()) };
        let due = async {
            match bookmark {
                Some(bookmark) => bookmark.as_mut().await,
                None => std::future::pending().await,
            }
        };
        let changes = tokio::select! {
            biased;
            () = due => None,
            changes = cursor.next() => Some(changes.map_err(|e| too_old(&e))?),
        };
        let Some(changes) = changes else {
            let seen = cursor.revision();
            if let Some(bookmark) = bookmark {
                bookmark.as_mut().reset(Instant::now() + BOOKMARK_EVERY);
            }
            if seen > self.told {
                self.told = seen;
                self.tell_bookmark(seen, false, out);
            }
            return Ok(());
        };
        self.behind = changes.len() >= BEHIND;
        waiting.extend(changes.into_iter().filter_map(|c| Some((event_kind(query, *rules, prefix, *from, &c)?, c))));
        Ok(())
    }

    /// Tells a page of the state that the watch begins with.
    async fn tell_state(&mut self, initial: Initial, out: &mut Output) -> Result<Option<Initial>, ApiError> {
        let collection = place::collection(self.call.tenant, &self.call.resource.group_resource());
        let query = RangeQuery {
            prefix: self.prefix.clone(),
            start: initial.start.clone(),
            at: Some(initial.at),
            limit: INITIAL_PAGE,
        };
        let range = self.registry.store().range(&collection, query).await.map_err(|e| too_old(&e))?;
        let last = range.records.last().map(|r| r.name.clone());
        for record in range.records {
            let Record { name, value, revision } = record;
            if selected(&self.query, self.rules, &self.prefix, &name, &value) {
                out.push(write(&mut self.encoder, &self.kind, EventKind::Added, &value, revision)?);
            }
        }
        match last {
            Some(last) if range.remaining > 0 => Ok(Some(Initial { start: format!("{last}\0").into(), ..initial })),
            _ => {
                if initial.bookmark {
                    self.tell_bookmark(initial.at, true, out);
                }
                self.told = initial.at;
                Ok(None)
            }
        }
    }

    /// A bookmark is only a hint: one that can't be written is left out.
    fn tell_bookmark(&mut self, revision: Revision, initial: bool, out: &mut Output) {
        if let Ok(bookmark) = self.encoder.bookmark(revision, initial) {
            out.push(bookmark.into());
        }
    }

    fn tell_change(&mut self, kind: EventKind, change: &Change, out: &mut Output) -> Result<(), ApiError> {
        // What went away is told as it was, at the revision at which it went.
        let value = match (kind, &change.previous) {
            (EventKind::Deleted, Some((previous, _))) => Some(previous),
            _ => change.value.as_ref(),
        };
        if let Some(value) = value {
            out.push(self.event(kind, value, change.revision)?);
        }
        self.told = change.revision;
        Ok(())
    }

    /// An event as it is shared with other watchers.
    fn event(&mut self, kind: EventKind, value: &Bytes, revision: Revision) -> Result<Bytes, ApiError> {
        let Self { encoder, form, frames, call, kind: stored_as, .. } = self;
        let mut write = || write(encoder, stored_as, kind, value, revision);
        match form {
            Some(form) => frames.get((call.tenant, revision, kind), form, write),
            None => write(),
        }
    }
}

fn write(
    encoder: &mut WatchEncoder,
    stored_as: &Arc<GroupVersionKind>,
    kind: EventKind,
    value: &Bytes,
    revision: Revision,
) -> Result<Bytes, ApiError> {
    let stored = Stored::from_bytes(value.clone()).map_err(ApiError::internal)?;
    let live = Live { kind: Arc::clone(stored_as), stored, revision };
    encoder.object(kind, &live).map(Bytes::from)
}

/// What a change is to a watcher.
fn event_kind(
    query: &ListQuery,
    rules: &dyn Rules,
    prefix: &str,
    from: Revision,
    change: &Change,
) -> Option<EventKind> {
    if change.revision <= from {
        return None;
    }
    let selected = |value: &Bytes| selected(query, rules, prefix, &change.key.name, value);
    let before = change.previous.as_ref().is_some_and(|(value, _)| selected(value));
    let after = change.value.as_ref().is_some_and(selected);
    EventKind::of(before, after)
}

/// Whether a watcher asks for an object. What can't be read is selected: writing it tells what is wrong.
fn selected(query: &ListQuery, rules: &dyn Rules, prefix: &str, name: &str, value: &[u8]) -> bool {
    name.starts_with(prefix)
        && (query.selects_all() || Selectable::of(value).map_or(true, |object| query.selects(rules, name, object)))
}

fn too_old(error: &StoreError) -> ApiError {
    match error {
        StoreError::Compacted { requested, oldest } => {
            ApiError::expired(format!("too old resource version: {requested} ({oldest})"))
        }
        StoreError::Unavailable { reason, .. } => ApiError::unavailable(format!("storage is unavailable: {reason}")),
        other => ApiError::internal(other),
    }
}
