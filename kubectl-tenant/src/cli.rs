//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Create, list, connect to and delete virtual clusters.
#[derive(Debug, Parser)]
#[command(
    name = "kubectl-tenant",
    bin_name = "kubectl tenant",
    version,
    about,
    after_help = "Examples:
  kubectl tenant create demo                      # create one and add its context to your kubeconfig
  kubectl tenant list -A                          # all virtual clusters of the host
  kubectl tenant connect demo -- kubectl get ns   # run a command in one
  kubectl tenant delete demo                      # remove it and everything in it"
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Which host cluster, and where on it.
#[derive(Args, Debug)]
pub(crate) struct Global {
    /// Kubeconfig of the host cluster [default: $KUBECONFIG, then ~/.kube/config]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Context of the host cluster [default: the current one]
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) context: Option<String>,
    /// Namespace of the VirtualCluster on the host [default: the context's]
    #[arg(short, long, global = true, value_name = "NAMESPACE")]
    pub(crate) namespace: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Create(CreateArgs),
    #[command(visible_alias = "ls")]
    List(ListArgs),
    Get(GetArgs),
    Kubeconfig(KubeconfigArgs),
    Connect(ConnectArgs),
    Delete(DeleteArgs),
}

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// The object as JSON
    Json,
    /// The object as YAML
    Yaml,
    /// A table with more columns
    Wide,
}

/// Create a virtual cluster, wait until it answers and add it to your kubeconfig
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kubectl tenant create demo
  kubectl tenant create demo --write demo.kubeconfig   # a file of its own; your kubeconfig stays as it is
  kubectl tenant create demo -f spec.yaml              # spec of the VirtualCluster, as YAML or JSON
  kubectl tenant create demo -o json --no-kubeconfig")]
pub(crate) struct CreateArgs {
    /// Name of the virtual cluster: lower case letters, digits and dashes
    pub(crate) name: String,
    /// File with the VirtualCluster's spec ('-' for standard input)
    #[arg(short, long, value_name = "FILE")]
    pub(crate) filename: Option<PathBuf>,
    /// Write the kubeconfig to this file instead of merging it ('-' for standard output)
    #[arg(long, value_name = "FILE", conflicts_with = "no_kubeconfig")]
    pub(crate) write: Option<PathBuf>,
    /// Neither write nor merge the kubeconfig
    #[arg(long)]
    pub(crate) no_kubeconfig: bool,
    /// Make the merged context the current one
    #[arg(long, conflicts_with_all = ["write", "no_kubeconfig"])]
    pub(crate) use_context: bool,
    /// How long to wait until it answers (such as 30s or 5m)
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = duration)]
    pub(crate) timeout: Duration,
    /// Print the VirtualCluster in this form when it is ready
    #[arg(short, long, value_enum)]
    pub(crate) output: Option<Format>,
}

/// List virtual clusters
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kubectl tenant list
  kubectl tenant list -A -o wide")]
pub(crate) struct ListArgs {
    /// Those of all namespaces
    #[arg(short = 'A', long)]
    pub(crate) all_namespaces: bool,
    /// How to print
    #[arg(short, long, value_enum)]
    pub(crate) output: Option<Format>,
}

/// Show one virtual cluster
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kubectl tenant get demo
  kubectl tenant get demo -o yaml")]
pub(crate) struct GetArgs {
    /// Name of the virtual cluster
    pub(crate) name: String,
    /// How to print
    #[arg(short, long, value_enum)]
    pub(crate) output: Option<Format>,
}

/// Print a virtual cluster's kubeconfig, write it to a file or merge it into yours
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kubectl tenant kubeconfig demo --write demo.kubeconfig
  kubectl tenant kubeconfig demo --merge --use-context")]
pub(crate) struct KubeconfigArgs {
    /// Name of the virtual cluster
    pub(crate) name: String,
    /// Write it to this file instead of printing it
    #[arg(long, value_name = "FILE")]
    pub(crate) write: Option<PathBuf>,
    /// Merge it into your kubeconfig instead of printing it
    #[arg(long, conflicts_with = "write")]
    pub(crate) merge: bool,
    /// Make the merged context the current one
    #[arg(long, requires = "merge")]
    pub(crate) use_context: bool,
}

/// Run a command, or a shell, with a virtual cluster's kubeconfig
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kubectl tenant connect demo                     # a shell; leave it with 'exit'
  kubectl tenant connect demo -- kubectl get pods -A
  kubectl tenant connect demo --print             # the path of the kubeconfig, which is kept")]
pub(crate) struct ConnectArgs {
    /// Name of the virtual cluster
    pub(crate) name: String,
    /// Only write the kubeconfig to a file and print the file's name
    #[arg(long, conflicts_with = "command")]
    pub(crate) print: bool,
    /// The command; your $SHELL if there is none
    #[arg(last = true)]
    pub(crate) command: Vec<String>,
}

/// Delete a virtual cluster with everything in it, and wait until nothing of it is left on the host
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kubectl tenant delete demo
  kubectl tenant delete demo --no-wait")]
pub(crate) struct DeleteArgs {
    /// Name of the virtual cluster
    pub(crate) name: String,
    /// Do not wait
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// Succeed also if there is none
    #[arg(long)]
    pub(crate) ignore_not_found: bool,
    /// How long to wait (such as 30s or 5m)
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration)]
    pub(crate) timeout: Duration,
}

fn duration(text: &str) -> Result<Duration, String> {
    let refuse = || format!("'{text}' is no duration: write a number and a unit, such as 30s or 5m");
    let span: jiff::SignedDuration = text.parse().map_err(|_| refuse())?;
    Duration::try_from(span).ok().filter(|d| !d.is_zero()).ok_or_else(refuse)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn durations_are_numbers_with_units() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        for bad in ["", "5", "-3s", "0s", "soon"] {
            assert!(duration(bad).unwrap_err().contains("such as 30s"), "{bad}");
        }
    }

    #[test]
    fn what_connect_runs_comes_after_two_dashes() {
        let cli = Cli::parse_from(["kubectl-tenant", "connect", "demo", "--", "kubectl", "get", "-A", "ns"]);
        let Command::Connect(args) = cli.command else { panic!("not connect") };
        assert_eq!(args.command, ["kubectl", "get", "-A", "ns"]);
    }
}
