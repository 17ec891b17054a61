use serde_json::json;

use super::*;
use crate::schema::KindSchema;
use crate::testing;

fn status(error: &ApiError) -> (u16, &str, &str) {
    (error.code, error.reason, error.message.as_str())
}

#[test]
fn json_patch_does_what_the_stock_server_does() {
    let object = json!({"a": {"b": [1, 2, 3], "c": "x", "n": null}});
    let cases = [
        (
            json!([{"op": "add", "path": "/a/b/-", "value": 4}]),
            Some(json!({"a": {"b": [1, 2, 3, 4], "c": "x", "n": null}})),
        ),
        (
            json!([{"op": "add", "path": "/a/b/-1", "value": 4}]),
            Some(json!({"a": {"b": [1, 2, 3, 4], "c": "x", "n": null}})),
        ),
        (
            json!([{"op": "add", "path": "/a/b/0", "value": 0}]),
            Some(json!({"a": {"b": [0, 1, 2, 3], "c": "x", "n": null}})),
        ),
        (json!([{"op": "remove", "path": "/a/b/-1"}]), Some(json!({"a": {"b": [1, 2], "c": "x", "n": null}}))),
        (
            json!([{"op": "replace", "path": "/a/d", "value": 1}]),
            Some(json!({"a": {"b": [1, 2, 3], "c": "x", "d": 1, "n": null}})),
        ),
        (json!([{"op": "test", "path": "/a/d", "value": null}]), Some(object.clone())),
        (json!([{"op": "test", "path": "/a/n", "value": null}]), Some(object.clone())),
        (
            json!([{"op": "move", "from": "/a/c", "path": "/d~1e"}]),
            Some(json!({"a": {"b": [1, 2, 3], "n": null}, "d/e": "x"})),
        ),
        (
            json!([{"op": "copy", "from": "/a/b/0", "path": "/a/c"}]),
            Some(json!({"a": {"b": [1, 2, 3], "c": 1, "n": null}})),
        ),
        (json!([{"op": "replace", "path": "", "value": {"z": 1}}]), Some(json!({"z": 1}))),
        (json!(null), Some(object.clone())),
        (json!([{"op": "replace", "path": "", "value": 1}]), None),
        (json!([{"op": "add", "path": "", "value": {}}]), None),
        (json!([{"op": "test", "path": "/a/c", "value": "y"}]), None),
        (json!([{"op": "remove", "path": "/a/d"}]), None),
        (json!([{"op": "add", "path": "/x/y", "value": 1}]), None),
        (json!([{"op": "add", "path": "/a/n/y", "value": 1}]), None),
        (json!([{"op": "add", "path": "/a/b/9", "value": 1}]), None),
        (json!([{"op": "add", "path": "/a/b/x", "value": 1}]), None),
        (json!([{"op": "add", "value": 1}]), None),
        (json!([{"op": "jump", "path": "/a"}]), None),
    ];
    for (patch, want) in cases {
        match (json::apply(object.clone(), &patch), want) {
            (Ok(got), Some(want)) => assert_eq!(got, want, "{patch}"),
            (Err(error), None) => {
                let words = "the server rejected our request due to an error in our request";
                assert_eq!(status(&error), (422, "Invalid", words), "{patch}");
                assert_eq!(error.to_status()["details"], json!({}));
            }
            (got, want) => panic!("{patch}: {got:?}, wanted {want:?}"),
        }
    }
}

#[test]
fn what_is_no_json_patch_is_refused() {
    let apply = |patch: &Value| json::apply(json!({}), patch).unwrap_err();
    assert_eq!(
        status(&apply(&json!({"op": "add"}))),
        (
            400,
            "BadRequest",
            "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp"
        )
    );
    let many = Value::Array(vec![json!({"op": "test", "path": "/a", "value": null}); json::MAX_OPERATIONS + 1]);
    let error = apply(&many);
    let words = "The allowed maximum operations in a JSON patch is 10000, got 10001";
    assert_eq!(status(&error), (413, "RequestEntityTooLarge", words));
    let doubling: Vec<Value> = (0..40).map(|_| json!({"op": "copy", "from": "/a", "path": "/a/-"})).collect();
    assert_eq!(json::apply(json!({"a": [1]}), &Value::Array(doubling)).unwrap_err().code, 422);
    assert_eq!(json::unknown_fields(&json!([{"op": "add", "foo": 1}])), ["json patch unknown field \"[0].foo\""]);
}

#[test]
fn merge_patch_merges_objects_and_replaces_the_rest() {
    let object = json!({"a": {"b": 1, "c": {"d": 1}}, "l": [1, 2], "s": "x"});
    let patch = json!({"a": {"b": null, "c": [null, {"n": null}], "e": {"f": null, "g": [{"h": null}]}}, "l": [{"n": null}], "s": {"t": 1}});
    let want = json!({"a": {"c": [null, {"n": null}], "e": {"g": [{}]}}, "l": [{}], "s": {"t": 1}});
    assert_eq!(merge::apply(object, patch).unwrap(), want);
    let words = "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}";
    assert_eq!(status(&merge::apply(json!({}), json!([1])).unwrap_err()), (400, "BadRequest", words));
    let error = merge::apply(json!({}), json!(null)).unwrap_err();
    assert_eq!(status(&error), (400, "BadRequest", "Invalid JSON Patch"));
}

fn deployment() -> KindSchema {
    testing::kind(
        "io.k8s.api.apps.v1.Deployment",
        &json!({
            "metadata": {"labels": ["map", "string"], "finalizers": ["list", "string", {"set": true, "merge": true}]},
            "spec": {
                "replicas": "int",
                "strategy": ["with", {"type": "string", "rollingUpdate": {"maxSurge": "intstr"}}, {"retain": true}],
                "selector": {"matchLabels": ["map", "string"]},
                "containers": ["list", {
                    "name": "string", "image": "string",
                    "command": ["list", "string"],
                    "env": ["list", {"name": "string", "value": "string"}, {"keys": ["name"], "merge": "name"}],
                    "ports": ["list", {"containerPort": "int", "protocol": "string"},
                        {"keys": ["containerPort", "protocol"], "merge": "containerPort"}],
                }, {"keys": ["name"], "merge": "name"}],
                "tolerations": ["list", {"key": "string"}],
            },
        }),
    )
}

fn object() -> Value {
    json!({
        "metadata": {"labels": {"a": "1", "b": "2"}, "finalizers": ["x", "y"]},
        "spec": {
            "replicas": 2,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}},
            "containers": [
                {"name": "a", "image": "i1", "command": ["c"], "env": [{"name": "E", "value": "1"}, {"name": "F", "value": "2"}]},
                {"name": "b", "image": "i2"},
                {"name": "c", "image": "i3", "ports": [{"containerPort": 80, "protocol": "TCP"}]},
            ],
            "tolerations": [{"key": "t"}],
        },
    })
}

/// Applies a patch and gives what is under a pointer.
fn strategic(patch: Value, pointer: &str) -> Value {
    let result = strategic::apply(&deployment(), object(), patch).unwrap();
    result.pointer(pointer).cloned().unwrap_or_default()
}

fn names(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect()
}

#[test]
fn strategic_merge_merges_lists_by_key_and_keeps_order() {
    let spec = |containers: Value| json!({"spec": {"containers": containers}});
    let at = "/spec/containers";
    let got = strategic(spec(json!([{"name": "b", "image": "new"}, {"name": "d", "image": "i4"}])), at);
    assert_eq!(names(&got), ["a", "b", "d", "c"]);
    assert_eq!(got[1], json!({"name": "b", "image": "new"}));
    let got = strategic(spec(json!([{"name": "b", "$patch": "delete"}])), at);
    assert_eq!(names(&got), ["a", "c"]);
    let got = strategic(spec(json!([{"$patch": "replace"}, {"name": "z"}])), at);
    assert_eq!(got, json!([{"name": "z"}]));
    let got =
        strategic(spec(json!([{"name": "a", "env": [{"name": "F", "value": null}, {"name": "G", "value": "3"}]}])), at);
    assert_eq!(got[0]["env"], json!([{"name": "E", "value": "1"}, {"name": "F"}, {"name": "G", "value": "3"}]));
    let got = strategic(spec(json!([{"name": "a", "command": ["x", "y"]}])), at);
    assert_eq!(got[0]["command"], json!(["x", "y"]));
    let got = strategic(spec(json!([{"name": "c", "ports": [{"containerPort": 80, "protocol": "UDP"}]}])), at);
    assert_eq!(got[2]["ports"], json!([{"containerPort": 80, "protocol": "UDP"}]));
}

#[test]
fn strategic_merge_obeys_directives() {
    assert_eq!(
        strategic(json!({"metadata": {"labels": {"a": null, "c": "3"}}}), "/metadata/labels"),
        json!({"b": "2", "c": "3"})
    );
    assert_eq!(
        strategic(json!({"metadata": {"labels": {"$patch": "replace", "c": "3"}}}), "/metadata/labels"),
        json!({"c": "3"})
    );
    assert_eq!(strategic(json!({"metadata": {"labels": {"$patch": "delete"}}}), "/metadata/labels"), json!({}));
    let finalizers = |patch: Value| strategic(json!({"metadata": patch}), "/metadata/finalizers");
    assert_eq!(finalizers(json!({"finalizers": ["y", "z"]})), json!(["x", "y", "z"]));
    assert_eq!(finalizers(json!({"$deleteFromPrimitiveList/finalizers": ["x"]})), json!(["y"]));
    assert_eq!(
        finalizers(json!({"$setElementOrder/finalizers": ["z", "y"], "finalizers": ["z"]})),
        json!(["z", "x", "y"])
    );
    let strategy = json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}});
    assert_eq!(strategic(strategy, "/spec/strategy"), json!({"type": "Recreate"}));
    let ordered = json!({"spec": {
        "$setElementOrder/containers": [{"name": "c"}, {"name": "d"}, {"name": "a"}],
        "containers": [{"name": "d", "image": "i4"}, {"name": "b", "$patch": "delete"}],
    }});
    assert_eq!(names(&strategic(ordered, "/spec/containers")), ["c", "d", "a"]);
    assert_eq!(strategic(json!({"spec": {"tolerations": [{"key": "u"}]}}), "/spec/tolerations"), json!([{"key": "u"}]));
    let new_map = json!({"spec": {"selector": {"matchLabels": {"a": "1", "b": null}, "x": {"$patch": "delete"}}}});
    assert_eq!(strategic(new_map, "/spec/selector"), json!({"matchLabels": {"a": "1"}}));
}

/// Messages as the stock server gives them.
#[test]
fn what_a_strategic_merge_cannot_do_is_said_in_stock_words() {
    let cases = [
        (json!([1]), 400, "BadRequest", "json: cannot unmarshal array into Go value of type map[string]interface {}"),
        (
            json!({"spec": {"containers": [{"image": "x"}]}}),
            500,
            "",
            "map: map[image:x] does not contain declared merge key: name",
        ),
        (
            json!({"spec": {"containers": [{"name": "a", "$patch": "foo"}]}}),
            500,
            "",
            "unknown patch type: foo in map: map[$patch:foo name:a]",
        ),
        (json!({"spec": {"$patch": "nope"}}), 500, "", "unknown patch type: nope in map: map[$patch:nope]"),
        (
            json!({"spec": {"$setElementOrder/containers": [{"name": "b"}], "containers": [{"name": "a", "image": "a"}]}}),
            500,
            "",
            "The order in patch list:\n[map[image:a name:a]]\n doesn't match $setElementOrder list:\n[map[name:b]]\n",
        ),
        (
            json!({"spec": {"$setElementOrder/containers": {}}}),
            500,
            "",
            "expected a []interface {}, but received a map[string]interface {}",
        ),
        (
            json!({"spec": {"strategy": {"$retainKeys": ["type"], "rollingUpdate": {}}}}),
            400,
            "BadRequest",
            "invalid patch format of retainKeys",
        ),
        (json!({"metadata": {"finalizers": [1]}}), 500, "", "list element types are not identical: [[x y] [1]]"),
    ];
    for (patch, code, reason, message) in cases {
        let error = strategic::apply(&deployment(), object(), patch.clone()).unwrap_err();
        assert_eq!(status(&error), (code, reason, message), "{patch}");
    }
}

#[test]
fn an_object_that_no_longer_decodes_is_told_under_the_field_patch() {
    let error = undecodable(&show_go(&json!({"metadata": {"labels": [1, null]}})), "cannot restore map from slice");
    let want = " \"\" is invalid: patch: Invalid value: \"map[metadata:map[labels:[1 <nil>]]]\": cannot restore map from slice";
    assert_eq!(status(&error), (422, "Invalid", want));
}

/// What `got` has must stand in `want`; what `want` has beyond is left to defaults, which patches do not fill in.
fn differences(got: &Value, want: &Value, path: &str, found: &mut Vec<String>) {
    match (got, want) {
        (Value::Object(got), Value::Object(want)) => {
            for (key, value) in got {
                match want.get(key) {
                    Some(want) => differences(value, want, &format!("{path}/{key}"), found),
                    None => found.push(format!("{path}/{key}: {value}, wanted nothing")),
                }
            }
            for key in ["labels", "annotations", "nodeSelector", "selector", "finalizers", "affinity", "env", "args"] {
                if want.contains_key(key) && !got.contains_key(key) {
                    found.push(format!("{path}/{key} is missing"));
                }
            }
        }
        (Value::Array(got), Value::Array(want)) if got.len() == want.len() => {
            for (i, (got, want)) in got.iter().zip(want).enumerate() {
                differences(got, want, &format!("{path}/{i}"), found);
            }
        }
        (got, want) if got == want || path == "/metadata/generation" => {}
        (got, want) => found.push(format!("{path}: {got}, wanted {want}")),
    }
}

/// Strategic merge patches of built-in kinds, as a stock 1.36.3 server answered them.
#[test]
fn strategic_merges_of_built_in_kinds_are_as_on_a_stock_server() {
    let recorded: Value = serde_json::from_str(include_str!("testdata/strategic.json")).unwrap();
    let mut wrong = Vec::new();
    for kind in recorded.as_array().unwrap() {
        let text = |key: &str| kind[key].as_str().unwrap();
        let gvk = GroupVersionKind::from_api_version(text("apiVersion"), text("kind"));
        let schema = crate::builtin::kind_schema(&gvk).unwrap();
        for case in kind["cases"].as_array().unwrap() {
            let fails = case.get("fails");
            let patched = match strategic::apply(&schema, kind["live"].clone(), case["patch"].clone()) {
                Ok(patched) => patched,
                Err(error) => {
                    let want = fails.map(|f| (f["code"].as_u64(), f["message"].as_str()));
                    if want != Some((Some(u64::from(error.code)), Some(&error.message))) {
                        wrong.push(format!("{}: {error:?}, wanted {fails:?}", case["patch"]));
                    }
                    continue;
                }
            };
            let decoded = crate::codec::canonicalise(&schema, &gvk, &gvk.kind, patched);
            match (decoded, case.get("gives")) {
                (Ok(got), Some(want)) => {
                    let mut found = Vec::new();
                    let mut got = got.value;
                    let object = got.as_object_mut().unwrap();
                    object.remove("apiVersion");
                    object.remove("kind");
                    differences(&got, want, "", &mut found);
                    if !found.is_empty() {
                        wrong.push(format!("{}: {}", case["patch"], found.join("; ")));
                    }
                }
                // Whether the result decodes or is valid is not asked here.
                (_, None) if fails.is_some_and(|f| f["code"] == 422) => {}
                (got, want) => wrong.push(format!("{}: {got:?}, wanted {want:?} {fails:?}", case["patch"])),
            }
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}
