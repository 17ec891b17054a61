//! The tenant seam: how controllers and syncer see virtual clusters.
//!
//! [`TenantClient`] reads and follows the objects of all tenants at once and writes to one of them with full
//! admission. The API server implements it in process, [`remote`] for
//! API servers elsewhere. [`host`] is the seam the other way: what an API server needs
//! of the cluster that pods really run on.

pub mod host;
pub mod remote;
pub mod work;

use std::sync::Arc;

use apimachinery::envelope::Stored;
use apimachinery::gvk::{GroupResource, GroupVersionKind};
use apimachinery::status::ApiError;
use apimachinery::tenant::TenantId;
use async_trait::async_trait;
use serde_json::Value;
use smol_str::SmolStr;

/// An object as it is read over the seam: bytes with an envelope, decoded when someone asks.
#[derive(Clone, Debug)]
pub struct Object {
    /// Its kind, in the version the body is written in. The name of the kind is empty where an object went together with
    /// the definition of its kind.
    pub kind: Arc<GroupVersionKind>,
    /// Its namespace; empty for what has none.
    pub namespace: SmolStr,
    /// Its name.
    pub name: SmolStr,
    /// Its `resourceVersion`.
    pub revision: u64,
    /// Envelope and body.
    pub stored: Stored,
}

/// A list and the revision it is the state at.
#[derive(Clone, Debug)]
pub struct List {
    /// Objects in the order of namespace and name.
    pub items: Vec<Object>,
    /// Follow from here and nothing is missed.
    pub revision: u64,
}

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A tenant is served from now on. Its objects are there; whoever cares lists them.
    Attached(TenantId),
    /// A tenant is served no more.
    Detached(TenantId),
    /// An object was written.
    Change(Arc<Change>),
}

/// A write, as followers see it.
#[derive(Clone, Debug)]
pub struct Change {
    /// Whose.
    pub tenant: TenantId,
    /// Which resource.
    pub resource: Arc<GroupResource>,
    /// The object before; `None` if it was created.
    pub old: Option<Object>,
    /// The object after; `None` if it is gone.
    pub new: Option<Object>,
    /// The revision of the write (also of a deletion).
    pub revision: u64,
}

impl Change {
    /// The object after, or before if it is gone.
    ///
    /// Every change has at least one of them.
    pub fn object(&self) -> Option<&Object> {
        self.new.as_ref().or(self.old.as_ref())
    }
}

impl Object {
    /// Decodes the object.
    ///
    /// # Errors
    /// 500 if the body is not JSON, which is a bug of whoever wrote it.
    pub fn to_value(&self) -> Result<Value, ApiError> {
        self.stored.to_value(Some(&self.kind), self.revision).map_err(ApiError::internal)
    }
}

/// Who writes: what admission, managed fields and audit see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// User name, such as `system:serviceaccount:kube-system:deployment-controller`.
    pub user: &'static str,
    /// Field manager.
    pub manager: &'static str,
}

/// Which object.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// Whose.
    pub tenant: TenantId,
    /// Which resource.
    pub resource: &'a GroupResource,
    /// Its namespace; empty for what has none.
    pub namespace: &'a str,
    /// Its name; empty for a create with `generateName`.
    pub name: &'a str,
    /// `status`, `scale`, `finalize`, `binding`, ...; empty for the object itself.
    pub subresource: &'a str,
}

/// A patch and its kind.
#[derive(Clone, Debug)]
pub enum Patch {
    /// RFC 6902
    Json(Value),
    /// RFC 7386
    Merge(Value),
    /// Strategic merge.
    Strategic(Value),
    /// Server-side apply.
    Apply {
        /// The applied configuration.
        object: Value,
        /// Take over what others own.
        force: bool,
    },
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
    /// `propagationPolicy`: `Background`, `Foreground` or `Orphan`; the resource's default if `None`.
    pub propagation_policy: Option<&'static str>,
}

/// The tenant seam.
///
/// # Guarantees
/// - Reads see every write that was acknowledged before them.
/// - [`TenantClient::follow`] gives every change behind its start once, in order; per tenant [`Event::Attached`] comes
///   before its changes.
/// - Writes go through the same admission, validation and preconditions as a client's.
#[async_trait]
pub trait TenantClient: Send + Sync + 'static {
    /// The tenants that are served now.
    fn tenants(&self) -> Vec<TenantId>;

    /// Follows all tenants from now on, beginning with an [`Event::Attached`] for each that is served already.
    fn follow(&self) -> Box<dyn EventStream>;

    /// Whether the changes of a tenant are told in the order of their revisions, over all its resources: who was told of
    /// one was told of all before it.
    fn in_order(&self) -> bool;

    /// Reads an object.
    ///
    /// # Errors
    /// 404 if there is none.
    async fn get(&self, target: Target<'_>) -> Result<Object, ApiError>;

    /// Reads the `Scale` of an object; `None` if its resource has no `scale` subresource.
    ///
    /// # Errors
    /// 404 if there is no such object.
    async fn scale(&self, target: Target<'_>) -> Result<Option<Value>, ApiError>;

    /// Reads all objects of a resource in a namespace, or in all of them.
    async fn list(&self, tenant: TenantId, resource: &GroupResource, namespace: Option<&str>)
    -> Result<List, ApiError>;

    /// The resources a tenant has now whose objects can be listed and deleted: built-in and custom.
    async fn resources(&self, tenant: TenantId) -> Result<Vec<Resource>, ApiError>;

    /// Creates an object, or posts to a subresource (`eviction`, `binding`, `token`).
    async fn create(&self, caller: Caller, target: Target<'_>, object: Value) -> Result<Value, ApiError>;

    /// Replaces an object. A `resourceVersion` in it is a precondition.
    async fn update(&self, caller: Caller, target: Target<'_>, object: Value) -> Result<Value, ApiError>;

    /// Patches an object. A `resourceVersion` in the patch is a precondition.
    async fn patch(&self, caller: Caller, target: Target<'_>, patch: Patch) -> Result<Value, ApiError>;

    /// Deletes an object.
    async fn delete(&self, caller: Caller, target: Target<'_>, options: DeleteOptions) -> Result<(), ApiError>;
}

/// A resource as discovery has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// Group and plural.
    pub resource: GroupResource,
    /// Kind, in the version that is stored.
    pub kind: GroupVersionKind,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
}

/// Events of all tenants.
#[async_trait]
pub trait EventStream: Send {
    /// The next events: at least one.
    ///
    /// # Errors
    /// When the follower fell so far behind that changes are lost (410: follow anew and list), or the server stops (503).
    async fn next(&mut self) -> Result<Vec<Event>, ApiError>;
}
