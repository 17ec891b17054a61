//! PersistentVolumes.

use serde_json::Value;

use super::edit::{fill, fill_text, made_mut};
use super::pod;

pub(super) fn persistent_volume_default(volume: &mut Value) {
    if let Some(spec) = made_mut(volume, "spec") {
        fill_text(spec, "persistentVolumeReclaimPolicy", "Retain");
        fill(spec, "volumeMode", "Filesystem");
        pod::volume_source_default(spec);
    }
    if let Some(status) = made_mut(volume, "status") {
        fill_text(status, "phase", "Pending");
    }
}
