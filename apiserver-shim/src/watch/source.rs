//! Where a watcher's events come from: the state it begins with, then the change log.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use apimachinery::envelope::Stored;
use apimachinery::gvk::GroupVersionKind;
use apimachinery::rules::Rules;
use apimachinery::status::ApiError;
use bytes::{Bytes, BytesMut};
use smol_str::SmolStr;
use store::{Change, Cursor, RangeQuery, Record, Revision, Scope, StoreError};

use super::EventKind;
use crate::encode::WatchEncoder;
use crate::registry::{Call, ListQuery, Live, Registry, parse_revision_at, place, rules_of, store_error};

/// How many objects of the initial state are read at once.
const INITIAL_PAGE: usize = 256;
/// How often a watcher that asked for bookmarks gets one, at most.
const BOOKMARK_EVERY: Duration = Duration::from_secs(10);
/// How much is written at once when many events wait.
const FRAME: usize = 64 * 1024;

pub(super) struct Source {
    registry: Arc<Registry>,
    call: Call,
    query: ListQuery,
    encoder: WatchEncoder,
    kind: Arc<GroupVersionKind>,
    rules: &'static dyn Rules,
    prefix: SmolStr,
    /// The state to begin with, until it is told.
    initial: Option<Initial>,
    /// `None` once the watch is over.
    cursor: Option<Box<dyn Cursor>>,
    waiting: VecDeque<Arc<Change>>,
    /// The revision the client knows.
    told: Revision,
    from: Revision,
    next_bookmark: tokio::time::Instant,
    /// Why the watch is over before it began.
    failure: Option<ApiError>,
}

struct Initial {
    at: Revision,
    start: SmolStr,
    bookmark: bool,
}

impl Source {
    pub(super) async fn begin(
        registry: Arc<Registry>,
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
            told: from,
            from,
            next_bookmark: tokio::time::Instant::now() + BOOKMARK_EVERY,
            failure: None,
            registry,
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
        let mut out = BytesMut::new();
        loop {
            if let Err(error) = self.fill(&mut out).await {
                self.encoder.error(&error, &mut out);
                self.cursor = None;
                self.initial = None;
                self.waiting.clear();
                return Some(out.freeze());
            }
            if !out.is_empty() {
                return Some(out.freeze());
            }
            self.cursor.as_ref()?;
        }
    }

    async fn fill(&mut self, out: &mut BytesMut) -> Result<(), ApiError> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        if let Some(initial) = self.initial.take() {
            self.initial = self.tell_state(initial, out).await?;
            return Ok(());
        }
        while let Some(change) = self.waiting.pop_front() {
            self.tell_change(&change, out)?;
            if out.len() >= FRAME {
                return Ok(());
            }
        }
        let Some(cursor) = &mut self.cursor else { return Ok(()) };
        let ready = cursor.poll_now().map_err(|e| too_old(&e))?;
        if !ready.is_empty() {
            self.waiting.extend(ready);
            return Ok(());
        }
        if !out.is_empty() {
            return Ok(());
        }
        if !self.query.bookmarks {
            let changes = cursor.next().await.map_err(|e| too_old(&e))?;
            self.waiting.extend(changes);
            return Ok(());
        }
        tokio::select! {
            changes = cursor.next() => self.waiting.extend(changes.map_err(|e| too_old(&e))?),
            () = tokio::time::sleep_until(self.next_bookmark) => {
                let seen = cursor.revision();
                self.next_bookmark = tokio::time::Instant::now() + BOOKMARK_EVERY;
                if seen > self.told {
                    self.told = seen;
                    self.encoder.bookmark(seen, false, out);
                }
            }
        }
        Ok(())
    }

    /// Tells a page of the state that the watch begins with.
    async fn tell_state(&mut self, initial: Initial, out: &mut BytesMut) -> Result<Option<Initial>, ApiError> {
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
            if let Some(live) = self.selected(&name, Some((&value, revision)))? {
                self.encoder.object(EventKind::Added, &live, revision, out)?;
            }
        }
        match last {
            Some(last) if range.remaining > 0 => Ok(Some(Initial { start: format!("{last}\0").into(), ..initial })),
            _ => {
                if initial.bookmark {
                    self.encoder.bookmark(initial.at, true, out);
                }
                self.told = initial.at;
                Ok(None)
            }
        }
    }

    fn tell_change(&mut self, change: &Change, out: &mut BytesMut) -> Result<(), ApiError> {
        if change.revision <= self.from {
            return Ok(());
        }
        let name = change.key.name.as_str();
        let before = self.selected(name, change.previous.as_ref().map(|(value, revision)| (value, *revision)))?;
        let after = self.selected(name, change.value.as_ref().map(|value| (value, change.revision)))?;
        let Some(kind) = EventKind::of(before.is_some(), after.is_some()) else { return Ok(()) };
        // What went away is told as it was, at the revision at which it went.
        if let Some(live) = after.or(before) {
            self.encoder.object(kind, &live, change.revision, out)?;
        }
        self.told = change.revision;
        Ok(())
    }

    /// The object, if the watcher asks for it.
    fn selected(&self, name: &str, value: Option<(&Bytes, Revision)>) -> Result<Option<Live>, ApiError> {
        let Some((value, revision)) = value.filter(|_| name.starts_with(self.prefix.as_str())) else { return Ok(None) };
        let stored = Stored::from_bytes(value.clone()).map_err(ApiError::internal)?;
        let live = Live { kind: Arc::clone(&self.kind), stored, revision };
        Ok(self.query.selects(self.rules, name, &live).then_some(live))
    }
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
