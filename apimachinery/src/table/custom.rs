//! Columns of custom resources: `additionalPrinterColumns`.
//!
//! Source: `k8s.io/apiextensions-apiserver/pkg/registry/customresource/tableconvertor`.

use serde_json::{Number, Value, json};
use smol_str::SmolStr;

use super::cells::since;
use super::jsonpath::{JsonPath, JsonPathError};
use crate::meta::str_at;
use crate::time::Timestamp;

/// A column of a custom resource.
#[derive(Clone, Debug, PartialEq)]
pub struct CustomColumn {
    name: SmolStr,
    ty: SmolStr,
    format: SmolStr,
    description: String,
    priority: i32,
    path: JsonPath,
}

/// A column that cannot be shown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("column {name}: {source}")]
pub struct ColumnError {
    /// The column's name.
    pub name: String,
    /// What is wrong with its path.
    pub source: JsonPathError,
}

impl CustomColumn {
    /// Takes the `additionalPrinterColumns` of a CustomResourceDefinition's version; if there are none, the age.
    ///
    /// # Errors
    /// The first column whose path is no JSONPath.
    pub fn from_definition(columns: &[Value]) -> Result<Vec<Self>, ColumnError> {
        if columns.is_empty() {
            let path = JsonPath::parse(".metadata.creationTimestamp");
            let age = |path| Self {
                name: "Age".into(),
                ty: "date".into(),
                format: SmolStr::default(),
                description: String::new(),
                priority: 0,
                path,
            };
            return Ok(path.map(age).into_iter().collect());
        }
        columns.iter().map(Self::parse).collect()
    }

    fn parse(column: &Value) -> Result<Self, ColumnError> {
        let text = |key| str_at(column, &[key]);
        let path = JsonPath::parse(text("jsonPath"));
        Ok(Self {
            name: text("name").into(),
            ty: text("type").into(),
            format: text("format").into(),
            description: match text("description") {
                "" => format!("Custom resource definition column (in JSONPath format): {}", text("jsonPath")),
                own => own.to_owned(),
            },
            priority: column.get("priority").and_then(Value::as_i64).and_then(|p| i32::try_from(p).ok()).unwrap_or(0),
            path: path.map_err(|source| ColumnError { name: text("name").to_owned(), source })?,
        })
    }

    pub(super) fn definition(&self) -> Value {
        super::definition(&self.name, &self.ty, &self.format, &self.description, self.priority)
    }

    pub(super) fn cell(&self, object: &Value, now: Timestamp) -> Value {
        let Some(value) = self.path.first(object) else {
            return Value::Null;
        };
        match (self.ty.as_str(), value) {
            ("string", Value::String(s)) => json!(s),
            // Go prints nil as `<nil>`, and lists and maps as JSON.
            ("string", Value::Null) => json!("<nil>"),
            ("string", other) => json!(other.to_string()),
            ("integer", Value::Number(n)) => json!(n.as_i64().or(n.as_f64().map(|f| f as i64))),
            ("number", Value::Number(n)) => whole(n),
            ("boolean", Value::Bool(b)) => json!(b),
            ("date", Value::String(_)) => match since(Some(value), now) {
                unknown if unknown == "<unknown>" => json!("<invalid>"),
                age => json!(age),
            },
            _ => Value::Null,
        }
    }
}

/// A number as Go writes a float: without a fraction where there is none.
fn whole(n: &Number) -> Value {
    match n.as_f64() {
        Some(f) if f.fract() == 0.0 && f.abs() < 9e15 => json!(f as i64),
        _ => Value::Number(n.clone()),
    }
}
