//! Plays the cases of `testdata/*.yaml`: objects as clients send them and what becomes of them or is wrong with them.

use serde_json::{Value, json};

use super::{Part, Requester, WriteContext, rules_for};
use crate::field::Errors;
use crate::gvk::GroupResource;
use crate::{builtin, codec};

const USER: Requester<'static> = Requester { name: "jane", uid: "", groups: &[], extra: None };
const CONTEXT: WriteContext<'static> = WriteContext { part: Part::Main, now: "2026-01-02T03:04:05Z", user: USER };

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

/// The object of a case: as written, or a pod to whose only container and spec something is added.
fn object_of(case: &Value) -> Value {
    if let Some(object) = case.get("object") {
        return object.clone();
    }
    let mut container = json!({"name": "a", "image": "a"});
    merge(&mut container, case.get("container").unwrap_or(&json!({})));
    // Admission sets the account.
    let mut spec = json!({"containers": [container], "serviceAccountName": "default"});
    merge(&mut spec, case.get("pod").unwrap_or(&json!({})));
    json!({"metadata": {"name": "a"}, "spec": spec})
}

/// What the codec makes of an object that a client sends.
fn canonical(resource: &GroupResource, mut object: Value) -> Value {
    let known = builtin::resource_any_version(&resource.group, &resource.resource).expect("a built-in resource");
    object["apiVersion"] = known.gvk.api_version().as_str().into();
    object["kind"] = known.gvk.kind.as_str().into();
    // The registry has seen to these.
    for (field, value) in [("name", "a"), ("uid", "0a1b2c3d-0000-4000-8000-000000000000")] {
        if object["metadata"][field].is_null() {
            object["metadata"][field] = value.into();
        }
    }
    let object = codec::canonicalise(&known.schema, &known.gvk, "", object)
        .unwrap_or_else(|e| panic!("{object}: {e:?}", object = known.gvk.kind))
        .value;
    if resource.group == "events.k8s.io" { stored_event(object) } else { object }
}

/// Events of the newer API are stored as those of the older one.
fn stored_event(mut event: Value) -> Value {
    for (new, stored) in [
        ("regarding", "involvedObject"),
        ("note", "message"),
        ("reportingController", "reportingComponent"),
        ("deprecatedSource", "source"),
        ("deprecatedFirstTimestamp", "firstTimestamp"),
        ("deprecatedCount", "count"),
    ] {
        if let Some(value) = event.as_object_mut().and_then(|e| e.remove(new)) {
            event[stored] = value;
        }
    }
    event
}

fn plain(value: &Value) -> String {
    shortened(value.as_str().unwrap_or_default())
}

/// Without the values of whole objects, which the stock server shows by the names of its own types, and without the
/// lines of differences that it appends.
fn shortened(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    let start = ["Invalid value: {", "Invalid value: [{", "Unsupported value: {", "Duplicate value: {"]
        .iter()
        .find_map(|p| line.find(p).map(|i| i + p.len()));
    match (start, line.rfind("}: ").or(line.rfind("}]: ")).or(line.ends_with('}').then(|| line.len() - 1))) {
        (Some(start), Some(end)) => format!("{}{}", &line[..start], &line[end..]),
        _ => line.to_owned(),
    }
}

fn wrong(errors: &Errors) -> Vec<String> {
    errors.0.iter().map(|error| shortened(&error.to_string())).collect()
}

fn play(file: &str, text: &str) {
    let text = format!("cases:\n{text}");
    let parsed = codec::parse(codec::Format::Yaml, text.as_bytes(), codec::Limits::of("cases")).expect(file).value;
    let cases = parsed["cases"].as_array().expect("a list of cases");
    let mut failures = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        let title = format!("{file} #{number} {} {}", case["of"], case.get("name").unwrap_or(&Value::Null));
        let rules = rules_for(&resource(case));
        let mut object = canonical(&resource(case), object_of(case));
        rules.default(&mut object);
        let mut again = object.clone();
        rules.default(&mut again);
        assert_eq!(object, again, "{title}: defaulting twice");
        rules.prepare_create(&mut object, &CONTEXT);
        let mut errors = Errors::default();
        let mut before = None;
        if let Some(change) = case.get("update") {
            if let Some(status) = case.get("status") {
                merge(&mut object["status"], status);
            }
            let old = object.clone();
            let is_new_event = resource(case).group == "events.k8s.io";
            let change = if is_new_event { stored_event(change.clone()) } else { change.clone() };
            merge(&mut object, &change);
            let stored = if is_new_event { GroupResource::new("", "events") } else { resource(case) };
            object = canonical(&stored, object);
            let part = case["part"].as_str().map_or(Part::Main, Part::Subresource);
            let context = WriteContext { part, ..CONTEXT };
            rules.default(&mut object);
            rules.prepare_update(&mut object, &old, &context);
            rules.validate_update(&object, &old, &context, &mut errors);
            before = Some(old);
        } else {
            rules.validate(&object, &mut errors);
        }
        if case.get("wrong").is_some_and(|w| w.as_array().is_some_and(Vec::is_empty)) {
            let warnings = rules.warnings(&object, before.as_ref());
            let listed = case["warns"].as_array().into_iter().flatten().filter_map(Value::as_str);
            // That a whole API is deprecated is the registry's to say.
            let expected: Vec<&str> = listed.filter(|w| !w.contains(" is deprecated in v1.")).collect();
            if warnings != expected {
                failures.push(format!("{title}: warned {warnings:#?}\n  expected {expected:#?}"));
            }
        }
        if let Some(expected) = case.get("becomes")
            && !contains(&object, expected)
        {
            failures.push(format!("{title}: became {object}\n  expected {expected}"));
        }
        if let Some(expected) = case.get("wrong") {
            let mut found = wrong(&errors);
            let mut expected: Vec<String> = expected.as_array().into_iter().flatten().map(plain).collect();
            // The stock server walks maps in any order.
            found.sort_unstable();
            expected.sort_unstable();
            if found != expected {
                let missing = expected.iter().filter(|e| !found.contains(e)).map(|e| format!("\n  - {e}"));
                let extra = found.iter().filter(|f| !expected.contains(f)).map(|f| format!("\n  + {f}"));
                let lines: String = missing.chain(extra).collect();
                failures.push(format!("{title}:{lines}"));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

macro_rules! plays {
    ($($name:ident)*) => { $(
        #[test]
        fn $name() {
            let file = concat!(stringify!($name), ".yaml");
            play(file, include_str!(concat!("testdata/", stringify!($name), ".yaml")));
        }
    )* };
}

plays! {
    defaults
    pod_containers
    pod_spec
    pod_update
    pod_volumes
    service
    config
    workload
    job
    storage_volumes
    core
    cluster
    networking
    policies
    certificates
    devices
    warnings
}
