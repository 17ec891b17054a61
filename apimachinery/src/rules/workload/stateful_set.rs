//! StatefulSets.

use serde_json::Value;

use super::template_default;
use crate::rules::claim::claim_default;
use crate::rules::edit::{fill, fill_text, items_mut, made_mut, set, some_mut};

pub(in crate::rules) fn stateful_set_default(object: &mut Value) {
    let Some(spec) = made_mut(object, "spec") else { return };
    fill_text(spec, "podManagementPolicy", "OrderedReady");
    if let Some(strategy) = made_mut(spec, "updateStrategy") {
        let kind = strategy.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
        if kind.is_empty() {
            set(strategy, "type", "RollingUpdate");
            made_mut(strategy, "rollingUpdate");
        }
        if (kind.is_empty() || kind == "RollingUpdate")
            && let Some(rolling) = some_mut(strategy, "rollingUpdate")
        {
            fill(rolling, "partition", 0);
        }
    }
    if let Some(retention) = made_mut(spec, "persistentVolumeClaimRetentionPolicy") {
        fill_text(retention, "whenDeleted", "Retain");
        fill_text(retention, "whenScaled", "Retain");
    }
    fill(spec, "replicas", 1);
    fill(spec, "revisionHistoryLimit", 10);
    template_default(spec);
    for claim in items_mut(spec, "volumeClaimTemplates") {
        fill_text(claim, "kind", "PersistentVolumeClaim");
        fill_text(claim, "apiVersion", "v1");
        claim_default(claim);
    }
}
