//! The host cluster's kubeconfig, and those of virtual clusters.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use k8s_openapi::api::core::v1::Secret;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use virtualcluster::{KUBECONFIG_KEY, VirtualCluster};

use crate::cli::{Global, KubeconfigArgs};
use crate::error::Error;
use crate::output;

/// The host cluster and the namespace in it that the command is about.
pub(crate) struct Host {
    pub(crate) client: Client,
    pub(crate) namespace: String,
}

impl Host {
    pub(crate) async fn connect(global: &Global) -> Result<Self, Error> {
        let kubeconfig = match &global.kubeconfig {
            Some(path) => Kubeconfig::read_from(path),
            None => Kubeconfig::read(),
        }
        .map_err(Error::HostKubeconfig)?;
        let options = KubeConfigOptions { context: global.context.clone(), ..KubeConfigOptions::default() };
        let config = Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(Error::HostKubeconfig)?;
        let namespace = global.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        Ok(Self { client: Client::try_from(config).map_err(Error::HostClient)?, namespace })
    }

    pub(crate) fn virtual_clusters(&self) -> Api<VirtualCluster> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The virtual cluster of this name.
    pub(crate) async fn virtual_cluster(&self, name: &str) -> Result<VirtualCluster, Error> {
        self.virtual_clusters()
            .get_opt(name)
            .await
            .map_err(|e| api_error("read the virtual cluster", e))?
            .ok_or_else(|| Error::NotFound { name: name.to_owned(), namespace: self.namespace.clone() })
    }

    /// The kubeconfig of a virtual cluster, as text.
    pub(crate) async fn kubeconfig(&self, vc: &VirtualCluster) -> Result<String, Error> {
        let name = vc.metadata.name.clone().unwrap_or_default();
        let Some(secret) = vc.status.as_ref().and_then(|s| s.kubeconfig_secret_name.clone()) else {
            let why = vc
                .ready_condition()
                .map_or_else(|| "the operator has not taken it up".to_owned(), |c| c.message.clone());
            return Err(Error::NotReady { name, why });
        };
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        let found = api.get_opt(&secret).await.map_err(|e| api_error("read the kubeconfig Secret", e))?;
        found
            .and_then(|s| s.data?.remove(KUBECONFIG_KEY))
            .and_then(|bytes| String::from_utf8(bytes.0).ok())
            .ok_or_else(|| Error::NoKubeconfig { secret, namespace: self.namespace.clone() })
    }
}

/// An error of the host's API; a missing kind means that the chart is not installed.
pub(crate) fn api_error(what: &str, source: kube::Error) -> Error {
    match source {
        kube::Error::Api(status)
            if status.code == 404
                && (status.details.is_none()
                    || status.message.contains("could not find the requested resource")
                    || status.message.starts_with("404")) =>
        {
            Error::NotInstalled
        }
        kube::Error::Api(status) => Error::Refused { what: what.to_owned(), message: status.message.clone() },
        source => Error::Api { what: what.to_owned(), source },
    }
}

pub(crate) async fn run(global: &Global, args: &KubeconfigArgs) -> Result<ExitCode, Error> {
    let host = Host::connect(global).await?;
    let vc = host.virtual_cluster(&args.name).await?;
    let text = host.kubeconfig(&vc).await?;
    if args.merge {
        merge(global, &text, args.use_context)?;
    } else if let Some(path) = &args.write {
        write_told(path, &text)?;
    } else {
        output::print(&text)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Merges a virtual cluster's kubeconfig into the user's and tells how to use it.
pub(crate) fn merge(global: &Global, text: &str, use_context: bool) -> Result<(), Error> {
    let path = merge_target(global);
    let merge_error = |source| Error::Merge { path: path.clone(), source };
    let added = Kubeconfig::from_yaml(text).map_err(merge_error)?;
    let mut all =
        if path.exists() { Kubeconfig::read_from(&path).map_err(merge_error)? } else { Kubeconfig::default() };
    let context = added.current_context.clone().unwrap_or_default();
    // What an earlier virtual cluster of the same name left there must not win.
    all.clusters.retain(|old| added.clusters.iter().all(|new| new.name != old.name));
    all.contexts.retain(|old| added.contexts.iter().all(|new| new.name != old.name));
    all.auth_infos.retain(|old| added.auth_infos.iter().all(|new| new.name != old.name));
    let current = if use_context { Some(context.clone()) } else { all.current_context.clone() };
    let mut merged = all.merge(added).map_err(merge_error)?;
    merged.current_context = current;
    write_private(&path, &serde_yaml_ng::to_string(&merged)?)?;
    if use_context {
        output::say(&format!("Switched to context \"{context}\" in {}", path.display()));
    } else {
        output::say(&format!(
            "Added context \"{context}\" to {}. Try: kubectl --context {context} get namespaces",
            path.display()
        ));
    }
    Ok(())
}

/// The file that kubectl would change: the first of $KUBECONFIG, or ~/.kube/config.
fn merge_target(global: &Global) -> PathBuf {
    let from_env =
        std::env::var_os("KUBECONFIG").and_then(|v| std::env::split_paths(&v).find(|p| !p.as_os_str().is_empty()));
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".kube").join("config");
    global.kubeconfig.clone().or(from_env).unwrap_or_else(home)
}

/// Writes a virtual cluster's kubeconfig and tells how to use it.
pub(crate) fn write_told(path: &Path, text: &str) -> Result<(), Error> {
    write_private(path, text)?;
    output::say(&format!("Wrote {0}. Try: kubectl --kubeconfig {0} get namespaces", path.display()));
    Ok(())
}

/// Writes a file that only its owner may read, whole or not at all.
pub(crate) fn write_private(path: &Path, text: &str) -> Result<(), Error> {
    let error = |source| Error::Write { path: path.to_owned(), source };
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(error)?;
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(error)?;
    file.write_all(text.as_bytes()).and_then(|()| file.as_file().sync_all()).map_err(error)?;
    file.persist(path).map_err(|e| error(e.error))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kubeconfig(server: &str) -> String {
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: demo\nclusters: [{{name: demo, cluster: {{server: '{server}', tls-server-name: demo.test}}}}]\n\
             contexts: [{{name: demo, context: {{cluster: demo, user: demo}}}}]\nusers: [{{name: demo, user: {{}}}}]\n"
        )
    }

    #[test]
    fn merging_keeps_what_is_there_and_replaces_what_has_the_same_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        let other = "apiVersion: v1\nkind: Config\ncurrent-context: host\nclusters: [{name: host, cluster: {server: 'https://h'}}]\ncontexts: [{name: host, context: {cluster: host, user: u}}]\nusers: [{name: u, user: {}}]\n";
        std::fs::write(&path, other).unwrap();
        let global = Global { kubeconfig: Some(path.clone()), context: None, namespace: None };
        merge(&global, &kubeconfig("https://old"), false).unwrap();
        merge(&global, &kubeconfig("https://new"), false).unwrap();
        let merged = Kubeconfig::read_from(&path).unwrap();
        assert_eq!(merged.current_context.as_deref(), Some("host"));
        assert_eq!(merged.clusters.len(), 2);
        let demo = merged.clusters.iter().find(|c| c.name == "demo").unwrap().cluster.as_ref().unwrap();
        assert_eq!(demo.server.as_deref(), Some("https://new"));
        assert_eq!(demo.tls_server_name.as_deref(), Some("demo.test"));
        merge(&global, &kubeconfig("https://new"), true).unwrap();
        assert_eq!(Kubeconfig::read_from(&path).unwrap().current_context.as_deref(), Some("demo"));
    }
}
