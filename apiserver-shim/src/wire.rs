//! Wire formats, until the schema-driven codec is there: JSON alone.

use apimachinery::schema::KindSchema;
use apimachinery::status::ApiError;
use serde_json::Value;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Json,
    Yaml,
    Protobuf,
}

pub(crate) struct Parsed {
    pub(crate) value: Value,
    pub(crate) duplicates: Vec<String>,
}

pub(crate) struct Canonical {
    pub(crate) value: Value,
    pub(crate) unknown: Vec<String>,
}

pub(crate) struct Limits<'a>(&'a str);

impl<'a> Limits<'a> {
    pub(crate) fn of(kind: &'a str) -> Self {
        Self(kind)
    }
}

pub(crate) fn parse(format: Format, bytes: &[u8], limits: Limits<'_>) -> Result<Parsed, ApiError> {
    if format == Format::Protobuf {
        return Err(ApiError::not_implemented("protobuf is not supported yet"));
    }
    let value = match format {
        Format::Yaml => return Err(ApiError::not_implemented("YAML is not supported yet")),
        _ => serde_json::from_slice(bytes),
    };
    let value = value.map_err(|e| {
        ApiError::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): couldn't get version/kind; json parse error: {e}",
            limits.0
        ))
    })?;
    Ok(Parsed { value, duplicates: Vec::new() })
}

pub(crate) fn canonicalise(_schema: &KindSchema, value: Value) -> Result<Canonical, ApiError> {
    Ok(Canonical { value, unknown: Vec::new() })
}

pub(crate) fn protobuf_decode(_schema: &KindSchema, _bytes: &[u8]) -> Result<Value, ApiError> {
    Err(ApiError::not_implemented("protobuf is not supported yet"))
}

pub(crate) fn protobuf_encode(_schema: &KindSchema, _value: &Value) -> Result<Vec<u8>, ApiError> {
    Err(ApiError::not_implemented("protobuf is not supported yet"))
}

pub(crate) fn to_yaml(_value: &Value) -> Result<String, ApiError> {
    Err(ApiError::not_implemented("YAML is not supported yet"))
}
