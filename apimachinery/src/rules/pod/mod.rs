//! Pods and what stands in their spec; templates of all workloads go through here, too.

mod defaults;
mod resources;

pub(super) use defaults::{claim_spec_default, pod_default, pod_template_default, volume_source_default};
