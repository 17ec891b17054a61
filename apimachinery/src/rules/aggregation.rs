//! APIServices.

use serde_json::{Value, json};

use super::admission::service_port;
use super::at::At;
use super::edit::{fill, keep_metadata, set, some_mut};
use super::{WriteContext, names};
use crate::field::{Errors, quote};
use crate::meta;

pub(super) fn api_service_default(service: &mut Value) {
    if let Some(target) = some_mut(service, "spec").and_then(|spec| some_mut(spec, "service")) {
        fill(target, "port", 443);
    }
}

/// What this server serves itself is available from the start.
pub(super) fn api_service_prepare_create(service: &mut Value, context: &WriteContext<'_>) {
    let is_local = meta::at(service, &["spec", "service"]).is_none_or(Value::is_null);
    let status = if is_local {
        json!({"conditions": [{
            "type": "Available",
            "status": "True",
            "lastTransitionTime": context.now,
            "reason": "Local",
            "message": "Local APIServices are always available",
        }]})
    } else {
        json!({})
    };
    set(service, "status", status);
}

pub(super) fn api_service_prepare_update(new: &mut Value, old: &Value, context: &WriteContext<'_>) {
    if context.part.is("status") {
        keep_metadata(new, old);
    }
}

pub(super) fn api_service_validate(object: &Value, errors: &mut Errors) {
    let service = At::root(object);
    let spec = service.field("spec");
    let (group, version) = (spec.field("group"), spec.field("version"));
    let name = format!("{}.{}", version.str(), group.str());
    let metadata = service.field("metadata");
    if names::path_segment(meta::name(object)).is_empty() && meta::name(object) != name {
        let says = format!("must be `spec.version+\".\"+spec.group`: {}", quote(&name));
        metadata.field("name").invalid_str(errors, &says);
    }
    if group.is_empty() && version.str() != "v1" {
        group.required(errors, "only v1 may have an empty group and it better be legacy kube");
    }
    group.optional_name(errors, names::dns1123_subdomain);
    version.invalid_each(errors, names::dns1035_label(version.str()));
    for (field, max) in [("groupPriorityMinimum", 20000), ("versionPriority", 1000)] {
        let at = spec.field(field);
        if !(1..=max).contains(&at.int()) {
            at.invalid_int(errors, &format!("must be positive and less than {max}"));
        }
    }
    let (target, bundle, insecure) =
        (spec.field("service"), spec.field("caBundle"), spec.field("insecureSkipTLSVerify"));
    if !target.exists() {
        if !bundle.is_empty() {
            let padding = bundle.str().bytes().rev().take_while(|b| *b == b'=').count();
            let size = bundle.str().len() / 4 * 3 - padding.min(2);
            bundle.invalid_text(errors, &format!("{size} bytes"), "local APIServices may not have a caBundle");
        }
        if insecure.bool() {
            insecure.invalid(errors, "local APIServices may not have insecureSkipTLSVerify");
        }
        return;
    }
    target.field("namespace").required_text(errors);
    target.field("name").required_text(errors);
    service_port(&target.field("port"), errors);
    if insecure.bool() && !bundle.is_empty() {
        insecure.invalid(errors, "may not be true if caBundle is present");
    }
}

pub(super) fn api_service_validate_update(new: &Value, _old: &Value, context: &WriteContext<'_>, errors: &mut Errors) {
    if !context.part.is("status") {
        return api_service_validate(new, errors);
    }
    let service = At::root(new);
    let status = service.field("status");
    for condition in status.field("conditions").items() {
        condition.field("status").one_of(errors, &["True", "False", "Unknown"]);
    }
}
