//! Bodies of requests become canonical objects, or a refusal that says why.

use crate::wire::{self as codec, Format, Limits};
use apimachinery::builtin;
use apimachinery::gvk::GroupVersionKind;
use apimachinery::meta;
use apimachinery::patch::PatchType;
use apimachinery::schema::KindSchema;
use apimachinery::status::ApiError;
use http::HeaderMap;
use serde_json::Value;

use crate::negotiate::{self, Encoding};
use crate::registry::{Call, FieldValidation, Patch};

fn format(encoding: Encoding) -> Format {
    match encoding {
        Encoding::Json { .. } => Format::Json,
        Encoding::Yaml => Format::Yaml,
        Encoding::Protobuf => Format::Protobuf,
    }
}

/// Reads an object of the call's resource.
///
/// # Errors
/// 400 for what is malformed, of another kind, or breaks the schema.
pub(crate) fn object(call: &Call, bytes: &[u8], encoding: Encoding) -> Result<Value, ApiError> {
    read(call, &call.resource.gvk, &call.resource.schema, bytes, encoding)
}

/// Reads an object of another built-in kind: what a subresource takes.
///
/// # Errors
/// As [`object`].
pub(crate) fn object_of(
    call: &Call,
    kind: &GroupVersionKind,
    bytes: &[u8],
    encoding: Encoding,
) -> Result<Value, ApiError> {
    read(call, kind, &schema_of(kind)?, bytes, encoding)
}

/// Reads request options from a body. They come in `meta.k8s.io/v1` or in the group and version of the resource.
///
/// # Errors
/// As [`object`].
pub(crate) fn options(
    call: &Call,
    kind: &GroupVersionKind,
    bytes: &[u8],
    encoding: Encoding,
) -> Result<Value, ApiError> {
    let schema = schema_of(kind)?;
    let value = match encoding {
        Encoding::Protobuf => codec::protobuf_decode(&schema, bytes)?,
        _ => codec::parse(format(encoding), bytes, Limits::of(&kind.kind))?.value,
    };
    let given = value.get("kind").and_then(Value::as_str).unwrap_or_default();
    if !given.is_empty() && given != kind.kind {
        return Err(ApiError::bad_request(format!(
            "{given} in version {} cannot be handled as a {}",
            apimachinery::field::quote(value.get("apiVersion").and_then(Value::as_str).unwrap_or_default()),
            kind.kind
        )));
    }
    let canonical = codec::canonicalise(&schema, value).map_err(|e| cannot_be_handled(kind, kind, &e))?;
    report(call, canonical.unknown)?;
    Ok(canonical.value)
}

fn schema_of(kind: &GroupVersionKind) -> Result<KindSchema, ApiError> {
    builtin::kind_schema(kind).ok_or_else(|| ApiError::internal(format!("{} has no schema", kind.kind)))
}

fn read(
    call: &Call,
    kind: &GroupVersionKind,
    schema: &KindSchema,
    bytes: &[u8],
    encoding: Encoding,
) -> Result<Value, ApiError> {
    let (value, mut complaints) = match encoding {
        Encoding::Protobuf => (codec::protobuf_decode(schema, bytes)?, Vec::new()),
        _ => {
            let parsed = codec::parse(format(encoding), bytes, Limits::of(&kind.kind))?;
            (parsed.value, parsed.duplicates)
        }
    };
    let value = with_kind(value, kind)?;
    let canonical = codec::canonicalise(schema, value).map_err(|e| cannot_be_handled(kind, kind, &e))?;
    complaints.splice(0..0, canonical.unknown);
    report(call, complaints)?;
    Ok(canonical.value)
}

/// Checks that an object is of the kind it is taken for, and says so in it.
fn with_kind(mut value: Value, kind: &GroupVersionKind) -> Result<Value, ApiError> {
    let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (given_kind, given_version) = (text("kind"), text("apiVersion"));
    let given = GroupVersionKind::from_api_version(&given_version, &given_kind);
    let named_kind = if given_kind.is_empty() { kind.kind.as_str() } else { &given_kind };
    let version_differs = !given_version.is_empty() && given_version != kind.api_version();
    if version_differs && named_kind == kind.kind.as_str() && builtin::kind_schema(&given).is_some() {
        return Err(ApiError::bad_request(format!(
            "the API version in the data ({given_version}) does not match the expected API version ({})",
            kind.api_version()
        )));
    }
    if version_differs || named_kind != kind.kind.as_str() {
        let version = if given_version.is_empty() { kind.version.clone() } else { given.version.clone() };
        return Err(ApiError::bad_request(format!(
            "{named_kind} in version {} cannot be handled as a {}",
            apimachinery::field::quote(&version),
            kind.kind
        )));
    }
    let Some(fields) = value.as_object_mut() else {
        return Err(ApiError::bad_request(format!("the body of the request is no {}", kind.kind)));
    };
    fields.insert("apiVersion".to_owned(), Value::String(kind.api_version().to_string()));
    fields.insert("kind".to_owned(), Value::String(kind.kind.to_string()));
    Ok(value)
}

fn cannot_be_handled(given: &GroupVersionKind, kind: &GroupVersionKind, why: &dyn std::fmt::Display) -> ApiError {
    ApiError::bad_request(format!(
        "{} in version {} cannot be handled as a {}: {why}",
        given.kind,
        apimachinery::field::quote(&given.version),
        kind.kind
    ))
}

/// Refuses, warns of or passes over what the schema does not know.
fn report(call: &Call, complaints: Vec<String>) -> Result<(), ApiError> {
    match call.field_validation {
        FieldValidation::Ignore => Ok(()),
        FieldValidation::Warn => {
            complaints.into_iter().for_each(|c| call.warn(c));
            Ok(())
        }
        FieldValidation::Strict if complaints.is_empty() => Ok(()),
        FieldValidation::Strict => Err(ApiError::bad_request(format!(
            "{} in version {} cannot be handled as a {}: strict decoding error: {}",
            call.resource.gvk.kind,
            apimachinery::field::quote(&call.resource.gvk.version),
            call.resource.gvk.kind,
            complaints.join(", ")
        ))),
    }
}

/// The kind of a patch, by its content type.
///
/// # Errors
/// 415
pub(crate) fn patch_type(headers: &HeaderMap, call: &Call) -> Result<PatchType, ApiError> {
    let known = PatchType::from_content_type(negotiate::content_type(headers));
    match known.filter(|t| *t != PatchType::Strategic || !call.resource.custom) {
        Some(kind) => Ok(kind),
        None if call.resource.custom => Err(negotiate::unsupported(&[
            "application/json-patch+json",
            "application/merge-patch+json",
            "application/apply-patch+yaml",
        ])),
        None => {
            let mut error = ApiError::new(415, "UnsupportedMediaType", "415: Unsupported Media Type");
            error.empty_details = true;
            Err(error)
        }
    }
}

/// Reads a patch.
///
/// # Errors
/// 400 if it is malformed.
pub(crate) fn patch(call: &Call, kind: PatchType, bytes: &[u8], force: bool) -> Result<Patch, ApiError> {
    let format = if kind == PatchType::Apply { Format::Yaml } else { Format::Json };
    let parsed = codec::parse(format, bytes, Limits::of(&call.resource.gvk.kind))?;
    report(call, parsed.duplicates)?;
    Ok(Patch { kind, value: parsed.value, force })
}

/// The canonical form of an object that a patch made.
///
/// # Errors
/// 422 if it no longer fits its schema.
pub(crate) fn patched(call: &Call, object: Value, patch: &Patch) -> Result<Value, ApiError> {
    fit(call, &call.resource.gvk, &call.resource.schema, object, patch)
}

/// Patches an object of another kind: a `Scale`.
///
/// # Errors
/// As [`patched`].
pub(crate) fn patched_as(
    call: &Call,
    kind: &GroupVersionKind,
    before: &Value,
    patch: &Patch,
) -> Result<Value, ApiError> {
    use apimachinery::patch as p;
    let schema = schema_of(kind)?;
    let after = match patch.kind {
        PatchType::Json => p::json::apply(before.clone(), &patch.value)?,
        PatchType::Merge | PatchType::Apply => p::merge::apply(before.clone(), patch.value.clone())?,
        PatchType::Strategic => p::strategic::apply(&schema, before.clone(), patch.value.clone())?,
    };
    fit(call, kind, &schema, after, patch)
}

fn fit(
    call: &Call,
    kind: &GroupVersionKind,
    schema: &KindSchema,
    object: Value,
    patch: &Patch,
) -> Result<Value, ApiError> {
    let shown = || match patch.kind {
        PatchType::Strategic => apimachinery::patch::show_go(&patch.value),
        _ => object.to_string(),
    };
    let object = with_kind(object.clone(), kind)?;
    let canonical = codec::canonicalise(schema, object.clone())
        .map_err(|e| apimachinery::patch::undecodable(&shown(), &e.to_string()))?;
    match call.field_validation {
        FieldValidation::Strict if !canonical.unknown.is_empty() => Err(apimachinery::patch::undecodable(
            &shown(),
            &format!("strict decoding error: {}", canonical.unknown.join(", ")),
        )),
        FieldValidation::Warn => {
            canonical.unknown.iter().for_each(|c| call.warn(c.clone()));
            Ok(canonical.value)
        }
        _ => Ok(canonical.value),
    }
}

/// The object that an applied configuration makes of the present one.
///
/// # Errors
/// 400 for a configuration that does not fit the request, 409 for fields that others own.
pub(crate) fn applied(call: &Call, live: Option<&Value>, applied: &Value, force: bool) -> Result<Value, ApiError> {
    let _ = (live, force, meta::name(applied));
    Err(ApiError::not_implemented(format!("server-side apply of {} is not supported yet", call.resource.gvk.kind)))
}
