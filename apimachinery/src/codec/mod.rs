//! Wire formats: bytes to values and back, driven by the schema alone.
//!
//! A request goes through [`parse`] (or [`protobuf_decode`]) and [`canonicalise`]; what comes out is what decoding into
//! the Go type and encoding again would give, so all that follows can rely on its shape.

mod canonical;
mod json;
mod path;
mod proto_read;
mod proto_write;
mod protobuf;
mod scan;
mod syntax;
mod yaml;
mod yaml_write;

use serde_json::Value;

use crate::patch::json_kind;

pub use canonical::{Canonical, cannot_be_handled, canonicalise, decode_json};
pub use proto_read::ProtobufError;
pub use protobuf::{
    ENVELOPE_TAIL, MAGIC, Unknown, has_protobuf, protobuf_decode, protobuf_decode_raw, protobuf_encode,
    protobuf_encode_raw, protobuf_envelope, protobuf_list_head, protobuf_list_item, protobuf_watch_frame, unregistered,
};
pub use scan::Malformed;
pub(crate) use scan::Scan;

use crate::status::ApiError;

/// How deep values may nest. Go allows 10,000, but no object needs that, and all code that walks values recurses.
pub const MAX_DEPTH: usize = 128;

/// A wire format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// `application/json`
    Json,
    /// `application/yaml`
    Yaml,
    /// `application/vnd.kubernetes.protobuf`
    Protobuf,
}

/// What a text may hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits<'a> {
    /// The kind that the request is for; the error of a malformed text names it.
    pub kind: &'a str,
    /// How deep values may nest, at most [`MAX_DEPTH`].
    pub depth: usize,
}

impl<'a> Limits<'a> {
    /// The usual limits for a request that is for this kind.
    pub fn of(kind: &'a str) -> Self {
        Self { kind, depth: MAX_DEPTH }
    }
}

/// A text that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    /// What it says; of keys that occur more than once the last.
    pub value: Value,
    /// Complaints about keys that occur more than once, as the strict decoder words them:
    /// `duplicate field "spec.replicas"`, or for YAML one text with all of them.
    pub duplicates: Vec<String>,
}

/// Reads JSON or YAML.
///
/// # Errors
/// 400 for what is malformed or nests too deeply, in the words of the stock server; 415 for protobuf, which needs a schema.
pub fn parse(format: Format, bytes: &[u8], limits: Limits<'_>) -> Result<Parsed, ApiError> {
    let parsed = match format {
        Format::Json => json::parse(bytes, limits.depth)
            .map_err(|why| format!("couldn't get version/kind; json parse error: {why}")),
        Format::Yaml => yaml::parse(bytes, limits.depth),
        Format::Protobuf => {
            return Err(ApiError::new(415, "UnsupportedMediaType", "protobuf is decoded with a schema"));
        }
    };
    parsed
        .and_then(|parsed| refuse_unknowable(&parsed.value).map(|()| parsed))
        .map_err(|why| unrecognised(limits.kind, &why, bytes))
}

/// Reads a patch: JSON, or YAML for an apply. It may be any value.
///
/// # Errors
/// 400 for what is malformed or nests too deeply, in the words of the stock server.
pub fn parse_patch(format: Format, bytes: &[u8], limits: Limits<'_>) -> Result<Parsed, ApiError> {
    let parsed = match format {
        Format::Json => json::parse(bytes, limits.depth).map_err(|why| format!("error decoding patch: {why}")),
        Format::Yaml => yaml::parse(bytes, limits.depth)
            .map_err(|why| format!("error decoding YAML: error converting YAML to JSON: {why}")),
        Format::Protobuf => {
            return Err(ApiError::new(415, "UnsupportedMediaType", "patches are JSON or YAML"));
        }
    };
    parsed.map_err(ApiError::bad_request)
}

/// What Go's decoder says of bytes that are no JSON, if they are none.
pub fn json_complaint(bytes: &[u8]) -> Option<String> {
    syntax::complaint(bytes, MAX_DEPTH)
}

/// A value as YAML in the style of `kubectl get -o yaml`.
pub fn to_yaml(value: &Value) -> String {
    let mut out = String::new();
    yaml_write::write(value, &mut out);
    out
}

/// What the stock server says of a text that is well-formed but whose kind it cannot tell.
fn refuse_unknowable(value: &Value) -> Result<(), String> {
    let wrong = |found: &str, place: &str| {
        Err(format!("couldn't get version/kind; json parse error: json: cannot unmarshal {found} into Go {place}"))
    };
    let object = match value {
        Value::Object(object) => object,
        Value::Null => return Ok(()),
        other => {
            let place = r#"value of type struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }"#;
            return wrong(json_kind(other), place);
        }
    };
    for key in ["apiVersion", "kind"] {
        if let Some(other) = object.get(key).filter(|v| !v.is_string() && !v.is_null()) {
            return wrong(json_kind(other), &format!("struct field .{key} of type string"));
        }
    }
    match object.get("apiVersion").and_then(Value::as_str) {
        Some(version) if version.matches('/').count() > 1 => Err(format!("unexpected GroupVersion string: {version}")),
        _ => Ok(()),
    }
}

/// What the stock server says of a body that names no kind.
pub fn unrecognised(kind: &str, why: &str, body: &[u8]) -> ApiError {
    ApiError::bad_request(format!(
        "the object provided is unrecognized (must be of type {kind}): {why} ({})",
        summary(body)
    ))
}

/// The first bytes of a body, in hexadecimal unless they are JSON.
fn summary(body: &[u8]) -> String {
    const SHOWN: usize = 30;
    if body.is_empty() {
        return "<empty>".to_owned();
    }
    let start = &body[..body.len().min(SHOWN)];
    let dots = if body.len() > SHOWN { " ..." } else { "" };
    if body[0] == b'{' {
        format!("{}{dots}", String::from_utf8_lossy(start))
    } else {
        let hex: String = start.iter().map(|b| format!("{b:02x}")).collect();
        format!("{hex}{dots}")
    }
}

#[cfg(test)]
mod tests;
