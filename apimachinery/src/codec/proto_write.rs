//! Writes JSON as protobuf messages, driven by the field numbers in the schema: byte to byte, no value is built.
//!
//! The JSON is the server's own: canonical, without spaces, keys in any order. What is not of its field's type is left
//! out, as is what the schema does not know.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::scan::{Malformed, Scan};
use crate::schema::{Field, Schema, Struct, StructId, Type};
use crate::time::{Timestamp, parse_duration};

pub(super) const VARINT: u32 = 0;
pub(super) const FIXED64: u32 = 1;
pub(super) const BYTES: u32 = 2;
pub(super) const FIXED32: u32 = 5;

type Written = Result<(), Malformed>;

/// Writes the fields of a struct, which is the JSON object that comes next.
pub(super) fn structure(schema: &Schema, def: &Struct, json: &mut Scan<'_>, out: &mut Vec<u8>) -> Written {
    if def.nested {
        return nested_structure(schema, def, json, out);
    }
    json.object(|json, name| match def.field(&name.text()) {
        Some(field) if field.proto.len() == 1 => value(schema, field.proto[0], &field.ty, json, out),
        _ => json.skip(),
    })
}

/// Writes a struct of which protobuf has some fields in messages of their own: fields of one message go together.
fn nested_structure(schema: &Schema, def: &Struct, json: &mut Scan<'_>, out: &mut Vec<u8>) -> Written {
    let mut fields: Vec<(&Field, Scan<'_>)> = Vec::new();
    json.object(|json, name| {
        if let Some(field) = def.field(&name.text()).filter(|field| !field.proto.is_empty() && !json.at_null()) {
            fields.push((field, *json));
        }
        json.skip()
    })?;
    fields.sort_unstable_by_key(|(field, _)| &field.proto);
    nested(schema, &mut fields, 0, out)
}

/// Writes fields that share the first `depth` numbers of their paths.
fn nested(schema: &Schema, fields: &mut [(&Field, Scan<'_>)], depth: usize, out: &mut Vec<u8>) -> Written {
    for group in fields.chunk_by_mut(|(a, _), (b, _)| a.proto[depth] == b.proto[depth]) {
        let (field, json) = &mut group[0];
        let number = field.proto[depth];
        if field.proto.len() == depth + 1 {
            value(schema, number, &field.ty, json, out)?;
        } else {
            message(number, out, |out| nested(schema, group, depth + 1, out))?;
        }
    }
    Ok(())
}

fn value(schema: &Schema, number: u32, ty: &Type, json: &mut Scan<'_>, out: &mut Vec<u8>) -> Written {
    if json.at_null() {
        return json.skip();
    }
    match ty {
        Type::String => text(number, &json.text()?, out),
        Type::Bool => int(number, u64::from(json.raw()? == b"true"), out),
        Type::Int32 | Type::Int64 => int(number, json.parse::<i64>()?.unwrap_or_default() as u64, out),
        Type::Uint(_) => int(number, json.parse::<u64>()?.unwrap_or_default(), out),
        Type::Double => {
            let number_in = json.parse::<f64>()?.unwrap_or_default();
            tag(number, FIXED64, out);
            out.extend_from_slice(&number_in.to_le_bytes());
        }
        Type::Bytes => {
            let decoded = STANDARD.decode(json.text()?.as_bytes()).map_err(|_| Malformed::Base64)?;
            bytes(number, &decoded, out);
        }
        Type::Quantity => {
            let quantity = json.text()?;
            message_of(number, quantity.as_bytes(), out);
        }
        Type::IntOrString => message(number, out, |out| int_or_string(json, out))?,
        Type::Time | Type::MicroTime => {
            if let Ok(time) = Timestamp::parse(&json.text()?) {
                message(number, out, |out| {
                    // Seconds are written even if 0: an empty message is no time at all.
                    int(1, time.seconds as u64, out);
                    int(2, u64::from(time.nanos), out);
                    Ok(())
                })?;
            }
        }
        Type::Duration => {
            let nanos = parse_duration(&json.text()?).unwrap_or_default();
            message(number, out, |out| {
                int(1, nanos as u64, out);
                Ok(())
            })?;
        }
        Type::FieldsV1 | Type::RawExtension | Type::Any => {
            message_of(number, json.raw()?, out);
        }
        Type::Struct(id) => struct_of(schema, number, *id, json, out)?,
        Type::List(list) => json.array(|json| value(schema, number, &list.item, json, out))?,
        Type::Map(map) => json.object(|json, key| {
            message(number, out, |out| {
                text(1, &key.text(), out);
                match &map.value {
                    // A list as the value of a map is a message with its items.
                    list @ Type::List(_) => message(2, out, |out| value(schema, 1, list, json, out)),
                    ty => value(schema, 2, ty, json, out),
                }
            })
        })?,
        Type::StructOrBool(id) => message(number, out, |out| {
            if !json.at_object() {
                int(1, u64::from(json.raw()? == b"true"), out);
                return Ok(());
            }
            int(1, 1, out);
            struct_of(schema, 2, *id, json, out)
        })?,
        Type::StructOrList(id) => message(number, out, |out| {
            if json.at_object() {
                return struct_of(schema, 1, *id, json, out);
            }
            json.array(|json| struct_of(schema, 2, *id, json, out))
        })?,
        Type::StructOrStrings(id) => message(number, out, |out| {
            if json.at_object() {
                return struct_of(schema, 1, *id, json, out);
            }
            json.array(|json| value(schema, 2, &Type::String, json, out))
        })?,
    }
    Ok(())
}

fn struct_of(schema: &Schema, number: u32, id: StructId, json: &mut Scan<'_>, out: &mut Vec<u8>) -> Written {
    if !json.at_object() {
        return json.skip();
    }
    message(number, out, |out| structure(schema, schema.get(id), json, out))
}

fn int_or_string(json: &mut Scan<'_>, out: &mut Vec<u8>) -> Written {
    if json.at_string() {
        int(1, 1, out);
        text(3, &json.text()?, out);
    } else {
        int(1, 0, out);
        int(2, json.parse::<i64>()?.unwrap_or_default() as u64, out);
    }
    Ok(())
}

/// Writes a message as a field: its content, then its length in front of it.
pub(super) fn message(number: u32, out: &mut Vec<u8>, content: impl FnOnce(&mut Vec<u8>) -> Written) -> Written {
    tag(number, BYTES, out);
    let start = out.len();
    out.push(0);
    content(out)?;
    let length = out.len() - start - 1;
    if length < 0x80 {
        out[start] = length as u8;
        return Ok(());
    }
    let width = width(length as u64);
    out.resize(start + width + length, 0);
    out.copy_within(start + 1..start + 1 + length, start + width);
    let mut rest = length;
    for byte in &mut out[start..start + width] {
        *byte = rest as u8 | 0x80;
        rest >>= 7;
    }
    out[start + width - 1] &= 0x7f;
    Ok(())
}

/// Writes a message that has nothing but these bytes as its first field.
fn message_of(number: u32, content: &[u8], out: &mut Vec<u8>) {
    tag(number, BYTES, out);
    varint((1 + width(content.len() as u64) + content.len()) as u64, out);
    bytes(1, content, out);
}

pub(super) fn text(number: u32, s: &str, out: &mut Vec<u8>) {
    bytes(number, s.as_bytes(), out);
}

pub(super) fn bytes(number: u32, s: &[u8], out: &mut Vec<u8>) {
    length(number, s.len(), out);
    out.extend_from_slice(s);
}

/// Writes what comes before the content of a field of so many bytes.
pub(super) fn length(number: u32, length: usize, out: &mut Vec<u8>) {
    tag(number, BYTES, out);
    varint(length as u64, out);
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

/// How many bytes a varint has.
fn width(value: u64) -> usize {
    (70 - (value | 1).leading_zeros() as usize) / 7
}
