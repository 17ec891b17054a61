//! Tenant objects to host objects and back.
//!
//! Pure functions in the middle (`*_translate`: a tenant object and what the admin allows to a host object, a host
//! status to a tenant status), one engine around them. Nothing here knows how a tenant's API is served: tenants are
//! seen through [`tenant_client::TenantClient`], the host through its Kubernetes API.

pub mod config;
mod covers;
pub mod marks;
pub mod names;
pub mod pods;
pub mod rewrite;
pub mod table;

pub use covers::{applied_stamp, covers};
