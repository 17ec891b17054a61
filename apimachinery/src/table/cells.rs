//! What the printers of all kinds need.

use serde_json::{Value, json};

use crate::meta::{at, list_at, str_at};
use crate::selector::LabelSelector;
use crate::time::Timestamp;

/// An object whose row is wanted, and the time.
#[derive(Clone, Copy)]
pub(super) struct Cells<'a> {
    pub(super) object: &'a Value,
    pub(super) now: Timestamp,
}

impl<'a> Cells<'a> {
    pub(super) fn name(&self) -> &'a str {
        self.text(&["metadata", "name"])
    }

    /// How long ago the object was made.
    pub(super) fn age(&self) -> Value {
        json!(self.since(&["metadata", "creationTimestamp"]))
    }

    pub(super) fn deleting(&self) -> bool {
        self.at(&["metadata", "deletionTimestamp"]).is_some()
    }

    pub(super) fn at(&self, path: &[&str]) -> Option<&'a Value> {
        at(self.object, path).filter(|v| !v.is_null())
    }

    pub(super) fn text(&self, path: &[&str]) -> &'a str {
        str_at(self.object, path)
    }

    /// The text there, or `default` where it is absent or empty.
    pub(super) fn text_or(&self, path: &[&str], default: &'a str) -> &'a str {
        let text = self.text(path);
        if text.is_empty() { default } else { text }
    }

    pub(super) fn int(&self, path: &[&str]) -> i64 {
        self.at(path).and_then(Value::as_i64).unwrap_or_default()
    }

    pub(super) fn flag(&self, path: &[&str]) -> bool {
        self.at(path).and_then(Value::as_bool).unwrap_or_default()
    }

    pub(super) fn list(&self, path: &[&str]) -> &'a [Value] {
        list_at(self.object, path)
    }

    /// Number of items or entries.
    pub(super) fn count(&self, path: &[&str]) -> usize {
        match self.at(path) {
            Some(Value::Array(items)) => items.len(),
            Some(Value::Object(entries)) => entries.len(),
            _ => 0,
        }
    }

    /// How long ago the time there was.
    pub(super) fn since(&self, path: &[&str]) -> String {
        since(self.at(path), self.now)
    }

    /// The condition of this type.
    pub(super) fn condition(&self, ty: &str) -> Option<&'a Value> {
        self.list(&["status", "conditions"]).iter().find(|c| str_at(c, &["type"]) == ty)
    }

    /// Whether the first condition of this type holds.
    pub(super) fn holds(&self, ty: &str) -> bool {
        self.condition(ty).is_some_and(|c| str_at(c, &["status"]) == "True")
    }
}

/// How long before `now` a time was: `<unknown>` if there is none.
pub(super) fn since(time: Option<&Value>, now: Timestamp) -> String {
    match time.and_then(Value::as_str).map(Timestamp::parse) {
        Some(Ok(time)) => human_duration(now, time),
        _ => "<unknown>".to_owned(),
    }
}

/// The time from `from` to `to`, rounded for people: `5m30s`, `3h`, `2d4h`, `<invalid>` if it is negative.
pub fn human_duration(to: Timestamp, from: Timestamp) -> String {
    const MINUTE: i64 = 60;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    const YEAR: i64 = 365 * DAY;
    // Clocks of machines may differ a little; that counts as now.
    let exact = i128::from(to.seconds - from.seconds) * 1_000_000_000 + i128::from(to.nanos) - i128::from(from.nanos);
    let seconds = (exact / 1_000_000_000) as i64;
    let pair = |big: i64, big_unit: &str, small: i64, small_unit: &str| {
        if small == 0 { format!("{big}{big_unit}") } else { format!("{big}{big_unit}{small}{small_unit}") }
    };
    match seconds {
        ..-1 => "<invalid>".to_owned(),
        -1..0 => "0s".to_owned(),
        n if n < 2 * MINUTE => format!("{n}s"),
        n if n < 10 * MINUTE => pair(n / MINUTE, "m", n % MINUTE, "s"),
        n if n < 3 * HOUR => format!("{}m", n / MINUTE),
        n if n < 8 * HOUR => pair(n / HOUR, "h", n % HOUR / MINUTE, "m"),
        n if n < 2 * DAY => format!("{}h", n / HOUR),
        n if n < 8 * DAY => pair(n / DAY, "d", n % DAY / HOUR, "h"),
        n if n < 2 * YEAR => format!("{}d", n / DAY),
        n if n < 8 * YEAR => pair(n / YEAR, "y", n % YEAR / DAY, "d"),
        n => format!("{}y", n / YEAR),
    }
}

/// `a=b,c=d`, or `<none>`.
pub(super) fn labels(map: Option<&Value>) -> String {
    let pairs: Vec<String> = map
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    if pairs.is_empty() { "<none>".to_owned() } else { pairs.join(",") }
}

/// A `LabelSelector` as text, `<none>` if it has no terms.
pub(super) fn selector(object: Option<&Value>) -> String {
    match LabelSelector::from_object(object.unwrap_or(&Value::Null)) {
        Ok(selector) => Some(selector.to_string()).filter(|s| !s.is_empty()).unwrap_or_else(|| "<none>".to_owned()),
        Err(_) => "<error>".to_owned(),
    }
}

/// Names and images of a pod template's containers.
pub(super) fn containers(template: Option<&Value>) -> [Value; 2] {
    let containers = template.map(|t| list_at(t, &["spec", "containers"])).unwrap_or_default();
    let all = |key| json!(containers.iter().map(|c| str_at(c, &[key])).collect::<Vec<_>>().join(","));
    [all("name"), all("image")]
}

/// The first `max` of a list, and how many more there are.
pub(super) fn first_of(items: &[String], max: usize) -> String {
    let shown = items[..items.len().min(max)].join(",");
    if items.len() > max { format!("{shown} + {} more...", items.len() - max) } else { shown }
}

/// An int-or-string as text.
pub(super) fn int_or_text(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::Null => None,
        Value::String(s) => Some(s.clone()),
        other => Some(other.to_string()),
    }
}

/// Makes a row of cells.
macro_rules! cells {
    ($($cell:expr),* $(,)?) => { vec![$(serde_json::json!($cell)),*] };
}
pub(super) use cells;
