//! Lists and watches.

#![allow(clippy::unwrap_used, reason = "a test's helpers may fail it")]

mod common;

use apimachinery::gvk::GroupVersionKind;
use apimachinery::tenant::TenantId;
use apimachinery::{builtin, codec};
use common::{CONFIG_MAPS, Server, TENANT, config_map};
use serde_json::{Value, json};

#[tokio::test]
async fn pages_are_of_one_state() {
    let server = Server::start();
    let mut client = server.client().await;
    for name in ["a", "b", "c", "d", "e"] {
        client.post(CONFIG_MAPS, config_map(name)).await;
    }
    let (_, first) = client.get(&format!("{CONFIG_MAPS}?limit=2")).await;
    assert_eq!(first["metadata"]["remainingItemCount"], 3);
    client.delete(&format!("{CONFIG_MAPS}/c")).await;
    client.post(CONFIG_MAPS, config_map("z")).await;
    let mut names: Vec<String> = Vec::new();
    let mut page = first.clone();
    loop {
        assert_eq!(page["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
        names.extend(page["items"].as_array().unwrap().iter().map(|i| i["metadata"]["name"].to_string()));
        let Some(token) = page["metadata"]["continue"].as_str() else { break };
        page = client.get(&format!("{CONFIG_MAPS}?limit=2&continue={token}")).await.1;
    }
    assert_eq!(names.join(""), r#""a""b""c""d""e""#);
}

#[tokio::test]
async fn selectors_select() {
    let server = Server::start();
    let mut client = server.client().await;
    for (name, tier) in [("a", "x"), ("b", "y"), ("c", "x")] {
        client.post(CONFIG_MAPS, json!({"metadata": {"name": name, "labels": {"tier": tier}}})).await;
    }
    let mut names = async |query: &str| -> Vec<String> {
        let (code, list) = client.get(&format!("/api/v1/configmaps?{query}")).await;
        assert_eq!(code, 200, "{list}");
        list["items"].as_array().unwrap().iter().map(|i| i["metadata"]["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names("labelSelector=tier%3Dx").await, ["a", "c"]);
    assert_eq!(names("labelSelector=tier+notin+(x)").await, ["b"]);
    assert_eq!(names("fieldSelector=metadata.name%3Db").await, ["b"]);
    assert_eq!(names("labelSelector=tier%3Dx&limit=1").await, ["a"]);
}

#[tokio::test]
async fn a_watch_tells_what_happens_and_resumes_without_gap() {
    let server = Server::start();
    let mut client = server.client().await;
    client.post(CONFIG_MAPS, config_map("a")).await;
    let mut watch = server.connect(TENANT).await.watch(&format!("{CONFIG_MAPS}?watch=1")).await;
    assert_eq!(watch.brief().await, "ADDED a");
    let (_, b) = client.post(CONFIG_MAPS, config_map("b")).await;
    client.merge(&format!("{CONFIG_MAPS}/b"), json!({"data": {"k": "w"}})).await;
    client.delete(&format!("{CONFIG_MAPS}/a")).await;
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push(watch.brief().await);
    }
    assert_eq!(seen, ["ADDED b", "MODIFIED b", "DELETED a"]);
    let since = b["metadata"]["resourceVersion"].as_str().unwrap();
    let path = format!("{CONFIG_MAPS}?watch=1&resourceVersion={since}");
    let mut resumed = server.connect(TENANT).await.watch(&path).await;
    assert_eq!(resumed.brief().await, "MODIFIED b");
    assert_eq!(resumed.brief().await, "DELETED a");
}

#[tokio::test]
async fn coming_into_and_out_of_a_selector_are_added_and_deleted() {
    let server = Server::start();
    let mut client = server.client().await;
    client.post(CONFIG_MAPS, config_map("a")).await;
    let path = format!("{CONFIG_MAPS}?watch=1&labelSelector=x%3Dy");
    let mut watch = server.connect(TENANT).await.watch(&path).await;
    let at = format!("{CONFIG_MAPS}/a");
    client.merge(&at, json!({"metadata": {"labels": {"x": "y"}}})).await;
    let (_, out) = client.merge(&at, json!({"metadata": {"labels": null}})).await;
    assert_eq!(watch.brief().await, "ADDED a");
    let gone = watch.next().await.unwrap();
    assert_eq!(gone["type"], "DELETED");
    assert_eq!(gone["object"]["metadata"]["labels"]["x"], "y");
    assert_eq!(gone["object"]["metadata"]["resourceVersion"], out["metadata"]["resourceVersion"]);
}

#[tokio::test]
async fn a_watch_list_ends_its_initial_events_with_a_bookmark() {
    let server = Server::start();
    let mut client = server.client().await;
    client.post(CONFIG_MAPS, config_map("a")).await;
    let options = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut watch = server.connect(TENANT).await.watch(&format!("{CONFIG_MAPS}?{options}")).await;
    assert_eq!(watch.brief().await, "ADDED a");
    let bookmark = watch.next().await.unwrap();
    assert_eq!((&bookmark["type"], &bookmark["object"]["kind"]), (&json!("BOOKMARK"), &json!("ConfigMap")));
    assert_eq!(bookmark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
}

#[tokio::test]
async fn bookmarks_advance_also_when_only_others_write() {
    let server = Server::start();
    let mut client = server.client().await;
    let (_, list) = client.get(CONFIG_MAPS).await;
    let since = list["metadata"]["resourceVersion"].as_str().unwrap();
    let path = format!("{CONFIG_MAPS}?watch=1&allowWatchBookmarks=true&resourceVersion={since}");
    let mut watch = server.connect(TENANT).await.watch(&path).await;
    let mut other = server.connect(TenantId::from_bytes([2; 16])).await;
    let (_, written) = other.post("/api/v1/namespaces", json!({"metadata": {"name": "n"}})).await;
    // From here on nothing but the watch's own timer is waited for: time jumps to it.
    tokio::time::pause();
    let bookmark = watch.next().await.unwrap();
    assert_eq!(bookmark["type"], "BOOKMARK");
    assert_eq!(bookmark["object"]["metadata"]["resourceVersion"], written["metadata"]["resourceVersion"]);
}

#[tokio::test]
async fn a_place_that_is_no_longer_held_is_an_error_event() {
    let server = Server::start();
    let mut client = server.client().await;
    let (_, a) = client.post(CONFIG_MAPS, config_map("a")).await;
    client.post(CONFIG_MAPS, config_map("b")).await;
    let store = server.0.registry().store();
    store.compact(store.revision()).await.unwrap();
    let since = a["metadata"]["resourceVersion"].as_str().unwrap();
    let path = format!("{CONFIG_MAPS}?watch=1&resourceVersion={since}");
    let mut watch = server.connect(TENANT).await.watch(&path).await;
    let event = watch.next().await.unwrap();
    assert_eq!((&event["type"], &event["object"]["code"]), (&json!("ERROR"), &json!(410)));
    assert_eq!(watch.next().await, None);
}

#[tokio::test]
async fn stopping_the_server_ends_watches_cleanly() {
    let server = Server::start();
    server.client().await;
    let mut watch = server.connect(TENANT).await.watch(&format!("{CONFIG_MAPS}?watch=1")).await;
    server.0.stop().await;
    assert_eq!(watch.next().await, None);
}

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// An answer in protobuf, as JSON.
fn decoded(kind: &str, bytes: &[u8]) -> Value {
    let kind = GroupVersionKind::new("", "v1", kind);
    codec::protobuf_decode(builtin::kind_schema, &kind, bytes).unwrap().1
}

/// The events of a watch in protobuf, as JSON.
fn decoded_events(mut bytes: &[u8]) -> Vec<Value> {
    let mut events = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
        let (frame, rest) = rest.split_at(u32::from_be_bytes(*length) as usize);
        // Type, then the object in two messages, each with its length.
        let (kind, object) = frame[2..].split_at(usize::from(frame[1]));
        let start = object.windows(4).position(|w| w == codec::MAGIC).unwrap();
        let object = decoded("", &object[start..]);
        events.push(json!({"type": String::from_utf8_lossy(kind), "object": object}));
        bytes = rest;
    }
    events
}

#[tokio::test]
async fn every_encoding_says_the_same() {
    let server = Server::start();
    let mut client = server.client().await;
    let text = "a \"quoted\"\nline \u{1} \\ é 😀";
    for name in ["a", "b"] {
        let labels = json!({"a": "b"});
        let data = json!({"text": text, "empty": "", "long": "x".repeat(300)});
        let annotations = json!({"note": text});
        client
            .post(
                CONFIG_MAPS,
                json!({"metadata": {"name": name, "labels": labels, "annotations": annotations}, "data": data}),
            )
            .await;
    }
    client.merge(&format!("{CONFIG_MAPS}/b"), json!({"metadata": {"labels": null}})).await;
    let partial = |kind: &str, media: &str| format!("{media};as={kind};g=meta.k8s.io;v=v1");
    let one = format!("{CONFIG_MAPS}/a");
    for (path, form) in [
        (one.as_str(), ""),
        (CONFIG_MAPS, ""),
        (one.as_str(), "PartialObjectMetadata"),
        (CONFIG_MAPS, "PartialObjectMetadataList"),
    ] {
        let accept = |media: &str| if form.is_empty() { media.to_owned() } else { partial(form, media) };
        let (code, _, json) = client.raw("GET", path, &[("accept", &accept("application/json"))], b"").await;
        assert_eq!(code, 200);
        let json: Value = serde_json::from_slice(&json).unwrap();
        let (_, headers, proto) = client.raw("GET", path, &[("accept", &accept(PROTOBUF))], b"").await;
        assert_eq!(headers["content-type"], PROTOBUF);
        let mut proto = decoded("", &proto);
        // Items of a list carry their kind in JSON only where Go writes it.
        let items = proto.get_mut("items").and_then(Value::as_array_mut).into_iter().flatten();
        for item in items.filter(|_| !form.is_empty()) {
            item["kind"] = json!("PartialObjectMetadata");
            item["apiVersion"] = json!("meta.k8s.io/v1");
        }
        assert_eq!(proto, json, "{path} {form}");
        assert_eq!(json.get("data").is_some(), path == one && form.is_empty());
    }
    for form in ["", "PartialObjectMetadata"] {
        let accept = |media: &str| if form.is_empty() { media.to_owned() } else { partial(form, media) };
        let path = format!("{CONFIG_MAPS}?watch=1&resourceVersion=1&labelSelector=a%3Db&timeoutSeconds=1");
        let (_, _, json) = client.raw("GET", &path, &[("accept", &accept("application/json"))], b"").await;
        let json: Vec<Value> =
            json.split(|b| *b == b'\n').filter(|l| !l.is_empty()).map(|l| serde_json::from_slice(l).unwrap()).collect();
        let kinds: Vec<&str> = json.iter().map(|e| e["type"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["ADDED", "ADDED", "DELETED"]);
        let (_, _, proto) = client.raw("GET", &path, &[("accept", &accept(PROTOBUF))], b"").await;
        assert_eq!(decoded_events(&proto), json);
    }
}

#[tokio::test]
async fn watchers_of_one_change_get_it_in_their_own_form_and_selection() {
    let server = Server::start();
    let mut client = server.client().await;
    let everything = format!("{CONFIG_MAPS}?watch=1");
    let mut watches = Vec::new();
    for path in [&everything, &everything, &format!("{everything}&labelSelector=x%3Dy")] {
        watches.push(server.connect(TENANT).await.watch(path).await);
    }
    let mut others = server.connect(TenantId::from_bytes([2; 16])).await;
    others.post("/api/v1/namespaces", json!({"metadata": {"name": "default"}})).await;
    watches.push(others.watch(&everything).await);
    client.post(CONFIG_MAPS, json!({"metadata": {"name": "a", "labels": {"x": "y"}}})).await;
    client.merge(&format!("{CONFIG_MAPS}/a"), json!({"metadata": {"labels": {"x": "z"}}})).await;
    let mut others = server.connect(TenantId::from_bytes([2; 16])).await;
    others.post(CONFIG_MAPS, config_map("theirs")).await;
    let mut brief = async |i: usize| {
        let event = watches[i].next().await.unwrap();
        let (kind, meta) = (&event["type"], &event["object"]["metadata"]);
        format!("{kind} {} {}", meta["name"], meta["labels"]["x"]).replace('"', "")
    };
    for i in [0, 1] {
        assert_eq!((brief(i).await.as_str(), brief(i).await.as_str()), ("ADDED a y", "MODIFIED a z"));
    }
    assert_eq!((brief(2).await.as_str(), brief(2).await.as_str()), ("ADDED a y", "DELETED a y"));
    assert_eq!(brief(3).await, "ADDED theirs null");
}
