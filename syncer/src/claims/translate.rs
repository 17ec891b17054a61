//! Claims down, their status and volumes up: pure functions.

use apimachinery::meta::{self, str_at};
use apimachinery::tenant::TenantId;
use serde_json::{Map, Value, json};

use crate::config::TenantSettings;
use crate::covers::applied_stamp;
use crate::host_object::host_metadata;
use crate::marks;
use crate::names;
use crate::table::{Remark, is_set};

/// The driver that tenants see behind a volume; how the host provides it is the host's affair.
const DRIVER: &str = "host.tenantry.io";
const STATUS: &[&str] =
    &["phase", "accessModes", "capacity", "conditions", "allocatedResources", "allocatedResourceStatuses"];

/// The host claim.
///
/// # Errors
/// All reasons why the claim may not be on the host: what would reach for a volume that need not be the tenant's.
pub fn claim_translate(
    claim: &Value,
    tenant: TenantId,
    settings: &TenantSettings,
    on_host: bool,
) -> Result<Value, Vec<Remark>> {
    let original = &claim["spec"];
    let mut refused = Vec::new();
    let mut refuse = |field: &str, message: String| refused.push(Remark::new(format!("spec.{field}"), message));
    let mut spec: Map<String, Value> = ["accessModes", "volumeMode"]
        .into_iter()
        .filter_map(|field| Some((field.to_owned(), original.get(field)?.clone())))
        .collect();
    let resources =
        ["requests", "limits"].into_iter().filter_map(|f| Some((f.to_owned(), original["resources"].get(f)?.clone())));
    spec.insert("resources".to_owned(), Value::Object(resources.collect()));
    match original["storageClassName"].as_str() {
        Some(class) if class.is_empty() || settings.policy.storage_classes.allows(class) => {
            spec.insert("storageClassName".to_owned(), json!(class));
        }
        Some(class) => refuse("storageClassName", format!("storage class {class:?} is not allowed")),
        None => {}
    }
    for field in ["selector", "volumeAttributesClassName"] {
        if is_set(&original[field]) {
            refuse(field, "could choose a volume that is not yours; leave the field out".to_owned());
        }
    }
    if is_set(&original["volumeName"]) && !on_host {
        refuse("volumeName", "the host chooses the volume; leave the field out".to_owned());
    }
    for field in ["dataSource", "dataSourceRef"] {
        let source = &original[field];
        if !is_set(source) {
            continue;
        }
        let own_claim =
            source["kind"] == "PersistentVolumeClaim" && !is_set(&source["apiGroup"]) && !is_set(&source["namespace"]);
        if own_claim {
            spec.insert(field.to_owned(), json!({"kind": "PersistentVolumeClaim", "name": source["name"]}));
        } else {
            refuse(field, "only claims of the same namespace can be cloned".to_owned());
        }
    }
    if !refused.is_empty() {
        return Err(refused);
    }
    let (labels, annotations) = host_metadata(claim, "persistentvolumeclaims", tenant, settings);
    let mut host = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": meta::name(claim),
            "namespace": names::host_namespace(tenant, &settings.name, meta::namespace(claim)),
            "labels": labels, "annotations": annotations,
        },
        "spec": spec,
    });
    applied_stamp(&mut host);
    Ok(host)
}

/// The status that the tenant's claim shall have.
pub fn claim_status(host: &Value) -> Value {
    let fields = STATUS.iter().filter_map(|f| Some(((*f).to_owned(), host["status"].get(*f)?.clone())));
    Value::Object(fields.collect())
}

/// The volume that a tenant sees behind its claim.
pub fn volume_translate(volume: &Value, claim: &Value) -> Value {
    let original = &volume["spec"];
    let name = meta::name(volume);
    let mut spec: Map<String, Value> =
        ["capacity", "accessModes", "volumeMode", "storageClassName", "persistentVolumeReclaimPolicy"]
            .into_iter()
            .filter_map(|field| Some((field.to_owned(), original.get(field)?.clone())))
            .collect();
    spec.insert("csi".to_owned(), json!({"driver": DRIVER, "volumeHandle": name}));
    spec.insert(
        "claimRef".to_owned(),
        json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": meta::namespace(claim),
            "name": meta::name(claim), "uid": meta::uid(claim),
        }),
    );
    json!({
        "apiVersion": "v1", "kind": "PersistentVolume",
        "metadata": {"name": name, "annotations": {(marks::RESOURCE): "persistentvolumes"}},
        "spec": spec,
        "status": {"phase": str_at(volume, &["status", "phase"])},
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::{Allow, Policy};

    const TENANT: TenantId = TenantId::from_bytes([5; 16]);

    fn settings() -> TenantSettings {
        let storage_classes = Allow { all: false, names: vec!["standard".into()] };
        let policy = Arc::new(Policy { storage_classes, ..Policy::default() });
        TenantSettings { policy, ..TenantSettings::demo() }
    }

    fn claim(extra: Value) -> Value {
        let mut spec = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "3Gi"}}, "volumeMode": "Filesystem"});
        spec.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        json!({"metadata": {"name": "data", "namespace": "shop", "uid": "u"}, "spec": spec})
    }

    #[test]
    fn a_claim_asks_for_storage_and_for_nothing_that_exists() {
        let host =
            claim_translate(&claim(json!({"storageClassName": "standard"})), TENANT, &settings(), false).unwrap();
        assert_eq!(
            host["spec"],
            json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "3Gi"}},
                "volumeMode": "Filesystem", "storageClassName": "standard"})
        );
        for (field, value) in [
            ("storageClassName", json!("gold")),
            ("selector", json!({"matchLabels": {"a": "b"}})),
            ("volumeName", json!("pv-of-another")),
            ("dataSource", json!({"kind": "VolumeSnapshot", "apiGroup": "snapshot.storage.k8s.io", "name": "s"})),
            ("dataSourceRef", json!({"kind": "PersistentVolumeClaim", "name": "c", "namespace": "kube-system"})),
            ("volumeAttributesClassName", json!("fast")),
        ] {
            let refused = claim_translate(&claim(json!({field: value})), TENANT, &settings(), false).unwrap_err();
            assert_eq!(refused[0].field, format!("spec.{field}"));
        }
        let bound = claim(json!({"volumeName": "pv"}));
        assert!(claim_translate(&bound, TENANT, &settings(), true).unwrap()["spec"].get("volumeName").is_none());
    }

    #[test]
    fn a_volume_shows_nothing_of_how_it_is_provided() {
        let volume = json!({
            "metadata": {"name": "pvc-1", "uid": "host", "annotations": {"provisioner": "secret"}},
            "spec": {"capacity": {"storage": "3Gi"}, "accessModes": ["ReadWriteOnce"], "nfs": {"server": "10.1.1.1", "path": "/x"},
                "nodeAffinity": {}, "claimRef": {"namespace": "host-ns"}, "persistentVolumeReclaimPolicy": "Delete"},
            "status": {"phase": "Bound"},
        });
        let out = volume_translate(&volume, &claim(json!({})));
        assert_eq!(out["spec"]["claimRef"]["namespace"], "shop");
        for hidden in ["10.1.1.1", "host-ns", "secret", "\"host\""] {
            assert!(!out.to_string().contains(hidden), "{hidden}");
        }
    }
}
