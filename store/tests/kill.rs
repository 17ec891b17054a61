//! A process that is killed while it writes loses nothing that it acknowledged and uses no revision twice.

#![allow(clippy::unwrap_used, reason = "a test's helpers may fail it")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use apimachinery::tenant::TenantId;
use rand::Rng;
use store::{CollectionId, Embedded, Key, Options, Precondition, RangeQuery, Revision, Scope, Store, Write};

const FOLDER: &str = "STORE_KILL_FOLDER";
const WRITERS: u32 = 16;

fn collection() -> CollectionId {
    CollectionId { tenant: TenantId::from_bytes([1; 16]), name: "pods".into() }
}

/// Not a test of its own: what the test below starts and kills.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "started by the test below"]
async fn child_writes_until_it_is_killed() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let options = Options { checkpoint_bytes: 100_000, ..Options::default() };
    let store = Arc::new(Embedded::open(Path::new(&folder), options).unwrap());
    let first = store.revision();
    let tasks: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                for i in 0_u64.. {
                    let name = format!("{writer}/{}", i % 20);
                    let value = format!("{first} {writer} {i} {}", "x".repeat(500)).into();
                    let key = Key { collection: collection(), name: name.clone().into() };
                    let write = Write { key, value: Some(value), require: Precondition::None };
                    let revision = store.commit(vec![write]).await.unwrap();
                    let line = format!("ack {revision} {name} {first} {writer} {i}\n");
                    // One write: a line is there whole or not at all.
                    std::io::stdout().write_all(line.as_bytes()).unwrap();
                    if writer == 0 && i % 40 == 39 {
                        store.compact(revision - 300.min(revision)).await.unwrap();
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_by_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    // By name: the revision and the value's beginning of the newest acknowledgement.
    let mut acknowledged: BTreeMap<String, (Revision, String)> = BTreeMap::new();
    let mut revisions: BTreeMap<Revision, String> = BTreeMap::new();
    for round in 0..8 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_writes_until_it_is_killed", "--ignored", "--nocapture"])
            .env(FOLDER, folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut left = rand::rng().random_range(1..1500);
        // After the kill the pipe still gives what was acknowledged before.
        while let Some(Ok(line)) = lines.next() {
            let Some((revision, rest)) = line.strip_prefix("ack ").and_then(|l| l.split_once(' ')) else { continue };
            let Some((name, value)) = rest.split_once(' ') else { continue };
            let revision: Revision = revision.parse().unwrap();
            let twice = revisions.insert(revision, rest.to_owned());
            assert!(twice.is_none(), "revision {revision} was given to {twice:?} and {rest}");
            let newest = acknowledged.entry(name.to_owned()).or_default();
            if revision > newest.0 {
                *newest = (revision, value.to_owned());
            }
            left -= 1;
            if left == 0 {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(left <= 0, "round {round}: the child ended on its own");

        let store = Embedded::open(folder.path(), Options::default()).unwrap();
        assert!(store.revision() >= *revisions.last_key_value().unwrap().0);
        let held = store.range(&collection(), RangeQuery::default()).await.unwrap();
        for (name, (revision, value)) in &acknowledged {
            let record = held.records.iter().find(|r| r.name == *name).unwrap();
            let is = std::str::from_utf8(&record.value).unwrap();
            // A newer write may be durable whose acknowledgement was still on its way.
            assert!(record.revision >= *revision, "{name}: {} instead of {revision}", record.revision);
            if record.revision == *revision {
                assert!(is.starts_with(&format!("{value} ")), "{name} at {revision}: {is}");
            }
        }
        let mut cursor = store.follow(Scope::All, store.oldest()).unwrap();
        let mut next = store.oldest() + 1;
        loop {
            let changes = cursor.poll_now().unwrap();
            if changes.is_empty() {
                break;
            }
            for change in changes {
                assert_eq!(change.revision, next, "the change log has a gap");
                if let Some(line) = revisions.get(&next) {
                    assert!(line.starts_with(&format!("{} ", change.key.name)));
                }
                next += 1;
            }
        }
        assert_eq!(next, store.revision() + 1);
        store.close().await;
    }
}
