//! What the end-to-end tests share: the host cluster that `make up` left in `.run`, and kubectl for it and for its virtual clusters.
//!
//! The tests need a running host. Without one each of them fails and says how to start it; none is skipped.

mod cluster;
mod host;
mod tenant;
pub mod web;

pub use cluster::{Cluster, Namespace};
pub use host::{HostFacts, Node};
pub use tenant::{Tenant, tenant_command};

/// Why a step of a test failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no host cluster to test on.
    #[error("no host cluster: {path} cannot be read; start one with `make up` (or `make host-up`)")]
    NoHost {
        /// The file that a host leaves.
        path: String,
        /// Why it cannot be read.
        #[source]
        source: std::io::Error,
    },
    /// A file or an answer is not the JSON that was expected.
    #[error("{what} is not the JSON that was expected")]
    Json {
        /// The file or command.
        what: String,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// A command cannot be started.
    #[error("cannot run {command}")]
    Start {
        /// The command line.
        command: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A command failed.
    #[error("{command}\n{stderr}")]
    Command {
        /// The command line.
        command: String,
        /// What it complained.
        stderr: String,
    },
    /// An answer is not the expected one.
    #[error("{what}: {got}")]
    Unexpected {
        /// What was asked.
        what: String,
        /// The answer.
        got: String,
    },
    /// A condition did not come true in time.
    #[error("{what}: not within {seconds} s; last: {last}")]
    Timeout {
        /// The condition.
        what: String,
        /// How long it was waited for.
        seconds: u64,
        /// What was seen at the end.
        last: String,
    },
}
