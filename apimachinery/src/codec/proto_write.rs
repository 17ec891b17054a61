//! Writes values as protobuf messages, driven by the field numbers in the schema.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use crate::schema::{Field, Schema, Struct, StructId, Type};
use crate::time::{Timestamp, parse_duration};

pub(super) const VARINT: u32 = 0;
pub(super) const FIXED64: u32 = 1;
pub(super) const BYTES: u32 = 2;
pub(super) const FIXED32: u32 = 5;

/// Writes the fields of a struct. The value must be canonical; what is not of its type is left out.
pub(super) fn structure(schema: &Schema, def: &Struct, object: &Map<String, Value>, out: &mut Vec<u8>) {
    if def.nested {
        let mut fields: Vec<(&Field, &Value)> = object
            .iter()
            .filter_map(|(name, value)| Some((def.field(name)?, value)))
            .filter(|(field, value)| !field.proto.is_empty() && !value.is_null())
            .collect();
        fields.sort_unstable_by_key(|(field, _)| &field.proto);
        nested(schema, &fields, 0, out);
    } else {
        for (name, value) in object {
            if let Some(field) = def.field(name)
                && let [number] = *field.proto
            {
                value_of(schema, number, &field.ty, value, out);
            }
        }
    }
}

/// Writes fields that share the first `depth` numbers of their paths.
fn nested(schema: &Schema, fields: &[(&Field, &Value)], depth: usize, out: &mut Vec<u8>) {
    for group in fields.chunk_by(|(a, _), (b, _)| a.proto[depth] == b.proto[depth]) {
        let (field, value) = group[0];
        let number = field.proto[depth];
        if field.proto.len() == depth + 1 {
            value_of(schema, number, &field.ty, value, out);
        } else {
            message(number, out, |out| nested(schema, group, depth + 1, out));
        }
    }
}

fn value_of(schema: &Schema, number: u32, ty: &Type, value: &Value, out: &mut Vec<u8>) {
    if value.is_null() {
        return;
    }
    match ty {
        Type::String => text(number, value.as_str().unwrap_or_default(), out),
        Type::Bool => int(number, u64::from(value.as_bool() == Some(true)), out),
        Type::Int32 | Type::Int64 => int(number, value.as_i64().unwrap_or_default() as u64, out),
        Type::Uint(_) => int(number, value.as_u64().unwrap_or_default(), out),
        Type::Double => {
            tag(number, FIXED64, out);
            out.extend_from_slice(&value.as_f64().unwrap_or_default().to_le_bytes());
        }
        Type::Bytes => bytes(number, &STANDARD.decode(value.as_str().unwrap_or_default()).unwrap_or_default(), out),
        Type::Quantity => message(number, out, |out| text(1, value.as_str().unwrap_or_default(), out)),
        Type::IntOrString => message(number, out, |out| int_or_string(value, out)),
        Type::Time | Type::MicroTime => {
            if let Ok(time) = Timestamp::parse(value.as_str().unwrap_or_default()) {
                message(number, out, |out| {
                    // Seconds are written even if 0: an empty message is no time at all.
                    int(1, time.seconds as u64, out);
                    int(2, u64::from(time.nanos), out);
                });
            }
        }
        Type::Duration => {
            let nanos = parse_duration(value.as_str().unwrap_or_default()).unwrap_or_default();
            message(number, out, |out| int(1, nanos as u64, out));
        }
        Type::FieldsV1 | Type::RawExtension | Type::Any => message(number, out, |out| json(1, value, out)),
        Type::Struct(id) => object_of(schema, number, *id, value, out),
        Type::List(list) => {
            for item in value.as_array().into_iter().flatten() {
                value_of(schema, number, &list.item, item, out);
            }
        }
        Type::Map(map) => {
            for (key, item) in value.as_object().into_iter().flatten() {
                message(number, out, |out| {
                    text(1, key, out);
                    match &map.value {
                        // A list as the value of a map is a message with its items.
                        list @ Type::List(_) => message(2, out, |out| value_of(schema, 1, list, item, out)),
                        ty => value_of(schema, 2, ty, item, out),
                    }
                });
            }
        }
        Type::StructOrBool(id) => message(number, out, |out| match value {
            Value::Bool(allows) => int(1, u64::from(*allows), out),
            _ => {
                int(1, 1, out);
                object_of(schema, 2, *id, value, out);
            }
        }),
        Type::StructOrList(id) => message(number, out, |out| match value {
            Value::Array(items) => items.iter().for_each(|item| object_of(schema, 2, *id, item, out)),
            _ => object_of(schema, 1, *id, value, out),
        }),
        Type::StructOrStrings(id) => message(number, out, |out| match value {
            Value::Array(items) => items.iter().for_each(|item| value_of(schema, 2, &Type::String, item, out)),
            _ => object_of(schema, 1, *id, value, out),
        }),
    }
}

fn object_of(schema: &Schema, number: u32, id: StructId, value: &Value, out: &mut Vec<u8>) {
    if let Some(object) = value.as_object() {
        message(number, out, |out| structure(schema, schema.get(id), object, out));
    }
}

fn int_or_string(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::String(s) => {
            int(1, 1, out);
            text(3, s, out);
        }
        other => {
            int(1, 0, out);
            int(2, other.as_i64().unwrap_or_default() as u64, out);
        }
    }
}

/// Writes a message as a field: its content, then its length in front of it.
pub(super) fn message(number: u32, out: &mut Vec<u8>, content: impl FnOnce(&mut Vec<u8>)) {
    tag(number, BYTES, out);
    let start = out.len();
    out.push(0);
    content(out);
    let length = out.len() - start - 1;
    if length < 0x80 {
        out[start] = length as u8;
        return;
    }
    let mut prefix = Vec::with_capacity(5);
    varint(length as u64, &mut prefix);
    out.splice(start..=start, prefix);
}

fn json(number: u32, value: &Value, out: &mut Vec<u8>) {
    message(number, out, |out| {
        // Writing a value to memory cannot fail.
        let _ = serde_json::to_writer(out, value);
    });
}

pub(super) fn text(number: u32, s: &str, out: &mut Vec<u8>) {
    bytes(number, s.as_bytes(), out);
}

pub(super) fn bytes(number: u32, s: &[u8], out: &mut Vec<u8>) {
    tag(number, BYTES, out);
    varint(s.len() as u64, out);
    out.extend_from_slice(s);
}

fn int(number: u32, value: u64, out: &mut Vec<u8>) {
    tag(number, VARINT, out);
    varint(value, out);
}

fn tag(number: u32, wire: u32, out: &mut Vec<u8>) {
    varint(u64::from(number << 3 | wire), out);
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
