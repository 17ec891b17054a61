//! HorizontalPodAutoscalers of `autoscaling/v1` and `v2`. What `v1` has no fields for lies in annotations, as JSON in the
//! words of `v1`.
//!
//! Source: `k8s.io/kubernetes/pkg/apis/autoscaling/v1/conversion.go`, `pkg/apis/autoscaling/annotations.go`.

use apimachinery::meta::{at, list_at, str_at};
use serde_json::{Map, Value, json};

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
/// Annotations that are fields of `v2`. Neither version is stored or answered with one that the other did not give it.
const ANNOTATIONS: [&str; 6] = [
    METRICS,
    CURRENT_METRICS,
    CONDITIONS,
    BEHAVIOR,
    "autoscaling.alpha.kubernetes.io/scale-down-tolerance",
    "autoscaling.alpha.kubernetes.io/scale-up-tolerance",
];

/// A field of a metric: its name in `v1`, its place in `v2`, and whether `v1` writes it also when it is zero.
type Field = (&'static str, &'static [&'static str], bool);

/// A kind of metric: its key in both versions, the key in `v2` of what is to be reached or was, its fields in the order of
/// `v1`.
type Metric = (&'static str, &'static str, &'static [Field]);

const SPECS: [Metric; 5] = [
    (
        "object",
        "target",
        &[
            ("target", &["describedObject"], false),
            ("metricName", &["metric", "name"], false),
            ("targetValue", &["target", "value"], true),
            ("selector", &["metric", "selector"], false),
            ("averageValue", &["target", "averageValue"], false),
        ],
    ),
    (
        "pods",
        "target",
        &[
            ("metricName", &["metric", "name"], false),
            ("targetAverageValue", &["target", "averageValue"], true),
            ("selector", &["metric", "selector"], false),
        ],
    ),
    (
        "resource",
        "target",
        &[
            ("name", &["name"], false),
            ("targetAverageUtilization", &["target", "averageUtilization"], false),
            ("targetAverageValue", &["target", "averageValue"], false),
        ],
    ),
    (
        "containerResource",
        "target",
        &[
            ("name", &["name"], false),
            ("targetAverageUtilization", &["target", "averageUtilization"], false),
            ("targetAverageValue", &["target", "averageValue"], false),
            ("container", &["container"], false),
        ],
    ),
    (
        "external",
        "target",
        &[
            ("metricName", &["metric", "name"], false),
            ("metricSelector", &["metric", "selector"], false),
            ("targetValue", &["target", "value"], false),
            ("targetAverageValue", &["target", "averageValue"], false),
        ],
    ),
];

const STATUSES: [Metric; 5] = [
    (
        "object",
        "current",
        &[
            ("target", &["describedObject"], false),
            ("metricName", &["metric", "name"], false),
            ("currentValue", &["current", "value"], true),
            ("selector", &["metric", "selector"], false),
            ("averageValue", &["current", "averageValue"], false),
        ],
    ),
    (
        "pods",
        "current",
        &[
            ("metricName", &["metric", "name"], false),
            ("currentAverageValue", &["current", "averageValue"], true),
            ("selector", &["metric", "selector"], false),
        ],
    ),
    (
        "resource",
        "current",
        &[
            ("name", &["name"], false),
            ("currentAverageUtilization", &["current", "averageUtilization"], false),
            ("currentAverageValue", &["current", "averageValue"], true),
        ],
    ),
    (
        "containerResource",
        "current",
        &[
            ("name", &["name"], false),
            ("currentAverageUtilization", &["current", "averageUtilization"], false),
            ("currentAverageValue", &["current", "averageValue"], true),
            ("container", &["container"], false),
        ],
    ),
    (
        "external",
        "current",
        &[
            ("metricName", &["metric", "name"], false),
            ("metricSelector", &["metric", "selector"], false),
            ("currentValue", &["current", "value"], true),
            ("currentAverageValue", &["current", "averageValue"], false),
        ],
    ),
];

/// Makes an autoscaler of `v2` one of `v1`.
pub(super) fn to_v1(object: &mut Value) {
    drop_annotations(object);
    let spec = object.get("spec").cloned().unwrap_or_default();
    let status = object.get("status").cloned().unwrap_or_default();
    let metrics = list_at(&spec, &["metrics"]);
    let others: Vec<&Value> = metrics.iter().filter(|m| utilization(m, "target").is_none()).collect();
    if !others.is_empty() {
        annotate(object, METRICS, array(others.into_iter().map(|m| metric_text(m, &SPECS))));
    }
    let current = list_at(&status, &["currentMetrics"]);
    if !current.is_empty() {
        annotate(object, CURRENT_METRICS, array(current.iter().map(|m| metric_text(m, &STATUSES))));
    }
    if let Some(behavior) = spec.get("behavior") {
        annotate(object, BEHAVIOR, behavior_text(behavior));
    }
    let conditions = list_at(&status, &["conditions"]);
    if !conditions.is_empty() {
        annotate(object, CONDITIONS, array(conditions.iter().map(condition_text)));
    }
    let mut new = copied(&spec, &["scaleTargetRef", "minReplicas", "maxReplicas"]);
    if let Some(percent) = metrics.iter().find_map(|m| utilization(m, "target")) {
        new.insert("targetCPUUtilizationPercentage".to_owned(), percent.clone());
    }
    object["spec"] = Value::Object(new);
    let mut new = copied(&status, &["observedGeneration", "lastScaleTime", "currentReplicas", "desiredReplicas"]);
    for key in ["currentReplicas", "desiredReplicas"] {
        new.entry(key).or_insert_with(|| json!(0));
    }
    if let Some(percent) = current.iter().filter_map(|m| utilization(m, "current")).next_back() {
        new.insert("currentCPUUtilizationPercentage".to_owned(), percent.clone());
    }
    object["status"] = Value::Object(new);
}

/// Makes an autoscaler of `v1` one of `v2`. Annotations that are no JSON are dropped, as if they were not there.
pub(super) fn to_v2(object: &mut Value) {
    let annotation = |key: &str| {
        let text = at(object, &["metadata", "annotations", key]).and_then(Value::as_str)?;
        serde_json::from_str::<Value>(text).ok()
    };
    let list = |key: &str| annotation(key).and_then(|v| v.as_array().cloned());
    let (others, current) = (list(METRICS), list(CURRENT_METRICS));
    let (conditions, behavior) = (list(CONDITIONS), annotation(BEHAVIOR));
    drop_annotations(object);
    let spec = object.get("spec").cloned().unwrap_or_default();
    let status = object.get("status").cloned().unwrap_or_default();

    let mut new = copied(&spec, &["scaleTargetRef", "minReplicas", "maxReplicas"]);
    let mut metrics: Vec<Value> = others.iter().flatten().map(|m| metric_of(m, &SPECS)).collect();
    if let Some(percent) = spec.get("targetCPUUtilizationPercentage").filter(|p| !p.is_null()) {
        metrics.push(cpu(percent));
    }
    if metrics.is_empty() {
        metrics.push(cpu(&json!(80)));
    }
    new.insert("metrics".to_owned(), Value::Array(metrics));
    if let Some(behavior) = behavior.as_ref().and_then(behavior_of) {
        new.insert("behavior".to_owned(), behavior);
    }
    object["spec"] = Value::Object(new);

    let mut new = copied(&status, &["observedGeneration", "lastScaleTime", "currentReplicas", "desiredReplicas"]);
    new.retain(|key, value| !(key == "currentReplicas" && *value == 0));
    new.entry("desiredReplicas").or_insert_with(|| json!(0));
    let percent = status.get("currentCPUUtilizationPercentage").filter(|p| !p.is_null());
    let current = match (current, percent) {
        (Some(list), _) => Value::Array(list.iter().map(|m| metric_of(m, &STATUSES)).collect()),
        (None, Some(percent)) => {
            json!([{"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": percent}}}])
        }
        (None, None) => Value::Null,
    };
    new.insert("currentMetrics".to_owned(), current);
    if let Some(conditions) = conditions.filter(|c| !c.is_empty()) {
        new.insert("conditions".to_owned(), Value::Array(conditions));
    }
    object["status"] = Value::Object(new);
}

fn cpu(percent: &Value) -> Value {
    let target = json!({"type": "Utilization", "averageUtilization": percent});
    json!({"type": "Resource", "resource": {"name": "cpu", "target": target}})
}

/// The percentage of a metric that `v1` has a field for: the use of processors, over all of a pod.
fn utilization<'a>(metric: &'a Value, key: &str) -> Option<&'a Value> {
    let of_pods = str_at(metric, &["type"]) == "Resource" && str_at(metric, &["resource", "name"]) == "cpu";
    at(metric, &["resource", key, "averageUtilization"]).filter(|v| of_pods && !v.is_null())
}

fn copied(from: &Value, keys: &[&str]) -> Map<String, Value> {
    keys.iter().filter_map(|k| Some(((*k).to_owned(), from.get(*k).filter(|v| !v.is_null())?.clone()))).collect()
}

fn drop_annotations(object: &mut Value) {
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.retain(|key, _| !ANNOTATIONS.contains(&key.as_str()));
        if annotations.is_empty() {
            metadata.remove("annotations");
        }
    }
}

fn annotate(object: &mut Value, key: &str, text: String) {
    if !object["metadata"]["annotations"].is_object() {
        object["metadata"]["annotations"] = json!({});
    }
    object["metadata"]["annotations"][key] = Value::String(text);
}

/// JSON in the order of its fields in `v1`, so that it is the text that a stock server writes.
fn text<'a>(fields: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let fields: Vec<String> = fields.into_iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
    format!("{{{}}}", fields.join(","))
}

fn array(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(","))
}

fn picked(object: &Value, keys: &[&'static str]) -> Vec<(&'static str, String)> {
    keys.iter().filter_map(|k| Some((*k, object.get(*k).filter(|v| !v.is_null())?.to_string()))).collect()
}

fn condition_text(condition: &Value) -> String {
    text(picked(condition, &["type", "status", "lastTransitionTime", "reason", "message"]))
}

fn metric_text(metric: &Value, kinds: &[Metric]) -> String {
    let mut parts = picked(metric, &["type"]);
    for (key, _, fields) in kinds {
        let Some(source) = metric.get(*key).filter(|s| s.is_object()) else { continue };
        let mut written = Vec::new();
        for (v1, v2, always) in *fields {
            match at(source, v2).filter(|v| !v.is_null()) {
                Some(reference) if *v2 == ["describedObject"] => {
                    written.push((*v1, text(picked(reference, &["kind", "name", "apiVersion"]))));
                }
                Some(value) => written.push((*v1, value.to_string())),
                None if *always => written.push((*v1, "\"0\"".to_owned())),
                None => {}
            }
        }
        parts.push((*key, text(written)));
    }
    text(parts)
}

fn metric_of(metric: &Value, kinds: &[Metric]) -> Value {
    let mut new = json!({"type": str_at(metric, &["type"])});
    for (key, goal, fields) in kinds {
        let Some(source) = metric.get(*key).filter(|s| s.is_object()) else { continue };
        let mut made = json!({});
        made[*goal] = json!({});
        for (v1, v2, always) in *fields {
            let zero = json!("0");
            let Some(value) = source.get(*v1).filter(|v| !v.is_null()).or(always.then_some(&zero)) else { continue };
            match v2 {
                [one] => made[*one] = value.clone(),
                [above, below] => made[*above][*below] = value.clone(),
                _ => {}
            }
        }
        if *goal == "target" {
            let target = &mut made["target"];
            target["type"] = json!(target_type(key, target));
            // `v1` cannot leave the value out; beside an average, zero stands for none.
            if *key == "object" && target["type"] == "AverageValue" && target["value"] == "0" {
                target.as_object_mut().and_then(|t| t.remove("value"));
            }
        }
        new[*key] = made;
    }
    new
}

/// What a target is of: `v1` tells it by the field that is there.
fn target_type(key: &str, target: &Value) -> &'static str {
    let has = |field: &str| target.get(field).is_some();
    match key {
        "resource" | "containerResource" if has("averageUtilization") => "Utilization",
        "object" if !has("averageValue") => "Value",
        "external" if has("value") => "Value",
        _ => "AverageValue",
    }
}

const RULES: [(&str, &str); 2] = [("ScaleUp", "scaleUp"), ("ScaleDown", "scaleDown")];
const POLICY: [(&str, &str); 3] = [("Type", "type"), ("Value", "value"), ("PeriodSeconds", "periodSeconds")];
const RULE: [(&str, &str); 3] = [
    ("StabilizationWindowSeconds", "stabilizationWindowSeconds"),
    ("SelectPolicy", "selectPolicy"),
    ("Tolerance", "tolerance"),
];

/// The behavior in the words of the server's inner type, which is how it is written into the annotation.
fn behavior_text(behavior: &Value) -> String {
    let or_null = |object: &Value, key: &str| object.get(key).unwrap_or(&Value::Null).to_string();
    text(RULES.map(|(name, key)| {
        let Some(rules) = behavior.get(key).filter(|r| r.is_object()) else { return (name, "null".to_owned()) };
        let policies = rules.get("policies").and_then(Value::as_array).map_or_else(
            || "null".to_owned(),
            |all| array(all.iter().map(|p| text(POLICY.map(|(name, key)| (name, or_null(p, key)))))),
        );
        let [window, select, tolerance] = RULE.map(|(name, key)| (name, or_null(rules, key)));
        (name, text([window, select, ("Policies", policies), tolerance]))
    }))
}

/// Reads it back. Names are taken whatever their case, as JSON is read in Go.
fn behavior_of(text: &Value) -> Option<Value> {
    let get = |object: &Value, name: &str| {
        let fields = object.as_object()?;
        fields.iter().find(|(k, v)| k.eq_ignore_ascii_case(name) && !v.is_null()).map(|(_, v)| v.clone())
    };
    let mut behavior = Map::new();
    for (name, key) in RULES {
        let Some(rules) = get(text, name) else { continue };
        let mut made: Map<String, Value> =
            RULE.iter().filter_map(|(name, key)| Some(((*key).to_owned(), get(&rules, name)?))).collect();
        if let Some(Value::Array(policies)) = get(&rules, "Policies") {
            let policy = |p: &Value| -> Value {
                POLICY.iter().filter_map(|(name, key)| Some(((*key).to_owned(), get(p, name)?))).collect()
            };
            made.insert("policies".to_owned(), policies.iter().map(policy).collect());
        }
        behavior.insert(key.to_owned(), Value::Object(made));
    }
    (!behavior.is_empty()).then_some(Value::Object(behavior))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An autoscaler of a stock 1.36.3 server, in both versions.
    fn stock() -> (Value, Value) {
        let v2 = json!({
            "metadata": {"name": "h"},
            "spec": {
                "scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"},
                "minReplicas": 1, "maxReplicas": 5,
                "metrics": [
                    {"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "100Mi"}}},
                    {"type": "Pods", "pods": {"metric": {"name": "pps", "selector": {"matchLabels": {"a": "b"}}}, "target": {"type": "AverageValue", "averageValue": "1k"}}},
                    {"type": "Object", "object": {"describedObject": {"kind": "Ingress", "name": "m", "apiVersion": "networking.k8s.io/v1"}, "target": {"type": "Value", "value": "10k"}, "metric": {"name": "rps"}}},
                    {"type": "Object", "object": {"describedObject": {"kind": "Ingress", "name": "m", "apiVersion": "networking.k8s.io/v1"}, "target": {"type": "AverageValue", "averageValue": "3"}, "metric": {"name": "rps2"}}},
                    {"type": "External", "external": {"metric": {"name": "q", "selector": {"matchLabels": {"q": "w"}}}, "target": {"type": "AverageValue", "averageValue": "30"}}},
                    {"type": "External", "external": {"metric": {"name": "q2"}, "target": {"type": "Value", "value": "30"}}},
                    {"type": "ContainerResource", "containerResource": {"name": "cpu", "container": "app", "target": {"type": "Utilization", "averageUtilization": 60}}},
                    {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 55}}},
                ],
                "behavior": {
                    "scaleUp": {"stabilizationWindowSeconds": 0, "selectPolicy": "Max", "policies": [{"type": "Pods", "value": 4, "periodSeconds": 15}, {"type": "Percent", "value": 100, "periodSeconds": 15}]},
                    "scaleDown": {"stabilizationWindowSeconds": 60, "selectPolicy": "Max", "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}], "tolerance": "50m"},
                },
            },
            "status": {
                "observedGeneration": 1, "lastScaleTime": "2026-01-01T00:00:00Z", "currentReplicas": 2, "desiredReplicas": 3,
                "currentMetrics": [
                    {"type": "Resource", "resource": {"name": "cpu", "current": {"averageValue": "10m", "averageUtilization": 12}}},
                    {"type": "Pods", "pods": {"metric": {"name": "pps"}, "current": {"averageValue": "7"}}},
                    {"type": "Object", "object": {"metric": {"name": "rps"}, "current": {"value": "5"}, "describedObject": {"kind": "S", "name": "m", "apiVersion": "v1"}}},
                    {"type": "External", "external": {"metric": {"name": "q"}, "current": {"value": "5", "averageValue": "2"}}},
                    {"type": "ContainerResource", "containerResource": {"name": "cpu", "current": {"averageValue": "5", "averageUtilization": 3}, "container": "app"}},
                ],
                "conditions": [{"type": "AbleToScale", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z", "reason": "r", "message": "m"}],
            },
        });
        let v1 = json!({
            "metadata": {"name": "h", "annotations": {
                BEHAVIOR: r#"{"ScaleUp":{"StabilizationWindowSeconds":0,"SelectPolicy":"Max","Policies":[{"Type":"Pods","Value":4,"PeriodSeconds":15},{"Type":"Percent","Value":100,"PeriodSeconds":15}],"Tolerance":null},"ScaleDown":{"StabilizationWindowSeconds":60,"SelectPolicy":"Max","Policies":[{"Type":"Percent","Value":100,"PeriodSeconds":15}],"Tolerance":"50m"}}"#,
                CONDITIONS: r#"[{"type":"AbleToScale","status":"True","lastTransitionTime":"2026-01-01T00:00:00Z","reason":"r","message":"m"}]"#,
                CURRENT_METRICS: r#"[{"type":"Resource","resource":{"name":"cpu","currentAverageUtilization":12,"currentAverageValue":"10m"}},{"type":"Pods","pods":{"metricName":"pps","currentAverageValue":"7"}},{"type":"Object","object":{"target":{"kind":"S","name":"m","apiVersion":"v1"},"metricName":"rps","currentValue":"5"}},{"type":"External","external":{"metricName":"q","currentValue":"5","currentAverageValue":"2"}},{"type":"ContainerResource","containerResource":{"name":"cpu","currentAverageUtilization":3,"currentAverageValue":"5","container":"app"}}]"#,
                METRICS: r#"[{"type":"Resource","resource":{"name":"memory","targetAverageValue":"100Mi"}},{"type":"Pods","pods":{"metricName":"pps","targetAverageValue":"1k","selector":{"matchLabels":{"a":"b"}}}},{"type":"Object","object":{"target":{"kind":"Ingress","name":"m","apiVersion":"networking.k8s.io/v1"},"metricName":"rps","targetValue":"10k"}},{"type":"Object","object":{"target":{"kind":"Ingress","name":"m","apiVersion":"networking.k8s.io/v1"},"metricName":"rps2","targetValue":"0","averageValue":"3"}},{"type":"External","external":{"metricName":"q","metricSelector":{"matchLabels":{"q":"w"}},"targetAverageValue":"30"}},{"type":"External","external":{"metricName":"q2","targetValue":"30"}},{"type":"ContainerResource","containerResource":{"name":"cpu","targetAverageUtilization":60,"container":"app"}}]"#,
            }},
            "spec": {
                "scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"},
                "minReplicas": 1, "maxReplicas": 5, "targetCPUUtilizationPercentage": 55,
            },
            "status": {
                "observedGeneration": 1, "lastScaleTime": "2026-01-01T00:00:00Z", "currentReplicas": 2,
                "desiredReplicas": 3, "currentCPUUtilizationPercentage": 12,
            },
        });
        (v2, v1)
    }

    #[test]
    fn v1_is_what_a_stock_server_makes_of_v2_and_nothing_is_lost_on_the_way_back() {
        let (v2, v1) = stock();
        let mut object = v2.clone();
        to_v1(&mut object);
        assert_eq!(object, v1);
        to_v2(&mut object);
        assert_eq!(object, v2);
    }

    #[test]
    fn a_bare_v1_asks_for_the_default_use_of_processors() {
        let spec = json!({"scaleTargetRef": {"kind": "Deployment", "name": "d"}, "maxReplicas": 5});
        let mut object = json!({"metadata": {"name": "h", "annotations": {METRICS: "no json"}}, "spec": spec});
        to_v2(&mut object);
        assert_eq!(object["metadata"], json!({"name": "h"}));
        assert_eq!(object["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 80);
        assert_eq!(object["status"], json!({"desiredReplicas": 0, "currentMetrics": null}));
        to_v1(&mut object);
        assert_eq!(object["spec"]["targetCPUUtilizationPercentage"], 80);
        assert_eq!(object["status"], json!({"currentReplicas": 0, "desiredReplicas": 0}));
    }
}
