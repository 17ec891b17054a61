//! Nobody grants what they do not have: what a write of roles and bindings must pass beyond authorization.
//!
//! Source of semantics and wording: `k8s.io/kubernetes/pkg/registry/rbac`.

use std::sync::Arc;

use apimachinery::gvk::GroupResource;
use apimachinery::meta::{list_at, name};
use apimachinery::rbac::{GROUP, PolicyRule, RoleRef};
use apimachinery::status::ApiError;
use apimachinery::tenant::TenantId;
use async_trait::async_trait;
use serde_json::Value;

use super::authorize::who;
use super::user::GROUP_MASTERS;
use super::{Attributes, Authorizer, User};
use crate::admission::{Admission, Operation, Request};

/// Puts [`check`] into the way of every write.
#[derive(Debug)]
pub struct RoleGuard {
    authorizer: Arc<Authorizer>,
}

impl RoleGuard {
    /// A guard that asks this authorizer.
    pub fn new(authorizer: Arc<Authorizer>) -> Self {
        Self { authorizer }
    }
}

#[async_trait]
impl Admission for RoleGuard {
    fn name(&self) -> &'static str {
        "RoleGuard"
    }

    async fn validate(&self, request: &Request<'_>) -> Result<(), ApiError> {
        let call = request.call;
        let written = matches!(request.operation, Operation::Create | Operation::Update);
        let Some(new) = request.object.as_ref().filter(|_| written && call.resource.gvr.group == GROUP) else {
            return Ok(());
        };
        let write = RoleWrite {
            tenant: call.tenant,
            user: &call.user,
            resource: &call.resource.gvr.resource,
            namespace: &call.namespace,
            name: &call.name,
            old: request.old,
            new,
        };
        check(&self.authorizer, &write).await
    }
}

/// A write of a role or binding. Strings that do not apply are empty.
#[derive(Clone, Copy, Debug)]
pub struct RoleWrite<'a> {
    /// Whose role.
    pub tenant: TenantId,
    /// Who writes.
    pub user: &'a User,
    /// `roles`, `clusterroles`, `rolebindings` or `clusterrolebindings`.
    pub resource: &'a str,
    /// The namespace of the request.
    pub namespace: &'a str,
    /// The name of the request; empty for a create.
    pub name: &'a str,
    /// The object before; none for a create.
    pub old: Option<&'a Value>,
    /// The object after.
    pub new: &'a Value,
}

/// Checks a write of a role or binding. Writes of other resources pass.
///
/// # Errors
/// 403 that names the rights that the user lacks; 404 for a binding to a role that is not there.
pub async fn check(authorizer: &Authorizer, write: &RoleWrite<'_>) -> Result<(), ApiError> {
    let roles = matches!(write.resource, "roles" | "clusterroles");
    if !roles && !matches!(write.resource, "rolebindings" | "clusterrolebindings") {
        return Ok(());
    }
    if write.user.in_group(GROUP_MASTERS) || write.old.is_some_and(|old| only_collection_fields_differ(old, write.new))
    {
        return Ok(());
    }
    if roles { role(authorizer, write).await } else { binding(authorizer, write).await }
}

async fn role(authorizer: &Authorizer, write: &RoleWrite<'_>) -> Result<(), ApiError> {
    let escalate = Attributes {
        version: "*",
        namespace: write.namespace,
        name: write.name,
        ..Attributes::resource(write.user, "escalate", GROUP, write.resource)
    };
    if authorizer.authorize(write.tenant, &escalate).await?.allowed() {
        return Ok(());
    }
    confirm(authorizer, write, &PolicyRule::list(write.new.get("rules"))).await?;
    // An aggregated role can come to hold anything.
    let aggregates = |role: &Value| !list_at(role, &["aggregationRule", "clusterRoleSelectors"]).is_empty();
    if aggregates(write.new) || write.old.is_some_and(aggregates) {
        let why = "must have cluster-admin privileges to use the aggregationRule";
        let full = confirm(authorizer, write, &PolicyRule::full_authority()).await;
        full.map_err(|e| if e.code == 403 { forbidden(write, why) } else { e })?;
    }
    Ok(())
}

async fn binding(authorizer: &Authorizer, write: &RoleWrite<'_>) -> Result<(), ApiError> {
    let reference = RoleRef::from_value(write.new.get("roleRef").unwrap_or(&Value::Null));
    let resource = match reference.kind.as_str() {
        "ClusterRole" => Some("clusterroles"),
        "Role" => Some("roles"),
        _ => None,
    };
    if let Some(resource) = resource {
        let bind = Attributes {
            version: "*",
            namespace: write.namespace,
            name: &reference.name,
            ..Attributes::resource(write.user, "bind", GROUP, resource)
        };
        if authorizer.authorize(write.tenant, &bind).await?.allowed() {
            return Ok(());
        }
    }
    let policy = authorizer.policy(write.tenant).await?;
    let rules = policy.role_rules(&reference, write.namespace).map_err(|mut error| {
        // The stock server names the resource of the request here, not that of the role.
        if error.code == 404 {
            error = ApiError::not_found(&GroupResource::new(GROUP, write.resource), &reference.name);
        }
        error
    })?;
    confirm(authorizer, write, rules).await
}

async fn confirm(authorizer: &Authorizer, write: &RoleWrite<'_>, wanted: &[PolicyRule]) -> Result<(), ApiError> {
    let policy = authorizer.policy(write.tenant).await?;
    policy.confirm_no_escalation(&who(write.user), write.namespace, wanted).map_err(|why| forbidden(write, &why))
}

fn forbidden(write: &RoleWrite<'_>, why: &str) -> ApiError {
    ApiError::forbidden(&GroupResource::new(GROUP, write.resource), name(write.new), why)
}

/// Whether only what garbage collection writes (`ownerReferences`, `finalizers`) differs.
fn only_collection_fields_differ(old: &Value, new: &Value) -> bool {
    let rest = |object: &Value| {
        let mut object = object.clone();
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            for key in ["ownerReferences", "finalizers", "managedFields", "resourceVersion", "selfLink"] {
                metadata.remove(key);
            }
        }
        object
    };
    rest(old) == rest(new)
}
