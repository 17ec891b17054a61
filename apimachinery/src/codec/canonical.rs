//! What decoding into a Go type and encoding again makes of a value, in one pass and with the schema alone.

use std::fmt;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::json::{complain, merge, read_document, with_repair};
use super::path::{Step, Trail};
use super::{Limits, unrecognised};
use crate::field::quote;
use crate::gvk::GroupVersionKind;
use crate::quantity::Quantity;
use crate::schema::{Field, KindSchema, MapType, Omit, Schema, Struct, StructId, Type};
use crate::status::ApiError;
use crate::time::{Timestamp, duration_text, parse_duration};

/// A canonical object.
#[derive(Clone, Debug, PartialEq)]
pub struct Canonical {
    /// The object.
    pub value: Value,
    /// What the strict decoder complains about, in its words and order: `unknown field "spec.foo"` and, when bytes were
    /// read, `duplicate field "spec.replicas"`.
    pub strict: Vec<String>,
}

/// Makes an object canonical: unknown fields dropped, quantities, times and base64 normalised, empty values left out or
/// written as Go does.
///
/// `kind` is what the object itself says it is (or was taken to be), `expected` what the request is for.
///
/// # Errors
/// 400 in the words of the stock server for values of the wrong type, numbers out of range, malformed quantities and times.
pub fn canonicalise(
    schema: &KindSchema,
    kind: &GroupVersionKind,
    expected: &str,
    value: Value,
) -> Result<Canonical, ApiError> {
    let ty = Type::Struct(schema.root);
    let mut state = State::new(&schema.schema);
    let read = Seed { state: &mut state, ty: &ty, trail: &Trail::root() }.deserialize(value);
    state.finish(read.ok()).map_err(|why| cannot_be_handled(kind, expected, &why))
}

/// [`canonicalise`] straight from JSON bytes, which also keeps the order of strict complaints.
///
/// # Errors
/// Those of [`super::parse`] and [`canonicalise`].
pub fn decode_json(
    schema: &KindSchema,
    kind: &GroupVersionKind,
    bytes: &[u8],
    limits: Limits<'_>,
) -> Result<Canonical, ApiError> {
    let ty = Type::Struct(schema.root);
    let read = |bytes: &[u8]| {
        let mut state = State::new(&schema.schema);
        match read_document(bytes, Seed { state: &mut state, ty: &ty, trail: &Trail::root() }) {
            Ok(value) => Ok(state.finish(Some(value))),
            Err(_) if state.fatal.is_some() => Ok(state.finish(None)),
            Err(error) => Err(error),
        }
    };
    match with_repair(bytes, limits.depth, read) {
        Ok(result) => result.map_err(|why| cannot_be_handled(kind, limits.kind, &why)),
        Err(why) => {
            let why = format!("couldn't get version/kind; json parse error: {why}");
            Err(unrecognised(limits.kind, &why, bytes))
        }
    }
}

/// The error of an object that is well-formed but not of its type.
pub fn cannot_be_handled(kind: &GroupVersionKind, expected: &str, why: &str) -> ApiError {
    let version = quote(&kind.version);
    ApiError::bad_request(format!("{} in version {version} cannot be handled as a {expected}: {why}", kind.kind))
}

struct State<'s> {
    schema: &'s Schema,
    strict: Vec<String>,
    /// Inside values whose Go type reads its own JSON nothing is complained about.
    lenient: usize,
    /// The first value of a wrong type; reading goes on.
    wrong: Option<String>,
    /// What ends reading at once: a type that reads its own JSON refused its text.
    fatal: Option<String>,
}

impl<'s> State<'s> {
    fn new(schema: &'s Schema) -> Self {
        Self { schema, strict: Vec::new(), lenient: 0, wrong: None, fatal: None }
    }

    fn finish(self, value: Option<Value>) -> Result<Canonical, String> {
        match (self.fatal.or(self.wrong), value) {
            (Some(why), _) => Err(why),
            (None, Some(value)) => Ok(Canonical { value, strict: self.strict }),
            (None, None) => Err("value cannot be read".to_owned()),
        }
    }
}

struct Seed<'c, 's> {
    state: &'c mut State<'s>,
    ty: &'c Type,
    trail: &'c Trail<'c>,
}

/// A value that is no object and no list.
enum Scalar<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Large(u64),
    Float(f64),
    Text(&'a str),
}

impl Scalar<'_> {
    fn go_kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "bool",
            Self::Int(_) | Self::Large(_) | Self::Float(_) => "number",
            Self::Text(_) => "string",
        }
    }

    fn number(&self) -> Option<String> {
        match self {
            Self::Int(n) => Some(n.to_string()),
            Self::Large(n) => Some(n.to_string()),
            Self::Float(n) if n.abs() >= 1e17 => Some(format!("{n:e}")),
            Self::Float(n) => Some(format!("{n:?}")),
            _ => None,
        }
    }

    fn into_value(self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(b) => Value::Bool(b),
            Self::Int(n) => n.into(),
            Self::Large(n) => n.into(),
            Self::Float(n) => Number::from_f64(n).map_or(Value::Null, Value::Number),
            Self::Text(s) => Value::String(s.to_owned()),
        }
    }
}

impl<'s> Seed<'_, 's> {
    /// Notes that the value has the wrong type.
    fn wrong(self, found: &str) -> Value {
        if self.state.wrong.is_none() {
            let ty = self.trail.go_type().unwrap_or_else(|| self.state.schema.go_name(self.ty));
            self.state.wrong = Some(match self.trail.go_field() {
                Some((def, path)) => {
                    format!("json: cannot unmarshal {found} into Go struct field {def}.{path} of type {ty}")
                }
                None => format!("json: cannot unmarshal {found} into Go value of type {ty}"),
            });
        }
        Value::Null
    }

    fn fatal<E: Error>(self, why: impl fmt::Display) -> Result<Value, E> {
        self.state.fatal = Some(why.to_string());
        Err(E::custom("refused"))
    }

    fn scalar<E: Error>(self, found: Scalar<'_>) -> Result<Value, E> {
        if let Scalar::Null = found {
            return Ok(self.state.schema.zero(self.ty));
        }
        match (self.ty, &found) {
            (Type::Any | Type::RawExtension | Type::FieldsV1, _) => Ok(found.into_value()),
            (Type::String, Scalar::Text(_)) | (Type::Bool, Scalar::Bool(_)) => Ok(found.into_value()),
            (Type::Int32, Scalar::Int(n)) if i32::try_from(*n).is_ok() => Ok(found.into_value()),
            (Type::Int64, Scalar::Int(_)) => Ok(found.into_value()),
            (Type::Uint(bits), Scalar::Int(n)) if *n >= 0 && (*bits == 64 || n >> bits == 0) => Ok(found.into_value()),
            (Type::Uint(64), Scalar::Large(_)) => Ok(found.into_value()),
            (Type::Int32 | Type::Int64 | Type::Uint(_), Scalar::Int(_) | Scalar::Large(_) | Scalar::Float(_)) => {
                let found = format!("number {}", found.number().unwrap_or_default());
                Ok(self.wrong(&found))
            }
            (Type::Double, Scalar::Int(_) | Scalar::Large(_) | Scalar::Float(_)) => Ok(double(found)),
            (Type::Bytes, Scalar::Text(text)) => match base64(text) {
                Ok(text) => Ok(Value::String(text)),
                Err(at) => {
                    self.state.wrong.get_or_insert_with(|| format!("illegal base64 data at input byte {at}"));
                    Ok(Value::Null)
                }
            },
            (Type::Quantity, _) => {
                let text = match &found {
                    Scalar::Text(text) => Quantity::parse(text.trim()),
                    Scalar::Bool(b) => Quantity::parse(if *b { "true" } else { "false" }),
                    other => Quantity::parse(&other.number().unwrap_or_default()),
                };
                match text {
                    Ok(quantity) => Ok(Value::String(quantity.canonical().into())),
                    Err(why) => self.fatal(why),
                }
            }
            (Type::IntOrString, Scalar::Text(_)) => Ok(found.into_value()),
            (Type::IntOrString, Scalar::Int(n)) if i32::try_from(*n).is_ok() => Ok(found.into_value()),
            (Type::IntOrString, Scalar::Bool(_)) => self.fatal_wrong("bool", "int32"),
            (Type::IntOrString, _) => {
                let found = format!("number {}", found.number().unwrap_or_default());
                self.fatal_wrong(&found, "int32")
            }
            (Type::Time, Scalar::Text(text)) => match Timestamp::parse(text) {
                Ok(time) => Ok(Value::String(time.to_rfc3339())),
                Err(why) => self.fatal(why),
            },
            (Type::MicroTime, Scalar::Text(text)) => match Timestamp::parse_micro(text) {
                Ok(time) => Ok(Value::String(time.to_rfc3339_micro())),
                Err(why) => self.fatal(why),
            },
            (Type::Duration, Scalar::Text(text)) => match parse_duration(text) {
                Ok(nanos) => Ok(Value::String(duration_text(nanos))),
                Err(why) => self.fatal(why),
            },
            (Type::Time | Type::MicroTime | Type::Duration, _) => self.fatal_wrong(found.go_kind(), "string"),
            (Type::StructOrBool(_), Scalar::Bool(_)) => Ok(found.into_value()),
            (Type::StructOrBool(_), _) => self.fatal("boolean or JSON schema expected"),
            (Type::StructOrList(_) | Type::StructOrStrings(_), _) => Ok(Value::Null),
            _ => Ok(self.wrong(found.go_kind())),
        }
    }

    /// A value of the wrong type for a Go type that reads its own JSON: that ends reading.
    fn fatal_wrong<E: Error>(self, found: &str, ty: &str) -> Result<Value, E> {
        let why = match self.trail.go_field() {
            Some((def, path)) => {
                format!("json: cannot unmarshal {found} into Go struct field {def}.{path} of type {ty}")
            }
            None => format!("json: cannot unmarshal {found} into Go value of type {ty}"),
        };
        self.fatal(why)
    }

    fn list<'de, A: SeqAccess<'de>>(self, item: &Type, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        loop {
            let trail = self.trail.then(Step::Index(items.len()));
            match seq.next_element_seed(Seed { state: self.state, ty: item, trail: &trail })? {
                Some(item) => items.push(item),
                None => return Ok(Value::Array(items)),
            }
        }
    }

    fn lenient_list<'de, A: SeqAccess<'de>>(self, item: &Type, seq: A) -> Result<Value, A::Error> {
        self.state.lenient += 1;
        let read = Seed { state: self.state, ty: item, trail: self.trail }.list(item, seq);
        self.state.lenient -= 1;
        read
    }

    /// Reads a map, or an object that no schema knows.
    fn map<'de, A: MapAccess<'de>>(self, value: &Type, mut map: A) -> Result<Value, A::Error> {
        let mut out = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            if self.state.lenient == 0 && out.contains_key(&key) {
                complain(&mut self.state.strict, "duplicate field", self.trail, &key);
            }
            let trail = self.trail.then(Step::Key(&key));
            let item = map.next_value_seed(Seed { state: self.state, ty: value, trail: &trail })?;
            out.insert(key, item);
        }
        Ok(Value::Object(out))
    }

    fn lenient_map<'de, A: MapAccess<'de>>(self, map: A) -> Result<Value, A::Error> {
        self.state.lenient += 1;
        let read = Seed { state: self.state, ty: &Type::Any, trail: self.trail }.map(&Type::Any, map);
        self.state.lenient -= 1;
        read
    }

    fn structure<'de, A: MapAccess<'de>>(self, id: StructId, mut map: A) -> Result<Value, A::Error> {
        let def: &'s Struct = self.state.schema.get(id);
        let mut out = Map::new();
        let (mut seen, mut twice) = (0u128, false);
        while let Some(key) = map.next_key::<String>()? {
            let Some(at) = def.position(&key) else {
                let ty = if def.preserve_unknown { Some(&Type::Any) } else { def.additional.as_ref() };
                let trail = self.trail.then(Step::Key(&key));
                if let Some(ty) = ty {
                    let value = map.next_value_seed(Seed { state: self.state, ty, trail: &trail })?;
                    out.insert(key, value);
                } else {
                    if self.state.lenient == 0 {
                        complain(&mut self.state.strict, "unknown field", self.trail, &key);
                    }
                    map.next_value::<serde::de::IgnoredAny>()?;
                }
                continue;
            };
            let field = &def.fields[at];
            // No type has more fields than that; if one had, a twin would still be found unless its first was empty.
            let bit = 1u128.checked_shl(at as u32).unwrap_or_default();
            let again = seen & bit != 0 || (bit == 0 && out.contains_key(&key));
            seen |= bit;
            twice |= again;
            if again && self.state.lenient == 0 {
                complain(&mut self.state.strict, "duplicate field", self.trail, &key);
            }
            let trail = self.trail.then(Step::Field(def, field));
            let value = map.next_value_seed(Nullable(Seed { state: self.state, ty: &field.ty, trail: &trail }))?;
            let Some(value) = value else {
                // As in Go null leaves the field alone, except that it empties a pointer, list or map.
                if again && field.nullable {
                    out.remove(&key);
                }
                continue;
            };
            if again {
                match out.get_mut(&key) {
                    Some(old) => merge(old, value),
                    None => {
                        out.insert(key, value);
                    }
                }
            } else if !self.state.schema.omitted(field, &value) {
                out.insert(key, value);
            }
        }
        if twice {
            out.retain(|name, value| def.field(name).is_none_or(|field| !self.state.schema.omitted(field, value)));
        }
        self.state.schema.fill(def, &mut out);
        Ok(Value::Object(out))
    }
}

/// Reads a value, or `None` for null.
struct Nullable<'c, 's>(Seed<'c, 's>);

impl<'de> DeserializeSeed<'de> for Nullable<'_, '_> {
    type Value = Option<Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<Value>, D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de> Visitor<'de> for Nullable<'_, '_> {
    type Value = Option<Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Option<Value>, E> {
        Ok(None)
    }

    fn visit_none<E>(self) -> Result<Option<Value>, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<Value>, D::Error> {
        self.0.deserialize(deserializer).map(Some)
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_, '_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_, '_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_bool<E: Error>(self, v: bool) -> Result<Value, E> {
        self.scalar(Scalar::Bool(v))
    }

    fn visit_i64<E: Error>(self, v: i64) -> Result<Value, E> {
        self.scalar(Scalar::Int(v))
    }

    fn visit_u64<E: Error>(self, v: u64) -> Result<Value, E> {
        self.scalar(i64::try_from(v).map_or(Scalar::Large(v), Scalar::Int))
    }

    fn visit_f64<E: Error>(self, v: f64) -> Result<Value, E> {
        self.scalar(Scalar::Float(v))
    }

    fn visit_str<E: Error>(self, v: &str) -> Result<Value, E> {
        self.scalar(Scalar::Text(v))
    }

    fn visit_string<E: Error>(self, v: String) -> Result<Value, E> {
        match self.ty {
            Type::String | Type::Any | Type::IntOrString => Ok(Value::String(v)),
            _ => self.scalar(Scalar::Text(&v)),
        }
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        self.scalar(Scalar::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        match self.ty {
            Type::List(list) => self.list(&list.item, seq),
            Type::Any | Type::RawExtension | Type::FieldsV1 => self.lenient_list(&Type::Any, seq),
            Type::StructOrList(id) => self.lenient_list(&Type::Struct(*id), seq),
            Type::StructOrStrings(_) => self.lenient_list(&Type::String, seq),
            Type::Bytes => {
                let trail = self.trail;
                let numbers = Seed { state: self.state, ty: self.ty, trail }.list(&Type::Uint(8), seq)?;
                let numbers = numbers.as_array().map(Vec::as_slice).unwrap_or_default();
                let bytes: Vec<u8> = numbers.iter().map(|n| n.as_u64().unwrap_or_default() as u8).collect();
                Ok(Value::String(base64::engine::general_purpose::STANDARD.encode(bytes)))
            }
            _ => {
                while seq.next_element::<serde::de::IgnoredAny>()?.is_some() {}
                self.not_scalar("array")
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        match self.ty {
            Type::Struct(id) => self.structure(*id, map),
            Type::Map(ty) => {
                let MapType { value, .. } = &**ty;
                self.map(value, map)
            }
            Type::Any if self.state.lenient > 0 => self.map(&Type::Any, map),
            Type::Any | Type::RawExtension | Type::FieldsV1 => self.lenient_map(map),
            Type::StructOrBool(id) | Type::StructOrList(id) | Type::StructOrStrings(id) => {
                self.state.lenient += 1;
                let read = Seed { state: self.state, ty: self.ty, trail: self.trail }.structure(*id, map);
                self.state.lenient -= 1;
                read
            }
            _ => {
                while map.next_entry::<serde::de::IgnoredAny, serde::de::IgnoredAny>()?.is_some() {}
                self.not_scalar("object")
            }
        }
    }
}

impl Seed<'_, '_> {
    /// A list or an object where neither may be.
    fn not_scalar<E: Error>(self, found: &str) -> Result<Value, E> {
        match self.ty {
            Type::Quantity => self.fatal(crate::quantity::QuantityError::Format),
            Type::IntOrString => self.fatal_wrong(found, "int32"),
            Type::Time | Type::MicroTime | Type::Duration => self.fatal_wrong(found, "string"),
            Type::StructOrBool(_) => self.fatal("boolean or JSON schema expected"),
            _ => Ok(self.wrong(found)),
        }
    }
}

impl Schema {
    /// The value that Go writes for a type's zero value: what null and absent become where there must be something.
    pub fn zero(&self, ty: &Type) -> Value {
        match ty {
            Type::String => Value::String(String::new()),
            Type::Bool => Value::Bool(false),
            Type::Int32 | Type::Int64 | Type::Uint(_) | Type::Double | Type::IntOrString => 0.into(),
            Type::Quantity => Value::String("0".to_owned()),
            Type::Duration => Value::String("0s".to_owned()),
            Type::Struct(id) => {
                let mut out = Map::new();
                self.settle(self.get(*id), &mut out);
                Value::Object(out)
            }
            Type::StructOrBool(_) => Value::Bool(false),
            _ => Value::Null,
        }
    }

    /// Leaves out what Go leaves out of this struct, and puts in what Go always writes. All fields that are there must
    /// be canonical already.
    pub fn settle(&self, def: &Struct, object: &mut Map<String, Value>) {
        object.retain(|name, value| def.field(name).is_none_or(|field| !self.omitted(field, value)));
        self.fill(def, object);
    }

    /// Puts in what Go always writes.
    fn fill(&self, def: &Struct, object: &mut Map<String, Value>) {
        for field in def.always_written() {
            if !object.contains_key(field.name.as_str()) {
                let value = if field.nullable { Value::Null } else { self.zero(&field.ty) };
                object.insert(field.name.to_string(), value);
            }
        }
    }

    fn omitted(&self, field: &Field, value: &Value) -> bool {
        match (field.omit, &field.ty) {
            (Omit::Never, _) => false,
            (Omit::Empty, Type::List(_)) => value.as_array().is_none_or(Vec::is_empty),
            (Omit::Empty, Type::Map(_)) => value.as_object().is_none_or(Map::is_empty),
            (Omit::Empty, Type::Bytes) => value.as_str().is_none_or(str::is_empty),
            _ if field.nullable => value.is_null(),
            (_, Type::String) => value.as_str().is_none_or(str::is_empty),
            (_, Type::Bool) => value.as_bool() != Some(true),
            (_, Type::Int32 | Type::Int64 | Type::Uint(_) | Type::Double) => value.as_f64() == Some(0.0),
            (Omit::Empty, _) => false,
            (Omit::Zero, ty) => *value == self.zero(ty),
        }
    }
}

/// A float as Go writes it: without a fraction where there is none.
fn double(found: Scalar<'_>) -> Value {
    match found {
        Scalar::Float(n) if n.fract() == 0.0 && n.abs() < 9e15 => Value::from(n as i64),
        other => other.into_value(),
    }
}

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
);

/// Base64 as Go writes it, or where Go finds it illegal. Line breaks are skipped.
fn base64(text: &str) -> Result<String, usize> {
    let joined: String;
    let compact = if text.contains(['\r', '\n']) {
        joined = text.replace(['\r', '\n'], "");
        &joined
    } else {
        text
    };
    match BASE64.decode(compact) {
        Ok(bytes) => Ok(base64::engine::general_purpose::STANDARD.encode(bytes)),
        Err(base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _)) => Err(at),
        Err(base64::DecodeError::InvalidLength(_) | base64::DecodeError::InvalidPadding) => Err(compact.len() / 4 * 4),
    }
}
