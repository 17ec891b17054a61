//! Tenant namespace to host namespace, and what stands in it before anything else.

use apimachinery::meta;
use apimachinery::tenant::TenantId;
use serde_json::{Map, Value, json};

use crate::config::{HostAccess, TenantSettings};
use crate::covers::applied_stamp;
use crate::marks::{self, Mark};
use crate::names;

/// The host namespace.
///
/// # Guarantees
/// No label of the tenant stands on it as such, only copies below our own domain: the labels that the host's admission
/// and network policies ask for are the admin's.
pub fn namespace_translate(namespace: &Value, tenant: TenantId, settings: &TenantSettings) -> Value {
    let name = meta::name(namespace);
    let (mut labels, mut annotations) = (Map::new(), Map::new());
    let theirs = meta::at(namespace, &["metadata", "labels"]).and_then(Value::as_object);
    for (key, value) in theirs.into_iter().flatten().filter(|(key, _)| !marks::is_ours(key)) {
        labels.insert(names::namespace_label(key), value.clone());
    }
    let level = settings.policy.pods.security.as_label();
    labels.insert("pod-security.kubernetes.io/enforce".to_owned(), json!(level));
    labels.insert("pod-security.kubernetes.io/enforce-version".to_owned(), json!("latest"));
    let mark = Mark {
        tenant,
        resource: "namespaces".to_owned(),
        namespace: String::new(),
        name: name.to_owned(),
        uid: meta::uid(namespace).to_owned(),
    };
    mark.write(&settings.name, &mut labels, &mut annotations);
    let mut object = json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {
            "name": names::host_namespace(tenant, &settings.name, name), "labels": labels, "annotations": annotations,
        },
    });
    applied_stamp(&mut object);
    object
}

/// The binding of our own role in a host namespace.
pub fn namespace_binding_translate(host_namespace: &str, tenant: TenantId, access: &HostAccess) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {
            "name": "tenantry", "namespace": host_namespace, "labels": {(marks::TENANT): tenant.to_string()},
        },
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": access.cluster_role},
        "subjects": [{
            "kind": "ServiceAccount", "name": access.service_account, "namespace": access.service_account_namespace,
        }],
    })
}

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn labels_that_hosts_act_on_are_the_admins() {
        let settings = TenantSettings::demo();
        let tenant = TenantId::from_bytes([5; 16]);
        let namespace = json!({"metadata": {"name": "shop", "uid": "u", "labels": {
            "pod-security.kubernetes.io/enforce": "privileged", "tenantry.io/tenant": "forged", "team": "x",
            "istio-injection": "enabled"}, "annotations": {"scheduler.alpha.kubernetes.io/node-selector": "a=b"}}});
        let host = namespace_translate(&namespace, tenant, &settings);
        let labels = host["metadata"]["labels"].as_object().unwrap();
        assert_eq!(labels["pod-security.kubernetes.io/enforce"], "baseline");
        assert_eq!(labels["tenantry.io/tenant"], tenant.to_string());
        assert_eq!(labels["ns.tenantry.io/team"], "x");
        assert!(!labels.contains_key("istio-injection") && !labels.contains_key("team"));
        let annotations = host["metadata"]["annotations"].as_object().unwrap();
        assert!(annotations.keys().all(|k| marks::is_ours(k)), "{annotations:?}");
    }
}
