//! The virtual clusters that are served: what is kept of each, and how one comes and goes while requests run.

mod gate;
mod spec;

pub use gate::{Gate, GateGuard};
pub use spec::{SERVER_NAME_SUFFIX, SpecError, TenantSpec, server_name};
