//! The errors a client sees: every refusal is an [`ApiError`], which knows its `Status` object.
//!
//! Source of reasons, codes and wording: `k8s.io/apimachinery/pkg/api/errors`.

use serde_json::{Map, Value, json};

use crate::field;
use crate::gvk::{GroupResource, GroupVersionKind};

/// The reasons of a server that mean something to its clients.
const REASONS: &[&str] = &[
    "AlreadyExists",
    "BadRequest",
    "Conflict",
    "Expired",
    "Forbidden",
    "Gone",
    "InternalError",
    "Invalid",
    "MethodNotAllowed",
    "NotAcceptable",
    "NotFound",
    "RequestEntityTooLarge",
    "ServerTimeout",
    "ServiceUnavailable",
    "Timeout",
    "TooManyRequests",
    "Unauthorized",
    "UnsupportedMediaType",
];

/// One entry of `details.causes`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cause {
    /// `reason`: `FieldValueInvalid`, `FieldManagerConflict`, ...
    pub reason: String,
    /// `message`
    pub message: String,
    /// `field`, may be empty
    pub field: String,
}

/// A refused request: what becomes the `Status` body.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// HTTP status code.
    pub code: u16,
    /// `reason`: one word that clients match; empty where the stock server gives none.
    pub reason: &'static str,
    /// `message`: a sentence for people; clients match some of these too.
    pub message: String,
    /// `details.name`
    pub name: String,
    /// `details.group`
    pub group: String,
    /// `details.kind`: the resource for not found, already exists and conflict, the kind for invalid.
    pub kind: String,
    /// `details.uid`
    pub uid: String,
    /// `details.causes`
    pub causes: Vec<Cause>,
    /// `details.retryAfterSeconds`, also the `Retry-After` header.
    pub retry_after: Option<u32>,
    /// `metadata.continue`: only on an expired list.
    pub continue_token: Option<String>,
    /// Whether `details` is written although all of it is empty.
    pub empty_details: bool,
}

impl ApiError {
    /// An error with a code, a reason and a message, and no details.
    pub fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
            name: String::new(),
            group: String::new(),
            kind: String::new(),
            uid: String::new(),
            causes: Vec::new(),
            retry_after: None,
            continue_token: None,
            empty_details: false,
        }
    }

    fn about(mut self, resource: &GroupResource, name: &str) -> Self {
        self.name = name.to_owned();
        self.group = resource.group.to_string();
        self.kind = resource.resource.to_string();
        self
    }

    /// Adds a cause.
    pub fn with_cause(mut self, reason: &str, message: impl Into<String>, field: &str) -> Self {
        self.causes.push(Cause { reason: reason.to_owned(), message: message.into(), field: field.to_owned() });
        self
    }

    /// Asks the client to come back after this many seconds.
    pub fn with_retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// 404 for an object.
    pub fn not_found(resource: &GroupResource, name: &str) -> Self {
        Self::new(404, "NotFound", format!("{resource} {} not found", field::quote(name))).about(resource, name)
    }

    /// 409 for a create of what exists.
    pub fn already_exists(resource: &GroupResource, name: &str) -> Self {
        Self::new(409, "AlreadyExists", format!("{resource} {} already exists", field::quote(name)))
            .about(resource, name)
    }

    /// 409 for a write that lost a race or a precondition.
    pub fn conflict(resource: &GroupResource, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {resource} {}: {why}", field::quote(name));
        Self::new(409, "Conflict", message).about(resource, name)
    }

    /// 409 for a write with a stale `resourceVersion`.
    pub fn modified(resource: &GroupResource, name: &str) -> Self {
        Self::conflict(
            resource,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    /// 403 by authorization or admission.
    pub fn forbidden(resource: &GroupResource, name: &str, why: &str) -> Self {
        let message = match (resource.resource.is_empty(), name.is_empty()) {
            (true, _) => format!("forbidden: {why}"),
            (false, true) => format!("{resource} is forbidden: {why}"),
            (false, false) => format!("{resource} {} is forbidden: {why}", field::quote(name)),
        };
        Self::new(403, "Forbidden", message).about(resource, name)
    }

    /// 422 for an object that breaks rules. `errors` must not be empty.
    pub fn invalid(kind: &GroupVersionKind, name: &str, errors: &field::Errors) -> Self {
        let qualified =
            if kind.group.is_empty() { kind.kind.to_string() } else { format!("{}.{}", kind.kind, kind.group) };
        let mut texts: Vec<String> = Vec::new();
        for error in &errors.0 {
            let text = error.to_string();
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        let all = if texts.len() == 1 { texts[0].clone() } else { format!("[{}]", texts.join(", ")) };
        let message = format!("{qualified} {} is invalid: {all}", field::quote(name));
        let mut error = Self::new(422, "Invalid", message);
        error.name = name.to_owned();
        error.group = kind.group.to_string();
        error.kind = kind.kind.to_string();
        error.causes = errors
            .0
            .iter()
            .map(|e| Cause { reason: e.kind.reason().to_owned(), message: e.body.clone(), field: e.field.clone() })
            .collect();
        error
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// 401; says no more than that on purpose.
    pub fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    /// 405.
    pub fn method_not_supported(resource: &GroupResource, verb: &str) -> Self {
        Self::new(
            405,
            "MethodNotAllowed",
            format!("{verb} is not supported on resources of kind {}", field::quote(&resource.to_string())),
        )
        .about(resource, "")
    }

    /// 410: the revision asked for is no longer held.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    /// 413.
    pub fn too_large(message: impl Into<String>) -> Self {
        Self::new(413, "RequestEntityTooLarge", message)
    }

    /// 429: come back later.
    pub fn too_many_requests(message: impl Into<String>, retry_after: u32) -> Self {
        Self::new(429, "TooManyRequests", message).with_retry_after(retry_after)
    }

    /// 500. The message goes to the client: no secrets, no internals.
    pub fn internal(message: impl std::fmt::Display) -> Self {
        let message = message.to_string();
        Self::new(500, "InternalError", format!("Internal error occurred: {message}")).with_cause("", message, "")
    }

    /// 501: known, and not there yet.
    pub fn not_implemented(message: impl Into<String>) -> Self {
        Self::new(501, "NotImplemented", message)
    }

    /// 503: what the request needs is away for now.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(503, "ServiceUnavailable", message)
    }

    /// 504.
    pub fn timeout(message: impl Into<String>, retry_after: u32) -> Self {
        Self::new(504, "Timeout", message).with_retry_after(retry_after)
    }

    /// The error that a `Status` object tells of. `code` is that of the answer, for a body that names none.
    pub fn from_status(code: u16, status: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let number = |value: &Value| value.as_u64().and_then(|n| u32::try_from(n).ok());
        let code = number(&status["code"]).and_then(|c| u16::try_from(c).ok()).unwrap_or(code);
        let message = status["message"].as_str().map_or_else(|| format!("an answer with code {code}"), str::to_owned);
        let reason = status["reason"].as_str().unwrap_or_default();
        let reason = REASONS.iter().copied().find(|r| *r == reason).unwrap_or_default();
        let details = &status["details"];
        let mut error = Self::new(code, reason, message);
        (error.name, error.group) = (text(&details["name"]), text(&details["group"]));
        (error.kind, error.uid) = (text(&details["kind"]), text(&details["uid"]));
        for cause in details["causes"].as_array().into_iter().flatten() {
            error = error.with_cause(&text(&cause["reason"]), text(&cause["message"]), &text(&cause["field"]));
        }
        error.retry_after = number(&details["retryAfterSeconds"]);
        error
    }

    /// The `Status` object.
    pub fn to_status(&self) -> Value {
        let mut details = Map::new();
        for (key, value) in [("name", &self.name), ("group", &self.group), ("kind", &self.kind), ("uid", &self.uid)] {
            if !value.is_empty() {
                details.insert(key.to_owned(), Value::String(value.clone()));
            }
        }
        if !self.causes.is_empty() {
            let causes = self.causes.iter().map(|c| {
                let mut cause = Map::new();
                for (key, value) in [("reason", &c.reason), ("message", &c.message), ("field", &c.field)] {
                    if !value.is_empty() {
                        cause.insert(key.to_owned(), Value::String(value.clone()));
                    }
                }
                Value::Object(cause)
            });
            details.insert("causes".to_owned(), causes.collect());
        }
        if let Some(seconds) = self.retry_after {
            details.insert("retryAfterSeconds".to_owned(), json!(seconds));
        }
        let mut metadata = Map::new();
        if let Some(token) = &self.continue_token {
            metadata.insert("continue".to_owned(), json!(token));
        }
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": metadata, "status": "Failure",
            "message": self.message, "code": self.code,
        });
        if !self.reason.is_empty() {
            status["reason"] = json!(self.reason);
        }
        if !details.is_empty() || self.empty_details {
            status["details"] = Value::Object(details);
        }
        status
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_as_it_was_written() {
        let resource = GroupResource::new("apps", "deployments");
        let mut error =
            ApiError::conflict(&resource, "web", "it changed").with_cause("R", "m", "f").with_retry_after(3);
        error.uid = "u".to_owned();
        assert_eq!(ApiError::from_status(500, &error.to_status()), error);
        let bare = ApiError::from_status(502, &Value::Null);
        assert_eq!((bare.code, bare.reason), (502, ""));
    }
}
