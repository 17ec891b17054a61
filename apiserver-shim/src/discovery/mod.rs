//! Everything that is no resource: discovery, versions, health, OpenAPI.

mod aggregated;
mod health;
mod legacy;
mod openapi;

use apimachinery::status::ApiError;
use axum::body::Body;
use http::header::{CACHE_CONTROL, ETAG, IF_NONE_MATCH, VARY};
use http::{HeaderValue, Method, Response};
use serde_json::{Value, json};

pub(crate) use openapi::Documents;

use crate::encode;
use crate::http::{Exchange, respond};
use crate::negotiate::{self, Accepted, As, Offer};

/// The Kubernetes version that is served.
pub(crate) const VERSION: (&str, &str, &str) = ("1", "36", KUBERNETES_VERSION);
/// The Kubernetes version that is served, as `gitVersion` says it.
pub const KUBERNETES_VERSION: &str = "v1.36.3";

/// Answers a request for a path that is no resource.
pub(crate) async fn serve(exchange: &Exchange) -> Result<Response<Body>, ApiError> {
    let path = exchange.info.path.as_str();
    let trimmed = if path.len() > 1 { path.trim_end_matches('/') } else { path };
    let segments: Vec<&str> = trimmed.split('/').skip(1).collect();
    let known = known_path(exchange, &segments);
    if known && !matches!(exchange.method, Method::GET | Method::HEAD) {
        return if matches!(segments.as_slice(), ["api" | "apis", ..]) {
            let mut error = ApiError::new(
                405,
                "MethodNotAllowed",
                "the server does not allow this method on the requested resource",
            );
            error.empty_details = true;
            Err(error)
        } else {
            Ok(respond::text(405, "405: Method Not Allowed"))
        };
    }
    let tenant = exchange.origin.tenant;
    let catalog = exchange.registry().catalog();
    match segments.as_slice() {
        [""] => legacy::root(exchange),
        ["api"] | ["apis"] => root(exchange, segments[0] == "api"),
        ["api", version] => match legacy::resources(catalog, tenant, "", version) {
            Some(list) => document(exchange, &list),
            None => Err(no_such_resource()),
        },
        ["apis", group] => match legacy::group(catalog, tenant, group) {
            Some(found) => document(exchange, &found),
            None => Ok(respond::no_such_path()),
        },
        ["apis", group, version] => match legacy::resources(catalog, tenant, group, version) {
            Some(list) => document(exchange, &list),
            None if legacy::group(catalog, tenant, group).is_some() => Err(no_such_resource()),
            None => Ok(respond::no_such_path()),
        },
        ["version"] => Ok(version()),
        ["livez" | "readyz" | "healthz", checks @ ..] => Ok(health::serve(exchange, segments[0], checks)),
        ["openapi", "v2"] => openapi::v2(exchange),
        ["openapi", "v3"] => openapi::v3_index(exchange),
        ["openapi", "v3", rest @ ..] => openapi::v3(exchange, &rest.join("/")),
        _ => match exchange.shared.paths.get(trimmed) {
            Some(page) => page.page(tenant).await,
            None => Ok(respond::no_such_path()),
        },
    }
}

fn no_such_resource() -> ApiError {
    let mut error = ApiError::new(404, "NotFound", "the server could not find the requested resource");
    error.empty_details = true;
    error
}

fn known_path(exchange: &Exchange, segments: &[&str]) -> bool {
    let catalog = exchange.registry().catalog();
    match segments {
        ["api"] | ["apis"] | ["version"] | ["livez" | "readyz" | "healthz", ..] | ["openapi", ..] => true,
        ["api", version] => catalog.has_version(exchange.origin.tenant, "", version),
        ["apis", group, version] => catalog.has_version(exchange.origin.tenant, group, version),
        _ => false,
    }
}

/// `/api` and `/apis`, plain or aggregated.
fn root(exchange: &Exchange, core: bool) -> Result<Response<Body>, ApiError> {
    let offer = Offer { discovery: true, ..Offer::plain() };
    let accepted = negotiate::accept(&exchange.headers, &exchange.query, offer)?;
    let catalog = exchange.registry().catalog();
    let tenant = exchange.origin.tenant;
    if accepted.form == As::Discovery {
        let list = aggregated::list(catalog, tenant, core);
        return tagged(exchange, &list, &accepted);
    }
    let host = exchange.headers.get("host").and_then(|h| h.to_str().ok()).unwrap_or_default();
    let list = if core { legacy::versions(host) } else { legacy::groups(catalog, tenant) };
    written(exchange, &list, &accepted)
}

fn document(exchange: &Exchange, value: &Value) -> Result<Response<Body>, ApiError> {
    let accepted = negotiate::accept(&exchange.headers, &exchange.query, Offer::plain())?;
    written(exchange, value, &accepted)
}

fn written(exchange: &Exchange, value: &Value, accepted: &Accepted) -> Result<Response<Body>, ApiError> {
    let body = encode::write(value, accepted.encoding, None)?;
    Ok(respond::bytes(200, &accepted.content_type(), body, &exchange.headers))
}

/// A document with an `ETag`, or 304 if the client has it.
fn tagged(exchange: &Exchange, value: &Value, accepted: &Accepted) -> Result<Response<Body>, ApiError> {
    let tag = openapi::etag(value.to_string().as_bytes());
    let quoted = format!("\"{tag}\"");
    let same = exchange.headers.get(IF_NONE_MATCH).is_some_and(|v| v.as_bytes() == quoted.as_bytes());
    let mut response = if same {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = http::StatusCode::NOT_MODIFIED;
        response
    } else {
        written(exchange, value, accepted)?
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public"));
    headers.append(VARY, HeaderValue::from_static("Accept"));
    if let Ok(tag) = HeaderValue::from_str(&quoted) {
        headers.insert(ETAG, tag);
    }
    Ok(response)
}

fn version() -> Response<Body> {
    let (major, minor, git) = VERSION;
    let previous = minor.parse::<u32>().map_or_else(|_| minor.to_owned(), |m| m.saturating_sub(1).to_string());
    let body = json!({
        "major": major, "minor": minor, "emulationMajor": major, "emulationMinor": minor,
        "minCompatibilityMajor": major, "minCompatibilityMinor": previous,
        "gitVersion": git, "gitCommit": "", "gitTreeState": "", "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "", "compiler": "rustc", "platform": format!("{}/{}", std::env::consts::OS, platform()),
    });
    let text = serde_json::to_vec_pretty(&body).unwrap_or_default();
    respond::bytes(200, "application/json", text, &http::HeaderMap::new())
}

fn platform() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
