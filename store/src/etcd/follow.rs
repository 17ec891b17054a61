//! What feeds the memory: all records at the oldest revision that etcd has, then one watch from there on.
//!
//! The watch is taken up again behind the last revision that was seen, on another member if this one fails. If etcd has
//! compacted that meanwhile, everything is read anew and all cursors end: none of them can be told what it missed.

use std::sync::Arc;

use apimachinery::tenant::TenantId;

use super::Core;
use super::client::{Client, Failure, PATIENCE, Pauses, Watch, header};
use super::keys::{Found, Keys};
use super::proto::{
    self, Event, RangeRequest, RangeResponse, WatchAsk, WatchCreateRequest, WatchProgressRequest, WatchRequest,
    WatchResponse,
};
use super::value::value_decode;
use crate::Revision;
use crate::memory::{State, Transaction};

/// Records in the first page that is read.
const PAGE: i64 = 512;
/// Records in a page, at most.
const LARGEST: i64 = 8192;
/// About how many bytes a page should have.
const PAGE_BYTES: usize = 8 << 20;

/// What was read.
pub(super) struct Loaded {
    /// At the oldest revision that etcd has.
    pub(super) state: State,
    /// The revision of etcd when reading began.
    pub(super) present: Revision,
    pub(super) cluster: u64,
}

pub(super) enum LoadError {
    Failed(Failure),
    /// A key that is not ours.
    Foreign(String),
}

impl From<Failure> for LoadError {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// Reads everything.
pub(super) async fn load(client: &Client, keys: &Keys) -> Result<Loaded, LoadError> {
    loop {
        let now = RangeRequest { key: keys.purged(), count_only: true, ..RangeRequest::default() };
        let header = header(client.range(now).await?.header)?;
        let oldest = oldest(client, keys).await?;
        match read(client, keys, oldest).await {
            Ok(state) => return Ok(Loaded { state, present: header.revision, cluster: header.cluster_id }),
            // Compacted while it was read.
            Err(LoadError::Failed(Failure::Compacted)) => {}
            Err(e) => return Err(e),
        }
    }
}

/// The oldest revision that can be read.
async fn oldest(client: &Client, keys: &Keys) -> Result<Revision, Failure> {
    let first = RangeRequest { key: keys.purged(), revision: 1, count_only: true, ..RangeRequest::default() };
    match client.range(first).await {
        Ok(_) => return Ok(1),
        Err(Failure::Compacted) => {}
        Err(e) => return Err(e),
    }
    // Only a watch that begins too early is told where it may begin.
    let mut pauses = Pauses::new();
    let start = tokio::time::Instant::now();
    loop {
        match ask_oldest(client, keys).await {
            Ok(revision) => return Ok(revision),
            Err(Failure::Away { .. }) if start.elapsed() < PATIENCE => pauses.wait().await,
            Err(e) => return Err(e),
        }
    }
}

async fn ask_oldest(client: &Client, keys: &Keys) -> Result<Revision, Failure> {
    let create = WatchCreateRequest { key: keys.purged(), start_revision: 1, ..WatchCreateRequest::default() };
    let mut watch = client.watch(WatchRequest { ask: Some(WatchAsk::Create(create)) }).await?;
    loop {
        let answer = watch.next().await?;
        if answer.compact_revision > 0 {
            return Ok(answer.compact_revision);
        }
        if answer.canceled {
            return Err(Failure::Away { reason: answer.cancel_reason, maybe: false });
        }
    }
}

/// Reads the state at a revision, page by page.
async fn read(client: &Client, keys: &Keys, revision: Revision) -> Result<State, LoadError> {
    let mut state = State::starting_at(revision);
    let (mut key, range_end) = keys.all();
    let mut limit = PAGE;
    loop {
        let page = RangeRequest { key: key.clone(), range_end: range_end.clone(), limit, revision, count_only: false };
        let RangeResponse { kvs, more, .. } = client.range(page).await?;
        let (mut bytes, records) = (0, kvs.len());
        for kv in kvs {
            bytes += kv.key.len() + kv.value.len();
            let foreign = || LoadError::Foreign(String::from_utf8_lossy(&kv.key).into_owned());
            match keys.parse(&kv.key).ok_or_else(foreign)? {
                Found::Record(found) => {
                    let value = value_decode(kv.value).ok_or_else(foreign)?;
                    state.load(&found.collection, &found.name, kv.mod_revision, value);
                }
                Found::Purged => {}
            }
            key = kv.key;
        }
        if !more || records == 0 {
            return Ok(state);
        }
        key.push(0);
        let fitting = i64::try_from(PAGE_BYTES * records / bytes.max(1)).unwrap_or(LARGEST);
        limit = fitting.clamp(16, LARGEST);
    }
}

/// Why following was interrupted.
enum Ended {
    Failed(Failure),
    /// Revisions went back, or this is another cluster.
    Lost(String),
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// Feeds the memory for as long as this is polled, or until etcd has lost what was acknowledged.
pub(super) async fn run(core: Arc<Core>) {
    let mut pauses = Pauses::new();
    loop {
        let ended = follow(&core, &mut pauses).await;
        let reason = match ended {
            Ended::Lost(reason) => {
                tracing::error!(reason, "etcd is not used any more");
                core.memory.fail(reason);
                core.memory.close();
                return;
            }
            Ended::Failed(Failure::Compacted) => match reload(&core).await {
                Ok(()) => continue,
                Err(LoadError::Failed(failure)) => failure.to_string(),
                Err(LoadError::Foreign(key)) => format!("etcd has a key that is not of this store: {key}"),
            },
            Ended::Failed(failure) => failure.to_string(),
        };
        if core.away.lock().replace(reason.clone()).is_none() {
            tracing::warn!(reason, "the watch on etcd was interrupted");
        }
        pauses.wait().await;
    }
}

/// Takes up the watch and goes along with it to its end.
async fn follow(core: &Core, pauses: &mut Pauses) -> Ended {
    let seen = core.memory.state.read().revision;
    match core.present().await {
        Ok((_, cluster)) if cluster != core.cluster => {
            return Ended::Lost(format!("etcd is another cluster: {cluster:x} instead of {:x}", core.cluster));
        }
        Ok((now, _)) if now < seen => {
            return Ended::Lost(format!(
                "etcd went back from revision {seen} to {now}: restored without --bump-revision; restart this process"
            ));
        }
        Ok(_) => {}
        Err(failure) => return Ended::Failed(failure),
    }
    let (key, range_end) = core.keys.all();
    let create = WatchCreateRequest { key, range_end, start_revision: seen + 1, progress_notify: true };
    let mut watch = match core.client.watch(WatchRequest { ask: Some(WatchAsk::Create(create)) }).await {
        Ok(watch) => watch,
        Err(failure) => return Ended::Failed(failure),
    };
    let failure = listen(core, &mut watch, pauses).await;
    if !matches!(failure, Failure::Compacted) {
        core.client.leave(watch).await;
    }
    Ended::Failed(failure)
}

async fn listen(core: &Core, watch: &mut Watch, pauses: &mut Pauses) -> Failure {
    loop {
        let answer = tokio::select! {
            answer = watch.next() => answer,
            () = core.progress.notified() => {
                // If this finds no room, there are requests on their way already.
                let _ = watch.asks.try_send(WatchRequest { ask: Some(WatchAsk::Progress(WatchProgressRequest {})) });
                continue;
            }
        };
        match answer {
            Ok(answer) if answer.compact_revision > 0 => return Failure::Compacted,
            Ok(answer) if answer.canceled => {
                return Failure::Away {
                    reason: format!("etcd ended the watch: {}", answer.cancel_reason),
                    maybe: false,
                };
            }
            Ok(answer) if answer.created => {
                if core.away.lock().take().is_some() {
                    tracing::info!("the watch on etcd was taken up again");
                }
                *pauses = Pauses::new();
            }
            Ok(answer) => {
                if !take(core, answer) {
                    return Failure::Compacted;
                }
            }
            Err(failure) => return failure,
        }
    }
}

/// Brings the memory to where an answer of the watch leads. False if it tells what lies before a revision of which it
/// said that all was told (a fault of etcd before 3.5.8): then all has to be read anew.
fn take(core: &Core, answer: WatchResponse) -> bool {
    let progress = answer.header.map_or(0, |header| header.revision);
    let only_progress = answer.events.is_empty();
    let (transactions, foreign) = transactions(&core.keys, answer.events);
    if let Some(key) = foreign {
        tracing::error!(key, "another program writes to etcd below the prefix of this store");
        core.foreign.lock().get_or_insert(key);
    }
    let _in_place = core.memory.in_place.read();
    for tenant in transactions.iter().flat_map(|(_, transaction)| transaction.written()) {
        if let Err(error) = core.memory.bring_back(tenant) {
            tracing::error!(%tenant, %error, "a tenant at rest is lost from memory; everything is read anew");
            return false;
        }
    }
    let (sizes, revision) = {
        let mut state = core.memory.state.write();
        state.now = core.memory.now();
        if transactions.first().is_some_and(|(first, _)| *first <= state.revision) {
            return false;
        }
        for (revision, transaction) in &transactions {
            state.apply(*revision, transaction);
        }
        // Progress is told when all before it has been told. The revision beside changes may be ahead of them.
        if only_progress && progress > state.revision {
            state.revision = progress;
        }
        (state.sizes, state.revision)
    };
    if !only_progress {
        core.memory.report(sizes);
        core.memory.topics.wake(transactions.iter().map(|(_, transaction)| transaction));
    }
    core.reached.send_replace(revision);
    true
}

/// The changes of an answer as transactions, and a key that is not ours if there is one. An answer has whole
/// transactions.
fn transactions(keys: &Keys, events: Vec<Event>) -> (Vec<(Revision, Transaction)>, Option<String>) {
    let mut foreign = None;
    let mut all: Vec<(Revision, Transaction)> = Vec::new();
    for event in events {
        let Some(kv) = event.kv else { continue };
        let revision = kv.mod_revision;
        if all.last().is_none_or(|(last, _)| *last != revision) {
            all.push((revision, Transaction::Writes(Vec::new())));
        }
        let Some((_, transaction)) = all.last_mut() else { continue };
        let deleted = event.kind == proto::DELETE;
        match keys.parse(&kv.key) {
            Some(Found::Purged) => {
                if let (false, Ok(id)) = (deleted, <[u8; TenantId::WIDTH]>::try_from(kv.value)) {
                    *transaction = Transaction::Purge(TenantId::from_bytes(id));
                }
            }
            Some(Found::Record(key)) => match (transaction, deleted, value_decode(kv.value)) {
                // A deletion that is part of it.
                (Transaction::Purge(_), ..) => {}
                (Transaction::Writes(writes), true, _) => writes.push((key, None)),
                (Transaction::Writes(writes), false, Some(value)) => writes.push((key, Some(value))),
                (Transaction::Writes(_), false, None) => foreign = Some(String::from_utf8_lossy(&kv.key).into_owned()),
            },
            None => foreign = Some(String::from_utf8_lossy(&kv.key).into_owned()),
        }
    }
    (all, foreign)
}

/// Puts what etcd has now in place of what it had when the watch was interrupted.
async fn reload(core: &Core) -> Result<(), LoadError> {
    let loaded = load(&core.client, &core.keys).await?;
    let _one = core.memory.maintenance.lock().await;
    let (sizes, revision) = {
        let mut state = core.memory.state.write();
        let (sizes, oldest) = (loaded.state.sizes, loaded.state.oldest);
        *state = loaded.state;
        core.memory.topics.lose(oldest);
        (sizes, oldest)
    };
    tracing::warn!(revision, "the watch on etcd could not be taken up where it ended; everything was read anew");
    core.memory.report(sizes);
    core.reached.send_replace(revision);
    Ok(())
}
