//! What a pod uses: its place, and while it may run what its containers ask for.
//!
//! Source of the sums: KEP-753 (sidecar containers), KEP-1287 (in-place resize), KEP-2837 (pod-level resources),
//! `k8s.io/component-helpers/resource`.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::Value;
use smol_str::format_smolstr;

use super::{Amounts, one};
use crate::meta;
use crate::rules::quantities::{is_extended, is_hugepage, is_native};

const COMPUTE: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];
const DEVICE_CLASS: &str = "deviceclass.resource.kubernetes.io/";

/// Which of a pod's numbers are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Requests,
    Limits,
}

impl What {
    const fn key(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Limits => "limits",
        }
    }
}

/// Whether a quota of this name counts pods or what they ask for.
pub(super) fn counts(name: &str) -> bool {
    let bare = name.strip_prefix("requests.").or_else(|| name.strip_prefix("limits.")).unwrap_or(name);
    if name == "pods" || COMPUTE.contains(&bare) {
        return true;
    }
    is_hugepage(name)
        || name
            .strip_prefix("requests.")
            .is_some_and(|asked| is_hugepage(asked) || !is_native(name) || asked.starts_with(DEVICE_CLASS))
}

/// What a pod uses besides being there.
pub(super) fn usage(pod: &Value, now: Timestamp) -> Amounts {
    if finished(pod) || stops_counting_at(pod).is_some_and(|end| now > end) {
        return Amounts::default();
    }
    compute(&sum(pod, What::Requests, true), &sum(pod, What::Limits, true))
}

fn finished(pod: &Value) -> bool {
    matches!(meta::str_at(pod, &["status", "phase"]), "Failed" | "Succeeded")
}

/// From when on a pod that is being deleted counts no more, although it is still there.
pub fn stops_counting_at(pod: &Value) -> Option<Timestamp> {
    let deleted: Timestamp = meta::text(pod, "deletionTimestamp").parse().ok()?;
    let grace = meta::at(pod, &["metadata", "deletionGracePeriodSeconds"]).and_then(Value::as_i64)?;
    deleted.checked_add(SignedDuration::from_secs(grace)).ok().filter(|_| !finished(pod))
}

/// The names under which requests and limits count.
fn compute(requests: &Amounts, limits: &Amounts) -> Amounts {
    let mut used = Amounts::default();
    used.set("pods", one());
    for name in COMPUTE {
        if let Some(amount) = requests.get(name) {
            used.set(name, amount.clone());
            used.set(format_smolstr!("requests.{name}"), amount.clone());
        }
        if let Some(amount) = limits.get(name) {
            used.set(format_smolstr!("limits.{name}"), amount.clone());
        }
    }
    for (name, amount) in requests.iter() {
        if is_hugepage(name) {
            used.set(name, amount.clone());
        }
        if is_hugepage(name) || is_extended(name) || name.starts_with(DEVICE_CLASS) {
            used.set(format_smolstr!("requests.{name}"), amount.clone());
        }
    }
    used
}

/// What a pod's containers, or the pod as a whole, ask for, as limit ranges see it: by its spec alone, without overhead.
pub fn requests(pod: &Value) -> Amounts {
    sum(pod, What::Requests, false)
}

/// What a pod's containers, or the pod as a whole, are limited to, as limit ranges see it.
pub fn limits(pod: &Value) -> Amounts {
    sum(pod, What::Limits, false)
}

/// The sum over a pod's containers; the most that any moment of its life needs. `running` takes what was allocated and
/// is in use into account, and overhead.
fn sum(pod: &Value, what: What, running: bool) -> Amounts {
    let given = |container: &Value, statuses: &str| {
        let spec = Amounts::read(meta::at(container, &["resources", what.key()]));
        let name = container.get("name");
        let status = meta::list_at(pod, &["status", statuses]).iter().find(|s| s.get("name") == name);
        match status.filter(|s| running && s.get("resources").is_some_and(|r| !r.is_null())) {
            Some(status) => effective(pod, what, spec, status),
            None => spec,
        }
    };
    let mut total = Amounts::default();
    for container in meta::list_at(pod, &["spec", "containers"]) {
        total.add(&given(container, "containerStatuses"));
    }
    let (mut sidecars, mut starting) = (Amounts::default(), Amounts::default());
    for container in meta::list_at(pod, &["spec", "initContainers"]) {
        if meta::str_at(container, &["restartPolicy"]) == "Always" {
            let amounts = given(container, "initContainerStatuses");
            total.add(&amounts);
            sidecars.add(&amounts);
            starting.raise(&sidecars);
        } else {
            let mut amounts = Amounts::read(meta::at(container, &["resources", what.key()]));
            amounts.add(&sidecars);
            starting.raise(&amounts);
        }
    }
    total.raise(&starting);
    for (name, amount) in Amounts::read(meta::at(pod, &["spec", "resources", what.key()])).iter() {
        if matches!(name, "cpu" | "memory") || running && is_hugepage(name) {
            total.set(name, amount.clone());
        }
    }
    if running {
        let mut overhead = Amounts::read(meta::at(pod, &["spec", "overhead"]));
        if what == What::Limits {
            overhead.retain(|name, _| total.get(name).is_some_and(|limit| !limit.is_zero()));
        }
        total.add(&overhead);
    }
    total
}

fn effective(pod: &Value, what: What, spec: Amounts, status: &Value) -> Amounts {
    let pending =
        meta::list_at(pod, &["status", "conditions"]).iter().find(|c| meta::str_at(c, &["type"]) == "PodResizePending");
    let infeasible = pending.is_some_and(|c| meta::str_at(c, &["reason"]) == "Infeasible");
    let mut amounts = Amounts::read(meta::at(status, &["resources", what.key()]));
    if what == What::Requests {
        amounts.raise(&Amounts::read(status.get("allocatedResources")));
    }
    if !infeasible {
        amounts.raise(&spec);
    }
    amounts
}

/// What each container must say when a quota counts it, and which do not: `cpu for: a,b; memory for: b`.
pub(super) fn missing<'a>(counted: impl Iterator<Item = &'a str>, pod: &Value) -> Option<String> {
    let whole = ["requests", "limits"].iter().any(|key| {
        Amounts::read(meta::at(pod, &["spec", "resources", key]))
            .names()
            .any(|n| matches!(n, "cpu" | "memory") || is_hugepage(n))
    });
    if whole {
        return None;
    }
    // Only these: to ask for more would break what was allowed before.
    let required: Vec<&str> = counted
        .filter(|name| {
            let bare = name.strip_prefix("requests.").or_else(|| name.strip_prefix("limits.")).unwrap_or(name);
            matches!(bare, "cpu" | "memory")
        })
        .collect();
    let mut missing: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for list in ["containers", "initContainers"] {
        for container in meta::list_at(pod, &["spec", list]) {
            let read = |key| Amounts::read(meta::at(container, &["resources", key]));
            let said = compute(&read("requests"), &read("limits"));
            for name in required.iter().filter(|name| said.get(name).is_none()) {
                missing.entry(name).or_default().insert(meta::str_at(container, &["name"]));
            }
        }
    }
    let parts: Vec<String> = missing
        .into_iter()
        .map(|(name, containers)| format!("{name} for: {}", containers.into_iter().collect::<Vec<_>>().join(",")))
        .collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// As much of a pod as its usage and scopes go by and updates can change. Read from its bytes without the rest of it.
#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Measured {
    metadata: Deletion,
    spec: Spec,
    status: Status,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
struct Deletion {
    deletion_timestamp: Option<String>,
    deletion_grace_period_seconds: Option<i64>,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    active_deadline_seconds: Option<i64>,
    containers: Vec<Container>,
    init_containers: Vec<Container>,
    resources: Option<Value>,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
struct Container {
    name: String,
    resources: Option<Value>,
    allocated_resources: Option<Value>,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    phase: Option<String>,
    container_statuses: Vec<Container>,
    init_container_statuses: Vec<Container>,
}

impl Measured {
    /// Reads a pod's JSON; what is no pod measures as nothing.
    pub(super) fn read(body: &[u8]) -> Self {
        let mut measured: Self = serde_json::from_slice(body).unwrap_or_default();
        // Only the end of a life counts.
        measured.status.phase = measured.status.phase.filter(|p| matches!(p.as_str(), "Failed" | "Succeeded"));
        measured
    }
}
