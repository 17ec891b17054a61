//! What a persistent volume claim uses: itself and its storage, also under the name of its storage class.

use serde_json::Value;
use smol_str::format_smolstr;

use super::scope::attributes_classes;
use super::{Amounts, one};
use crate::meta;
use crate::quantity::Quantity;
use crate::rules::quantities;

const BY_CLASS: &str = ".storageclass.storage.k8s.io/";
const CLAIMS: &str = "persistentvolumeclaims";
const STORAGE: &str = "requests.storage";

/// Whether a quota of this name counts claims or their storage.
pub(super) fn counts(name: &str) -> bool {
    [CLAIMS, STORAGE]
        .iter()
        .any(|counted| name == *counted || name.strip_suffix(counted).is_some_and(|class| class.ends_with(BY_CLASS)))
}

/// What a claim uses. Storage counts in whole bytes, and as allocated where that is more than asked for.
pub(super) fn usage(claim: &Value) -> Amounts {
    let by_annotation = meta::at(claim, &["metadata", "annotations", "volume.beta.kubernetes.io/storage-class"]);
    let class = match by_annotation.and_then(Value::as_str) {
        Some(annotated) => annotated,
        None => meta::str_at(claim, &["spec", "storageClassName"]),
    };
    let mut used = Amounts::default();
    let mut put = |name: &str, amount: Quantity| {
        if !class.is_empty() {
            used.set(format_smolstr!("{class}{BY_CLASS}{name}"), amount.clone());
        }
        used.set(name, amount);
    };
    put(CLAIMS, one());
    if let Some(storage) = storage(claim) {
        put(STORAGE, storage);
    }
    used
}

fn storage(claim: &Value) -> Option<Quantity> {
    let read = |path: &[&str]| meta::at(claim, path).and_then(quantities::quantity);
    let asked = read(&["spec", "resources", "requests", "storage"])?;
    let allocated = read(&["status", "allocatedResources", "storage"]);
    let counted = allocated.filter(|a| *a > asked).unwrap_or(asked);
    Some(if counted.is_whole() { counted } else { Quantity::from_int(counted.value(), counted.format()) })
}

/// Whether a change of the status changes what the claim counts for.
pub(super) fn status_counts(new: &Value, old: &Value) -> bool {
    let allocated =
        |claim: &Value| meta::at(claim, &["status", "allocatedResources", "storage"]).and_then(quantities::quantity);
    allocated(new) != allocated(old) || attributes_classes(new) != attributes_classes(old)
}
