//! Whether a host object still is what we wanted it to be.

use serde_json::Value;

use crate::{marks, names};

/// Whether `actual` has everything that `desired` has, with the same values. What the host added does not count.
///
/// Lists of objects that have names are compared by name, all others item by item.
pub fn covers(actual: &Value, desired: &Value) -> bool {
    match (actual, desired) {
        (Value::Object(actual), Value::Object(desired)) => desired.iter().all(|(key, value)| match actual.get(key) {
            Some(found) => covers(found, value),
            // The host leaves empty values out.
            None => !crate::table::is_set(value),
        }),
        (Value::Array(actual), Value::Array(desired)) => {
            if desired.iter().all(|d| d["name"].is_string()) {
                desired.iter().all(|d| actual.iter().any(|a| a["name"] == d["name"] && covers(a, d)))
            } else {
                actual.len() == desired.len() && actual.iter().zip(desired).all(|(a, d)| covers(a, d))
            }
        }
        (actual, desired) => actual == desired,
    }
}

/// Stamps an object with the hash of itself, so that a later version that lacks one of its fields is told from it.
pub fn applied_stamp(object: &mut Value) {
    let hash = names::hash(&[object.to_string().as_bytes()]);
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut)
        && let Some(annotations) =
            metadata.entry("annotations").or_insert_with(|| Value::Object(Default::default())).as_object_mut()
    {
        annotations.insert(marks::APPLIED.to_owned(), Value::String(hash));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn additions_of_the_host_are_fine_and_changes_are_not() {
        let desired = json!({"a": {"b": 1}, "list": [{"name": "x", "v": 1}], "args": ["p"], "empty": []});
        let actual = json!({"a": {"b": 1, "c": 2}, "list": [{"name": "injected"}, {"name": "x", "v": 1, "w": 2}], "args": ["p"]});
        assert!(covers(&actual, &desired));
        for (path, value) in [("/a/b", json!(2)), ("/list/1/v", json!(2)), ("/args", json!(["p", "q"]))] {
            let mut changed = actual.clone();
            *changed.pointer_mut(path).unwrap() = value;
            assert!(!covers(&changed, &desired), "{path}");
        }
    }

    #[test]
    fn the_stamp_tells_versions_apart() {
        let stamp = |mut o: Value| {
            applied_stamp(&mut o);
            o["metadata"]["annotations"][marks::APPLIED].as_str().unwrap().to_owned()
        };
        let one = json!({"metadata": {"labels": {"a": "1"}}});
        assert_eq!(stamp(one.clone()), stamp(one));
        assert_ne!(stamp(json!({"metadata": {"labels": {"a": "1"}}})), stamp(json!({"metadata": {"labels": {}}})));
    }
}
