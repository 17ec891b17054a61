//! Server-side apply, and the record of ownership that every other write keeps.
//!
//! All functions here are pure: objects in, objects out. [`record_update`] is for create, update, patch and their
//! subresources, [`apply`] for apply patches. Both run before admission and before `status` or `spec` is reset by the path
//! that is written; [`ResetFields`] says which fields such a write cannot own.
//!
//! Sources: `sigs.k8s.io/structured-merge-diff/v6`, `k8s.io/apimachinery/pkg/util/managedfields`, KEP-555, KEP-2885.

mod fieldset;
mod managed;
mod reset;
mod scale;
#[cfg(test)]
mod tests;
mod typed;
mod update;
mod walk;

use serde_json::Value;

pub use fieldset::{FieldPath, FieldSet, FieldsError, PathElement, Scalar, show_path};
pub use managed::keep_times_of_no_op;
pub use reset::ResetFields;
pub use scale::{ReplicasPaths, scale_to_parent, scale_to_subresource};

use crate::gvk::GroupVersionKind;
use crate::schema::{KindSchema, Type};
use crate::status::ApiError;
use managed::Managed;
use typed::{Ty, TypeError};
use update::{Conflict, Failure};

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
const MAX_ANNOTATION_BYTES: usize = 256 * 1024;

/// The other versions of a kind, for objects whose fields are owned in more than one.
pub trait Versions {
    /// The schema of the kind in this version (`apps/v1`); `None` if it is not, or no longer, there.
    fn kind(&self, api_version: &str) -> Option<KindSchema>;
    /// An object in this version, with its schema.
    fn convert(&self, object: &Value, api_version: &str) -> Option<(Value, KindSchema)>;
}

/// There is one version only. Ownership recorded in any other is forgotten.
#[derive(Clone, Copy, Debug, Default)]
pub struct OneVersion;

impl Versions for OneVersion {
    fn kind(&self, _api_version: &str) -> Option<KindSchema> {
        None
    }

    fn convert(&self, _object: &Value, _api_version: &str) -> Option<(Value, KindSchema)> {
        None
    }
}

/// What is written: the kind in the version of the request, and the path of the write.
#[derive(Clone, Copy)]
pub struct Target<'a> {
    /// Schema of the kind.
    pub kind: &'a KindSchema,
    /// Version of the request, in which objects are given: `apps/v1`.
    pub api_version: &'a str,
    /// The subresource that is written; empty for the object itself.
    pub subresource: &'a str,
    /// What the path resets.
    pub reset_fields: &'a ResetFields,
    /// The other versions of the kind.
    pub versions: &'a dyn Versions,
    /// Now, RFC 3339 with seconds.
    pub now: &'a str,
}

/// Records in `new` who owns what after it is written over `live` (`None` on create) by `manager`.
///
/// `new` may bring managed fields of its own, which then are the ground; `[]` and `[{}]` forget all ownership. Through a
/// subresource those of `live` are always the ground. An object that exists without managed fields stays so. If an object
/// is so malformed that ownership cannot be told, its managed fields are dropped, as the stock server does.
pub fn record_update(target: &Target<'_>, live: Option<&Value>, new: &mut Value, manager: &str) {
    let managed = ground(target, live, new);
    managed::take_out(new);
    if managed.0.is_empty() && live.is_some_and(|l| !crate::meta::uid(l).is_empty()) {
        return;
    }
    let before = live_or_empty(target, live);
    if let Ok(managed) = update::update(target, &before, new, managed, manager) {
        managed::encode(&managed, new);
    }
}

fn ground(target: &Target<'_>, live: Option<&Value>, new: &Value) -> Managed {
    let of_live = || live.and_then(|l| managed::decode(l).ok()).unwrap_or_default();
    if !target.subresource.is_empty() {
        return of_live();
    }
    if managed::is_reset(new) {
        return Managed::default();
    }
    match managed::decode(new) {
        Ok(managed) if !managed.0.is_empty() => managed,
        _ => of_live(),
    }
}

/// The live object without its managed fields, or one without anything.
fn live_or_empty(target: &Target<'_>, live: Option<&Value>) -> Value {
    live.map_or_else(|| target.kind.schema.zero(&Type::Struct(target.kind.root)), managed::without)
}

/// Applies `config` as `manager` to `live` (`None` if there is no such object yet).
///
/// The result has its managed fields, and is otherwise as it was if the apply changes nothing. It is not yet canonical,
/// defaulted or validated. `config` must name `gvk`.
///
/// # Errors
/// 409 with a cause per field for conflicts, unless `force`; 400 for an object of another kind or with managed fields; 500
/// without a reason, in stock words, for what does not fit the schema.
pub fn apply(
    target: &Target<'_>,
    gvk: &GroupVersionKind,
    live: Option<&Value>,
    config: &Value,
    manager: &str,
    force: bool,
) -> Result<Value, ApiError> {
    let text = |key: &str| config.get(key).and_then(Value::as_str).unwrap_or_default();
    let given = GroupVersionKind::from_api_version(text("apiVersion"), text("kind"));
    if given != *gvk {
        return Err(ApiError::bad_request(format!("invalid object type: {}", show_gvk(&given))));
    }
    let mut managed = match live.map(managed::decode).transpose() {
        Ok(managed) => managed.unwrap_or_default(),
        Err(message) => return Err(failed(format!("failed to decode managed fields: {message}"))),
    };
    let live = live_or_empty(target, live);
    if managed.0.is_empty() {
        let empty = live_or_empty(target, None);
        managed = update::update(target, &empty, &live, managed, "before-first-apply")
            .map_err(|e| failed(format!("failed to create manager for existing fields: {e}")))?;
    }
    if config.pointer("/metadata/managedFields").is_some_and(|m| !m.is_null()) {
        return Err(ApiError::bad_request("metadata.managedFields must be nil"));
    }
    check_config(target, &given, config)?;
    let (object, managed) = match update::apply(target, &live, config, managed.clone(), manager, force) {
        Err(Failure::Conflicts(conflicts)) if manager == "kubectl" => {
            let conflicts = beyond_last_applied(target, &live, conflicts);
            if !conflicts.is_empty() {
                return Err(conflict_error(&conflicts));
            }
            update::apply(target, &live, config, managed, manager, true)
        }
        result => result,
    }
    .map_err(|failure| match failure {
        Failure::Conflicts(conflicts) => conflict_error(&conflicts),
        Failure::Type(error) => failed(format!("failed to merge config: {error}")),
    })?;
    let mut object = object.unwrap_or(live);
    if manager == "kubectl" {
        refresh_last_applied(&mut object, config);
    }
    managed::encode(&managed, &mut object);
    Ok(object)
}

fn failed(message: String) -> ApiError {
    ApiError::new(500, "", message)
}

fn check_config(target: &Target<'_>, gvk: &GroupVersionKind, config: &Value) -> Result<(), ApiError> {
    let mut errors: Vec<TypeError> = Vec::new();
    let ty = Ty::Struct(target.kind.root);
    typed::check(&target.kind.schema, ty, config, false, &mut Vec::new(), &mut errors);
    if errors.is_empty() {
        return Ok(());
    }
    let (namespace, name) = (crate::meta::namespace(config), crate::meta::name(config));
    let told = match &errors[..] {
        [only] => only.to_string(),
        all => format!("errors:\n{}", all.iter().map(|e| format!("  {e}")).collect::<Vec<_>>().join("\n")),
    };
    let object = format!("{namespace}/{name}; {}", show_gvk(gvk));
    Err(failed(format!("failed to create typed patch object ({object}): {told}")))
}

fn show_gvk(gvk: &GroupVersionKind) -> String {
    format!("{}/{}, Kind={}", gvk.group, gvk.version, gvk.kind)
}

fn conflict_error(conflicts: &[Conflict]) -> ApiError {
    let message = match conflicts {
        [only] => {
            let path = show_path(&only.path);
            format!("Apply failed with 1 conflict: conflict with {}: {path}", only.owner.describe())
        }
        all => {
            let mut lines = Vec::new();
            let mut owner = None;
            for conflict in all {
                let id = conflict.owner.identity();
                if owner.as_ref() != Some(&id) {
                    lines.push(format!("conflicts with {}:", conflict.owner.describe()));
                    owner = Some(id);
                }
                lines.push(format!("- {}", show_path(&conflict.path)));
            }
            format!("Apply failed with {} conflicts: {}", all.len(), lines.join("\n"))
        }
    };
    conflicts.iter().fold(ApiError::new(409, "Conflict", message), |error, conflict| {
        let text = format!("conflict with {}", conflict.owner.describe());
        error.with_cause("FieldManagerConflict", text, &show_path(&conflict.path))
    })
}

/// `kubectl apply --server-side` takes over what `kubectl apply` owned: fields that still are as the annotation says.
fn beyond_last_applied(target: &Target<'_>, live: &Value, conflicts: Vec<Conflict>) -> Vec<Conflict> {
    let Some(last) = last_applied(live).and_then(|text| serde_json::from_str::<Value>(text).ok()) else {
        return conflicts;
    };
    if last.get("apiVersion").and_then(Value::as_str) != Some(target.api_version) {
        return conflicts;
    }
    update::beyond_last_applied(target, live, &last, &conflicts).unwrap_or(conflicts)
}

fn last_applied(object: &Value) -> Option<&str> {
    object.get("metadata")?.get("annotations")?.get(LAST_APPLIED)?.as_str().filter(|s| !s.is_empty())
}

/// Keeps the annotation of client-side apply in step, so that one can go back to it.
fn refresh_last_applied(object: &mut Value, config: &Value) {
    if last_applied(object).is_none() {
        return;
    }
    let mut applied = config.clone();
    if let Some(annotations) = applied.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.remove(LAST_APPLIED);
        if annotations.is_empty()
            && let Some(metadata) = applied.get_mut("metadata").and_then(Value::as_object_mut)
        {
            metadata.remove("annotations");
        }
    }
    let text = fieldset::go_json(&applied) + "\n";
    let Some(annotations) = object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) else { return };
    annotations.insert(LAST_APPLIED.to_owned(), Value::String(text));
    let size: usize = annotations.iter().map(|(k, v)| k.len() + v.as_str().map_or(0, str::len)).sum();
    if size > MAX_ANNOTATION_BYTES {
        annotations.remove(LAST_APPLIED);
    }
}
