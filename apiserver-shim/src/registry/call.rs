//! What the registry knows of a request.

use std::sync::Arc;

use apimachinery::tenant::TenantId;
use jiff::Timestamp;
use parking_lot::Mutex;

use crate::auth::User;
use crate::clock::rfc3339;
use crate::resources::Found;

/// What becomes of fields that the schema does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum FieldValidation {
    /// Dropped silently.
    Ignore,
    /// Dropped with a `Warning` header.
    #[default]
    Warn,
    /// The request is refused.
    Strict,
}

/// A request, as the registry sees it. Strings that do not apply are empty.
#[derive(Debug)]
pub struct Call {
    /// Whose object.
    pub tenant: TenantId,
    /// Who asks.
    pub user: User,
    /// Which resource, in the version of the request.
    pub resource: Found,
    /// In which namespace.
    pub namespace: String,
    /// Which object.
    pub name: String,
    /// Which part of it.
    pub subresource: String,
    /// When the request came.
    pub now: Timestamp,
    /// Field manager: what the client named, or what its User-Agent suggests.
    pub manager: String,
    /// Nothing is to be written.
    pub dry_run: bool,
    /// What becomes of unknown fields.
    pub field_validation: FieldValidation,
    /// What the client is told by `Warning` headers, whatever becomes of the request.
    pub warnings: Warnings,
}

/// Texts for `Warning` headers.
#[derive(Clone, Debug, Default)]
pub struct Warnings(Arc<Mutex<Vec<String>>>);

impl Warnings {
    /// The warnings so far.
    pub fn texts(&self) -> Vec<String> {
        self.0.lock().clone()
    }
}

impl Call {
    /// A call about a resource; the rest is filled in by the caller.
    pub fn new(tenant: TenantId, user: User, resource: Found, now: Timestamp) -> Self {
        Self {
            tenant,
            user,
            resource,
            namespace: String::new(),
            name: String::new(),
            subresource: String::new(),
            now,
            manager: String::new(),
            dry_run: false,
            field_validation: FieldValidation::default(),
            warnings: Warnings::default(),
        }
    }

    /// The time as objects have it.
    pub fn now_text(&self) -> String {
        rfc3339(self.now)
    }

    /// Tells the client something by a `Warning` header. What was said already is not said again.
    pub fn warn(&self, text: impl Into<String>) {
        let text = text.into();
        let mut warnings = self.warnings.0.lock();
        if !warnings.contains(&text) {
            warnings.push(text);
        }
    }
}
