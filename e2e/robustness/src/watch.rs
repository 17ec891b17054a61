//! Watchers: they follow, and are taken up again on whichever server when the watch ends.

use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use http::{Request, StatusCode};
use kube::client::Body;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;
use tokio::io::AsyncBufReadExt;
use tokio::time::{sleep, timeout};
use tokio_util::io::StreamReader;

use crate::history::{Answer, Call, Entry, How, Kind, Objects, Revision, Time, Told, Watched};
use crate::play::{NEVER, PATH, PATIENCE, RARE, Run, SELECTOR, name, revision, value};

/// A place that is younger may not be refused as too old: servers keep history for 30 s.
const HELD: Time = 20_000_000;
/// How often a watcher looks whether it is to end.
const LOOK: Duration = Duration::from_millis(500);

/// How a watcher begins, and goes on after its watch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Where it was.
    Resumed,
    /// At an event or bookmark of before.
    Earlier,
    /// Where it was, and sees one object that is seldom written: bookmarks bring it forwards.
    Rare,
    /// Where it was, and sees one object that is never written: there are but bookmarks.
    Never,
    /// With the state, told as events.
    State,
    /// With a list, as informers do.
    List,
}

/// What one watcher was told.
#[derive(Default)]
pub struct Followed {
    /// Each watch.
    pub watches: Vec<Watched>,
    /// What it began with, where that was the state.
    pub entries: Vec<Entry>,
    /// How often it came back too late.
    pub expired: usize,
}

/// Why a watch ended.
enum End {
    Over,
    Expired,
}

struct Watcher {
    run: Arc<Run>,
    number: usize,
    manner: Manner,
    random: StdRng,
    /// Where it was when.
    seen: Vec<(Time, Revision)>,
    followed: Followed,
}

/// Follows from a revision until the run ends.
///
/// # Errors
/// What was told that no watch may tell.
pub async fn follow(
    run: Arc<Run>,
    number: usize,
    manner: Manner,
    from: Revision,
    seed: u64,
) -> Result<Followed, String> {
    let (random, seen) = (StdRng::seed_from_u64(seed), vec![(run.now(), from)]);
    let mut watcher = Watcher { run, number, manner, random, seen, followed: Followed::default() };
    for round in 0.. {
        if watcher.at_end() {
            break;
        }
        watcher.watch(round).await?;
        sleep(Duration::from_millis(30)).await;
    }
    Ok(watcher.followed)
}

impl Watcher {
    fn at_end(&self) -> bool {
        let until = self.run.until();
        // It would have to wait for a bookmark.
        let never = self.manner == Manner::Never && until != Revision::MAX;
        never || self.seen.last().is_some_and(|(_, revision)| *revision >= until)
    }

    /// One watch.
    async fn watch(&mut self, round: usize) -> Result<(), String> {
        let server = self.number + round;
        let client = self.run.client(server).map_err(|e| e.to_string())?;
        let begun = self.run.now();
        let key = match self.manner {
            Manner::Rare => Some(RARE),
            Manner::Never => Some(NEVER),
            _ => None,
        };
        let mut watched = Watched { key: key.map(str::to_owned), begun, ..Watched::default() };
        let mut path = format!("{PATH}?{SELECTOR}&watch=1&allowWatchBookmarks=true");
        let mut place = begun;
        match self.manner {
            Manner::State => path += "&sendInitialEvents=true&resourceVersionMatch=NotOlderThan",
            Manner::List => {
                let listed = self.run.ask(self.number, &client, Call::List(How::Whole)).await;
                let Answer::Listed { revision, .. } = listed.answer else { return Ok(()) };
                // There may be nothing left to tell it.
                self.seen.push((listed.ended, revision));
                self.followed.entries.push(listed);
                watched.from = revision;
            }
            _ => (place, watched.from) = self.resume(),
        }
        if self.manner != Manner::State {
            path += &format!("&resourceVersion={}", watched.from);
        }
        if let Some(key) = &watched.key {
            path += &format!("&fieldSelector=metadata.name%3D{key}");
        }
        if !matches!(self.manner, Manner::Resumed | Manner::Rare | Manner::Never) {
            path += &format!("&timeoutSeconds={}", self.random.random_range(1..5));
        }
        let Ok(request) = Request::get(path).body(Body::empty()) else { return Ok(()) };
        let Ok(Ok(response)) = timeout(PATIENCE, client.send(request)).await else { return Ok(()) };
        let end = match response.status() {
            StatusCode::OK => self.listen(response.into_body(), begun, &mut watched).await?,
            StatusCode::GONE => End::Expired,
            _ => End::Over,
        };
        watched.ended = self.run.now();
        let at = watched.told.last().map_or(watched.from, |(_, told)| told.revision());
        self.followed.watches.push(watched);
        if matches!(end, End::Expired) {
            self.followed.expired += 1;
            let age = self.run.now() - place;
            if self.number == 0 || age < HELD && at >= self.run.given_up() {
                return Err(format!("the watch at {at} was refused as too old, {age} us after it was there"));
            }
            if let Ok(Ok(revision)) = timeout(PATIENCE, self.run.revision()).await {
                self.seen = vec![(self.run.now(), revision)];
            }
        }
        Ok(())
    }

    /// When it was where it goes on.
    fn resume(&mut self) -> (Time, Revision) {
        let last = self.seen.len() - 1;
        match self.manner {
            Manner::Earlier => self.seen[last - self.random.random_range(0..=last.min(500))],
            _ => self.seen[last],
        }
    }

    /// Reads events to the end of the watch.
    async fn listen(&mut self, body: Body, begun: Time, watched: &mut Watched) -> Result<End, String> {
        let bytes = http_body_util::BodyExt::into_data_stream(body).map_err(std::io::Error::other);
        let mut lines = StreamReader::new(Box::pin(bytes)).lines();
        let mut state = (self.manner == Manner::State).then(Objects::new);
        let mut broken: Option<String> = None;
        while !self.at_end() {
            let line = match timeout(LOOK, lines.next_line()).await {
                Err(_) => continue,
                Ok(Ok(Some(line))) => line,
                Ok(_) => return Ok(End::Over),
            };
            // What is cut off is the last of a watch.
            if let Some(broken) = broken {
                return Err(format!("the watch from {} goes on behind what is no event: {broken}", watched.from));
            }
            let event: Value = serde_json::from_str(&line).unwrap_or_default();
            if event["type"] == "ERROR" {
                return Ok(if event["object"]["code"] == 410 { End::Expired } else { End::Over });
            }
            let Some(told) = read(&event) else {
                broken = Some(line);
                continue;
            };
            let now = self.run.now();
            let Some(objects) = &mut state else {
                // What is told again, to one that began earlier, was seen before.
                if self.seen.last().is_none_or(|(_, last)| told.revision() > *last) {
                    self.seen.push((now, told.revision()));
                    if self.number == 0 {
                        self.run.followed(told.revision());
                    }
                }
                watched.told.push((now, told));
                continue;
            };
            match told {
                Told::Change { kind: Kind::Deleted, key, .. } => drop(objects.remove(&key)),
                Told::Change { key, value, revision, .. } => drop(objects.insert(key, (value, revision))),
                Told::Bookmark(revision) => {
                    let end = &event["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"];
                    if end != "true" {
                        return Err(format!("a bookmark at {revision} before the state was told"));
                    }
                    let answer = Answer::Listed { revision, objects: std::mem::take(objects) };
                    let (client, call) = (self.number, Call::List(How::Watch));
                    self.followed.entries.push(Entry { client, call, begun, ended: now, answer });
                    self.seen.push((now, revision));
                    watched.from = revision;
                    state = None;
                }
            }
        }
        Ok(End::Over)
    }
}

fn read(event: &Value) -> Option<Told> {
    let object = &event["object"];
    let revision = revision(object)?;
    let kind = match event["type"].as_str()? {
        "ADDED" => Kind::Added,
        "MODIFIED" => Kind::Modified,
        "DELETED" => Kind::Deleted,
        "BOOKMARK" => return Some(Told::Bookmark(revision)),
        _ => return None,
    };
    Some(Told::Change { kind, key: name(object)?, value: value(object)?, revision })
}
