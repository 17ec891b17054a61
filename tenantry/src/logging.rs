//! The log: lines on standard output.

use std::error::Error;
use std::io::Write;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

use crate::config::{Log, LogFormat};

/// Starts logging.
///
/// # Errors
/// When the level is no filter; [`crate::config::Config::check`] finds that first.
pub fn start(log: &Log) -> Result<(), ParseError> {
    // Told by `eprintln!`, a line that could not be written would be a panic of whoever wrote it when both are one full disk.
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_new(&log.level)?)
        .with_ansi(false)
        .log_internal_errors(false);
    match log.format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(true).with_span_list(false).init(),
    }
    Ok(())
}

/// Says on standard error why the program ends.
pub fn complain(error: &dyn Error) {
    // Nobody is left to tell if this fails.
    let _ = writeln!(std::io::stderr(), "tenantry: {}", apimachinery::error::chain(error));
}
