//! The program.

use std::process::ExitCode;

use clap::Parser;
use tenantry::cli::{Cli, Command};

fn main() -> ExitCode {
    let Command::Server(args) = Cli::parse().command;
    match tenantry::server::run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tenantry::logging::complain(&error);
            ExitCode::FAILURE
        }
    }
}
