//! Bodies of requests become canonical objects, or a refusal that says why.

use apimachinery::builtin;
use apimachinery::codec::{self, Canonical, Format, Limits};
use apimachinery::field::{Errors, Path};
use apimachinery::gvk::GroupVersionKind;
use apimachinery::meta;
use apimachinery::patch::{PatchType, json_kind};
use apimachinery::schema::KindSchema;
use apimachinery::status::ApiError;
use http::HeaderMap;
use serde::Deserialize;
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

/// Records in an object that is answered, not stored, who posted it.
///
/// # Errors
/// 500 for a kind without a schema.
pub(crate) fn owned(call: &Call, kind: &GroupVersionKind, object: Value) -> Result<Value, ApiError> {
    let schema = schema_of(kind)?;
    let now = call.now_text();
    Ok(crate::ownership::record_post(kind, &schema, object, &call.manager, &now, &call.subresource))
}

/// Makes an object of the call's resource canonical.
///
/// # Errors
/// As [`object`].
pub(crate) fn value(call: &Call, value: Value) -> Result<Value, ApiError> {
    fit_value(call, &call.resource.gvk, &call.resource.schema, value)
}

/// Makes an object of another built-in kind canonical.
///
/// # Errors
/// As [`object`].
pub(crate) fn value_of(call: &Call, kind: &GroupVersionKind, value: Value) -> Result<Value, ApiError> {
    fit_value(call, kind, &schema_of(kind)?, value)
}

fn fit_value(call: &Call, kind: &GroupVersionKind, schema: &KindSchema, value: Value) -> Result<Value, ApiError> {
    let given = TypeMeta { api_version: text(&value, "apiVersion").to_owned(), kind: text(&value, "kind").to_owned() };
    let found = given.kind_or(kind);
    check_kind(&found, kind)?;
    let canonical = fitted(call, kind, schema, &found, value)?;
    report(call, canonical.strict)?;
    with_kind(canonical.value, kind)
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
    let (given, canonical) = canonical(call, kind, &schema, bytes, encoding).map_err(without_summary)?;
    if !given.kind.is_empty() && given.kind != kind.kind {
        return Err(ApiError::bad_request(codec::unregistered(&given.kind_or(kind))));
    }
    // What options do not know is passed over: field validation is about objects.
    Ok(canonical.value)
}

/// Of options the stock server does not say what they should have been, nor shows them.
fn without_summary(mut error: ApiError) -> ApiError {
    let why = without_kind(&error.message);
    if why.len() < error.message.len() {
        error.message = why.to_owned();
        return error;
    }
    let bare = error.message.strip_prefix("the object provided is unrecognized (must be of type DeleteOptions): ");
    if let Some((why, _)) = bare.and_then(|rest| rest.rsplit_once(" (")) {
        error.message = why.to_owned();
    }
    error
}

fn schema_of(kind: &GroupVersionKind) -> Result<KindSchema, ApiError> {
    builtin::kind_schema(kind).ok_or_else(|| ApiError::internal(format!("{} has no schema", kind.kind)))
}

/// What an object says of itself.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct TypeMeta {
    api_version: String,
    kind: String,
}

impl TypeMeta {
    fn of(value: &Value) -> Self {
        Self { api_version: text(value, "apiVersion").to_owned(), kind: text(value, "kind").to_owned() }
    }

    fn kind_or(&self, default: &GroupVersionKind) -> GroupVersionKind {
        let kind = if self.kind.is_empty() { default.kind.as_str() } else { &self.kind };
        if self.api_version.is_empty() {
            return GroupVersionKind::new(default.group.clone(), default.version.clone(), kind);
        }
        GroupVersionKind::from_api_version(&self.api_version, kind)
    }
}

fn read(
    call: &Call,
    kind: &GroupVersionKind,
    schema: &KindSchema,
    bytes: &[u8],
    encoding: Encoding,
) -> Result<Value, ApiError> {
    let (_, canonical) = canonical(call, kind, schema, bytes, encoding)?;
    report(call, canonical.strict)?;
    with_kind(canonical.value, kind)
}

/// Reads bytes by a schema. What they say of themselves is checked first: an object of another kind is not looked at.
fn canonical(
    call: &Call,
    kind: &GroupVersionKind,
    schema: &KindSchema,
    bytes: &[u8],
    encoding: Encoding,
) -> Result<(TypeMeta, Canonical), ApiError> {
    let limits = Limits::of(&kind.kind);
    if let Some(custom) = call.resource.definition.as_ref().filter(|_| call.resource.gvk == *kind) {
        let parsed = codec::parse(format(encoding), bytes, limits)?;
        let given = TypeMeta::of(&parsed.value);
        check_custom_kind(&given, kind, &parsed.value, bytes)?;
        let decoded = custom.decode(parsed.value)?;
        let mut strict = decoded.strict;
        strict.extend(parsed.duplicates);
        return Ok((given, Canonical { value: decoded.value, strict }));
    }
    if encoding == Encoding::Protobuf {
        let (found, value) = codec::protobuf_decode(builtin::kind_schema, kind, bytes)?;
        if !is_options(kind) {
            check_kind(&found, kind)?;
        }
        let given = TypeMeta { api_version: found.api_version().to_string(), kind: found.kind.to_string() };
        return Ok((given, Canonical { value, strict: Vec::new() }));
    }
    if let Encoding::Json { .. } = encoding {
        // Bytes that are malformed beyond this are told of by what reads all of them.
        let given = match serde_json::from_slice(bytes) {
            Ok(given @ TypeMeta { .. })
                if bytes.trim_ascii_start().starts_with(b"{") && given.api_version.matches('/').count() < 2 =>
            {
                given
            }
            _ => {
                codec::parse(Format::Json, bytes, limits)?;
                TypeMeta::default()
            }
        };
        let found = given.kind_or(kind);
        if !is_options(kind) {
            check_kind(&found, kind)?;
        }
        let canonical = codec::decode_json(schema, &found, bytes, limits)?;
        return Ok((given, canonical));
    }
    let parsed = codec::parse(format(encoding), bytes, limits)?;
    let text = |key: &str| parsed.value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let given = TypeMeta { api_version: text("apiVersion"), kind: text("kind") };
    let found = given.kind_or(kind);
    if !is_options(kind) {
        check_kind(&found, kind)?;
    }
    let mut canonical = codec::canonicalise(schema, &found, &kind.kind, parsed.value)?;
    canonical.strict.extend(parsed.duplicates);
    Ok((given, canonical))
}

fn is_options(kind: &GroupVersionKind) -> bool {
    kind.group == "meta.k8s.io"
}

/// Refuses an object that is of another kind than the request is for.
fn check_kind(found: &GroupVersionKind, kind: &GroupVersionKind) -> Result<(), ApiError> {
    // Clients of the old version of evictions are still served; nothing but the version differs.
    let is_old_eviction =
        kind.kind == "Eviction" && found.kind == "Eviction" && found.api_version() == "policy/v1beta1";
    if found == kind || is_old_eviction {
        return Ok(());
    }
    let known = builtin::kind_schema(found).is_some();
    if found.kind == kind.kind && known {
        return Err(ApiError::bad_request(format!(
            "the API version in the data ({}) does not match the expected API version ({})",
            found.api_version(),
            kind.api_version()
        )));
    }
    let why = if known {
        format!(
            "converting ({}.{}) to ({}.{}): unknown conversion",
            found.version,
            found.kind,
            internal(kind),
            kind.kind
        )
    } else {
        format!(
            "no kind {} is registered for version {} in scheme \"pkg/api/legacyscheme/scheme.go:30\"",
            apimachinery::field::quote(&found.kind),
            apimachinery::field::quote(&found.api_version())
        )
    };
    Err(codec::cannot_be_handled(found, &kind.kind, &why))
}

/// Refuses a custom object that is of another kind than the request is for, or does not say of which.
fn check_custom_kind(given: &TypeMeta, kind: &GroupVersionKind, value: &Value, bytes: &[u8]) -> Result<(), ApiError> {
    if given.kind.is_empty() {
        return Err(codec::unrecognised(&kind.kind, &format!("Object 'Kind' is missing in '{value}'"), bytes));
    }
    if given.api_version != kind.api_version().as_str() {
        return Err(ApiError::bad_request(format!(
            "the API version in the data ({}) does not match the expected API version ({})",
            given.api_version,
            kind.api_version()
        )));
    }
    if given.kind != kind.kind.as_str() {
        let mut errors = Errors::default();
        errors.invalid_str(&Path::new("kind"), &given.kind, &format!("must be {}", kind.kind));
        let found = GroupVersionKind::new(kind.group.clone(), kind.version.clone(), given.kind.as_str());
        return Err(ApiError::invalid(&found, meta::name(value), &errors));
    }
    Ok(())
}

/// The Go package of a kind's internal form, as messages of the stock server have it.
fn internal(kind: &GroupVersionKind) -> &str {
    if kind.group.is_empty() { "core" } else { kind.group.split('.').next().unwrap_or_default() }
}

/// Makes a value canonical: by its definition if it is custom, by its schema if not.
fn fitted(
    call: &Call,
    kind: &GroupVersionKind,
    schema: &KindSchema,
    found: &GroupVersionKind,
    value: Value,
) -> Result<Canonical, ApiError> {
    if let Some(custom) = call.resource.definition.as_ref().filter(|_| call.resource.gvk == *kind) {
        let decoded = custom.decode(value)?;
        return Ok(Canonical { value: decoded.value, strict: decoded.strict });
    }
    codec::canonicalise(schema, found, &kind.kind, value)
}

/// Sets `apiVersion` and `kind`.
fn with_kind(mut value: Value, kind: &GroupVersionKind) -> Result<Value, ApiError> {
    let Some(fields) = value.as_object_mut() else {
        return Err(ApiError::bad_request(format!("the body of the request is no {}", kind.kind)));
    };
    fields.insert("apiVersion".to_owned(), Value::String(kind.api_version().to_string()));
    fields.insert("kind".to_owned(), Value::String(kind.kind.to_string()));
    Ok(value)
}

/// Refuses, warns of or passes over what the schema does not know.
fn report(call: &Call, complaints: Vec<String>) -> Result<(), ApiError> {
    match call.field_validation {
        FieldValidation::Ignore => Ok(()),
        FieldValidation::Warn => {
            for complaint in complaints {
                match complaint.strip_prefix("yaml: unmarshal errors:\n") {
                    Some(lines) => lines.lines().for_each(|line| call.warn(line.trim())),
                    None => call.warn(complaint),
                }
            }
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
    let parsed = codec::parse_patch(format, bytes, Limits::of(&call.resource.gvk.kind)).map_err(|mut error| {
        // The stock server words this error for all kinds of patches but one.
        if kind == PatchType::Strategic
            && let Some(why) = error.message.strip_prefix("error decoding patch: ")
        {
            error.message = why.to_owned();
        }
        error
    })?;
    let mut strict = parsed.duplicates;
    match (kind, &parsed.value) {
        (PatchType::Json, operations) => {
            strict = strict.into_iter().map(|s| format!("json patch {s}")).collect();
            strict.extend(apimachinery::patch::json::unknown_fields(operations));
        }
        (_, Value::Object(_) | Value::Null) => {}
        (_, other) => {
            let before = match kind {
                PatchType::Apply => "error decoding YAML: error unmarshaling JSON: while decoding JSON: ",
                PatchType::Strategic => "",
                PatchType::Json | PatchType::Merge => "error decoding patch: ",
            };
            return Err(ApiError::bad_request(format!(
                "{before}json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
                json_kind(other)
            )));
        }
    }
    if kind == PatchType::Apply {
        report(call, std::mem::take(&mut strict))?;
    }
    Ok(Patch { kind, value: parsed.value, force, strict })
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
    let given: TypeMeta =
        TypeMeta { api_version: text(&object, "apiVersion").to_owned(), kind: text(&object, "kind").to_owned() };
    let found = given.kind_or(kind);
    let undecodable = |why: &str| apimachinery::patch::undecodable(&shown(), why);
    check_kind(&found, kind).map_err(|e| undecodable(without_kind(&e.message)))?;
    let canonical = fitted(call, kind, schema, &found, object.clone()).map_err(|e| {
        let why = without_kind(&e.message);
        match patch.kind {
            PatchType::Strategic => undecodable(&restored(why)),
            _ => undecodable(why),
        }
    })?;
    let mut value = with_kind(canonical.value, kind)?;
    // An empty list forgets all owners; the canonical form has no empty lists.
    if meta::at(&object, &["metadata", "managedFields"]).and_then(Value::as_array).is_some_and(Vec::is_empty) {
        value["metadata"]["managedFields"] = serde_json::json!([{}]);
    }
    let mut strict = patch.strict.clone();
    strict.extend(canonical.strict);
    match call.field_validation {
        FieldValidation::Strict if !strict.is_empty() => {
            Err(undecodable(&format!("strict decoding error: {}", strict.join(", "))))
        }
        FieldValidation::Warn => {
            strict.into_iter().for_each(|c| call.warn(c));
            Ok(value)
        }
        _ => Ok(value),
    }
}

/// The reason in `Pod in version "v1" cannot be handled as a Pod: REASON`.
fn without_kind(message: &str) -> &str {
    match message.split_once(" cannot be handled as a ") {
        Some((_, rest)) => rest.split_once(": ").map_or(message, |(_, why)| why),
        None => message,
    }
}

/// A strategic merge does not go through JSON in the stock server: its converter has words of its own for what does not fit.
fn restored(why: &str) -> String {
    let parts = why.strip_prefix("json: cannot unmarshal ").and_then(|rest| rest.split_once(" into Go "));
    let Some((found, (_, wanted))) = parts.and_then(|(found, rest)| Some((found, rest.rsplit_once(" of type ")?)))
    else {
        return why.to_owned();
    };
    let kind = match found {
        "array" => "slice",
        "object" => "map",
        "number" => "int64",
        other => other,
    };
    match wanted {
        "string" | "bool" | "int32" | "int64" | "float64" => format!("unrecognized type: {wanted}"),
        _ if wanted.starts_with("[]") => format!("cannot restore slice from {kind}"),
        _ if wanted.starts_with("map[") => format!("cannot restore map from {kind}"),
        // An object fits every struct: this is a text with a name of its own.
        _ if found == "object" => "unrecognized type: string".to_owned(),
        _ => format!("cannot restore struct from: {kind}"),
    }
}

fn text<'a>(object: &'a Value, key: &str) -> &'a str {
    object.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// The object that an applied configuration makes of the present one.
///
/// # Errors
/// 400 for a configuration that does not fit the request, 409 for fields that others own.
pub(crate) fn applied(call: &Call, live: Option<&Value>, config: &Value, force: bool) -> Result<Value, ApiError> {
    let (kind, schema) = (&call.resource.gvk, &call.resource.schema);
    check_applied(call, config)?;
    let now = call.now_text();
    let merged = crate::ownership::apply(&call.resource, live, config, &call.manager, force, &now, &call.subresource)?;
    let canonical = fitted(call, kind, schema, kind, merged)?;
    with_kind(canonical.value, kind)
}

/// The `Scale` that an applied one makes of the present one, which has its own managed fields.
///
/// # Errors
/// As [`applied`].
pub(crate) fn applied_scale(
    call: &Call,
    kind: &GroupVersionKind,
    live: &Value,
    config: &Value,
    force: bool,
) -> Result<Value, ApiError> {
    check_applied(call, config)?;
    let schema = schema_of(kind)?;
    let merged = crate::ownership::apply_scale(kind, &schema, live, config, &call.manager, force, &call.now_text())?;
    with_kind(codec::canonicalise(&schema, kind, &kind.kind, merged)?.value, kind)
}

/// Refuses an applied configuration that is for another object than the request, or that has managed fields.
fn check_applied(call: &Call, config: &Value) -> Result<(), ApiError> {
    let given = meta::name(config);
    if !given.is_empty() && given != call.name {
        return Err(ApiError::bad_request(format!(
            "the name of the object ({given}) does not match the name on the URL ({})",
            call.name
        )));
    }
    let given = meta::namespace(config);
    if !given.is_empty() && given != call.namespace {
        return Err(ApiError::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    if meta::at(config, &["metadata", "managedFields"]).is_some_and(|m| !m.is_null()) {
        return Err(ApiError::bad_request("metadata.managedFields must be nil"));
    }
    Ok(())
}
