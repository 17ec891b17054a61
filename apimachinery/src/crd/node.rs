//! The schema of a custom resource, compiled: what pruning, defaulting and validation walk along.

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::Value;
use smol_str::SmolStr;

use super::pattern;
use crate::schema::ListKind;

/// The `type` of a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Any,
    Object,
    Array,
    String,
    Integer,
    Number,
    Boolean,
}

/// One schema, of a value or under `allOf`, `anyOf`, `oneOf` or `not`.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) kind: Kind,
    pub(super) nullable: bool,
    pub(super) int_or_string: bool,
    pub(super) preserve_unknown: bool,
    pub(super) embedded: bool,
    pub(super) map_atomic: bool,
    pub(super) list: ListKind,
    pub(super) default: Option<Value>,
    pub(super) properties: BTreeMap<SmolStr, Node>,
    pub(super) additional: Option<Additional>,
    pub(super) items: Option<Box<Node>>,
    pub(super) rules: Option<Box<Rules>>,
}

/// `additionalProperties`
#[derive(Debug)]
pub(super) enum Additional {
    Allowed(bool),
    Schema(Box<Node>),
}

/// What a value must fulfil beyond its type.
#[derive(Debug, Default)]
pub(super) struct Rules {
    pub(super) format: SmolStr,
    pub(super) maximum: Option<f64>,
    pub(super) exclusive_maximum: bool,
    pub(super) minimum: Option<f64>,
    pub(super) exclusive_minimum: bool,
    pub(super) multiple_of: Option<f64>,
    pub(super) max_length: Option<u64>,
    pub(super) min_length: Option<u64>,
    pub(super) max_items: Option<u64>,
    pub(super) min_items: Option<u64>,
    pub(super) max_properties: Option<u64>,
    pub(super) min_properties: Option<u64>,
    pub(super) pattern: Option<(SmolStr, Regex)>,
    pub(super) one_value_of: Vec<Value>,
    pub(super) required: Vec<SmolStr>,
    pub(super) all_of: Vec<Node>,
    pub(super) any_of: Vec<Node>,
    pub(super) one_of: Vec<Node>,
    pub(super) not: Option<Box<Node>>,
}

impl Kind {
    /// Its name; empty for any.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Any => "",
            Self::Object => "object",
            Self::Array => "array",
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
        }
    }
}

impl Node {
    /// Compiles a schema.
    ///
    /// # Errors
    /// What cannot be compiled: an unknown type or a malformed pattern. Validation of the CRD finds these before.
    pub(super) fn compile(schema: &Value) -> Result<Self, String> {
        let text = |key: &str| schema.get(key).and_then(Value::as_str).unwrap_or_default();
        let flag = |key: &str| schema.get(key).and_then(Value::as_bool).unwrap_or(false);
        let kind = match text("type") {
            "" => Kind::Any,
            "object" => Kind::Object,
            "array" => Kind::Array,
            "string" => Kind::String,
            "integer" => Kind::Integer,
            "number" => Kind::Number,
            "boolean" => Kind::Boolean,
            other => return Err(format!("unknown type {other:?}")),
        };
        let keys = schema.get("x-kubernetes-list-map-keys").and_then(Value::as_array).into_iter().flatten();
        let list = match text("x-kubernetes-list-type") {
            "set" => ListKind::Set,
            "map" => ListKind::Map(keys.filter_map(Value::as_str).map(Into::into).collect()),
            _ => ListKind::Atomic,
        };
        let mut properties = BTreeMap::new();
        for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            properties.insert(SmolStr::from(name), Self::compile(property)?);
        }
        let additional = match schema.get("additionalProperties") {
            None | Some(Value::Null) => None,
            Some(Value::Bool(allowed)) => Some(Additional::Allowed(*allowed)),
            Some(schema) => Some(Additional::Schema(Box::new(Self::compile(schema)?))),
        };
        let items = schema.get("items").filter(|i| i.is_object()).map(Self::compile).transpose()?.map(Box::new);
        Ok(Self {
            kind,
            nullable: flag("nullable"),
            int_or_string: flag("x-kubernetes-int-or-string"),
            preserve_unknown: flag("x-kubernetes-preserve-unknown-fields"),
            embedded: flag("x-kubernetes-embedded-resource"),
            map_atomic: text("x-kubernetes-map-type") == "atomic",
            list,
            default: schema.get("default").filter(|d| !d.is_null()).cloned(),
            properties,
            additional,
            items,
            rules: Rules::compile(schema, kind)?.map(Box::new),
        })
    }

    /// The schema of a field of an object.
    pub(super) fn field(&self, name: &str) -> Option<&Self> {
        self.properties.get(name).or(match &self.additional {
            Some(Additional::Schema(schema)) => Some(schema),
            _ => None,
        })
    }

    /// Whether a default stands in it or below.
    pub(super) fn has_defaults(&self) -> bool {
        let additional = matches!(&self.additional, Some(Additional::Schema(s)) if s.has_defaults());
        self.default.is_some()
            || additional
            || self.items.as_ref().is_some_and(|i| i.has_defaults())
            || self.properties.values().any(Self::has_defaults)
    }
}

impl Rules {
    fn compile(schema: &Value, kind: Kind) -> Result<Option<Self>, String> {
        let number = |key: &str| schema.get(key).and_then(Value::as_f64);
        let count = |key: &str| schema.get(key).and_then(Value::as_i64).map(|n| u64::try_from(n).unwrap_or(0));
        let flag = |key: &str| schema.get(key).and_then(Value::as_bool).unwrap_or(false);
        let all = |key: &str| -> Result<Vec<Node>, String> {
            schema.get(key).and_then(Value::as_array).into_iter().flatten().map(Node::compile).collect()
        };
        let expression = schema.get("pattern").and_then(Value::as_str).filter(|p| !p.is_empty());
        let rules = Self {
            format: super::format::known(schema.get("format").and_then(Value::as_str).unwrap_or_default(), kind),
            maximum: number("maximum"),
            exclusive_maximum: flag("exclusiveMaximum"),
            minimum: number("minimum"),
            exclusive_minimum: flag("exclusiveMinimum"),
            multiple_of: number("multipleOf"),
            max_length: count("maxLength"),
            min_length: count("minLength"),
            max_items: count("maxItems"),
            min_items: count("minItems"),
            max_properties: count("maxProperties"),
            min_properties: count("minProperties"),
            pattern: expression.map(|p| pattern::compile(p).map(|r| (SmolStr::from(p), r))).transpose()?,
            one_value_of: schema.get("enum").and_then(Value::as_array).cloned().unwrap_or_default(),
            required: schema
                .get("required")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .map(Into::into)
                .collect(),
            all_of: all("allOf")?,
            any_of: all("anyOf")?,
            one_of: all("oneOf")?,
            not: schema.get("not").filter(|n| n.is_object()).map(Node::compile).transpose()?.map(Box::new),
        };
        Ok((!rules.is_empty()).then_some(rules))
    }

    fn is_empty(&self) -> bool {
        self.format.is_empty()
            && self.maximum.is_none()
            && self.minimum.is_none()
            && self.multiple_of.is_none()
            && self.max_length.is_none()
            && self.min_length.is_none()
            && self.max_items.is_none()
            && self.min_items.is_none()
            && self.max_properties.is_none()
            && self.min_properties.is_none()
            && self.pattern.is_none()
            && self.one_value_of.is_empty()
            && self.required.is_empty()
            && self.all_of.is_empty()
            && self.any_of.is_empty()
            && self.one_of.is_empty()
            && self.not.is_none()
    }
}
