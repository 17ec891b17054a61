//! `additionalPrinterColumns`: the table that `kubectl get` shows of a custom resource.
//!
//! Source: `k8s.io/apiextensions-apiserver/pkg/registry/customresource/tableconvertor`; paths are the part of
//! `client-go/util/jsonpath` that definitions use: fields, indexes, wildcards and filters by equality.

use serde_json::{Value, json};

use crate::time::Timestamp;

const NAME_HELP: &str = "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a client to request the generation of an appropriate name automatically. Name is primarily intended for creation idempotence and configuration definition. Cannot be updated. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names";
const AGE_HELP: &str = "CreationTimestamp is a timestamp representing the server time when this object was created. It is not guaranteed to be set in happens-before order across separate operations. Clients may not set this value. It is represented in RFC3339 form and is in UTC.\n\nPopulated by the system. Read-only. Null for lists. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";

/// A column beyond the name.
#[derive(Clone, Debug)]
pub(super) struct Column {
    definition: Value,
    kind: String,
    path: Option<Vec<Step>>,
}

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Field(String),
    Index(i64),
    All,
    /// Items whose value at a path is, or is not, equal to a literal.
    Filter {
        path: Vec<Step>,
        equal: bool,
        literal: Value,
    },
}

/// The columns of a version; the age, if it names none.
pub(super) fn of_version(version: &Value) -> Vec<Column> {
    let age = [json!({
        "name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp", "description": AGE_HELP,
    })];
    let own = version.get("additionalPrinterColumns").and_then(Value::as_array).filter(|c| !c.is_empty());
    own.map_or(&age[..], Vec::as_slice).iter().map(Column::new).collect()
}

/// The definition of the first column.
pub(super) fn name_column() -> Value {
    json!({"name": "Name", "type": "string", "format": "name", "description": NAME_HELP, "priority": 0})
}

impl Column {
    fn new(column: &Value) -> Self {
        let text = |key: &str| column.get(key).and_then(Value::as_str).unwrap_or_default();
        let description = match text("description") {
            "" => format!("Custom resource definition column (in JSONPath format): {}", text("jsonPath")),
            own => own.to_owned(),
        };
        Self {
            definition: json!({
                "name": text("name"), "type": text("type"), "format": text("format"), "description": description,
                "priority": column.get("priority").and_then(Value::as_i64).unwrap_or(0),
            }),
            kind: text("type").to_owned(),
            path: parse(text("jsonPath")),
        }
    }

    pub(super) fn definition(&self) -> &Value {
        &self.definition
    }

    /// The cell of an object.
    pub(super) fn cell(&self, object: &Value, now: Timestamp) -> Value {
        let Some(value) = self.path.as_ref().and_then(|path| walk(object, path).into_iter().next()) else {
            return Value::Null;
        };
        match self.kind.as_str() {
            "string" => match value {
                Value::String(s) => json!(s),
                Value::Null => json!("<nil>"),
                Value::Bool(b) => json!(b.to_string()),
                other => json!(other.to_string()),
            },
            "integer" => value.as_i64().or_else(|| value.as_f64().map(|n| n as i64)).map_or(Value::Null, Value::from),
            "number" => value
                .as_f64()
                .map_or(Value::Null, |n| if n.fract() == 0.0 && n.abs() < 9e15 { json!(n as i64) } else { json!(n) }),
            "boolean" if value.is_boolean() => value.clone(),
            "date" => value.as_str().map_or(Value::Null, |text| match Timestamp::parse(text) {
                Ok(then) => json!(human_duration(now.seconds_since(then))),
                Err(_) => json!("<invalid>"),
            }),
            _ => Value::Null,
        }
    }
}

/// A duration as kubectl shows ages: `5s`, `3m20s`, `4h`, `6y328d`.
fn human_duration(seconds: i64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let two = |big: i64, unit: &str, small: i64, small_unit: &str| {
        if small == 0 { format!("{big}{unit}") } else { format!("{big}{unit}{small}{small_unit}") }
    };
    match seconds {
        s if s < -1 => "<invalid>".to_owned(),
        s if s < 0 => "0s".to_owned(),
        s if s < 120 => format!("{s}s"),
        _ if minutes < 10 => two(minutes, "m", seconds % 60, "s"),
        _ if minutes < 180 => format!("{minutes}m"),
        _ if hours < 8 => two(hours, "h", minutes % 60, "m"),
        _ if hours < 48 => format!("{hours}h"),
        _ if hours < 192 => two(days, "d", hours % 24, "h"),
        _ if days < 730 => format!("{days}d"),
        _ if days < 2920 => two(days / 365, "y", days % 365, "d"),
        _ => format!("{}y", days / 365),
    }
}

fn walk<'a>(value: &'a Value, path: &[Step]) -> Vec<&'a Value> {
    let Some((step, rest)) = path.split_first() else { return vec![value] };
    let next: Vec<&Value> = match step {
        Step::Field(name) => value.get(name.as_str()).into_iter().collect(),
        Step::Index(i) => {
            let Some(items) = value.as_array() else { return Vec::new() };
            let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
            let i = if *i < 0 { length + i } else { *i };
            usize::try_from(i).ok().and_then(|i| items.get(i)).into_iter().collect()
        }
        Step::All => match value {
            Value::Array(items) => items.iter().collect(),
            Value::Object(map) => map.values().collect(),
            _ => Vec::new(),
        },
        Step::Filter { path, equal, literal } => {
            let holds = |item: &&Value| walk(item, path).first().is_some_and(|v| (*v == literal) == *equal);
            value.as_array().into_iter().flatten().filter(holds).collect()
        }
    };
    next.into_iter().flat_map(|v| walk(v, rest)).collect()
}

/// Parses a path; none if it holds what is not known here, in which case its cells are empty.
fn parse(text: &str) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    let mut rest = text.strip_prefix('$').unwrap_or(text);
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('[') {
            let end = closing(inner)?;
            steps.push(bracket(&inner[..end])?);
            rest = &inner[end + 1..];
            continue;
        }
        rest = rest.strip_prefix('.').unwrap_or(rest);
        if rest.is_empty() {
            break;
        }
        let mut name = String::new();
        let mut end = rest.len();
        let mut escaped = false;
        for (i, c) in rest.char_indices() {
            match c {
                '\\' if !escaped => escaped = true,
                '.' | '[' if !escaped => {
                    end = i;
                    break;
                }
                c => {
                    name.push(c);
                    escaped = false;
                }
            }
        }
        if end == 0 && !rest.starts_with('[') {
            // `..` looks into all descendants, which no table needs.
            return None;
        }
        match name.as_str() {
            "" => {}
            "*" => steps.push(Step::All),
            _ => steps.push(Step::Field(name)),
        }
        rest = &rest[end..];
    }
    Some(steps)
}

/// Where the bracket closes, quotes and nested brackets left out.
fn closing(text: &str) -> Option<usize> {
    let (mut depth, mut quote) = (0, None);
    for (i, c) in text.char_indices() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '[') => depth += 1,
            (None, ']') if depth == 0 => return Some(i),
            (None, ']') => depth -= 1,
            _ => {}
        }
    }
    None
}

fn bracket(text: &str) -> Option<Step> {
    let text = text.trim();
    let quoted = |s: &str| ['"', '\''].into_iter().find_map(|q| s.strip_prefix(q)?.strip_suffix(q).map(str::to_owned));
    if text == "*" {
        return Some(Step::All);
    }
    if let Ok(i) = text.parse() {
        return Some(Step::Index(i));
    }
    if let Some(name) = quoted(text) {
        return Some(Step::Field(name));
    }
    let filter = text.strip_prefix("?(")?.strip_suffix(')')?;
    let (left, equal, right) = match (filter.split_once("=="), filter.split_once("!=")) {
        (Some((left, right)), _) => (left, true, right),
        (None, Some((left, right))) => (left, false, right),
        (None, None) => return None,
    };
    let right = right.trim();
    let literal = quoted(right).map(Value::String).or_else(|| serde_json::from_str(right).ok())?;
    Some(Step::Filter { path: parse(left.trim().strip_prefix('@')?)?, equal, literal })
}
