//! A step and its variables become a request.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use crate::corpus::Step;

/// Users that ask when a step names none: the same name on both sides, with all rights.
const ADMIN: &str = "differential-admin";
const ADMINS: &str = "system:masters";

/// What goes over the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared {
    /// The method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// All headers.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// Fills the variables in and builds the request.
///
/// # Errors
/// What the step lacks.
pub fn prepare(step: &Step, variables: &Map<String, Value>) -> Result<Prepared, String> {
    let line = text(step.request.as_deref().unwrap_or_default(), variables);
    let (method, path) = line.split_once(' ').ok_or_else(|| format!("{line:?} is not a method and a path"))?;
    if let Some(open) = path.find('{') {
        return Err(format!("nothing is called {}", &path[open..]));
    }
    let body = body(step, variables)?;
    let mut headers = Vec::new();
    let lower: Vec<String> = step.headers.keys().map(|k| k.to_ascii_lowercase()).collect();
    let mut default = |name: &str, value: &str| {
        if !lower.iter().any(|k| k == name) {
            headers.push((name.to_owned(), value.to_owned()));
        }
    };
    default("user-agent", "differential/1.0");
    default("accept", "application/json");
    if !body.is_empty() || step.content_type.is_some() {
        default("content-type", step.content_type.as_deref().unwrap_or("application/json"));
    }
    match &step.user {
        Some(user) => {
            default("impersonate-user", &text(&user.user, variables));
            user.groups.iter().for_each(|group| default("impersonate-group", group));
        }
        None if lower.iter().any(|k| k.starts_with("impersonate-")) => {}
        None => {
            default("impersonate-user", ADMIN);
            default("impersonate-group", ADMINS);
        }
    }
    // A header whose value is empty is one that must not be sent.
    for (name, value) in step.headers.iter().filter(|(_, value)| !value.is_empty()) {
        headers.push((name.clone(), text(value, variables)));
    }
    Ok(Prepared { method: method.to_owned(), path: escape(path), headers, body })
}

fn body(step: &Step, variables: &Map<String, Value>) -> Result<Vec<u8>, String> {
    if let Some(plain) = &step.text {
        return Ok(text(plain, variables).into_bytes());
    }
    if let Some(encoded) = &step.base64 {
        return STANDARD.decode(encoded).map_err(|e| e.to_string());
    }
    if let Some(pieces) = &step.build {
        return Ok(pieces
            .iter()
            .map(|(piece, times)| text(piece, variables).repeat(*times))
            .collect::<String>()
            .into_bytes());
    }
    let Some(body) = &step.body else { return Ok(Vec::new()) };
    let mut body = value(body, variables);
    for (at, new) in &step.set {
        let at = text(at, variables);
        set(&mut body, &at, value(new, variables)).ok_or_else(|| format!("nothing can be set at {at}"))?;
    }
    for at in &step.unset {
        unset(&mut body, at).ok_or_else(|| format!("nothing to take out at {at}"))?;
    }
    serde_json::to_vec(&body).map_err(|e| e.to_string())
}

/// Fills variables into a text. What is not a variable stays.
#[must_use]
pub fn text(template: &str, variables: &Map<String, Value>) -> String {
    let mut out = template.to_owned();
    // Values may hold variables themselves: a few rounds are enough.
    for _ in 0..4 {
        if !out.contains('{') {
            break;
        }
        for (name, value) in variables {
            let word = format!("{{{name}}}");
            if out.contains(&word) {
                let filled = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                out = out.replace(&word, &filled);
            }
        }
    }
    out
}

/// Fills variables into all strings of a value. A string that is a variable and nothing else takes its value, whatever that is.
#[must_use]
pub fn value(template: &Value, variables: &Map<String, Value>) -> Value {
    match template {
        Value::String(s) => {
            let whole = s.strip_prefix('{').and_then(|s| s.strip_suffix('}')).and_then(|name| variables.get(name));
            match whole {
                Some(found) => value(found, variables),
                None => Value::String(text(s, variables)),
            }
        }
        Value::Array(items) => items.iter().map(|item| value(item, variables)).collect(),
        Value::Object(members) => {
            Value::Object(members.iter().map(|(k, v)| (text(k, variables), value(v, variables))).collect())
        }
        other => other.clone(),
    }
}

/// Puts a value at a JSON pointer and makes the objects on the way. `-` appends to an array.
fn set(target: &mut Value, pointer: &str, new: Value) -> Option<()> {
    let Some((parent, last)) = pointer.rsplit_once('/') else {
        *target = new;
        return Some(());
    };
    let mut at = target;
    for part in parent.split('/').skip(1).map(unescape) {
        at = match at {
            Value::Array(items) => items.get_mut(part.parse::<usize>().ok()?)?,
            other => {
                if !other.is_object() {
                    *other = Value::Object(Map::new());
                }
                other.as_object_mut()?.entry(part).or_insert(Value::Null)
            }
        };
    }
    let last = unescape(last);
    match at {
        Value::Array(items) if last == "-" => items.push(new),
        Value::Array(items) => *items.get_mut(last.parse::<usize>().ok()?)? = new,
        Value::Null => *at = Value::Object(Map::from_iter([(last, new)])),
        other => {
            other.as_object_mut()?.insert(last, new);
        }
    }
    Some(())
}

fn unset(target: &mut Value, pointer: &str) -> Option<()> {
    let (parent, last) = pointer.rsplit_once('/')?;
    match target.pointer_mut(parent)? {
        Value::Array(items) => {
            let index = last.parse::<usize>().ok().filter(|index| *index < items.len())?;
            items.remove(index);
        }
        other => {
            other.as_object_mut()?.remove(&unescape(last))?;
        }
    }
    Some(())
}

fn unescape(part: &str) -> String {
    part.replace("~1", "/").replace("~0", "~")
}

/// Escapes what no request line can hold. Escapes that are there stay.
fn escape(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'!' | b'#'..=b';' | b'=' | b'?'..=b'[' | b']' | b'_' | b'a'..=b'z' | b'~' => out.push(char::from(byte)),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn step(value: Value) -> Step {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_request_from_a_step() {
        let vars = json!({"maps": "/api/v1/{ns}", "ns": "n", "map": {"metadata": {"name": "{ns}"}, "list": [1]}});
        let request = step(
            json!({"do": "POST {maps}?x=a b", "body": "{map}", "set": {"/data/a~1b": "c", "/list/-": 2}, "unset": ["/metadata/name"]}),
        );
        let prepared = prepare(&request, vars.as_object().unwrap()).unwrap();
        assert_eq!(prepared.path, "/api/v1/n?x=a%20b");
        let body: Value = serde_json::from_slice(&prepared.body).unwrap();
        assert_eq!(body, json!({"metadata": {}, "data": {"a/b": "c"}, "list": [1, 2]}));
    }

    #[test]
    fn a_word_that_nothing_stands_for() {
        let error = prepare(&step(json!({"do": "GET /{nope}"})), &Map::new()).unwrap_err();
        assert_eq!(error, "nothing is called {nope}");
    }

    #[test]
    fn headers_of_a_step_win() {
        let request = step(
            json!({"do": "GET /", "headers": {"Accept": "text/html", "User-Agent": ""}, "as": {"user": "u", "groups": ["g", "h"]}}),
        );
        let headers = prepare(&request, &Map::new()).unwrap().headers;
        let shown: Vec<_> = headers.iter().map(|(k, v)| format!("{k}: {v}")).collect();
        assert_eq!(shown, ["impersonate-user: u", "impersonate-group: g", "impersonate-group: h", "Accept: text/html"]);
    }
}
