//! What a few resources do that the registry does not do for all.

mod binding;
mod definitions;
mod eviction;
mod namespaces;
mod pods;
mod scale;
mod service_addresses;
mod services;

use std::collections::HashMap;
use std::sync::Arc;

use apimachinery::gvk::GroupVersionKind;
use apimachinery::status::ApiError;
use async_trait::async_trait;
use serde_json::{Value, json};

use crate::registry::{Call, DeleteOptions, Patch, Registry};
use crate::server::Shared;

/// How long an object lives on after its deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grace {
    /// There is no such thing for this resource.
    None,
    /// So many seconds, until it is deleted again with zero.
    Seconds(i64),
}

fn is(call: &Call, group: &str, resource: &str) -> bool {
    call.resource.gvr.group == group && call.resource.gvr.resource == resource
}

/// Sets what must be allotted before an object is created.
pub(crate) async fn before_create(registry: &Registry, call: &Call, object: &mut Value) -> Result<(), ApiError> {
    if call.resource.custom {
        definitions::check_create(registry, call, object)?;
    }
    if is(call, "", "services") {
        services::allot(registry, call, object, None).await?;
    }
    Ok(())
}

/// Whether writing an object of this resource makes something on the host.
pub(crate) fn asks_the_host(call: &Call) -> bool {
    is(call, "", "services") && call.subresource.is_empty()
}

/// Sets what must be allotted before an object is changed.
pub(crate) async fn before_update(
    registry: &Registry,
    call: &Call,
    object: &mut Value,
    old: &Value,
) -> Result<(), ApiError> {
    if is(call, "", "services") && call.subresource.is_empty() {
        services::allot(registry, call, object, Some(old)).await?;
    }
    Ok(())
}

/// How long an object of this resource lives on.
pub(crate) fn grace(call: &Call, object: &Value, asked: Option<i64>) -> Grace {
    if is(call, "", "pods") { Grace::Seconds(pods::grace(object, asked)) } else { Grace::None }
}

/// Sets what must hold an object back from the moment it is deleted.
pub(crate) fn before_delete(call: &Call, object: &mut Value) {
    if is(call, "apiextensions.k8s.io", "customresourcedefinitions") {
        definitions::hold(object, &call.now_text());
    }
}

/// Checks the preconditions of a namespace's deletion, which has words of its own for them.
pub(crate) fn check_namespace(call: &Call, options: &DeleteOptions, old: &Value) -> Result<(), ApiError> {
    namespaces::check(call, options, old)
}

/// Whether something other than finalizers of `metadata` holds an object back from being removed.
pub(crate) fn finalized_elsewhere(call: &Call, object: &Value) -> bool {
    is(call, "", "namespaces") && namespaces::held(object)
}

/// Sets what else a deletion sets.
pub(crate) fn mark_deleting(call: &Call, object: &mut Value) {
    if is(call, "", "namespaces") {
        namespaces::mark(object);
    }
}

/// Answers posts that create no object: reviews, tokens. The parts of the server that know how register here.
#[derive(Default)]
pub struct Posts(HashMap<(&'static str, &'static str, &'static str), Box<dyn Post>>);

/// Something that can be posted to.
#[async_trait]
pub trait Post: Send + Sync + 'static {
    /// Answers a post: the status code and the object that goes back, with `apiVersion` and `kind`. The object is in
    /// the version of the call's resource and canonical.
    ///
    /// # Errors
    /// The refusal.
    async fn post(&self, registry: &Arc<Registry>, call: &Call, object: Value) -> Result<(u16, Value), ApiError>;
}

impl Posts {
    /// Registers what answers posts to a resource, or to a subresource of it (empty for none).
    pub fn add(
        &mut self,
        group: &'static str,
        resource: &'static str,
        subresource: &'static str,
        post: impl Post,
    ) -> &mut Self {
        self.0.insert((group, resource, subresource), Box::new(post));
        self
    }
}

/// Whether objects of a resource are asked about and never stored.
pub(crate) fn is_virtual(call: &Call) -> bool {
    !call.resource.allows("get") || is(call, "", "bindings")
}

/// Whether a post is answered with the object that was posted, who owns its fields included.
pub(crate) fn is_echoed(call: &Call) -> bool {
    match (call.resource.gvr.group.as_str(), call.resource.gvr.resource.as_str(), call.subresource.as_str()) {
        ("authorization.k8s.io", resource, "") => resource != "selfsubjectrulesreviews",
        ("authentication.k8s.io", "tokenreviews", "") | ("", "serviceaccounts", "token") => true,
        _ => false,
    }
}

/// Fills in what was left out of an object that is posted and not stored.
pub(crate) fn default_posted(call: &Call, object: &mut Value) {
    if call.subresource == "token" && object["spec"]["expirationSeconds"].is_null() {
        object["spec"]["expirationSeconds"] = json!(crate::auth::reviews::token_request::DEFAULT_SECONDS);
    }
}

/// Answers a post to a subresource, or to what is never stored.
pub(crate) async fn post(shared: &Shared, call: &Call, object: Value) -> Result<(u16, Value), ApiError> {
    let place = (call.resource.gvr.group.as_str(), call.resource.gvr.resource.as_str(), call.subresource.as_str());
    match place {
        ("", "pods", "binding") | ("", "bindings", "") => binding::post(&shared.registry, call, object).await,
        ("", "pods", "eviction") => eviction::post(&shared.registry, call, object).await,
        _ => match shared.posts.0.get(&place) {
            Some(post) => post.post(&shared.registry, call, object).await,
            None => Err(ApiError::not_implemented(format!(
                "posting to {} {} is not supported yet",
                call.resource.group_resource(),
                call.subresource
            ))),
        },
    }
}

/// The kind of a subresource that is a projection of its object: `scale`.
pub(crate) fn projected(call: &Call) -> Option<GroupVersionKind> {
    (call.subresource == "scale").then(|| call.resource.subresource("scale").map(|s| s.gvk.clone())).flatten()
}

/// Reads a projection, if this is one.
pub(crate) async fn get(registry: &Registry, call: &Call) -> Result<Option<Value>, ApiError> {
    match projected(call) {
        Some(kind) => scale::get(registry, call, &kind).await.map(Some),
        None => Ok(None),
    }
}

/// Replaces a projection.
pub(crate) async fn put(registry: &Registry, call: &Call, object: Value) -> Result<Value, ApiError> {
    scale::put(registry, call, object).await
}

/// Patches a projection.
pub(crate) async fn patch(registry: &Registry, call: &Call, patch: &Patch) -> Result<Value, ApiError> {
    scale::patch(registry, call, patch).await
}

/// Whether a deletion that is done answers with the object.
pub(crate) fn returns_deleted(call: &Call) -> bool {
    crate::registry::rules_of(&call.resource).returns_deleted()
}
