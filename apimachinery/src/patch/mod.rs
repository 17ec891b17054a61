//! The patches that are not apply: JSON patch (RFC 6902), JSON merge patch (RFC 7386) and strategic merge patch.
//!
//! All are functions of the object (in the version of the request) and the decoded patch; the result is not yet
//! canonical, defaulted or checked. What the stock server says of a bad patch is in
//! `k8s.io/apiserver/pkg/endpoints/handlers/patch.go`.

pub mod json;
pub mod merge;
pub mod strategic;
#[cfg(test)]
mod tests;

use serde_json::Value;

use crate::field::{Errors, Path};
use crate::gvk::GroupVersionKind;
use crate::status::ApiError;

/// The kinds of patch, by their content type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchType {
    /// RFC 6902.
    Json,
    /// RFC 7386.
    Merge,
    /// Kubernetes' own, by schema; built-in kinds only.
    Strategic,
    /// Server-side apply.
    Apply,
}

impl PatchType {
    /// The patch type with this content type, which has no parameters.
    pub fn from_content_type(content_type: &str) -> Option<Self> {
        [Self::Json, Self::Merge, Self::Strategic, Self::Apply].into_iter().find(|t| t.content_type() == content_type)
    }

    /// Its content type.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json-patch+json",
            Self::Merge => "application/merge-patch+json",
            Self::Strategic => "application/strategic-merge-patch+json",
            Self::Apply => "application/apply-patch+yaml",
        }
    }
}

/// 422 for a patch after which the object cannot be decoded, or has unknown or duplicate fields under strict validation.
///
/// `patched` is what the message shows: the JSON of the patched object, or for a strategic merge patch the patch as
/// [`show_go`] writes it.
pub fn undecodable(patched: &str, detail: &str) -> ApiError {
    let mut errors = Errors::default();
    errors.invalid_str(&Path::new("patch"), patched, detail);
    ApiError::invalid(&GroupVersionKind::new("", "", ""), "", &errors)
}

/// A value as Go's `%v` prints it: `map[a:1 b:[x y]]`. Some messages of the stock server hold values in this form.
pub fn show_go(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(s) => s.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(show_go).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_unstable_by_key(|(k, _)| k.as_str());
            let entries: Vec<String> = entries.into_iter().map(|(k, v)| format!("{k}:{}", show_go(v))).collect();
            format!("map[{}]", entries.join(" "))
        }
        Value::Number(n) if n.is_f64() => show_go_float(n.as_f64().unwrap_or_default()),
        other => other.to_string(),
    }
}

/// A float as Go's `%v` writes it.
pub fn show_go_float(n: f64) -> String {
    if n.abs() >= 1e21 || (n != 0.0 && n.abs() < 1e-4) {
        let text = format!("{n:e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |d| ('-', d));
        return format!("{mantissa}e{sign}{digits:0>2}");
    }
    n.to_string()
}

/// The Go type that a value is decoded into.
pub fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(n) if n.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

/// What Go's JSON decoder calls a value of the wrong type.
pub fn json_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
