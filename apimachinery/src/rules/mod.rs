//! What no document says of a kind: defaults, validation, what create and update reset, what may not change.
//!
//! A file per kind implements [`Rules`]; [`rules_for`] finds it. Everything else about a kind is in the table.

use std::borrow::Cow;

use serde_json::Value;

use crate::field::Errors;
use crate::gvk::GroupResource;

/// How a name must look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameRule {
    /// RFC 1123 subdomain, at most 253 characters.
    Subdomain,
    /// RFC 1123 label, at most 63 characters.
    Label,
    /// RFC 1035 label (begins with a letter), at most 63 characters.
    Label1035,
    /// Anything that can be a path segment: not `.`, `..`, no `/` or `%`.
    PathSegment,
}

/// The `propagationPolicy` that a delete without one has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultPropagation {
    /// Dependents are collected afterwards.
    Background,
    /// Dependents are left alone.
    Orphan,
    /// There is no garbage collection for this kind.
    Unsupported,
}

/// Which part of an object a write is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// The object itself.
    Main,
    /// `status`, `ephemeralcontainers`, `resize`, `approval`, `finalize`.
    Subresource(&'a str),
}

/// What is known of a write beyond the objects.
#[derive(Clone, Copy, Debug)]
pub struct WriteContext<'a> {
    /// The part that is written.
    pub part: Part<'a>,
    /// Now, RFC 3339 with seconds.
    pub now: &'a str,
    /// The user's name (CertificateSigningRequest records it).
    pub user: &'a str,
}

/// The rules of a kind. Objects are in the storage version, canonical (see the codec), with `metadata` present.
///
/// The order is: `default` on what came in, then `prepare_create` or `prepare_update`, then validation. Common rules of
/// `metadata` are the registry's.
pub trait Rules: Sync {
    /// How names of this kind must look.
    fn name_rule(&self) -> NameRule {
        NameRule::Subdomain
    }

    /// Fills in what was left out. Must be idempotent.
    fn default(&self, _object: &mut Value) {}

    /// Resets what a client may not set on create, beyond `status` (the registry drops that where there is a status
    /// subresource) and sets what the server sets.
    fn prepare_create(&self, _object: &mut Value, _context: &WriteContext<'_>) {}

    /// Resets in `new` what a client may not change by writing this part. The registry has already taken `status`
    /// (main part) or everything but `status` and managed fields (status part) from `old`.
    fn prepare_update(&self, _new: &mut Value, _old: &Value, _context: &WriteContext<'_>) {}

    /// Finds what is wrong with a new object.
    fn validate(&self, _object: &Value, _errors: &mut Errors) {}

    /// Finds what is wrong with a change, [`Rules::validate`] included where that applies.
    fn validate_update(&self, new: &Value, _old: &Value, _context: &WriteContext<'_>, errors: &mut Errors) {
        self.validate(new, errors);
    }

    /// Texts for `Warning` headers.
    fn warnings(&self, _new: &Value, _old: Option<&Value>) -> Vec<String> {
        Vec::new()
    }

    /// Values of the fields that field selectors of this kind know, beyond `metadata.name` and `metadata.namespace`.
    fn selectable_fields<'a>(&self, _object: &'a Value) -> Vec<(&'static str, Cow<'a, str>)> {
        Vec::new()
    }

    /// Names that field selectors may use, beyond `metadata.name` and `metadata.namespace`.
    fn selectable_names(&self) -> &'static [&'static str] {
        &[]
    }

    /// Whether a PUT of what does not exist creates it.
    fn create_on_update(&self) -> bool {
        false
    }

    /// Whether a PUT may leave out `resourceVersion`.
    fn unconditional_update(&self) -> bool {
        true
    }

    /// Whether a delete answers with the deleted object instead of a `Status`.
    fn returns_deleted(&self) -> bool {
        false
    }

    /// `propagationPolicy` of a delete that names none.
    fn default_propagation(&self) -> DefaultPropagation {
        DefaultPropagation::Background
    }

    /// Whether objects of this kind count changes of `spec` in `metadata.generation`.
    fn has_generation(&self) -> bool {
        false
    }
}

struct Plain;

impl Rules for Plain {}

/// The rules of a built-in resource, by its group and plural.
pub fn rules_for(_resource: &GroupResource) -> &'static dyn Rules {
    &Plain
}
