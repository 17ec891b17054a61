//! `kubectl tenant`: a kubectl plugin to create, list, connect to and delete virtual clusters.

mod cli;
mod connect;
mod create;
mod delete;
mod error;
mod kubeconfig;
mod list;
mod output;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match &cli.command {
        Command::Create(args) => create::run(&cli.global, args).await,
        Command::List(args) => list::list(&cli.global, args).await,
        Command::Get(args) => list::get(&cli.global, args).await,
        Command::Kubeconfig(args) => kubeconfig::run(&cli.global, args).await,
        Command::Connect(args) => connect::run(&cli.global, args).await,
        Command::Delete(args) => delete::run(&cli.global, args).await,
    };
    result.unwrap_or_else(|error| {
        output::complain(&error);
        ExitCode::FAILURE
    })
}
