//! What an API server serves, from its aggregated discovery documents.

use std::collections::HashMap;
use std::sync::Arc;

use apimachinery::builtin;
use apimachinery::envelope::Stored;
use apimachinery::gvk::{GroupResource, GroupVersionKind};
use apimachinery::meta::{self, list_at, str_at};
use apimachinery::rules::rules_for;
use apimachinery::status::ApiError;
use serde_json::Value;
use smol_str::SmolStr;

use super::api::encode;
use crate::Object;

/// A resource in the version that is spoken with its server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Served {
    pub(crate) resource: Arc<GroupResource>,
    pub(crate) kind: Arc<GroupVersionKind>,
    pub(crate) namespaced: bool,
    pub(crate) verbs: Vec<SmolStr>,
    /// Whether it has a `scale` subresource.
    pub(crate) scales: bool,
}

/// All resources of a server.
pub(crate) type All = HashMap<GroupResource, Arc<Served>>;

impl Served {
    /// Whether it has all of these verbs.
    pub(crate) fn allows(&self, verbs: &[&str]) -> bool {
        verbs.iter().all(|verb| self.verbs.iter().any(|v| v == verb))
    }

    /// The path of an object, of a collection (`name` empty) or of a subresource.
    pub(crate) fn path(&self, namespace: &str, name: &str, subresource: &str) -> String {
        let root = if self.kind.group.is_empty() { "/api/" } else { "/apis/" };
        let mut path = format!("{root}{}", self.kind.api_version());
        let namespace = if self.namespaced && !namespace.is_empty() { ["namespaces", namespace] } else { ["", ""] };
        for part in namespace.into_iter().chain([self.resource.resource.as_str(), name, subresource]) {
            if !part.is_empty() {
                path.push('/');
                path.push_str(&encode(part));
            }
        }
        path
    }

    /// An object as the server sends it, over the seam.
    ///
    /// # Errors
    /// 500 if it is none: without a uid or a decimal `resourceVersion`.
    pub(crate) fn object(&self, value: &Value) -> Result<Object, ApiError> {
        let fields = rules_for(&self.resource).selectable_fields(value);
        let fields: Vec<(&str, &str)> = fields.iter().map(|(k, v)| (*k, v.as_ref())).collect();
        Ok(Object {
            kind: Arc::clone(&self.kind),
            namespace: meta::namespace(value).into(),
            name: meta::name(value).into(),
            revision: revision(value)?,
            stored: Stored::encode(&self.kind.version, value, &fields).map_err(ApiError::internal)?,
        })
    }
}

/// The `resourceVersion` of an object or list.
pub(crate) fn revision(value: &Value) -> Result<u64, ApiError> {
    let text = str_at(value, &["metadata", "resourceVersion"]);
    text.parse().map_err(|_| ApiError::internal(format!("resourceVersion {text:?} is no decimal number")))
}

/// Adds the resources of an `APIGroupDiscoveryList`: each in the version that is stored, where that is known and served, else
/// in the one that the server prefers.
pub(crate) fn read(document: &Value, all: &mut All) {
    for group in list_at(document, &["items"]) {
        let name = meta::name(group);
        for version in list_at(group, &["versions"]) {
            for resource in list_at(version, &["resources"]) {
                let (plural, number) = (str_at(resource, &["resource"]), str_at(version, &["version"]));
                // Events have two faces; the one of the core group is followed.
                if name == "events.k8s.io" && plural == "events" {
                    continue;
                }
                let key = GroupResource::new(name, plural);
                let stored = builtin::resource_any_version(name, plural);
                if all.contains_key(&key) && stored.is_none_or(|s| s.storage_version != number) {
                    continue;
                }
                let verbs = list_at(resource, &["verbs"]).iter().filter_map(Value::as_str).map(SmolStr::new);
                let served = Served {
                    resource: Arc::new(key.clone()),
                    kind: Arc::new(GroupVersionKind::new(name, number, str_at(resource, &["responseKind", "kind"]))),
                    namespaced: str_at(resource, &["scope"]) == "Namespaced",
                    verbs: verbs.collect(),
                    scales: list_at(resource, &["subresources"]).iter().any(|s| s["subresource"] == "scale"),
                };
                all.insert(key, Arc::new(served));
            }
        }
    }
}
