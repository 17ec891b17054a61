//! What must differ between two servers is replaced by words, so that what is left must be equal.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Map, Value};

/// The text forms that must differ. A date before 2024 is one that the corpus wrote itself.
static TEXTS: LazyLock<Vec<(Regex, &'static str)>> = LazyLock::new(|| {
    [
        (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "UID"),
        (r"(202[4-9]|20[3-9]\d)-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", "MICROTIME"),
        (r"(202[4-9]|20[3-9]\d)-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "TIME"),
        (r"kube-api-access-[a-z0-9]{5}", "kube-api-access-RANDOM"),
        (r"eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+", "TOKEN"),
        (r#"in scheme "[^"]+""#, "in scheme SCHEME"),
        (r"(Too large resource version: \d+, current: )\d+", "${1}REVISION"),
        (r"the ResourceVersion in record \(\d+\)", "the ResourceVersion in record (REVISION)"),
        (r"(too old resource version: \d+ )\(\d+\)", "${1}(REVISION)"),
    ]
    .into_iter()
    .filter_map(|(pattern, word)| Some((Regex::new(pattern).ok()?, word)))
    .collect()
});
static AGE: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"^(\d+[smhd]){1,2}$").ok());

/// A text without what must differ.
#[must_use]
pub fn text(value: &str) -> String {
    let quoted = quoted_objects(value);
    TEXTS.iter().fold(quoted, |text, (pattern, word)| pattern.replace_all(&text, *word).into_owned())
}

/// Messages quote objects, whose members have no order; they are compared as objects.
fn quoted_objects(text: &str) -> String {
    const BEFORE: &str = "Invalid value: ";
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(BEFORE) {
        let (before, value) = rest.split_at(at + BEFORE.len());
        out.push_str(before);
        rest = value;
        let mut values = serde_json::Deserializer::from_str(value).into_iter::<Value>();
        let read = values.next().and_then(Result::ok);
        let end = values.byte_offset();
        let object = match &read {
            Some(Value::String(inner)) => {
                serde_json::from_str::<Value>(inner).ok().filter(|v| v.is_object() || v.is_array())
            }
            Some(Value::Object(_) | Value::Array(_)) => read,
            _ => None,
        };
        if let Some(object) = object {
            out.push_str(&body(&object).to_string());
            rest = &value[end..];
        }
    }
    out.push_str(rest);
    out
}

/// A body without what must differ.
#[must_use]
pub fn body(value: &Value) -> Value {
    walk(value, &mut Vec::new())
}

fn walk(value: &Value, path: &mut Vec<String>) -> Value {
    match value {
        Value::Object(members) => {
            let mut out = Map::new();
            for (key, member) in members {
                path.push(key.clone());
                out.insert(key.clone(), random(key, member, members, path).unwrap_or_else(|| walk(member, path)));
                path.pop();
            }
            Value::Object(out)
        }
        Value::Array(items) => items.iter().map(|item| walk(item, path)).collect(),
        Value::String(s)
            if path.last().is_some_and(|p| p == "cells") && AGE.as_ref().is_some_and(|age| age.is_match(s)) =>
        {
            "AGE".into()
        }
        Value::String(s) => text(s).into(),
        other => other.clone(),
    }
}

/// The word for a member that the server chooses.
fn random(key: &str, member: &Value, siblings: &Map<String, Value>, path: &[String]) -> Option<Value> {
    let s = member.as_str();
    let parent = path.len().checked_sub(2).and_then(|i| path.get(i)).map(String::as_str);
    match key {
        "resourceVersion" if parent == Some("metadata") && s.is_some_and(|s| !s.is_empty()) => Some("REVISION".into()),
        "continue" if s.is_some_and(|s| !s.is_empty()) => Some("CONTINUE".into()),
        "name" if parent == Some("metadata") => {
            let prefix = siblings.get("generateName")?.as_str()?;
            let suffix = s?.strip_prefix(prefix)?;
            (suffix.len() == 5).then(|| format!("{prefix}RANDOM").into())
        }
        "clusterIP" if s.is_some_and(is_address) => Some("ADDRESS".into()),
        "clusterIPs" => Some(
            member
                .as_array()?
                .iter()
                .map(|ip| if ip.as_str().is_some_and(is_address) { "ADDRESS".into() } else { ip.clone() })
                .collect(),
        ),
        "nodePort" | "healthCheckNodePort" if member.as_u64().is_some_and(|port| port > 0) => Some("PORT".into()),
        _ => None,
    }
}

fn is_address(text: &str) -> bool {
    text.parse::<std::net::IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_must_differ_becomes_words() {
        let object = json!({
            "metadata": {"name": "a-x7kqz", "generateName": "a-", "resourceVersion": "17", "uid": "0c3f2a6e-0000-4000-8000-1234567890ab",
                "creationTimestamp": "2026-01-02T03:04:05Z", "deletionTimestamp": "2001-01-01T00:00:00Z"},
            "spec": {"clusterIP": "10.0.0.1", "clusterIPs": ["None"], "ports": [{"nodePort": 30001}], "renewTime": "2026-01-02T03:04:05.123456Z"},
            "rows": [{"cells": ["3m2s", "a", 5]}],
        });
        let expected = json!({
            "metadata": {"name": "a-RANDOM", "generateName": "a-", "resourceVersion": "REVISION", "uid": "UID",
                "creationTimestamp": "TIME", "deletionTimestamp": "2001-01-01T00:00:00Z"},
            "spec": {"clusterIP": "ADDRESS", "clusterIPs": ["None"], "ports": [{"nodePort": "PORT"}], "renewTime": "MICROTIME"},
            "rows": [{"cells": ["AGE", "a", 5]}],
        });
        assert_eq!(body(&object), expected);
    }

    #[test]
    fn objects_in_messages_have_no_order() {
        let one = r#"x: Invalid value: "{\"b\":{\"d\":1},\"a\":2}": bad, y: Invalid value: {"b":1,"a":2}: bad, z: Invalid value: "q": bad"#;
        let other = r#"x: Invalid value: "{\"a\":2,\"b\":{\"d\":1}}": bad, y: Invalid value: {"a":2,"b":1}: bad, z: Invalid value: "q": bad"#;
        assert_eq!(text(one), text(other));
        assert!(text(one).ends_with(r#"Invalid value: "q": bad"#));
    }

    #[test]
    fn texts_keep_what_was_asked() {
        assert_eq!(
            text("Too large resource version: 99, current: 12"),
            "Too large resource version: 99, current: REVISION"
        );
    }
}
