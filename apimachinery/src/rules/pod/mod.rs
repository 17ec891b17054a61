//! Pods and what stands in their spec; templates of all workloads go through here, too.

mod affinity;
mod annotations;
mod change;
mod container;
mod defaults;
mod env;
mod mount;
mod prepare;
mod probe;
mod projected;
mod resources;
mod security;
mod source;
mod spec;
mod status;
mod volume;
mod warnings;

pub(super) use affinity::{node_selector, taint_effect, tolerations};
pub(super) use change::pod_validate_update;
pub(super) use defaults::{claim_spec_default, pod_default, pod_template_default, volume_source_default};
pub(crate) use prepare::qos_class;
pub(super) use prepare::{drop_disabled, pod_prepare_create, pod_prepare_update};
pub(super) use resources::overhead;
pub(super) use source::{ISCSI_TOO_LONG, shared_source};
pub(super) use spec::{pod_template, pod_template_metadata};
pub(super) use warnings::{name_warning, pod_warnings, template_warnings};

use serde_json::Value;

use super::at::At;
use crate::field::Errors;

/// Calls `visit` for every container, in the order of the stock server: init, regular, ephemeral.
fn visit_containers(spec: &At<'_, '_>, visit: &mut dyn FnMut(&At<'_, '_>)) {
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for container in spec.field(list).items() {
            visit(&container);
        }
    }
}

/// What a new pod may say.
pub(super) fn pod_validate(object: &Value, errors: &mut Errors) {
    let pod = At::root(object);
    spec::pod(&pod, errors);
    let (metadata, spec) = (pod.field("metadata"), pod.field("spec"));
    let ephemeral = spec.field("ephemeralContainers");
    if !ephemeral.is_empty() {
        ephemeral.forbidden(errors, "cannot be set on create");
    }
    if !spec.field("nodeName").is_empty() && !spec.field("schedulingGates").is_empty() {
        spec.field("nodeName").forbidden(errors, "cannot be set until all schedulingGates have been cleared");
    }
    annotations::agree_with_fields(&metadata, &spec, errors);
}
