//! The file that a client needs.

use apimachinery::codec::to_yaml;
use apimachinery::tenant::TenantId;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::authority::{Authority, Issued};
use crate::tenants::server_name;

/// A kubeconfig for a tenant behind `server` (a URL), as YAML.
///
/// The server is told which tenant by `tls-server-name`, so the URL may be any address of the shared port.
pub fn kubeconfig(id: TenantId, authority: &Authority, client: &Issued, server: &str, name: &str) -> String {
    let context = if name.is_empty() { id.to_string() } else { name.to_owned() };
    let user = format!("{context}-admin");
    let file = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{
            "name": context,
            "cluster": {
                "server": server,
                "tls-server-name": server_name(id),
                "certificate-authority-data": STANDARD.encode(authority.pem()),
            },
        }],
        "users": [{
            "name": user,
            "user": {
                "client-certificate-data": STANDARD.encode(client.certificate_pem()),
                "client-key-data": STANDARD.encode(client.key_pem()),
            },
        }],
        "contexts": [{"name": context, "context": {"cluster": context, "user": user}}],
        "current-context": context,
    });
    to_yaml(&file)
}
