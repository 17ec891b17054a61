//! What is asked of the authorizer, and what it answers.

use apimachinery::field::quote;
use apimachinery::gvk::GroupResource;
use apimachinery::status::ApiError;

use super::User;

/// What a request wants to do. Strings that do not apply are empty.
#[derive(Clone, Copy, Debug)]
pub struct Attributes<'a> {
    /// Who asks.
    pub user: &'a User,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`, special verbs; for what is no
    /// resource, the HTTP method in lower case.
    pub verb: &'a str,
    /// Whether this is about a resource; if not, `path` says what it is about.
    pub is_resource: bool,
    /// API group; empty for the core group.
    pub group: &'a str,
    /// API version.
    pub version: &'a str,
    /// Plural name.
    pub resource: &'a str,
    /// Subresource.
    pub subresource: &'a str,
    /// Namespace; empty for what has none and for all namespaces.
    pub namespace: &'a str,
    /// Name of the object; empty for collections and creates.
    pub name: &'a str,
    /// Path of the request.
    pub path: &'a str,
    /// `fieldSelector` of a list, watch or deletecollection, as it was sent. RBAC does not look at it.
    pub field_selector: &'a str,
    /// `labelSelector`, likewise.
    pub label_selector: &'a str,
}

/// What an authorizer thinks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Yes.
    Allow,
    /// Nothing allows it.
    NoOpinion,
    /// Something forbids it.
    Deny,
}

/// A decision and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorized {
    /// The decision.
    pub decision: Decision,
    /// Why: which binding allows it, or what went wrong while rules were looked for.
    pub reason: String,
}

impl<'a> Attributes<'a> {
    /// Attributes of a request about a resource; the rest is filled in by the caller.
    pub fn resource(user: &'a User, verb: &'a str, group: &'a str, resource: &'a str) -> Self {
        Self { is_resource: true, group, resource, ..Self::path(user, verb, "") }
    }

    /// Attributes of a request for a path that is no resource.
    pub fn path(user: &'a User, verb: &'a str, path: &'a str) -> Self {
        Self {
            user,
            verb,
            is_resource: false,
            group: "",
            version: "",
            resource: "",
            subresource: "",
            namespace: "",
            name: "",
            path,
            field_selector: "",
            label_selector: "",
        }
    }

    /// The 403 that a client gets.
    ///
    /// Source of the wording: `k8s.io/apiserver/pkg/endpoints/handlers/responsewriters`.
    pub fn forbidden(&self, reason: &str) -> ApiError {
        let user = quote(&self.user.name);
        let verb = self.verb;
        let message = if self.is_resource {
            let resource = if self.subresource.is_empty() {
                quote(self.resource)
            } else {
                quote(&format!("{}/{}", self.resource, self.subresource))
            };
            let place = if self.namespace.is_empty() {
                "at the cluster scope".to_owned()
            } else {
                format!("in the namespace {}", quote(self.namespace))
            };
            format!("User {user} cannot {verb} resource {resource} in API group {} {place}", quote(self.group))
        } else {
            format!("User {user} cannot {verb} path {}", quote(self.path))
        };
        let mut message = message.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        if !reason.is_empty() {
            message.push_str(": ");
            message.push_str(reason);
        }
        let mut error = ApiError::forbidden(&GroupResource::new(self.group, self.resource), self.name, &message);
        error.empty_details = true;
        error
    }
}

impl Authorized {
    /// Yes, because.
    pub fn allow(reason: impl Into<String>) -> Self {
        Self { decision: Decision::Allow, reason: reason.into() }
    }

    /// Nothing allows it.
    pub fn no_opinion(reason: impl Into<String>) -> Self {
        Self { decision: Decision::NoOpinion, reason: reason.into() }
    }

    /// Whether it is allowed.
    pub fn allowed(&self) -> bool {
        self.decision == Decision::Allow
    }
}
