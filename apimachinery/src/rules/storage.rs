//! StorageClasses, VolumeAttributesClasses, VolumeAttachments and what CSI drivers tell of themselves.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::at::At;
use super::edit::{fill, keep_metadata, made_mut, remove, set, some_mut};
use super::{WriteContext, check, names, pod, quantities, volume};
use crate::field::Errors;
use crate::meta;

pub(super) fn storage_class_default(class: &mut Value) {
    fill(class, "reclaimPolicy", "Delete");
    fill(class, "volumeBindingMode", "Immediate");
}

pub(super) fn csi_driver_default(driver: &mut Value) {
    let Some(spec) = made_mut(driver, "spec") else { return };
    fill(spec, "attachRequired", true);
    fill(spec, "podInfoOnMount", false);
    fill(spec, "storageCapacity", false);
    fill(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
    if spec.get("volumeLifecycleModes").and_then(Value::as_array).is_none_or(Vec::is_empty) {
        set(spec, "volumeLifecycleModes", json!(["Persistent"]));
    }
    fill(spec, "requiresRepublish", false);
    fill(spec, "seLinuxMount", false);
}

pub(super) fn volume_attachment_default(attachment: &mut Value) {
    let inline = some_mut(attachment, "spec")
        .and_then(|spec| some_mut(spec, "source"))
        .and_then(|source| some_mut(source, "inlineVolumeSpec"));
    if let Some(inline) = inline {
        pod::volume_source_default(inline);
    }
}

pub(super) fn storage_class_validate(object: &Value, errors: &mut Errors) {
    let class = At::root(object);
    provisioner(&class.field("provisioner"), errors);
    parameters(&class.field("parameters"), true, errors);
    let (policy, mode) = (class.field("reclaimPolicy"), class.field("volumeBindingMode"));
    if !policy.is_empty() {
        policy.one_of(errors, &["Delete", "Retain"]);
    }
    if mode.exists() {
        mode.one_of(errors, &["Immediate", "WaitForFirstConsumer"]);
    } else {
        mode.required(errors, "");
    }
    topologies(&class.field("allowedTopologies"), errors);
}

fn provisioner(at: &At<'_, '_>, errors: &mut Errors) {
    if at.str().is_empty() {
        at.required(errors, "");
        return;
    }
    let name = at.str().to_lowercase();
    for detail in names::qualified_name(&name) {
        at.invalid_text(errors, &name, &detail);
    }
}

fn parameters(at: &At<'_, '_>, may_be_empty: bool, errors: &mut Errors) {
    const MAX: usize = 512;
    const BYTES_MAX: usize = 256 * 1024;
    if at.len() > MAX {
        at.too_long(errors, MAX);
        return;
    }
    let mut size = 0;
    for (key, value) in at.entries() {
        if key.is_empty() {
            at.invalid_text(errors, "", "field can not be empty.");
        }
        size += key.len() + value.str().len();
    }
    if size > BYTES_MAX {
        at.too_long(errors, BYTES_MAX);
    }
    if !may_be_empty && at.is_empty() {
        at.required(errors, "must contain at least one key/value pair");
    }
}

fn topologies(at: &At<'_, '_>, errors: &mut Errors) {
    let mut seen: Vec<BTreeMap<&str, BTreeSet<&str>>> = Vec::new();
    for term in at.items() {
        let expressions = term.field("matchLabelExpressions");
        let mut places = BTreeMap::new();
        for expression in expressions.items() {
            let (key, values) = (expression.field("key"), expression.field("values"));
            if values.is_empty() {
                values.required(errors, "");
            }
            let mut set = BTreeSet::new();
            for value in values.items() {
                if !set.insert(value.str()) {
                    value.duplicate(errors);
                }
            }
            check::label_name(&key, errors);
            if places.insert(key.str(), set).is_some() {
                key.duplicate(errors);
            }
        }
        if seen.contains(&places) {
            errors.duplicate(&expressions.path(), &"".into());
        }
        seen.push(places);
    }
}

/// Volumes were made as the class said: that may not change.
pub(super) fn storage_class_validate_update(
    new: &Value,
    old: &Value,
    _context: &WriteContext<'_>,
    errors: &mut Errors,
) {
    storage_class_validate(new, errors);
    for field in ["parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"] {
        At::root(new).field(field).immutable(errors, At::root(old).field(field).value());
    }
}

pub(super) fn storage_class_warnings(new: &Value, _old: Option<&Value>) -> Vec<String> {
    let class = At::root(new);
    let mut warnings = Vec::new();
    for term in class.field("allowedTopologies").items() {
        for expression in term.field("matchLabelExpressions").items() {
            let key = expression.field("key");
            warnings.extend(check::deprecated_node_label(key.str()).map(|says| format!("{}: {says}", key.path())));
        }
    }
    warnings
}

pub(super) fn volume_attributes_class_validate(object: &Value, errors: &mut Errors) {
    let class = At::root(object);
    provisioner(&class.field("driverName"), errors);
    parameters(&class.field("parameters"), false, errors);
}

pub(super) fn volume_attributes_class_validate_update(
    new: &Value,
    old: &Value,
    _context: &WriteContext<'_>,
    errors: &mut Errors,
) {
    let (class, was) = (At::root(new), At::root(old));
    for field in ["driverName", "parameters"] {
        if class.field(field).value() != was.field(field).value() {
            class.field(field).forbidden(errors, &format!("updates to {field} are forbidden."));
        }
    }
    volume_attributes_class_validate(new, errors);
}

pub(super) fn volume_attachment_validate(object: &Value, errors: &mut Errors) {
    let attachment = At::root(object);
    let (spec, status) = (attachment.field("spec"), attachment.field("status"));
    check::csi_driver_name(&spec.field("attacher"), errors);
    let source = spec.field("source");
    let (inline, volume) = (source.field("inlineVolumeSpec"), source.field("persistentVolumeName"));
    const ONE: &str = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
    match (inline.exists(), volume.exists()) {
        (false, false) => source.required(errors, ONE),
        (true, true) => source.forbidden(errors, ONE),
        (false, true) if volume.is_empty() => volume.required(errors, "must specify non empty persistentVolumeName"),
        (false, true) => {}
        (true, false) => volume::volume_spec(&inline, "", true, errors),
    }
    let node = spec.field("nodeName");
    node.invalid_each(errors, names::dns1123_subdomain(node.str()));
    attachment_status(&status, errors);
    if volume.exists() {
        volume.invalid_each(errors, names::dns1123_subdomain(volume.str()));
    }
}

fn attachment_status(status: &At<'_, '_>, errors: &mut Errors) {
    const METADATA_MAX: usize = 256 * 1024;
    const MESSAGE_MAX: usize = 1024;
    let metadata = status.field("attachmentMetadata");
    let size: usize = metadata.entries().map(|(key, value)| key.len() + value.str().len()).sum();
    if size > METADATA_MAX {
        metadata.too_long(errors, METADATA_MAX);
    }
    for failure in ["attachError", "detachError"] {
        let failure = status.field(failure);
        if failure.field("message").str().len() > MESSAGE_MAX {
            // The stock server names the other limit here.
            failure.field("message").too_long(errors, METADATA_MAX);
        }
        if failure.field("errorCode").int() < 0 {
            let says = names::between(0, i64::from(i32::MAX));
            failure.field("errorCode").invalid_int(errors, &says);
        }
    }
}

pub(super) fn volume_attachment_prepare_update(new: &mut Value, old: &Value, context: &WriteContext<'_>) {
    if context.part.is("status") {
        keep_metadata(new, old);
    }
}

pub(super) fn volume_attachment_validate_update(
    new: &Value,
    old: &Value,
    _context: &WriteContext<'_>,
    errors: &mut Errors,
) {
    volume_attachment_validate(new, errors);
    At::root(new).field("spec").immutable(errors, At::root(old).field("spec").value());
}

pub(super) fn csi_driver_validate(object: &Value, errors: &mut Errors) {
    const SECONDS_MIN: i64 = 600;
    const SECONDS_MAX: i64 = 1 << 32;
    let driver = At::root(object);
    let spec = driver.field("spec");
    let policy = spec.field("fsGroupPolicy");
    if policy.exists() {
        policy.one_of(errors, &["File", "None", "ReadWriteOnceWithFSType"]);
    }
    let requests = spec.field("tokenRequests");
    let mut audiences = Vec::new();
    for request in requests.items() {
        let (audience, seconds) = (request.field("audience"), request.field("expirationSeconds"));
        if audiences.contains(&audience.str()) {
            errors.duplicate(&audience.path(), &audience.str().into());
            continue;
        }
        audiences.push(audience.str());
        if seconds.exists() && seconds.int() < SECONDS_MIN {
            seconds.invalid_int(errors, "may not specify a duration less than 10 minutes");
        }
        if seconds.int() > SECONDS_MAX {
            seconds.invalid_int(errors, "may not specify a duration larger than 2^32 seconds");
        }
    }
    let modes = spec.field("volumeLifecycleModes");
    for mode in modes.items().filter(|m| !matches!(m.str(), "Persistent" | "Ephemeral")) {
        errors.not_supported(&modes.path(), mode.value(), &["Persistent", "Ephemeral"]);
    }
    let period = spec.field("nodeAllocatableUpdatePeriodSeconds");
    if period.exists() && period.int() < 10 {
        period.invalid_int(errors, "must be greater than or equal to 10 seconds");
    }
    let in_secrets = spec.field("serviceAccountTokenInSecrets");
    if in_secrets.exists() && requests.is_empty() {
        let says = "serviceAccountTokenInSecrets is set but no tokenRequests are specified";
        in_secrets.invalid(errors, says);
    }
}

/// VolumeLimitScaling: off.
pub(super) fn csi_driver_prepare_create(driver: &mut Value, _context: &WriteContext<'_>) {
    if let Some(spec) = some_mut(driver, "spec") {
        remove(spec, "preventPodSchedulingIfMissing");
    }
}

/// A driver has no generation until its `spec` changes.
pub(super) fn csi_driver_prepare_update(new: &mut Value, old: &Value, _context: &WriteContext<'_>) {
    if meta::at(old, &["spec", "preventPodSchedulingIfMissing"]).is_none_or(Value::is_null)
        && let Some(spec) = some_mut(new, "spec")
    {
        remove(spec, "preventPodSchedulingIfMissing");
    }
    if new.get("spec") != old.get("spec") {
        let generation = meta::at(old, &["metadata", "generation"]).and_then(Value::as_i64).unwrap_or(0);
        if let Some(metadata) = some_mut(new, "metadata") {
            set(metadata, "generation", generation + 1);
        }
    }
}

pub(super) fn csi_driver_validate_update(new: &Value, old: &Value, _context: &WriteContext<'_>, errors: &mut Errors) {
    csi_driver_validate(new, errors);
    let (driver, was) = (At::root(new), At::root(old));
    let (spec, old_spec) = (driver.field("spec"), was.field("spec"));
    for (field, shown) in [("attachRequired", "attachedRequired"), ("volumeLifecycleModes", "volumeLifecycleModes")] {
        let value = spec.field(field).value();
        spec.field(shown).with_value(value).immutable(errors, old_spec.field(field).value());
    }
}

pub(super) fn csi_driver_warnings(new: &Value, old: Option<&Value>) -> Vec<String> {
    let driver = At::root(new);
    let spec = driver.field("spec");
    let requests = |driver: &Value| meta::list_at(driver, &["spec", "tokenRequests"]).to_vec();
    let changed = old.is_none_or(|old| requests(old) != requests(new));
    if !changed || spec.field("tokenRequests").is_empty() || spec.field("serviceAccountTokenInSecrets").exists() {
        return Vec::new();
    }
    vec![
        "spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent possible logging of tokens in volume attributes"
            .to_owned(),
    ]
}

pub(super) fn csi_node_validate(object: &Value, errors: &mut Errors) {
    const ID_MAX: usize = 256;
    let node = At::root(object);
    let spec = node.field("spec");
    let mut seen = Vec::new();
    for driver in spec.field("drivers").items() {
        let (name, id) = (driver.field("name"), driver.field("nodeID"));
        check::csi_driver_name(&name, errors);
        id.required_text(errors);
        if id.str().len() > ID_MAX {
            id.invalid_str(errors, &format!("must be {ID_MAX} characters or less"));
        }
        driver.field("allocatable").field("count").non_negative(errors);
        if seen.contains(&name.str()) {
            name.duplicate(errors);
        }
        seen.push(name.str());
        let mut keys = Vec::new();
        for key in driver.field("topologyKeys").items() {
            let key = key.str();
            if key.is_empty() {
                driver.required(errors, "");
            }
            if keys.contains(&key) {
                errors.duplicate(&driver.path(), &key.into());
            }
            keys.push(key);
            for detail in names::qualified_name(key) {
                driver.invalid_text(errors, key, &detail);
            }
        }
    }
}

/// A driver can come and go; what it said stays, but for how many volumes it can attach.
pub(super) fn csi_node_validate_update(new: &Value, old: &Value, _context: &WriteContext<'_>, errors: &mut Errors) {
    csi_node_validate(new, errors);
    let (node, was) = (At::root(new), At::root(old));
    let (spec, old_spec) = (node.field("spec"), was.field("spec"));
    let shown = spec.field("drivers");
    let fixed = |driver: &Value| {
        let mut driver = driver.clone();
        remove(&mut driver, "allocatable");
        driver
    };
    for before in old_spec.field("drivers").items() {
        for now in shown.items().filter(|d| d.field("name").str() == before.field("name").str()) {
            let now = fixed(now.value());
            shown.with_value(&now).immutable(errors, &fixed(before.value()));
        }
    }
}

pub(super) fn storage_capacity_validate(object: &Value, errors: &mut Errors) {
    let capacity = At::root(object);
    check::label_selector(&capacity.field("nodeTopology"), errors);
    let class = capacity.field("storageClassName");
    class.invalid_each(errors, names::dns1123_subdomain(class.str()));
    quantities::non_negative(&capacity.field("capacity"), errors);
}

pub(super) fn storage_capacity_validate_update(
    new: &Value,
    old: &Value,
    _context: &WriteContext<'_>,
    errors: &mut Errors,
) {
    storage_capacity_validate(new, errors);
    for field in ["nodeTopology", "storageClassName"] {
        At::root(new).field(field).immutable(errors, At::root(old).field(field).value());
    }
}

pub(super) fn storage_capacity_warnings(new: &Value, _old: Option<&Value>) -> Vec<String> {
    let capacity = At::root(new);
    let topology = capacity.field("nodeTopology");
    let mut warnings = Vec::new();
    check::node_label_warnings(&topology, &mut warnings);
    for (key, _) in topology.field("matchLabels").entries() {
        warnings.extend(check::deprecated_node_label(key).map(|s| format!("nodeTopology.matchLabels.{key}: {s}")));
    }
    warnings
}
