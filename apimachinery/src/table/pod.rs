//! Pods.

use serde_json::{Value, json};

use super::cells::{Cells, cells};
use crate::meta::{at, str_at};
use crate::time::Timestamp;

/// Reason of a container that ended well.
const COMPLETED: &str = "Completed";

pub(super) fn row(pod: &Cells<'_>) -> Vec<Value> {
    let summary = Summary::of(pod);
    let total = pod.list(&["spec", "containers"]).len()
        + pod.list(&["spec", "initContainers"]).iter().filter(|c| restarts_always(c)).count();
    let restarts = match summary.last_restart {
        Some(last) if summary.restarts != 0 => {
            format!("{} ({} ago)", summary.restarts, super::human_duration(pod.now, last))
        }
        _ => summary.restarts.to_string(),
    };
    let first_ip = pod.list(&["status", "podIPs"]).first().map_or("<none>", |ip| str_at(ip, &["ip"]));
    cells![
        pod.name(),
        format!("{}/{total}", summary.ready),
        summary.reason,
        restarts,
        pod.age(),
        pod.text_or(&["status", "podIP"], first_ip),
        pod.text_or(&["spec", "nodeName"], "<none>"),
        pod.text_or(&["status", "nominatedNodeName"], "<none>"),
        readiness_gates(pod),
    ]
}

pub(super) fn conditions(pod: &Value) -> Option<Value> {
    let (reason, message) = match str_at(pod, &["status", "phase"]) {
        "Succeeded" => ("Succeeded", "The pod has completed successfully."),
        "Failed" => ("Failed", "The pod failed."),
        _ => return None,
    };
    Some(json!([{"type": "Completed", "status": "True", "reason": reason, "message": message}]))
}

fn readiness_gates(pod: &Cells<'_>) -> String {
    let gates = pod.list(&["spec", "readinessGates"]);
    if gates.is_empty() {
        return "<none>".to_owned();
    }
    let open = gates.iter().filter(|gate| pod.holds(str_at(gate, &["conditionType"]))).count();
    format!("{open}/{}", gates.len())
}

/// An init container that keeps running beside the others.
fn restarts_always(container: &Value) -> bool {
    str_at(container, &["restartPolicy"]) == "Always"
}

/// Restarts of containers, and when the last one was.
#[derive(Clone, Copy, Default)]
struct Restarts {
    count: i64,
    last: Option<Timestamp>,
}

impl Restarts {
    fn add(&mut self, status: &Value) {
        self.count += status.get("restartCount").and_then(Value::as_i64).unwrap_or_default();
        let ended = at(status, &["lastState", "terminated", "finishedAt"]).and_then(Value::as_str);
        self.last = self.last.max(ended.and_then(|t| Timestamp::parse(t).ok()));
    }
}

struct Summary {
    ready: usize,
    reason: String,
    restarts: i64,
    last_restart: Option<Timestamp>,
}

impl Summary {
    fn of(pod: &Cells<'_>) -> Self {
        let phase = pod.text(&["status", "phase"]);
        let gated = |c: &Value| str_at(c, &["type"]) == "PodScheduled" && str_at(c, &["reason"]) == "SchedulingGated";
        let reason = if pod.list(&["status", "conditions"]).iter().any(gated) {
            "SchedulingGated"
        } else {
            pod.text_or(&["status", "reason"], phase)
        };
        let mut summary = Self { ready: 0, reason: reason.to_owned(), restarts: 0, last_restart: None };
        let initializing = summary.init_containers(pod);
        if !initializing || pod.holds("Initialized") {
            summary.containers(pod);
        }
        if pod.deleting() {
            if pod.text(&["status", "reason"]) == "NodeLost" {
                summary.reason = "Unknown".to_owned();
            } else if !matches!(phase, "Succeeded" | "Failed") {
                summary.reason = "Terminating".to_owned();
            }
        }
        summary
    }

    /// Looks at the init containers up to the first that has not done its work. Tells whether there is one.
    fn init_containers(&mut self, pod: &Cells<'_>) -> bool {
        let specs = pod.list(&["spec", "initContainers"]);
        let (mut all, mut sidecars) = (Restarts::default(), Restarts::default());
        let mut pending = None;
        for (i, status) in pod.list(&["status", "initContainerStatuses"]).iter().enumerate() {
            let name = str_at(status, &["name"]);
            let sidecar = specs.iter().any(|c| str_at(c, &["name"]) == name && restarts_always(c));
            all.add(status);
            if sidecar {
                sidecars.add(status);
            }
            let set = |key: &str| status.get(key).and_then(Value::as_bool) == Some(true);
            let ended = at(status, &["state", "terminated"]).filter(|t| !t.is_null());
            if ended.is_some_and(|t| exit_code(t) == 0) {
                continue;
            }
            if sidecar && set("started") {
                self.ready += usize::from(set("ready"));
                continue;
            }
            let waiting = str_at(status, &["state", "waiting", "reason"]);
            pending = Some(match ended {
                Some(ended) => format!("Init:{}", end_reason(ended)),
                None if !waiting.is_empty() && waiting != "PodInitializing" => format!("Init:{waiting}"),
                None => format!("Init:{i}/{}", specs.len()),
            });
            break;
        }
        // Once the pod runs, only init containers that run beside the others still count.
        let counted = if pending.is_some() && !pod.holds("Initialized") { all } else { sidecars };
        (self.restarts, self.last_restart) = (counted.count, counted.last);
        let initializing = pending.is_some();
        if let Some(reason) = pending {
            self.reason = reason;
        }
        initializing
    }

    fn containers(&mut self, pod: &Cells<'_>) {
        let mut restarts = Restarts { count: self.restarts, last: self.last_restart };
        let (mut running, mut failure) = (false, None);
        for status in pod.list(&["status", "containerStatuses"]).iter().rev() {
            restarts.add(status);
            let waiting = str_at(status, &["state", "waiting", "reason"]);
            let state = |key| at(status, &["state", key]).filter(|s| !s.is_null());
            if !waiting.is_empty() {
                self.reason = waiting.to_owned();
            } else if let Some(ended) = state("terminated") {
                self.reason = end_reason(ended);
                if exit_code(ended) != 0 {
                    failure = Some(self.reason.clone());
                }
            } else if status.get("ready").and_then(Value::as_bool) == Some(true) && state("running").is_some() {
                running = true;
                self.ready += 1;
            }
        }
        (self.restarts, self.last_restart) = (restarts.count, restarts.last);
        // A pod of which one container has ended well still runs, fails or waits with the others.
        if self.reason == COMPLETED {
            let ready = pod
                .list(&["status", "conditions"])
                .iter()
                .any(|c| str_at(c, &["type"]) == "Ready" && str_at(c, &["status"]) == "True");
            if running && ready {
                self.reason = "Running".to_owned();
            } else if let Some(failure) = failure {
                self.reason = failure;
            } else if running {
                self.reason = "NotReady".to_owned();
            }
        }
    }
}

fn exit_code(terminated: &Value) -> i64 {
    terminated.get("exitCode").and_then(Value::as_i64).unwrap_or_default()
}

fn end_reason(terminated: &Value) -> String {
    let reason = str_at(terminated, &["reason"]);
    let signal = terminated.get("signal").and_then(Value::as_i64).unwrap_or_default();
    if !reason.is_empty() {
        reason.to_owned()
    } else if signal != 0 {
        format!("Signal:{signal}")
    } else {
        format!("ExitCode:{}", exit_code(terminated))
    }
}
