//! `/openapi/v2` and `/openapi/v3`.
//!
//! Source: KEP-2896; `k8s.io/kube-openapi/pkg/handler3`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use apimachinery::status::ApiError;
use apimachinery::{builtin, crd, meta};
use arc_swap::ArcSwapOption;
use axum::body::Body;
use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, LOCATION, VARY};
use http::{HeaderValue, Response, StatusCode};
use parking_lot::Mutex;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha512};

use crate::http::{Exchange, respond};

const V2: &str = "v2";

/// One document and its hash.
#[derive(Clone, Debug)]
struct Document {
    json: Bytes,
    etag: String,
}

/// The OpenAPI documents of what is built in, the same for all tenants. Those of the table are unpacked when they are
/// asked for; of them only the hashes stay in memory. The host's own replace them.
#[derive(Debug, Default)]
pub(crate) struct Documents {
    own: ArcSwapOption<HashMap<String, Document>>,
    etags: Mutex<HashMap<String, String>>,
}

impl Documents {
    /// Replaces the documents: v2, and v3 by their paths (`api/v1`, `apis/apps/v1`). All are JSON.
    pub(crate) fn set(&self, v2: Bytes, v3: Vec<(String, Bytes)>) {
        let documents = v3.into_iter().chain([(V2.to_owned(), v2)]);
        let documents = documents.map(|(path, json)| (path, Document { etag: etag(&json), json })).collect();
        self.own.store(Some(Arc::new(documents)));
    }

    fn paths(&self) -> Vec<String> {
        match self.own.load_full() {
            Some(own) => {
                let mut paths: Vec<String> = own.keys().filter(|p| *p != V2).cloned().collect();
                paths.sort();
                paths
            }
            None => builtin::openapi_v3_paths().to_vec(),
        }
    }

    fn find(&self, path: &str) -> Option<Document> {
        if let Some(own) = self.own.load_full() {
            return own.get(path).cloned();
        }
        let json = unpack(path)?;
        let etag = self.etags.lock().entry(path.to_owned()).or_insert_with(|| etag(&json)).clone();
        Some(Document { json: json.into(), etag })
    }

    fn etag(&self, path: &str) -> Option<String> {
        if self.own.load().is_none()
            && let Some(known) = self.etags.lock().get(path)
        {
            return Some(known.clone());
        }
        self.find(path).map(|d| d.etag)
    }
}

fn unpack(path: &str) -> Option<Vec<u8>> {
    if path == V2 { Some(builtin::openapi_v2()) } else { builtin::openapi_v3_document(path) }
}

/// The hash by which documents are told apart: SHA-512, in capitals.
pub(super) fn etag(bytes: &[u8]) -> String {
    Sha512::digest(bytes).iter().map(|b| format!("{b:02X}")).collect()
}

/// `/openapi/v2`
pub(super) fn v2(exchange: &Exchange) -> Result<Response<Body>, ApiError> {
    let wanted = exchange.headers.get(ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or("*/*");
    if !["application/json", "*/*", "application/*"].iter().any(|t| wanted.contains(t)) {
        let mut response = respond::text(406, "");
        response.headers_mut().append(VARY, HeaderValue::from_static("Accept"));
        return Ok(response);
    }
    let document = exchange.shared.documents.find(V2);
    let document = document.ok_or_else(|| ApiError::internal("there is no OpenAPI v2 document"))?;
    let document = with_custom(document, &exchange.registry().catalog().definitions(exchange.origin.tenant))
        .map_err(ApiError::internal)?;
    let mut response = answer(exchange, &document);
    response.headers_mut().append(VARY, HeaderValue::from_static("Accept"));
    Ok(response)
}

/// `/openapi/v3`
pub(super) fn v3_index(exchange: &Exchange) -> Result<Response<Body>, ApiError> {
    let documents = &exchange.shared.documents;
    let mut paths = Map::new();
    let built_in = documents.paths().into_iter().filter_map(|path| Some((documents.etag(&path)?, path)));
    let own = custom_versions(exchange).into_iter().filter_map(|(group, version)| {
        let path = format!("apis/{group}/{version}");
        Some((custom(exchange, &path)?.etag, path))
    });
    for (etag, path) in built_in.chain(own) {
        let url = format!("/openapi/v3/{path}?hash={etag}");
        paths.insert(path, json!({ "serverRelativeURL": url }));
    }
    let body = Value::Object(Map::from_iter([("paths".to_owned(), Value::Object(paths))])).to_string();
    Ok(respond::bytes(200, "text/plain; charset=utf-8", body.into_bytes(), &exchange.headers))
}

/// `/openapi/v3/PATH`
pub(super) fn v3(exchange: &Exchange, path: &str) -> Result<Response<Body>, ApiError> {
    let built_in = exchange.shared.documents.find(path).filter(|_| path != V2);
    let Some(document) = built_in.or_else(|| custom(exchange, path)) else {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_FOUND;
        return Ok(response);
    };
    let hash = exchange.query.get("hash");
    let mut response = match hash {
        Some(hash) if hash != document.etag => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
            let to = format!("/openapi/v3/{path}?hash={}", document.etag);
            if let Ok(to) = HeaderValue::from_str(&to) {
                response.headers_mut().insert(LOCATION, to);
            }
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            tag(&mut response, &document);
            response
        }
        _ => answer(exchange, &document),
    };
    let headers = response.headers_mut();
    headers.append(VARY, HeaderValue::from_static("Accept"));
    if hash.is_some_and(|h| h == document.etag) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
    }
    Ok(response)
}

/// The v2 document with what a tenant's definitions add to it. What is built in is passed on without being taken apart.
fn with_custom(built_in: Document, definitions: &[Arc<Value>]) -> serde_json::Result<Document> {
    let mut own = crd::openapi::Parts::default();
    for definition in definitions {
        for version in served(definition) {
            let parts = crd::openapi::parts(definition, version, crd::openapi::Form::V2);
            own.paths.extend(parts.paths);
            own.definitions.extend(parts.definitions);
        }
    }
    if own.paths.is_empty() {
        return Ok(built_in);
    }
    let mut whole: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(&built_in.json)?;
    for (key, more) in [("paths", own.paths), ("definitions", own.definitions)] {
        let mut text = whole.remove(key).map_or_else(|| "{}".to_owned(), |raw| raw.get().to_owned());
        text.pop();
        if text.trim_end() != "{" {
            text.push(',');
        }
        text.push_str(serde_json::to_string(&more)?.trim_start_matches('{'));
        whole.insert(key.to_owned(), RawValue::from_string(text)?);
    }
    let json = serde_json::to_vec(&whole)?;
    Ok(Document { etag: etag(&json), json: json.into() })
}

/// The names of the versions that a definition serves.
fn served(definition: &Value) -> impl Iterator<Item = &str> {
    let versions = meta::list_at(definition, &["spec", "versions"]).iter().filter(|v| v["served"] == true);
    versions.map(|v| meta::str_at(v, &["name"]))
}

/// Groups and versions that a tenant's definitions serve.
fn custom_versions(exchange: &Exchange) -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    for definition in exchange.registry().catalog().definitions(exchange.origin.tenant) {
        let group = meta::str_at(&definition, &["spec", "group"]);
        found.extend(served(&definition).map(|version| (group.to_owned(), version.to_owned())));
    }
    found
}

/// The document of a group and version that a tenant's definitions serve, put together when it is asked for.
fn custom(exchange: &Exchange, path: &str) -> Option<Document> {
    let (group, version) = path.strip_prefix("apis/")?.split_once('/')?;
    let serves = |definition: &Value| {
        meta::str_at(definition, &["spec", "group"]) == group && served(definition).any(|v| v == version)
    };
    let definitions = exchange.registry().catalog().definitions(exchange.origin.tenant);
    let parts: Vec<_> = definitions
        .iter()
        .filter(|d| serves(d))
        .map(|d| crd::openapi::parts(d, version, crd::openapi::Form::V3))
        .collect();
    if parts.is_empty() {
        return None;
    }
    let common = exchange.shared.documents.find("api/v1")?;
    let common: Value = serde_json::from_slice(&common.json).ok()?;
    let lookup = |name: &str| common["components"]["schemas"].get(name).cloned();
    let json = crd::openapi::document_v3(parts, &lookup).to_string().into_bytes();
    Some(Document { etag: etag(&json), json: json.into() })
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
    tag(&mut response, document);
    response
}

fn tag(response: &mut Response<Body>, document: &Document) {
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{}\"", document.etag)) {
        response.headers_mut().insert(ETAG, tag);
    }
}
