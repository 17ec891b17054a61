//! Custom resources.

mod common;

use common::Server;
use serde_json::{Value, json};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const WIDGETS: &str = "/apis/example.com/v1/namespaces/default/widgets";

fn definition() -> Value {
    json!({
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget", "shortNames": ["wd"]},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "subresources": {
                    "status": {},
                    "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"},
                },
                "additionalPrinterColumns": [{"name": "Size", "type": "string", "jsonPath": ".spec.size"}],
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": {"type": "object", "required": ["size"], "properties": {
                        "size": {"type": "string", "enum": ["small", "large"]},
                        "replicas": {"type": "integer", "default": 1},
                    }},
                    "status": {"type": "object", "properties": {"replicas": {"type": "integer"}}},
                }}},
            }],
        },
    })
}

fn widget(name: &str, size: &str) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}, "spec": {"size": size}})
}

#[tokio::test]
async fn a_definition_serves_its_objects_until_it_goes() {
    let server = Server::start();
    let mut client = server.client().await;
    assert_eq!(client.get(WIDGETS).await.0, 404);
    let (code, made) = client.post(DEFINITIONS, definition()).await;
    assert_eq!(code, 201, "{made}");
    let (_, read) = client.get(&format!("{DEFINITIONS}/widgets.example.com")).await;
    let established = read["status"]["conditions"].as_array().unwrap();
    assert!(established.iter().any(|c| c["type"] == "Established" && c["status"] == "True"), "{read}");
    let (code, groups) = client.get("/apis/example.com/v1").await;
    assert_eq!((code, &groups["resources"][0]["shortNames"]), (200, &json!(["wd"])));

    let (code, widget_made) = client.post(WIDGETS, widget("a", "small")).await;
    assert_eq!(code, 201, "{widget_made}");
    assert_eq!((&widget_made["spec"]["replicas"], &widget_made["metadata"]["generation"]), (&json!(1), &json!(1)));
    let (code, refused) = client.post(WIDGETS, widget("b", "huge")).await;
    assert_eq!((code, &refused["reason"]), (422, &json!("Invalid")));
    let (_, list) = client.get(WIDGETS).await;
    assert_eq!((&list["kind"], &list["items"][0]["kind"]), (&json!("WidgetList"), &json!("Widget")));

    assert_eq!(client.delete(&format!("{DEFINITIONS}/widgets.example.com")).await.0, 200);
    assert_eq!(client.get(&format!("{DEFINITIONS}/widgets.example.com")).await.0, 404);
    assert_eq!(client.get(WIDGETS).await.0, 404);
}

#[tokio::test]
async fn status_and_scale_are_apart() {
    let server = Server::start();
    let mut client = server.client().await;
    client.post(DEFINITIONS, definition()).await;
    client.post(WIDGETS, widget("a", "small")).await;
    let at = format!("{WIDGETS}/a");
    let (_, main) = client.merge(&at, json!({"spec": {"size": "large"}, "status": {"replicas": 7}})).await;
    assert_eq!((main.get("status"), &main["metadata"]["generation"]), (None, &json!(2)));
    let (_, status) =
        client.merge(&format!("{at}/status"), json!({"spec": {"size": "small"}, "status": {"replicas": 7}})).await;
    assert_eq!((&status["spec"]["size"], &status["status"]["replicas"]), (&json!("large"), &json!(7)));
    assert_eq!(status["metadata"]["generation"], 2);
    let (code, scale) = client.merge(&format!("{at}/scale"), json!({"spec": {"replicas": 3}})).await;
    assert_eq!((code, &scale["spec"]["replicas"], &scale["status"]["replicas"]), (200, &json!(3), &json!(7)));
    let (code, _) = client.put(&at, widget("a", "small")).await;
    assert_eq!(code, 422, "a PUT of a custom object names its resourceVersion");
    let patch = "application/strategic-merge-patch+json";
    assert_eq!(client.json("PATCH", &at, patch, json!({})).await.0, 415);
}

#[tokio::test]
async fn unknown_fields_are_pruned_and_tables_have_the_columns() {
    let server = Server::start();
    let mut client = server.client().await;
    client.post(DEFINITIONS, definition()).await;
    let mut odd = widget("a", "small");
    odd["spec"]["color"] = json!("red");
    let (_, made) = client.post(WIDGETS, odd).await;
    assert!(made["spec"].get("color").is_none());
    let accept = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    let (_, _, table) = client.raw("GET", WIDGETS, &accept, b"").await;
    let table: Value = serde_json::from_slice(&table).unwrap();
    assert_eq!(
        (&table["columnDefinitions"][1]["name"], &table["rows"][0]["cells"][1]),
        (&json!("Size"), &json!("small"))
    );
    let mut other = server.connect(apimachinery::tenant::TenantId::from_bytes([2; 16])).await;
    assert_eq!(other.get("/apis/example.com/v1").await.0, 404);
}

#[tokio::test]
async fn definitions_are_published_to_their_tenant_alone() {
    let server = Server::start();
    let mut client = server.client().await;
    client.post(DEFINITIONS, definition()).await;
    let path = "/openapi/v3/apis/example.com/v1";
    let (_, _, index) = client.raw("GET", "/openapi/v3", &[], b"").await;
    let index: Value = serde_json::from_slice(&index).unwrap();
    assert!(index["paths"]["apis/example.com/v1"]["serverRelativeURL"].as_str().unwrap().starts_with(path));
    let (code, document) = client.get(path).await;
    assert_eq!(code, 200);
    assert!(document["components"]["schemas"].get("com.example.v1.Widget").is_some());
    let mut other = server.connect(apimachinery::tenant::TenantId::from_bytes([2; 16])).await;
    assert_eq!(other.get(path).await.0, 404);
}
