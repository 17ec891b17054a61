//! Writes YAML that readers of YAML 1.1 and 1.2 understand alike: text that either could take for something else is quoted.

use serde_json::{Map, Value};

use super::yaml::resolve;

/// Writes a whole document.
pub(super) fn write(value: &Value, out: &mut String) {
    match value {
        Value::Object(object) if !object.is_empty() => map(object, 0, out),
        Value::Array(items) if !items.is_empty() => list(items, 0, out),
        other => {
            scalar(other, 0, out);
            out.push('\n');
        }
    }
}

fn map(object: &Map<String, Value>, indent: usize, out: &mut String) {
    for (i, (key, value)) in object.iter().enumerate() {
        if i > 0 {
            pad(indent, out);
        }
        text(key, out);
        out.push(':');
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                out.push('\n');
                pad(indent + 2, out);
                map(inner, indent + 2, out);
            }
            Value::Array(items) if !items.is_empty() => {
                out.push('\n');
                pad(indent, out);
                list(items, indent, out);
            }
            other => {
                out.push(' ');
                scalar(other, indent + 2, out);
                out.push('\n');
            }
        }
    }
}

fn list(items: &[Value], indent: usize, out: &mut String) {
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            pad(indent, out);
        }
        out.push_str("- ");
        match item {
            Value::Object(inner) if !inner.is_empty() => map(inner, indent + 2, out),
            Value::Array(inner) if !inner.is_empty() => list(inner, indent + 2, out),
            other => {
                scalar(other, indent + 2, out);
                out.push('\n');
            }
        }
    }
}

/// A scalar or an empty collection, without the line break after it.
fn scalar(value: &Value, indent: usize, out: &mut String) {
    match value {
        Value::String(s) if is_block(s) => block(s, indent, out),
        Value::String(s) => text(s, out),
        other => out.push_str(&other.to_string()),
    }
}

fn text(s: &str, out: &mut String) {
    if is_plain(s) {
        out.push_str(s);
    } else {
        out.push_str(&Value::from(s).to_string());
    }
}

/// Whether text stays itself without quotes.
fn is_plain(s: &str) -> bool {
    let safe = |c: char| c.is_ascii_alphanumeric() || "_./:=+@- ()$,;<>".contains(c);
    let digits = s.bytes().take_while(u8::is_ascii_digit).count();
    let like_time_or_base_60 = digits > 0 && matches!(s.as_bytes().get(digits), Some(b'-' | b':' | b'_'));
    s.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '/' || c == '_')
        && s.chars().all(safe)
        && !s.ends_with([' ', ':'])
        && !s.contains(": ")
        && !like_time_or_base_60
        && matches!(resolve(s), Ok(Value::String(_)))
}

/// Whether text has several lines that a literal block can show.
fn is_block(s: &str) -> bool {
    s.contains('\n')
        && !s.starts_with([' ', '\t', '\n'])
        && s.chars().all(|c| {
            c == '\n' || c == '\t' || (!c.is_control() && !matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{feff}'))
        })
}

fn block(s: &str, indent: usize, out: &mut String) {
    let trimmed = s.trim_end_matches('\n');
    out.push_str(match s.len() - trimmed.len() {
        0 => "|-",
        1 => "|",
        _ => "|+",
    });
    let lines = if s.len() > trimmed.len() { &s[..s.len() - 1] } else { s };
    for line in lines.split('\n') {
        out.push('\n');
        if !line.is_empty() {
            pad(indent, out);
            out.push_str(line);
        }
    }
}

fn pad(indent: usize, out: &mut String) {
    out.extend(std::iter::repeat_n(' ', indent));
}
