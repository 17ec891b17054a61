//! Objects as tables.

use apimachinery::resource::Resource;
use apimachinery::status::ApiError;
use serde_json::Value;

use crate::request::Query;

/// `includeObject`: what of the object a row carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) enum Include {
    /// Nothing.
    None,
    /// Its metadata.
    #[default]
    Metadata,
    /// All of it.
    Object,
}

impl Include {
    /// Reads `includeObject`.
    ///
    /// # Errors
    /// 400 for anything else.
    pub(crate) fn parse(query: &Query) -> Result<Self, ApiError> {
        match query.get("includeObject").unwrap_or_default() {
            "" | "Metadata" => Ok(Self::Metadata),
            "None" => Ok(Self::None),
            "Object" => Ok(Self::Object),
            other => Err(ApiError::bad_request(format!(
                "Unable to convert to Table as requested: includeObject: Invalid value: {}: must be 'Metadata', 'Object', 'None', or empty",
                apimachinery::field::quote(other)
            ))),
        }
    }
}

/// A `Table` of objects.
///
/// # Errors
/// 406 if the resource has no columns.
pub(crate) fn table(
    _resource: &Resource,
    _version: &str,
    _include: Include,
    _columns: bool,
    _objects: &[Value],
    _metadata: &Value,
) -> Result<Value, ApiError> {
    Err(ApiError::not_implemented("tables are not there yet"))
}
