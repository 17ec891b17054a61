//! Reads YAML as `sigs.k8s.io/yaml` turns it into JSON: the scalars of YAML 1.1 as go-yaml resolves them, keys made text,
//! merge keys applied, the first document only.

use std::collections::HashMap;

use base64::Engine;
use granit_parser::{Event, Parser, ScalarStyle, Span, Tag, options};
use serde_json::{Map, Number, Value};

use super::Parsed;
use crate::field::quote;

/// How many values aliases may add to a document.
const MAX_ALIASED: usize = 100_000;

pub(super) fn parse(bytes: &[u8], depth: usize) -> Result<Parsed, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "yaml: invalid leading UTF-8 octet".to_owned())?;
    let options = options! {
        emit_comments: false,
        emit_unresolved_aliases: true,
        flow_nesting_limit: depth,
        block_nesting_limit: depth,
    };
    let mut builder = Builder { depth, ..Builder::default() };
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) = event.map_err(|e| format!("yaml: line {}: {}", e.marker().line(), e.info()))?;
        if builder.event(event, span)? {
            break;
        }
    }
    let value = builder.done.unwrap_or(Value::Null);
    let duplicates = if builder.twice.is_empty() {
        Vec::new()
    } else {
        vec![format!("yaml: unmarshal errors:\n  {}", builder.twice.join("\n  "))]
    };
    Ok(Parsed { value, duplicates })
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    anchors: HashMap<usize, Value>,
    aliased: usize,
    twice: Vec<String>,
    depth: usize,
    done: Option<Value>,
}

/// A list or a map that is being read.
struct Open {
    anchor: usize,
    content: Content,
}

enum Content {
    List(Vec<Value>),
    Map { object: Map<String, Value>, key: Option<Key> },
}

/// A key whose value comes next.
enum Key {
    Text { name: String, shown: String },
    Merge,
}

/// A value, and where a key may come next what it would be as one.
struct Node {
    value: Value,
    anchor: usize,
    line: usize,
    plain: bool,
}

impl Builder {
    /// Takes an event. True once the first document is complete.
    fn event(&mut self, event: Event<'_>, span: Span) -> Result<bool, String> {
        let line = span.start.line();
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain && tag.is_none();
                let value = scalar(&text, style, tag.as_deref())?;
                self.put(Node { value, anchor, line, plain })?;
            }
            Event::SequenceStart(_, anchor, _) => self.enter(anchor, Content::List(Vec::new()))?,
            Event::MappingStart(_, anchor, _) => self.enter(anchor, Content::Map { object: Map::new(), key: None })?,
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(open) = self.open.pop() {
                    let value = match open.content {
                        Content::List(items) => Value::Array(items),
                        Content::Map { object, .. } => Value::Object(object),
                    };
                    self.put(Node { value, anchor: open.anchor, line, plain: false })?;
                }
            }
            Event::Alias(anchor) => {
                let value = self.anchors.get(&anchor).ok_or("yaml: anchor value contains itself")?.clone();
                self.aliased += count(&value);
                if self.aliased > MAX_ALIASED {
                    return Err("yaml: document contains excessive aliasing".to_owned());
                }
                self.put(Node { value, anchor: 0, line, plain: false })?;
            }
            Event::UnresolvedAlias(name) => return Err(format!("yaml: unknown anchor '{name}' referenced")),
            Event::DocumentEnd => return Ok(true),
            _ => {}
        }
        Ok(false)
    }

    fn enter(&mut self, anchor: usize, content: Content) -> Result<(), String> {
        if self.open.len() >= self.depth {
            return Err("yaml: exceeded max depth".to_owned());
        }
        self.open.push(Open { anchor, content });
        Ok(())
    }

    fn put(&mut self, node: Node) -> Result<(), String> {
        if node.anchor != 0 {
            self.anchors.insert(node.anchor, node.value.clone());
        }
        match self.open.last_mut().map(|open| &mut open.content) {
            None => self.done = Some(node.value),
            Some(Content::List(items)) => items.push(node.value),
            Some(Content::Map { object, key }) => match key.take() {
                None => *key = Some(map_key(node)?),
                Some(Key::Merge) => merge(object, node.value)?,
                Some(Key::Text { name, shown }) => {
                    if object.contains_key(&name) {
                        self.twice.push(format!("line {}: key {shown} already set in map", node.line));
                    }
                    object.insert(name, node.value);
                }
            },
        }
        Ok(())
    }
}

fn count(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(count).sum::<usize>(),
        Value::Object(object) => 1 + object.values().map(count).sum::<usize>(),
        _ => 1,
    }
}

fn map_key(node: Node) -> Result<Key, String> {
    let unsupported = |ty: &str| Err(format!("unsupported map key of type: {ty}"));
    let name = match &node.value {
        Value::String(s) if s == "<<" && node.plain => return Ok(Key::Merge),
        Value::String(s) => {
            let shown = quote(s);
            return Ok(Key::Text { name: s.clone(), shown });
        }
        Value::Bool(b) => b.to_string(),
        Value::Number(n) => match n.as_f64().filter(|_| n.is_f64()) {
            Some(f) => (f as f32).to_string(),
            None => n.to_string(),
        },
        Value::Null => return unsupported("%!s(<nil>), key: <nil>"),
        Value::Array(_) | Value::Object(_) => return Err("yaml: invalid map key".to_owned()),
    };
    Ok(Key::Text { shown: name.clone(), name })
}

fn merge(object: &mut Map<String, Value>, value: Value) -> Result<(), String> {
    match value {
        Value::Object(more) => object.extend(more),
        Value::Array(items) if items.iter().all(Value::is_object) => {
            // The first of the list wins.
            for item in items.into_iter().rev() {
                merge(object, item)?;
            }
        }
        _ => return Err("yaml: map merge requires map or sequence of maps as the value".to_owned()),
    }
    Ok(())
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<Value, String> {
    let core = tag.filter(|t| t.handle() == "tag:yaml.org,2002:").map(Tag::suffix);
    let resolved = match (core, style) {
        (Some("binary"), _) => {
            let compact: String = text.split_ascii_whitespace().collect();
            let bytes = base64::engine::general_purpose::STANDARD.decode(compact);
            let bytes = bytes.map_err(|_| "yaml: !!binary value contains invalid base64 data")?;
            return Ok(Value::String(String::from_utf8_lossy(&bytes).into_owned()));
        }
        (Some("str"), _) => return Ok(Value::String(text.to_owned())),
        (None, ScalarStyle::Plain) if tag.is_none() => resolve(text)?,
        (Some("bool" | "int" | "float" | "null"), _) => resolve(text)?,
        _ => return Ok(Value::String(text.to_owned())),
    };
    let fits = match (core, &resolved) {
        (Some("bool"), value) => value.is_boolean(),
        (Some("int"), value) => value.is_i64() || value.is_u64(),
        (Some("float"), value) => value.is_number(),
        (Some("null"), value) => value.is_null(),
        _ => true,
    };
    if fits { Ok(resolved) } else { Err(format!("yaml: cannot decode `{text}` as a !!{}", core.unwrap_or_default())) }
}

/// What go-yaml takes a plain scalar for. Timestamps stay text.
pub(super) fn resolve(text: &str) -> Result<Value, String> {
    Ok(match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => Value::Bool(true),
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => Value::Bool(false),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => {
            return Err("json: unsupported value: +Inf".to_owned());
        }
        "-.inf" | "-.Inf" | "-.INF" => return Err("json: unsupported value: -Inf".to_owned()),
        ".nan" | ".NaN" | ".NAN" => return Err("json: unsupported value: NaN".to_owned()),
        _ => number(text).map_or_else(|| Value::String(text.to_owned()), Value::Number),
    })
}

fn number(text: &str) -> Option<Number> {
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) {
        return None;
    }
    let plain = text.replace('_', "");
    let (negative, digits) = match plain.as_bytes() {
        [b'-', ..] => (true, &plain[1..]),
        [b'+', ..] => (false, &plain[1..]),
        _ => (false, &plain[..]),
    };
    if let Some(n) = unsigned(digits) {
        if !negative {
            return Some(n.into());
        }
        if let Some(n) = 0i64.checked_sub_unsigned(n) {
            return Some(n.into());
        }
    }
    let float = |s: &str| {
        let float: f64 = s.parse().ok()?;
        // Written as JSON a float without a fraction is an integer again.
        let whole = float.fract() == 0.0 && float.abs() < 9e15;
        if whole { Some((float as i64).into()) } else { Number::from_f64(float) }
    };
    is_float(digits).then(|| float(&plain))?
}

/// An integer with one of Go's prefixes.
fn unsigned(digits: &str) -> Option<u64> {
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', b'o' | b'O', ..] => (8, &digits[2..]),
        [b'0', b'b' | b'B', ..] => (2, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    if digits.starts_with(['+', '-']) { None } else { u64::from_str_radix(digits, radix).ok() }
}

/// `1.5`, `.5`, `1.`, `1e3`
fn is_float(text: &str) -> bool {
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    let some = |s: &str| !s.is_empty() && digits(s);
    let mantissa = match mantissa.split_once('.') {
        Some(("", fraction)) => some(fraction),
        Some((whole, fraction)) => some(whole) && digits(fraction),
        None => some(mantissa),
    };
    mantissa && exponent.is_none_or(|e| some(e.strip_prefix(['+', '-']).unwrap_or(e)))
}
