//! Reads protobuf messages into canonical values, driven by the field numbers in the schema. Bytes may be hostile.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Number, Value};

use super::MAX_DEPTH;
use super::proto_write::{BYTES, FIXED32, FIXED64, VARINT};
use crate::quantity::{Quantity, QuantityError};
use crate::schema::{Field, Schema, Struct, StructId, Type};
use crate::time::{Timestamp, duration_text};

/// Why bytes are no message of their type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtobufError {
    /// The bytes end too early.
    #[error("unexpected EOF")]
    Truncated,
    /// A varint has more than ten bytes.
    #[error("proto: integer overflow")]
    Overflow,
    /// A field number that cannot be.
    #[error("proto: illegal tag {0}")]
    Tag(u64),
    /// A field has another wire type than the schema says.
    #[error("proto: wrong wireType = {wire} for field {field}")]
    WireType {
        /// The wire type found.
        wire: u32,
        /// The field's JSON name.
        field: String,
    },
    /// Messages nest too deeply.
    #[error("exceeded max depth")]
    Depth,
    /// A quantity is malformed.
    #[error(transparent)]
    Quantity(#[from] QuantityError),
    /// A value that holds JSON holds something else.
    #[error("{0}")]
    Json(String),
    /// A number that JSON cannot hold.
    #[error("json: unsupported value: {0}")]
    NotFinite(String),
}

/// Bytes that are read from the front.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

/// The raw value of a field.
pub(super) enum Raw<'a> {
    Int(u64),
    Fixed(u64),
    Bytes(&'a [u8]),
}

impl Raw<'_> {
    fn wire(&self) -> u32 {
        match self {
            Self::Int(_) => VARINT,
            Self::Fixed(_) => FIXED64,
            Self::Bytes(_) => BYTES,
        }
    }
}

impl<'a> Reader<'a> {
    /// The next field's number and value; `None` at the end.
    pub(super) fn field(&mut self) -> Result<Option<(u32, Raw<'a>)>, ProtobufError> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).ok().filter(|n| *n > 0).ok_or(ProtobufError::Tag(tag))?;
        let value = match tag as u32 & 7 {
            VARINT => Raw::Int(self.varint()?),
            FIXED64 => {
                let (bytes, rest) = self.0.split_first_chunk::<8>().ok_or(ProtobufError::Truncated)?;
                self.0 = rest;
                Raw::Fixed(u64::from_le_bytes(*bytes))
            }
            FIXED32 => {
                let (bytes, rest) = self.0.split_first_chunk::<4>().ok_or(ProtobufError::Truncated)?;
                self.0 = rest;
                Raw::Fixed(u32::from_le_bytes(*bytes).into())
            }
            BYTES => {
                let length = usize::try_from(self.varint()?).map_err(|_| ProtobufError::Truncated)?;
                let (bytes, rest) = self.0.split_at_checked(length).ok_or(ProtobufError::Truncated)?;
                self.0 = rest;
                Raw::Bytes(bytes)
            }
            // Groups are as old as they are unused.
            _ => return Err(ProtobufError::Tag(tag)),
        };
        Ok(Some((number, value)))
    }

    fn varint(&mut self) -> Result<u64, ProtobufError> {
        let mut value = 0;
        for shift in (0..70).step_by(7) {
            let (byte, rest) = self.0.split_first().ok_or(ProtobufError::Truncated)?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or_default();
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(ProtobufError::Overflow)
    }
}

/// Reads a message into an object. What the object holds already is merged with.
pub(super) fn structure(
    schema: &Schema,
    id: StructId,
    bytes: &[u8],
    object: &mut Map<String, Value>,
    depth: usize,
) -> Result<(), ProtobufError> {
    let def = schema.get(id);
    let mut message = Message { schema, def, depth };
    message.fields(bytes, &mut Vec::new(), object)?;
    schema.settle(def, object);
    Ok(())
}

struct Message<'s> {
    schema: &'s Schema,
    def: &'s Struct,
    depth: usize,
}

impl Message<'_> {
    fn fields(
        &mut self,
        bytes: &[u8],
        path: &mut Vec<u32>,
        object: &mut Map<String, Value>,
    ) -> Result<(), ProtobufError> {
        if self.depth >= MAX_DEPTH {
            return Err(ProtobufError::Depth);
        }
        let mut reader = Reader(bytes);
        while let Some((number, raw)) = reader.field()? {
            path.push(number);
            match (self.def.field_by_number(path), raw) {
                (Some(field), raw) if *field.proto == **path => {
                    let old = object.remove(field.name.as_str());
                    let value = self.value(field, &field.ty, raw, old)?;
                    object.insert(field.name.to_string(), value);
                }
                (Some(_), Raw::Bytes(bytes)) => {
                    self.depth += 1;
                    self.fields(bytes, path, object)?;
                    self.depth -= 1;
                }
                _ => {}
            }
            path.pop();
        }
        Ok(())
    }

    /// Reads one occurrence of a field; `old` is what earlier ones gave.
    fn value(&self, field: &Field, ty: &Type, raw: Raw<'_>, old: Option<Value>) -> Result<Value, ProtobufError> {
        let wire = raw.wire();
        Ok(match (ty, raw) {
            (Type::List(list), raw) => {
                let mut items = match old {
                    Some(Value::Array(items)) => items,
                    _ => Vec::new(),
                };
                match (&list.item, raw) {
                    (Type::Bool | Type::Int32 | Type::Int64 | Type::Uint(_), Raw::Bytes(packed)) => {
                        let mut reader = Reader(packed);
                        while !reader.0.is_empty() {
                            let raw = Raw::Int(reader.varint()?);
                            items.push(self.value(field, &list.item, raw, None)?);
                        }
                    }
                    (item, raw) => items.push(self.value(field, item, raw, None)?),
                }
                Value::Array(items)
            }
            (Type::Bool, Raw::Int(n)) => Value::Bool(n != 0),
            (Type::Int32, Raw::Int(n)) => Value::from(n as i32),
            (Type::Int64, Raw::Int(n)) => Value::from(n as i64),
            (Type::Uint(8), Raw::Int(n)) => Value::from(n as u8),
            (Type::Uint(32), Raw::Int(n)) => Value::from(n as u32),
            (Type::Uint(_), Raw::Int(n)) => Value::from(n),
            (Type::Double, Raw::Fixed(bits)) => double(f64::from_bits(bits))?,
            (Type::String, Raw::Bytes(bytes)) => Value::String(lossy(bytes)),
            (Type::Bytes, Raw::Bytes(bytes)) => Value::String(STANDARD.encode(bytes)),
            (Type::Quantity, Raw::Bytes(bytes)) => quantity(bytes)?,
            (Type::IntOrString, Raw::Bytes(bytes)) => int_or_string(bytes)?,
            (Type::Time, Raw::Bytes(bytes)) => time(bytes)?.map_or(Value::Null, |t| Value::String(t.to_rfc3339())),
            (Type::MicroTime, Raw::Bytes(bytes)) => {
                time(bytes)?.map_or(Value::Null, |t| Value::String(t.to_rfc3339_micro()))
            }
            (Type::Duration, Raw::Bytes(bytes)) => {
                Value::String(duration_text(number(bytes, 1)?.unwrap_or_default() as i64))
            }
            (Type::FieldsV1 | Type::RawExtension | Type::Any, Raw::Bytes(bytes)) => json(bytes)?,
            (Type::Struct(id), Raw::Bytes(bytes)) => {
                let mut object = match old {
                    Some(Value::Object(object)) => object,
                    _ => Map::new(),
                };
                structure(self.schema, *id, bytes, &mut object, self.depth + 1)?;
                Value::Object(object)
            }
            (Type::Map(map), Raw::Bytes(bytes)) => {
                let mut object = match old {
                    Some(Value::Object(object)) => object,
                    _ => Map::new(),
                };
                let (key, value) = self.entry(field, &map.value, bytes)?;
                object.insert(key, value);
                Value::Object(object)
            }
            (Type::StructOrBool(id), Raw::Bytes(bytes)) => {
                let mut reader = Reader(bytes);
                let mut value = Value::Bool(false);
                while let Some((n, raw)) = reader.field()? {
                    match (n, raw) {
                        (1, Raw::Int(allows)) if value.is_boolean() => value = Value::Bool(allows != 0),
                        (2, raw) => value = self.value(field, &Type::Struct(*id), raw, None)?,
                        _ => {}
                    }
                }
                value
            }
            (Type::StructOrList(id), Raw::Bytes(bytes)) => self.struct_or(field, *id, &Type::Struct(*id), bytes)?,
            (Type::StructOrStrings(id), Raw::Bytes(bytes)) => self.struct_or(field, *id, &Type::String, bytes)?,
            _ => return Err(ProtobufError::WireType { wire, field: field.name.to_string() }),
        })
    }

    /// A struct (1) or a list (2).
    fn struct_or(&self, field: &Field, id: StructId, item: &Type, bytes: &[u8]) -> Result<Value, ProtobufError> {
        let mut reader = Reader(bytes);
        let (mut one, mut many) = (Value::Null, Vec::new());
        while let Some((number, raw)) = reader.field()? {
            match number {
                1 => one = self.value(field, &Type::Struct(id), raw, None)?,
                2 => many.push(self.value(field, item, raw, None)?),
                _ => {}
            }
        }
        Ok(if many.is_empty() { one } else { Value::Array(many) })
    }

    fn entry(&self, field: &Field, ty: &Type, bytes: &[u8]) -> Result<(String, Value), ProtobufError> {
        let mut reader = Reader(bytes);
        let (mut key, mut value) = (String::new(), None);
        while let Some((number, raw)) = reader.field()? {
            match (number, raw) {
                (1, Raw::Bytes(bytes)) => key = lossy(bytes),
                (2, Raw::Bytes(bytes)) if matches!(ty, Type::List(_)) => {
                    let mut items = Reader(bytes);
                    let mut list = Value::Array(Vec::new());
                    while let Some((number, raw)) = items.field()? {
                        if number == 1 {
                            list = self.value(field, ty, raw, Some(list))?;
                        }
                    }
                    value = Some(list);
                }
                (2, raw) => value = Some(self.value(field, ty, raw, None)?),
                _ => {}
            }
        }
        Ok((key, value.unwrap_or_else(|| self.schema.zero(ty))))
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The varint field with this number, 0 if it is not there.
fn number(bytes: &[u8], wanted: u32) -> Result<Option<u64>, ProtobufError> {
    let mut reader = Reader(bytes);
    let mut found = None;
    while let Some((number, raw)) = reader.field()? {
        if let (true, Raw::Int(n)) = (number == wanted, raw) {
            found = Some(n);
        }
    }
    Ok(found)
}

/// The bytes field with this number.
fn bytes_field(bytes: &[u8], wanted: u32) -> Result<&[u8], ProtobufError> {
    let mut reader = Reader(bytes);
    let mut found: &[u8] = &[];
    while let Some((number, raw)) = reader.field()? {
        if let (true, Raw::Bytes(value)) = (number == wanted, raw) {
            found = value;
        }
    }
    Ok(found)
}

fn quantity(bytes: &[u8]) -> Result<Value, ProtobufError> {
    let text = lossy(bytes_field(bytes, 1)?);
    if text.is_empty() {
        return Ok(Value::String("0".to_owned()));
    }
    Ok(Value::String(Quantity::parse(&text)?.canonical().into()))
}

fn int_or_string(bytes: &[u8]) -> Result<Value, ProtobufError> {
    Ok(match number(bytes, 1)? {
        Some(1) => Value::String(lossy(bytes_field(bytes, 3)?)),
        _ => Value::from(number(bytes, 2)?.unwrap_or_default() as i32),
    })
}

fn time(bytes: &[u8]) -> Result<Option<Timestamp>, ProtobufError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    // The years that RFC 3339 has.
    const FIRST: i64 = -62_135_596_800;
    const LAST: i64 = 253_402_300_799;
    let seconds = number(bytes, 1)?.unwrap_or_default() as i64;
    let nanos = number(bytes, 2)?.unwrap_or_default();
    if !(FIRST..=LAST).contains(&seconds) {
        return Err(ProtobufError::Json("Time.MarshalJSON: year outside of range [0,9999]".to_owned()));
    }
    Ok(Some(Timestamp { seconds, nanos: (nanos % 1_000_000_000) as u32 }))
}

fn double(value: f64) -> Result<Value, ProtobufError> {
    if value.fract() == 0.0 && value.abs() < 9e15 {
        return Ok(Value::from(value as i64));
    }
    Number::from_f64(value).map(Value::Number).ok_or_else(|| ProtobufError::NotFinite(value.to_string()))
}

fn json(bytes: &[u8]) -> Result<Value, ProtobufError> {
    let raw = bytes_field(bytes, 1)?;
    if raw.is_empty() {
        return Ok(Value::Null);
    }
    super::json::parse(raw, MAX_DEPTH).map(|parsed| parsed.value).map_err(ProtobufError::Json)
}
