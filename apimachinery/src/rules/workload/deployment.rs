//! Deployments.

use serde_json::Value;

use super::template_default;
use crate::rules::edit::{fill, fill_text, made_mut};

pub(in crate::rules) fn deployment_default(deployment: &mut Value) {
    let Some(spec) = made_mut(deployment, "spec") else { return };
    fill(spec, "replicas", 1);
    if let Some(strategy) = made_mut(spec, "strategy") {
        fill_text(strategy, "type", "RollingUpdate");
        if strategy.get("type").and_then(Value::as_str) == Some("RollingUpdate")
            && let Some(rolling) = made_mut(strategy, "rollingUpdate")
        {
            fill(rolling, "maxUnavailable", "25%");
            fill(rolling, "maxSurge", "25%");
        }
    }
    fill(spec, "revisionHistoryLimit", 10);
    fill(spec, "progressDeadlineSeconds", 600);
    template_default(spec);
}
