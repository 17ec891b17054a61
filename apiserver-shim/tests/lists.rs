//! Lists and watches.

mod common;

use common::{CONFIG_MAPS, Server, TENANT, config_map};
use serde_json::json;

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
    let mut other = server.connect(apimachinery::tenant::TenantId::from_bytes([2; 16])).await;
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
