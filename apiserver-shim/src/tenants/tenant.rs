//! One tenant while it is served.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use apimachinery::tenant::TenantId;
use arc_swap::ArcSwap;

use super::{Gate, TenantSpec, server_name};
use crate::auth::token::TokenKey;
use crate::tls::Authority;

/// A tenant that is served. Small: keys as DER, nothing decoded, no task, no timer.
#[derive(Debug)]
pub struct Tenant {
    id: TenantId,
    spec: ArcSwap<TenantSpec>,
    authority: Authority,
    token_key: TokenKey,
    gate: Gate,
}

impl Tenant {
    pub(super) fn new(id: TenantId, spec: TenantSpec, authority: Authority, token_key: TokenKey) -> Self {
        Self { id, spec: ArcSwap::from_pointee(spec), authority, token_key, gate: Gate::default() }
    }

    pub(super) fn set_spec(&self, spec: TenantSpec) {
        self.spec.store(Arc::new(spec));
    }

    /// Its identity.
    pub fn id(&self) -> TenantId {
        self.id
    }

    /// What its operator said of it last.
    pub fn spec(&self) -> Arc<TenantSpec> {
        self.spec.load_full()
    }

    /// Its certificate authority, which its clients trust and which signs them.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The key that signs its service accounts' tokens.
    pub fn token_key(&self) -> &TokenKey {
        &self.token_key
    }

    /// `iss` of its tokens, and their default audience. No other tenant has it.
    pub fn issuer(&self) -> String {
        format!("https://{}", server_name(self.id))
    }

    /// The gate that every request passes; held while the request runs.
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// The names that its serving certificate is for.
    pub fn server_names(&self) -> Vec<String> {
        let spec = self.spec.load();
        let inside =
            ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"];
        let mut names = vec![server_name(self.id)];
        names.extend(spec.hostnames.iter().cloned());
        names.extend(inside.map(str::to_owned));
        names.push("localhost".to_owned());
        names
    }

    /// The addresses that its serving certificate is for.
    pub fn addresses(&self) -> Vec<IpAddr> {
        let spec = self.spec.load();
        let mut addresses: Vec<IpAddr> = vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        for address in spec.service_ips.iter().chain(&spec.endpoint_ips) {
            if !addresses.contains(address) {
                addresses.push(*address);
            }
        }
        addresses
    }
}
