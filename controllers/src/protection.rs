//! Storage objects that are deleted stay while they are used: claims while pods mount them, volumes while they are bound,
//! volume attributes classes while claims and volumes name them.
//!
//! Admission puts the finalizers on (`StorageObjectInUseProtection`), here they are taken off. Source of behaviour:
//! `k8s.io/kubernetes/pkg/controller/volume/{pvcprotection,pvprotection,vacprotection}`.

use std::collections::BTreeSet;

use apimachinery::meta::{self, list_at, str_at};
use apimachinery::status::ApiError;
use async_trait::async_trait;
use serde_json::{Value, json};
use tenant_client::{Caller, Change, Object};

use crate::context::{Context, resource};
use crate::controller::{Again, Controller, Key};
use crate::object::{deleting, int_at};

const CLAIM: (&str, &str) = ("", "persistentvolumeclaims");
const VOLUME: (&str, &str) = ("", "persistentvolumes");
const CLASS: (&str, &str) = ("storage.k8s.io", "volumeattributesclasses");

/// Lets one kind of storage objects go. Keys are its objects.
pub(crate) struct Protection {
    name: &'static str,
    of: &'static [(&'static str, &'static str)],
    finalizer: &'static str,
    caller: Caller,
}

impl Protection {
    /// PersistentVolumeClaims.
    pub(crate) fn claims() -> Self {
        Self {
            name: "persistentvolumeclaim-protection",
            of: &[CLAIM],
            finalizer: "kubernetes.io/pvc-protection",
            caller: Caller {
                user: "system:serviceaccount:kube-system:pvc-protection-controller",
                manager: "kube-controller-manager",
            },
        }
    }

    /// PersistentVolumes.
    pub(crate) fn volumes() -> Self {
        Self {
            name: "persistentvolume-protection",
            of: &[VOLUME],
            finalizer: "kubernetes.io/pv-protection",
            caller: Caller {
                user: "system:serviceaccount:kube-system:pv-protection-controller",
                manager: "kube-controller-manager",
            },
        }
    }

    /// VolumeAttributesClasses.
    pub(crate) fn classes() -> Self {
        Self {
            name: "volumeattributesclass-protection",
            of: &[CLASS],
            finalizer: "kubernetes.io/vac-protection",
            caller: Caller {
                user: "system:serviceaccount:kube-system:vac-protection-controller",
                manager: "kube-controller-manager",
            },
        }
    }

    fn is(&self, of: (&str, &str)) -> bool {
        self.of == [of]
    }

    async fn in_use(&self, context: &Context, key: Key<'_>, object: &Value) -> Result<bool, ApiError> {
        if self.is(CLAIM) {
            let pods = context.list(key, &resource("", "pods")).await?;
            return any(&pods, |pod| mounts(pod, object));
        }
        if self.is(VOLUME) {
            return Ok(str_at(object, &["status", "phase"]) == "Bound");
        }
        for (group, plural) in [VOLUME, CLAIM] {
            let all = context.client.list(key.tenant, &resource(group, plural), None).await?.items;
            if any(&all, |o| classes(o).contains(key.name))? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

#[async_trait]
impl Controller for Protection {
    fn name(&self) -> &'static str {
        self.name
    }

    fn resources(&self) -> &'static [(&'static str, &'static str)] {
        self.of
    }

    fn keys(&self, change: &Change, add: &mut dyn FnMut(&str, &str)) {
        let of = (change.resource.group.as_str(), change.resource.resource.as_str());
        if self.is(of) {
            if let Some(new) = change.new.as_ref().filter(|n| n.stored.deleting() && n.stored.has_finalizers()) {
                add(&new.namespace, &new.name);
            }
            return;
        }
        // What no longer uses an object may have been the last that did.
        let Some(old) = &change.old else { return };
        if of == ("", "pods") && self.is(CLAIM) && change.new.as_ref().is_none_or(|n| n.stored.deleting()) {
            if let Ok(pod) = old.to_value() {
                claims(&pod).iter().for_each(|claim| add(&old.namespace, claim));
            }
        } else if (of == VOLUME || of == CLAIM) && self.is(CLASS) {
            let named = |object: &Object| object.to_value().map(|o| classes(&o)).unwrap_or_default();
            let still = change.new.as_ref().map(named).unwrap_or_default();
            named(old).difference(&still).for_each(|class| add("", class));
        }
    }

    async fn reconcile(&self, context: &Context, key: Key<'_>) -> Result<Again, ApiError> {
        let [(group, plural)] = self.of else { return Ok(None) };
        let what = resource(group, plural);
        let Some(object) = context.get(key, &what, key.name).await? else { return Ok(None) };
        let finalizers = list_at(&object, &["metadata", "finalizers"]);
        if !deleting(&object) || !finalizers.iter().any(|f| f == self.finalizer) {
            return Ok(None);
        }
        if self.in_use(context, key, &object).await? {
            return Ok(None);
        }
        let left: Vec<&Value> = finalizers.iter().filter(|f| *f != self.finalizer).collect();
        let version = meta::text(&object, "resourceVersion");
        let patch = json!({"metadata": {"finalizers": left, "resourceVersion": version}});
        match context.merge(self.caller, key, &what, key.name, meta::uid(&object), patch).await {
            Err(error) if error.code == 404 => Ok(None),
            result => result.map(|()| None),
        }
    }
}

fn any(objects: &[Object], is: impl Fn(&Value) -> bool) -> Result<bool, ApiError> {
    for object in objects {
        if is(&object.to_value()?) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The names of the claims that a pod has volumes of, its own generic ephemeral ones included.
fn claims(pod: &Value) -> Vec<String> {
    let mut names = Vec::new();
    for volume in list_at(pod, &["spec", "volumes"]) {
        let claim = str_at(volume, &["persistentVolumeClaim", "claimName"]);
        if !claim.is_empty() {
            names.push(claim.to_owned());
        } else if volume.get("ephemeral").is_some() {
            names.push(format!("{}-{}", meta::name(pod), str_at(volume, &["name"])));
        }
    }
    names
}

/// Whether a pod keeps a claim. One that is not scheduled does not: no kubelet starts it with a claim that goes.
fn mounts(pod: &Value, claim: &Value) -> bool {
    if str_at(pod, &["spec", "nodeName"]).is_empty() {
        return false;
    }
    let shut_down = deleting(pod) && int_at(pod, &["metadata", "deletionGracePeriodSeconds"]) == Some(0);
    let owners = list_at(claim, &["metadata", "ownerReferences"]);
    let of_pod = owners.iter().any(|o| o["controller"] == true && o["uid"] == pod["metadata"]["uid"]);
    list_at(pod, &["spec", "volumes"]).iter().any(|volume| {
        if str_at(volume, &["persistentVolumeClaim", "claimName"]) == meta::name(claim) {
            return true;
        }
        let own = format!("{}-{}", meta::name(pod), str_at(volume, &["name"]));
        volume.get("ephemeral").is_some() && !shut_down && of_pod && own == meta::name(claim)
    })
}

/// The volume attributes classes that a claim or a volume names.
fn classes(object: &Value) -> BTreeSet<String> {
    let paths: [&[&str]; 3] = [
        &["spec", "volumeAttributesClassName"],
        &["status", "currentVolumeAttributesClassName"],
        &["status", "modifyVolumeStatus", "targetVolumeAttributesClassName"],
    ];
    paths.iter().map(|path| str_at(object, path)).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(node: &str, volume: Value) -> Value {
        json!({"metadata": {"name": "p", "uid": "u"}, "spec": {"nodeName": node, "volumes": [volume]}})
    }

    #[test]
    fn a_claim_is_kept_by_scheduled_pods_that_name_it() {
        let claim = json!({"metadata": {"name": "c"}});
        let volume = json!({"name": "v", "persistentVolumeClaim": {"claimName": "c"}});
        assert!(mounts(&pod("n", volume.clone()), &claim));
        assert!(!mounts(&pod("", volume), &claim));
        assert!(!mounts(&pod("n", json!({"name": "c", "emptyDir": {}})), &claim));
    }

    #[test]
    fn a_generic_ephemeral_claim_is_kept_by_its_own_pod_until_that_is_shut_down() {
        let own = json!({"metadata": {"name": "p-v", "ownerReferences": [{"uid": "u", "controller": true}]}});
        let other = json!({"metadata": {"name": "p-v"}});
        let mut pod = pod("n", json!({"name": "v", "ephemeral": {}}));
        assert_eq!(claims(&pod), ["p-v"]);
        assert!(mounts(&pod, &own) && !mounts(&pod, &other));
        pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        pod["metadata"]["deletionGracePeriodSeconds"] = json!(0);
        assert!(!mounts(&pod, &own));
    }

    #[test]
    fn classes_are_named_in_three_places() {
        let claim = json!({
            "spec": {"volumeAttributesClassName": "a"},
            "status": {"currentVolumeAttributesClassName": "b", "modifyVolumeStatus": {"targetVolumeAttributesClassName": "a"}},
        });
        assert_eq!(classes(&claim).into_iter().collect::<Vec<_>>(), ["a", "b"]);
    }
}
