//! `kill -9` of the server while it is written to.
//!
//! One test: it takes the server from all others, so it is alone in its program.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use e2e::fault::server_kill;
use e2e::wire::Wire;
use e2e::{Cluster, Error, LIMIT, must, text};
use serde_json::Value;

const CREATES: usize = 1_000;
const WRITERS: usize = 8;

/// Names and resource versions.
type Seen = BTreeMap<String, u64>;

/// Left out on simulated nodes (`make test` says so): there nothing starts the server again.
mod real {
    use super::*;

    #[test]
    fn nothing_acknowledged_is_lost_and_watches_go_on() -> Result<(), Error> {
        let (demo, host) = (Cluster::demo()?, Cluster::host()?);
        let wire = Wire::to(&demo)?;
        let namespace = demo.namespace("e2e-crash")?;
        let path = format!("/api/v1/namespaces/{}/configmaps", namespace.name());
        let begun = revision(&demo.raw(&format!("{path}?limit=1"))?);
        let pods = host_pods(&host)?;

        let acknowledged = AtomicUsize::new(0);
        let (made, watched) = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..WRITERS)
                .map(|writer| {
                    let (wire, path, acknowledged) = (&wire, &path, &acknowledged);
                    scope.spawn(move || write(wire, path, writer, acknowledged))
                })
                .collect();
            let watcher = scope.spawn(|| watch(&demo, &path, begun));
            while acknowledged.load(Ordering::Relaxed) < CREATES / 3 && !writers.iter().all(|w| w.is_finished()) {
                std::thread::yield_now();
            }
            let killed = server_kill();
            let mut made = Seen::new();
            for writer in writers {
                made.append(&mut writer.join().expect("a writer does not panic")?);
            }
            killed?;
            Ok::<_, Error>((made, watcher.join().expect("the watcher does not panic")?))
        })?;

        let list = demo.raw(&path)?;
        let items = list["items"].as_array().cloned().unwrap_or_default();
        let there: Seen = items.iter().filter(|i| text(i, "/metadata/name").starts_with("made-")).map(entry).collect();
        assert_eq!(made.len(), CREATES);
        assert_eq!(there, made, "what was acknowledged is there, as it was acknowledged");
        let unique: std::collections::BTreeSet<u64> = there.values().copied().collect();
        assert_eq!(unique.len(), CREATES, "no resource version is used twice");

        let names: Vec<&str> = watched.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names.len(), CREATES, "the watch saw each once");
        assert!(watched.iter().map(|(_, at)| *at).is_sorted(), "in order");
        assert_eq!(watched.into_iter().collect::<Seen>(), made, "without a gap");
        assert_eq!(host_pods(&host)?, pods, "no pod of a tenant was made anew or started again");
        Ok(())
    }

    /// Creates a writer's share, each until it is acknowledged.
    fn write(wire: &Wire, path: &str, writer: usize, acknowledged: &AtomicUsize) -> Result<Seen, Error> {
        let end = Instant::now() + LIMIT;
        let mut made = Seen::new();
        for number in 0..CREATES / WRITERS {
            let name = format!("made-{writer}-{number}");
            let body = format!(r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"{name}"}}}}"#);
            let answer = loop {
                let answer = wire.request("POST", path, &["Content-Type: application/json"], body.as_bytes());
                match answer {
                    Ok(answer) if answer.code == 201 => break answer,
                    // It was made, and the acknowledgement was lost.
                    Ok(answer) if answer.code == 409 => {
                        break wire.request("GET", &format!("{path}/{name}"), &[], b"")?;
                    }
                    Ok(answer) => must("create", Instant::now() < end, answer.code)?,
                    Err(error) => must("create", Instant::now() < end, error)?,
                }
                std::thread::sleep(std::time::Duration::from_millis(100));
            };
            acknowledged.fetch_add(1, Ordering::Relaxed);
            made.extend([entry(&answer.json())]);
        }
        Ok(made)
    }

    /// Follows the collection from a revision until all were seen, from where it stopped whenever the watch breaks.
    fn watch(demo: &Cluster, path: &str, mut revision: u64) -> Result<Vec<(String, u64)>, Error> {
        let end = Instant::now() + LIMIT;
        let mut seen = Vec::new();
        while seen.len() < CREATES {
            must("the watch sees all", Instant::now() < end, seen.len())?;
            let command =
                format!("{path}?watch=true&allowWatchBookmarks=true&timeoutSeconds=10&resourceVersion={revision}");
            let failed = |source| Error::Start { command: command.clone(), source };
            let mut child = demo
                .command(&["get", "--raw", &command])
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .map_err(failed)?;
            let lines = child.stdout.take().map(|out| BufReader::new(out).lines()).into_iter().flatten();
            for line in lines.map_while(Result::ok) {
                // A watch that breaks may leave half a line.
                let Ok(event) = serde_json::from_str::<Value>(&line) else { break };
                let (name, at) = entry(&event["object"]);
                must("the watch goes on", event["type"] != "ERROR", &event)?;
                revision = at;
                if event["type"] == "ADDED" && name.starts_with("made-") {
                    seen.push((name, at));
                }
                if seen.len() == CREATES {
                    let _ = child.kill();
                }
            }
            child.wait().map_err(failed)?;
        }
        Ok(seen)
    }

    fn entry(object: &Value) -> (String, u64) {
        (text(object, "/metadata/name").to_owned(), revision(object))
    }

    fn revision(object: &Value) -> u64 {
        text(object, "/metadata/resourceVersion").parse().unwrap_or_default()
    }

    /// The uids and restarts of demo's pods on the host.
    fn host_pods(host: &Cluster) -> Result<String, Error> {
        let columns = "--output=jsonpath={range .items[*]}{.metadata.uid}{.status.containerStatuses[*].restartCount}{\"\\n\"}{end}";
        let namespace =
            e2e::marks::host_namespace(host, &e2e::marks::uid(host, "demo")?, "default")?.unwrap_or_default();
        host.kubectl(&["get", "pods", "--namespace", &namespace, columns])
    }
}
