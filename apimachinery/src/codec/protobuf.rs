//! The Kubernetes protobuf format: `k8s\0` and a `runtime.Unknown` that holds the object; lists; watch frames.
//!
//! Source: `k8s.io/apimachinery/pkg/runtime/serializer/protobuf`.

use serde_json::{Map, Value};

use super::proto_read::{ProtobufError, Raw, Reader, structure};
use super::scan::{Malformed, Scan};
use super::{Limits, cannot_be_handled, proto_write, unrecognised};
use crate::gvk::GroupVersionKind;
use crate::schema::KindSchema;
use crate::status::ApiError;

/// What every protobuf body begins with.
pub const MAGIC: &[u8; 4] = b"k8s\0";

/// The envelope around an object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unknown<'a> {
    /// `apiVersion`, may be empty.
    pub api_version: &'a str,
    /// `kind`, may be empty.
    pub kind: &'a str,
    /// The object's message.
    pub raw: &'a [u8],
}

/// Whether a kind can be written as protobuf: `Table` cannot, nor can custom resources.
pub fn has_protobuf(schema: &KindSchema) -> bool {
    schema.root().fields.iter().any(|field| !field.proto.is_empty())
}

/// Takes the envelope off.
///
/// # Errors
/// 400 in the words of the stock server for what is no envelope.
pub fn protobuf_envelope<'a>(bytes: &'a [u8], limits: Limits<'_>) -> Result<Unknown<'a>, ApiError> {
    let refuse = |why: &str| unrecognised(limits.kind, why, bytes);
    if bytes.is_empty() {
        return Err(refuse("empty data"));
    }
    let Some(body) = bytes.strip_prefix(MAGIC) else {
        return Err(refuse("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]"));
    };
    if body.is_empty() {
        return Err(refuse("empty body"));
    }
    unknown(body).map_err(|why| refuse(&why.to_string()))
}

fn unknown(body: &[u8]) -> Result<Unknown<'_>, ProtobufError> {
    let mut unknown = Unknown::default();
    let mut reader = Reader(body);
    while let Some((number, raw)) = reader.field()? {
        match (number, raw) {
            (1, Raw::Bytes(type_meta)) => {
                let mut reader = Reader(type_meta);
                while let Some((number, raw)) = reader.field()? {
                    match (number, raw) {
                        (1, Raw::Bytes(text)) => unknown.api_version = std::str::from_utf8(text).unwrap_or_default(),
                        (2, Raw::Bytes(text)) => unknown.kind = std::str::from_utf8(text).unwrap_or_default(),
                        _ => {}
                    }
                }
            }
            (2, Raw::Bytes(raw)) => unknown.raw = raw,
            _ => {}
        }
    }
    Ok(unknown)
}

/// Decodes an object in its envelope. What it says of its kind is completed from `default`; the value is canonical and
/// has `apiVersion` and `kind`.
///
/// # Errors
/// 400 for what is no envelope, a kind that `lookup` does not know, or a malformed message.
pub fn protobuf_decode(
    lookup: impl Fn(&GroupVersionKind) -> Option<KindSchema>,
    default: &GroupVersionKind,
    bytes: &[u8],
) -> Result<(GroupVersionKind, Value), ApiError> {
    let unknown = protobuf_envelope(bytes, Limits::of(&default.kind))?;
    let mut kind = GroupVersionKind::from_api_version(unknown.api_version, unknown.kind);
    if kind.kind.is_empty() {
        kind.kind = default.kind.clone();
    }
    if kind.version.is_empty() {
        kind.group = default.group.clone();
        kind.version = default.version.clone();
    }
    let refuse = |why: &str| cannot_be_handled(&kind, &default.kind, why);
    let Some(schema) = lookup(&kind) else {
        return Err(refuse(&unregistered(&kind)));
    };
    let mut value = protobuf_decode_raw(&schema, unknown.raw).map_err(|why| refuse(&why.to_string()))?;
    if let Some(object) = value.as_object_mut() {
        object.insert("apiVersion".to_owned(), Value::String(kind.api_version().into()));
        object.insert("kind".to_owned(), Value::String(kind.kind.to_string()));
    }
    Ok((kind, value))
}

/// What the stock server says of a kind that it does not know.
pub fn unregistered(kind: &GroupVersionKind) -> String {
    let version = crate::field::quote(&kind.api_version());
    format!(
        "no kind {} is registered for version {version} in scheme \"pkg/api/legacyscheme/scheme.go:30\"",
        crate::field::quote(&kind.kind)
    )
}

/// Decodes a message without an envelope into a canonical value without `apiVersion` and `kind`.
///
/// # Errors
/// [`ProtobufError`].
pub fn protobuf_decode_raw(schema: &KindSchema, bytes: &[u8]) -> Result<Value, ProtobufError> {
    let mut object = Map::new();
    structure(&schema.schema, schema.root, bytes, &mut object, 0)?;
    Ok(Value::Object(object))
}

/// Encodes an object with its envelope. `json` is canonical and has no spaces between its tokens, as the store has it.
///
/// # Errors
/// [`Malformed`] for what is no such JSON; what was written until then stays.
pub fn protobuf_encode(
    schema: &KindSchema,
    kind: &GroupVersionKind,
    json: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), Malformed> {
    envelope(kind, out, |out| protobuf_encode_raw(schema, json, out))
}

/// Encodes an object without an envelope.
///
/// # Errors
/// As [`protobuf_encode`].
pub fn protobuf_encode_raw(schema: &KindSchema, json: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let mut json = Scan::new(json);
    proto_write::structure(&schema.schema, schema.root(), &mut json, out)?;
    if json.rest().is_empty() { Ok(()) } else { Err(Malformed::Json) }
}

fn envelope(
    kind: &GroupVersionKind,
    out: &mut Vec<u8>,
    content: impl FnOnce(&mut Vec<u8>) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    type_meta(kind, out)?;
    proto_write::message(2, out, content)?;
    out.extend_from_slice(ENVELOPE_TAIL);
    Ok(())
}

/// Writes what comes before the object.
fn type_meta(kind: &GroupVersionKind, out: &mut Vec<u8>) -> Result<(), Malformed> {
    out.extend_from_slice(MAGIC);
    proto_write::message(1, out, |out| {
        proto_write::text(1, &kind.api_version(), out);
        proto_write::text(2, &kind.kind, out);
        Ok(())
    })
}

/// What ends an envelope: content encoding and type, none, as Go writes them.
pub const ENVELOPE_TAIL: &[u8] = &[0x1a, 0, 0x22, 0];

/// Writes a list in its envelope up to its items, which have `items` bytes together: each as [`protobuf_list_item`] writes
/// it. Behind them comes [`ENVELOPE_TAIL`].
///
/// # Errors
/// As [`protobuf_encode`].
pub fn protobuf_list_head(
    list_kind: &GroupVersionKind,
    list_meta: &KindSchema,
    metadata: &[u8],
    items: usize,
    out: &mut Vec<u8>,
) -> Result<(), Malformed> {
    let mut meta = Vec::new();
    proto_write::message(1, &mut meta, |out| protobuf_encode_raw(list_meta, metadata, out))?;
    type_meta(list_kind, out)?;
    proto_write::length(2, meta.len() + items, out);
    out.extend_from_slice(&meta);
    Ok(())
}

/// Writes an item of a list.
///
/// # Errors
/// As [`protobuf_encode`].
pub fn protobuf_list_item(schema: &KindSchema, json: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    proto_write::message(2, out, |out| protobuf_encode_raw(schema, json, out))
}

/// Writes a watch frame: four bytes of length and a `WatchEvent` of this type (`ADDED`, ...) around what `object` writes,
/// which is encoded with its envelope.
///
/// # Errors
/// As [`protobuf_encode`].
pub fn protobuf_watch_frame(
    event: &str,
    out: &mut Vec<u8>,
    object: impl FnOnce(&mut Vec<u8>) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    proto_write::text(1, event, out);
    proto_write::message(2, out, |out| proto_write::message(1, out, object))?;
    let length = (out.len() - start - 4) as u32;
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
    Ok(())
}
