//! What the end-to-end tests share: the host cluster that `make up` left in `.run`, and kubectl for it and for its virtual clusters.
//!
//! The tests need a running host. Without one each of them fails and says how to start it; none is skipped.

mod cluster;
pub mod fault;
mod host;
pub mod marks;
mod server;
mod sleepers;
mod tenant;
pub mod web;
pub mod wire;

use std::time::Duration;

use serde_json::Value;

pub use cluster::{Cluster, Namespace};
pub use host::{HostFacts, Node};
pub use server::panics;
pub use sleepers::sleepers;
pub use tenant::{Tenant, tenant_command};

/// How long what must come is waited for.
pub const LIMIT: Duration = Duration::from_secs(90);

/// A text in an answer; empty where there is none.
#[must_use]
pub fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Fails with what was got, unless it is as wanted.
///
/// # Errors
/// [`Error::Unexpected`]
pub fn must(what: &str, wanted: bool, got: impl ToString) -> Result<(), Error> {
    if wanted { Ok(()) } else { Err(Error::Unexpected { what: what.to_owned(), got: got.to_string() }) }
}

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
    /// A connection failed.
    #[error("{what}")]
    Wire {
        /// What was attempted.
        what: String,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// A kubeconfig cannot be used for TLS.
    #[error("{0}")]
    Kubeconfig(String),
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
