//! ResourceSlices: the devices that drivers offer.

use serde_json::Value;

use super::status::{binding_conditions, device_taint, pool_name};
use super::{attribute_name, own_name, set};
use crate::field::Errors;
use crate::meta;
use crate::quantity::Quantity;
use crate::rules::at::{At, semantic_eq};
use crate::rules::edit::{fill, items_mut, remove, some_mut};
use crate::rules::{WriteContext, check, names, pod, quantities};

pub(in crate::rules) fn slice_prepare_create(slice: &mut Value, context: &WriteContext<'_>) {
    drop_disabled(slice, None);
    stamp_taints(slice, context.now);
}

pub(in crate::rules) fn slice_prepare_update(new: &mut Value, old: &Value, context: &WriteContext<'_>) {
    drop_disabled(new, Some(old));
    stamp_taints(new, context.now);
}

const LISTS: &[&str] = &["bools", "ints", "strings", "versions"];

/// DRAListTypeAttributes and DRANodeAllocatableResources: off.
fn drop_disabled(slice: &mut Value, old: Option<&Value>) {
    let devices = |slice: &Value| meta::list_at(slice, &["spec", "devices"]).to_vec();
    let old_devices = old.map(devices).unwrap_or_default();
    let maps = old_devices.iter().any(|d| d.get("nodeAllocatableResourceMappings").is_some());
    let has_list = |attribute: &Value| LISTS.iter().any(|l| attribute.get(l).is_some_and(|v| !v.is_null()));
    let lists = old_devices.iter().any(|device| {
        let attributes = device.get("attributes").and_then(Value::as_object);
        attributes.is_some_and(|attributes| attributes.values().any(has_list))
    });
    let Some(spec) = some_mut(slice, "spec") else { return };
    for device in items_mut(spec, "devices") {
        if !maps {
            remove(device, "nodeAllocatableResourceMappings");
        }
        let attributes = device.get_mut("attributes").and_then(Value::as_object_mut);
        for attribute in attributes.into_iter().flat_map(|a| a.values_mut()).filter(|_| !lists) {
            LISTS.iter().for_each(|list| remove(attribute, list));
        }
    }
}

fn stamp_taints(slice: &mut Value, now: &str) {
    let Some(spec) = some_mut(slice, "spec") else { return };
    for device in items_mut(spec, "devices") {
        for taint in items_mut(device, "taints") {
            fill(taint, "timeAdded", now);
        }
    }
}

pub(in crate::rules) fn slice_validate(object: &Value, errors: &mut Errors) {
    slice_spec(&At::root(object).field("spec"), None, errors);
}

pub(in crate::rules) fn slice_validate_update(
    new: &Value,
    old: &Value,
    _context: &WriteContext<'_>,
    errors: &mut Errors,
) {
    slice_spec(&At::root(new).field("spec"), Some(&At::root(old).field("spec")), errors);
}

/// Where devices are: which of the ways to say so are used.
fn places(at: &At<'_, '_>, empty_name: &str, errors: &mut Errors) -> Vec<&'static str> {
    let mut used = Vec::new();
    let (node, selector) = (at.field("nodeName"), at.field("nodeSelector"));
    if node.exists() && node.is_empty() {
        node.invalid_str(errors, empty_name);
    } else if node.exists() {
        used.push("`nodeName`");
        node.invalid_each(errors, names::dns1123_subdomain(node.str()));
    }
    if selector.exists() {
        used.push("`nodeSelector`");
        pod::node_selector(&selector, errors);
    }
    for (field, shown) in [("allNodes", "`allNodes`"), ("perDeviceNodeSelection", "`perDeviceNodeSelection`")] {
        let flag = at.field(field);
        if flag.bool() {
            used.push(shown);
        } else if flag.exists() {
            flag.invalid(errors, "must be either unset or set to true");
        }
    }
    used
}

fn slice_spec(spec: &At<'_, '_>, old: Option<&At<'_, '_>>, errors: &mut Errors) {
    const DEVICES_MAX: usize = 128;
    const SPECIAL_DEVICES_MAX: usize = 64;
    const COUNTER_SETS_MAX: usize = 8;
    const ONE: &str = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
    let (driver, pool) = (spec.field("driver"), spec.field("pool"));
    check::csi_driver_name(&driver, errors);
    pool_name(&pool.field("name"), errors);
    pool.field("resourceSliceCount").positive(errors);
    if pool.field("generation").int() < 0 {
        pool.field("generation").invalid_int(errors, "must be greater than or equal to zero");
    }
    if let Some(old) = old {
        pool.field("name").immutable(errors, old.field("pool").field("name").value());
        driver.immutable(errors, old.field("driver").value());
        spec.field("nodeName").immutable(errors, old.field("nodeName").value());
    }
    let used = places(spec, "must be either unset or set to a non-empty string", errors);
    let selector = spec.field("nodeSelector");
    let terms = selector.field("nodeSelectorTerms");
    if selector.exists() && terms.len() != 1 {
        terms.invalid(errors, "must have exactly one node selector term");
    }
    match used.len() {
        0 => spec.required(errors, ONE),
        1 => {}
        _ => {
            let says = format!("{ONE}, but multiple fields are set");
            spec.invalid_text(errors, &format!("{{{}}}", used.join(", ")), &says);
        }
    }
    let (devices, counters) = (spec.field("devices"), spec.field("sharedCounters"));
    if devices.exists() && counters.exists() {
        spec.invalid_text(errors, "", "only one of `sharedCounters` or `devices` is allowed");
    }
    let is_special = |d: At<'_, '_>| {
        !d.field("taints").is_empty()
            || !d.field("consumesCounters").is_empty()
            || d.field("attributes").entries().any(|(_, a)| LISTS.iter().any(|l| a.field(l).exists()))
    };
    let max = if devices.items().any(is_special) { SPECIAL_DEVICES_MAX } else { DEVICES_MAX };
    let per_device = spec.field("perDeviceNodeSelection").bool();
    let old_devices = old.map(|o| o.field("devices").value().clone()).unwrap_or_default();
    set(
        &devices,
        max,
        errors,
        &mut |one, errors| {
            let old = old_devices.as_array().into_iter().flatten();
            let before = old.clone().find(|d| d.get("name") == one.value().get("name"));
            device(one, before, per_device, errors);
        },
        own_name,
    );
    set(&counters, COUNTER_SETS_MAX, errors, &mut |one, errors| counter_set(one, "name", errors), own_name);
}

/// A set of counters: those that devices share, or what a device takes of them.
fn counter_set(at: &At<'_, '_>, name: &str, errors: &mut Errors) {
    const MAX: usize = 32;
    at.field(name).required_name(errors, names::dns1123_label);
    let counters = at.field("counters");
    if counters.is_empty() {
        counters.required(errors, "");
    } else if counters.len() > MAX {
        counters.too_many(errors, MAX);
    } else {
        for (key, _) in counters.entries() {
            for detail in names::dns1123_label(key) {
                counters.invalid_text(errors, key, &detail);
            }
        }
    }
}

fn device(device: &At<'_, '_>, old: Option<&Value>, per_device: bool, errors: &mut Errors) {
    const ENTRIES_MAX: usize = 32;
    const VALUES_MAX: usize = 48;
    const TAINTS_MAX: usize = 16;
    const COUNTERS_MAX: usize = 2;
    let name = device.field("name");
    name.invalid_each(errors, names::dns1123_label(name.str()));
    let (attributes, capacity) = (device.field("attributes"), device.field("capacity"));
    let count = attributes.len() + capacity.len();
    if count > ENTRIES_MAX {
        let says = format!("the total number of attributes and capacities must not exceed {ENTRIES_MAX}");
        device.with_value(&count.into()).invalid(errors, &says);
    }
    let values: usize =
        attributes.entries().map(|(_, a)| LISTS.iter().map(|list| a.field(list).len()).sum::<usize>().max(1)).sum();
    if values > VALUES_MAX {
        let says = format!("the total number of attribute values must not exceed {VALUES_MAX}");
        device.with_value(&values.into()).invalid(errors, &says);
    }
    for (key, attribute) in attributes.entries() {
        attribute_name(&attributes, key, errors);
        attribute_value(&attribute, errors);
    }
    let shared = device.field("allowMultipleAllocations").bool();
    for (key, amount) in capacity.entries() {
        attribute_name(&capacity, key, errors);
        let policy = amount.field("requestPolicy");
        if policy.exists() && shared {
            request_policy(&policy, &amount.field("value"), errors);
        } else if policy.exists() {
            policy.forbidden(errors, "allowMultipleAllocations must be true");
        }
    }
    let taints = device.field("taints");
    let same = old.is_some_and(|o| semantic_eq(o.get("taints").unwrap_or(&Value::Null), taints.value()));
    if !same && taints.len() > TAINTS_MAX {
        taints.too_many(errors, TAINTS_MAX);
    } else if !same {
        for taint in taints.items() {
            device_taint(&taint, errors);
        }
    }
    let consumed = device.field("consumesCounters");
    let look = &mut |one: &At<'_, '_>, errors: &mut Errors| counter_set(one, "counterSet", errors);
    set(&consumed, COUNTERS_MAX, errors, look, |one| one.field("counterSet").str().to_owned());
    device_place(device, per_device, errors);
    binding_conditions(device, errors);
}

fn device_place(device: &At<'_, '_>, per_device: bool, errors: &mut Errors) {
    if per_device {
        let used = places(device, "must not be empty", errors);
        let says = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
        match used.len() {
            0 => device.required(errors, says),
            1 => {}
            _ => device.invalid_text(errors, &format!("{{{}}}", used.join(", ")), says),
        }
    } else if ["nodeName", "nodeSelector", "allNodes"].iter().any(|f| device.field(f).exists()) {
        let says = "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
        device.with_value(&Value::Null).invalid(errors, says);
    }
}

fn attribute_value(attribute: &At<'_, '_>, errors: &mut Errors) {
    const VALUE_MAX: usize = 64;
    let look = |kind: &str, at: &At<'_, '_>, errors: &mut Errors| {
        if kind.starts_with("version") && !is_semver(at.str()) {
            at.invalid_str(errors, "must be a string compatible with semver.org spec 2.0.0");
        }
        if at.str().len() > VALUE_MAX {
            at.too_long(errors, VALUE_MAX);
        }
    };
    let mut used = 0;
    for kind in ["bool", "int", "string", "version"] {
        let at = attribute.field(kind);
        used += usize::from(at.exists());
        if at.exists() {
            look(kind, &at, errors);
        }
    }
    for kind in LISTS {
        let at = attribute.field(kind);
        used += usize::from(at.exists());
        if at.exists() && at.is_empty() {
            at.invalid(errors, "must not be empty if specified");
        }
        for item in at.items() {
            look(kind, &item, errors);
        }
    }
    match used {
        0 => attribute.invalid_text(errors, "", "exactly one value must be specified"),
        1 => {}
        _ => attribute.invalid(errors, "exactly one value must be specified"),
    }
}

fn is_semver(text: &str) -> bool {
    let is_number =
        |s: &str| s == "0" || (!s.is_empty() && !s.starts_with('0') && s.bytes().all(|b| b.is_ascii_digit()));
    let is_word = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let (rest, build) = text.split_once('+').map_or((text, None), |(rest, build)| (rest, Some(build)));
    let (core, pre) = rest.split_once('-').map_or((rest, None), |(core, pre)| (core, Some(pre)));
    let is_pre = |s: &str| is_word(s) && (!s.bytes().all(|b| b.is_ascii_digit()) || is_number(s));
    core.split('.').count() == 3
        && core.split('.').all(is_number)
        && pre.is_none_or(|p| p.split('.').all(is_pre))
        && build.is_none_or(|b| b.split('.').all(is_word))
}

fn request_policy(policy: &At<'_, '_>, most: &At<'_, '_>, errors: &mut Errors) {
    const OPTIONS_MAX: usize = 10;
    let (values, range, default) = (policy.field("validValues"), policy.field("validRange"), policy.field("default"));
    if !values.is_empty() && range.exists() {
        let says =
            "exactly one policy can be specified, cannot specify \"validValues\" and \"validRange\" at the same time";
        policy.forbidden(errors, says);
        return;
    }
    let read = |at: &At<'_, '_>| quantities::quantity(at.value()).unwrap_or(Quantity::ZERO);
    let (most, asked) = (read(most), read(&default));
    if !values.is_empty() {
        if !default.exists() {
            default.required(errors, "required when validValues is defined");
            return;
        }
        let options: Vec<Quantity> = values.items().map(|v| read(&v)).collect();
        for (i, pair) in options.windows(2).enumerate() {
            if pair[0] > pair[1] {
                let shown = pair[1].canonical();
                values.item(i + 1).invalid_text(errors, &shown, "values must be sorted in ascending order");
            }
        }
        let look = &mut |one: &At<'_, '_>, errors: &mut Errors| {
            if read(one) > most {
                let says = format!("option is larger than capacity value: {}", most.canonical());
                one.invalid_text(errors, &read(one).canonical(), &says);
            }
        };
        set(&values, OPTIONS_MAX, errors, look, |one| {
            quantities::quantity(one.value()).unwrap_or(Quantity::ZERO).value().to_string()
        });
        if values.len() > OPTIONS_MAX || !options.contains(&asked) {
            values.invalid_text(
                errors,
                &asked.canonical(),
                "default value is not valid according to the requestPolicy",
            );
        }
    } else if range.exists() && !default.exists() {
        default.required(errors, "required when validRange is defined");
    } else if range.exists() {
        request_range(&range, &most, &asked, errors);
    }
}

fn request_range(range: &At<'_, '_>, most: &Quantity, asked: &Quantity, errors: &mut Errors) {
    let (min, max, step) = (range.field("min"), range.field("max"), range.field("step"));
    let Some(low) = quantities::quantity(min.value()) else {
        min.required(errors, "required when validRange is defined");
        return;
    };
    let mut above = |at: &At<'_, '_>, wrong: bool, shown: &Quantity, says: &str, bound: &Quantity| {
        if wrong {
            at.invalid_text(errors, &shown.canonical(), &format!("{says}: {}", bound.canonical()));
        }
    };
    above(&min, low > *most, &low, "min is larger than capacity value", most);
    above(&min, *asked < low, asked, "default is less than min", &low);
    let high = quantities::quantity(max.value());
    if let Some(high) = &high {
        above(&max, low > *high, &low, "min is larger than max", high);
        above(&max, *high > *most, high, "max is larger than capacity value", most);
        above(&max, *asked > *high, asked, "default is more than max", high);
    }
    let Some(width) = quantities::quantity(step.value()) else { return };
    let first = low.add(&width);
    if first > *most {
        let says = format!("one step {} is larger than capacity value: {}", first.canonical(), most.canonical());
        step.invalid_text(errors, &width.canonical(), &says);
    }
    for value in [Some(asked), high.as_ref()].into_iter().flatten() {
        let off = value.value() - low.value();
        if width.value() != 0 && off % width.value() != 0 {
            let says =
                format!("value is not a multiple of a given step ({}) from ({})", width.canonical(), low.canonical());
            step.invalid_text(errors, &value.canonical(), &says);
        }
    }
}
