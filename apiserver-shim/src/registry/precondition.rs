//! `preconditions` of deletes, and the uid of a PUT.

use apimachinery::meta;
use apimachinery::status::ApiError;

use super::{Call, Live, place};

/// Refuses a write whose object has another uid than the one that stands there.
pub(super) fn check_uid(call: &Call, wanted: Option<&str>, live: Option<&Live>) -> Result<(), ApiError> {
    let Some(wanted) = wanted else { return Ok(()) };
    let present = match live {
        Some(live) => {
            let value = live.to_value()?;
            meta::uid(&value).to_owned()
        }
        None => String::new(),
    };
    if wanted == present {
        return Ok(());
    }
    let resource = call.resource.group_resource();
    let stored = place::storage_resource(&resource);
    let key = place::record_name(&call.namespace, &call.name);
    let prefix = if stored.group.is_empty() { String::new() } else { format!("{}/", stored.group) };
    Err(ApiError::conflict(
        &resource,
        &call.name,
        &format!(
            "StorageError: invalid object, Code: 4, Key: /registry/{prefix}{}/{key}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: {wanted}, UID in object meta: {present}",
            stored.resource
        ),
    ))
}
