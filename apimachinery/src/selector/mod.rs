//! Label and field selectors: their syntax, their objects and what they match.
//!
//! Source of syntax and wording: `k8s.io/apimachinery/pkg/labels`, `.../pkg/fields`, `.../apis/meta/v1/helpers.go`.

mod field;
mod label;
#[cfg(test)]
mod tests;

use std::fmt;

use serde_json::{Map, Value};
use smol_str::SmolStr;

pub use field::{FieldSelector, FieldTerm};

use crate::envelope::{Pairs, Stored};
use crate::field::{Errors, Path, quote};
use crate::rules::names;
use crate::status::ApiError;

/// Why text or an object is no selector, in the words of the stock server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SelectorError(pub(crate) String);

/// How a requirement relates a label to its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `key in (a,b)`
    In,
    /// `key notin (a,b)`, also true where the label is missing
    NotIn,
    /// `key=a`
    Equals,
    /// `key==a`
    DoubleEquals,
    /// `key!=a`, also true where the label is missing
    NotEquals,
    /// `key`
    Exists,
    /// `!key`
    DoesNotExist,
    /// `key>1`
    GreaterThan,
    /// `key<1`
    LessThan,
}

/// One requirement of a label selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// The label.
    pub key: SmolStr,
    /// How it relates to the values.
    pub operator: Operator,
    /// The values: sorted, each once, in what was parsed from text.
    pub values: Vec<SmolStr>,
}

/// A label selector: all requirements must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelSelector {
    /// `None` selects nothing (a missing `LabelSelector` object).
    requirements: Option<Vec<Requirement>>,
}

impl LabelSelector {
    /// Selects every object.
    pub fn everything() -> Self {
        Self { requirements: Some(Vec::new()) }
    }

    /// Selects no object.
    pub fn nothing() -> Self {
        Self { requirements: None }
    }

    /// Parses the syntax of the `labelSelector` query parameter: `a=b,c in (d,e),!f`.
    ///
    /// # Errors
    /// In the words of the stock server; a 400 to the client.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        label::parse(text).map(Self::of)
    }

    /// Takes a `LabelSelector` object. `null` selects nothing, `{}` everything.
    ///
    /// # Errors
    /// An operator that does not exist, values that do not go with it, or malformed keys or values.
    pub fn from_object(object: &Value) -> Result<Self, SelectorError> {
        if object.is_null() {
            return Ok(Self::nothing());
        }
        let mut requirements = Vec::new();
        for (key, value) in object.get("matchLabels").and_then(Value::as_object).into_iter().flatten() {
            let values = vec![value.as_str().unwrap_or_default().into()];
            requirements.push(label::requirement(key.as_str().into(), Operator::Equals, values)?);
        }
        for expression in object.get("matchExpressions").and_then(Value::as_array).into_iter().flatten() {
            let text = |key: &str| expression.get(key).and_then(Value::as_str).unwrap_or_default();
            let operator = match text("operator") {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                other => {
                    return Err(SelectorError(format!("{} is not a valid label selector operator", quote(other))));
                }
            };
            let values = expression.get("values").and_then(Value::as_array).into_iter().flatten();
            let values = values.map(|v| v.as_str().unwrap_or_default().into()).collect();
            requirements.push(label::requirement(text("key").into(), operator, values)?);
        }
        Ok(Self::of(requirements))
    }

    /// Takes a plain map of labels, such as the selector of a Service: all must be there. An empty map selects everything.
    pub fn from_map(labels: &Map<String, Value>) -> Self {
        let requirement = |(key, value): (&String, &Value)| Requirement {
            key: key.as_str().into(),
            operator: Operator::Equals,
            values: vec![value.as_str().unwrap_or_default().into()],
        };
        Self::of(labels.iter().map(requirement).collect())
    }

    fn of(mut requirements: Vec<Requirement>) -> Self {
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Self { requirements: Some(requirements) }
    }

    /// The requirements, sorted by key; `None` if this selects nothing.
    pub fn requirements(&self) -> Option<&[Requirement]> {
        self.requirements.as_deref()
    }

    /// Whether this selects everything.
    pub fn is_empty(&self) -> bool {
        self.requirements.as_ref().is_some_and(Vec::is_empty)
    }

    /// Whether labels, which `lookup` tells by key, match.
    pub fn matches<'a>(&self, lookup: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.requirements.as_ref().is_some_and(|all| all.iter().all(|r| r.matches(lookup(&r.key))))
    }

    /// Whether a stored object matches; its body is not decoded.
    pub fn matches_stored(&self, stored: &Stored) -> bool {
        self.is_empty() || self.matches_pairs(stored.labels())
    }

    /// Whether labels of an envelope match.
    pub fn matches_pairs(&self, labels: Pairs<'_>) -> bool {
        self.matches(|key| labels.value(key))
    }

    /// Whether a map of labels matches.
    pub fn matches_labels(&self, labels: Option<&Map<String, Value>>) -> bool {
        self.matches(|key| labels.and_then(|l| l.get(key)).and_then(Value::as_str))
    }

    /// Whether the labels of an object match.
    pub fn matches_object(&self, object: &Value) -> bool {
        self.matches_labels(object.pointer("/metadata/labels").and_then(Value::as_object))
    }
}

impl Requirement {
    /// Whether a label with this value, or without one, meets the requirement.
    pub fn matches(&self, value: Option<&str>) -> bool {
        let listed = |value: &str| self.values.iter().any(|v| v == value);
        let number = |s: &str| s.parse::<i64>().ok();
        match (self.operator, value) {
            (Operator::In | Operator::Equals | Operator::DoubleEquals, value) => value.is_some_and(listed),
            (Operator::NotIn | Operator::NotEquals, value) => !value.is_some_and(listed),
            (Operator::Exists, value) => value.is_some(),
            (Operator::DoesNotExist, value) => value.is_none(),
            (Operator::GreaterThan | Operator::LessThan, value) => {
                let bound = self.values.first().and_then(|v| number(v));
                match (value.and_then(number), bound) {
                    (Some(value), Some(bound)) if self.operator == Operator::GreaterThan => value > bound,
                    (Some(value), Some(bound)) => value < bound,
                    _ => false,
                }
            }
        }
    }
}

impl fmt::Display for LabelSelector {
    /// As `status.selector` of a Scale has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, requirement) in self.requirements.iter().flatten().enumerate() {
            write!(f, "{}{requirement}", if i > 0 { "," } else { "" })?;
        }
        Ok(())
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        let mut values = self.values.clone();
        values.sort_unstable();
        let values = values.join(",");
        match self.operator {
            Operator::In => write!(f, "{key} in ({values})"),
            Operator::NotIn => write!(f, "{key} notin ({values})"),
            Operator::Equals => write!(f, "{key}={values}"),
            Operator::DoubleEquals => write!(f, "{key}=={values}"),
            Operator::NotEquals => write!(f, "{key}!={values}"),
            Operator::Exists => f.write_str(key),
            Operator::DoesNotExist => write!(f, "!{key}"),
            Operator::GreaterThan => write!(f, "{key}>{values}"),
            Operator::LessThan => write!(f, "{key}<{values}"),
        }
    }
}

impl From<SelectorError> for ApiError {
    fn from(error: SelectorError) -> Self {
        Self::bad_request(error.0)
    }
}

/// Finds what is wrong with a `LabelSelector` object at `path`. Values that were stored when they were not yet checked
/// may be let through.
pub fn validate_label_selector(selector: &Value, allow_invalid_values: bool, path: &Path, errors: &mut Errors) {
    let labels_path = path.child("matchLabels");
    for (key, value) in selector.get("matchLabels").and_then(Value::as_object).into_iter().flatten() {
        for detail in names::qualified_name(key) {
            errors.invalid_str(&labels_path, key, &detail);
        }
        for detail in names::label_value(value.as_str().unwrap_or_default()) {
            errors.invalid_str(&labels_path, value.as_str().unwrap_or_default(), &detail);
        }
    }
    for (i, expression) in selector.get("matchExpressions").and_then(Value::as_array).into_iter().flatten().enumerate()
    {
        let path = path.child("matchExpressions").index(i);
        let text = |key: &str| expression.get(key).and_then(Value::as_str).unwrap_or_default();
        let values = expression.get("values").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        match text("operator") {
            "In" | "NotIn" if values.is_empty() => {
                errors.required(&path.child("values"), "must be specified when `operator` is 'In' or 'NotIn'");
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => errors
                .forbidden(&path.child("values"), "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"),
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => errors.invalid_str(&path.child("operator"), other, "not a valid selector operator"),
        }
        for detail in names::qualified_name(text("key")) {
            errors.invalid_str(&path.child("key"), text("key"), &detail);
        }
        for (j, value) in values.iter().enumerate().filter(|_| !allow_invalid_values) {
            let value = value.as_str().unwrap_or_default();
            for detail in names::label_value(value) {
                errors.invalid_str(&path.child("values").index(j), value, &detail);
            }
        }
    }
}
