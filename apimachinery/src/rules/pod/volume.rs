//! Volumes of a pod.

use crate::field::Errors;
use crate::rules::at::At;
use crate::rules::{check, claim, names, quantities};

use super::mount::Volumes;
use super::{container, projected, source};

/// The sources of volumes in the order in which they are looked at, and how the stock server calls them when there is
/// more than one.
const SOURCES: &[(&str, &str)] = &[
    ("emptyDir", "emptyDir"),
    ("hostPath", "hostPath"),
    ("gitRepo", "gitRepo"),
    ("gcePersistentDisk", "gcePersistentDisk"),
    ("awsElasticBlockStore", "awsElasticBlockStore"),
    ("secret", "secret"),
    ("nfs", "nfs"),
    ("iscsi", "iscsi"),
    ("glusterfs", "glusterfs"),
    ("flocker", "flocker"),
    ("persistentVolumeClaim", "persistentVolumeClaim"),
    ("rbd", "rbd"),
    ("cinder", "cinder"),
    ("cephfs", "cephFS"),
    ("quobyte", "quobyte"),
    ("downwardAPI", "downwarAPI"),
    ("fc", "fc"),
    ("flexVolume", "flexVolume"),
    ("configMap", "configMap"),
    ("azureFile", "azureFile"),
    ("vsphereVolume", "vsphereVolume"),
    ("photonPersistentDisk", "photonPersistentDisk"),
    ("portworxVolume", "portworxVolume"),
    ("azureDisk", "azureDisk"),
    ("storageos", "storageos"),
    ("projected", "projected"),
    ("scaleIO", "scaleIO"),
    ("csi", "csi"),
    ("ephemeral", "ephemeral"),
    ("image", "image"),
];

/// Looks at the volumes of a pod (`pod_name` set) or of a template; gives those that are in order.
pub(super) fn volumes<'v>(at: &At<'v, '_>, pod_name: Option<&str>, errors: &mut Errors) -> Volumes<'v> {
    let pod_name = pod_name.filter(|name| !name.is_empty());
    let made: Vec<String> = pod_name
        .into_iter()
        .flat_map(|pod| {
            at.items()
                .filter(|v| v.field("ephemeral").exists())
                .map(move |v| format!("{pod}-{}", v.field("name").str()))
                .collect::<Vec<_>>()
        })
        .collect();
    let mut good: Vec<(&str, bool)> = Vec::new();
    for volume in at.items() {
        let before = errors.0.len();
        volume_source(&volume, pod_name, errors);
        let name = volume.field("name");
        name.required_name(errors, names::dns1123_label);
        if good.iter().any(|(n, _)| *n == name.str()) {
            name.duplicate(errors);
        }
        let claim_reference = volume.field("persistentVolumeClaim");
        if errors.0.len() == before {
            good.push((name.str(), claim_reference.exists() || volume.field("ephemeral").exists()));
        }
        let claim = claim_reference.field("claimName");
        if claim_reference.exists() && made.iter().any(|m| m == claim.str()) {
            claim.invalid_str(errors, "must not reference a PVC that gets created for an ephemeral volume");
        }
    }
    Volumes(good)
}

fn volume_source(volume: &At<'_, '_>, pod_name: Option<&str>, errors: &mut Errors) {
    let mut found = false;
    for (key, shown) in SOURCES {
        let at = volume.field(key);
        if !at.exists() {
            continue;
        }
        if found {
            volume.field(shown).forbidden(errors, "may not specify more than 1 volume type");
        } else {
            found = true;
            let named = if *key == "gcePersistentDisk" { "persistentDisk" } else { key };
            one_source(key, volume, &volume.field(named).with_value(at.value()), pod_name, errors);
        }
        if *key == "iscsi" {
            let portal = at.field("targetPortal").str();
            let name = volume.field("name");
            if at.field("initiatorName").exists() && name.str().len() + 1 + portal.len() > 64 {
                name.invalid_str(errors, source::ISCSI_TOO_LONG);
            }
        }
    }
    if !found {
        volume.required(errors, "must specify a volume type");
    }
}

fn one_source(key: &str, volume: &At<'_, '_>, at: &At<'_, '_>, pod_name: Option<&str>, errors: &mut Errors) {
    match key {
        "emptyDir" => {
            let limit = at.field("sizeLimit");
            if quantities::quantity(limit.value()).is_some_and(|q| q.sign() < 0) {
                limit.forbidden(errors, "SizeLimit field must be a valid resource quantity");
            }
        }
        "gitRepo" => {
            at.field("repository").required_text(errors);
            check::local_path(&at.field("directory"), errors);
        }
        "secret" => {
            at.field("secretName").required_text(errors);
            keys(at, errors);
        }
        "configMap" => {
            at.field("name").required_text(errors);
            keys(at, errors);
        }
        "persistentVolumeClaim" => at.field("claimName").required_text(errors),
        "downwardAPI" => {
            check::file_mode(&at.field("defaultMode"), errors);
            for file in at.field("items").items() {
                // The stock server names the volume here, not the item.
                projected::downward_file(&at.with_value(file.value()), errors);
            }
        }
        "projected" => projected::projected(at, errors),
        "csi" => {
            check::csi_driver_name(&at.field("driver"), errors);
            let secret = at.field("nodePublishSecretRef");
            let name = secret.field("name");
            if secret.exists() && name.str().is_empty() {
                name.required(errors, "");
            } else if secret.exists() {
                for detail in names::dns1123_subdomain(name.str()) {
                    at.field("name").invalid_text(errors, name.str(), &detail);
                }
            }
        }
        "ephemeral" => {
            let template = at.field("volumeClaimTemplate");
            if template.exists() {
                claim::claim_template(&template, errors);
            } else {
                template.required(errors, "");
            }
            let name = volume.field("name");
            if let Some(pod) = pod_name.filter(|_| !name.str().is_empty()) {
                let claim = format!("{pod}-{}", name.str());
                for detail in names::dns1123_subdomain(&claim) {
                    name.invalid_str(errors, &format!("PVC name {}: {detail}", crate::field::quote(&claim)));
                }
            }
        }
        "image" => {
            if pod_name.is_some() {
                at.field("reference").required_text(errors);
            }
            container::pull_policy(&at.field("pullPolicy"), errors);
        }
        _ => source::shared_source(key, at, errors),
    }
}

/// `defaultMode` and `items` of what shows keys as files.
fn keys(at: &At<'_, '_>, errors: &mut Errors) {
    check::file_mode(&at.field("defaultMode"), errors);
    for item in at.field("items").items() {
        projected::key_to_path(&item, errors);
    }
}
