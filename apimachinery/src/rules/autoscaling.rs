//! HorizontalPodAutoscalers, in `autoscaling/v2`.

use serde_json::{Value, json};

use super::edit::{fill, made_mut, set, some_mut};

const CPU_UTILIZATION_PERCENT: i64 = 80;

pub(super) fn autoscaler_default(autoscaler: &mut Value) {
    let Some(spec) = made_mut(autoscaler, "spec") else { return };
    fill(spec, "minReplicas", 1);
    if spec.get("metrics").and_then(Value::as_array).is_none_or(Vec::is_empty) {
        let target = json!({"type": "Utilization", "averageUtilization": CPU_UTILIZATION_PERCENT});
        set(spec, "metrics", json!([{"type": "Resource", "resource": {"name": "cpu", "target": target}}]));
    }
    let Some(behavior) = some_mut(spec, "behavior") else { return };
    let all = json!({"type": "Percent", "value": 100, "periodSeconds": 15});
    if let Some(up) = made_mut(behavior, "scaleUp") {
        fill(up, "stabilizationWindowSeconds", 0);
        fill(up, "selectPolicy", "Max");
        fill(up, "policies", json!([{"type": "Pods", "value": 4, "periodSeconds": 15}, all]));
    }
    if let Some(down) = made_mut(behavior, "scaleDown") {
        fill(down, "selectPolicy", "Max");
        fill(down, "policies", json!([all]));
    }
}
