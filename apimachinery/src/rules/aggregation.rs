//! APIServices.

use serde_json::Value;

use super::edit::{fill, some_mut};

pub(super) fn api_service_default(service: &mut Value) {
    if let Some(target) = some_mut(service, "spec").and_then(|spec| some_mut(spec, "service")) {
        fill(target, "port", 443);
    }
}
