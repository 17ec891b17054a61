//! Group `autoscaling`.

use serde_json::Value;

use super::cells::{Cells, cells};
use crate::gvk::GroupVersionKind;
use crate::meta::{at, str_at};

pub(super) fn row(gvk: &GroupVersionKind, o: &Cells<'_>) -> Option<Vec<Value>> {
    (gvk.kind == "HorizontalPodAutoscaler").then(|| {
        let target =
            format!("{}/{}", o.text(&["spec", "scaleTargetRef", "kind"]), o.text(&["spec", "scaleTargetRef", "name"]));
        let least = o.at(&["spec", "minReplicas"]).map_or_else(|| "<unset>".to_owned(), Value::to_string);
        cells![
            o.name(),
            target,
            if gvk.version == "v1" { cpu_target(o) } else { targets(o) },
            least,
            o.int(&["spec", "maxReplicas"]),
            o.int(&["status", "currentReplicas"]),
            o.age(),
        ]
    })
}

pub(super) fn scale(o: &Cells<'_>) -> Vec<Value> {
    cells![o.name(), o.int(&["spec", "replicas"]), o.int(&["status", "replicas"]), o.age()]
}

/// Version v1 has one metric, the share of the CPU that was requested.
fn cpu_target(o: &Cells<'_>) -> String {
    let current = o.at(&["status", "currentCPUUtilizationPercentage"]);
    let current = current.map_or_else(|| "<unknown>".to_owned(), |c| format!("{c}%"));
    let target = o.at(&["spec", "targetCPUUtilizationPercentage"]).and_then(Value::as_i64).unwrap_or(80);
    format!("cpu: {current}/{target}%")
}

/// Each metric as `current/target`.
fn targets(o: &Cells<'_>) -> String {
    const SHOWN: usize = 2;
    let metrics = o.list(&["spec", "metrics"]);
    if metrics.is_empty() {
        return "<none>".to_owned();
    }
    let statuses = o.list(&["status", "currentMetrics"]);
    let all: Vec<String> = metrics.iter().enumerate().map(|(i, spec)| metric(spec, statuses.get(i))).collect();
    let shown = all[..all.len().min(SHOWN)].join(", ");
    if all.len() > SHOWN { format!("{shown} + {} more...", all.len() - SHOWN) } else { shown }
}

fn metric(spec: &Value, status: Option<&Value>) -> String {
    let (source, resource, either) = match str_at(spec, &["type"]) {
        "External" => ("external", false, true),
        "Object" => ("object", false, true),
        "Pods" => ("pods", false, false),
        "Resource" => ("resource", true, true),
        "ContainerResource" => ("containerResource", true, true),
        _ => return "<unknown type>".to_owned(),
    };
    let target = |key| at(spec, &[source, "target", key]).filter(|v| !v.is_null());
    let current = |key| status.and_then(|s| at(s, &[source, "current", key])).filter(|v| !v.is_null());
    let text = |value: Option<&Value>, default: &str| match value {
        Some(Value::String(s)) => s.clone(),
        Some(other) => other.to_string(),
        None => default.to_owned(),
    };
    let percent = |value: Option<&Value>, default: &str| value.map_or_else(|| default.to_owned(), |v| format!("{v}%"));
    let name = str_at(spec, &[source, "name"]);
    match (resource, target("averageValue")) {
        (true, Some(average)) => {
            format!("{name}: {}/{}", text(current("averageValue"), "<unknown>"), text(Some(average), ""))
        }
        (true, None) => {
            let used = percent(current("averageUtilization"), "<unknown>");
            format!("{name}: {used}/{}", percent(target("averageUtilization"), "<auto>"))
        }
        (false, Some(average)) => {
            let mark = if either { " (avg)" } else { "" };
            format!("{}/{}{mark}", text(current("averageValue"), "<unknown>"), text(Some(average), ""))
        }
        (false, None) => format!("{}/{}", text(current("value"), "<unknown>"), text(target("value"), "0")),
    }
}
