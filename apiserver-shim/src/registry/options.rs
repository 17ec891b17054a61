//! Options of requests: read from the query, or from the body of a delete, and checked.
//!
//! Source: `k8s.io/apimachinery/pkg/apis/meta/v1/validation`.

use apimachinery::field::{Errors, Path, quote};
use apimachinery::gvk::GroupVersionKind;
use apimachinery::status::ApiError;
use serde_json::Value;

use super::FieldValidation;
use crate::request::{Query, is_true};

const MANAGER_MAX: usize = 128;

/// What creates, updates and patches have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteOptions {
    /// `fieldManager`
    pub manager: String,
    /// `dryRun=All`
    pub dry_run: bool,
    /// `fieldValidation`
    pub field_validation: FieldValidation,
    /// `force`, of patches.
    pub force: Option<bool>,
}

/// How to delete.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    /// `gracePeriodSeconds`
    pub grace_period_seconds: Option<i64>,
    /// `preconditions.uid`
    pub uid: Option<String>,
    /// `preconditions.resourceVersion`
    pub resource_version: Option<String>,
    /// `orphanDependents`
    pub orphan_dependents: Option<bool>,
    /// `propagationPolicy`
    pub propagation_policy: Option<String>,
    /// `dryRun=All`
    pub dry_run: bool,
}

impl WriteOptions {
    /// Reads the options of a request of `kind`: `CreateOptions`, `UpdateOptions` or `PatchOptions`. `apply` tells
    /// whether a patch is an apply.
    ///
    /// # Errors
    /// 422 with all that is wrong, 400 if a boolean is none.
    pub fn parse(query: &Query, kind: &str, apply: bool) -> Result<Self, ApiError> {
        let mut errors = Errors::default();
        let manager = query.get("fieldManager").unwrap_or_default().to_owned();
        let force = query.get("force").map(parse_bool).transpose()?;
        if kind == "PatchOptions" {
            if apply && manager.is_empty() {
                errors.required(&Path::new("fieldManager"), "is required for apply patch");
            }
            if !apply && force.is_some() {
                errors.forbidden(&Path::new("force"), "may not be specified for non-apply patch");
            }
        }
        validate_manager(&manager, &Path::new("fieldManager"), &mut errors);
        let dry: Vec<&str> = query.all("dryRun").collect();
        let dry_run = dry_run(&dry, &mut errors);
        let field_validation = match query.get("fieldValidation").unwrap_or_default() {
            "" | "Warn" => FieldValidation::Warn,
            "Strict" => FieldValidation::Strict,
            "Ignore" => FieldValidation::Ignore,
            other => {
                let path = Path::new("fieldValidation");
                errors.not_supported(&path, &Value::String(other.to_owned()), &["", "Ignore", "Strict", "Warn"]);
                FieldValidation::Warn
            }
        };
        refuse(kind, errors)?;
        Ok(Self { manager, dry_run, field_validation, force })
    }
}

impl DeleteOptions {
    /// Reads options from the query, as clients that send no body do.
    ///
    /// # Errors
    /// 400 for what is no number or boolean.
    pub fn from_query(query: &Query) -> Result<Self, ApiError> {
        let mut errors = Errors::default();
        let dry: Vec<&str> = query.all("dryRun").collect();
        let options = Self {
            grace_period_seconds: query.get("gracePeriodSeconds").map(parse_int).transpose()?,
            orphan_dependents: query.get("orphanDependents").map(parse_bool).transpose()?,
            propagation_policy: query.get("propagationPolicy").map(str::to_owned),
            dry_run: dry_run(&dry, &mut errors),
            ..Self::default()
        };
        refuse("DeleteOptions", errors)?;
        options.validate()?;
        Ok(options)
    }

    /// Reads options from a `DeleteOptions` object.
    ///
    /// # Errors
    /// 422 for options that contradict each other.
    pub fn from_object(object: &Value) -> Result<Self, ApiError> {
        let mut errors = Errors::default();
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
        let dry: Vec<&str> =
            apimachinery::meta::list_at(object, &["dryRun"]).iter().filter_map(Value::as_str).collect();
        let preconditions = object.get("preconditions");
        let options = Self {
            grace_period_seconds: object.get("gracePeriodSeconds").and_then(Value::as_i64),
            uid: text(preconditions.and_then(|p| p.get("uid"))),
            resource_version: text(preconditions.and_then(|p| p.get("resourceVersion"))),
            orphan_dependents: object.get("orphanDependents").and_then(Value::as_bool),
            propagation_policy: text(object.get("propagationPolicy")),
            dry_run: dry_run(&dry, &mut errors),
        };
        refuse("DeleteOptions", errors)?;
        options.validate()?;
        Ok(options)
    }

    fn validate(&self) -> Result<(), ApiError> {
        let mut errors = Errors::default();
        let path = Path::new("propagationPolicy");
        if let Some(policy) = &self.propagation_policy {
            let value = Value::String(policy.clone());
            if self.orphan_dependents.is_some() {
                errors.invalid(&path, &value, "orphanDependents and deletionPropagation cannot be both set");
            }
            if !matches!(policy.as_str(), "Foreground" | "Background" | "Orphan") {
                errors.not_supported(&path, &value, &["Foreground", "Background", "Orphan", "nil"]);
            }
        }
        refuse("DeleteOptions", errors)
    }
}

/// Finds what is wrong with the name of a field manager.
pub(super) fn validate_manager(manager: &str, path: &Path, errors: &mut Errors) {
    if manager.len() > MANAGER_MAX {
        errors.too_long(path, MANAGER_MAX);
    }
    for (i, c) in manager.char_indices().filter(|(_, c)| c.is_control()) {
        errors.invalid_str(path, manager, &format!("invalid character U+{:04X} (at position {i})", u32::from(c)));
    }
}

/// A boolean of a query.
///
/// # Errors
/// 400 if it is none; see [`is_true`] for what counts.
pub(super) fn parse_bool(text: &str) -> Result<bool, ApiError> {
    Ok(is_true(text))
}

/// A number of a query.
///
/// # Errors
/// 400 if it is none.
pub(super) fn parse_int(text: &str) -> Result<i64, ApiError> {
    text.parse()
        .map_err(|_| ApiError::bad_request(format!("strconv.ParseInt: parsing {}: invalid syntax", quote(text))))
}

fn dry_run(values: &[&str], errors: &mut Errors) -> bool {
    if values.iter().any(|v| *v != "All") {
        let shown = Value::Array(values.iter().map(|v| Value::String((*v).to_owned())).collect());
        errors.not_supported(&Path::new("dryRun"), &shown, &["All"]);
    }
    !values.is_empty()
}

fn refuse(kind: &str, errors: Errors) -> Result<(), ApiError> {
    if errors.is_empty() {
        return Ok(());
    }
    Err(ApiError::invalid(&GroupVersionKind::new("meta.k8s.io", "v1", kind), "", &errors))
}
