//! The program.

use std::error::Error;
use std::process::ExitCode;

use clap::Parser;
use tenantry::cli::{Cli, Command};

fn main() -> ExitCode {
    let done: Result<(), Box<dyn Error>> = match Cli::parse().command {
        Command::Server(args) => tenantry::server::run(&args).map_err(Into::into),
        Command::Backup(args) => tenantry::backup::fetch(&args).map_err(Into::into),
        Command::Restore(args) => tenantry::backup::restore(&args).map_err(Into::into),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tenantry::logging::complain(error.as_ref());
            ExitCode::FAILURE
        }
    }
}
