//! Texts that the host wrote, in the tenant's words: no name of the host is left in them.

use apimachinery::tenant::TenantId;

use crate::names;

/// What to look for in texts about one host object, and what to put there.
#[derive(Clone, Debug, Default)]
pub struct Rewrite {
    pairs: Vec<(String, String)>,
}

impl Rewrite {
    /// For objects in the host namespace of a tenant's namespace.
    pub fn new(tenant: TenantId, tenant_name: &str, namespace: &str) -> Self {
        let host = names::host_namespace(tenant, tenant_name, namespace);
        let root_ca = "kube-root-ca.crt";
        Self {
            pairs: vec![
                (host, namespace.to_owned()),
                (names::config_map(root_ca), root_ca.to_owned()),
                (tenant.to_string(), tenant_name.to_owned()),
            ],
        }
    }

    /// Also for a host object that has another uid there.
    pub fn with_uid(mut self, host_uid: &str, uid: &str) -> Self {
        if !host_uid.is_empty() {
            self.pairs.push((host_uid.to_owned(), uid.to_owned()));
        }
        self
    }

    /// Also for a pod's token secret, which the tenant does not have.
    pub fn with_token_secret(mut self, secret: &str) -> Self {
        self.pairs.push((secret.to_owned(), "service-account-token".to_owned()));
        self
    }

    /// The text in the tenant's words.
    pub fn text(&self, text: &str) -> String {
        let mut out = text.to_owned();
        for (from, to) in &self.pairs {
            if out.contains(from.as_str()) {
                out = out.replace(from.as_str(), to);
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_host_are_gone_from_a_message() {
        let tenant = TenantId::from_bytes([3; 16]);
        let host = names::host_namespace(tenant, "demo", "shop");
        let rewrite =
            Rewrite::new(tenant, "demo", "shop").with_uid("host-uid", "uid").with_token_secret("web-sa-token-x");
        let message =
            format!("Back-off pulling image for pod \"web_{host}(host-uid)\": secret \"web-sa-token-x\" not found");
        assert_eq!(
            rewrite.text(&message),
            "Back-off pulling image for pod \"web_shop(uid)\": secret \"service-account-token\" not found"
        );
        assert_eq!(
            rewrite.text("configmap \"tenant.kube-root-ca.crt\" not found"),
            "configmap \"kube-root-ca.crt\" not found"
        );
    }
}
