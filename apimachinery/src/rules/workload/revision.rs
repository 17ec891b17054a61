//! ControllerRevisions: what a workload's template was.

use serde_json::Value;

use crate::field::Errors;
use crate::rules::WriteContext;
use crate::rules::at::At;

pub(in crate::rules) fn revision_validate(object: &Value, errors: &mut Errors) {
    let revision = At::root(object);
    revision.field("revision").non_negative(errors);
    let data = revision.field("data");
    if !data.exists() {
        data.required(errors, "data is mandatory");
    } else if data.map().is_none() {
        data.required(errors, "data must be a valid JSON object");
    }
}

pub(in crate::rules) fn revision_validate_update(new: &Value, old: &Value, _: &WriteContext<'_>, errors: &mut Errors) {
    let (revision, before) = (At::root(new), At::root(old));
    revision.field("revision").non_negative(errors);
    revision.field("data").immutable(errors, before.field("data").value());
}
