//! Requests that are wrong, and what the server offers.

mod common;

use common::{CONFIG_MAPS, Server, config_map};
use serde_json::{Value, json};

#[tokio::test]
async fn garbage_is_refused_clearly_and_the_next_request_is_served() {
    let server = Server::start();
    let mut client = server.client().await;
    let json = "application/json";
    let deep = "[".repeat(10_000);
    let nested = format!("{}{}", "{\"a\":".repeat(10_000), "1");
    let large = vec![b'x'; 4 * 1024 * 1024];
    for (content_type, body, code) in [
        (json, &b"{x"[..], 400),
        (json, b"", 400),
        (json, b"[]", 400),
        (json, b"\xff\xfe\x00", 400),
        (json, deep.as_bytes(), 400),
        (json, nested.as_bytes(), 400),
        (json, b"{\"metadata\":5}", 400),
        (json, b"{\"kind\":\"Pod\",\"apiVersion\":\"v1\"}", 400),
        ("application/yaml", b"a: [", 400),
        ("application/yaml", b"a: &a [*a, *a]", 400),
        ("application/vnd.kubernetes.protobuf", b"k8s\0\xff\xff\xff", 400),
        ("application/vnd.kubernetes.protobuf", b"nonsense", 400),
        ("text/plain", b"x", 415),
        ("application/cbor", b"x", 415),
        (json, &large, 413),
    ] {
        let (got, _, answer) = client.raw("POST", CONFIG_MAPS, &[("content-type", content_type)], body).await;
        let status: Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!((got, &status["kind"]), (code, &json!("Status")), "{status}");
        if code == 413 {
            // The rest of such a body is not read; the connection goes.
            client = server.client().await;
        }
        assert_eq!(client.get("/version").await.0, 200);
    }
}

#[tokio::test]
async fn absurd_paths_are_not_found() {
    let server = Server::start();
    let mut client = server.client().await;
    for (path, code) in [
        ("/foo", 404),
        ("/apis/nope/v1/foos", 404),
        ("/api/v1/namespaces/default/foos", 404),
        ("/api/v1/namespaces/default/nodes", 404),
        ("/api/v1/namespaces/default/configmaps/a/b/c/d", 404),
        ("/api/v1/namespaces/default/configmaps/..", 400),
        ("/api/v1/namespaces/default/configmaps/%00", 404),
        ("/api/v1/watch", 500),
    ] {
        assert_eq!(client.raw("GET", path, &[], b"").await.0, code, "{path}");
    }
    assert_eq!(client.raw("BREW", CONFIG_MAPS, &[], b"").await.0, 405);
    assert_eq!(client.raw("PUT", CONFIG_MAPS, &[], b"{}").await.0, 405);
}

#[tokio::test]
async fn every_answer_has_the_headers_of_the_stock_server() {
    let server = Server::start();
    let mut client = server.client().await;
    let (_, headers, _) = client.raw("GET", CONFIG_MAPS, &[], b"").await;
    for name in ["audit-id", "cache-control", "x-kubernetes-pf-flowschema-uid", "x-kubernetes-pf-prioritylevel-uid"] {
        assert!(headers.contains_key(name), "{name}");
    }
    let (_, headers, _) = client.raw("GET", CONFIG_MAPS, &[("audit-id", "mine")], b"").await;
    assert_eq!(headers["audit-id"], "mine");
}

#[tokio::test]
async fn unknown_fields_are_warned_of_or_refused() {
    let server = Server::start();
    let mut client = server.client().await;
    let mut odd = config_map("a");
    odd["foo"] = json!(1);
    let body = odd.to_string();
    let send = [("content-type", "application/json")];
    let (code, headers, _) = client.raw("POST", &format!("{CONFIG_MAPS}?dryRun=All"), &send, body.as_bytes()).await;
    assert_eq!((code, headers["warning"].to_str().unwrap()), (201, r#"299 - "unknown field \"foo\"""#));
    let (code, refused) = client.post(&format!("{CONFIG_MAPS}?fieldValidation=Strict"), odd).await;
    assert_eq!(code, 400);
    let message = refused["message"].as_str().unwrap();
    assert!(message.ends_with(r#"strict decoding error: unknown field "foo""#), "{message}");
}

#[tokio::test]
async fn the_same_object_in_every_encoding() {
    let server = Server::start();
    let mut client = server.client().await;
    client.post(CONFIG_MAPS, config_map("a")).await;
    let at = format!("{CONFIG_MAPS}/a");
    let (_, headers, yaml) = client.raw("GET", &at, &[("accept", "application/yaml")], b"").await;
    assert_eq!(headers["content-type"], "application/yaml");
    assert!(yaml.starts_with(b"apiVersion: v1\n"));
    let protobuf = "application/vnd.kubernetes.protobuf";
    let (_, headers, message) = client.raw("GET", &at, &[("accept", protobuf)], b"").await;
    assert_eq!(headers["content-type"], protobuf);
    assert!(message.starts_with(b"k8s\0"));
    client.delete(&at).await;
    let (code, _, _) = client.raw("POST", CONFIG_MAPS, &[("content-type", protobuf)], &message).await;
    assert_eq!(code, 500, "an object that has a resourceVersion can't be created");
    let table = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    let (_, _, table) = client.raw("GET", CONFIG_MAPS, &table, b"").await;
    let table: Value = serde_json::from_slice(&table).unwrap();
    assert_eq!(table["columnDefinitions"][1]["name"], "Data");
    let (code, _, _) = client.raw("GET", CONFIG_MAPS, &[("accept", "text/html")], b"").await;
    assert_eq!(code, 406);
}

#[tokio::test]
async fn long_answers_are_compressed_for_those_who_can_read_that() {
    let server = Server::start();
    let mut client = server.client().await;
    let large = json!({"metadata": {"name": "a"}, "data": {"k": "x".repeat(200_000)}});
    client.post(CONFIG_MAPS, large).await;
    let (_, headers, body) = client.raw("GET", CONFIG_MAPS, &[("accept-encoding", "gzip")], b"").await;
    assert_eq!(headers["content-encoding"], "gzip");
    assert!(body.len() < 10_000);
}

#[tokio::test]
async fn discovery_has_a_tag_and_says_when_nothing_changed() {
    let server = Server::start();
    let mut client = server.client().await;
    let accept = ("accept", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json");
    let (code, headers, body) = client.raw("GET", "/apis", &[accept], b"").await;
    let list: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((code, &list["kind"]), (200, &json!("APIGroupDiscoveryList")));
    let tag = headers["etag"].to_str().unwrap().to_owned();
    let (code, _, _) = client.raw("GET", "/apis", &[accept, ("if-none-match", &tag)], b"").await;
    assert_eq!(code, 304);
    let (_, groups) = client.get("/apis").await;
    assert_eq!(groups["kind"], "APIGroupList");
}

#[tokio::test]
async fn discovery_speaks_protobuf() {
    let server = Server::start();
    let mut client = server.client().await;
    for path in ["/api", "/api/v1", "/apis", "/apis/apps", "/apis/apps/v1"] {
        let (code, _, body) = client.raw("GET", path, &[("accept", "application/vnd.kubernetes.protobuf")], b"").await;
        assert!(code == 200 && body.starts_with(b"k8s\0"), "{path}: {code}");
    }
}
