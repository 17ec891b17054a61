//! Which config maps and secrets a pod needs on the host.

use std::collections::BTreeSet;

use apimachinery::meta::list_at;
use serde_json::Value;

use super::security::CONTAINER_LISTS;

/// An object that a pod refers to, by its tenant name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Use {
    /// A config map.
    ConfigMap(String),
    /// A secret.
    Secret(String),
}

/// What a tenant pod refers to.
pub fn pod_uses(pod: &Value) -> BTreeSet<Use> {
    let mut uses = BTreeSet::new();
    let mut config_map = |value: &Value| add(&mut uses, value, Use::ConfigMap);
    for volume in list_at(pod, &["spec", "volumes"]) {
        config_map(&volume["configMap"]["name"]);
        for source in list_at(volume, &["projected", "sources"]) {
            config_map(&source["configMap"]["name"]);
        }
    }
    for container in containers(pod) {
        for source in list_at(container, &["envFrom"]) {
            config_map(&source["configMapRef"]["name"]);
        }
        for variable in list_at(container, &["env"]) {
            config_map(&variable["valueFrom"]["configMapKeyRef"]["name"]);
        }
    }
    let mut secret = |value: &Value| add(&mut uses, value, Use::Secret);
    for reference in list_at(pod, &["spec", "imagePullSecrets"]) {
        secret(&reference["name"]);
    }
    for volume in list_at(pod, &["spec", "volumes"]) {
        secret(&volume["secret"]["secretName"]);
        secret(&volume["csi"]["nodePublishSecretRef"]["name"]);
        for source in list_at(volume, &["projected", "sources"]) {
            secret(&source["secret"]["name"]);
        }
    }
    for container in containers(pod) {
        for source in list_at(container, &["envFrom"]) {
            secret(&source["secretRef"]["name"]);
        }
        for variable in list_at(container, &["env"]) {
            secret(&variable["valueFrom"]["secretKeyRef"]["name"]);
        }
    }
    uses
}

fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    CONTAINER_LISTS.into_iter().flat_map(|list| list_at(pod, &["spec", list]))
}

fn add(uses: &mut BTreeSet<Use>, name: &Value, kind: fn(String) -> Use) {
    if let Some(name) = name.as_str().filter(|n| !n.is_empty()) {
        uses.insert(kind(name.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_way_to_refer_to_something_is_found() {
        let pod = json!({"spec": {
            "imagePullSecrets": [{"name": "s1"}],
            "volumes": [
                {"name": "a", "configMap": {"name": "c1"}}, {"name": "b", "secret": {"secretName": "s2"}},
                {"name": "c", "projected": {"sources": [{"configMap": {"name": "c2"}}, {"secret": {"name": "s3"}}]}},
                {"name": "d", "csi": {"driver": "x", "nodePublishSecretRef": {"name": "s4"}}},
            ],
            "initContainers": [{"envFrom": [{"configMapRef": {"name": "c3"}}, {"secretRef": {"name": "s5"}}]}],
            "containers": [{"env": [{"valueFrom": {"configMapKeyRef": {"name": "c4"}}}, {"valueFrom": {"secretKeyRef": {"name": "s6"}}}]}],
            "ephemeralContainers": [{"envFrom": [{"configMapRef": {"name": "c1"}}]}],
        }});
        let (config_maps, secrets): (Vec<_>, Vec<_>) =
            pod_uses(&pod).into_iter().partition(|u| matches!(u, Use::ConfigMap(_)));
        assert_eq!((config_maps.len(), secrets.len()), (4, 6));
        assert!(pod_uses(&json!({"spec": "garbage"})).is_empty());
    }
}
