use serde_json::{Value, json};

use super::*;
use crate::builtin;
use crate::codec::canonicalise;
use crate::crd::CustomVersion;
use crate::gvk::GroupResource;

/// Times in the recorded objects are all written so.
const NOW: &str = "2026-01-01T00:00:00Z";

fn object_matches(got: &Value, want: &Value, exact: bool, path: &str, differences: &mut Vec<String>) {
    match (got, want) {
        (Value::Object(got), Value::Object(want)) => {
            for (key, value) in got.iter().filter(|(k, _)| !(path == "/metadata" && *k == "managedFields")) {
                match want.get(key) {
                    Some(want) => object_matches(value, want, exact, &format!("{path}/{key}"), differences),
                    None => differences.push(format!("{path}/{key}: {value}, wanted nothing")),
                }
            }
            for key in want.keys().filter(|k| exact && path != "/metadata" && !got.contains_key(*k)) {
                differences.push(format!("{path}/{key} is missing"));
            }
        }
        (Value::Array(got), Value::Array(want)) if got.len() == want.len() => {
            for (i, (got, want)) in got.iter().zip(want).enumerate() {
                object_matches(got, want, exact, &format!("{path}/{i}"), differences);
            }
        }
        (got, want) if got == want || path == "/metadata/generation" => {}
        (got, want) => differences.push(format!("{path}: {got}, wanted {want}")),
    }
}

/// Plays what a stock 1.36.3 server was asked, and compares objects, ownership and refusals with what it answered.
#[test]
fn ownership_is_as_on_a_stock_server() {
    let mut scenarios: Vec<Value> = serde_json::from_str(include_str!("testdata/stock.json")).unwrap();
    scenarios.extend(serde_json::from_str::<Vec<Value>>(include_str!("testdata/custom.json")).unwrap());
    let definition: Value = serde_json::from_str(include_str!("../crd/testdata/widget.json")).unwrap();
    let widget = CustomVersion::compile(&definition, "v1").unwrap();
    let mut wrong = Vec::new();
    for scenario in &scenarios {
        let text = |v: &Value, key: &str| v.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (api_version, kind) = (text(scenario, "apiVersion"), text(scenario, "kind"));
        let gvk = GroupVersionKind::from_api_version(&api_version, &kind);
        let custom = kind == "Widget";
        let resource = if custom { widget.resource() } else { builtin::resource_of_kind(&gvk).unwrap() };
        let schema = resource.schema.clone();
        let has_status = resource.subresource("status").is_some();
        let mut live: Option<Value> = None;
        for (i, step) in scenario["steps"].as_array().unwrap().iter().enumerate() {
            let subresource = text(step, "subresource");
            let group_resource = GroupResource::new(gvk.group.clone(), resource.gvr.resource.clone());
            let reset_fields = ResetFields::of(&group_resource, &subresource, has_status, custom);
            let target = Target {
                kind: &schema,
                api_version: &api_version,
                subresource: &subresource,
                reset_fields: &reset_fields,
                versions: &OneVersion,
                now: NOW,
            };
            let manager = text(step, "manager");
            let at = format!("{}, step {}", scenario["title"], i + 1);
            let gives = step.get("gives");
            if step["do"] == "write" {
                let gives = gives.unwrap();
                let mut new = gives.clone();
                match step
                    .get("managedFields")
                    .or_else(|| live.as_ref().and_then(|l| l.pointer("/metadata/managedFields")))
                {
                    Some(given) => new["metadata"]["managedFields"] = given.clone(),
                    None => managed::take_out(&mut new),
                }
                record_update(&target, live.as_ref(), &mut new, &manager);
                // Admission adds to pods after ownership was recorded; what was recorded then is taken as it is.
                let seed = kind == "Pod" && live.is_none();
                if !seed && new["metadata"]["managedFields"] != gives["metadata"]["managedFields"] {
                    wrong.push(format!(
                        "{at}:\n got {}\nwant {}",
                        new["metadata"]["managedFields"], gives["metadata"]["managedFields"]
                    ));
                }
                live = Some(gives.clone());
                continue;
            }
            let force = step.get("force") == Some(&json!(true));
            let result = apply(&target, &gvk, live.as_ref(), &step["body"], &manager, force);
            match (result, gives, step.get("fails")) {
                (Ok(got), Some(gives), _) => {
                    let got = match custom {
                        true => widget.decode(got).unwrap().value,
                        false => canonicalise(&schema, &gvk, &kind, got).unwrap().value,
                    };
                    let mut differences = Vec::new();
                    object_matches(&got, gives, kind == "ConfigMap" || kind == "Role" || custom, "", &mut differences);
                    if got["metadata"]["managedFields"] != gives["metadata"]["managedFields"] {
                        differences.push(format!(
                            "\n got {}\nwant {}",
                            got["metadata"]["managedFields"], gives["metadata"]["managedFields"]
                        ));
                    }
                    if !differences.is_empty() {
                        wrong.push(format!("{at}: {}", differences.join("; ")));
                    }
                    live = Some(gives.clone());
                }
                // Whether the merged object is valid is not asked here.
                (Ok(_), None, Some(fails)) if fails["code"] == 422 => {}
                (Err(error), None, Some(fails)) => {
                    let status = error.to_status();
                    // The stock server tells the causes of several managers in any order.
                    let causes = |v: &Value| {
                        let mut causes: Vec<String> =
                            v.as_array().into_iter().flatten().map(Value::to_string).collect();
                        causes.sort();
                        causes
                    };
                    let told = causes(&status["details"]["causes"]);
                    let got = (&status["code"], &status["message"], status.get("reason"), told);
                    let want = (&fails["code"], &fails["message"], fails.get("reason"), causes(&fails["causes"]));
                    if got != want {
                        wrong.push(format!("{at}:\n got {got:?}\nwant {want:?}"));
                    }
                }
                (got, gives, fails) => wrong.push(format!("{at}: got {got:?}, wanted {gives:?} {fails:?}")),
            }
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n\n"));
}

fn target<'a>(kind: &'a KindSchema, reset_fields: &'a ResetFields) -> Target<'a> {
    Target { kind, api_version: "v1", subresource: "", reset_fields, versions: &OneVersion, now: NOW }
}

#[test]
fn an_apply_that_changes_nothing_gives_the_object_as_it_is() {
    let gvk = GroupVersionKind::new("", "v1", "ConfigMap");
    let schema = builtin::kind_schema(&gvk).unwrap();
    let config =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "1", "b": "2"}});
    let first = apply(&target(&schema, &ResetFields::Nothing), &gvk, None, &config, "one", false).unwrap();
    let later = Target { now: "2026-01-01T00:01:00Z", ..target(&schema, &ResetFields::Nothing) };
    assert_eq!(apply(&later, &gvk, Some(&first), &config, "one", false).unwrap(), first);
}

#[test]
fn a_write_that_changes_nothing_keeps_the_times() {
    let entry = |time: &str| json!([{"manager": "m", "operation": "Update", "time": time, "fieldsV1": {"f:data": {}}}]);
    let object = |time: &str, revision: &str, data: &str| json!({"metadata": {"resourceVersion": revision, "managedFields": entry(time)}, "data": data});
    let old = object("2026-01-01T00:00:00Z", "1", "x");
    let mut new = object("2026-01-01T00:01:00Z", "1", "x");
    keep_times_of_no_op(&old, &mut new);
    assert_eq!(new, old);
    let mut changed = object("2026-01-01T00:01:00Z", "1", "y");
    let before = changed.clone();
    keep_times_of_no_op(&old, &mut changed);
    assert_eq!(changed, before);
}

#[test]
fn malformed_managed_fields_are_refused_or_forgotten() {
    let gvk = GroupVersionKind::new("", "v1", "ConfigMap");
    let schema = builtin::kind_schema(&gvk).unwrap();
    let live = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "1"},
        "metadata": {"name": "c", "uid": "u", "managedFields": [{"manager": "m", "operation": "Nope"}]},
    });
    let config = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}});
    let error = apply(&target(&schema, &ResetFields::Nothing), &gvk, Some(&live), &config, "one", false).unwrap_err();
    assert_eq!(
        (error.code, error.message.as_str()),
        (500, "failed to decode managed fields: operation must be `Apply` or `Update`")
    );
    let mut new = live.clone();
    record_update(&target(&schema, &ResetFields::Nothing), Some(&live), &mut new, "m");
    assert!(new.pointer("/metadata/managedFields").is_none());
}

#[test]
fn scaling_moves_the_replicas_of_the_parent() {
    let fields = |set: Value, time: Option<&str>, manager: &str, subresource: Option<&str>| {
        let mut out = json!({"manager": manager, "operation": "Update", "apiVersion": "apps/v1", "fieldsType": "FieldsV1", "fieldsV1": set});
        if let Some(time) = time {
            out["time"] = json!(time);
        }
        if let Some(subresource) = subresource {
            out["subresource"] = json!(subresource);
        }
        out
    };
    let replicas = json!({"f:spec": {"f:replicas": {}, "f:paused": {}}});
    let mut parent = json!({"metadata": {"managedFields": [fields(replicas, Some(NOW), "creator", None)]}});
    let paths: Vec<(smol_str::SmolStr, Vec<smol_str::SmolStr>)> =
        vec![("apps/v1".into(), vec!["spec".into(), "replicas".into()])];
    let mut scale = json!({"metadata": {"name": "d", "uid": "u"}, "spec": {"replicas": 1}});
    scale_to_subresource(&parent, &mut scale, &paths).unwrap();
    assert_eq!(scale["metadata"]["managedFields"][0]["fieldsV1"], json!({"f:spec": {"f:replicas": {}}}));
    let scale_kind = builtin::kind_schema(&GroupVersionKind::new("autoscaling", "v1", "Scale")).unwrap();
    let mut scaled = scale.clone();
    scaled["spec"]["replicas"] = json!(3);
    let at_scale = Target {
        kind: &scale_kind,
        api_version: "autoscaling/v1",
        subresource: "scale",
        ..target(&scale_kind, &ResetFields::Nothing)
    };
    record_update(&at_scale, Some(&scale), &mut scaled, "scaler");
    scale_to_parent(&mut parent, &scaled, "apps/v1", &paths).unwrap();
    assert_eq!(
        parent["metadata"]["managedFields"],
        json!([
            fields(json!({"f:spec": {"f:replicas": {}}}), None, "scaler", Some("scale")),
            fields(json!({"f:spec": {"f:paused": {}}}), Some(NOW), "creator", None),
        ])
    );
}

#[test]
fn field_sets_survive_their_encoding() {
    let fields = json!({
        "f:metadata": {"f:labels": {".": {}, "f:a/b": {}}},
        "f:spec": {"f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:name": {}}},
            "f:finalizers": {".": {}, "v:\"a\\u003cb\"": {}}},
    });
    let set = FieldSet::from_fields(&fields).unwrap();
    assert_eq!(set.to_fields(), fields);
    assert!(FieldSet::from_fields(&json!({"x": {}})).is_err());
    assert!(FieldSet::from_fields(&json!({"k:{": {}})).is_err());
    assert!(FieldSet::from_fields(&json!({"z:1": {}})).unwrap().is_empty());
    let shown: Vec<String> = set.paths().iter().map(|p| show_path(p)).collect();
    assert!(shown.contains(&".spec.ports[containerPort=80,protocol=\"TCP\"].name".to_owned()), "{shown:?}");
}
