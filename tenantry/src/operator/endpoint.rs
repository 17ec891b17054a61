//! Where the shared port is reached from outside the host cluster.

use k8s_openapi::api::core::v1::{Node, Service};
use kube::api::ListParams;
use kube::{Api, Client};
use virtualcluster::VirtualCluster;

use crate::config;

/// Why no address is known.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// The host cannot be asked.
    #[error("cannot read the Service {0} of the API from the host")]
    Read(String, #[source] kube::Error),
    /// The load balancer has no address yet.
    #[error("the load balancer of Service {0} has no address yet; set api.endpoint if it never gets one")]
    Pending(String),
    /// Nothing says where we are.
    #[error("api.endpoint is not set and api.service names no Service; set one of them")]
    Unknown,
}

/// The URL that a kubeconfig names as server.
///
/// # Errors
/// See [`EndpointError`].
pub async fn find(client: &Client, api: &config::Api, vc: &VirtualCluster) -> Result<String, EndpointError> {
    if let Some(server) = &vc.spec.kubeconfig.server {
        return Ok(server.clone());
    }
    if !api.endpoint.is_empty() {
        return Ok(api.endpoint.clone());
    }
    let config::ObjectName { name, namespace } = &api.service;
    if name.is_empty() {
        return Err(EndpointError::Unknown);
    }
    let full = format!("{namespace}/{name}");
    let read = |source| EndpointError::Read(full.clone(), source);
    let service = Api::<Service>::namespaced(client.clone(), namespace).get(name).await.map_err(read)?;
    let spec = service.spec.unwrap_or_default();
    let port = spec.ports.as_ref().and_then(|p| p.first());
    match spec.type_.as_deref() {
        Some("LoadBalancer") => {
            let ingress = service.status.and_then(|s| s.load_balancer).and_then(|l| l.ingress).unwrap_or_default();
            let address =
                ingress.into_iter().find_map(|i| i.hostname.or(i.ip)).ok_or(EndpointError::Pending(full.clone()))?;
            Ok(url(&address, port.map_or(443, |p| p.port)))
        }
        Some("NodePort") => {
            let nodes = Api::<Node>::all(client.clone()).list(&ListParams::default()).await.map_err(read)?;
            let mut addresses =
                nodes.items.into_iter().flat_map(|n| n.status.and_then(|s| s.addresses).unwrap_or_default());
            let address = addresses.find(|a| a.type_ == "InternalIP").ok_or(EndpointError::Unknown)?;
            Ok(url(&address.address, port.and_then(|p| p.node_port).unwrap_or_default()))
        }
        _ => Ok(url(&format!("{name}.{namespace}.svc"), port.map_or(443, |p| p.port))),
    }
}

fn url(host: &str, port: i32) -> String {
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    if port == 443 { format!("https://{host}") } else { format!("https://{host}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::url;

    #[test]
    fn urls_name_the_port_where_it_is_not_the_usual_one() {
        assert_eq!(url("10.0.0.1", 30443), "https://10.0.0.1:30443");
        assert_eq!(url("api.example.com", 443), "https://api.example.com");
        assert_eq!(url("fd00::1", 6443), "https://[fd00::1]:6443");
    }
}
