//! What a Kubernetes API object is, without any I/O.
//!
//! Everything here is a pure function of its arguments: no sockets, no runtime, no clock (the time is passed in). The
//! rooms above put these functions between a connection and a store.

pub mod apply;
pub mod builtin;
pub mod codec;
pub mod crd;
pub mod cron;
pub mod envelope;
pub mod error;
pub mod field;
pub mod gvk;
pub mod intstr;
pub mod limit_range;
pub mod meta;
pub mod patch;
pub mod quantity;
pub mod quota;
pub mod rbac;
pub mod resource;
pub mod rules;
pub mod schema;
pub mod selector;
pub mod status;
pub mod table;
pub mod tenant;
#[cfg(test)]
mod testing;
pub mod time;
