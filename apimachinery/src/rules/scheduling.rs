//! PriorityClasses.

use serde_json::Value;

use super::edit::fill;

pub(super) fn priority_class_default(class: &mut Value) {
    fill(class, "preemptionPolicy", "PreemptLowerPriority");
}
