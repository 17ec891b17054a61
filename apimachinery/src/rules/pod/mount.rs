//! Where containers mount volumes and find block devices.

use crate::field::Errors;
use crate::rules::at::At;
use crate::rules::check;

/// The volumes of a pod that are in order, by name.
pub(super) struct Volumes<'v>(pub(super) Vec<(&'v str, bool)>);

impl Volumes<'_> {
    /// Whether there is one of this name, and if so, whether it is backed by a claim.
    fn find(&self, name: &str) -> Option<bool> {
        self.0.iter().find(|(volume, _)| *volume == name).map(|(_, claim)| *claim)
    }
}

/// Whether an item other than by its index has `key` set to `value`, the last one of a name counting.
fn other_has(list: &At<'_, '_>, key: &str, value: &str) -> bool {
    let mut last: Vec<(&str, &str)> = Vec::new();
    for item in list.items() {
        let (name, here) = (item.field("name").str(), item.field(key).str());
        match last.iter_mut().find(|(n, _)| *n == name) {
            Some(entry) => entry.1 = here,
            None => last.push((name, here)),
        }
    }
    last.iter().any(|(_, here)| *here == value)
}

pub(super) fn volume_mounts(container: &At<'_, '_>, volumes: &Volumes<'_>, errors: &mut Errors) {
    let (mounts, devices) = (container.field("volumeMounts"), container.field("volumeDevices"));
    let mut seen: Vec<&str> = Vec::new();
    for mount in mounts.items() {
        let (name, path) = (mount.field("name"), mount.field("mountPath"));
        name.required_text(errors);
        if volumes.find(name.str()).is_none() {
            name.not_found(errors);
        }
        path.required_text(errors);
        if seen.contains(&path.str()) {
            path.invalid_str(errors, "must be unique");
        }
        seen.push(path.str());
        if devices.items().any(|d| d.field("name").str() == name.str()) {
            name.invalid_str(errors, "must not already exist in volumeDevices");
        }
        if other_has(&devices, "devicePath", path.str()) {
            path.invalid_str(errors, "must not already exist as a path in volumeDevices");
        }
        // The stock server names the list here, not the item.
        let (sub_path, sub_path_expr) = (mount.field("subPath"), mount.field("subPathExpr"));
        if !sub_path.is_empty() {
            check::local_path(&mounts.field("subPath").with_value(sub_path.value()), errors);
        }
        if !sub_path_expr.is_empty() {
            if !sub_path.is_empty() {
                sub_path_expr.invalid_str(errors, "subPathExpr and subPath are mutually exclusive");
            }
            check::local_path(&mounts.field("subPathExpr").with_value(sub_path_expr.value()), errors);
        }
        propagation(container, &mounts, &mount, errors);
        recursive_read_only(&mounts, &mount, errors);
    }
}

fn propagation(container: &At<'_, '_>, mounts: &At<'_, '_>, mount: &At<'_, '_>, errors: &mut Errors) {
    let here = mount.field("mountPropagation");
    if !here.exists() {
        return;
    }
    let list = mounts.field("mountPropagation");
    let at = list.with_value(here.value());
    at.one_of(errors, &["Bidirectional", "HostToContainer", "None"]);
    let privileged = container.field("securityContext").field("privileged").bool();
    if at.str() == "Bidirectional" && !privileged {
        at.forbidden(errors, "Bidirectional mount propagation is available only to privileged containers");
    }
}

fn recursive_read_only(mounts: &At<'_, '_>, mount: &At<'_, '_>, errors: &mut Errors) {
    let here = mount.field("recursiveReadOnly");
    if !here.exists() {
        return;
    }
    let list = mounts.field("recursiveReadOnly");
    let at = list.with_value(here.value());
    match at.str() {
        "Disabled" => {}
        "Enabled" | "IfPossible" => {
            if !mount.field("readOnly").bool() {
                at.forbidden(errors, "may only be specified when readOnly is true");
            }
            let propagation = mount.field("mountPropagation");
            if propagation.exists() && propagation.str() != "None" {
                at.forbidden(errors, "may only be specified when mountPropagation is None or not specified");
            }
        }
        _ => at.not_supported(errors, &["Disabled", "Enabled", "IfPossible"]),
    }
}

pub(super) fn volume_devices(container: &At<'_, '_>, volumes: &Volumes<'_>, errors: &mut Errors) {
    let (mounts, devices) = (container.field("volumeMounts"), container.field("volumeDevices"));
    let (mut names, mut paths): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
    for device in devices.items() {
        let (name, path) = (device.field("name"), device.field("devicePath"));
        name.required_text(errors);
        if names.contains(&name.str()) {
            name.invalid_str(errors, "must be unique");
        }
        match volumes.find(name.str()) {
            Some(false) => name.invalid_str(
                errors,
                "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode",
            ),
            None => name.not_found(errors),
            Some(true) => {}
        }
        path.required_text(errors);
        if paths.contains(&path.str()) {
            path.invalid_str(errors, "must be unique");
        }
        if path.str().split('/').any(|part| part == "..") {
            path.invalid_str(errors, "can not contain backsteps ('..')");
        } else {
            paths.push(path.str());
        }
        if mounts.items().any(|m| m.field("name").str() == name.str()) {
            name.invalid_str(errors, "must not already exist in volumeMounts");
        }
        if other_has(&mounts, "mountPath", path.str()) {
            path.invalid_str(errors, "must not already exist as a path in volumeMounts");
        }
        if !name.str().is_empty() {
            names.push(name.str());
        }
    }
}
