//! Patches: each is a function of the present object, computed anew when someone else was faster.

use crate::ownership as managed;
use apimachinery::meta;
use apimachinery::patch::{self, PatchType};
use apimachinery::status::ApiError;
use serde_json::Value;

use super::{Call, Registry, Updated};
use crate::decode;

/// A patch that was read, and its kind.
#[derive(Clone, Debug)]
pub struct Patch {
    /// Its kind.
    pub kind: PatchType,
    /// The patch; of an apply, the applied configuration.
    pub value: Value,
    /// Apply: take over what others own.
    pub force: bool,
    /// What strict field validation has to say of the patch itself.
    pub strict: Vec<String>,
}

impl Registry {
    /// Patches an object. An apply creates it if it is not there.
    ///
    /// # Errors
    /// 400, 415 or 422 for a patch that does not fit; 409 for a `resourceVersion` that is not the present one, and
    /// for an apply that meets other owners.
    pub async fn patch(&self, call: &Call, patch: &Patch) -> Result<Updated, ApiError> {
        if patch.kind == PatchType::Apply {
            return self.apply(call, &patch.value, patch.force).await;
        }
        let now = call.now_text();
        let change = |live: Option<&Value>| {
            let Some(live) = live else {
                return Err(ApiError::not_found(&call.resource.group_resource(), &call.name));
            };
            let patched = patched(call, live, patch)?;
            let new = self.defaulted(call, decode::patched(call, patched, patch)?)?;
            super::update::check_name(call, &new)?;
            Ok(managed::record_update(&call.resource, live, new, &call.manager, &now, &call.subresource))
        };
        self.modify(call, None, false, &change).await
    }

    async fn apply(&self, call: &Call, applied: &Value, force: bool) -> Result<Updated, ApiError> {
        let change = |live: Option<&Value>| {
            let merged = decode::applied(call, live, applied, force)?;
            super::update::check_name(call, &merged)?;
            self.defaulted(call, merged)
        };
        let uid = meta::uid(applied);
        self.modify(call, (!uid.is_empty()).then_some(uid), call.subresource.is_empty(), &change).await
    }
}

/// The object after a patch, not yet canonical.
fn patched(call: &Call, live: &Value, patch: &Patch) -> Result<Value, ApiError> {
    match patch.kind {
        PatchType::Json => patch::json::apply(live.clone(), &patch.value),
        PatchType::Merge => patch::merge::apply(live.clone(), patch.value.clone()),
        PatchType::Strategic => patch::strategic::apply(&call.resource.schema, live.clone(), patch.value.clone()),
        PatchType::Apply => Err(ApiError::internal("an apply is not patched")),
    }
}
