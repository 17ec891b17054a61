use serde_json::json;

use super::*;
use crate::codec::canonicalise;
use crate::gvk::GroupVersionKind;

/// Rows of the stock printers for an empty and a full object of every kind, and for many that test a branch. Their times
/// lie in the future, so that all ages are invalid.
#[test]
fn cells_are_those_of_the_stock_printers() {
    let packed = include_bytes!("../../data/testrows.json.zst");
    let rows: Vec<Vec<Value>> = serde_json::from_slice(&zstd::decode_all(&packed[..]).unwrap()).unwrap();
    let now = Timestamp::from_unix(0);
    let mut failures = Vec::new();
    for entry in &rows {
        let kind =
            GroupVersionKind::new(entry[0].as_str().unwrap(), entry[1].as_str().unwrap(), entry[2].as_str().unwrap());
        let schema = builtin::kind_schema(&kind).unwrap();
        let object = canonicalise(&schema, &kind, &kind.kind, entry[3].clone()).unwrap().value;
        let (cells, conditions) = match builtin::resource_of_kind(&kind) {
            Some(resource) => (row(resource, &object, now), row_conditions(resource, &object)),
            None => (scale_row(&object, now), None),
        };
        if json!(cells) != entry[4] || conditions.as_ref() != entry.get(5) {
            failures.push(format!("{} {object}\n  have {}\n  want {}", kind.kind, json!(cells), entry[4]));
        }
    }
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), rows.len(), failures.join("\n"));
}

#[test]
fn ages_are_rounded_for_people() {
    const HOUR: i64 = 3600;
    const DAY: i64 = 24 * HOUR;
    for (seconds, want) in [
        (-2, "<invalid>"),
        (-1, "0s"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (125, "2m5s"),
        (600, "10m"),
        (179 * 60, "179m"),
        (3 * HOUR, "3h"),
        (3 * HOUR + 61, "3h1m"),
        (9 * HOUR, "9h"),
        (2 * DAY, "2d"),
        (2 * DAY + HOUR, "2d1h"),
        (9 * DAY, "9d"),
        (730 * DAY, "2y"),
        (731 * DAY, "2y1d"),
        (3000 * DAY, "8y"),
    ] {
        assert_eq!(human_duration(Timestamp::from_unix(seconds), Timestamp::from_unix(0)), want, "{seconds}");
    }
}

#[test]
fn a_table_has_columns_rows_and_what_was_asked_of_the_objects() {
    let resource = builtin::resource("", "v1", "configmaps").unwrap();
    let object = json!({"metadata": {"name": "c", "creationTimestamp": "1970-01-01T00:00:00Z"}, "data": {"a": "b"}});
    let now = Timestamp::from_unix(30);
    let metadata = json!({"resourceVersion": "5"});
    let got = table(resource, "v1", Include::Metadata, true, std::slice::from_ref(&object), &metadata, now);
    assert_eq!(
        got["columnDefinitions"][0],
        json!({"name": "Name", "type": "string", "format": "name", "description": "", "priority": 0})
    );
    assert_eq!(got["rows"][0]["cells"], json!(["c", 1, "30s"]));
    assert_eq!(got["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    assert_eq!(got["metadata"], metadata);
    let got = table(resource, "v1", Include::Object, false, std::slice::from_ref(&object), &metadata, now);
    assert_eq!((&got["columnDefinitions"], &got["rows"][0]["object"]["kind"]), (&Value::Null, &json!("ConfigMap")));
    let got = table(resource, "v1", Include::None, false, &[object], &metadata, now);
    assert_eq!(got["rows"][0]["object"], Value::Null);
    let roles = builtin::resource("rbac.authorization.k8s.io", "v1", "roles").unwrap();
    assert_eq!(columns(roles)[1]["name"], "Created At");
}

#[test]
fn custom_columns_follow_their_paths() {
    let columns = json!([
        {"name": "Phase", "type": "string", "jsonPath": ".status.phase"},
        {"name": "N", "type": "integer", "jsonPath": ".spec.n", "priority": 1, "format": "int32"},
        {"name": "F", "type": "number", "jsonPath": ".spec.f"},
        {"name": "B", "type": "boolean", "jsonPath": ".spec.b"},
        {"name": "D", "type": "date", "jsonPath": ".spec.d"},
        {"name": "Bad", "type": "integer", "jsonPath": ".status.phase"},
        {"name": "List", "type": "string", "jsonPath": ".spec.list"},
        {"name": "None", "type": "string", "jsonPath": ".spec.none"},
    ]);
    let mut resource = builtin::resource("", "v1", "configmaps").unwrap().as_ref().clone();
    resource.custom = true;
    resource.printer_columns = CustomColumn::from_definition(columns.as_array().unwrap()).unwrap();
    let object = json!({
        "metadata": {"name": "x", "creationTimestamp": "1970-01-01T00:00:00Z"},
        "spec": {"n": 3, "f": 2.0, "b": true, "d": "1970-01-01T00:00:20Z", "list": ["a"]}, "status": {"phase": "Up"},
    });
    let now = Timestamp::from_unix(30);
    assert_eq!(
        row(&resource, &object, now),
        [
            json!("x"),
            json!("Up"),
            json!(3),
            json!(2),
            json!(true),
            json!("10s"),
            json!(null),
            json!("[\"a\"]"),
            json!(null)
        ]
    );
    assert_eq!(
        super::columns(&resource)[2],
        json!({
            "name": "N", "type": "integer", "format": "int32", "priority": 1,
            "description": "Custom resource definition column (in JSONPath format): .spec.n",
        })
    );
    resource.printer_columns = CustomColumn::from_definition(&[]).unwrap();
    assert_eq!(row(&resource, &object, now), [json!("x"), json!("30s")]);
    let bad = [json!({"name": "X", "type": "string", "jsonPath": "nope"})];
    assert_eq!(CustomColumn::from_definition(&bad).unwrap_err().name, "X");
}
