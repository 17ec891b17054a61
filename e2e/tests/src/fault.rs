//! Faults of the host and of the server.

use std::path::Path;
use std::process::Command;

use crate::Error;
use crate::host::run_dir;

/// While this value lives, the host's API server hangs: connections open, and nothing is answered.
#[derive(Debug)]
pub struct FrozenApi(());

impl FrozenApi {
    /// Freezes it.
    ///
    /// # Errors
    /// With what `e2e/host/fault` complains.
    pub fn new() -> Result<Self, Error> {
        fault("api-freeze")?;
        Ok(Self(()))
    }
}

impl Drop for FrozenApi {
    fn drop(&mut self) {
        // A host that stays frozen fails every later test, which says so.
        let _ = fault("api-thaw");
    }
}

/// `kill -9` of the server. It is started again by what started it.
///
/// # Errors
/// With what `e2e/host/fault` complains.
pub fn server_kill() -> Result<(), Error> {
    fault("server-kill")
}

fn fault(what: &str) -> Result<(), Error> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../host/fault");
    let shown = format!("e2e/host/fault {what}");
    let output = Command::new(script)
        .arg(what)
        .env("TENANTRY_RUN", run_dir())
        .output()
        .map_err(|source| Error::Start { command: shown.clone(), source })?;
    if output.status.success() {
        return Ok(());
    }
    Err(Error::Command { command: shown, stderr: String::from_utf8_lossy(&output.stderr).into_owned() })
}
