use std::collections::HashMap;

use apimachinery::gvk::GroupResource;
use serde_json::{Value, json};

use super::discovery::{All, Served, read};
use super::feed::take;
use crate::List;

fn document(versions: Value) -> Value {
    json!({"kind": "APIGroupDiscoveryList", "items": [{"metadata": {"name": "autoscaling"}, "versions": versions}]})
}

fn version(name: &str) -> Value {
    json!({"version": name, "resources": [{
        "resource": "horizontalpodautoscalers", "scope": "Namespaced", "verbs": ["list", "watch"],
        "responseKind": {"group": "", "version": "", "kind": "HorizontalPodAutoscaler"},
    }]})
}

fn config_maps() -> Served {
    let mut all = All::new();
    let core = json!({"items": [{"metadata": {}, "versions": [{"version": "v1", "resources": [
        {"resource": "configmaps", "scope": "Namespaced", "verbs": ["list"], "responseKind": {"kind": "ConfigMap"}},
    ]}]}]});
    read(&core, &mut all);
    all[&GroupResource::new("", "configmaps")].as_ref().clone()
}

#[test]
fn a_resource_is_spoken_in_the_version_that_is_stored_if_the_server_has_it() {
    let found = |versions: Value| {
        let mut all = All::new();
        read(&document(versions), &mut all);
        all[&GroupResource::new("autoscaling", "horizontalpodautoscalers")].kind.version.clone()
    };
    assert_eq!(found(json!([version("v1"), version("v2")])), "v2");
    assert_eq!(found(json!([version("v2"), version("v1")])), "v2");
    assert_eq!(found(json!([version("v1")])), "v1");
}

#[test]
fn paths_are_those_of_kubernetes() {
    let served = config_maps();
    assert_eq!(served.path("", "", ""), "/api/v1/configmaps");
    assert_eq!(served.path("a b", "x/y", "status"), "/api/v1/namespaces/a%20b/configmaps/x%2Fy/status");
}

/// After history was lost a list tells what was missed.
#[test]
fn a_list_is_told_as_what_differs_from_what_was_seen() {
    let served = config_maps();
    let object = |name: &str, revision: u64| {
        let uid = format!("00000000-0000-4000-8000-0000000000{:02}", name.len());
        let metadata = json!({"name": name, "namespace": "n", "uid": uid, "resourceVersion": revision.to_string()});
        served.object(&json!({"metadata": metadata})).unwrap()
    };
    let list = |items: &[(&str, u64)], revision| List {
        items: items.iter().map(|(name, revision)| object(name, *revision)).collect(),
        revision,
    };
    let mut seen = HashMap::new();
    assert_eq!(take(&mut seen, list(&[("kept", 1), ("old", 2), ("changed", 3)], 3)).0.len(), 3);
    let (changes, at) = take(&mut seen, list(&[("kept", 1), ("changed", 5), ("made", 6)], 9));
    let brief: Vec<_> = changes
        .iter()
        .map(|(old, new)| {
            let name = |o: &Option<crate::Object>| o.as_ref().map(|o| (o.name.to_string(), o.revision));
            (name(old), name(new))
        })
        .collect();
    let some = |name: &str, revision: u64| Some((name.to_owned(), revision));
    assert_eq!(brief, [(some("old", 2), None), (some("changed", 3), some("changed", 5)), (None, some("made", 6))]);
    assert_eq!((at, seen.len()), (9, 3));
}

#[test]
fn an_object_without_a_decimal_revision_is_refused() {
    let object =
        json!({"metadata": {"name": "x", "uid": "00000000-0000-4000-8000-000000000001", "resourceVersion": "a"}});
    assert!(config_maps().object(&object).unwrap_err().message.contains("resourceVersion"));
}
