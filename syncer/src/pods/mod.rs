//! Pods: down as host pods, up as status.

mod affinity;
mod fieldref;
pub mod fields;
mod room;
mod security;
mod status;
#[cfg(test)]
mod tests;
mod tokens;
mod translate;
mod update;
mod uses;

pub(crate) use room::{PODS, Pods};
pub use security::pod_security_check;
pub use status::{pod_conditions_down, pod_status, qos_class};
pub use translate::{HostPod, PodContext, Refusal, TokenNeed, pod_translate};
pub use update::{PodPlan, pod_plan};
pub use uses::{Use, pod_uses};
