//! Requests to one API server: JSON in and out.

use std::sync::Arc;
use std::time::Duration;

use apimachinery::gvk::GroupResource;
use apimachinery::meta::{list_at, str_at};
use apimachinery::status::ApiError;
use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt};
use http::header::{ACCEPT, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use kube::client::Body;
use parking_lot::{Mutex, RwLock};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tokio::time::timeout;
use tokio_util::codec::{FramedRead, LinesCodec};
use tokio_util::io::StreamReader;

use super::discovery::{self, All, Served};
use crate::List;

/// How long a request may take; watches are silent for longer.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Objects in a page of a list.
const PAGE: usize = 250;
/// The longest body that is taken: a page of the largest objects that Kubernetes keeps.
const BODY_LIMIT: usize = 256 << 20;
/// The longest event that is taken.
const EVENT_LIMIT: usize = 16 << 20;
/// Lists whose pages expired are begun anew so often.
const LIST_TRIES: usize = 3;
/// How often a watch is renewed. Servers send a bookmark every minute, so one that hears nothing for longer is dead.
const WATCH_SECONDS: u32 = 290;
const SILENCE: Duration = Duration::from_secs(150);

const DISCOVERY: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// One API server.
pub(crate) struct Connection {
    client: kube::Client,
    /// What it served when it was asked last.
    known: RwLock<Arc<All>>,
    /// The discovery documents of `/api` and `/apis` with their tags.
    documents: Mutex<[Option<Document>; 2]>,
}

#[derive(Clone)]
struct Document {
    tag: String,
    body: Arc<Value>,
}

impl Connection {
    pub(crate) fn new(client: kube::Client) -> Self {
        Self { client, known: RwLock::default(), documents: Mutex::default() }
    }

    /// Sends a request and reads the answer.
    ///
    /// # Errors
    /// What the server says; 503 if it cannot be reached.
    pub(crate) async fn request(
        &self,
        method: Method,
        uri: &str,
        body: Option<(&str, &Value)>,
    ) -> Result<Value, ApiError> {
        let mut request = Request::builder().method(method).uri(uri).header(ACCEPT, "application/json");
        let mut bytes = Vec::new();
        if let Some((content_type, body)) = body {
            request = request.header(CONTENT_TYPE, content_type);
            bytes = serde_json::to_vec(body).map_err(ApiError::internal)?;
        }
        let request = request.body(Body::from(bytes)).map_err(ApiError::internal)?;
        let (response, body) = self.exchange(request).await?;
        if response.status().is_success() { parse(&body) } else { Err(refusal(response.status(), &body)) }
    }

    async fn exchange(&self, request: Request<Body>) -> Result<(Response<()>, Bytes), ApiError> {
        let exchange = async {
            let (parts, body) = self.client.send(request).await.map_err(away)?.into_parts();
            let body = Limited::new(body, BODY_LIMIT).collect().await.map_err(away)?;
            Ok((Response::from_parts(parts, ()), body.to_bytes()))
        };
        timeout(TIMEOUT, exchange).await.map_err(away)?
    }

    /// What the server serves now.
    pub(crate) async fn discover(&self) -> Result<Arc<All>, ApiError> {
        let (core, groups) = futures::try_join!(self.document(0, "/api"), self.document(1, "/apis"))?;
        let mut all = All::new();
        discovery::read(&core, &mut all);
        discovery::read(&groups, &mut all);
        let all = Arc::new(all);
        *self.known.write() = Arc::clone(&all);
        Ok(all)
    }

    async fn document(&self, index: usize, path: &str) -> Result<Arc<Value>, ApiError> {
        let held = self.documents.lock()[index].clone();
        let mut request = Request::get(path).header(ACCEPT, DISCOVERY);
        if let Some(held) = &held {
            request = request.header(IF_NONE_MATCH, &held.tag);
        }
        let (response, body) = self.exchange(request.body(Body::empty()).map_err(ApiError::internal)?).await?;
        match (response.status(), held) {
            (StatusCode::NOT_MODIFIED, Some(held)) => return Ok(held.body),
            (status, _) if !status.is_success() => return Err(refusal(status, &body)),
            _ => {}
        }
        let body = Arc::new(parse(&body)?);
        if str_at(&body, &["kind"]) != "APIGroupDiscoveryList" {
            return Err(ApiError::not_implemented(
                "the API server has no aggregated discovery: it needs Kubernetes 1.30",
            ));
        }
        let tag = response.headers().get(ETAG).and_then(|tag| tag.to_str().ok());
        self.documents.lock()[index] = tag.map(|tag| Document { tag: tag.to_owned(), body: Arc::clone(&body) });
        Ok(body)
    }

    /// A resource that the server serves.
    ///
    /// # Errors
    /// 404 if it does not.
    pub(crate) async fn served(&self, resource: &GroupResource) -> Result<Arc<Served>, ApiError> {
        let known = self.known.read().get(resource).cloned();
        match known {
            Some(served) => Ok(served),
            None => self.discover().await?.get(resource).cloned().ok_or_else(|| ApiError::not_found(resource, "")),
        }
    }

    /// Takes an answer, unless it is the 404 of a path that is not served any more: that tells nothing about the object.
    pub(crate) async fn checked<T>(&self, served: &Served, answer: Result<T, ApiError>) -> Result<T, ApiError> {
        let error = match answer {
            Err(error) if error.code == 404 && error.name.is_empty() => error,
            answer => return answer,
        };
        match self.discover().await?.get(served.resource.as_ref()) {
            Some(now) if now.as_ref() != served => {
                Err(ApiError::unavailable("the resource is served in another version now; try again"))
            }
            _ => Err(error),
        }
    }

    /// Reads all objects of a resource, in one namespace or (empty) in all.
    pub(crate) async fn list(&self, served: &Served, namespace: &str) -> Result<List, ApiError> {
        let mut tries = 1;
        loop {
            match self.list_pages(served, namespace).await {
                Err(error) if error.code == 410 && tries < LIST_TRIES => tries += 1,
                answer => return self.checked(served, answer).await,
            }
        }
    }

    async fn list_pages(&self, served: &Served, namespace: &str) -> Result<List, ApiError> {
        let path = served.path(namespace, "", "");
        let (mut items, mut next) = (Vec::new(), String::new());
        loop {
            let uri = format!("{path}?limit={PAGE}&continue={}", encode(&next));
            let page = self.request(Method::GET, &uri, None).await?;
            for item in list_at(&page, &["items"]) {
                items.push(served.object(item)?);
            }
            match str_at(&page, &["metadata", "continue"]) {
                "" => return Ok(List { items, revision: discovery::revision(&page)? }),
                token => token.clone_into(&mut next),
            }
        }
    }

    /// Follows a resource behind a revision: types and objects of events. Ends when the server ends it.
    ///
    /// # Errors
    /// 410 when the revision is too old, or what the server says; 503 when it is away or falls silent.
    pub(crate) async fn watch(
        &self,
        served: &Served,
        revision: u64,
    ) -> Result<impl Stream<Item = Result<(String, Value), ApiError>> + use<>, ApiError> {
        let uri = format!(
            "{}?watch=1&allowWatchBookmarks=true&timeoutSeconds={WATCH_SECONDS}&resourceVersion={revision}",
            served.path("", "", "")
        );
        let request = Request::get(uri).header(ACCEPT, "application/json").body(Body::empty());
        let response = timeout(TIMEOUT, self.client.send(request.map_err(ApiError::internal)?)).await.map_err(away)?;
        let (parts, body) = response.map_err(away)?.into_parts();
        if !parts.status.is_success() {
            let body = timeout(TIMEOUT, Limited::new(body, BODY_LIMIT).collect()).await.map_err(away)?;
            return Err(refusal(parts.status, &body.map_err(away)?.to_bytes()));
        }
        let reader = StreamReader::new(Box::pin(body.into_data_stream().map_err(std::io::Error::other)));
        let lines = FramedRead::new(reader, LinesCodec::new_with_max_length(EVENT_LIMIT));
        Ok(heard(lines).map(|line| {
            let mut event: Value = parse(line?.as_bytes())?;
            let object = event["object"].take();
            match str_at(&event, &["type"]) {
                "ERROR" => Err(ApiError::from_status(500, &object)),
                kind => Ok((kind.to_owned(), object)),
            }
        }))
    }
}

/// The lines of a watch; an error if none comes for too long.
fn heard<S, E>(lines: S) -> impl Stream<Item = Result<String, ApiError>>
where
    S: Stream<Item = Result<String, E>> + Send,
    E: std::fmt::Display,
{
    futures::stream::unfold(Box::pin(lines), |mut lines| async {
        let line = match timeout(SILENCE, lines.next()).await {
            Ok(line) => line?.map_err(away),
            Err(_) => Err(away("the watch fell silent")),
        };
        Some((line, lines))
    })
}

fn parse(body: &[u8]) -> Result<Value, ApiError> {
    serde_json::from_slice(body).map_err(|e| away(format!("its answer is no JSON: {e}")))
}

fn refusal(status: StatusCode, body: &[u8]) -> ApiError {
    ApiError::from_status(status.as_u16(), &serde_json::from_slice(body).unwrap_or_default())
}

fn away(error: impl std::fmt::Display) -> ApiError {
    ApiError::unavailable(format!("the API server of the virtual cluster cannot be used: {error}"))
}

/// A part of a path or query.
pub(crate) fn encode(text: &str) -> String {
    const KEEP: &percent_encoding::AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    utf8_percent_encode(text, KEEP).to_string()
}
