//! One side: sends requests, reads answers and watches, and removes what a case has made.

use std::time::Duration;

use http_body_util::BodyExt;
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Map, Value, json};
use tokio::time::{Instant, sleep, timeout};

use crate::corpus::{Step, Until, Watch};
use crate::expand::{Prepared, prepare};
use crate::normalize;

const ANSWER_WITHIN: Duration = Duration::from_secs(20);
const WATCH_WITHIN: Duration = Duration::from_secs(8);
const UNTIL_WITHIN: Duration = Duration::from_secs(15);
const HEADERS: [&str; 6] = ["content-type", "warning", "retry-after", "cache-control", "location", "allow"];

/// A server that cannot be reached, or a step that cannot be played.
#[derive(Debug, thiserror::Error)]
pub enum PlayError {
    /// The kubeconfig does not lead to a server.
    #[error("{path} is not a kubeconfig that works: {message}")]
    Kubeconfig {
        /// The file.
        path: String,
        /// What is wrong.
        message: String,
    },
    /// The step itself is wrong.
    #[error("{0}")]
    Step(String),
    /// No answer came.
    #[error("{request}: {message}")]
    NoAnswer {
        /// The request line.
        request: String,
        /// Why.
        message: String,
    },
}

/// A server.
#[derive(Clone)]
pub struct Side {
    client: Client,
}

/// What a server said.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The request line.
    pub request: String,
    /// Code, headers, and body or events, without what must differ.
    pub shown: Value,
}

/// What one case knows and has made on one side.
pub struct Stage {
    side: Side,
    variables: Map<String, Value>,
    made: Vec<(String, bool)>,
}

struct Raw {
    code: u16,
    headers: http::HeaderMap,
    body: Vec<u8>,
}

impl Side {
    /// The server that a kubeconfig names.
    ///
    /// # Errors
    /// [`PlayError::Kubeconfig`].
    pub async fn from_kubeconfig(path: &std::path::Path) -> Result<Self, PlayError> {
        let wrong = |message: String| PlayError::Kubeconfig { path: path.display().to_string(), message };
        let kubeconfig = Kubeconfig::read_from(path).map_err(|e| wrong(e.to_string()))?;
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
            .await
            .map_err(|e| wrong(e.to_string()))?;
        // An answer that says "later" is an answer.
        config.default_retry = false;
        Ok(Self { client: Client::try_from(config).map_err(|e| wrong(e.to_string()))? })
    }

    /// A stage for one case.
    #[must_use]
    pub fn stage(&self, variables: Map<String, Value>) -> Stage {
        Stage { side: self.clone(), variables, made: Vec::new() }
    }

    async fn open(&self, prepared: &Prepared) -> Result<http::Response<Body>, PlayError> {
        let line = format!("{} {}", prepared.method, prepared.path);
        let mut again = true;
        loop {
            let mut request = http::Request::builder().method(prepared.method.as_str()).uri(prepared.path.as_str());
            for (name, value) in &prepared.headers {
                request = request.header(name, value);
            }
            let request =
                request.body(Body::from(prepared.body.clone())).map_err(|e| PlayError::Step(format!("{line}: {e}")))?;
            let message = match timeout(ANSWER_WITHIN, self.client.send(request)).await {
                Ok(Ok(response)) => return Ok(response),
                Ok(Err(e)) => e.to_string(),
                Err(_) => "no answer in time".to_owned(),
            };
            // A kept connection may have been closed by a restart or after a body that was too large.
            if !std::mem::take(&mut again) {
                return Err(PlayError::NoAnswer { request: line, message });
            }
        }
    }

    async fn ask(&self, prepared: &Prepared) -> Result<Raw, PlayError> {
        let (parts, body) = self.open(prepared).await?.into_parts();
        let line = || format!("{} {}", prepared.method, prepared.path);
        let body = match timeout(ANSWER_WITHIN, body.collect()).await {
            Ok(Ok(body)) => body.to_bytes().to_vec(),
            Ok(Err(e)) => return Err(PlayError::NoAnswer { request: line(), message: e.to_string() }),
            Err(_) => return Err(PlayError::NoAnswer { request: line(), message: "the body does not end".to_owned() }),
        };
        Ok(Raw { code: parts.status.as_u16(), headers: parts.headers, body })
    }
}

impl Stage {
    /// What steps have saved, beside what was known.
    #[must_use]
    pub fn variables(&self) -> &Map<String, Value> {
        &self.variables
    }

    /// Plays a step.
    ///
    /// # Errors
    /// When it is wrong or has no answer.
    pub async fn play(&mut self, step: &Step) -> Result<Answer, PlayError> {
        let prepared = prepare(step, &self.variables).map_err(PlayError::Step)?;
        let request = format!("{} {}", prepared.method, prepared.path);
        if let Some(watch) = &step.watch {
            return Ok(Answer { shown: self.watch(&prepared, watch).await?, request });
        }
        let deadline = Instant::now() + UNTIL_WITHIN;
        let (raw, body) = loop {
            let raw = self.side.ask(&prepared).await?;
            let body = parse(&raw);
            match &step.until {
                Some(until) if !is_met(until, &raw, &body) && Instant::now() < deadline => {
                    sleep(Duration::from_millis(50)).await;
                }
                _ => break (raw, body),
            }
        };
        self.remember(step, &prepared, &raw, &body)?;
        Ok(Answer { shown: shown(&raw, &body), request })
    }

    /// Plays a step that others rest on: it must not be refused.
    ///
    /// # Errors
    /// As [`Stage::play`], and when it is refused.
    pub async fn play_given(&mut self, step: &Step) -> Result<(), PlayError> {
        let answer = self.play(step).await?;
        match answer.shown["code"].as_u64() {
            Some(200..=299) => Ok(()),
            _ => Err(PlayError::Step(format!("{} was refused: {}", answer.request, answer.shown))),
        }
    }

    fn remember(&mut self, step: &Step, prepared: &Prepared, raw: &Raw, body: &Value) -> Result<(), PlayError> {
        for (name, at) in &step.save {
            let found = body.pointer(at).ok_or_else(|| {
                PlayError::Step(format!("{} {}: the answer has no {at}: {body}", prepared.method, prepared.path))
            })?;
            self.variables.insert(name.clone(), found.clone());
        }
        let path = prepared.path.split('?').next().unwrap_or_default();
        let dry = prepared.path.contains("dryRun=");
        let name = body.pointer("/metadata/name").and_then(Value::as_str);
        if let (201, false, Some(name)) = (raw.code, dry, name) {
            let path = match prepared.method.as_str() {
                "POST" => format!("{path}/{name}"),
                _ => path.to_owned(),
            };
            let held = body.pointer("/metadata/finalizers").is_some() && !path.contains("/customresourcedefinitions/");
            // What is in a namespace goes with it, unless something holds it.
            if held || !path.contains("/namespaces/") || path.matches('/').count() == 4 {
                self.made.push((path, held));
            }
        }
        Ok(())
    }

    async fn watch(&mut self, prepared: &Prepared, watch: &Watch) -> Result<Value, PlayError> {
        let (parts, mut body) = self.side.open(prepared).await?.into_parts();
        let code = parts.status.as_u16();
        for step in &watch.during {
            Box::pin(self.play_given(step)).await?;
        }
        let mut raw = Raw { code, headers: parts.headers, body: Vec::new() };
        let deadline = Instant::now() + WATCH_WITHIN;
        let mut events = Vec::new();
        let end = loop {
            match tokio::time::timeout_at(deadline, body.frame()).await {
                Err(_) => break "still open",
                Ok(None) => break "closed",
                Ok(Some(Err(_))) => break "broken",
                Ok(Some(Ok(frame))) => raw.body.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data)),
            }
            events = read_events(&raw.body, watch.bookmarks);
            if watch.events.is_some_and(|wanted| events.len() >= wanted) {
                break "read";
            }
        };
        if code != 200 || !content_type(&raw).contains("json") {
            let body = parse(&raw);
            return Ok(shown(&raw, &body));
        }
        let events: Vec<Value> = events.iter().map(normalize::body).collect();
        Ok(json!({"code": code, "headers": headers(&raw), "events": events, "end": end}))
    }

    /// Removes what the case has made outside its namespace.
    pub async fn clean(self) {
        for (path, held) in self.made.iter().rev() {
            let request = |method: &str, body: &str| Prepared {
                method: method.to_owned(),
                path: path.clone(),
                headers: vec![(
                    "content-type".to_owned(),
                    if method == "PATCH" { "application/merge-patch+json" } else { "application/json" }.to_owned(),
                )],
                body: body.as_bytes().to_vec(),
            };
            // It may be gone by now; whatever is left is in the namespace of the run, which goes too.
            let _ = self.side.ask(&request("DELETE", r#"{"gracePeriodSeconds": 0}"#)).await;
            if *held {
                let _ = self.side.ask(&request("PATCH", r#"{"metadata": {"finalizers": null}}"#)).await;
            }
        }
    }
}

fn is_met(until: &Until, raw: &Raw, body: &Value) -> bool {
    if until.at.is_empty() {
        return until.is.as_ref().is_some_and(|is| *is == json!(raw.code));
    }
    match (body.pointer(&until.at), &until.is) {
        (Some(found), Some(wanted)) => found == wanted,
        (found, None) => found.is_some(),
        (None, Some(_)) => false,
    }
}

fn read_events(bytes: &[u8], bookmarks: bool) -> Vec<Value> {
    let is_kept = |event: &Value| {
        bookmarks
            || event["type"] != "BOOKMARK"
            || event.pointer("/object/metadata/annotations/k8s.io~1initial-events-end").is_some()
    };
    serde_json::Deserializer::from_slice(bytes).into_iter::<Value>().map_while(Result::ok).filter(is_kept).collect()
}

fn content_type(raw: &Raw) -> &str {
    raw.headers.get("content-type").and_then(|v| v.to_str().ok()).unwrap_or_default()
}

fn parse(raw: &Raw) -> Value {
    if let Ok(json) = serde_json::from_slice(&raw.body) {
        return json;
    }
    if content_type(raw).contains("yaml")
        && let Ok(yaml) = serde_yaml_ng::from_slice(&raw.body)
    {
        return yaml;
    }
    // Protobuf: uids and times are in it, so only its beginning can be equal.
    if raw.body.starts_with(b"k8s\0") {
        return "k8s\0...".into();
    }
    String::from_utf8_lossy(&raw.body).into_owned().into()
}

fn headers(raw: &Raw) -> Value {
    let mut out = Map::new();
    for name in HEADERS {
        let values: Vec<_> =
            raw.headers.get_all(name).iter().map(|v| normalize::text(&String::from_utf8_lossy(v.as_bytes()))).collect();
        if !values.is_empty() {
            out.insert(name.to_owned(), values.join(" | ").into());
        }
    }
    Value::Object(out)
}

fn shown(raw: &Raw, body: &Value) -> Value {
    json!({"code": raw.code, "headers": headers(raw), "body": normalize::body(body)})
}
