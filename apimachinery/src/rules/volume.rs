//! PersistentVolumes.

use serde_json::{Map, Value, json};

use super::at::{At, semantic_eq};
use super::edit::{fill, fill_text, made_mut, set};
use super::pod::{self, ISCSI_TOO_LONG, shared_source};
use super::{Part, WriteContext, check, claim, names, quantities};
use crate::field::Errors;
use crate::meta;

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

pub(super) fn persistent_volume_prepare_create(volume: &mut Value, context: &WriteContext<'_>) {
    set(volume, "status", json!({"phase": "Pending", "lastPhaseTransitionTime": context.now}));
}

/// Notes when the phase changed, where the client does not.
pub(super) fn persistent_volume_prepare_update(new: &mut Value, old: &Value, context: &WriteContext<'_>) {
    if context.part == Part::Main {
        return;
    }
    const TIME: &str = "lastPhaseTransitionTime";
    let read = |volume: &Value, key: &str| meta::at(volume, &["status", key]).filter(|v| !v.is_null()).cloned();
    let same_phase = read(new, "phase") == read(old, "phase");
    let (time, old_time) = (read(new, TIME), read(old, TIME));
    let time = match (same_phase, time) {
        (true, None) => old_time,
        (false, time) if time.is_none() || time == old_time => Some(context.now.into()),
        _ => None,
    };
    if let (Some(time), Some(status)) = (time, made_mut(new, "status")) {
        set(status, TIME, time);
    }
}

/// In the order in which they are looked at: the first one counts.
const SOURCES: &[&str] = &[
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "glusterfs",
    "flocker",
    "nfs",
    "rbd",
    "quobyte",
    "cephfs",
    "iscsi",
    "cinder",
    "fc",
    "flexVolume",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "scaleIO",
    "local",
    "storageos",
    "csi",
];
const WITH_MOUNT_OPTIONS: &[&str] = &[
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "glusterfs",
    "nfs",
    "rbd",
    "quobyte",
    "iscsi",
    "cinder",
    "cephfs",
    "azureFile",
    "vsphereVolume",
    "azureDisk",
    "photonPersistentDisk",
];
const MOUNT_OPTIONS: &str = "volume.beta.kubernetes.io/mount-options";

pub(super) fn persistent_volume_validate(object: &Value, errors: &mut Errors) {
    let volume = At::root(object);
    let spec = volume.field("spec");
    volume_spec(&spec, meta::name(object), false, errors);
    let metadata = volume.field("metadata");
    let annotations = metadata.field("annotations");
    if annotations.entry(MOUNT_OPTIONS).exists() && !WITH_MOUNT_OPTIONS.iter().any(|s| spec.field(s).exists()) {
        annotations.field(MOUNT_OPTIONS).forbidden(errors, "may not specify mount options for this volume type");
    }
}

/// A volume's `spec`; that of a VolumeAttachment (`inline`) says only where the volume is.
pub(super) fn volume_spec(spec: &At<'_, '_>, name: &str, inline: bool, errors: &mut Errors) {
    const NOT_INLINE: &str = "may not be specified in the context of inline volumes";
    let csi = spec.field("csi");
    if inline {
        for field in ["claimRef", "capacity", "nodeAffinity", "storageClassName"] {
            let at = spec.field(field);
            let is_set = match field {
                "claimRef" | "nodeAffinity" => at.exists(),
                _ => !at.is_empty(),
            };
            if is_set {
                at.forbidden(errors, NOT_INLINE);
            }
        }
        if !csi.exists() {
            csi.required(errors, "has to be specified in the context of inline volumes");
        }
    }
    let modes = spec.field("accessModes");
    if modes.is_empty() {
        modes.required(errors, "");
    }
    claim::access_modes(&modes, errors);
    if !inline {
        capacity(&spec.field("capacity"), errors);
    }
    let policy = spec.field("persistentVolumeReclaimPolicy");
    if inline && !matches!(policy.str(), "" | "Retain") {
        policy.forbidden(errors, "may only be Retain in the context of inline volumes");
    } else if !inline && !policy.is_empty() {
        policy.one_of(errors, &["Delete", "Recycle", "Retain"]);
    }
    let affinity = spec.field("nodeAffinity");
    if affinity.exists() && !inline {
        let required = affinity.field("required");
        if required.exists() {
            pod::node_selector(&required, errors);
        } else {
            required.required(errors, "must specify required node constraints");
        }
    }
    source(spec, name, errors);
    if spec.field("hostPath").field("path").str().trim_matches('/').is_empty()
        && spec.field("hostPath").field("path").str().starts_with('/')
        && policy.str() == "Recycle"
    {
        policy.forbidden(errors, "may not be 'recycle' for a hostPath mount of '/'");
    }
    let (class, mode) = (spec.field("storageClassName"), spec.field("volumeMode"));
    if !inline {
        class.optional_name(errors, names::dns1123_subdomain);
    }
    if inline && !matches!(mode.str(), "" | "Filesystem") {
        mode.forbidden(errors, "may not specify volumeMode other than Filesystem in the context of inline volumes");
    } else if !inline && mode.exists() {
        mode.one_of(errors, &["Block", "Filesystem"]);
    }
    let attributes = spec.field("volumeAttributesClassName");
    if attributes.exists() {
        if attributes.is_empty() {
            attributes.required(errors, "an empty string is disallowed");
        }
        attributes.optional_name(errors, names::dns1123_subdomain);
        if !csi.exists() {
            csi.required(errors, "has to be specified when using volumeAttributesClassName");
        }
    }
}

fn capacity(at: &At<'_, '_>, errors: &mut Errors) {
    if at.is_empty() {
        at.required(errors, "");
    }
    if at.len() > 1 || !at.entry("storage").exists() {
        errors.not_supported(&at.path(), at.value(), &["storage"]);
    }
    for (_, quantity) in at.entries() {
        quantities::basic(&quantity, errors);
        quantities::positive(&quantity, errors);
    }
}

fn source(spec: &At<'_, '_>, name: &str, errors: &mut Errors) {
    let mut seen = false;
    for key in SOURCES {
        let at = spec.field(key);
        if !at.exists() {
            continue;
        }
        // This one does not mind another one before it.
        if seen && *key != "flexVolume" {
            at.forbidden(errors, "may not specify more than 1 volume type");
            continue;
        }
        seen = true;
        shared_source(key, &at, errors);
        own_source(key, &at, name, errors);
        if *key == "local" && !spec.field("nodeAffinity").exists() {
            spec.field("nodeAffinity").required(errors, "Local volume requires node affinity");
        }
    }
    if !seen {
        spec.required(errors, "must specify a volume type");
    }
}

/// What a PersistentVolume's sources have beyond those of pods.
fn own_source(key: &str, at: &At<'_, '_>, volume: &str, errors: &mut Errors) {
    let secret = at.field("secretRef");
    match key {
        "glusterfs" => {
            let namespace = at.field("endpointsNamespace");
            if namespace.exists() && namespace.is_empty() {
                let says = "if the endpointnamespace is set, it must be a valid namespace name";
                namespace.invalid_str(errors, says);
            }
            namespace.optional_name(errors, names::dns1123_label);
        }
        "cinder" | "storageos" if secret.exists() => secret.field("namespace").required_text(errors),
        "azureFile" => {
            let namespace = at.field("secretNamespace");
            if namespace.exists() {
                namespace.required_text(errors);
            }
        }
        "iscsi" => {
            let portal = at.field("targetPortal").str();
            if at.field("initiatorName").exists() && volume.len() + 1 + portal.len() > 64 {
                at.field("targetportal").invalid_text(errors, portal, ISCSI_TOO_LONG);
            }
        }
        "local" => {
            let path = at.field("path");
            path.required_text(errors);
            check::path_no_backsteps(&path, errors);
        }
        "csi" => {
            check::csi_driver_name(&at.field("driver"), errors);
            at.field("volumeHandle").required_text(errors);
            for secret in [
                "controllerPublishSecretRef",
                "controllerExpandSecretRef",
                "nodePublishSecretRef",
                "nodeExpandSecretRef",
            ] {
                let secret = at.field(secret);
                if secret.exists() {
                    secret.field("name").required_name(errors, names::dns1123_subdomain);
                    secret.field("namespace").required_name(errors, names::dns1123_label);
                }
            }
        }
        _ => {}
    }
}

/// Where the volume is.
fn sources_of(spec: &At<'_, '_>) -> Value {
    let sources: Map<String, Value> =
        SOURCES.iter().map(|s| ((*s).to_owned(), spec.field(s).value().clone())).collect();
    Value::Object(sources)
}

pub(super) fn persistent_volume_validate_update(
    new: &Value,
    old: &Value,
    context: &WriteContext<'_>,
    errors: &mut Errors,
) {
    if context.part != Part::Main {
        return;
    }
    // The stock server looks twice, and says so.
    persistent_volume_validate(new, errors);
    volume_spec(&At::root(new).field("spec"), meta::name(new), false, errors);
    let (volume, was) = (At::root(new), At::root(old));
    let (spec, old_spec) = (volume.field("spec"), was.field("spec"));
    let (mut mine, theirs) = (sources_of(&spec), sources_of(&old_spec));
    let expand = |spec: &At<'_, '_>| spec.field("csi").field("controllerExpandSecretRef").exists();
    if expand(&spec) && old_spec.field("csi").exists() && !expand(&old_spec) {
        set(&mut mine["csi"], "controllerExpandSecretRef", Value::Null);
    }
    if !semantic_eq(&mine, &theirs) {
        let says = "spec.persistentvolumesource is immutable after creation";
        spec.field("persistentvolumesource").forbidden(errors, says);
    }
    let mode = At::named(spec.field("volumeMode").value(), "volumeMode");
    mode.immutable(errors, old_spec.field("volumeMode").value());
    let (affinity, old_affinity) = (spec.field("nodeAffinity"), old_spec.field("nodeAffinity"));
    if old_affinity.exists() && !semantic_eq(&stable_labels(affinity.value()), &stable_labels(old_affinity.value())) {
        let says = "field is immutable, except for updating from beta label to GA";
        At::named(affinity.value(), "nodeAffinity").invalid(errors, says);
    }
    let class = spec.field("volumeAttributesClassName");
    if !class.exists() && old_spec.field("volumeAttributesClassName").exists() {
        class.forbidden(errors, "update from non-nil value to nil is forbidden");
    }
}

/// The labels of nodes by their present names.
fn stable_labels(affinity: &Value) -> Value {
    let mut affinity = affinity.clone();
    let terms = affinity.pointer_mut("/required/nodeSelectorTerms").and_then(Value::as_array_mut);
    for term in terms.into_iter().flatten() {
        for requirement in term.get_mut("matchExpressions").and_then(Value::as_array_mut).into_iter().flatten() {
            let stable = match requirement.get("key").and_then(Value::as_str) {
                Some("failure-domain.beta.kubernetes.io/zone") => "topology.kubernetes.io/zone",
                Some("failure-domain.beta.kubernetes.io/region") => "topology.kubernetes.io/region",
                Some("beta.kubernetes.io/instance-type") => "node.kubernetes.io/instance-type",
                Some("beta.kubernetes.io/os") => "kubernetes.io/os",
                Some("beta.kubernetes.io/arch") => "kubernetes.io/arch",
                _ => continue,
            };
            set(requirement, "key", stable);
        }
    }
    affinity
}

pub(super) fn persistent_volume_warnings(new: &Value, _old: Option<&Value>) -> Vec<String> {
    const ANNOTATIONS: &[(&str, &str)] = &[
        (
            "volume.beta.kubernetes.io/storage-class",
            "deprecated since v1.8; use \"storageClassName\" attribute instead",
        ),
        (MOUNT_OPTIONS, "deprecated since v1.31; use \"mountOptions\" attribute instead"),
    ];
    const FIELDS: &[(&str, &str, &str)] = &[
        ("cephfs", "cephfs", "deprecated in v1.28, non-functional in v1.31+"),
        ("photonPersistentDisk", "photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
        ("scaleIO", "scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
        ("storageos", "storageOS", "deprecated in v1.22, non-functional in v1.25+"),
        ("glusterfs", "glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
        ("rbd", "rbd", "deprecated in v1.28, non-functional in v1.31+"),
    ];
    let volume = At::root(new);
    let spec = volume.field("spec");
    let annotations = volume.field("metadata");
    let annotations = annotations.field("annotations");
    let mut warnings = Vec::new();
    for (key, says) in ANNOTATIONS {
        if annotations.entry(key).exists() {
            warnings.push(format!("metadata.annotations[{key}]: {says}"));
        }
    }
    if spec.field("persistentVolumeReclaimPolicy").str() == "Recycle" {
        warnings.push(
            "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning."
                .to_owned(),
        );
    }
    let affinity = spec.field("nodeAffinity");
    let required = affinity.field("required");
    for term in required.field("nodeSelectorTerms").items() {
        check::node_label_warnings(&term, &mut warnings);
    }
    for (field, shown, says) in FIELDS {
        if spec.field(field).exists() {
            warnings.push(format!("spec.{shown}: {says}"));
        }
    }
    warnings
}
