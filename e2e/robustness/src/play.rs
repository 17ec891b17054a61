//! Clients: they ask, and write down what they are told.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::{Method, Request};
use http_body_util::BodyExt;
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::history::{Answer, Call, Entry, How, Objects, Revision, Time};

/// How long a client waits for an answer. A server that is stopped answers later, or not at all.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
/// Where the objects are.
pub(crate) const PATH: &str = "/api/v1/namespaces/default/configmaps";
/// Marks the objects of a run.
pub(crate) const SELECTOR: &str = "labelSelector=run%3Drobustness";
/// A name that is seldom written.
pub const RARE: &str = "rare";
/// A name that is never written.
pub(crate) const NEVER: &str = "never";
/// Names that are written all the time.
const NAMES: usize = 8;
/// How seldom the rare one is chosen.
const SELDOM: usize = 1000;
const PAGE: usize = 3;

/// What all clients of a run share.
pub struct Run {
    configs: Vec<Config>,
    begun: Instant,
    values: AtomicU64,
    stop: AtomicBool,
    until: AtomicU64,
    /// Clients take their time.
    slow: AtomicBool,
    /// Where the first watcher is.
    followed: AtomicU64,
    /// Up to where history was given up before its time.
    given_up: AtomicU64,
}

impl Run {
    /// A run against the servers of these kubeconfigs.
    ///
    /// # Errors
    /// If one is none.
    pub async fn new(kubeconfigs: &[PathBuf]) -> Result<Arc<Self>, Box<dyn std::error::Error>> {
        let mut configs = Vec::new();
        for path in kubeconfigs {
            let kubeconfig = Kubeconfig::read_from(path)?;
            let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
            // A request that is sent again would be two of the history.
            config.default_retry = false;
            config.read_timeout = None;
            configs.push(config);
        }
        Ok(Arc::new(Self {
            configs,
            begun: Instant::now(),
            values: AtomicU64::new(1),
            stop: AtomicBool::default(),
            until: AtomicU64::new(Revision::MAX),
            slow: AtomicBool::default(),
            followed: AtomicU64::default(),
            given_up: AtomicU64::default(),
        }))
    }

    /// Clients ask no more.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Watchers end when they are here.
    pub fn end_at(&self, revision: Revision) {
        self.until.store(revision, Ordering::Relaxed);
    }

    /// Whether clients take their time: then there are moments in which all is told and nobody asks for anything.
    pub fn slow(&self, slow: bool) {
        self.slow.store(slow, Ordering::Relaxed);
    }

    /// Up to where the first watcher has followed. History up to there may be given up from now on: others who come back
    /// to a place before it may be refused.
    pub fn give_up(&self) -> Revision {
        let place = self.followed.load(Ordering::Relaxed);
        self.given_up.fetch_max(place, Ordering::Relaxed);
        place
    }

    pub(crate) fn given_up(&self) -> Revision {
        self.given_up.load(Ordering::Relaxed)
    }

    pub(crate) fn followed(&self, place: Revision) {
        self.followed.store(place, Ordering::Relaxed);
    }

    pub(crate) fn until(&self) -> Revision {
        self.until.load(Ordering::Relaxed)
    }

    pub(crate) fn now(&self) -> Time {
        u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// A connection of its own to the server of a number.
    pub(crate) fn client(&self, number: usize) -> Result<Client, kube::Error> {
        Client::try_from(self.configs[number % self.configs.len()].clone())
    }

    fn value(&self) -> u64 {
        self.values.fetch_add(1, Ordering::Relaxed)
    }

    /// The present revision. Waits until the server answers.
    ///
    /// # Errors
    /// If there can be no client.
    pub async fn revision(&self) -> Result<Revision, kube::Error> {
        let client = self.client(0)?;
        loop {
            if let Answer::Listed { revision, .. } = self.ask(0, &client, Call::List(How::Whole)).await.answer {
                return Ok(revision);
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// One client: asks one thing after the other until the run is stopped.
    ///
    /// # Errors
    /// If there can be no client.
    pub async fn work(self: Arc<Self>, number: usize, seed: u64) -> Result<Vec<Entry>, kube::Error> {
        let client = self.client(number)?;
        let mut random = StdRng::seed_from_u64(seed);
        let mut known: HashMap<String, Option<Revision>> = HashMap::new();
        let mut entries = Vec::new();
        while !self.stop.load(Ordering::Relaxed) {
            let call = self.choose(&mut random, &known);
            let entry = self.ask(number, &client, call).await;
            learn(&mut known, &entry);
            let pause = match entry.answer {
                _ if self.slow.load(Ordering::Relaxed) => random.random_range(0..300),
                Answer::Lost => 20,
                _ => random.random_range(0..4),
            };
            entries.push(entry);
            sleep(Duration::from_millis(pause)).await;
        }
        Ok(entries)
    }

    /// One more write of the rare object, made until it is acknowledged: what was written before is told before it.
    ///
    /// # Errors
    /// If there can be no client.
    pub async fn last_write(&self) -> Result<(Vec<Entry>, Revision), kube::Error> {
        let client = self.client(0)?;
        let mut entries: Vec<Entry> = Vec::new();
        loop {
            let (key, value) = (RARE.to_owned(), self.value());
            let absent = entries.last().is_some_and(|entry| entry.answer == Answer::Absent);
            let call = if absent { Call::Create { key, value } } else { Call::Patch { key, value } };
            let entry = self.ask(usize::MAX, &client, call).await;
            entries.push(entry);
            if let Some(Entry { answer: Answer::Done(revision), .. }) = entries.last() {
                let revision = *revision;
                return Ok((entries, revision));
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    fn choose(&self, random: &mut StdRng, known: &HashMap<String, Option<Revision>>) -> Call {
        let rare = random.random_range(0..SELDOM) == 0;
        let key = if rare { RARE.to_owned() } else { format!("object-{}", random.random_range(0..NAMES)) };
        let dice = random.random_range(0..100);
        match dice {
            0..5 => return Call::List(How::Whole),
            5..10 => return Call::List(How::Pages),
            10..20 => return Call::Patch { key, value: self.value() },
            _ => {}
        }
        let Some(revision) = known.get(&key).filter(|_| dice >= 40) else { return Call::Get { key } };
        match revision {
            None => Call::Create { key, value: self.value() },
            Some(of) if dice >= 88 => Call::Delete { key, of: *of },
            Some(of) => Call::Update { key, value: self.value(), of: *of },
        }
    }

    /// Asks, and waits for the answer for a while.
    pub(crate) async fn ask(&self, number: usize, client: &Client, call: Call) -> Entry {
        let begun = self.now();
        let answer = timeout(PATIENCE, answer(client, &call)).await.ok().flatten().unwrap_or(Answer::Lost);
        Entry { client: number, call, begun, ended: self.now(), answer }
    }
}

async fn send(client: &Client, method: Method, path: &str, body: Option<Value>) -> Option<(u16, Value)> {
    let kind = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
    let body = body.map_or_else(Vec::new, |body| body.to_string().into_bytes());
    let request = Request::builder().method(method).uri(path).header("content-type", kind).body(Body::from(body));
    let (parts, body) = client.send(request.ok()?).await.ok()?.into_parts();
    let bytes = body.collect().await.ok()?.to_bytes();
    Some((parts.status.as_u16(), serde_json::from_slice(&bytes).ok()?))
}

/// Nothing if it is not known what became of it.
async fn answer(client: &Client, call: &Call) -> Option<Answer> {
    let object = |key: &str, value: &u64, of: Option<&Revision>| {
        let mut metadata = json!({"name": key, "labels": {"run": "robustness"}});
        if let Some(of) = of {
            metadata["resourceVersion"] = of.to_string().into();
        }
        Some(
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"value": value.to_string()}}),
        )
    };
    let named = |key: &str| format!("{PATH}/{key}");
    let (code, body) = match call {
        Call::Create { key, value } => send(client, Method::POST, PATH, object(key, value, None)).await?,
        Call::Update { key, value, of } => send(client, Method::PUT, &named(key), object(key, value, Some(of))).await?,
        Call::Patch { key, value } => {
            let patch = json!({"data": {"value": value.to_string()}});
            send(client, Method::PATCH, &named(key), Some(patch)).await?
        }
        Call::Delete { key, of } => {
            let options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"resourceVersion": of.to_string()}});
            send(client, Method::DELETE, &named(key), Some(options)).await?
        }
        Call::Get { key } => send(client, Method::GET, &named(key), None).await?,
        Call::List(_) => return list(client, matches!(call, Call::List(How::Pages))).await,
    };
    let reason = body["reason"].as_str().unwrap_or_default();
    match (call, code) {
        (Call::Create { .. } | Call::Update { .. } | Call::Patch { .. }, 200 | 201) => {
            revision(&body).map(Answer::Done)
        }
        (Call::Delete { .. }, 200) => Some(Answer::Deleted),
        (Call::Get { .. }, 200) => Some(Answer::Found { value: value(&body)?, revision: revision(&body)? }),
        (Call::Create { .. }, 409) if reason == "AlreadyExists" => Some(Answer::Exists),
        (_, 409) if reason == "Conflict" => Some(Answer::Conflict),
        (_, 404) if reason == "NotFound" => Some(Answer::Absent),
        _ => None,
    }
}

async fn list(client: &Client, pages: bool) -> Option<Answer> {
    let mut objects = Objects::new();
    let mut rest = String::new();
    loop {
        let limit = if pages { format!("&limit={PAGE}{rest}") } else { String::new() };
        let (code, body) = send(client, Method::GET, &format!("{PATH}?{SELECTOR}{limit}"), None).await?;
        if code != 200 {
            return None;
        }
        for item in body["items"].as_array()? {
            objects.insert(name(item)?, (value(item)?, revision(item)?));
        }
        match body["metadata"]["continue"].as_str() {
            Some(more) if !more.is_empty() => rest = format!("&continue={more}"),
            _ => return Some(Answer::Listed { revision: revision(&body)?, objects }),
        }
    }
}

pub(crate) fn name(object: &Value) -> Option<String> {
    object.pointer("/metadata/name")?.as_str().map(str::to_owned)
}

pub(crate) fn revision(object: &Value) -> Option<Revision> {
    object.pointer("/metadata/resourceVersion")?.as_str()?.parse().ok()
}

pub(crate) fn value(object: &Value) -> Option<u64> {
    object.pointer("/data/value")?.as_str()?.parse().ok()
}

/// What a client holds for the present state, which may be wrong by now.
fn learn(known: &mut HashMap<String, Option<Revision>>, entry: &Entry) {
    let key = match (&entry.call, &entry.answer) {
        (_, Answer::Listed { objects, .. }) => {
            known.values_mut().for_each(|known| *known = None);
            known.extend(objects.iter().map(|(key, (_, revision))| (key.clone(), Some(*revision))));
            return;
        }
        (Call::List(_), _) => return,
        (
            Call::Create { key, .. }
            | Call::Update { key, .. }
            | Call::Patch { key, .. }
            | Call::Delete { key, .. }
            | Call::Get { key },
            _,
        ) => key.clone(),
    };
    match entry.answer {
        Answer::Done(revision) | Answer::Found { revision, .. } => known.insert(key, Some(revision)),
        Answer::Deleted | Answer::Absent => known.insert(key, None),
        _ => known.remove(&key),
    };
}
