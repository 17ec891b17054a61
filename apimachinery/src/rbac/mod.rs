//! Role-based access control, as functions of roles, bindings and what is asked.
//!
//! [`rule`] knows what one rule allows and whether rules cover others (nobody may grant what they do not have);
//! [`policy`] is all roles and bindings of a cluster, with the question of who may do what.
//!
//! Source of semantics and wording: `k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac`,
//! `k8s.io/kubernetes/pkg/registry/rbac/validation`.

pub mod policy;
pub mod rule;

pub use policy::{Binding, Policy, RoleRef, Subject, Verdict};
pub use rule::{PolicyRule, Request};

/// The API group of roles and bindings.
pub const GROUP: &str = "rbac.authorization.k8s.io";

/// A user as far as bindings go.
#[derive(Clone, Copy, Debug)]
pub struct Who<'a> {
    /// User name.
    pub name: &'a str,
    /// Groups.
    pub groups: &'a [String],
}
