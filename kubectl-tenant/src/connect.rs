//! `connect`: a shell or a command with a virtual cluster's kubeconfig.

use std::process::ExitCode;

use tokio::process::Command;

use crate::cli::{ConnectArgs, Global};
use crate::error::Error;
use crate::kubeconfig::{Host, write_private};
use crate::output;

pub(crate) async fn run(global: &Global, args: &ConnectArgs) -> Result<ExitCode, Error> {
    let host = Host::connect(global).await?;
    let vc = host.virtual_cluster(&args.name).await?;
    let text = host.kubeconfig(&vc).await?;
    let temp = std::env::temp_dir();
    let folder = tempfile::Builder::new()
        .prefix("kubectl-tenant-")
        .tempdir_in(&temp)
        .map_err(|source| Error::Write { path: temp, source })?;
    let path = folder.path().join(format!("{}.kubeconfig", args.name));
    write_private(&path, &text)?;
    if args.print {
        let kept = folder.keep().join(format!("{}.kubeconfig", args.name));
        output::print(&format!("{}\n", kept.display()))?;
        return Ok(ExitCode::SUCCESS);
    }
    let shell = || std::env::var("SHELL").unwrap_or_else(|_| "/bin/sh".to_owned());
    let (program, rest) = match args.command.split_first() {
        Some((program, rest)) => (program.clone(), rest.to_vec()),
        None => {
            output::say(&format!(
                "kubectl in this shell talks to virtual cluster \"{}\"; leave with 'exit'",
                args.name
            ));
            (shell(), Vec::new())
        }
    };
    let status = Command::new(&program)
        .args(rest)
        .env("KUBECONFIG", &path)
        .status()
        .await
        .map_err(|source| Error::Spawn { command: program, source })?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}
