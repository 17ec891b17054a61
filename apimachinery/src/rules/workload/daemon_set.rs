//! DaemonSets.

use serde_json::Value;

use super::template_default;
use crate::rules::edit::{fill, fill_text, made_mut};

pub(in crate::rules) fn daemon_set_default(object: &mut Value) {
    let Some(spec) = made_mut(object, "spec") else { return };
    if let Some(strategy) = made_mut(spec, "updateStrategy") {
        fill_text(strategy, "type", "RollingUpdate");
        if strategy.get("type").and_then(Value::as_str) == Some("RollingUpdate")
            && let Some(rolling) = made_mut(strategy, "rollingUpdate")
        {
            fill(rolling, "maxUnavailable", 1);
            fill(rolling, "maxSurge", 0);
        }
    }
    fill(spec, "revisionHistoryLimit", 10);
    template_default(spec);
}
