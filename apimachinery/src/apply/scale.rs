//! Ownership of the replicas field as `/scale` sees it.
//!
//! Source: `k8s.io/apimachinery/pkg/util/managedfields/scalehandler.go`.

use serde_json::Value;
use smol_str::SmolStr;

use super::fieldset::{FieldPath, FieldSet, PathElement};
use super::managed::{self, Managed};

const SCALE_VERSION: &str = "autoscaling/v1";

/// Where each version of a kind (`apps/v1`) has its replicas, as field names; empty if it has no scale subresource there.
pub type ReplicasPaths = [(SmolStr, Vec<SmolStr>)];

fn path_in(paths: &ReplicasPaths, version: &str) -> Option<FieldPath> {
    let (_, path) = paths.iter().find(|(v, _)| v == version)?;
    Some(path.iter().map(|f| PathElement::Field(f.clone())).collect())
}

fn replicas_of_scale() -> FieldSet {
    FieldSet::of_fields(&["spec.replicas"])
}

/// Gives a Scale the managed fields that its parent's have about replicas.
///
/// # Errors
/// A message, if the parent's managed fields are malformed.
pub fn scale_to_subresource(parent: &Value, scale: &mut Value, paths: &ReplicasPaths) -> Result<(), String> {
    let mut out = Managed::default();
    for (id, mut entry) in managed::decode(parent)?.0 {
        let owns = path_in(paths, &entry.api_version).is_some_and(|path| entry.set.has(&path));
        if owns {
            entry.api_version = SCALE_VERSION.into();
            entry.set = replicas_of_scale();
            out.0.insert(id, entry);
        }
    }
    managed::encode(&out, scale);
    Ok(())
}

/// Brings what a write to a Scale did to its managed fields back to the parent, whose version is `version`.
///
/// # Errors
/// A message, if either's managed fields are malformed.
pub fn scale_to_parent(parent: &mut Value, scale: &Value, version: &str, paths: &ReplicasPaths) -> Result<(), String> {
    // Entries of the scale carry its version; they are told apart by the identity they have there.
    let mut of_scale = managed::decode(scale)?;
    let mut out = Managed::default();
    for (id, mut entry) in managed::decode(parent)?.0 {
        let Some(path) = path_in(paths, &entry.api_version) else { continue };
        if path.is_empty() || !entry.set.has(&path) {
            out.0.insert(id, entry);
            continue;
        }
        let mut seen_from_scale = entry.clone();
        seen_from_scale.api_version = SCALE_VERSION.into();
        if of_scale.0.remove(&seen_from_scale.identity()).is_none() {
            let mut taken = FieldSet::default();
            taken.insert(&path);
            entry.set = entry.set.difference(&taken);
        }
        if !entry.set.is_empty() {
            out.0.insert(id, entry);
        }
    }
    let own_path = path_in(paths, version).unwrap_or_default();
    for (_, mut entry) in of_scale.0 {
        let replicas: FieldPath = ["spec", "replicas"].into_iter().map(|f| PathElement::Field(f.into())).collect();
        if entry.set.has(&replicas) {
            entry.set = FieldSet::default();
            entry.set.insert(&own_path);
            entry.api_version = version.into();
            // The stock server loses the time here, as it looks for it under the parent's identity of the entry.
            if !entry.applied {
                entry.time = None;
            }
            out.0.insert(entry.identity(), entry);
        }
    }
    managed::encode(&out, parent);
    Ok(())
}
