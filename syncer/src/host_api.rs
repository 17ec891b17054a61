//! The host's Kubernetes API, as far as the syncer speaks to it: JSON in and out, no types.

use std::sync::Arc;
use std::time::Duration;

use apimachinery::status::ApiError;
use futures::{AsyncBufReadExt, Stream, StreamExt};
use http::{Method, Request, header};
use http_body_util::BodyExt;
use kube::client::Body;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use crate::error::HostError;
use crate::marks;
use crate::pulse::Pulse;

/// A watch that hears nothing for so long, not even a bookmark, is taken for dead.
const SILENCE: Duration = Duration::from_secs(150);

/// A kind of the host, and where it is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HostKind {
    /// `api/v1` or `apis/<group>/<version>`.
    pub root: &'static str,
    /// Plural.
    pub resource: &'static str,
    /// Kind.
    pub kind: &'static str,
}

impl HostKind {
    /// A kind of the core group.
    pub const fn core(resource: &'static str, kind: &'static str) -> Self {
        Self { root: "api/v1", resource, kind }
    }

    /// `apiVersion` of its objects.
    pub fn api_version(&self) -> &'static str {
        self.root.split_once('/').map_or(self.root, |(_, version)| version)
    }
}

/// How to delete on the host.
#[derive(Clone, Debug, Default)]
pub(crate) struct HostDelete {
    /// `gracePeriodSeconds`
    pub grace_seconds: Option<i64>,
    /// `preconditions.uid`
    pub uid: Option<String>,
}

/// A patch on the host, beyond apply.
#[derive(Clone, Debug)]
pub(crate) enum HostPatch {
    /// Strategic merge.
    Strategic(Value),
    /// RFC 7386
    Merge(Value),
}

/// An event of a watch: its type and object.
pub(crate) type WatchEvent = (String, Value);

/// The host's API.
#[derive(Clone)]
pub(crate) struct HostApi {
    client: kube::Client,
    pulse: Arc<Pulse>,
    timeout: Duration,
}

impl HostApi {
    /// Over this client; every request but a watch ends within `timeout`, and soon when the host answers nothing.
    pub(crate) fn new(client: kube::Client, timeout: Duration) -> Self {
        Self { pulse: Arc::new(Pulse::new(client.clone())), client, timeout }
    }

    /// Sends a request as it is. Its answer may take as long as it likes while the host lives.
    pub(crate) async fn send(&self, request: Request<Body>) -> Result<http::Response<Body>, HostError> {
        self.pulse.wait(self.client.send(request)).await?.map_err(kube_error)
    }

    /// Reads an object; `None` if there is none.
    pub(crate) async fn get(&self, kind: HostKind, namespace: &str, name: &str) -> Result<Option<Value>, HostError> {
        match self.request(Method::GET, &path(kind, namespace, name, ""), None).await {
            Ok(value) => Ok(Some(value)),
            Err(e) if e.is_not_found() => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Reads all objects that `selector` selects, in one namespace or (empty) in all, and the revision of the list.
    pub(crate) async fn list(
        &self,
        kind: HostKind,
        namespace: &str,
        selector: &str,
    ) -> Result<(Vec<Value>, String), HostError> {
        let mut items = Vec::new();
        let mut next = String::new();
        loop {
            let uri = format!(
                "{}?limit=500&labelSelector={}&continue={}",
                path(kind, namespace, "", ""),
                encode(selector),
                encode(&next)
            );
            let mut list = self.request(Method::GET, &uri, None).await?;
            if let Some(Value::Array(page)) = list.get_mut("items").map(Value::take) {
                items.extend(page);
            }
            match list["metadata"]["continue"].as_str() {
                Some(token) if !token.is_empty() => next = token.to_owned(),
                _ => {
                    let revision = list["metadata"]["resourceVersion"].as_str().unwrap_or_default();
                    return Ok((items, revision.to_owned()));
                }
            }
        }
    }

    /// Follows what `selector` selects behind `revision`. The stream ends when the host closes it.
    pub(crate) async fn watch(
        &self,
        kind: HostKind,
        namespace: &str,
        selector: &str,
        revision: &str,
    ) -> Result<impl Stream<Item = Result<WatchEvent, HostError>> + use<>, HostError> {
        let query = format!("labelSelector={}&resourceVersion={}", encode(selector), encode(revision));
        self.open_watch(&path(kind, namespace, "", ""), &query, "application/json").await
    }

    /// Follows the metadata of what `selector` selects, beginning with what there is.
    pub(crate) async fn watch_metadata(
        &self,
        kind: HostKind,
        namespace: &str,
        selector: &str,
    ) -> Result<impl Stream<Item = Result<WatchEvent, HostError>> + use<>, HostError> {
        const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
        let query = format!("labelSelector={}", encode(selector));
        self.open_watch(&path(kind, namespace, "", ""), &query, METADATA).await
    }

    async fn open_watch(
        &self,
        path: &str,
        query: &str,
        accept: &str,
    ) -> Result<impl Stream<Item = Result<WatchEvent, HostError>> + use<>, HostError> {
        let uri = format!("{path}?watch=1&allowWatchBookmarks=true&timeoutSeconds=290&{query}");
        let request = Request::get(uri).header(header::ACCEPT, accept).body(Vec::new()).map_err(away)?;
        let open = tokio::time::timeout(self.timeout, self.client.request_stream(request));
        let reader = self.pulse.wait(open).await?.map_err(away)?.map_err(kube_error)?;
        Ok(futures::stream::unfold(Some(Box::pin(reader.lines())), |lines| async move {
            let mut lines = lines?;
            match tokio::time::timeout(SILENCE, lines.next()).await {
                Ok(line) => Some((read_event(line?), Some(lines))),
                Err(_) => Some((Err(HostError::Away("the watch fell silent".to_owned())), None)),
            }
        }))
    }

    /// Applies an object under our field manager, taking over what others own. A `metadata.uid` in it is a
    /// precondition.
    pub(crate) async fn apply(&self, kind: HostKind, object: &Value, dry_run: bool) -> Result<Value, HostError> {
        let (namespace, name) = (apimachinery::meta::namespace(object), apimachinery::meta::name(object));
        let dry_run = if dry_run { "&dryRun=All" } else { "" };
        let uri = format!("{}?fieldManager={}&force=true{dry_run}", path(kind, namespace, name, ""), marks::MANAGER);
        self.request(Method::PATCH, &uri, Some(("application/apply-patch+yaml", object))).await
    }

    /// Applies an object that must be ours or not there yet.
    ///
    /// `known_uid` is the host uid of the object as it was seen with our mark. Without it the host is asked first, and
    /// an object without the same tenant's mark for the same object is left alone.
    ///
    /// # Errors
    /// [`HostError::NameTaken`], or what the host says.
    pub(crate) async fn apply_owned(
        &self,
        kind: HostKind,
        object: &mut Value,
        known_uid: Option<&str>,
        dry_run: bool,
    ) -> Result<Value, HostError> {
        if let Some(uid) = known_uid {
            object["metadata"]["uid"] = json!(uid);
            return self.apply(kind, object, dry_run).await;
        }
        let (namespace, name) = (apimachinery::meta::namespace(object), apimachinery::meta::name(object));
        let present = self.get(kind, namespace, name).await?;
        self.apply_over(kind, object, present.as_ref(), dry_run).await
    }

    /// Applies an object over what was just read in its place, which must be ours or nothing.
    ///
    /// # Errors
    /// As [`HostApi::apply_owned`].
    pub(crate) async fn apply_over(
        &self,
        kind: HostKind,
        object: &mut Value,
        present: Option<&Value>,
        dry_run: bool,
    ) -> Result<Value, HostError> {
        match present {
            None => {}
            Some(present) if same_mark(present, object) => {
                object["metadata"]["uid"] = json!(apimachinery::meta::uid(present));
            }
            Some(_) => return Err(HostError::NameTaken),
        }
        self.apply(kind, object, dry_run).await
    }

    /// Patches an object or (`subresource` not empty) a part of it.
    pub(crate) async fn patch(
        &self,
        kind: HostKind,
        namespace: &str,
        name: &str,
        subresource: &str,
        patch: &HostPatch,
    ) -> Result<Value, HostError> {
        let uri = format!("{}?fieldManager={}", path(kind, namespace, name, subresource), marks::MANAGER);
        let (content_type, body) = match patch {
            HostPatch::Strategic(body) => ("application/strategic-merge-patch+json", body),
            HostPatch::Merge(body) => ("application/merge-patch+json", body),
        };
        self.request(Method::PATCH, &uri, Some((content_type, body))).await
    }

    /// Deletes an object; fine if it is not there.
    pub(crate) async fn delete(
        &self,
        kind: HostKind,
        namespace: &str,
        name: &str,
        options: &HostDelete,
    ) -> Result<(), HostError> {
        let mut body = json!({"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"});
        if let Some(grace) = options.grace_seconds {
            body["gracePeriodSeconds"] = json!(grace);
        }
        if let Some(uid) = &options.uid {
            body["preconditions"] = json!({"uid": uid});
        }
        let uri = path(kind, namespace, name, "");
        match self.request(Method::DELETE, &uri, Some(("application/json", &body))).await {
            Ok(_) => Ok(()),
            Err(e) if e.is_not_found() => Ok(()),
            Err(e) => Err(e),
        }
    }

    async fn request(&self, method: Method, uri: &str, body: Option<(&str, &Value)>) -> Result<Value, HostError> {
        let mut request = Request::builder().method(method).uri(uri).header(header::ACCEPT, "application/json");
        let bytes = match body {
            Some((content_type, body)) => {
                request = request.header(header::CONTENT_TYPE, content_type);
                serde_json::to_vec(body).map_err(away)?
            }
            None => Vec::new(),
        };
        let request = request.body(Body::from(bytes)).map_err(away)?;
        let exchange = async {
            let response = self.client.send(request).await.map_err(kube_error)?;
            let status = response.status();
            let bytes = response.into_body().collect().await.map_err(away)?.to_bytes();
            Ok::<_, HostError>((status, bytes))
        };
        let exchange = tokio::time::timeout(self.timeout, exchange);
        let (status, bytes) = self.pulse.wait(exchange).await?.map_err(away)??;
        if status.is_success() {
            return serde_json::from_slice(&bytes).map_err(away);
        }
        let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let error = ApiError::from_status(status.as_u16(), &body);
        Err(refused(error))
    }
}

/// What the host says about us, its load or itself is no business of the tenant's and will pass: the binding in a new
/// namespace takes a moment to count, one that is gone is made again. What it says about the object is a refusal.
fn refused(error: ApiError) -> HostError {
    let about_us = error.code == 403 && error.message.contains("is forbidden: User \"");
    if about_us {
        HostError::NoRight(error.message)
    } else if matches!(error.code, 401 | 429 | 500..) {
        HostError::Away(error.message)
    } else {
        HostError::Refused(error)
    }
}

/// The path of an object, of a collection (`name` empty) or of a subresource.
pub(crate) fn path(kind: HostKind, namespace: &str, name: &str, subresource: &str) -> String {
    let mut out = format!("/{}", kind.root);
    if !namespace.is_empty() {
        out.push_str("/namespaces/");
        out.push_str(&encode(namespace));
    }
    for part in [kind.resource, name, subresource] {
        if !part.is_empty() {
            out.push('/');
            out.push_str(&encode(part));
        }
    }
    out
}

fn encode(text: &str) -> String {
    const KEEP: &percent_encoding::AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    utf8_percent_encode(text, KEEP).to_string()
}

/// Whether an object of the host is the one that we made of the same tenant object. Someone may have taken its label away; then the
/// tenant object's uid, which no one else writes there, tells.
fn same_mark(present: &Value, object: &Value) -> bool {
    fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
        object["metadata"]["annotations"][key].as_str()
    }
    let same = |key: &str| annotation(present, key) == annotation(object, key);
    let tenant = |o: &Value| o["metadata"]["labels"][marks::TENANT].as_str().map(str::to_owned);
    let ours = match (tenant(present), tenant(object)) {
        (Some(present), Some(object)) => present == object,
        (None, Some(_)) => annotation(present, marks::UID).is_some() && same(marks::UID),
        (_, None) => false,
    };
    ours && [marks::RESOURCE, marks::NAMESPACE, marks::NAME].into_iter().all(same)
}

fn read_event(line: std::io::Result<String>) -> Result<WatchEvent, HostError> {
    let mut event: Value = serde_json::from_str(&line.map_err(away)?).map_err(away)?;
    let object = event["object"].take();
    match event["type"].as_str() {
        Some("ERROR") => Err(HostError::Refused(ApiError::from_status(500, &object))),
        kind => Ok((kind.unwrap_or_default().to_owned(), object)),
    }
}

fn away(error: impl std::fmt::Display) -> HostError {
    HostError::Away(error.to_string())
}

fn kube_error(error: kube::Error) -> HostError {
    match error {
        kube::Error::Api(status) => {
            let status_object = json!({"reason": status.reason, "message": status.message});
            refused(ApiError::from_status(status.code, &status_object))
        }
        error => away(error),
    }
}
