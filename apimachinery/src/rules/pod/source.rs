//! The sources that volumes of pods and PersistentVolumes share.

use crate::field::Errors;
use crate::rules::at::At;
use crate::rules::{check, names};

pub(in crate::rules) const ISCSI_TOO_LONG: &str = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.";

/// Looks at the source `key` of a volume.
pub(in crate::rules) fn shared_source(key: &str, at: &At<'_, '_>, errors: &mut Errors) {
    let required = |errors: &mut Errors, fields: &[&str]| {
        for field in fields {
            let field = at.field(field);
            if field.is_empty() {
                field.required(errors, "");
            }
        }
    };
    match key {
        "hostPath" => host_path(at, errors),
        "gcePersistentDisk" | "awsElasticBlockStore" => disk(key, at, errors),
        "nfs" => {
            required(errors, &["server", "path"]);
            let path = at.field("path");
            if !path.str().starts_with('/') {
                path.invalid_str(errors, "must be an absolute path");
            }
        }
        "iscsi" => iscsi(at, errors),
        "glusterfs" => required(errors, &["endpoints", "path"]),
        "flocker" => flocker(at, errors),
        "rbd" => required(errors, &["monitors", "image"]),
        "cinder" => {
            required(errors, &["volumeID"]);
            secret_name(at, errors);
        }
        "cephfs" => required(errors, &["monitors"]),
        "quobyte" => quobyte(at, errors),
        "fc" => fibre_channel(at, errors),
        "flexVolume" => flex(at, errors),
        "azureFile" => required(errors, &["secretName", "shareName"]),
        "vsphereVolume" => required(errors, &["volumePath"]),
        "photonPersistentDisk" => required(errors, &["pdID"]),
        "portworxVolume" => required(errors, &["volumeID"]),
        "azureDisk" => azure_disk(at, errors),
        "storageos" => {
            at.field("volumeName").required_name(errors, names::dns1123_label);
            at.field("volumeNamespace").optional_name(errors, names::dns1123_label);
            secret_name(at, errors);
        }
        "scaleIO" => required(errors, &["gateway", "system", "volumeName"]),
        _ => {}
    }
}

fn secret_name(at: &At<'_, '_>, errors: &mut Errors) {
    let secret = at.field("secretRef");
    if secret.exists() {
        secret.field("name").required_text(errors);
    }
}

fn host_path(at: &At<'_, '_>, errors: &mut Errors) {
    let path = at.field("path");
    if path.str().is_empty() {
        path.required(errors, "");
        return;
    }
    check::path_no_backsteps(&path, errors);
    at.field("type").one_of(
        errors,
        &["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"],
    );
}

fn disk(key: &str, at: &At<'_, '_>, errors: &mut Errors) {
    at.field(if key == "gcePersistentDisk" { "pdName" } else { "volumeID" }).required_text(errors);
    let partition = at.field("partition");
    if !(0..=255).contains(&partition.int()) {
        partition.invalid_int(errors, &names::between(1, 255));
    }
}

fn is_iqn(name: &str) -> bool {
    // iqn.yyyy-mm.naming-authority:unique
    let Some((date, rest)) = name.find("iqn.").and_then(|i| {
        let rest = &name[i + 4..];
        rest.get(..7).zip(rest.get(7..))
    }) else {
        return false;
    };
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    let bytes = date.as_bytes();
    if bytes[4] != b'-' || !digits(&date[..4]) || !digits(&date[5..]) {
        return false;
    }
    rest.strip_prefix('.').and_then(|r| r.split_once(':')).is_some_and(|(authority, unique)| {
        !authority.is_empty()
            && authority.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'))
            && !unique.is_empty()
            && !unique.contains([',', ';', '*', '&', '$', '|'])
            && !unique.contains(char::is_whitespace)
    })
}

fn is_iscsi_name(name: &str) -> bool {
    let has = |n: usize| name.len() == 4 + n && name.bytes().skip(4).all(|b| b.is_ascii_alphanumeric());
    match name.get(..3) {
        Some("iqn") => is_iqn(name),
        Some("eui") => has(16),
        Some("naa") => has(32),
        _ => false,
    }
}

fn iscsi_name(at: &At<'_, '_>, name: &str, errors: &mut Errors) {
    if !["iqn", "eui", "naa"].iter().any(|p| name.starts_with(p)) {
        at.invalid_text(errors, name, "must be valid format starting with iqn, eui, or naa");
    } else if !is_iscsi_name(name) {
        at.invalid_text(errors, name, "must be valid format");
    }
}

pub(super) fn iscsi(at: &At<'_, '_>, errors: &mut Errors) {
    at.field("targetPortal").required_text(errors);
    let iqn = at.field("iqn");
    if iqn.str().is_empty() {
        iqn.required(errors, "");
    } else {
        iscsi_name(&iqn, iqn.str(), errors);
    }
    let lun = at.field("lun");
    if !(0..=255).contains(&lun.int()) {
        lun.invalid_int(errors, &names::between(0, 255));
    }
    let secret = at.field("secretRef");
    if (at.field("chapAuthDiscovery").bool() || at.field("chapAuthSession").bool()) && !secret.exists() {
        secret.required(errors, "");
    }
    let initiator = at.field("initiatorName");
    if initiator.exists() {
        iscsi_name(&at.field("initiatorname"), initiator.str(), errors);
    }
}

fn flocker(at: &At<'_, '_>, errors: &mut Errors) {
    let (name, uuid) = (at.field("datasetName"), at.field("datasetUUID"));
    if name.is_empty() && uuid.is_empty() {
        at.required(errors, "one of datasetName and datasetUUID is required");
    }
    if !name.is_empty() && !uuid.is_empty() {
        at.invalid_text(errors, "resource", "datasetName and datasetUUID can not be specified simultaneously");
    }
    if name.str().contains('/') {
        name.invalid_str(errors, "must not contain '/'");
    }
}

fn quobyte(at: &At<'_, '_>, errors: &mut Errors) {
    const PAIRS: &str = "must be a host:port pair or multiple pairs separated by commas";
    let (registry, tenant) = (at.field("registry"), at.field("tenant"));
    if registry.str().is_empty() {
        registry.required(errors, PAIRS);
    } else if tenant.str().len() >= 65 {
        tenant.required(errors, "must be a UUID and may not exceed a length of 64 characters");
    } else {
        for pair in registry.str().split(',') {
            let is_pair = match pair.rsplit_once(':') {
                Some((host, _)) => (host.starts_with('[') && host.ends_with(']')) || !host.contains([':', '[', ']']),
                None => false,
            };
            if !is_pair {
                registry.invalid_str(errors, PAIRS);
            }
        }
    }
    at.field("volume").required_text(errors);
}

fn fibre_channel(at: &At<'_, '_>, errors: &mut Errors) {
    let (targets, wwids, lun) = (at.field("targetWWNs"), at.field("wwids"), at.field("lun"));
    if targets.is_empty() && wwids.is_empty() {
        targets.required(errors, "must specify either targetWWNs or wwids, but not both");
    }
    if !targets.is_empty() && !wwids.is_empty() {
        targets.invalid(errors, "targetWWNs and wwids can not be specified simultaneously");
    }
    if !targets.is_empty() {
        if !lun.exists() {
            lun.required(errors, "lun is required if targetWWNs is specified");
        } else if !(0..=255).contains(&lun.int()) {
            lun.invalid_int(errors, &names::between(0, 255));
        }
    }
}

fn flex(at: &At<'_, '_>, errors: &mut Errors) {
    at.field("driver").required_text(errors);
    for (key, option) in at.field("options").entries() {
        let namespace = key.split_once('/').map_or(key, |(n, _)| n);
        let dotted = format!(".{}", namespace.to_lowercase());
        if dotted.ends_with(".kubernetes.io") || dotted.ends_with(".k8s.io") {
            option.invalid_text(errors, key, "kubernetes.io and k8s.io namespaces are reserved");
        }
    }
}

fn azure_disk(at: &At<'_, '_>, errors: &mut Errors) {
    const MANAGED: &str =
        "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}";
    const BLOB: &str = "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd";
    let (uri, kind, caching) = (at.field("diskURI"), at.field("kind"), at.field("cachingMode"));
    at.field("diskName").required_text(errors);
    uri.required_text(errors);
    if caching.exists() {
        caching.one_of(errors, &["None", "ReadOnly", "ReadWrite"]);
    }
    if !kind.exists() {
        return;
    }
    kind.one_of(errors, &["Dedicated", "Managed", "Shared"]);
    if kind.str() == "Managed" && !uri.str().starts_with("/subscriptions/") {
        uri.not_supported(errors, &[MANAGED]);
    }
    if kind.str() != "Managed" && !uri.str().starts_with("https://") {
        uri.not_supported(errors, &[BLOB]);
    }
}
