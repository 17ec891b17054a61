//! Tenant objects to host objects and back.
//!
//! Pure functions in the middle (`*_translate`: a tenant object and what the admin allows to a host object, a host
//! status to a tenant status), one engine around them. Nothing here knows how a tenant's API is served: tenants are
//! seen through [`tenant_client::TenantClient`], the host through its Kubernetes API.
//!
//! To add a kind: a folder with its translation and a `Room`, and a line in `rooms.rs`.

mod cache;
pub mod claims;
pub mod classes;
mod clock;
pub mod config;
pub mod configs;
mod context;
mod covers;
pub mod endpoints;
mod engine;
pub mod error;
pub mod events;
pub mod host;
mod host_api;
mod host_object;
pub mod marks;
pub mod metrics;
pub mod names;
pub mod namespaces;
pub mod nodes;
pub mod pods;
mod pulse;
pub mod rewrite;
mod room;
mod rooms;
pub mod services;
mod stream;
pub mod table;
mod touched;
mod watch;

pub use covers::{applied_stamp, covers};
pub use engine::Syncer;
pub use host_api::HostKind;
