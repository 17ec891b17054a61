//! How an object lies in the store: its JSON bytes behind an envelope of the few things that are asked for often.
//!
//! Selectors, garbage collection and routing read the envelope; the body is decoded only where a rule needs it. The
//! body has neither `apiVersion` and `kind` (the key and the envelope tell) nor `metadata.resourceVersion` (the
//! store's revision of the record, which is not known when the body is written) and begins with `{"metadata":{`, so
//! that all three are spliced in front without parsing.
//!
//! Layout, integers big-endian: format (1 byte), flags (1), uid (16), version, labels, fields, owners, body. A string
//! is its length (u16) and bytes; labels and fields are a count (u16) and pairs of strings; owners a count (u16) and
//! for each uid (16) and flags (1).

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::codec::Scan;
use crate::gvk::GroupVersionKind;

const FORMAT: u8 = 1;
const HEADER: usize = 18;
const DELETING: u8 = 1;
const FINALIZERS: u8 = 2;
const OWNER_CONTROLLER: u8 = 1;
const OWNER_BLOCKS: u8 = 2;

/// An object as it lies in the store. Cheap to clone: the bytes are shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored(Bytes);

/// Why bytes or a value are no stored object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// The bytes were not written by [`Stored::encode`].
    #[error("malformed envelope")]
    Malformed,
    /// The object has no `metadata` object, or no UUID in `metadata.uid`.
    #[error("object has no metadata with a uid")]
    NoMetadata,
    /// A label, field or version is longer than 65,535 bytes or there are more than 65,535 of them.
    #[error("envelope field is too large")]
    TooLarge,
    /// The body is not JSON.
    #[error("malformed body")]
    Body,
}

/// An owner reference, as far as garbage collection asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The owner's uid. Nil when the reference holds something that is no UUID.
    pub uid: Uuid,
    /// `controller: true`
    pub controller: bool,
    /// `blockOwnerDeletion: true`
    pub blocks_deletion: bool,
}

impl Stored {
    /// Encodes an object. `fields` are the values that field selectors of its kind can ask for, beyond name and namespace.
    ///
    /// # Errors
    /// [`EnvelopeError::NoMetadata`] or [`EnvelopeError::TooLarge`].
    pub fn encode(version: &str, object: &Value, fields: &[(&str, &str)]) -> Result<Self, EnvelopeError> {
        let metadata = object.get("metadata").and_then(Value::as_object).ok_or(EnvelopeError::NoMetadata)?;
        let uid = metadata
            .get("uid")
            .and_then(Value::as_str)
            .and_then(|s| Uuid::parse_str(s).ok())
            .ok_or(EnvelopeError::NoMetadata)?;
        let mut out = BytesMut::with_capacity(512);
        let mut flags = 0;
        if metadata.contains_key("deletionTimestamp") {
            flags |= DELETING;
        }
        if metadata.get("finalizers").and_then(Value::as_array).is_some_and(|f| !f.is_empty()) {
            flags |= FINALIZERS;
        }
        out.put_u8(FORMAT);
        out.put_u8(flags);
        out.put_slice(uid.as_bytes());
        put_str(&mut out, version)?;
        let empty = Map::new();
        let labels = metadata.get("labels").and_then(Value::as_object).unwrap_or(&empty);
        out.put_u16(count(labels.len())?);
        for (key, value) in labels {
            put_str(&mut out, key)?;
            put_str(&mut out, value.as_str().unwrap_or_default())?;
        }
        out.put_u16(count(fields.len())?);
        for (key, value) in fields {
            put_str(&mut out, key)?;
            put_str(&mut out, value)?;
        }
        let owners = metadata.get("ownerReferences").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        out.put_u16(count(owners.len())?);
        for owner in owners {
            let uid =
                owner.get("uid").and_then(Value::as_str).and_then(|s| Uuid::parse_str(s).ok()).unwrap_or_default();
            let set = |key| owner.get(key).and_then(Value::as_bool).unwrap_or(false);
            out.put_slice(uid.as_bytes());
            out.put_u8(
                if set("controller") { OWNER_CONTROLLER } else { 0 }
                    | if set("blockOwnerDeletion") { OWNER_BLOCKS } else { 0 },
            );
        }
        put_body(&mut out, object, metadata)?;
        Ok(Self(out.freeze()))
    }

    /// Takes bytes that [`Stored::encode`] wrote.
    ///
    /// # Errors
    /// [`EnvelopeError::Malformed`] for any others.
    pub fn from_bytes(bytes: Bytes) -> Result<Self, EnvelopeError> {
        let stored = Self(bytes);
        let body = stored.parts().ok_or(EnvelopeError::Malformed)?.body;
        if stored.0[0] == FORMAT && body.starts_with(b"{\"metadata\":{") {
            Ok(stored)
        } else {
            Err(EnvelopeError::Malformed)
        }
    }

    /// The bytes, to be stored.
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// `metadata.uid`
    pub fn uid(&self) -> Uuid {
        let mut uid = [0; 16];
        uid.copy_from_slice(&self.0[2..HEADER]);
        Uuid::from_bytes(uid)
    }

    /// Whether `metadata.deletionTimestamp` is set.
    pub fn deleting(&self) -> bool {
        self.0[1] & DELETING != 0
    }

    /// Whether there are `metadata.finalizers`.
    pub fn has_finalizers(&self) -> bool {
        self.0[1] & FINALIZERS != 0
    }

    /// The version of its group that the body is written in.
    pub fn version(&self) -> &str {
        self.parts().map(|p| p.version).unwrap_or_default()
    }

    /// The labels, sorted by key.
    pub fn labels(&self) -> Pairs<'_> {
        self.parts().map(|p| p.labels).unwrap_or_default()
    }

    /// The value of a label.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels().value(key)
    }

    /// The fields that selectors can ask for.
    pub fn fields(&self) -> Pairs<'_> {
        self.parts().map(|p| p.fields).unwrap_or_default()
    }

    /// The value of a selectable field.
    pub fn field(&self, key: &str) -> Option<&str> {
        self.fields().value(key)
    }

    /// The owners, in the order of `metadata.ownerReferences`.
    pub fn owners(&self) -> impl Iterator<Item = Owner> + '_ {
        self.parts().map(|p| p.owners).unwrap_or_default().chunks_exact(17).map(|c| {
            let mut uid = [0; 16];
            uid.copy_from_slice(&c[..16]);
            Owner {
                uid: Uuid::from_bytes(uid),
                controller: c[16] & OWNER_CONTROLLER != 0,
                blocks_deletion: c[16] & OWNER_BLOCKS != 0,
            }
        })
    }

    /// The JSON of the object without `apiVersion`, `kind` and `metadata.resourceVersion`.
    pub fn body(&self) -> &[u8] {
        self.parts().map(|p| p.body).unwrap_or_default()
    }

    /// Writes the object's JSON with its revision, and with `apiVersion` and `kind` if given.
    pub fn write_json(&self, out: &mut Vec<u8>, kind: Option<&GroupVersionKind>, revision: u64) {
        let body = self.body();
        out.reserve(body.len() + 160);
        write_head(out, kind, revision);
        out.extend_from_slice(&body[b"{\"metadata\":{".len()..]);
    }

    /// Writes the JSON of an object of this kind that has the metadata of this one, its revision, and nothing else.
    ///
    /// # Errors
    /// [`EnvelopeError::Body`] if the body is not a JSON object.
    pub fn write_metadata_json(
        &self,
        out: &mut Vec<u8>,
        kind: Option<&GroupVersionKind>,
        revision: u64,
    ) -> Result<(), EnvelopeError> {
        let mut metadata = Scan::new(&self.body()[b"{\"metadata\":".len()..]);
        let metadata = metadata.raw().map_err(|_| EnvelopeError::Body)?;
        write_head(out, kind, revision);
        out.extend_from_slice(&metadata[1..]);
        out.push(b'}');
        Ok(())
    }

    /// Decodes the object, with its revision, and with `apiVersion` and `kind` if given.
    ///
    /// # Errors
    /// [`EnvelopeError::Body`] if the body is not a JSON object.
    pub fn to_value(&self, kind: Option<&GroupVersionKind>, revision: u64) -> Result<Value, EnvelopeError> {
        let mut value: Value = serde_json::from_slice(self.body()).map_err(|_| EnvelopeError::Body)?;
        let object = value.as_object_mut().ok_or(EnvelopeError::Body)?;
        let metadata = object.get_mut("metadata").and_then(Value::as_object_mut).ok_or(EnvelopeError::Body)?;
        metadata.insert("resourceVersion".to_owned(), Value::String(revision.to_string()));
        if let Some(kind) = kind {
            object.insert("kind".to_owned(), Value::String(kind.kind.to_string()));
            object.insert("apiVersion".to_owned(), Value::String(kind.api_version().to_string()));
        }
        Ok(value)
    }

    fn parts(&self) -> Option<Parts<'_>> {
        Parts::of(&self.0)
    }
}

/// Writes an object up to the first of its metadata in the store, which follows.
fn write_head(out: &mut Vec<u8>, kind: Option<&GroupVersionKind>, revision: u64) {
    out.push(b'{');
    if let Some(kind) = kind {
        out.extend_from_slice(b"\"kind\":\"");
        out.extend_from_slice(kind.kind.as_bytes());
        out.extend_from_slice(b"\",\"apiVersion\":\"");
        out.extend_from_slice(kind.api_version().as_bytes());
        out.extend_from_slice(b"\",");
    }
    out.extend_from_slice(b"\"metadata\":{\"resourceVersion\":\"");
    // Writing a number to memory cannot fail.
    let _ = std::io::Write::write_fmt(out, format_args!("{revision}"));
    out.extend_from_slice(b"\",");
}

/// What selectors ask of an object as it lies in the store: read in place, nothing is copied.
#[derive(Clone, Copy, Debug, Default)]
pub struct Selectable<'a> {
    /// The labels, sorted by key.
    pub labels: Pairs<'a>,
    /// The fields that selectors can ask for, beyond name and namespace.
    pub fields: Pairs<'a>,
}

impl<'a> Selectable<'a> {
    /// Reads the bytes of a stored object.
    ///
    /// # Errors
    /// [`EnvelopeError::Malformed`] for any others.
    pub fn of(bytes: &'a [u8]) -> Result<Self, EnvelopeError> {
        let parts = Parts::of(bytes).ok_or(EnvelopeError::Malformed)?;
        Ok(Self { labels: parts.labels, fields: parts.fields })
    }
}

struct Parts<'a> {
    version: &'a str,
    labels: Pairs<'a>,
    fields: Pairs<'a>,
    owners: &'a [u8],
    body: &'a [u8],
}

impl<'a> Parts<'a> {
    fn of(bytes: &'a [u8]) -> Option<Self> {
        let mut rest = bytes.get(HEADER..)?;
        let version = take_str(&mut rest)?;
        let labels = take_pairs(&mut rest)?;
        let fields = take_pairs(&mut rest)?;
        let owners = usize::from(take_u16(&mut rest)?) * 17;
        let (owners, body) = rest.split_at_checked(owners)?;
        Some(Self { version, labels, fields, owners, body })
    }
}

/// Pairs of strings, read from the envelope as they are asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pairs<'a> {
    left: u16,
    bytes: &'a [u8],
}

impl<'a> Pairs<'a> {
    /// The value behind a key.
    pub fn value(self, key: &str) -> Option<&'a str> {
        let mut rest = self.bytes;
        for _ in 0..self.left {
            let found = take_bytes(&mut rest)? == key.as_bytes();
            let value = take_bytes(&mut rest)?;
            if found {
                return std::str::from_utf8(value).ok();
            }
        }
        None
    }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        Some((take_str(&mut self.bytes)?, take_str(&mut self.bytes)?))
    }
}

fn count(n: usize) -> Result<u16, EnvelopeError> {
    u16::try_from(n).map_err(|_| EnvelopeError::TooLarge)
}

fn put_str(out: &mut BytesMut, s: &str) -> Result<(), EnvelopeError> {
    out.put_u16(count(s.len())?);
    out.put_slice(s.as_bytes());
    Ok(())
}

fn put_body(out: &mut BytesMut, object: &Value, metadata: &Map<String, Value>) -> Result<(), EnvelopeError> {
    let mut writer = out.writer();
    let mut write = |prefix: &str, value: &Value| -> Result<(), EnvelopeError> {
        use std::io::Write;
        writer.write_all(prefix.as_bytes()).map_err(|_| EnvelopeError::Body)?;
        serde_json::to_writer(&mut writer, value).map_err(|_| EnvelopeError::Body)
    };
    let mut prefix = "{\"metadata\":{";
    for (key, value) in metadata.iter().filter(|(k, _)| *k != "resourceVersion") {
        write(prefix, &Value::String(key.clone()))?;
        write(":", value)?;
        prefix = ",";
    }
    prefix = "},";
    for (key, value) in object.as_object().into_iter().flatten() {
        if !matches!(key.as_str(), "metadata" | "apiVersion" | "kind") {
            write(prefix, &Value::String(key.clone()))?;
            write(":", value)?;
            prefix = ",";
        }
    }
    out.put_slice(if prefix == "," { b"}" } else { b"}}" });
    Ok(())
}

fn take_u16(rest: &mut &[u8]) -> Option<u16> {
    let (n, tail) = rest.split_first_chunk::<2>()?;
    *rest = tail;
    Some(u16::from_be_bytes(*n))
}

fn take_bytes<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let n = usize::from(take_u16(rest)?);
    let (s, tail) = rest.split_at_checked(n)?;
    *rest = tail;
    Some(s)
}

fn take_str<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    std::str::from_utf8(take_bytes(rest)?).ok()
}

/// Steps over pairs; whether they are text is seen when they are read.
fn take_pairs<'a>(rest: &mut &'a [u8]) -> Option<Pairs<'a>> {
    let left = take_u16(rest)?;
    let bytes = *rest;
    for _ in 0..u32::from(left) * 2 {
        take_bytes(rest)?;
    }
    Some(Pairs { left, bytes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod() -> Value {
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": "p", "namespace": "n", "uid": "8c2a54a5-2f6c-4f3e-9f0f-7d3b3c1f0a11", "resourceVersion": "7",
                "labels": {"b": "2", "a": "1"}, "finalizers": ["x"],
                "ownerReferences": [{"uid": "00000000-0000-0000-0000-000000000001", "controller": true, "name": "o"}],
            },
            "data": {"x": 1}, "spec": {"nodeName": "n1"},
        })
    }

    #[test]
    fn what_goes_in_comes_out_with_the_revision_of_the_store() {
        let stored = Stored::encode("v1", &pod(), &[("spec.nodeName", "n1")]).unwrap();
        let stored = Stored::from_bytes(stored.as_bytes().clone()).unwrap();
        let kind = GroupVersionKind::new("", "v1", "Pod");
        let mut want = pod();
        want["metadata"]["resourceVersion"] = json!("42");
        assert_eq!(stored.to_value(Some(&kind), 42).unwrap(), want);
        let mut out = Vec::new();
        stored.write_json(&mut out, Some(&kind), 42);
        assert_eq!(serde_json::from_slice::<Value>(&out).unwrap(), want);
        assert_eq!(stored.labels().collect::<Vec<_>>(), [("a", "1"), ("b", "2")]);
        assert_eq!(stored.field("spec.nodeName"), Some("n1"));
        assert!(stored.has_finalizers() && !stored.deleting());
        let owner = stored.owners().next().unwrap();
        assert!(owner.controller && !owner.blocks_deletion && owner.uid.as_u128() == 1);
    }

    #[test]
    fn bytes_of_anything_else_are_refused() {
        for bytes in [&b""[..], b"{}", &[1; 40], &[0xff; 300]] {
            assert!(Stored::from_bytes(Bytes::copy_from_slice(bytes)).is_err());
        }
    }

    #[test]
    fn an_object_of_metadata_alone_is_well_formed() {
        let object = json!({"metadata": {"uid": "00000000-0000-0000-0000-000000000001"}});
        let stored = Stored::encode("v1", &object, &[]).unwrap();
        let mut out = Vec::new();
        stored.write_json(&mut out, None, 1);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            r#"{"metadata":{"resourceVersion":"1","uid":"00000000-0000-0000-0000-000000000001"}}"#
        );
    }

    #[test]
    fn metadata_is_written_without_the_rest() {
        let stored = Stored::encode("v1", &pod(), &[]).unwrap();
        let mut out = Vec::new();
        stored.write_metadata_json(&mut out, Some(&GroupVersionKind::new("meta.k8s.io", "v1", "P")), 42).unwrap();
        let mut want = json!({"kind": "P", "apiVersion": "meta.k8s.io/v1", "metadata": pod()["metadata"]});
        want["metadata"]["resourceVersion"] = json!("42");
        assert_eq!(serde_json::from_slice::<Value>(&out).unwrap(), want);
    }
}
