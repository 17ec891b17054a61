//! Sets of fields, as `managedFields` records them (`FieldsV1`).
//!
//! Source: `sigs.k8s.io/structured-merge-diff/v6/fieldpath`.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value};
use smol_str::SmolStr;

use crate::field::quote;

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PathElement {
    /// A field of a struct or an entry of a map: `f:name`.
    Field(SmolStr),
    /// The item of a list whose key fields have these values, sorted by name: `k:{"name":"x"}`.
    Key(Vec<(SmolStr, Scalar)>),
    /// The item of a set: `v:"x"`.
    Value(Scalar),
    /// An item by its place: `i:0`. Only read, never written.
    Index(i64),
}

/// A value with the order that path elements sort by: numbers, strings, booleans, the rest.
#[derive(Clone, Debug)]
pub struct Scalar(pub Value);

/// A path from the top of an object.
pub type FieldPath = Vec<PathElement>;

/// A set of fields. A field may be in it without its parents or children.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSet {
    nodes: BTreeMap<PathElement, Node>,
}

/// A step that is a member, leads to members, or both; never neither.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Node {
    member: bool,
    children: FieldSet,
}

/// Bytes that are no `FieldsV1`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FieldsError(String);

impl FieldSet {
    /// The set of these dotted paths of plain fields, such as `metadata.labels`.
    pub fn of_fields(paths: &[&str]) -> Self {
        let mut set = Self::default();
        for path in paths {
            let path: FieldPath = path.split('.').map(|f| PathElement::Field(f.into())).collect();
            set.insert(&path);
        }
        set
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Adds a field. The empty path, the whole object, is never a member.
    pub fn insert(&mut self, path: &[PathElement]) {
        let Some((first, rest)) = path.split_first() else { return };
        let node = self.nodes.entry(first.clone()).or_default();
        if rest.is_empty() {
            node.member = true;
        } else {
            node.children.insert(rest);
        }
    }

    /// Whether a field is a member.
    pub fn has(&self, path: &[PathElement]) -> bool {
        match path.split_first() {
            None => false,
            Some((first, [])) => self.nodes.get(first).is_some_and(|n| n.member),
            Some((first, rest)) => self.nodes.get(first).is_some_and(|n| n.children.has(rest)),
        }
    }

    /// Whether the one-step path is a member.
    pub(super) fn has_element(&self, element: &PathElement) -> bool {
        self.nodes.get(element).is_some_and(|n| n.member)
    }

    /// What is below a step, if anything is.
    pub(super) fn below(&self, element: &PathElement) -> Option<&Self> {
        self.nodes.get(element).map(|n| &n.children).filter(|c| !c.is_empty())
    }

    /// Every step at the top: whether it is a member, and what is below.
    pub(super) fn steps(&self) -> impl Iterator<Item = (&PathElement, bool, &Self)> {
        self.nodes.iter().map(|(e, n)| (e, n.member, &n.children))
    }

    pub(super) fn insert_step(&mut self, element: PathElement, member: bool, children: Self) {
        if member || !children.is_empty() {
            self.nodes.insert(element, Node { member, children });
        }
    }

    /// What is in either.
    pub fn union(mut self, other: &Self) -> Self {
        for (element, node) in &other.nodes {
            match self.nodes.get_mut(element) {
                Some(own) => {
                    own.member |= node.member;
                    own.children = std::mem::take(&mut own.children).union(&node.children);
                }
                None => {
                    self.nodes.insert(element.clone(), node.clone());
                }
            }
        }
        self
    }

    /// What is in both.
    pub fn intersection(&self, other: &Self) -> Self {
        let mut out = Self::default();
        for (element, node) in &self.nodes {
            if let Some(theirs) = other.nodes.get(element) {
                let children = node.children.intersection(&theirs.children);
                out.insert_step(element.clone(), node.member && theirs.member, children);
            }
        }
        out
    }

    /// What is in this and not in the other. Children of what is in the other stay.
    pub fn difference(&self, other: &Self) -> Self {
        self.without(other, false)
    }

    /// What is in this and neither in the other nor below what is in it.
    pub fn recursive_difference(&self, other: &Self) -> Self {
        self.without(other, true)
    }

    fn without(&self, other: &Self, recursive: bool) -> Self {
        let mut out = Self::default();
        for (element, node) in &self.nodes {
            match other.nodes.get(element) {
                None => {
                    out.nodes.insert(element.clone(), node.clone());
                }
                Some(theirs) if recursive && theirs.member => {}
                Some(theirs) => {
                    let children = node.children.without(&theirs.children, recursive);
                    out.insert_step(element.clone(), node.member && !theirs.member, children);
                }
            }
        }
        out
    }

    /// The part of this set that is at or below one of these paths of fields; `*` stands for any item of a list.
    pub(super) fn only_under(&self, paths: &[&[&str]]) -> Self {
        let mut out = Self::default();
        for (element, node) in &self.nodes {
            let fits = |step: &str| match element {
                PathElement::Field(name) => name == step,
                _ => step == "*",
            };
            let below: Vec<&[&str]> =
                paths.iter().filter_map(|p| p.split_first()).filter(|(s, _)| fits(s)).map(|(_, rest)| rest).collect();
            if below.iter().any(|rest| rest.is_empty()) {
                out.nodes.insert(element.clone(), node.clone());
            } else if !below.is_empty() {
                out.insert_step(element.clone(), node.member, node.children.only_under(&below));
            }
        }
        out
    }

    /// All members; those of a level before those below it.
    pub fn paths(&self) -> Vec<FieldPath> {
        let mut out = Vec::new();
        self.collect(&mut Vec::new(), &mut out);
        out
    }

    fn collect(&self, prefix: &mut FieldPath, out: &mut Vec<FieldPath>) {
        for (element, _) in self.nodes.iter().filter(|(_, n)| n.member) {
            let mut path = prefix.clone();
            path.push(element.clone());
            out.push(path);
        }
        for (element, node) in &self.nodes {
            prefix.push(element.clone());
            node.children.collect(prefix, out);
            prefix.pop();
        }
    }

    /// The set as `FieldsV1`.
    pub fn to_fields(&self) -> Value {
        let mut out = Map::new();
        for (element, node) in &self.nodes {
            let mut value = node.children.to_fields();
            if let (true, false, Value::Object(map)) = (node.member, node.children.is_empty(), &mut value) {
                map.insert(".".to_owned(), Value::Object(Map::new()));
            }
            out.insert(element.to_key(), value);
        }
        Value::Object(out)
    }

    /// Reads `FieldsV1`. Kinds of path elements that are not known are left out.
    ///
    /// # Errors
    /// If it is no object, or a key in it is malformed.
    pub fn from_fields(fields: &Value) -> Result<Self, FieldsError> {
        let Value::Object(map) = fields else { return Err(FieldsError("fieldsV1 is no object".to_owned())) };
        let mut out = Self::default();
        for (key, value) in map.iter().filter(|(k, _)| *k != ".") {
            let Some(element) = PathElement::from_key(key)? else { continue };
            let children = Self::from_fields(value)?;
            let member = children.is_empty() || value.get(".").is_some();
            out.insert_step(element, member, children);
        }
        Ok(out)
    }
}

impl PathElement {
    /// As a key of `FieldsV1`.
    fn to_key(&self) -> String {
        match self {
            Self::Field(name) => format!("f:{name}"),
            Self::Key(fields) => {
                let fields: Vec<String> = fields
                    .iter()
                    .map(|(name, value)| format!("{}:{}", go_json(&Value::String(name.to_string())), go_json(&value.0)))
                    .collect();
                format!("k:{{{}}}", fields.join(","))
            }
            Self::Value(value) => format!("v:{}", go_json(&value.0)),
            Self::Index(i) => format!("i:{i}"),
        }
    }

    fn from_key(key: &str) -> Result<Option<Self>, FieldsError> {
        let Some((kind, rest)) = key.get(..2).zip(key.get(2..)) else {
            return Err(FieldsError(format!("malformed path element {}", quote(key))));
        };
        let json = || serde_json::from_str(rest).map_err(|e| FieldsError(format!("path element {}: {e}", quote(key))));
        Ok(Some(match kind {
            "f:" => Self::Field(rest.into()),
            "v:" => Self::Value(Scalar(json()?)),
            "i:" => Self::Index(rest.parse().map_err(|_| FieldsError(format!("malformed index {}", quote(key))))?),
            "k:" => match json()? {
                Value::Object(map) => {
                    let mut fields: Vec<_> = map.into_iter().map(|(k, v)| (SmolStr::from(k), Scalar(v))).collect();
                    fields.sort();
                    Self::Key(fields)
                }
                _ => return Err(FieldsError(format!("malformed path element {}", quote(key)))),
            },
            _ if kind.ends_with(':') => return Ok(None),
            _ => return Err(FieldsError(format!("missing colon: {key}"))),
        }))
    }
}

impl fmt::Display for PathElement {
    /// As messages show it: `.name`, `[name="x"]`, `[="x"]`, `[0]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(name) => write!(f, ".{name}"),
            Self::Key(fields) => {
                let fields: Vec<String> = fields.iter().map(|(n, v)| format!("{n}={v}")).collect();
                write!(f, "[{}]", fields.join(","))
            }
            Self::Value(value) => write!(f, "[={value}]"),
            Self::Index(i) => write!(f, "[{i}]"),
        }
    }
}

/// A path as messages show it: `.spec.containers[name="x"].image`.
pub fn show_path(path: &[PathElement]) -> String {
    path.iter().map(ToString::to_string).collect()
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Value::String(s) => f.write_str(&quote(s)),
            other => write!(f, "{other}"),
        }
    }
}

impl PartialEq for Scalar {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Scalar {}

impl PartialOrd for Scalar {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scalar {
    fn cmp(&self, other: &Self) -> Ordering {
        let rank = |v: &Value| match v {
            Value::Number(_) => 0,
            Value::String(_) => 1,
            Value::Bool(_) => 2,
            Value::Array(_) => 3,
            Value::Object(_) => 4,
            Value::Null => 5,
        };
        match (&self.0, &other.0) {
            (Value::Number(a), Value::Number(b)) => match (a.as_i64(), b.as_i64()) {
                (Some(a), Some(b)) => a.cmp(&b),
                _ => a.as_f64().unwrap_or_default().total_cmp(&b.as_f64().unwrap_or_default()),
            },
            (Value::String(a), Value::String(b)) => a.cmp(b),
            (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
            (a, b) if rank(a) == rank(b) => a.to_string().cmp(&b.to_string()),
            (a, b) => rank(a).cmp(&rank(b)),
        }
    }
}

/// JSON as Go writes it: `<`, `>`, `&` and the two separators that JavaScript minds are escaped.
pub(super) fn go_json(value: &Value) -> String {
    let text = value.to_string();
    if !text.contains(['<', '>', '&', '\u{2028}', '\u{2029}']) {
        return text;
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out
}
