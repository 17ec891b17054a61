//! Wiring.

use crate::cli::ServerArgs;
use crate::config::ConfigError;

/// Why the server ended.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The configuration is refused.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// Runs until SIGTERM.
///
/// # Errors
/// What keeps it from starting.
pub fn run(args: &ServerArgs) -> Result<(), ServerError> {
    args.configuration()?;
    Ok(())
}
