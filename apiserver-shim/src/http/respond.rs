//! Building answers.

use std::io::Write;

use apimachinery::status::ApiError;
use axum::body::Body;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, RETRY_AFTER, VARY, WARNING};
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use crate::encode;
use crate::negotiate::{self, Accepted, As, Encoding, Offer};
use crate::pieces::{COMPRESS_FROM, Pieced};
use crate::request::Query;

/// How much text all warnings of an answer may have, and one of them.
const WARNINGS_MAX: usize = 4 * 1024;
const WARNING_MAX: usize = 256;

fn status_code(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// An answer with a body.
pub(crate) fn bytes(code: u16, content_type: &str, body: Vec<u8>, headers: &HeaderMap) -> Response<Body> {
    let compress = body.len() > COMPRESS_FROM && accepts_gzip(headers);
    let (body, compressed) = match compress.then(|| gzip(&body)).flatten() {
        Some(small) => (small, true),
        None => (body, false),
    };
    with_body(code, content_type, Body::from(body), compressed)
}

/// An answer with a body in pieces.
pub(super) fn pieces(code: u16, content_type: &str, body: Pieced) -> Response<Body> {
    let compressed = body.is_compressed();
    with_body(code, content_type, Body::new(body), compressed)
}

fn with_body(code: u16, content_type: &str, body: Body, compressed: bool) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status_code(code);
    let out = response.headers_mut();
    out.insert(CONTENT_TYPE, super::header(content_type));
    if compressed {
        out.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        out.append(VARY, HeaderValue::from_static("Accept-Encoding"));
    }
    response
}

/// An answer of text.
pub(crate) fn text(code: u16, body: impl Into<Vec<u8>>) -> Response<Body> {
    let mut response = bytes(code, "text/plain; charset=utf-8", body.into(), &HeaderMap::new());
    response
        .headers_mut()
        .insert(HeaderName::from_static("x-content-type-options"), HeaderValue::from_static("nosniff"));
    response
}

/// What the stock server says of paths that it does not know.
pub(crate) fn no_such_path() -> Response<Body> {
    text(404, "404 page not found\n")
}

/// A `Status` in an encoding that the client reads, JSON if there is none.
pub(crate) fn status(error: &ApiError, headers: &HeaderMap, query: &Query) -> Response<Body> {
    let accepted = negotiate::accept(headers, query, Offer::plain()).unwrap_or_else(|_| Accepted::json());
    let accepted = Accepted { form: As::Object, ..accepted };
    let status = error.to_status();
    let (body, accepted) = match encode::write(&status, accepted.encoding, None) {
        Ok(body) => (body, accepted),
        Err(_) => {
            (encode::write(&status, Encoding::Json { pretty: false }, None).unwrap_or_default(), Accepted::json())
        }
    };
    let mut response = bytes(error.code, &accepted.content_type(), body, headers);
    if let Some(seconds) = error.retry_after {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// Adds what the registry has to say to the client.
pub(crate) fn warn(response: &mut Response<Body>, warnings: Vec<String>) {
    let mut left = WARNINGS_MAX;
    let long = warnings.iter().map(String::len).sum::<usize>() > WARNINGS_MAX;
    for mut text in warnings {
        if long && text.len() > WARNING_MAX {
            let mut end = WARNING_MAX;
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            text.truncate(end);
        }
        if text.len() > left {
            return;
        }
        left -= text.len();
        let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let value = format!("299 - {}", apimachinery::field::quote(&text));
        if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
            response.headers_mut().append(WARNING, value);
        }
    }
}

/// Whether a client takes answers that are compressed.
pub(super) fn accepts_gzip(headers: &HeaderMap) -> bool {
    headers.get_all(ACCEPT_ENCODING).iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(',')).any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        parts.next() == Some("gzip") && !parts.any(|p| matches!(p, "q=0" | "q=0.0"))
    })
}

fn gzip(body: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    encoder.write_all(body).ok()?;
    encoder.finish().ok()
}
