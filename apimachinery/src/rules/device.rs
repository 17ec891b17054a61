//! Dynamic resource allocation: `resource.k8s.io`.

use serde_json::Value;

use super::edit::{fill_number, fill_text, items_mut, some_mut};

pub(super) fn claim_default(claim: &mut Value) {
    if let Some(spec) = some_mut(claim, "spec") {
        claim_spec_default(spec);
    }
}

pub(super) fn claim_template_default(template: &mut Value) {
    if let Some(spec) = some_mut(template, "spec").and_then(|t| some_mut(t, "spec")) {
        claim_spec_default(spec);
    }
}

fn claim_spec_default(spec: &mut Value) {
    let Some(devices) = some_mut(spec, "devices") else { return };
    for request in items_mut(devices, "requests") {
        if let Some(exactly) = some_mut(request, "exactly") {
            device_request_default(exactly);
        }
        for alternative in items_mut(request, "firstAvailable") {
            device_request_default(alternative);
        }
    }
}

fn device_request_default(request: &mut Value) {
    fill_text(request, "allocationMode", "ExactCount");
    if request.get("allocationMode").and_then(Value::as_str) == Some("ExactCount") {
        fill_number(request, "count", 1);
    }
    for toleration in items_mut(request, "tolerations") {
        fill_text(toleration, "operator", "Equal");
    }
}
