//! Who owns which field: `metadata.managedFields`, kept with every write.

use apimachinery::apply::{self, OneVersion, ResetFields, Target};
use apimachinery::resource::Resource;
use apimachinery::schema::KindSchema;
use apimachinery::status::ApiError;
use apimachinery::{builtin, gvk::GroupVersionKind};
use serde_json::Value;

use crate::conversion;

/// The other versions of a built-in kind.
struct BuiltIn<'a>(&'a Resource);

impl BuiltIn<'_> {
    fn there(&self, api_version: &str) -> GroupVersionKind {
        GroupVersionKind::from_api_version(api_version, &self.0.gvk.kind)
    }
}

impl apply::Versions for BuiltIn<'_> {
    fn kind(&self, api_version: &str) -> Option<KindSchema> {
        builtin::kind_schema(&self.there(api_version))
    }

    fn convert(&self, object: &Value, api_version: &str) -> Option<(Value, KindSchema)> {
        let to = self.there(api_version);
        let converted = conversion::convert(object.clone(), &self.0.gvk, &to).ok()?;
        Some((converted, builtin::kind_schema(&to)?))
    }
}

fn with_target<T>(resource: &Resource, subresource: &str, now: &str, then: impl FnOnce(&Target<'_>) -> T) -> T {
    let has_status = resource.subresource("status").is_some();
    let reset = ResetFields::of(&resource.group_resource(), subresource, has_status, resource.custom);
    let api_version = resource.gvk.api_version();
    let versions: &dyn apply::Versions = if resource.custom { &OneVersion } else { &BuiltIn(resource) };
    then(&Target {
        kind: &resource.schema,
        api_version: &api_version,
        subresource,
        reset_fields: &reset,
        versions,
        now,
    })
}

/// Records who created an object. It is in the version of the resource, canonical and defaulted.
pub(crate) fn record_create(resource: &Resource, mut object: Value, manager: &str, now: &str) -> Value {
    with_target(resource, "", now, |target| apply::record_update(target, None, &mut object, manager));
    object
}

/// Records who changed what.
pub(crate) fn record_update(
    resource: &Resource,
    live: &Value,
    mut object: Value,
    manager: &str,
    now: &str,
    subresource: &str,
) -> Value {
    with_target(resource, subresource, now, |target| {
        apply::record_update(target, Some(live), &mut object, manager);
    });
    object
}

/// What an applied configuration makes of the present object, with its managed fields.
///
/// # Errors
/// 409 for fields that others own, 400 and 500 for a configuration that does not fit.
pub(crate) fn apply(
    resource: &Resource,
    live: Option<&Value>,
    config: &Value,
    manager: &str,
    force: bool,
    now: &str,
    subresource: &str,
) -> Result<Value, ApiError> {
    with_target(resource, subresource, now, |target| apply::apply(target, &resource.gvk, live, config, manager, force))
}

/// Records in a `Scale` who changed it.
pub(crate) fn record_scale(
    kind: &GroupVersionKind,
    schema: &KindSchema,
    live: &Value,
    scale: &mut Value,
    manager: &str,
    now: &str,
) {
    let api_version = kind.api_version();
    let reset = ResetFields::default();
    let target = target_of(schema, &api_version, "scale", &reset, now);
    apply::record_update(&target, Some(live), scale, manager);
}

/// Records who posted an object of a kind that is not stored.
pub(crate) fn record_post(
    kind: &GroupVersionKind,
    schema: &KindSchema,
    mut object: Value,
    manager: &str,
    now: &str,
    subresource: &str,
) -> Value {
    let api_version = kind.api_version();
    let reset = ResetFields::default();
    apply::record_update(&target_of(schema, &api_version, subresource, &reset, now), None, &mut object, manager);
    object
}

fn target_of<'a>(
    schema: &'a KindSchema,
    api_version: &'a str,
    subresource: &'a str,
    reset_fields: &'a ResetFields,
    now: &'a str,
) -> Target<'a> {
    Target { kind: schema, api_version, subresource, reset_fields, versions: &OneVersion, now }
}

/// What an applied `Scale` makes of the present one, with its managed fields.
///
/// # Errors
/// As [`apply`].
pub(crate) fn apply_scale(
    kind: &GroupVersionKind,
    schema: &KindSchema,
    live: &Value,
    config: &Value,
    manager: &str,
    force: bool,
    now: &str,
) -> Result<Value, ApiError> {
    let api_version = kind.api_version();
    let reset = ResetFields::default();
    let target = target_of(schema, &api_version, "scale", &reset, now);
    apply::apply(&target, kind, Some(live), config, manager, force)
}

/// Takes the old times over where nothing but times of managed fields differs.
pub(crate) fn ignore_timestamps(new: &mut Value, old: &Value) {
    apply::keep_times_of_no_op(old, new);
}
