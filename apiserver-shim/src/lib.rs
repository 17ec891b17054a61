//! The Kubernetes API server of all virtual clusters.

pub mod access;
pub mod admission;
pub mod auth;
pub mod client;
pub mod clock;
mod conversion;
mod decode;
mod discovery;
mod encode;
mod http;
pub mod metrics;
mod negotiate;
mod ownership;
pub mod pages;
mod pieces;
pub mod registry;
pub mod request;
pub mod resources;
pub mod server;
pub mod special;
mod status;
mod tables;
pub mod tenants;
pub mod tls;
mod watch;

pub use discovery::KUBERNETES_VERSION;
