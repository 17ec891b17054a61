//! StorageClasses, VolumeAttributesClasses, VolumeAttachments and what CSI drivers tell of themselves.

use serde_json::{Value, json};

use super::edit::{fill, made_mut, set, some_mut};
use super::pod;

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
