//! Dynamic resource allocation: `resource.k8s.io`.

mod slice;
mod status;

use serde_json::Value;

use super::at::At;
use super::edit::{fill_number, fill_text, items_mut, some_mut};
use super::{WriteContext, check, names, quantities};
use crate::field::Errors;

pub(super) use slice::{slice_prepare_create, slice_prepare_update, slice_validate, slice_validate_update};
pub(super) use status::claim_prepare_update;

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

const SET_MAX: usize = 32;
const DATA_MAX: usize = 10 * 1024;

/// The names of a claim's requests, each with those of its alternatives.
type Requests<'v> = Vec<(&'v str, Vec<&'v str>)>;

fn request_names<'v>(devices: &At<'v, '_>) -> Requests<'v> {
    let requests = devices.field("requests");
    let named = |r: At<'v, '_>| {
        let alternatives = r.field("firstAvailable").items().map(|a| a.field("name").str()).collect();
        (r.field("name").str(), alternatives)
    };
    requests.items().map(named).collect()
}

fn knows(requests: &Requests<'_>, name: &str) -> bool {
    let (first, sub) = name.split_once('/').map_or((name, None), |(first, sub)| (first, Some(sub)));
    // The last request of a name is the one that counts.
    requests
        .iter()
        .rev()
        .find(|(known, _)| *known == first)
        .is_some_and(|(_, subs)| sub.is_none_or(|s| subs.contains(&s)))
}

/// Every item is right and there is only one of each key.
fn set(
    list: &At<'_, '_>,
    max: usize,
    errors: &mut Errors,
    look: &mut dyn FnMut(&At<'_, '_>, &mut Errors),
    key: fn(&At<'_, '_>) -> String,
) {
    if list.len() > max {
        list.too_many(errors, max);
        return;
    }
    for item in list.items() {
        look(&item, errors);
    }
    let mut seen = Vec::new();
    for item in list.items() {
        let key = key(&item);
        if seen.contains(&key) {
            errors.duplicate(&item.path(), &key.as_str().into());
        }
        seen.push(key);
    }
}

fn own_text(item: &At<'_, '_>) -> String {
    item.str().to_owned()
}

fn own_name(item: &At<'_, '_>) -> String {
    item.field("name").str().to_owned()
}

fn claim_spec(spec: &At<'_, '_>, errors: &mut Errors) {
    let devices = spec.field("devices");
    let names = request_names(&devices);
    set(&devices.field("requests"), SET_MAX, errors, &mut |r, e| request(r, e), own_name);
    let constraints = devices.field("constraints");
    if constraints.len() > SET_MAX {
        constraints.too_many(errors, SET_MAX);
    } else {
        for constraint in constraints.items() {
            set(&constraint.field("requests"), SET_MAX, errors, &mut |r, e| request_reference(r, &names, e), own_text);
            let (same, distinct) = (constraint.field("matchAttribute"), constraint.field("distinctAttribute"));
            if same.exists() {
                full_name(&same, errors);
            } else if distinct.exists() {
                full_name(&distinct, errors);
            } else {
                let says = "exactly one of \"matchAttribute\" or \"distinctAttribute\" is required, but multiple fields are set";
                constraint.required(errors, says);
            }
        }
    }
    configurations(&devices.field("config"), SET_MAX, Some(&names), errors);
}

fn configurations(list: &At<'_, '_>, max: usize, requests: Option<&Requests<'_>>, errors: &mut Errors) {
    if list.len() > max {
        list.too_many(errors, max);
        return;
    }
    for config in list.items() {
        if let Some(requests) = requests {
            set(&config.field("requests"), SET_MAX, errors, &mut |r, e| request_reference(r, requests, e), own_text);
        }
        let opaque = config.field("opaque");
        if !opaque.exists() {
            opaque.required(errors, "");
            continue;
        }
        check::csi_driver_name(&opaque.field("driver"), errors);
        json_object(&opaque.field("parameters"), errors);
    }
}

/// Anything that is an object and not too long.
fn json_object(at: &At<'_, '_>, errors: &mut Errors) {
    if !at.exists() {
        at.required(errors, "");
    } else if at.value().to_string().len() > DATA_MAX {
        at.too_long(errors, DATA_MAX);
    } else if at.map().is_none() {
        at.invalid_text(errors, "<value omitted>", "must be a valid JSON object");
    }
}

fn request_reference(at: &At<'_, '_>, requests: &Requests<'_>, errors: &mut Errors) {
    const SAYS: &str =
        "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";
    let name = at.str();
    if name.matches('/').count() > 1 {
        at.invalid_str(errors, SAYS);
        return;
    }
    for part in name.split('/') {
        for detail in names::dns1123_label(part) {
            at.invalid_text(errors, part, &detail);
        }
    }
    if !knows(requests, name) {
        at.invalid_str(errors, SAYS);
    }
}

fn request(request: &At<'_, '_>, errors: &mut Errors) {
    const ALTERNATIVES_MAX: usize = 8;
    let name = request.field("name");
    name.invalid_each(errors, names::dns1123_label(name.str()));
    let (exactly, first) = (request.field("exactly"), request.field("firstAvailable"));
    match (exactly.exists(), !first.is_empty()) {
        (false, false) => request.required(errors, "exactly one of `exactly` or `firstAvailable` is required"),
        (true, true) => {
            let says = "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set";
            request.with_value(&Value::Null).invalid(errors, says);
        }
        (true, false) => device_request(&exactly, errors),
        (false, true) => set(
            &first,
            ALTERNATIVES_MAX,
            errors,
            &mut |one, errors| {
                let name = one.field("name");
                name.invalid_each(errors, names::dns1123_label(name.str()));
                device_request(one, errors);
            },
            own_name,
        ),
    }
}

fn device_request(request: &At<'_, '_>, errors: &mut Errors) {
    request.field("deviceClassName").required_name(errors, names::dns1123_subdomain);
    selectors(&request.field("selectors"), errors);
    let (mode, count) = (request.field("allocationMode"), request.field("count"));
    match mode.str() {
        "All" if count.int() != 0 => count.invalid_int(errors, "must not be specified when allocationMode is 'All'"),
        "All" => {}
        "ExactCount" => count.positive(errors),
        _ => mode.not_supported(errors, &["All", "ExactCount"]),
    }
    for toleration in request.field("tolerations").items() {
        device_toleration(&toleration, errors);
    }
}

/// How devices are chosen; what this says in CEL is not looked at here.
fn selectors(list: &At<'_, '_>, errors: &mut Errors) {
    if list.len() > SET_MAX {
        list.too_many(errors, SET_MAX);
        return;
    }
    for selector in list.items() {
        let cel = selector.field("cel");
        let expression = cel.field("expression");
        if !cel.exists() {
            cel.required(errors, "");
        } else if expression.str().len() > DATA_MAX {
            expression.too_long(errors, DATA_MAX);
        }
    }
}

const EFFECTS: &[&str] = &["NoExecute", "NoSchedule", "None"];

fn device_toleration(toleration: &At<'_, '_>, errors: &mut Errors) {
    let (operator, value) = (toleration.field("operator"), toleration.field("value"));
    if !toleration.field("key").is_empty() {
        check::label_name(&toleration.field("key"), errors);
    }
    match operator.str() {
        "Exists" if !value.is_empty() => value.invalid_str(errors, "must be empty for operator `Exists`"),
        "Exists" => {}
        "Equal" => value.invalid_each(errors, names::label_value(value.str())),
        _ => operator.required_one_of(errors, &["Equal", "Exists"], ""),
    }
    if !toleration.field("effect").is_empty() {
        toleration.field("effect").one_of(errors, EFFECTS);
    }
}

/// A C identifier, which may have a domain before it.
fn attribute_name(at: &At<'_, '_>, name: &str, errors: &mut Errors) {
    const ID_MAX: usize = 32;
    let identifier = |id: &str, errors: &mut Errors| {
        if id.len() > ID_MAX {
            at.too_long(errors, ID_MAX);
        }
        for detail in names::c_identifier(id) {
            at.invalid_text(errors, id, &detail);
        }
    };
    let parts: Vec<&str> = name.split('/').collect();
    match parts[..] {
        [id] => identifier(id, errors),
        [domain, id] => {
            if domain.is_empty() {
                at.invalid_text(errors, "", "the domain must not be empty");
            } else {
                let domain = Value::from(domain);
                check::csi_driver_name(&at.with_value(&domain), errors);
            }
            if id.is_empty() {
                at.invalid_text(errors, "", "the name must not be empty");
            } else {
                identifier(id, errors);
            }
        }
        // So it is at the stock server.
        _ => {}
    }
}

fn full_name(at: &At<'_, '_>, errors: &mut Errors) {
    attribute_name(at, at.str(), errors);
    if !at.str().contains('/') {
        at.invalid_str(errors, "a fully qualified name must be a domain and a name separated by a slash");
    }
}

pub(super) fn class_validate(object: &Value, errors: &mut Errors) {
    let class = At::root(object);
    let spec = class.field("spec");
    selectors(&spec.field("selectors"), errors);
    configurations(&spec.field("config"), SET_MAX, None, errors);
    let name = spec.field("extendedResourceName");
    if name.exists() && !quantities::is_extended(name.str()) {
        name.invalid_str(errors, "must be a valid extended resource name");
    }
}

pub(super) fn claim_validate(object: &Value, errors: &mut Errors) {
    claim_spec(&At::root(object).field("spec"), errors);
}

pub(super) fn claim_validate_update(new: &Value, old: &Value, context: &WriteContext<'_>, errors: &mut Errors) {
    let (claim, was) = (At::root(new), At::root(old));
    if context.part.is("status") {
        status::claim_status(&claim, &was, errors);
    } else {
        claim.field("spec").immutable(errors, was.field("spec").value());
    }
}

pub(super) fn claim_template_validate(object: &Value, errors: &mut Errors) {
    let template = At::root(object);
    let spec = template.field("spec");
    let metadata = spec.field("metadata");
    check::labels(&metadata.field("labels"), errors);
    check::annotations(&metadata.field("annotations"), errors);
    claim_spec(&spec.field("spec"), errors);
}

pub(super) fn claim_template_validate_update(
    new: &Value,
    old: &Value,
    _context: &WriteContext<'_>,
    errors: &mut Errors,
) {
    At::root(new).field("spec").immutable(errors, At::root(old).field("spec").value());
}
