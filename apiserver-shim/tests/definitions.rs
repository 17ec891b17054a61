//! Definitions over their whole life: versions, discovery, finalizers and what must not be created any more.

mod common;

use common::Server;
use serde_json::{Value, json};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const DEFINITION: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/gadgets.example.com";
const GADGETS: &str = "/apis/example.com/v1/namespaces/default/gadgets";
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

fn definition(conversion: Value) -> Value {
    let version = |name: &str, storage: bool| {
        json!({
            "name": name, "served": true, "storage": storage,
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                "spec": {"type": "object", "properties": {
                    "size": {"type": "string", "enum": ["small", "large"], "default": "small"},
                    "parts": {"type": "integer", "maximum": 9},
                }},
            }}},
        })
    };
    json!({
        "metadata": {"name": "gadgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "gadgets", "kind": "Gadget"},
            "conversion": conversion, "versions": [version("v1", true), version("v2", false)],
        },
    })
}

fn gadget(version: &str, name: &str, spec: Value) -> Value {
    let api_version = format!("example.com/{version}");
    json!({"apiVersion": api_version, "kind": "Gadget", "metadata": {"name": name}, "spec": spec})
}

fn condition<'a>(definition: &'a Value, name: &str) -> &'a Value {
    let mut conditions = definition["status"]["conditions"].as_array().into_iter().flatten();
    conditions.find(|c| c["type"] == name).unwrap_or(&Value::Null)
}

#[tokio::test]
async fn a_definition_lives_from_discovery_to_the_last_object() {
    let server = Server::start();
    let mut client = server.client().await;
    let accept = [("accept", AGGREGATED)];
    let (_, before, _) = client.raw("GET", "/apis", &accept, b"").await;
    assert_eq!(client.post(DEFINITIONS, definition(json!({"strategy": "None"}))).await.0, 201);
    let (_, read) = client.get(DEFINITION).await;
    assert_eq!(condition(&read, "Established")["status"], "True");
    assert_eq!(
        (&read["status"]["storedVersions"], &read["status"]["acceptedNames"]["kind"]),
        (&json!(["v1"]), &json!("Gadget"))
    );
    let (_, after, groups) = client.raw("GET", "/apis", &accept, b"").await;
    assert_ne!(before["etag"], after["etag"]);
    assert!(String::from_utf8_lossy(&groups).contains("\"gadgets\""));

    let (_, v2) = client.get("/openapi/v2").await;
    assert_eq!(v2["definitions"]["com.example.v1.Gadget"]["properties"]["spec"]["type"], "object");
    assert!(v2["paths"]["/apis/example.com/v2/namespaces/{namespace}/gadgets/{name}"].is_object());
    assert!(v2["paths"]["/api/v1/namespaces"].is_object());
    let (_, index) = client.get("/openapi/v3").await;
    let url = index["paths"]["apis/example.com/v1"]["serverRelativeURL"].as_str().unwrap().to_owned();
    let (code, v3) = client.get(&url).await;
    assert_eq!((code, v3["components"]["schemas"]["com.example.v1.Gadget"].is_object()), (200, true));

    // Fields: defaults, pruning, and what strictness says.
    let mut watch = server.connect(common::TENANT).await.watch(&format!("{GADGETS}?watch=1")).await;
    let odd = gadget("v1", "a", json!({"color": "red", "parts": 3}));
    let (code, strict) = client.post(&format!("{GADGETS}?fieldValidation=Strict"), odd.clone()).await;
    assert_eq!(code, 400, "{strict}");
    assert!(strict["message"].as_str().unwrap().contains("unknown field \"spec.color\""), "{strict}");
    let (code, made) = client.post(GADGETS, odd).await;
    assert_eq!((code, &made["spec"]), (201, &json!({"size": "small", "parts": 3})));
    assert_eq!(watch.brief().await, "ADDED a");
    let at = format!("{GADGETS}/a");
    let (code, refused) = client.merge(&at, json!({"spec": {"parts": 10}})).await;
    assert_eq!((code, &refused["details"]["causes"][0]["field"]), (422, &json!("spec.parts")));
    let (code, patched) = client.merge(&at, json!({"spec": {"parts": 4}})).await;
    assert_eq!((code, &patched["metadata"]["generation"]), (200, &json!(2)));
    assert_eq!(watch.brief().await, "MODIFIED a");
    let jumps = json!([{"op": "replace", "path": "/spec/parts", "value": 5}]);
    assert_eq!(client.json("PATCH", &at, "application/json-patch+json", jumps).await.0, 200);
    let apply = format!("{GADGETS}/b?fieldManager=tests");
    let config = gadget("v1", "b", json!({"size": "large"}));
    let (code, applied) = client.json("PATCH", &apply, "application/apply-patch+yaml", config).await;
    assert_eq!((code, &applied["metadata"]["managedFields"][0]["operation"]), (201, &json!("Apply")));

    // The other version is the same object; protobuf is not spoken of it.
    let (_, other) = client.get("/apis/example.com/v2/namespaces/default/gadgets/b").await;
    assert_eq!((&other["apiVersion"], &other["spec"]["size"]), (&json!("example.com/v2"), &json!("large")));
    let accept = [("accept", "application/vnd.kubernetes.protobuf,application/json")];
    let (code, headers, _) = client.raw("GET", &at, &accept, b"").await;
    assert_eq!((code, headers["content-type"].as_bytes()), (200, &b"application/json"[..]));

    // Deleting: an object with a finalizer keeps the definition, and no new ones come in meanwhile.
    client.merge(&at, json!({"metadata": {"finalizers": ["example.com/keep"]}})).await;
    assert_eq!(client.delete(DEFINITION).await.0, 200);
    let (_, going) = client.get(DEFINITION).await;
    assert_eq!(condition(&going, "Terminating")["reason"], "InstanceDeletionInProgress");
    assert_eq!(client.get(&format!("{GADGETS}/b")).await.0, 404);
    let (code, late) = client.post(GADGETS, gadget("v1", "late", json!({}))).await;
    let wanted = "gadgets.example.com \"late\" is forbidden: create not allowed while custom resource definition is \
                  terminating";
    assert_eq!((code, &late["message"]), (403, &json!(wanted)));
    assert_eq!(client.merge(&at, json!({"metadata": {"finalizers": null}})).await.0, 200);
    assert_eq!(client.get(DEFINITION).await.0, 404);
    let (code, _, text) = client.raw("GET", GADGETS, &[], b"").await;
    assert_eq!((code, &text[..]), (404, &b"404 page not found\n"[..]));
    assert_eq!(client.get("/openapi/v3/apis/example.com/v1").await.0, 404);
    let (_, v2) = client.get("/openapi/v2").await;
    assert!(v2["definitions"].get("com.example.v1.Gadget").is_none());
    let (_, _, groups) = client.raw("GET", "/apis", &[("accept", AGGREGATED)], b"").await;
    assert!(!String::from_utf8_lossy(&groups).contains("\"gadgets\""));
}

#[tokio::test]
async fn a_conversion_webhook_is_refused_not_skipped() {
    let server = Server::start();
    let mut client = server.client().await;
    let webhook = json!({"strategy": "Webhook", "webhook": {
        "conversionReviewVersions": ["v1"], "clientConfig": {"url": "https://example.com/convert"},
    }});
    let (code, made) = client.post(DEFINITIONS, definition(webhook)).await;
    assert_eq!(code, 201, "{made}");
    assert_eq!(client.post(GADGETS, gadget("v1", "a", json!({}))).await.0, 201);
    let v2 = "/apis/example.com/v2/namespaces/default/gadgets";
    for (code, refused) in [client.post(v2, gadget("v2", "b", json!({}))).await, client.get(v2).await] {
        assert_eq!(code, 501, "{refused}");
        assert!(refused["message"].as_str().unwrap().starts_with("conversion webhook for example.com/v"), "{refused}");
    }
}

#[tokio::test]
async fn a_definition_that_serves_nothing_still_goes() {
    let server = Server::start();
    let mut client = server.client().await;
    client.post(DEFINITIONS, definition(json!({"strategy": "None"}))).await;
    assert_eq!(client.post(GADGETS, gadget("v1", "a", json!({}))).await.0, 201);
    let off = json!([
        {"op": "replace", "path": "/spec/versions/0/served", "value": false},
        {"op": "replace", "path": "/spec/versions/1/served", "value": false},
    ]);
    let (code, patched) = client.json("PATCH", DEFINITION, "application/json-patch+json", off).await;
    assert_eq!(code, 200, "{patched}");
    assert_eq!(client.get(GADGETS).await.0, 404);
    assert_eq!(client.delete(DEFINITION).await.0, 200);
    assert_eq!(client.get(DEFINITION).await.0, 404);
}
