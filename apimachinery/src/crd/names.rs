//! Which of its names a definition gets, and when it is served.
//!
//! Source: `k8s.io/apiextensions-apiserver/pkg/controller/{status,establish}`.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::field::quote;

/// The status of a definition after its names were looked at.
#[derive(Clone, Debug, PartialEq)]
pub struct NamesOutcome {
    /// The new `status`.
    pub status: Value,
    /// Whether it differs from the old one.
    pub changed: bool,
}

/// Computes `status.acceptedNames` and the conditions `NamesAccepted` and `Established` of a definition.
///
/// `others` are the other definitions of the tenant; only those of the same group count. The stock server establishes in a
/// second step, after all its instances had time to see the names; here both are one.
pub fn accept_names<'a>(crd: &Value, others: impl Iterator<Item = &'a Value>, now: &str) -> NamesOutcome {
    let group = crd.pointer("/spec/group");
    let (mut resources, mut kinds) = (BTreeSet::new(), BTreeSet::new());
    for other in others.filter(|o| o.pointer("/spec/group") == group) {
        let Some(names) = other.pointer("/status/acceptedNames") else { continue };
        let text = |key: &str| names.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        resources.extend([text("plural"), text("singular")]);
        let short = names.get("shortNames").and_then(Value::as_array).into_iter().flatten();
        resources.extend(short.filter_map(Value::as_str).map(str::to_owned));
        kinds.extend([text("kind"), text("listKind")]);
    }
    let old = crd.get("status").cloned().unwrap_or_else(|| json!({}));
    let requested = crd.pointer("/spec/names").cloned().unwrap_or_default();
    let before = old.get("acceptedNames").and_then(Value::as_object).cloned().unwrap_or_default();
    let mut accepted = before.clone();
    let mut conflict: Option<(&str, String)> = None;
    let take = |key: &str, taken: &BTreeSet<String>, reason: &'static str, accepted: &mut Map<String, Value>| {
        let wanted = requested.get(key).and_then(Value::as_str).unwrap_or_default();
        let had = before.get(key).and_then(Value::as_str).unwrap_or_default();
        if wanted != had && taken.contains(wanted) {
            return Some((reason, format!("{} is already in use", quote(wanted))));
        }
        if !wanted.is_empty() {
            accepted.insert(key.to_owned(), json!(wanted));
        }
        None
    };
    conflict = take("plural", &resources, "PluralConflict", &mut accepted).or(conflict);
    conflict = take("singular", &resources, "SingularConflict", &mut accepted).or(conflict);
    conflict = take_short_names(&requested, &before, &resources, &mut accepted).or(conflict);
    conflict = take("kind", &kinds, "KindConflict", &mut accepted).or(conflict);
    conflict = take("listKind", &kinds, "ListKindConflict", &mut accepted).or(conflict);
    match requested.get("categories").filter(|c| !c.is_null()) {
        Some(categories) => accepted.insert("categories".to_owned(), categories.clone()),
        None => accepted.remove("categories"),
    };
    let good = conflict.is_none();
    let (reason, message) = conflict.unwrap_or(("NoConflicts", "no conflicts found".to_owned()));
    let mut status = old.clone();
    status["acceptedNames"] = Value::Object(accepted);
    set_condition(&mut status, "NamesAccepted", good, reason, &message, now);
    if !super::condition_is_true(crd, "Established") {
        if good {
            let message = "the initial names have been accepted";
            set_condition(&mut status, "Established", true, "InitialNamesAccepted", message, now);
        } else {
            set_condition(&mut status, "Established", false, "NotAccepted", "not all names are accepted", now);
        }
    }
    NamesOutcome { changed: status != old, status }
}

fn take_short_names(
    requested: &Value,
    before: &Map<String, Value>,
    taken: &BTreeSet<String>,
    accepted: &mut Map<String, Value>,
) -> Option<(&'static str, String)> {
    let list = |v: Option<&Value>| v.and_then(Value::as_array).cloned().unwrap_or_default();
    let (wanted, had) = (list(requested.get("shortNames")), list(before.get("shortNames")));
    let conflicts: Vec<String> = wanted
        .iter()
        .filter(|name| !had.contains(name))
        .filter_map(Value::as_str)
        .filter(|name| taken.contains(*name))
        .map(|name| format!("{} is already in use", quote(name)))
        .collect();
    match &conflicts[..] {
        [] if wanted.is_empty() => {
            accepted.remove("shortNames");
            None
        }
        [] => {
            accepted.insert("shortNames".to_owned(), Value::Array(wanted));
            None
        }
        [only] => Some(("ShortNamesConflict", only.clone())),
        all => Some(("ShortNamesConflict", format!("[{}]", all.join(", ")))),
    }
}

/// Sets a condition; its time changes with its status only.
fn set_condition(status: &mut Value, kind: &str, on: bool, reason: &str, message: &str, now: &str) {
    let mut conditions = status.get("conditions").and_then(Value::as_array).cloned().unwrap_or_default();
    let word = if on { "True" } else { "False" };
    let wanted = json!({
        "type": kind, "status": word, "lastTransitionTime": now, "reason": reason, "message": message,
    });
    match conditions.iter_mut().find(|c| c.get("type").is_some_and(|t| t == kind)) {
        Some(found) => {
            let since = found.get("lastTransitionTime").cloned();
            let same = found.get("status").is_some_and(|s| s == word);
            let observed = found.get("observedGeneration").cloned();
            *found = wanted;
            if let (true, Some(since)) = (same, since) {
                found["lastTransitionTime"] = since;
            }
            if let Some(observed) = observed {
                found["observedGeneration"] = observed;
            }
        }
        None => conditions.push(wanted),
    }
    status["conditions"] = Value::Array(conditions);
}
