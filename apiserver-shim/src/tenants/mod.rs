//! The virtual clusters that are served: what is kept of each, and how one comes and goes while requests run.

pub(crate) mod bootstrap;
mod gate;
mod record;
mod replace;
mod set;
mod spec;
mod tenant;

pub use gate::{Gate, GateGuard};
pub use record::tenant_in_backup;
pub use replace::ReplaceError;
pub use set::{TenantError, Tenants};
pub use spec::{SERVER_NAME_SUFFIX, SpecError, TenantSpec, server_name};
pub use tenant::Tenant;
