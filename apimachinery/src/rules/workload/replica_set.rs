//! ReplicaSets and ReplicationControllers.

use serde_json::Value;

use super::{fill_labels, is_empty_map, template_default, template_labels};
use crate::rules::edit::{fill, made_mut, set, some_mut};

pub(in crate::rules) fn replica_set_default(object: &mut Value) {
    if let Some(spec) = made_mut(object, "spec") {
        fill(spec, "replicas", 1);
        template_default(spec);
    }
}

pub(in crate::rules) fn replication_controller_default(object: &mut Value) {
    let Some(spec) = made_mut(object, "spec") else { return };
    fill(spec, "replicas", 1);
    if some_mut(spec, "template").is_none() {
        return;
    }
    template_default(spec);
    if let Some(labels) = template_labels(spec) {
        if is_empty_map(spec.get("selector")) {
            set(spec, "selector", labels.clone());
        }
        fill_labels(object, &labels);
    }
}
