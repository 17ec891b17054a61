//! Reads JSON: keys that occur twice are reported, errors are worded as Go words them.

use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::path::{Step, Trail};
use super::{Parsed, syntax};

/// Complaints beyond these are dropped, as the stock server does.
pub(super) const MAX_COMPLAINTS: usize = 100;

pub(super) fn parse(bytes: &[u8], depth: usize) -> Result<Parsed, String> {
    let read = |bytes: &[u8]| {
        let mut duplicates = Vec::new();
        let seed = Untyped { duplicates: &mut duplicates, trail: &Trail::root() };
        let value = read_document(bytes, seed)?;
        Ok(Parsed { value, duplicates })
    };
    with_repair(bytes, depth, read)
}

/// Reads one whole JSON text with a seed.
pub(super) fn read_document<'de, S: DeserializeSeed<'de>>(
    bytes: &'de [u8],
    seed: S,
) -> Result<S::Value, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = seed.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

/// Reads a text; if that fails says why as Go would. Text that Go takes although it is not quite Unicode is repaired.
pub(super) fn with_repair<T>(
    bytes: &[u8],
    depth: usize,
    read: impl Fn(&[u8]) -> Result<T, serde_json::Error>,
) -> Result<T, String> {
    let error = match read(bytes) {
        Ok(value) => return Ok(value),
        Err(error) => error,
    };
    if let Some(complaint) = syntax::complaint(bytes, depth) {
        return Err(complaint);
    }
    read(&repair(bytes)).map_err(|_| error.to_string())
}

/// Replaces what is no Unicode by U+FFFD: broken UTF-8, and escapes of half a surrogate pair.
fn repair(bytes: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(bytes);
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_ref();
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let unit = |s: &str| s.strip_prefix("\\u").and_then(|h| u16::from_str_radix(h.get(..4)?, 16).ok());
        let here = &rest[at..];
        let taken = match unit(here) {
            Some(0xd800..0xdc00) if matches!(here.get(6..).and_then(unit), Some(0xdc00..0xe000)) => 12,
            Some(0xd800..0xe000) => {
                out.push('\u{fffd}');
                rest = &here[6..];
                continue;
            }
            Some(_) => 6,
            None => 1 + here[1..].chars().next().map_or(0, char::len_utf8),
        };
        out.push_str(&here[..taken]);
        rest = &here[taken..];
    }
    out.push_str(rest);
    out.into_bytes()
}

/// Reads any value.
struct Untyped<'a> {
    duplicates: &'a mut Vec<String>,
    trail: &'a Trail<'a>,
}

impl<'de> DeserializeSeed<'de> for Untyped<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Untyped<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(Value::Bool(v))
    }

    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(Value::Number(v.into()))
    }

    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(Value::Number(v.into()))
    }

    fn visit_f64<E: Error>(self, v: f64) -> Result<Value, E> {
        Number::from_f64(v).map(Value::Number).ok_or_else(|| E::custom("number is not finite"))
    }

    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(Value::String(v.to_owned()))
    }

    fn visit_string<E>(self, v: String) -> Result<Value, E> {
        Ok(Value::String(v))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        loop {
            let trail = self.trail.then(Step::Index(items.len()));
            match seq.next_element_seed(Untyped { duplicates: self.duplicates, trail: &trail })? {
                Some(item) => items.push(item),
                None => return Ok(Value::Array(items)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            if object.contains_key(&key) {
                complain(self.duplicates, "duplicate field", self.trail, &key);
            }
            let trail = self.trail.then(Step::Key(&key));
            let value = map.next_value_seed(Untyped { duplicates: self.duplicates, trail: &trail })?;
            match object.get_mut(&key) {
                Some(old) => merge(old, value),
                None => {
                    object.insert(key, value);
                }
            }
        }
        Ok(Value::Object(object))
    }
}

/// Puts a later value of a key in the place of an earlier one; as in Go objects grow together.
pub(super) fn merge(old: &mut Value, new: Value) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            for (key, value) in new {
                match old.get_mut(&key) {
                    Some(old) => merge(old, value),
                    None => {
                        old.insert(key, value);
                    }
                }
            }
        }
        (old, new) => *old = new,
    }
}

/// Adds `what "path.key"` once, if there is room.
pub(super) fn complain(complaints: &mut Vec<String>, what: &str, trail: &Trail<'_>, key: &str) {
    if complaints.len() < MAX_COMPLAINTS {
        let text = format!("{what} {}", crate::field::quote(&trail.then(Step::Key(key)).path()));
        if !complaints.contains(&text) {
            complaints.push(text);
        }
    }
}
