//! Resources of containers and of whole pods.

use serde_json::Value;

/// Fills in what a pod asks for as a whole from its containers and its limits.
pub(super) fn pod_level_default(_spec: &mut Value) {}
