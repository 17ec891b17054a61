//! What an admin configures: a YAML file, some of it overridden by flags.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tracing_subscriber::EnvFilter;

/// Where the embedded store lies if nothing else is said.
pub const DEFAULT_STORE: &str = "/var/lib/tenantry";

/// The configuration of `tenantry server`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Config {
    /// Where everything is kept.
    pub store: Store,
    /// The port that serves all tenants.
    pub api: Api,
    /// The ports that serve one tenant each.
    pub ports: Ports,
    /// Metrics and health.
    pub ops: Ops,
    /// The host cluster.
    pub host: Host,
    /// What tenants and their pods see.
    pub tenants: Tenants,
    /// The log, on standard output.
    pub log: Log,
}

/// The store: embedded, unless etcd is named.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Store {
    /// Directory of the embedded store's files; made if it is not there.
    pub path: PathBuf,
    /// The etcd that is the store instead.
    pub etcd: Option<Etcd>,
    /// How many seconds of history are held: how old a watch may be that is taken up again.
    pub history_seconds: u64,
    /// After how many seconds without a request a tenant leaves memory, to come back with the next one; never if 0.
    pub rest_seconds: u64,
}

/// An etcd cluster, 3.5.8 or later.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Etcd {
    /// URLs of its members.
    pub endpoints: Vec<String>,
    /// What all keys begin with; nothing else may write below it.
    pub prefix: String,
    /// PEM file with the authorities that may have signed etcd's certificates. Read whenever a connection is made, as the
    /// following two.
    pub ca_file: Option<PathBuf>,
    /// PEM file with our certificate.
    pub cert_file: Option<PathBuf>,
    /// PEM file with its key.
    pub key_file: Option<PathBuf>,
}

/// The port that serves all tenants.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Api {
    /// Address and port to listen on.
    pub listen: SocketAddr,
    /// URL that kubeconfigs name as server; found out from `service` if empty.
    pub endpoint: String,
    /// The host Service that leads to `listen`.
    pub service: ObjectName,
}

/// A range of ports of which each tenant gets two: API and DNS.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Ports {
    /// The first one.
    pub first: u16,
    /// How many.
    pub count: u16,
}

/// Metrics and health.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Ops {
    /// Address and port of `/metrics`, `/livez` and `/readyz`.
    pub listen: SocketAddr,
}

/// The host cluster.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Host {
    /// Kubeconfig of the host; the pod's own service account if empty.
    pub kubeconfig: Option<PathBuf>,
    /// Our service account on the host, bound to the roles below. Nothing is bound if empty.
    pub service_account: ObjectName,
    /// ClusterRole that is bound in each host namespace of a tenant.
    pub tenant_namespace_role: String,
    /// ClusterRole that is bound in the namespace of a VirtualCluster.
    pub kubeconfig_role: String,
    /// Address at which the host's nodes and pods reach this process: the pod's own.
    pub address: Option<IpAddr>,
}

/// Name and namespace of an object.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ObjectName {
    /// Name.
    pub name: String,
    /// Namespace.
    pub namespace: String,
}

/// What tenants and their pods see.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Tenants {
    /// DNS domain.
    pub cluster_domain: String,
    /// Resolvers that are asked for names that are not the tenant's; those of `/etc/resolv.conf` if empty.
    pub upstream_dns: Vec<IpAddr>,
}

/// The log.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Log {
    /// A level, or a filter such as `info,syncer=debug`.
    pub level: String,
    /// How lines look.
    pub format: LogFormat,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is not the YAML that is wanted.
    #[error("{}: {field}: {reason}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// The field.
        field: String,
        /// What is wrong.
        reason: String,
    },
    /// Values that do not fit.
    #[error("configuration: {0}")]
    Invalid(String),
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// Names the file and the field.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let refuse = |field: String, reason: String| ConfigError::Parse { path: path.to_owned(), field, reason };
        serde_path_to_error::deserialize(serde_yaml_ng::Deserializer::from_str(&text))
            .map_err(|error| refuse(error.path().to_string(), error.inner().to_string()))
    }

    /// Checks what types cannot say.
    ///
    /// # Errors
    /// Names every field that is wrong and what it must be.
    pub fn check(&self) -> Result<(), ConfigError> {
        let mut wrong = Vec::new();
        match &self.store.etcd {
            Some(etcd) => etcd.check(&mut wrong),
            None if self.store.path.as_os_str().is_empty() => {
                wrong.push("store.path: must name a directory".to_owned());
            }
            None => {}
        }
        if !(10..=86_400).contains(&self.store.history_seconds) {
            wrong.push(format!("store.historySeconds: {} must be from 10 to 86400", self.store.history_seconds));
        }
        if self.store.rest_seconds > 86_400 {
            wrong.push(format!("store.restSeconds: {} must be at most 86400; 0 is never", self.store.rest_seconds));
        }
        let endpoint = &self.api.endpoint;
        if !endpoint.is_empty() && !endpoint.strip_prefix("https://").is_some_and(|h| !h.is_empty() && !h.contains('/'))
        {
            wrong.push(format!("api.endpoint: {endpoint:?} must be a URL such as https://api.example.com:443"));
        }
        if self.ports.first < 1024 {
            wrong.push(format!("ports.first: {} must be at least 1024", self.ports.first));
        }
        if self.ports.count < 2 || u32::from(self.ports.first) + u32::from(self.ports.count) > 65_536 {
            wrong.push(format!("ports.count: {} must be at least 2 and end below 65536", self.ports.count));
        }
        let range = self.ports.first..=self.ports.first.saturating_add(self.ports.count.saturating_sub(1));
        for (field, port) in [("api.listen", self.api.listen.port()), ("ops.listen", self.ops.listen.port())] {
            if self.ports.count >= 2 && range.contains(&port) {
                wrong.push(format!("{field}: port {port} lies in the range of ports, which belongs to tenants"));
            }
        }
        let account = &self.host.service_account;
        if account.name.is_empty() != account.namespace.is_empty() {
            wrong.push("host.serviceAccount: needs name and namespace, or neither".to_owned());
        }
        let domain = &self.tenants.cluster_domain;
        let label = |l: &str| {
            !l.is_empty()
                && l.len() <= 63
                && l.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        if !domain.split('.').all(label) {
            wrong.push(format!("tenants.clusterDomain: {domain:?} must be a DNS name such as cluster.local"));
        }
        if let Err(error) = EnvFilter::try_new(&self.log.level) {
            wrong.push(format!("log.level: {:?} is no level or filter: {error}", self.log.level));
        }
        if wrong.is_empty() { Ok(()) } else { Err(ConfigError::Invalid(wrong.join("; "))) }
    }
}

impl Etcd {
    fn check(&self, wrong: &mut Vec<String>) {
        let of = |scheme: &str| self.endpoints.iter().filter(|e| e.starts_with(scheme)).count();
        if self.endpoints.is_empty() {
            wrong.push(
                "store.etcd.endpoints: must name at least one member, such as https://etcd-0.etcd:2379".to_owned(),
            );
        }
        for (i, endpoint) in self.endpoints.iter().enumerate() {
            let authority = ["https://", "http://"].iter().find_map(|scheme| endpoint.strip_prefix(scheme));
            if !authority.is_some_and(|a| a.parse::<http::uri::Authority>().is_ok_and(|a| a.port().is_some())) {
                wrong.push(format!(
                    "store.etcd.endpoints[{i}]: {endpoint:?} must be a URL with a port and no path, such as https://etcd-0.etcd:2379"
                ));
            }
        }
        if of("https://") > 0 && of("http://") > 0 {
            wrong.push("store.etcd.endpoints: must all be https, or all http".to_owned());
        }
        let prefix = &self.prefix;
        if !prefix.starts_with('/') || prefix.len() < 2 || prefix.ends_with('/') || prefix.contains('\0') {
            wrong.push(format!(
                "store.etcd.prefix: {prefix:?} must begin with a slash and not end with one, such as /tenantry"
            ));
        }
        if of("https://") > 0 && self.ca_file.is_none() {
            wrong.push("store.etcd.caFile: is needed for endpoints with https".to_owned());
        }
        if of("https://") == 0 && (self.ca_file.is_some() || self.cert_file.is_some() || self.key_file.is_some()) {
            wrong.push("store.etcd.caFile, certFile, keyFile: are of no use for endpoints with http".to_owned());
        }
        if self.cert_file.is_some() != self.key_file.is_some() {
            wrong.push("store.etcd.certFile, keyFile: both are needed, or neither".to_owned());
        }
    }
}

impl Default for Store {
    fn default() -> Self {
        Self { path: PathBuf::from(DEFAULT_STORE), etcd: None, history_seconds: 300, rest_seconds: 600 }
    }
}

impl Default for Etcd {
    fn default() -> Self {
        let prefix = "/tenantry".to_owned();
        Self { endpoints: Vec::new(), prefix, ca_file: None, cert_file: None, key_file: None }
    }
}

impl Default for Api {
    fn default() -> Self {
        let listen = SocketAddr::from(([0, 0, 0, 0], 6443));
        Self { listen, endpoint: String::new(), service: ObjectName::default() }
    }
}

impl Default for Ports {
    fn default() -> Self {
        Self { first: 20_000, count: 20_000 }
    }
}

impl Default for Ops {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([0, 0, 0, 0], 9090)) }
    }
}

impl Default for Host {
    fn default() -> Self {
        Self {
            kubeconfig: None,
            service_account: ObjectName::default(),
            tenant_namespace_role: "tenantry-tenant-namespace".to_owned(),
            kubeconfig_role: "tenantry-kubeconfig".to_owned(),
            address: None,
        }
    }
}

impl Default for Tenants {
    fn default() -> Self {
        Self { cluster_domain: "cluster.local".to_owned(), upstream_dns: Vec::new() }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, ConfigError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Config::read(file.path())
    }

    #[test]
    fn an_empty_file_is_the_defaults_and_they_are_valid() {
        let config = read("{}").unwrap();
        assert_eq!(config, Config::default());
        config.check().unwrap();
    }

    #[test]
    fn a_wrong_value_is_refused_by_the_name_of_its_field() {
        for (text, field) in [
            ("api: {listen: nowhere}", "api.listen"),
            ("ports: {first: -1}", "ports.first"),
            ("store: {pth: /x}", "store"),
            ("store: {etcd: {endpoint: x}}", "store.etcd"),
            ("log: {format: xml}", "log.format"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(&format!(": {field}")), "{text}: {error}");
        }
    }

    #[test]
    fn values_that_do_not_fit_are_all_named() {
        let config = Config {
            ports: Ports { first: 80, count: 0 },
            api: Api { endpoint: "http://x".into(), ..Api::default() },
            log: Log { level: "loud=very".into(), ..Log::default() },
            store: Store { rest_seconds: 90_000, ..Store::default() },
            tenants: Tenants { cluster_domain: "Bad_".into(), ..Tenants::default() },
            ..Config::default()
        };
        let error = config.check().unwrap_err().to_string();
        for field in
            ["store.restSeconds", "ports.first", "ports.count", "api.endpoint", "log.level", "tenants.clusterDomain"]
        {
            assert!(error.contains(field), "{field}: {error}");
        }
        for (etcd, field) in [
            ("endpoints: []", "store.etcd.endpoints:"),
            ("endpoints: [etcd:2379]", "store.etcd.endpoints[0]:"),
            ("endpoints: ['http://etcd:2379', 'http://etcd']", "store.etcd.endpoints[1]:"),
            ("endpoints: ['http://etcd:2379/x']", "store.etcd.endpoints[0]:"),
            ("endpoints: ['http://a:1', 'https://b:1'], caFile: /ca", "store.etcd.endpoints:"),
            ("endpoints: ['https://etcd:2379']", "store.etcd.caFile:"),
            ("endpoints: ['http://etcd:2379'], caFile: /ca", "store.etcd.caFile,"),
            ("endpoints: ['https://etcd:2379'], caFile: /ca, certFile: /c", "store.etcd.certFile,"),
            ("endpoints: ['http://etcd:2379'], prefix: tenantry", "store.etcd.prefix:"),
            ("endpoints: ['http://etcd:2379'], prefix: /", "store.etcd.prefix:"),
        ] {
            let error = read(&format!("store: {{etcd: {{{etcd}}}}}")).unwrap().check().unwrap_err().to_string();
            assert!(error.contains(field), "{etcd}: {error}");
        }
        let fits =
            "store: {etcd: {endpoints: ['https://a:1', 'https://[::1]:2'], caFile: /ca, certFile: /c, keyFile: /k}}";
        read(fits).unwrap().check().unwrap();
        let config = Config { ports: Ports { first: 6000, count: 1000 }, ..Config::default() };
        assert!(config.check().unwrap_err().to_string().contains("api.listen: port 6443"));
    }
}
