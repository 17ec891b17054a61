//! The smaller groups.

use serde_json::Value;

use super::cells::{Cells, cells, int_or_text};
use super::human_duration;
use crate::meta::str_at;
use crate::time::Timestamp;

pub(super) fn row(kind: &str, o: &Cells<'_>) -> Option<Vec<Value>> {
    Some(match kind {
        "APIService" => api_service(o),
        "CertificateSigningRequest" => signing_request(o),
        "PodDisruptionBudget" => {
            let bound = |key| int_or_text(o.at(&["spec", key])).unwrap_or_else(|| "N/A".to_owned());
            let allowed = o.int(&["status", "disruptionsAllowed"]);
            cells![o.name(), bound("minAvailable"), bound("maxUnavailable"), allowed, o.age()]
        }
        "RoleBinding" | "ClusterRoleBinding" => role_binding(o),
        "PriorityClass" => {
            cells![o.name(), o.int(&["value"]), o.flag(&["globalDefault"]), o.age(), o.text(&["preemptionPolicy"]),]
        }
        "Lease" => cells![o.name(), o.text(&["spec", "holderIdentity"]), o.age()],
        "RuntimeClass" => cells![o.name(), o.text(&["handler"]), o.age()],
        "DeviceClass" | "ResourceClaimTemplate" => cells![o.name(), o.age()],
        "ResourceClaim" => cells![o.name(), claim_state(o), o.age()],
        "ResourceSlice" => cells![
            o.name(),
            o.text(&["spec", "nodeName"]),
            o.text(&["spec", "driver"]),
            o.text(&["spec", "pool", "name"]),
            o.age(),
        ],
        "FlowSchema" => cells![
            o.name(),
            o.text(&["spec", "priorityLevelConfiguration", "name"]),
            o.int(&["spec", "matchingPrecedence"]),
            o.text_or(&["spec", "distinguisherMethod", "type"], "<none>"),
            o.age(),
            o.condition("Dangling").map_or("?", |c| str_at(c, &["status"])),
        ],
        "PriorityLevelConfiguration" => priority_level(o),
        _ => return None,
    })
}

fn api_service(o: &Cells<'_>) -> Vec<Value> {
    let service = match o.at(&["spec", "service"]) {
        Some(service) => format!("{}/{}", str_at(service, &["namespace"]), str_at(service, &["name"])),
        None => "Local".to_owned(),
    };
    let available = match o.condition("Available") {
        None => "Unknown".to_owned(),
        Some(condition) => match (str_at(condition, &["status"]), str_at(condition, &["reason"])) {
            ("True", _) => "True".to_owned(),
            (status, "") => status.to_owned(),
            (status, reason) => format!("{status} ({reason})"),
        },
    };
    cells![o.name(), service, available, o.age()]
}

fn signing_request(o: &Cells<'_>) -> Vec<Value> {
    let duration = o.at(&["spec", "expirationSeconds"]).and_then(Value::as_i64);
    let duration = duration.map(|s| human_duration(Timestamp::from_unix(s), Timestamp::from_unix(0)));
    let has = |ty| o.condition(ty).is_some();
    let mut status = if has("Denied") {
        "Denied"
    } else if has("Approved") {
        "Approved"
    } else {
        "Pending"
    }
    .to_owned();
    if has("Failed") {
        status.push_str(",Failed");
    }
    if !o.text(&["status", "certificate"]).is_empty() {
        status.push_str(",Issued");
    }
    cells![
        o.name(),
        o.age(),
        o.text_or(&["spec", "signerName"], "<none>"),
        o.text(&["spec", "username"]),
        duration.unwrap_or_else(|| "<none>".to_owned()),
        status,
    ]
}

fn role_binding(o: &Cells<'_>) -> Vec<Value> {
    let role = format!("{}/{}", o.text(&["roleRef", "kind"]), o.text(&["roleRef", "name"]));
    let subjects = |kind: &str| {
        let of_kind = o.list(&["subjects"]).iter().filter(|s| str_at(s, &["kind"]) == kind);
        let name = |s: &Value| match kind {
            "ServiceAccount" => format!("{}/{}", str_at(s, &["namespace"]), str_at(s, &["name"])),
            _ => str_at(s, &["name"]).to_owned(),
        };
        of_kind.map(name).collect::<Vec<_>>().join(", ")
    };
    cells![o.name(), role, o.age(), subjects("User"), subjects("Group"), subjects("ServiceAccount")]
}

fn claim_state(o: &Cells<'_>) -> String {
    let mut states = Vec::new();
    if o.deleting() {
        states.push("deleted");
    }
    if o.at(&["status", "allocation"]).is_some() {
        states.push("allocated");
        if o.count(&["status", "reservedFor"]) > 0 {
            states.push("reserved");
        }
    } else if !o.deleting() {
        states.push("pending");
    }
    states.join(",")
}

fn priority_level(o: &Cells<'_>) -> Vec<Value> {
    let none = || Value::String("<none>".to_owned());
    let of = |path: &[&str]| {
        if o.at(&path[..path.len() - 1]).is_some() { o.at(path).cloned().unwrap_or(Value::Null) } else { none() }
    };
    let queuing = |key| of(&["spec", "limited", "limitResponse", "queuing", key]);
    cells![
        o.name(),
        o.text(&["spec", "type"]),
        of(&["spec", "limited", "nominalConcurrencyShares"]),
        queuing("queues"),
        queuing("handSize"),
        queuing("queueLengthLimit"),
        o.age(),
    ]
}
