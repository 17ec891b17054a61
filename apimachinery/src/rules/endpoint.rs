//! Endpoints and EndpointSlices.

use serde_json::Value;

use super::edit::{fill, fill_text, items_mut};

pub(super) fn endpoints_default(endpoints: &mut Value) {
    for subset in items_mut(endpoints, "subsets") {
        for port in items_mut(subset, "ports") {
            fill_text(port, "protocol", "TCP");
        }
    }
}

pub(super) fn endpoint_slice_default(slice: &mut Value) {
    for port in items_mut(slice, "ports") {
        fill(port, "name", "");
        fill(port, "protocol", "TCP");
    }
}
