//! The program.

use std::error::Error;
use std::process::ExitCode;

use clap::Parser;
use tenantry::cli::{Cli, Command};
use tikv_jemallocator::Jemalloc;

/// What comes and goes with thousands of virtual clusters leaves holes; glibc's allocator fills them in an order that touches all
/// of them (docs/performance.md, "Memory"). How it is set up is in `.cargo/config.toml`.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

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
