//! Plays the cases of `testdata/*.yaml`: objects as clients send them and what becomes of them or is wrong with them.

use serde_json::{Value, json};

use super::{Part, WriteContext, rules_for};
use crate::field::Errors;
use crate::gvk::GroupResource;

const CONTEXT: WriteContext<'static> = WriteContext { part: Part::Main, now: "2026-01-02T03:04:05Z", user: "jane" };

fn resource(case: &Value) -> GroupResource {
    let of = case["of"].as_str().expect("`of` names the resource");
    let (resource, group) = of.split_once('.').unwrap_or((of, ""));
    GroupResource::new(group, resource)
}

/// Whether all that `part` says is true of `whole`; lists are compared item by item.
fn contains(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(w), Value::Object(p)) => p.iter().all(|(k, v)| contains(w.get(k).unwrap_or(&Value::Null), v)),
        (Value::Array(w), Value::Array(p)) => w.len() == p.len() && w.iter().zip(p).all(|(w, p)| contains(w, p)),
        _ => whole == part,
    }
}

/// Overwrites fields of `object` with those of `change`, as a merge patch does.
fn merge(object: &mut Value, change: &Value) {
    let Value::Object(change) = change else {
        *object = change.clone();
        return;
    };
    if !object.is_object() {
        *object = json!({});
    }
    for (key, value) in change {
        if value.is_null() {
            object.as_object_mut().and_then(|o| o.remove(key));
        } else {
            merge(&mut object[key.as_str()], value);
        }
    }
}

fn wrong(errors: &Errors) -> Vec<String> {
    errors.0.iter().map(ToString::to_string).collect()
}

fn play(file: &str, text: &str) {
    let cases: Vec<Value> = serde_yaml_ng::from_str(text).expect(file);
    let mut failures = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        let title = format!("{file} #{number} {} {}", case["of"], case.get("name").unwrap_or(&Value::Null));
        let rules = rules_for(&resource(case));
        let mut object = case["object"].clone();
        rules.default(&mut object);
        let mut again = object.clone();
        rules.default(&mut again);
        assert_eq!(object, again, "{title}: defaulting twice");
        rules.prepare_create(&mut object, &CONTEXT);
        let mut errors = Errors::default();
        if let Some(change) = case.get("update") {
            let old = object.clone();
            merge(&mut object, change);
            let part = case["part"].as_str().map_or(Part::Main, Part::Subresource);
            let context = WriteContext { part, ..CONTEXT };
            rules.default(&mut object);
            rules.prepare_update(&mut object, &old, &context);
            rules.validate_update(&object, &old, &context, &mut errors);
        } else {
            rules.validate(&object, &mut errors);
        }
        if let Some(expected) = case.get("becomes")
            && !contains(&object, expected)
        {
            failures.push(format!("{title}: became {object}\n  expected {expected}"));
        }
        if let Some(expected) = case.get("wrong") {
            let found = json!(wrong(&errors));
            if found != *expected {
                failures.push(format!("{title}:\n  found    {found:#}\n  expected {expected:#}"));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn defaults() {
    play("defaults.yaml", include_str!("testdata/defaults.yaml"));
}
