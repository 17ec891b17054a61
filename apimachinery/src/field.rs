//! Field paths and field errors: what validation reports.
//!
//! Source of the wording: `k8s.io/apimachinery/pkg/util/validation/field`.

use std::fmt;

use serde_json::Value;

/// Where in an object something is: `spec.containers[0].ports[2].name`, `metadata.annotations[a/b]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Path(String);

/// What is wrong with a field. The words are what `details.causes[].reason` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorType {
    /// `FieldValueRequired`
    Required,
    /// `FieldValueInvalid`
    Invalid,
    /// `FieldValueNotSupported`
    NotSupported,
    /// `FieldValueDuplicate`
    Duplicate,
    /// `FieldValueForbidden`
    Forbidden,
    /// `FieldValueNotFound`
    NotFound,
    /// `FieldValueTooLong`
    TooLong,
    /// `FieldValueTooMany`
    TooMany,
    /// `FieldValueTypeInvalid`
    TypeInvalid,
    /// `InternalError`
    Internal,
}

/// One thing that is wrong with one field.
#[derive(Clone, Debug, PartialEq)]
pub struct Error {
    /// Which rule.
    pub kind: ErrorType,
    /// Which field; empty for the object as a whole.
    pub field: String,
    /// The message without the field's name: `Required value: name is required`.
    pub body: String,
}

/// All that is wrong with an object, in the order it was found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Errors(pub Vec<Error>);

impl Path {
    /// The top of an object.
    pub fn root() -> Self {
        Self::default()
    }

    /// A path of one field.
    pub fn new(name: &str) -> Self {
        Self(name.to_owned())
    }

    /// The field `name` of this one.
    pub fn child(&self, name: &str) -> Self {
        if self.0.is_empty() { Self(name.to_owned()) } else { Self(format!("{}.{name}", self.0)) }
    }

    /// The item at `index`.
    pub fn index(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }

    /// The entry `key` of a map.
    pub fn key(&self, key: &str) -> Self {
        Self(format!("{}[{key}]", self.0))
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl ErrorType {
    /// The word in `details.causes[].reason`.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Required => "FieldValueRequired",
            Self::Invalid => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Forbidden => "FieldValueForbidden",
            Self::NotFound => "FieldValueNotFound",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::TypeInvalid => "FieldValueTypeInvalid",
            Self::Internal => "InternalError",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.field.is_empty() { f.write_str(&self.body) } else { write!(f, "{}: {}", self.field, self.body) }
    }
}

/// A value as the messages of the stock server show it: strings quoted as Go does, numbers and booleans bare, the rest as JSON.
pub fn show(value: &Value) -> String {
    match value {
        Value::String(s) => quote(s),
        other => other.to_string(),
    }
}

/// A string as Go's `%q` writes it.
pub fn quote(s: &str) -> String {
    let mut out = String::with_capacity(s.len() + 2);
    out.push('"');
    for c in s.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => out.push_str(&format!("\\x{:02x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

impl Errors {
    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn push(&mut self, kind: ErrorType, path: &Path, body: String) {
        self.0.push(Error { kind, field: path.0.clone(), body });
    }

    /// The field must have a value.
    pub fn required(&mut self, path: &Path, detail: &str) {
        self.push(ErrorType::Required, path, with_detail("Required value".to_owned(), detail));
    }

    /// The field's value is not allowed, for the reason in `detail`.
    pub fn invalid(&mut self, path: &Path, value: &Value, detail: &str) {
        self.push(ErrorType::Invalid, path, with_detail(format!("Invalid value: {}", show(value)), detail));
    }

    /// The field's string value is not allowed, for the reason in `detail`.
    pub fn invalid_str(&mut self, path: &Path, value: &str, detail: &str) {
        self.push(ErrorType::Invalid, path, with_detail(format!("Invalid value: {}", quote(value)), detail));
    }

    /// The field's value, which is not shown, is not allowed.
    pub fn invalid_without_value(&mut self, path: &Path, detail: &str) {
        self.push(ErrorType::Invalid, path, with_detail("Invalid value".to_owned(), detail));
    }

    /// The field's value is none of `supported`.
    pub fn not_supported(&mut self, path: &Path, value: &Value, supported: &[&str]) {
        let list: Vec<String> = supported.iter().map(|s| quote(s)).collect();
        let detail = if list.is_empty() { String::new() } else { format!("supported values: {}", list.join(", ")) };
        self.push(ErrorType::NotSupported, path, with_detail(format!("Unsupported value: {}", show(value)), &detail));
    }

    /// The value stands there already.
    pub fn duplicate(&mut self, path: &Path, value: &Value) {
        self.push(ErrorType::Duplicate, path, format!("Duplicate value: {}", show(value)));
    }

    /// The value stands there already, which it may not for the reason in `detail`.
    pub fn duplicate_because(&mut self, path: &Path, value: &Value, detail: &str) {
        self.push(ErrorType::Duplicate, path, with_detail(format!("Duplicate value: {}", show(value)), detail));
    }

    /// The field may not be set (or not so, or not now).
    pub fn forbidden(&mut self, path: &Path, detail: &str) {
        self.push(ErrorType::Forbidden, path, with_detail("Forbidden".to_owned(), detail));
    }

    /// What the field refers to does not exist.
    pub fn not_found(&mut self, path: &Path, value: &Value) {
        self.push(ErrorType::NotFound, path, format!("Not found: {}", show(value)));
    }

    /// The value has more than `max` bytes (of which the message says no more).
    pub fn too_long(&mut self, path: &Path, max: usize) {
        let plural = if max == 1 { "" } else { "s" };
        self.push(ErrorType::TooLong, path, format!("Too long: may not be more than {max} byte{plural}"));
    }

    /// The list or map has more than `max` items.
    pub fn too_many(&mut self, path: &Path, actual: usize, max: usize) {
        let plural = if max == 1 { "" } else { "s" };
        self.push(ErrorType::TooMany, path, format!("Too many: {actual}: must have at most {max} item{plural}"));
    }

    /// The value has the wrong type.
    pub fn type_invalid(&mut self, path: &Path, value: &Value, detail: &str) {
        self.push(ErrorType::TypeInvalid, path, with_detail(format!("Invalid value: {}", show(value)), detail));
    }

    /// Something went wrong while the field was looked at.
    pub fn internal(&mut self, path: &Path, detail: &str) {
        self.push(ErrorType::Internal, path, with_detail("Internal error".to_owned(), detail));
    }
}

fn with_detail(body: String, detail: &str) -> String {
    if detail.is_empty() { body } else { format!("{body}: {detail}") }
}
