use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::*;
use crate::builtin;
use crate::codec::canonicalise;
use crate::field::Errors;
use crate::gvk::GroupVersionKind;
use crate::time::Timestamp;

const NOW: &str = "2026-01-01T00:00:00Z";

fn read(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn canonical(crd: &Value) -> Value {
    let gvk = GroupVersionKind::new("apiextensions.k8s.io", "v1", "CustomResourceDefinition");
    let schema = builtin::kind_schema(&gvk).unwrap();
    let mut crd = canonicalise(&schema, &gvk, "CustomResourceDefinition", crd.clone()).unwrap().value;
    default_definition(&mut crd);
    prepare_definition(&mut crd, None);
    crd
}

fn told(errors: &Errors) -> Vec<String> {
    let mut told: Vec<String> =
        errors.0.iter().map(|e| format!("{} {} {}", e.kind.reason(), e.field, e.body)).collect();
    told.sort();
    told
}

/// What a stock 1.36.3 server says of definitions. Messages that show the whole schema as its own types print it are
/// compared up to there.
#[test]
fn definitions_are_judged_as_on_a_stock_server() {
    let mut wrong = Vec::new();
    for case in read(include_str!("testdata/definitions.json")).as_array().unwrap() {
        let crd = canonical(&case["crd"]);
        let mut errors = Errors::default();
        validate_definition(&crd, None, &mut errors);
        let shorten = |s: &str| match s.find("Invalid value: {\"ID\"").or(s.find("Invalid value: [{\"Name\"")) {
            Some(at) => s[..at].to_owned(),
            None => match s.find("must be a valid regular expression") {
                Some(at) => s[..at].to_owned(),
                None => s.to_owned(),
            },
        };
        let want: BTreeSet<String> =
            case["causes"].as_array().into_iter().flatten().map(|c| shorten(c.as_str().unwrap())).collect();
        let got: BTreeSet<String> = told(&errors)
            .iter()
            .map(|s| match s.find("Invalid value: {\"oneOf\"").or(s.find("Invalid value: [{\"name\"")) {
                Some(at) => s[..at].to_owned(),
                None => shorten(s),
            })
            .collect();
        if got != want {
            wrong.push(format!("{}:\n got {got:#?}\nwant {want:#?}", case["title"]));
        }
        if let Some(gives) = case.get("gives")
            && (gives["spec"] != crd["spec"] || gives["status"]["storedVersions"] != crd["status"]["storedVersions"])
        {
            wrong.push(format!("{}:\n got {}\nwant {}", case["title"], crd["spec"], gives["spec"]));
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

fn widget() -> CustomVersion {
    CustomVersion::compile(&canonical(&read(include_str!("testdata/widget.json"))), "v1").unwrap()
}

/// What a stock 1.36.3 server made of objects of a definition that has all that a schema can have.
#[test]
fn objects_are_read_and_judged_as_on_a_stock_server() {
    let version = widget();
    let mut wrong = Vec::new();
    for case in read(include_str!("testdata/widgets.json")).as_array().unwrap() {
        let title = &case["title"];
        let fails = case.get("fails");
        let decoded = match version.decode(case["body"].clone()) {
            Ok(decoded) => decoded,
            Err(error) => {
                if fails.is_none_or(|f| f["code"] != error.code || f["message"] != error.message.as_str()) {
                    wrong.push(format!("{title}: {error:?}\nwant {fails:?}"));
                }
                continue;
            }
        };
        let mut object = decoded.value;
        let mut errors = Errors::default();
        // Creating an object drops its status before it is validated.
        object.as_object_mut().unwrap().remove("status");
        version.validate(&object, None, &mut errors);
        let want: BTreeSet<String> = fails
            .and_then(|f| f["causes"].as_array())
            .into_iter()
            .flatten()
            .map(|c| c.as_str().unwrap().to_owned())
            .collect();
        let got: BTreeSet<String> = told(&errors).into_iter().collect();
        if got != want {
            wrong.push(format!("{title}:\n got {got:#?}\nwant {want:#?}"));
        }
        if let Some(gives) = case.get("gives") {
            if object != *gives {
                wrong.push(format!("{title}:\n got {object}\nwant {gives}"));
            }
            let strict: Vec<Value> = decoded.strict.iter().map(|s| json!(s)).collect();
            let want = case["strict"].as_array().cloned().unwrap_or_default();
            if strict != want {
                wrong.push(format!("{title}:\n got {strict:?}\nwant {want:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn what_did_not_change_in_an_update_is_let_through() {
    let version = widget();
    let widget = |spec: Value| json!({"apiVersion": "patch.example.com/v1", "kind": "Widget", "spec": spec});
    let old = widget(json!({"a": "bad", "s": "TOO LONG", "list": [{"name": "p", "port": "bad"}], "set": ["a"]}));
    let count = |new: Value, old: &Value| {
        let mut errors = Errors::default();
        version.validate(&new, Some(old), &mut errors);
        told(&errors)
    };
    assert_eq!(count(old.clone(), &old), Vec::<String>::new());
    let mut new = old.clone();
    new["spec"]["replicas"] = json!(3);
    assert_eq!(count(new.clone(), &old), Vec::<String>::new());
    new["spec"]["a"] = json!("worse");
    assert_eq!(
        count(new, &old),
        ["FieldValueNotSupported spec.a Unsupported value: \"worse\": supported values: \"x\", \"y\""]
    );
}

#[test]
fn tables_scales_and_discovery_are_as_on_a_stock_server() {
    let version = widget();
    let object = json!({
        "apiVersion": "patch.example.com/v1", "kind": "Widget",
        "metadata": {"name": "t1", "namespace": "n", "uid": "u", "creationTimestamp": NOW},
        "spec": {"a": "y", "replicas": 3, "labels": {"k": "v"}, "n": 1.5, "b": true, "when": "2020-01-01T00:00:00Z",
            "list": [{"name": "q"}], "set": ["a", "b"]},
        "status": {"replicas": 2, "sel": "a=b",
            "conditions": [{"type": "X", "status": "1"}, {"type": "Ready", "status": "True"}]},
    });
    let now = Timestamp::parse("2026-11-23T05:30:02Z").unwrap();
    assert_eq!(
        crate::table::row(version.resource(), &object, now),
        [
            json!("t1"),
            json!("y"),
            json!(3),
            json!("True"),
            json!("{\"k\":\"v\"}"),
            json!(1.5),
            json!(true),
            json!("6y328d"),
            json!("q"),
            json!("[\"a\",\"b\"]"),
            json!("326d"),
        ]
    );
    let columns = crate::table::columns(version.resource());
    assert_eq!(columns.len(), 11);
    assert_eq!(columns[2]["priority"], 1);
    assert_eq!(
        columns[3]["description"],
        "Custom resource definition column (in JSONPath format): .status.conditions[?(@.type==\"Ready\")].status"
    );
    let scale = version.scale().unwrap();
    let mut got = scale.scale(&object).unwrap();
    assert_eq!(got["spec"], json!({"replicas": 3}));
    assert_eq!(got["status"], json!({"replicas": 2, "selector": "a=b"}));
    got["spec"]["replicas"] = json!(7);
    let mut scaled = object.clone();
    scale.set_replicas(&mut scaled, &got).unwrap();
    assert_eq!(scaled["spec"]["replicas"], 7);
    let resource = version.resource();
    assert_eq!(resource.storage_version_hash, "byNV5zCoYCs=");
    assert_eq!(resource.list_kind, "WidgetList");
    assert_eq!(resource.subresources.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["status", "scale"]);
    assert_eq!(version.selectable_fields(&object), [("spec.a", "y".to_owned())]);
    let gadget = CustomVersion::compile(&canonical(&read(include_str!("testdata/gadget.json"))), "v1").unwrap();
    assert_eq!(gadget.resource().storage_version_hash, "iAixVlGR6Ho=");
    assert_eq!(crate::table::columns(gadget.resource())[1]["name"], "Age");
}

#[test]
fn names_are_accepted_once_and_conflicts_are_told() {
    let crd = canonical(&read(include_str!("testdata/widget.json")));
    let outcome = accept_names(&crd, std::iter::empty(), NOW);
    assert!(outcome.changed);
    assert_eq!(
        outcome.status,
        json!({
            "conditions": [
                {"type": "NamesAccepted", "status": "True", "lastTransitionTime": NOW, "reason": "NoConflicts",
                    "message": "no conflicts found"},
                {"type": "Established", "status": "True", "lastTransitionTime": NOW, "reason": "InitialNamesAccepted",
                    "message": "the initial names have been accepted"},
            ],
            "acceptedNames": {"plural": "widgets", "singular": "widget", "shortNames": ["wd"], "kind": "Widget",
                "listKind": "WidgetList", "categories": ["all"]},
            "storedVersions": ["v1"],
        })
    );
    let mut served = crd.clone();
    served["status"] = outcome.status;
    assert!(!accept_names(&served, std::iter::empty(), "2026-01-02T00:00:00Z").changed);
    let mut second = crd.clone();
    second["spec"]["names"] = json!({"plural": "others", "singular": "other", "kind": "Widget", "listKind": "OtherList",
        "shortNames": ["wd"]});
    let outcome = accept_names(&second, std::iter::once(&served), NOW);
    assert_eq!(outcome.status["conditions"][0]["reason"], "KindConflict");
    assert_eq!(outcome.status["conditions"][0]["message"], "\"Widget\" is already in use");
    assert_eq!(outcome.status["conditions"][1]["status"], "False");
    assert_eq!(outcome.status["acceptedNames"]["plural"], "others");
}

#[test]
fn what_openapi_publishes_is_what_the_stock_server_does() {
    let crds =
        [read(include_str!("testdata/widget.json")), read(include_str!("testdata/gadget.json"))].map(|c| canonical(&c));
    let parts = crds.iter().map(|c| openapi::parts(c, "v1", openapi::Form::V3)).collect();
    let mut document = openapi::document_v3(parts, &|_| None);
    let mut want = read(include_str!("testdata/openapi-v3.json"));
    let (got_paths, want_paths) = (document["paths"].take(), want["paths"].take());
    for (path, want) in want_paths.as_object().unwrap() {
        for (method, want) in want.as_object().unwrap() {
            assert_eq!(got_paths[path][method], *want, "{path} {method}");
        }
    }
    assert_eq!(got_paths.as_object().unwrap().len(), want_paths.as_object().unwrap().len());
    for (name, want) in want["components"]["schemas"].as_object().unwrap() {
        assert_eq!(document["components"]["schemas"][name], *want, "{name}");
    }
    let want = read(include_str!("testdata/openapi-v2.json"));
    for crd in &crds {
        for (name, got) in openapi::parts(crd, "v1", openapi::Form::V2).definitions {
            assert_eq!(got, want["definitions"][&name], "{name}");
        }
    }
}

#[test]
fn validation_rules_are_refused_as_long_as_nothing_runs_them() {
    let mut crd = canonical(&read(include_str!("testdata/gadget.json")));
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["x-kubernetes-validations"] = json!([{"rule": "true"}]);
    let mut errors = Errors::default();
    validate_definition(&crd, None, &mut errors);
    assert_eq!(errors.0[0].field, "spec.validation.openAPIV3Schema.x-kubernetes-validations");
    assert_eq!(errors.0[0].kind.reason(), "FieldValueForbidden");
}
