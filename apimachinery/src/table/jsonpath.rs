//! The JSONPath of printer columns: fields, items, slices, wildcards and simple filters.
//!
//! Source of the syntax: `k8s.io/client-go/util/jsonpath`.

use serde_json::Value;

/// A parsed path.
#[derive(Clone, Debug, PartialEq)]
pub struct JsonPath(Vec<Step>);

/// Why a text is no path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid JSONPath at {0:?}: expected .field, ['field'], [index], [start:end], [*] or [?(@.field == value)]")]
pub struct JsonPathError(String);

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Field(String),
    Fields(Vec<String>),
    Wildcard,
    Index(i64),
    Slice(Option<i64>, Option<i64>, i64),
    Filter(Vec<Step>, Option<(Comparison, Value)>),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl JsonPath {
    /// Parses a path, with or without braces around it.
    ///
    /// # Errors
    /// [`JsonPathError`] names the place.
    pub fn parse(text: &str) -> Result<Self, JsonPathError> {
        let inner = text.trim();
        let inner = inner.strip_prefix('{').and_then(|t| t.strip_suffix('}')).unwrap_or(inner);
        let inner = inner.strip_prefix('$').unwrap_or(inner);
        let (steps, rest) = steps(inner)?;
        if rest.is_empty() { Ok(Self(steps)) } else { Err(JsonPathError(rest.to_owned())) }
    }

    /// The first value that the path leads to.
    pub fn first<'a>(&self, value: &'a Value) -> Option<&'a Value> {
        all(&self.0, value).into_iter().next()
    }
}

fn steps(mut rest: &str) -> Result<(Vec<Step>, &str), JsonPathError> {
    let mut steps = Vec::new();
    loop {
        if let Some(after) = rest.strip_prefix('[') {
            let (step, after) = bracket(after)?;
            steps.push(step);
            rest = after;
        } else if let Some(after) = rest.strip_prefix('.') {
            if after.is_empty() || after.starts_with('[') {
                rest = after;
                continue;
            }
            let (name, after) = name(after);
            match name.as_str() {
                "" => return Err(JsonPathError(rest.to_owned())),
                "*" => steps.push(Step::Wildcard),
                _ => steps.push(Step::Field(name)),
            }
            rest = after;
        } else {
            return Ok((steps, rest));
        }
    }
}

/// A field's name; a backslash lets it have dots.
fn name(text: &str) -> (String, &str) {
    let mut name = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => name.extend(chars.next().map(|(_, c)| c)),
            '.' | '[' | ' ' | ')' | '=' | '<' | '>' | '!' => return (name, &text[at..]),
            c => name.push(c),
        }
    }
    (name, "")
}

fn bracket(text: &str) -> Result<(Step, &str), JsonPathError> {
    let fail = || JsonPathError(text.to_owned());
    if let Some(filter) = text.strip_prefix("?(") {
        return self::filter(filter.trim_start());
    }
    if text.starts_with(['\'', '"']) {
        let mut names = Vec::new();
        let mut rest = text;
        loop {
            let (name, after) = quoted(rest.trim_start()).ok_or_else(fail)?;
            names.push(name);
            rest = after.trim_start();
            if let Some(after) = rest.strip_prefix(',') {
                rest = after;
            } else {
                let after = rest.strip_prefix(']').ok_or_else(fail)?;
                let step = if names.len() == 1 { Step::Field(names.swap_remove(0)) } else { Step::Fields(names) };
                return Ok((step, after));
            }
        }
    }
    let (inside, after) = text.split_once(']').ok_or_else(fail)?;
    if inside == "*" {
        return Ok((Step::Wildcard, after));
    }
    let number = |s: &str| if s.is_empty() { Ok(None) } else { s.trim().parse().map(Some).map_err(|_| fail()) };
    let parts = inside.split(':').map(number).collect::<Result<Vec<_>, _>>()?;
    match parts[..] {
        [Some(index)] => Ok((Step::Index(index), after)),
        [start, end] => Ok((Step::Slice(start, end, 1), after)),
        [start, end, step] if step.is_none_or(|s| s > 0) => Ok((Step::Slice(start, end, step.unwrap_or(1)), after)),
        _ => Err(fail()),
    }
}

fn quoted(text: &str) -> Option<(String, &str)> {
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    let mut out = String::new();
    let mut chars = text[1..].char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => out.extend(chars.next().map(|(_, c)| c)),
            c if c == quote => return Some((out, &text[at + 2..])),
            c => out.push(c),
        }
    }
    None
}

fn filter(text: &str) -> Result<(Step, &str), JsonPathError> {
    let fail = || JsonPathError(text.to_owned());
    let (path, rest) = steps(text.strip_prefix('@').ok_or_else(fail)?)?;
    let rest = rest.trim_start();
    if let Some(after) = rest.strip_prefix(")]") {
        return Ok((Step::Filter(path, None), after));
    }
    let operators = [
        ("==", Comparison::Equal),
        ("!=", Comparison::NotEqual),
        ("<=", Comparison::LessOrEqual),
        (">=", Comparison::GreaterOrEqual),
        ("<", Comparison::Less),
        (">", Comparison::Greater),
    ];
    let (comparison, rest) =
        operators.iter().find_map(|(sign, c)| Some((*c, rest.strip_prefix(sign)?))).ok_or_else(fail)?;
    let rest = rest.trim_start();
    let (operand, rest) = match quoted(rest) {
        Some((text, rest)) => (Value::String(text), rest),
        None => {
            let end = rest.find(')').ok_or_else(fail)?;
            (serde_json::from_str(rest[..end].trim()).map_err(|_| fail())?, &rest[end..])
        }
    };
    let after = rest.trim_start().strip_prefix(")]").ok_or_else(fail)?;
    Ok((Step::Filter(path, Some((comparison, operand))), after))
}

fn all<'a>(steps: &[Step], value: &'a Value) -> Vec<&'a Value> {
    let mut found = vec![value];
    for step in steps {
        found = found.into_iter().flat_map(|v| take(step, v)).collect();
    }
    found
}

fn take<'a>(step: &Step, value: &'a Value) -> Vec<&'a Value> {
    let items = || value.as_array().map(Vec::as_slice).unwrap_or_default();
    match step {
        Step::Field(name) => value.get(name).into_iter().collect(),
        Step::Fields(names) => names.iter().filter_map(|name| value.get(name)).collect(),
        Step::Wildcard => match value {
            Value::Object(object) => object.values().collect(),
            _ => items().iter().collect(),
        },
        Step::Index(index) => {
            let at = if *index < 0 { *index + items().len() as i64 } else { *index };
            usize::try_from(at).ok().and_then(|at| items().get(at)).into_iter().collect()
        }
        Step::Slice(start, end, by) => {
            let length = items().len() as i64;
            let bound = |n: i64| if n < 0 { (n + length).max(0) } else { n.min(length) } as usize;
            let (start, end) = (bound(start.unwrap_or(0)), bound(end.unwrap_or(length)));
            if start >= end { Vec::new() } else { items()[start..end].iter().step_by(*by as usize).collect() }
        }
        Step::Filter(path, condition) => items().iter().filter(|item| passes(path, condition.as_ref(), item)).collect(),
    }
}

fn passes(path: &[Step], condition: Option<&(Comparison, Value)>, item: &Value) -> bool {
    let found = all(path, item);
    let Some((comparison, operand)) = condition else {
        return !found.is_empty();
    };
    let Some(left) = found.first() else {
        return false;
    };
    let order = match (left, operand) {
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        (Value::Number(a), Value::Number(b)) => a.as_f64().partial_cmp(&b.as_f64()),
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        _ => None,
    };
    match (order, comparison) {
        (None, _) => false,
        (Some(order), Comparison::Equal) => order.is_eq(),
        (Some(order), Comparison::NotEqual) => order.is_ne(),
        (Some(order), Comparison::Less) => order.is_lt(),
        (Some(order), Comparison::LessOrEqual) => order.is_le(),
        (Some(order), Comparison::Greater) => order.is_gt(),
        (Some(order), Comparison::GreaterOrEqual) => order.is_ge(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_lead_to_values() {
        let object = json!({
            "spec": {"a.b": 1, "list": [1, 2, 3], "x/y": "z"},
            "status": {"conditions": [{"type": "A", "status": "False"}, {"type": "Ready", "status": "True", "n": 5}]},
        });
        for (path, want) in [
            (".spec.list[0]", json!(1)),
            (".spec.list[-1]", json!(3)),
            (".spec.list[1:]", json!(2)),
            (".spec.list[*]", json!(1)),
            (".spec.list", json!([1, 2, 3])),
            (r".spec.a\.b", json!(1)),
            (".spec['x/y']", json!("z")),
            ("{.spec['a.b']}", json!(1)),
            (r#".status.conditions[?(@.type=="Ready")].status"#, json!("True")),
            (".status.conditions[?(@.type == 'Ready')].status", json!("True")),
            (".status.conditions[?(@.n > 4)].type", json!("Ready")),
            (".status.conditions[?(@.n)].type", json!("Ready")),
            (".status.conditions[*].type", json!("A")),
        ] {
            assert_eq!(JsonPath::parse(path).unwrap().first(&object), Some(&want), "{path}");
        }
        for path in [
            ".nothing",
            ".spec.list[9]",
            ".status.conditions[?(@.type=='B')].status",
            ".spec.list.x",
            ".spec.list[5:2]",
        ] {
            assert_eq!(JsonPath::parse(path).unwrap().first(&object), None, "{path}");
        }
        for path in ["spec", ".a[", ".a[x]", ".a[?(b)]", ".a..b", ".a[?(@.b=='c]"] {
            assert!(JsonPath::parse(path).is_err(), "{path}");
        }
    }
}
