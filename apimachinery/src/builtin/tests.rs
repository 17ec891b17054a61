use super::*;
use crate::schema::{ListKind, Omit, Type};

#[test]
fn discovery_has_the_stable_groups_in_the_order_of_the_stock_server() {
    let names: Vec<_> = groups().iter().map(|g| g.name.as_str()).collect();
    assert_eq!(&names[..3], ["", "apiregistration.k8s.io", "apps"]);
    assert_eq!(names.len(), 21);
    let autoscaling = groups().iter().find(|g| g.name == "autoscaling").unwrap();
    assert_eq!(autoscaling.versions.iter().map(|(v, _)| v.as_str()).collect::<Vec<_>>(), ["v2", "v1"]);
}

#[test]
fn a_resource_has_its_names_verbs_and_subresources() {
    let pods = resource("", "v1", "pods").unwrap();
    assert_eq!((pods.gvk.kind.as_str(), pods.singular.as_str(), pods.namespaced), ("Pod", "pod", true));
    assert!(pods.allows("deletecollection") && pods.subresource("ephemeralcontainers").is_some());
    assert_eq!(pods.short_names, ["po"]);
    let scale = resource("apps", "v1", "deployments").unwrap().subresource("scale").unwrap();
    assert_eq!(scale.gvk, GroupVersionKind::new("autoscaling", "v1", "Scale"));
    assert_eq!(resource("", "v1", "configmaps").unwrap().storage_version_hash, "qFsyl6wFWjQ=");
    assert_eq!(resource_any_version("autoscaling", "horizontalpodautoscalers").unwrap().gvr.version, "v2");
    assert!(resource("apps", "v1beta1", "deployments").is_none());
}

#[test]
fn a_field_knows_its_place_on_the_wire_and_how_it_merges() {
    let pod = kind_schema(&GroupVersionKind::new("", "v1", "Pod")).unwrap();
    let Type::Struct(spec) = pod.root().field("spec").unwrap().ty else { panic!("spec is a struct") };
    let spec = pod.schema.get(spec);
    let containers = spec.field("containers").unwrap();
    assert_eq!((&*containers.proto, containers.omit, containers.patch.merge), (&[2][..], Omit::Never, true));
    assert_eq!(containers.merge_key.as_deref(), Some("name"));
    let Type::List(list) = &containers.ty else { panic!("containers are a list") };
    assert_eq!(list.kind, ListKind::Map(vec!["name".into()]));
    let volume = pod.schema.get(pod.schema.find("io.k8s.api.core.v1.Volume").unwrap());
    assert_eq!(&*volume.field("emptyDir").unwrap().proto, [2, 2]);
    assert_eq!(spec.field("restartPolicy").unwrap().go_type.as_deref(), Some("v1.RestartPolicy"));
}

#[test]
fn options_are_known_in_every_group() {
    for (group, kind) in [("apps", "DeleteOptions"), ("meta.k8s.io", "Table"), ("stable.example.com", "DeleteOptions")]
    {
        assert!(kind_schema(&GroupVersionKind::new(group, "v1", kind)).is_some(), "{group} {kind}");
    }
    assert!(kind_schema(&GroupVersionKind::new("", "v1", "Nothing")).is_none());
}

#[test]
fn metadata_has_a_schema_of_its_own() {
    assert!(list_meta().root().field("remainingItemCount").is_some());
    assert!(object_meta().root().field("managedFields").is_some());
}

#[test]
fn columns_are_those_of_the_stock_printers() {
    let pod: Vec<_> = columns("", "v1", "Pod").iter().map(|c| (c.name.as_str(), c.priority)).collect();
    assert_eq!(pod[..5], [("Name", 0), ("Ready", 0), ("Status", 0), ("Restarts", 0), ("Age", 0)]);
    assert_eq!(columns("", "v1", "Pod")[0].format, "name");
    assert_eq!(columns("", "v1", "Pod")[0].description_of, "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta.name");
    assert_eq!(columns("apiregistration.k8s.io", "v1", "APIService").len(), 4);
    assert!(columns("apiextensions.k8s.io", "v1", "CustomResourceDefinition").is_empty());
}

#[test]
fn every_served_version_has_an_openapi_document() {
    for group in groups() {
        for (version, _) in &group.versions {
            let document: serde_json::Value =
                serde_json::from_slice(&openapi_v3(&group.name, version).unwrap()).unwrap();
            assert!(document["components"]["schemas"].is_object(), "{}/{version}", group.name);
        }
    }
    assert!(openapi_v3("apps", "v1beta1").is_none() && openapi_v3_document("v2").is_none());
    let v2: serde_json::Value = serde_json::from_slice(&openapi_v2()).unwrap();
    assert!(v2["definitions"]["io.k8s.api.core.v1.Pod"].is_object());
    assert!(openapi_v3_paths().iter().any(|p| p == "version"));
}

#[test]
fn no_type_has_more_fields_than_the_reader_keeps_track_of() {
    assert!(schema().iter().all(|(_, def)| def.fields.len() <= 128));
}
