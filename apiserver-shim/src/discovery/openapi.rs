//! `/openapi/v2` and `/openapi/v3`.
//!
//! Source: KEP-2896; `k8s.io/kube-openapi/pkg/handler3`.

use std::sync::Arc;

use apimachinery::status::ApiError;
use arc_swap::ArcSwapOption;
use axum::body::Body;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, LOCATION, VARY};
use http::{HeaderValue, Response, StatusCode};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha512};

use crate::http::{Exchange, respond};

/// One document and its hash.
#[derive(Clone, Debug)]
struct Document {
    json: Bytes,
    etag: String,
}

/// The OpenAPI documents of what is built in, the same for all tenants. The host's own replace them.
#[derive(Debug, Default)]
pub(crate) struct Documents {
    v2: ArcSwapOption<Document>,
    v3: ArcSwapOption<Vec<(String, Document)>>,
}

impl Documents {
    /// Replaces the documents: v2, and v3 by their paths (`api/v1`, `apis/apps/v1`). All are JSON.
    pub(crate) fn set(&self, v2: Option<Bytes>, v3: Vec<(String, Bytes)>) {
        self.v2.store(v2.map(|json| Arc::new(Document::new(json))));
        let v3: Vec<(String, Document)> = v3.into_iter().map(|(path, json)| (path, Document::new(json))).collect();
        self.v3.store(Some(Arc::new(v3)));
    }
}

impl Document {
    fn new(json: Bytes) -> Self {
        let etag = etag(&json);
        Self { json, etag }
    }
}

/// The hash by which documents are told apart: SHA-512, in capitals.
pub(super) fn etag(bytes: &[u8]) -> String {
    Sha512::digest(bytes).iter().map(|b| format!("{b:02X}")).collect()
}

fn away() -> ApiError {
    ApiError::unavailable("the OpenAPI documents are not loaded yet")
}

/// `/openapi/v2`
pub(super) fn v2(exchange: &Exchange) -> Result<Response<Body>, ApiError> {
    let document = exchange.shared.documents.v2.load_full().ok_or_else(away)?;
    let mut response = answer(exchange, &document);
    response.headers_mut().append(VARY, HeaderValue::from_static("Accept"));
    Ok(response)
}

/// `/openapi/v3`
pub(super) fn v3_index(exchange: &Exchange) -> Result<Response<Body>, ApiError> {
    let documents = exchange.shared.documents.v3.load_full().ok_or_else(away)?;
    let paths: Map<String, Value> = documents
        .iter()
        .map(|(path, d)| (path.clone(), json!({"serverRelativeURL": format!("/openapi/v3/{path}?hash={}", d.etag)})))
        .collect();
    let body = json!({ "paths": paths }).to_string();
    Ok(respond::bytes(200, "text/plain; charset=utf-8", body.into_bytes(), &exchange.headers))
}

/// `/openapi/v3/PATH`
pub(super) fn v3(exchange: &Exchange, path: &str) -> Result<Response<Body>, ApiError> {
    let documents = exchange.shared.documents.v3.load_full().ok_or_else(away)?;
    let Some((_, document)) = documents.iter().find(|(p, _)| p == path) else {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_FOUND;
        return Ok(response);
    };
    match exchange.query.get("hash") {
        Some(hash) if hash != document.etag => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
            let to = format!("/openapi/v3/{path}?hash={}", document.etag);
            let headers = response.headers_mut();
            if let Ok(to) = HeaderValue::from_str(&to) {
                headers.insert(LOCATION, to);
            }
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            headers.append(VARY, HeaderValue::from_static("Accept"));
            Ok(response)
        }
        hash => {
            let mut response = answer(exchange, document);
            response.headers_mut().append(VARY, HeaderValue::from_static("Accept"));
            if hash.is_some() {
                response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
            }
            Ok(response)
        }
    }
}

fn answer(exchange: &Exchange, document: &Document) -> Response<Body> {
    let quoted = format!("\"{}\"", document.etag);
    let same = exchange.headers.get(IF_NONE_MATCH).is_some_and(|v| v.as_bytes() == quoted.as_bytes());
    let mut response = if same {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        respond::bytes(200, "application/json", document.json.to_vec(), &exchange.headers)
    };
    if let Ok(tag) = HeaderValue::from_str(&quoted) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}
