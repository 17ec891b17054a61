//! Two answers, leaf by leaf.

use std::collections::BTreeMap;

use serde_json::Value;

/// A place where two answers differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The step, from 0.
    pub step: usize,
    /// Where: `code`, `headers/warning`, `body/metadata/name`, `events/0/type`.
    pub at: String,
    /// What the stock server says; `None` for nothing.
    pub stock: Option<String>,
    /// What the tenant's server says.
    pub tenant: Option<String>,
}

/// All places where two answers differ, in order.
#[must_use]
pub fn compare(step: usize, stock: &Value, tenant: &Value, ignore: &[String]) -> Vec<Difference> {
    let (mut left, mut right) = (BTreeMap::new(), BTreeMap::new());
    leaves(stock, String::new(), &mut left);
    leaves(tenant, String::new(), &mut right);
    let mut places: Vec<&String> = left.keys().chain(right.keys().filter(|k| !left.contains_key(*k))).collect();
    places.sort();
    places
        .into_iter()
        .filter(|at| left.get(*at) != right.get(*at) && !ignore.iter().any(|glob| matches(glob, at)))
        .map(|at| Difference { step, at: at.clone(), stock: left.get(at).cloned(), tenant: right.get(at).cloned() })
        .collect()
}

fn leaves(value: &Value, path: String, out: &mut BTreeMap<String, String>) {
    let below = |key: &str| {
        if path.is_empty() { key.to_owned() } else { format!("{path}/{}", key.replace('~', "~0").replace('/', "~1")) }
    };
    match value {
        Value::Object(members) if !members.is_empty() => members.iter().for_each(|(key, v)| leaves(v, below(key), out)),
        Value::Array(items) if !items.is_empty() => {
            items.iter().enumerate().for_each(|(i, v)| leaves(v, below(&i.to_string()), out))
        }
        leaf => {
            out.insert(path, leaf.to_string());
        }
    }
}

/// Whether a place is one that a pattern means: `*` is one part, `**` at the end is all that follows.
#[must_use]
pub fn matches(pattern: &str, at: &str) -> bool {
    let (mut pattern, mut at) = (pattern.split('/'), at.split('/'));
    loop {
        match (pattern.next(), at.next()) {
            (Some("**"), _) | (None, None) => return true,
            (Some("*"), Some(_)) => {}
            (Some(wanted), Some(part)) if wanted == part => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn leaves_that_differ() {
        let found = compare(
            0,
            &json!({"code": 200, "body": {"a": [1, 2], "b": {}}}),
            &json!({"code": 200, "body": {"a": [1], "b": null}}),
            &[],
        );
        let shown: Vec<_> = found.iter().map(|d| d.at.as_str()).collect();
        assert_eq!(shown, ["body/a/1", "body/b"]);
        assert!(compare(0, &json!({"a": {"b/c": 1}}), &json!({"a": {}}), &["a/**".to_owned()]).is_empty());
    }

    #[test]
    fn patterns() {
        assert!(
            matches("body/*/name", "body/items/name")
                && !matches("body/*", "body/a/b")
                && !matches("body/a/b", "body/a")
        );
        assert!(matches("body/**", "body/a/b") && matches("**", "code"));
    }
}
