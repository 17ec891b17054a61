//! What no document says of a kind: defaults, validation, what create and update reset, what may not change.
//!
//! A file per group of kinds has their rules; [`rules_for`] finds those of a built-in resource. Everything else about a
//! kind is in the table. Sources of the facts: `pkg/apis/*/{v1/defaults.go,validation}` and `pkg/registry/*/strategy.go`
//! of `k8s.io/kubernetes`.

mod account;
mod admission;
mod aggregation;
pub mod at;
mod autoscaling;
mod certificate;
pub mod check;
mod claim;
mod config;
mod definition;
mod device;
mod edit;
mod endpoint;
mod event;
mod flowcontrol;
mod image;
mod ingress;
pub mod ip;
mod kind;
mod kinds;
pub mod names;
mod namespace;
mod networking;
mod node;
mod pod;
mod policy;
pub mod quantities;
mod quota;
mod rbac;
mod scheduling;
mod select;
mod service;
mod storage;
mod volume;
mod workload;

pub(crate) use pod::qos_class;

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::Value;

use crate::field::Errors;
use crate::gvk::GroupResource;

/// How a name must look; [`NameRule::check`] tells what is wrong with one.
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
    /// An IP address in canonical form.
    Address,
    /// Anything.
    Any,
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

impl Part<'_> {
    /// Whether this is the subresource `name`.
    pub fn is(self, name: &str) -> bool {
        matches!(self, Self::Subresource(s) if s == name)
    }
}

/// What is known of a write beyond the objects.
#[derive(Clone, Copy, Debug)]
pub struct WriteContext<'a> {
    /// The part that is written.
    pub part: Part<'a>,
    /// Now, RFC 3339 with seconds.
    pub now: &'a str,
    /// Who writes.
    pub user: Requester<'a>,
}

/// A user, as CertificateSigningRequests record it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Requester<'a> {
    /// Name.
    pub name: &'a str,
    /// UID, often empty.
    pub uid: &'a str,
    /// Groups.
    pub groups: &'a [String],
    /// More that the authenticator knows, by key.
    pub extra: Option<&'a BTreeMap<String, Vec<String>>>,
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

    /// Whether a new object may say its status, although there is a status subresource.
    fn status_on_create(&self) -> bool {
        false
    }

    /// Resets what a client may not set on create, beyond `status` (the registry drops that where there is a status
    /// subresource, but for [`Rules::status_on_create`]) and sets what the server sets.
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
    /// A name that [`Rules::field_label`] lets pass and that is not here matches as if it were empty.
    fn selectable_fields<'a>(&self, _object: &'a Value) -> Vec<(&'static str, Cow<'a, str>)> {
        Vec::new()
    }

    /// The name under which [`Rules::selectable_fields`] has what a field selector calls `label`
    /// (`metadata.name` and `metadata.namespace` included).
    ///
    /// # Errors
    /// The message of the stock server's 400 when fields of this name cannot be selected by.
    fn field_label<'a>(&self, label: &'a str) -> Result<&'a str, String> {
        select::metadata_only(label)
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

    /// The top-level fields whose change adds one to `metadata.generation`. Empty: this kind has no generation. Labels
    /// are `metadata.labels`.
    fn counted_fields(&self) -> &'static [&'static str] {
        &[]
    }

    /// Whether objects of this kind begin with `metadata.generation` 1.
    fn has_generation(&self) -> bool {
        !self.counted_fields().is_empty()
    }
}

/// The rules of a built-in resource, by its group and plural.
pub fn rules_for(resource: &GroupResource) -> &'static dyn Rules {
    kinds::find(&resource.group, &resource.resource)
}

#[cfg(test)]
mod tests;
