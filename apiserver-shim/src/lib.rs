//! The Kubernetes API server of all virtual clusters.

pub mod auth;
pub mod clock;
pub mod tenants;
pub mod tls;
