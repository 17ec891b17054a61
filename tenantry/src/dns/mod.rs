//! The resolver of all tenants: each reaches it at a port of its own, which says whose names are meant.
//!
//! Names follow the Kubernetes DNS specification, version 1.1.0. What lies outside the tenant's domain is passed on to
//! the upstream resolvers as it came.

mod answer;
mod forward;
mod question;
mod serve;

pub use forward::{Upstreams, UpstreamsError};
pub use serve::Resolver;
