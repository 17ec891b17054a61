//! HTTP: from a request on a tenant's connection to its answer.

mod body;
mod connection;
mod resource;
pub(crate) mod respond;
mod stream;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use apimachinery::status::ApiError;
use axum::body::Body;
use futures::FutureExt;
use http::header::{HeaderValue, USER_AGENT};
use http::{HeaderMap, Method, Request, Response};
use uuid::Uuid;

pub(crate) use connection::serve_connection;

use crate::access::{Entry, Origin};
use crate::auth::User;
use crate::registry::Registry;
use crate::request::{Query, RequestInfo};
use crate::server::Shared;

/// How long a request that is no stream may take.
const DEADLINE: Duration = Duration::from_secs(60);

/// A request that was let in, and all that is known of it.
pub(crate) struct Exchange {
    pub(crate) shared: Arc<Shared>,
    pub(crate) origin: Arc<Origin>,
    pub(crate) entry: Entry,
    pub(crate) user: User,
    pub(crate) info: RequestInfo,
    pub(crate) query: Query,
    pub(crate) raw_query: String,
    pub(crate) method: Method,
    pub(crate) headers: HeaderMap,
}

impl Exchange {
    pub(crate) fn registry(&self) -> &Arc<Registry> {
        &self.shared.registry
    }

    /// The field manager of a client that names none: what its User-Agent says before the first slash.
    pub(crate) fn agent(&self) -> String {
        let agent = self.headers.get(USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let name = agent.split('/').next().unwrap_or_default();
        let name: String = name.chars().filter(|c| !c.is_control()).take(128).collect();
        if name.is_empty() { "unknown".to_owned() } else { name }
    }
}

/// Answers a request. Never fails: what goes wrong becomes a `Status`.
pub(crate) async fn handle(shared: Arc<Shared>, origin: Arc<Origin>, request: Request<Body>) -> Response<Body> {
    let audit = request
        .headers()
        .get("audit-id")
        .filter(|v| v.len() <= 128 && v.to_str().is_ok())
        .cloned()
        .unwrap_or_else(|| header(&Uuid::new_v4().to_string()));
    let method = request.method().clone();
    let headers = request.headers().clone();
    let query = Query::parse(request.uri().query().unwrap_or_default());
    let started = shared.clock.now();
    let label = Arc::new(crate::metrics::RequestLabel::default());
    let work = AssertUnwindSafe(answer(Arc::clone(&shared), origin, request, query.clone(), Arc::clone(&label)));
    let answered = match work.catch_unwind().await {
        Ok(answered) => answered,
        Err(_) => {
            shared.metrics.panicked();
            tracing::error!(path = "request", "a request handler panicked");
            Err(ApiError::internal("the server has a bug that this request met; it was noted"))
        }
    };
    let mut response = answered.unwrap_or_else(|error| respond::status(&error, &headers, &query));
    let out = response.headers_mut();
    out.insert("audit-id", audit);
    if !out.contains_key("cache-control") {
        out.insert("cache-control", HeaderValue::from_static("no-cache, private"));
    }
    for (name, uid) in [
        ("x-kubernetes-pf-flowschema-uid", &shared.flow_schema_uid),
        ("x-kubernetes-pf-prioritylevel-uid", &shared.priority_level_uid),
    ] {
        out.insert(name, header(uid));
    }
    shared.metrics.request(&label, response.status().as_u16(), shared.clock.now().duration_since(started));
    if method == Method::HEAD {
        let (parts, _) = response.into_parts();
        return Response::from_parts(parts, Body::empty());
    }
    response
}

async fn answer(
    shared: Arc<Shared>,
    origin: Arc<Origin>,
    request: Request<Body>,
    query: Query,
    label: Arc<crate::metrics::RequestLabel>,
) -> Result<Response<Body>, ApiError> {
    let (parts, body) = request.into_parts();
    let info = match RequestInfo::parse(parts.method.as_str(), parts.uri.path(), &query) {
        Ok(info) => info,
        Err(why) => {
            let path = parts.uri.path();
            let text = format!("Internal Server Error: {path:?}: failed to create RequestInfo: {why}, {path}\n");
            return Ok(respond::text(500, text));
        }
    };
    label.set(&info);
    let access = Arc::clone(&shared.access);
    let entry = access.enter(origin.tenant)?;
    let user = access.identify(&origin, &parts.headers, &info.attributes(&User::default())).await?;
    let attributes = info.attributes(&user);
    let authorized = access.authorize(origin.tenant, &attributes).await?;
    if !authorized.allowed() {
        return Err(attributes.forbidden(&authorized.reason));
    }
    shared.registry.load(origin.tenant).await?;
    let long = info.is_long_running();
    let exchange = Exchange {
        shared,
        origin,
        entry,
        user,
        info,
        raw_query: parts.uri.query().unwrap_or_default().to_owned(),
        query,
        method: parts.method.clone(),
        headers: parts.headers.clone(),
    };
    let work = async move {
        if exchange.info.is_resource {
            resource::serve(exchange, Request::from_parts(parts, body)).await
        } else {
            crate::discovery::serve(&exchange).await
        }
    };
    if long {
        return work.await;
    }
    match tokio::time::timeout(DEADLINE, work).await {
        Ok(answered) => answered,
        Err(_) => Err(ApiError::timeout("Timeout: request did not complete within the allotted timeout", 0)),
    }
}

fn header(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}
