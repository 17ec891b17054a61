//! Questions about identity that a client posts and that are answered and forgotten.

mod access;
mod rules;
mod selves;
mod token;
pub(crate) mod token_request;

use std::sync::Arc;

use apimachinery::meta::text;
use apimachinery::status::ApiError;
use apimachinery::tenant::TenantId;
use serde_json::{Map, Value, json};

use super::{Authenticator, Authorizer, User};
use crate::clock::SharedClock;
use crate::registry::Call;
use crate::special::Posts;
use crate::tenants::{Tenant, Tenants};

/// What the answers need.
#[derive(Clone)]
struct Context {
    tenants: Arc<Tenants>,
    authenticator: Arc<Authenticator>,
    authorizer: Arc<Authorizer>,
    clock: SharedClock,
}

impl Context {
    fn tenant(&self, id: TenantId) -> Result<Arc<Tenant>, ApiError> {
        self.tenants.get(id).ok_or_else(|| ApiError::unavailable("this virtual cluster is not served any more"))
    }
}

/// Registers what answers TokenRequest, TokenReview, SelfSubjectReview and the access reviews.
pub(super) fn register(
    posts: &mut Posts,
    tenants: Arc<Tenants>,
    authenticator: Arc<Authenticator>,
    authorizer: Arc<Authorizer>,
    clock: SharedClock,
) {
    const AUTHENTICATION: &str = "authentication.k8s.io";
    const AUTHORIZATION: &str = "authorization.k8s.io";
    let context = Context { tenants, authenticator, authorizer, clock };
    posts
        .add("", "serviceaccounts", "token", token_request::TokenRequest(context.clone()))
        .add(AUTHENTICATION, "tokenreviews", "", token::TokenReview(context.clone()))
        .add(AUTHENTICATION, "selfsubjectreviews", "", selves::SelfSubjectReview)
        .add(AUTHORIZATION, "subjectaccessreviews", "", access::AccessReview(context.clone(), access::About::Anyone))
        .add(
            AUTHORIZATION,
            "localsubjectaccessreviews",
            "",
            access::AccessReview(context.clone(), access::About::AnyoneHere),
        )
        .add(
            AUTHORIZATION,
            "selfsubjectaccessreviews",
            "",
            access::AccessReview(context.clone(), access::About::Oneself),
        )
        .add(AUTHORIZATION, "selfsubjectrulesreviews", "", rules::RulesReview(context));
}

/// A user as the answers have it (`UserInfo`).
fn user_info(user: &User) -> Value {
    let mut info = Map::new();
    if !user.name.is_empty() {
        info.insert("username".to_owned(), json!(user.name));
    }
    if !user.uid.is_empty() {
        info.insert("uid".to_owned(), json!(user.uid));
    }
    if !user.groups.is_empty() {
        info.insert("groups".to_owned(), json!(user.groups));
    }
    if !user.extra.is_empty() {
        info.insert("extra".to_owned(), json!(user.extra));
    }
    Value::Object(info)
}

/// Puts what was posted into the namespace of the request.
///
/// # Errors
/// 400 if it says that it is in another one.
fn in_namespace(call: &Call, object: &mut Value) -> Result<(), ApiError> {
    match text(object, "namespace") {
        "" => object["metadata"]["namespace"] = json!(call.namespace),
        given if given != call.namespace => {
            return Err(ApiError::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
        _ => {}
    }
    Ok(())
}

/// The strings of a list, none if it is not there.
fn strings(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}
