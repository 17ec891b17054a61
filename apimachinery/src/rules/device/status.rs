//! Which devices a claim got, and what drivers tell of them.

use serde_json::{Value, json};

use super::{EFFECTS, Requests, SET_MAX, configurations, json_object, request_names, request_reference, set};
use crate::field::Errors;
use crate::meta;
use crate::rules::at::{At, semantic_eq};
use crate::rules::edit::{keep_metadata, remove, set as put};
use crate::rules::ip::{self, Cidr};
use crate::rules::{WriteContext, check, names, pod};

/// What makes a device that can be shared one of its own.
fn device_id(device: &Value) -> [Value; 4] {
    ["driver", "pool", "device", "shareID"].map(|field| device.get(field).cloned().unwrap_or_default())
}

/// What drivers told of devices that the claim no longer has goes with them.
pub(in crate::rules) fn claim_prepare_update(new: &mut Value, old: &Value, context: &WriteContext<'_>) {
    if !context.part.is("status") {
        return;
    }
    keep_metadata(new, old);
    let ids = |claim: &Value| -> Vec<[Value; 4]> {
        meta::list_at(claim, &["status", "allocation", "devices", "results"]).iter().map(device_id).collect()
    };
    let (now, before) = (ids(new), ids(old));
    let gone = |device: &Value| before.contains(&device_id(device)) && !now.contains(&device_id(device));
    let devices: Vec<Value> = meta::list_at(new, &["status", "devices"]).iter().filter(|d| !gone(d)).cloned().collect();
    let Some(status) = new.get_mut("status").filter(|s| s.is_object()) else { return };
    if devices.is_empty() {
        remove(status, "devices");
    } else {
        put(status, "devices", devices);
    }
}

pub(super) fn claim_status(claim: &At<'_, '_>, was: &At<'_, '_>, errors: &mut Errors) {
    const RESERVED_MAX: usize = 256;
    let (status, old_status) = (claim.field("status"), was.field("status"));
    let reserved = status.field("reservedFor");
    set(
        &reserved,
        RESERVED_MAX,
        errors,
        &mut |consumer, errors| {
            for field in ["resource", "name", "uid"] {
                consumer.field(field).required_text(errors);
            }
        },
        |consumer| consumer.field("uid").str().to_owned(),
    );
    let allocation = status.field("allocation");
    let granted = allocation.field("devices");
    let granted: Vec<[Value; 4]> = granted.field("results").items().map(|r| device_id(r.value())).collect();
    let devices = status.field("devices");
    let mut seen = Vec::new();
    for device in devices.items() {
        device_status(&device, &granted, errors);
    }
    for device in devices.items() {
        let id = device_id(device.value());
        if seen.contains(&id) {
            errors.duplicate(&device.path(), &shown_id(device.value()));
        }
        seen.push(id);
    }
    let (old_reserved, old_allocation) = (old_status.field("reservedFor"), old_status.field("allocation"));
    if !reserved.is_empty() {
        let is_new = |consumer: At<'_, '_>| !old_reserved.items().any(|o| semantic_eq(o.value(), consumer.value()));
        if !allocation.exists() {
            reserved.forbidden(errors, "may not be specified when `allocated` is not set");
        } else if claim.field("metadata").field("deletionTimestamp").exists() && reserved.items().any(is_new) {
            let says = "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set";
            reserved.forbidden(errors, says);
        }
    }
    if allocation.exists() && old_allocation.exists() {
        allocation.immutable(errors, old_allocation.value());
    } else if allocation.exists() {
        let spec = claim.field("spec");
        new_allocation(&allocation, &request_names(&spec.field("devices")), errors);
    }
}

fn shown_id(device: &Value) -> Value {
    let [driver, pool, name, share] = device_id(device);
    json!({"Driver": driver, "Pool": pool, "Device": name, "ShareID": share})
}

fn new_allocation(allocation: &At<'_, '_>, requests: &Requests<'_>, errors: &mut Errors) {
    let devices = allocation.field("devices");
    let results = devices.field("results");
    if results.len() > SET_MAX {
        results.too_many(errors, SET_MAX);
    } else {
        for result in results.items() {
            request_reference(&result.field("request"), requests, errors);
            place(&result, errors);
            binding_conditions(&result, errors);
        }
    }
    let config = devices.field("config");
    if config.len() <= 2 * SET_MAX {
        for one in config.items() {
            one.field("source").required_one_of(errors, &["FromClaim", "FromClass"], "");
        }
    }
    configurations(&config, 2 * SET_MAX, Some(requests), errors);
    let selector = allocation.field("nodeSelector");
    if selector.exists() {
        pod::node_selector(&selector, errors);
    }
}

/// Driver, pool and name of a device.
fn place(device: &At<'_, '_>, errors: &mut Errors) {
    check::csi_driver_name(&device.field("driver"), errors);
    pool_name(&device.field("pool"), errors);
    let (name, share) = (device.field("device"), device.field("shareID"));
    name.invalid_each(errors, names::dns1123_label(name.str()));
    if share.exists() && !is_uuid(share.str()) {
        let length = share.str().len();
        let says = match length {
            36 if is_uuid(&share.str().to_lowercase()) => "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase hexadecimal characters".to_owned(),
            36 => "error validating uid: invalid UUID format".to_owned(),
            _ => format!("error validating uid: invalid UUID length: {length}"),
        };
        share.invalid_str(errors, &says);
    }
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(i, b)| match i {
            8 | 13 | 18 | 23 => b == b'-',
            _ => b.is_ascii_digit() || (b'a'..=b'f').contains(&b),
        })
}

/// Subdomains between slashes.
pub(super) fn pool_name(at: &At<'_, '_>, errors: &mut Errors) {
    if at.str().is_empty() {
        at.required(errors, "");
        return;
    }
    if at.str().len() > names::SUBDOMAIN_MAX {
        at.too_long(errors, names::SUBDOMAIN_MAX);
    }
    for part in at.str().split('/') {
        for detail in names::dns1123_subdomain(part) {
            at.invalid_text(errors, part, &detail);
        }
    }
}

/// Conditions that let a pod go on, and those that send it elsewhere.
pub(super) fn binding_conditions(device: &At<'_, '_>, errors: &mut Errors) {
    const MAX: usize = 4;
    let (good, bad) = (device.field("bindingConditions"), device.field("bindingFailureConditions"));
    for list in [good, bad] {
        if list.len() > MAX {
            list.too_many(errors, MAX);
            continue;
        }
        for condition in list.items() {
            check::label_name(&condition, errors);
        }
    }
    for list in [good, bad] {
        let mut seen = Vec::new();
        for condition in list.items() {
            if seen.contains(&condition.str()) {
                condition.duplicate(errors);
            }
            seen.push(condition.str());
        }
    }
    for condition in bad.items() {
        if good.items().any(|g| g.str() == condition.str()) {
            condition.invalid_str(errors, "bindingFailureConditions must not overlap with bindingConditions");
        }
    }
    if good.is_empty() && !bad.is_empty() {
        good.invalid(errors, "bindingConditions are required to use bindingFailureConditions");
    }
    if bad.is_empty() && !good.is_empty() {
        bad.invalid(errors, "bindingFailureConditions are required to use bindingConditions");
    }
}

fn device_status(device: &At<'_, '_>, granted: &[[Value; 4]], errors: &mut Errors) {
    const CONDITIONS_MAX: usize = 8;
    const INTERFACE_MAX: usize = 256;
    const HARDWARE_MAX: usize = 128;
    const ADDRESSES_MAX: usize = 16;
    place(device, errors);
    if !granted.contains(&device_id(device.value())) {
        let id = shown_id(device.value());
        device.with_value(&id).invalid(errors, "must be an allocated device in the claim");
    }
    let conditions = device.field("conditions");
    if conditions.len() > CONDITIONS_MAX {
        conditions.too_many(errors, CONDITIONS_MAX);
    }
    check::conditions(&conditions, errors);
    let (data, network) = (device.field("data"), device.field("networkData"));
    if data.exists() {
        json_object(&data, errors);
    }
    for (field, max) in [("interfaceName", INTERFACE_MAX), ("hardwareAddress", HARDWARE_MAX)] {
        let at = network.field(field);
        if at.str().len() > max {
            at.too_long(errors, max);
        }
    }
    set(
        &network.field("ips"),
        ADDRESSES_MAX,
        errors,
        &mut |address, errors| interface_address(address, errors),
        |address| address.str().to_owned(),
    );
}

/// An address with the length of its network.
fn interface_address(at: &At<'_, '_>, errors: &mut Errors) {
    let Some(parsed) = Cidr::parse(at.str()) else {
        let says = "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)";
        at.invalid_str(errors, says);
        return;
    };
    let canonical = format!("{}/{}", parsed.address, parsed.prefix);
    let address = at.str().split('/').next().unwrap_or_default();
    let sloppy = !ip::address(address).is_empty();
    if sloppy || canonical != at.str() {
        let canonical = crate::field::quote(&canonical);
        at.invalid_str(errors, &format!("must be in canonical form ({canonical})"));
    }
}

/// A taint of a device.
pub(super) fn device_taint(taint: &At<'_, '_>, errors: &mut Errors) {
    check::label_name(&taint.field("key"), errors);
    taint.field("value").optional_name(errors, names::label_value);
    taint.field("effect").required_one_of(errors, EFFECTS, "");
}
