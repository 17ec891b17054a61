//! Volumes and claims, and group `storage.k8s.io`.

use serde_json::Value;

use super::cells::{Cells, cells};
use crate::meta::str_at;

pub(super) fn row(kind: &str, o: &Cells<'_>) -> Option<Vec<Value>> {
    Some(match kind {
        "CSIDriver" => csi_driver(o),
        "CSINode" => cells![o.name(), o.count(&["spec", "drivers"]), o.age()],
        "CSIStorageCapacity" => cells![o.name(), o.text(&["storageClassName"]), o.text_or(&["capacity"], "<unset>")],
        "StorageClass" => {
            let default =
                ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"]
                    .iter()
                    .any(|key| o.text(&["metadata", "annotations", key]) == "true");
            cells![
                if default { format!("{} (default)", o.name()) } else { o.name().to_owned() },
                o.text(&["provisioner"]),
                o.text_or(&["reclaimPolicy"], "Delete"),
                o.text_or(&["volumeBindingMode"], "Immediate"),
                o.flag(&["allowVolumeExpansion"]),
                o.age(),
            ]
        }
        "VolumeAttachment" => cells![
            o.name(),
            o.text(&["spec", "attacher"]),
            o.text(&["spec", "source", "persistentVolumeName"]),
            o.text(&["spec", "nodeName"]),
            o.flag(&["status", "attached"]),
            o.age(),
        ],
        "VolumeAttributesClass" => cells![o.name(), o.text(&["driverName"]), o.age()],
        _ => return None,
    })
}

fn csi_driver(o: &Cells<'_>) -> Vec<Value> {
    let modes: Vec<&str> = o.list(&["spec", "volumeLifecycleModes"]).iter().filter_map(Value::as_str).collect();
    let modes = if modes.is_empty() { "<none>".to_owned() } else { modes.join(",") };
    let tokens = match o.at(&["spec", "tokenRequests"]) {
        None => "<unset>".to_owned(),
        Some(_) => {
            let requests = o.list(&["spec", "tokenRequests"]).iter();
            requests.map(|t| str_at(t, &["audience"])).collect::<Vec<_>>().join(",")
        }
    };
    cells![
        o.name(),
        o.at(&["spec", "attachRequired"]).and_then(Value::as_bool).unwrap_or(true),
        o.flag(&["spec", "podInfoOnMount"]),
        o.flag(&["spec", "storageCapacity"]),
        tokens,
        o.flag(&["spec", "requiresRepublish"]),
        modes,
        o.age(),
    ]
}

fn phase<'a>(o: &Cells<'a>) -> &'a str {
    if o.deleting() { "Terminating" } else { o.text(&["status", "phase"]) }
}

/// The storage class: an old annotation wins over the field.
fn class<'a>(o: &Cells<'a>) -> &'a str {
    match o.at(&["metadata", "annotations", "volume.beta.kubernetes.io/storage-class"]) {
        Some(class) => class.as_str().unwrap_or_default(),
        None => o.text(&["spec", "storageClassName"]),
    }
}

fn access_modes(modes: &[Value]) -> String {
    let names =
        [("ReadWriteOnce", "RWO"), ("ReadOnlyMany", "ROX"), ("ReadWriteMany", "RWX"), ("ReadWriteOncePod", "RWOP")];
    let has = |mode: &str| modes.iter().any(|m| m == mode);
    names.iter().filter(|(mode, _)| has(mode)).map(|(_, short)| *short).collect::<Vec<_>>().join(",")
}

pub(super) fn volume(o: &Cells<'_>) -> Vec<Value> {
    let claim = match o.at(&["spec", "claimRef"]) {
        Some(claim) => format!("{}/{}", str_at(claim, &["namespace"]), str_at(claim, &["name"])),
        None => String::new(),
    };
    cells![
        o.name(),
        o.text_or(&["spec", "capacity", "storage"], "0"),
        access_modes(o.list(&["spec", "accessModes"])),
        o.text(&["spec", "persistentVolumeReclaimPolicy"]),
        phase(o),
        claim,
        class(o),
        o.at(&["spec", "volumeAttributesClassName"]).and_then(Value::as_str).unwrap_or("<unset>"),
        o.text(&["status", "reason"]),
        o.age(),
        o.text_or(&["spec", "volumeMode"], "<unset>"),
    ]
}

pub(super) fn claim(o: &Cells<'_>) -> Vec<Value> {
    let volume = o.text(&["spec", "volumeName"]);
    // What was asked for is not shown, only what was given.
    let (capacity, modes) = if volume.is_empty() {
        ("", String::new())
    } else {
        (o.text_or(&["status", "capacity", "storage"], "0"), access_modes(o.list(&["status", "accessModes"])))
    };
    cells![
        o.name(),
        phase(o),
        volume,
        capacity,
        modes,
        class(o),
        o.at(&["spec", "volumeAttributesClassName"]).and_then(Value::as_str).unwrap_or("<unset>"),
        o.age(),
        o.text_or(&["spec", "volumeMode"], "<unset>"),
    ]
}
