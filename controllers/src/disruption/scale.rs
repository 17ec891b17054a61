//! How many pods the controllers of a budget's pods want: what a percentage is one of.

use std::collections::HashMap;

use apimachinery::gvk::GroupVersionKind;
use apimachinery::meta::{self, list_at, str_at};
use apimachinery::status::ApiError;
use parking_lot::Mutex;
use serde_json::Value;
use tenant_client::{Object, Resource, Target};

use super::Failure;
use crate::context::{Context, resource};
use crate::controller::Key;
use crate::object::{OwnerReference, controller_of, int_at};

/// What controllers want, as far as it was asked in one look.
#[derive(Default)]
pub(super) struct Scales(Mutex<HashMap<String, Found>>);

/// A controller, the one above it if it has one, and its scale.
#[derive(Clone)]
struct Found {
    uid: String,
    replicas: i64,
}

/// What all controllers of some pods want.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) sum: usize,
    /// Whether some of the pods have no controller.
    pub(super) unmanaged: bool,
}

impl Scales {
    /// Adds up the scales of the pods' controllers, each counted once.
    pub(super) async fn expected(&self, context: &Context, key: Key<'_>, pods: &[Object]) -> Result<Sum, Failure> {
        let mut unmanaged = false;
        let mut all: HashMap<String, i64> = HashMap::new();
        for pod in pods {
            let Some(owner) = controller_of(pod) else {
                unmanaged = true;
                continue;
            };
            let known = self.0.lock().get(&owner.uid).cloned();
            let found = match known {
                Some(found) => found,
                None => {
                    let found = find(context, key, &owner).await?;
                    let found =
                        found.ok_or_else(|| Failure::Spec(format!("found no controllers for pod \"{}\"", pod.name)))?;
                    self.0.lock().insert(owner.uid, found.clone());
                    found
                }
            };
            all.insert(found.uid, found.replicas);
        }
        let sum = usize::try_from(all.into_values().sum::<i64>()).unwrap_or(0);
        Ok(Sum { sum, unmanaged })
    }
}

async fn find(context: &Context, key: Key<'_>, owner: &OwnerReference) -> Result<Option<Found>, Failure> {
    let kind = GroupVersionKind::from_api_version(&owner.api_version, &owner.kind);
    match (kind.group.as_str(), kind.kind.as_str()) {
        ("", "ReplicationController") => built_in(context, key, "", "replicationcontrollers", owner).await,
        ("apps", "StatefulSet") => built_in(context, key, "apps", "statefulsets", owner).await,
        ("apps", "ReplicaSet") => {
            let Some(set) = own(context, key, "apps", "replicasets", owner).await? else { return Ok(None) };
            let above = list_at(&set, &["metadata", "ownerReferences"])
                .iter()
                .find(|o| o["controller"] == true && o["kind"] == "Deployment");
            match above {
                None => Ok(Some(found(&set))),
                Some(above) => {
                    let owner = OwnerReference {
                        name: str_at(above, &["name"]).to_owned(),
                        uid: str_at(above, &["uid"]).to_owned(),
                        ..OwnerReference::default()
                    };
                    built_in(context, key, "apps", "deployments", &owner).await
                }
            }
        }
        _ => by_scale(context, key, &kind, owner).await,
    }
}

async fn built_in(
    context: &Context,
    key: Key<'_>,
    group: &str,
    plural: &str,
    owner: &OwnerReference,
) -> Result<Option<Found>, Failure> {
    Ok(own(context, key, group, plural, owner).await?.as_ref().map(found))
}

async fn own(
    context: &Context,
    key: Key<'_>,
    group: &str,
    plural: &str,
    owner: &OwnerReference,
) -> Result<Option<Value>, ApiError> {
    let found = context.get(key, &resource(group, plural), &owner.name).await?;
    Ok(found.filter(|o| meta::uid(o) == owner.uid))
}

fn found(object: &Value) -> Found {
    Found { uid: meta::uid(object).to_owned(), replicas: int_at(object, &["spec", "replicas"]).unwrap_or(1) }
}

/// Anything else is asked for its scale, as custom resources have one.
async fn by_scale(
    context: &Context,
    key: Key<'_>,
    kind: &GroupVersionKind,
    owner: &OwnerReference,
) -> Result<Option<Found>, Failure> {
    let resources = context.client.resources(key.tenant).await?;
    let is = |r: &&Resource| r.kind.group == kind.group && r.kind.kind == kind.kind;
    let Some(resource) = resources.iter().find(is) else {
        let version = kind.api_version();
        return Err(Failure::Spec(format!("no matches for kind \"{}\" in version \"{version}\"", kind.kind)));
    };
    let namespace = if resource.namespaced { key.namespace } else { "" };
    let target =
        Target { tenant: key.tenant, resource: &resource.resource, namespace, name: &owner.name, subresource: "scale" };
    match context.client.scale(target).await {
        Ok(None) => Err(Failure::Spec(format!("{} does not implement the scale subresource", resource.resource))),
        Ok(Some(scale)) if meta::uid(&scale) == owner.uid => {
            let replicas = int_at(&scale, &["spec", "replicas"]).unwrap_or(0);
            Ok(Some(Found { uid: owner.uid.clone(), replicas }))
        }
        Ok(Some(_)) => Ok(None),
        Err(error) if error.code == 404 => Ok(None),
        Err(error) => Err(error.into()),
    }
}
