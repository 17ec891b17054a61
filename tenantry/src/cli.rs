//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::config::{Config, ConfigError, DEFAULT_STORE, LogFormat};

/// A Kubernetes API of its own for every tenant of a shared cluster.
#[derive(Debug, Parser)]
#[command(name = "tenantry", version, about)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve virtual clusters
    Server(ServerArgs),
    /// Write all that a running server holds to standard output
    Backup(BackupArgs),
    /// Restore one virtual cluster of a running server, or the whole store of one that is stopped
    Restore(RestoreArgs),
}

/// Flags of `tenantry backup`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "The backup holds the keys and Secrets of all virtual clusters: keep it as safe as the store.

Examples:
  tenantry backup > tenantry.backup
  kubectl -n tenantry-system exec tenantry-0 -- tenantry backup > tenantry.backup
  tenantry backup --virtual-cluster team-a/shop > shop.backup")]
pub struct BackupArgs {
    /// Directory of the server's store
    #[arg(long, value_name = "DIR", default_value = DEFAULT_STORE)]
    pub store_path: PathBuf,
    /// Only this virtual cluster: NAMESPACE/NAME, NAME or uid
    #[arg(long, value_name = "NAME")]
    pub virtual_cluster: Option<String>,
}

/// Flags of `tenantry restore`.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "With --virtual-cluster the server runs on and serves all others; without it the server must be stopped.

Examples:
  tenantry restore --virtual-cluster team-a/shop --replace < tenantry.backup
  tenantry restore --virtual-cluster team-a/shop --as team-a/shop-copy < tenantry.backup
  tenantry restore --store-path /tmp/tenantry --replace < tenantry.backup"
)]
pub struct RestoreArgs {
    /// Directory of the server's store
    #[arg(long, value_name = "DIR", default_value = DEFAULT_STORE)]
    pub store_path: PathBuf,
    /// The backup [default: standard input]
    #[arg(long, value_name = "FILE")]
    pub from: Option<PathBuf>,
    /// Only this virtual cluster of the backup: NAMESPACE/NAME, NAME or uid
    #[arg(long, value_name = "NAME")]
    pub virtual_cluster: Option<String>,
    /// Restore it into this virtual cluster, which is there: NAMESPACE/NAME, or NAME in the same namespace [default: the one of its own name]
    #[arg(long, value_name = "NAME", requires = "virtual_cluster")]
    pub r#as: Option<String>,
    /// Give up what is there: the objects of the virtual cluster; without one, the store, which is moved into its folder replaced-REVISION
    #[arg(long)]
    pub replace: bool,
    /// Leave its pods out
    #[arg(long, requires = "virtual_cluster")]
    pub without_pods: bool,
}

/// Flags of `tenantry server`. A flag wins over the configuration file.
#[derive(Args, Clone, Debug, Default)]
#[command(after_help = "Examples:
  tenantry server --config /etc/tenantry/config.yaml
  tenantry server --host-kubeconfig ~/.kube/config --store-path /tmp/tenantry --log-level debug")]
pub struct ServerArgs {
    /// Configuration file (YAML); see docs/configuration.md for all values
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Directory of the embedded store [default: /var/lib/tenantry]
    #[arg(long, value_name = "DIR")]
    pub store_path: Option<PathBuf>,
    /// Address and port that serve all tenants [default: 0.0.0.0:6443]
    #[arg(long, value_name = "ADDR:PORT")]
    pub api_listen: Option<SocketAddr>,
    /// URL that kubeconfigs name as server [default: found out from the host Service]
    #[arg(long, value_name = "URL")]
    pub api_endpoint: Option<String>,
    /// Address and port of /metrics, /livez and /readyz [default: 0.0.0.0:9090]
    #[arg(long, value_name = "ADDR:PORT")]
    pub ops_listen: Option<SocketAddr>,
    /// Kubeconfig of the host cluster [default: the pod's service account]
    #[arg(long, value_name = "FILE")]
    pub host_kubeconfig: Option<PathBuf>,
    /// Address at which the host's pods reach this process [default: $POD_IP]
    #[arg(long, value_name = "ADDR", env = "POD_IP")]
    pub host_address: Option<std::net::IpAddr>,
    /// error, warn, info, debug, trace or a filter such as info,syncer=debug [default: info]
    #[arg(long, value_name = "FILTER")]
    pub log_level: Option<String>,
    /// How log lines look [default: text]
    #[arg(long, value_enum)]
    pub log_format: Option<LogFormat>,
}

impl ServerArgs {
    /// The configuration: the file's, or the defaults, with what the flags say.
    ///
    /// # Errors
    /// Names the file or flag and the field.
    pub fn configuration(&self) -> Result<Config, ConfigError> {
        let mut config = self.config.as_deref().map(Config::read).transpose()?.unwrap_or_default();
        fn set<T: Clone>(field: &mut T, flag: &Option<T>) {
            if let Some(value) = flag {
                field.clone_from(value);
            }
        }
        set(&mut config.store.path, &self.store_path);
        set(&mut config.api.listen, &self.api_listen);
        set(&mut config.api.endpoint, &self.api_endpoint);
        set(&mut config.ops.listen, &self.ops_listen);
        set(&mut config.log.level, &self.log_level);
        set(&mut config.log.format, &self.log_format);
        config.host.kubeconfig = self.host_kubeconfig.clone().or(config.host.kubeconfig);
        config.host.address = self.host_address.or(config.host.address);
        config.check()?;
        Ok(config)
    }
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
    fn a_flag_wins_over_the_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "log: {level: warn}\nstore: {path: /a}").unwrap();
        let args =
            ServerArgs { config: Some(file.path().into()), log_level: Some("debug".into()), ..ServerArgs::default() };
        let config = args.configuration().unwrap();
        assert_eq!(config.log.level, "debug");
        assert_eq!(config.store.path, PathBuf::from("/a"));
    }

    #[test]
    fn a_wrong_flag_is_refused_by_the_name_of_its_field() {
        let args = ServerArgs { api_endpoint: Some("nowhere".into()), ..ServerArgs::default() };
        assert!(args.configuration().unwrap_err().to_string().contains("api.endpoint"));
    }
}
