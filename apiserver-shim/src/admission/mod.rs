//! Admission: what may change or refuse a write after authorization and before the store, in a fixed order.

mod limit_ranger;
mod namespace_lifecycle;
mod not_enforced;
mod priority;
pub(crate) mod resource_quota;
mod runtime_class;
mod service_account;
mod storage;
mod toleration_seconds;

use apimachinery::status::ApiError;
use async_trait::async_trait;
use serde_json::Value;

use crate::registry::{Call, Registry};

/// What a write does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// An object, or a subresource such as a binding, is created.
    Create,
    /// An object, or a part of it, is changed.
    Update,
    /// An object is deleted.
    Delete,
    /// A stream is opened.
    Connect,
}

/// A write on its way to the store. Objects are in the storage version.
pub struct Request<'a> {
    /// Where plugins look things up.
    pub registry: &'a Registry,
    /// Who, whose, which.
    pub call: &'a Call,
    /// What it does.
    pub operation: Operation,
    /// The new object; `None` for a deletion. Mutating plugins change it.
    pub object: Option<Value>,
    /// The object before; `None` for a create.
    pub old: Option<&'a Value>,
}

impl<'a> Request<'a> {
    /// A write.
    pub fn new(
        registry: &'a Registry,
        call: &'a Call,
        operation: Operation,
        object: Option<Value>,
        old: Option<&'a Value>,
    ) -> Self {
        Self { registry, call, operation, object, old }
    }

    /// Whether this is about this resource (or subresource, `pods/eviction`) of the group.
    pub fn is_for(&self, group: &str, resource: &str, subresource: &str) -> bool {
        self.call.resource.gvr.group == group
            && self.call.resource.gvr.resource == resource
            && self.call.subresource == subresource
    }
}

/// A plugin. It sees every write and picks what it cares about.
#[async_trait]
pub trait Admission: Send + Sync + 'static {
    /// Its name, as messages and metrics have it.
    fn name(&self) -> &'static str;

    /// May change the new object, or refuse the write. Runs before defaults of the server and validation; may run
    /// again if someone else wrote in between.
    ///
    /// # Errors
    /// The refusal.
    async fn mutate(&self, _request: &mut Request<'_>) -> Result<(), ApiError> {
        Ok(())
    }

    /// May refuse the write. Sees the object as it is going to be stored.
    ///
    /// # Errors
    /// The refusal.
    async fn validate(&self, _request: &Request<'_>) -> Result<(), ApiError> {
        Ok(())
    }
}

/// All plugins, in the order in which they run. Quotas come after all of them: see `resource_quota`.
pub fn plugins() -> Vec<Box<dyn Admission>> {
    vec![
        Box::new(namespace_lifecycle::NamespaceLifecycle),
        Box::new(limit_ranger::LimitRanger),
        Box::new(service_account::ServiceAccount),
        Box::new(priority::Priority),
        Box::new(toleration_seconds::DefaultTolerationSeconds),
        Box::new(storage::DefaultStorageClass),
        Box::new(storage::StorageObjectInUseProtection),
        Box::new(runtime_class::RuntimeClass),
        Box::new(storage::DefaultIngressClass),
        Box::new(not_enforced::NotEnforced),
    ]
}

pub(crate) async fn mutate(plugins: &[Box<dyn Admission>], request: &mut Request<'_>) -> Result<(), ApiError> {
    for plugin in plugins {
        plugin.mutate(request).await?;
    }
    Ok(())
}

pub(crate) async fn validate(plugins: &[Box<dyn Admission>], request: &Request<'_>) -> Result<(), ApiError> {
    for plugin in plugins {
        plugin.validate(request).await?;
    }
    Ok(())
}
