//! Conversion between versions of built-in kinds: events of `v1` and `events.k8s.io/v1`, autoscalers of
//! `autoscaling/v1` and `v2`. Everything else that is built in has one version.

mod autoscaler;

use apimachinery::gvk::GroupVersionKind;
use apimachinery::status::ApiError;
use serde_json::{Value, json};

/// Converts an object of kind `from` to kind `to`.
///
/// # Errors
/// 501 if there is no conversion between them.
pub(crate) fn convert(mut object: Value, from: &GroupVersionKind, to: &GroupVersionKind) -> Result<Value, ApiError> {
    if from == to {
        return Ok(object);
    }
    match (from.group.as_str(), to.group.as_str(), from.kind.as_str()) {
        ("", "events.k8s.io", "Event") => event_to_new(&mut object),
        ("events.k8s.io", "", "Event") => event_to_core(&mut object),
        ("autoscaling", "autoscaling", "HorizontalPodAutoscaler") if to.version == "v1" => {
            autoscaler::to_v1(&mut object)
        }
        ("autoscaling", "autoscaling", "HorizontalPodAutoscaler") if to.version == "v2" => {
            autoscaler::to_v2(&mut object)
        }
        _ => {
            return Err(ApiError::not_implemented(format!(
                "conversion of {} from {} to {} is not supported",
                from.kind,
                from.api_version(),
                to.api_version()
            )));
        }
    }
    object["apiVersion"] = json!(to.api_version());
    object["kind"] = json!(to.kind);
    Ok(object)
}

/// Fields that have one name in `v1` and another in `events.k8s.io/v1`.
const EVENT_FIELDS: [(&str, &str); 7] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
];

fn rename(object: &mut Value, from: &str, to: &str) {
    if let Some(fields) = object.as_object_mut()
        && let Some(value) = fields.remove(from)
    {
        fields.insert(to.to_owned(), value);
    }
}

fn event_to_new(event: &mut Value) {
    for (core, new) in EVENT_FIELDS {
        rename(event, core, new);
    }
}

fn event_to_core(event: &mut Value) {
    for (core, new) in EVENT_FIELDS {
        rename(event, new, core);
    }
}
