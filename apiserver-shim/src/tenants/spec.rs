//! What is said of a virtual cluster when it is attached.

use std::net::IpAddr;

use apimachinery::tenant::TenantId;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What follows a tenant's uid in the name that clients put into `tls-server-name`.
pub const SERVER_NAME_SUFFIX: &str = ".tenantry";

/// A virtual cluster as its operator wants it. Attaching it again with other values changes them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TenantSpec {
    /// Namespace of the `VirtualCluster` on the host.
    pub namespace: String,
    /// Name of the `VirtualCluster`.
    pub name: String,
    /// Real hostnames that lead to this tenant on the shared port, in lower case.
    pub hostnames: Vec<String>,
    /// The port of its own on which the server listens for this tenant alone; 0 for none.
    pub port: u16,
    /// Addresses of the host Service that leads to that port: `clusterIPs` of `default/kubernetes`, and in the
    /// serving certificate. May be empty.
    pub service_ips: Vec<IpAddr>,
    /// Where the server can be reached behind that Service: addresses in the Endpoints of `default/kubernetes`.
    pub endpoint_ips: Vec<IpAddr>,
    /// The port at those addresses; `port` if 0.
    pub endpoint_port: u16,
    /// The service ranges of the host, as the tenant's `ServiceCIDR` object has them (`10.96.0.0/16`).
    pub service_cidrs: Vec<String>,
    /// What else the operator keeps with a tenant; the server does not look at it.
    pub options: Value,
}

/// Why a spec is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// The uid is the nil one, which is the server's own.
    #[error("uid: must not be the nil uuid")]
    NilUid,
    /// A hostname is no lower-case DNS name, or is a name under `.tenantry`.
    #[error("hostnames: {0:?} must be a lower-case DNS name that does not end in {SERVER_NAME_SUFFIX:?}")]
    Hostname(String),
    /// Another tenant has this hostname.
    #[error("hostnames: {0:?} already leads to another virtual cluster")]
    HostnameTaken(String),
    /// Another tenant has this port.
    #[error("port: {0} already belongs to another virtual cluster")]
    PortTaken(u16),
    /// A service range is none.
    #[error("serviceCidrs: {0:?} must be an address range such as 10.96.0.0/16")]
    ServiceCidr(String),
}

impl Default for TenantSpec {
    fn default() -> Self {
        Self {
            namespace: String::new(),
            name: String::new(),
            hostnames: Vec::new(),
            port: 0,
            service_ips: Vec::new(),
            endpoint_ips: Vec::new(),
            endpoint_port: 0,
            service_cidrs: Vec::new(),
            options: Value::Null,
        }
    }
}

impl TenantSpec {
    /// Checks what can be checked without knowing other tenants.
    ///
    /// # Errors
    /// Names the field and what it must be.
    pub fn check(&self, id: TenantId) -> Result<(), SpecError> {
        if id == TenantId::SYSTEM {
            return Err(SpecError::NilUid);
        }
        if let Some(bad) = self.hostnames.iter().find(|h| !is_hostname(h)) {
            return Err(SpecError::Hostname(bad.clone()));
        }
        if let Some(bad) = self.service_cidrs.iter().find(|c| !is_cidr(c)) {
            return Err(SpecError::ServiceCidr(bad.clone()));
        }
        Ok(())
    }
}

/// The name that selects a tenant on the shared port.
pub fn server_name(id: TenantId) -> String {
    format!("{id}{SERVER_NAME_SUFFIX}")
}

fn is_hostname(name: &str) -> bool {
    let label = |l: &str| {
        !l.is_empty()
            && l.len() <= 63
            && l.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    name.len() <= 253 && !name.ends_with(SERVER_NAME_SUFFIX) && name.split('.').all(label)
}

fn is_cidr(text: &str) -> bool {
    text.split_once('/').is_some_and(|(address, bits)| {
        let width = match address.parse::<IpAddr>() {
            Ok(IpAddr::V4(_)) => 32,
            Ok(IpAddr::V6(_)) => 128,
            Err(_) => return false,
        };
        bits.parse::<u8>().is_ok_and(|b| b <= width)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostname_can_not_be_the_name_of_another_tenant() {
        let id = TenantId::from_bytes([7; 16]);
        let with = |h: String| TenantSpec { hostnames: vec![h], ..TenantSpec::default() }.check(id);
        assert_eq!(with("api.example.com".into()), Ok(()));
        for bad in [server_name(TenantId::from_bytes([8; 16])), "A.b".into(), "".into(), "a..b".into(), "-a.b".into()] {
            assert_eq!(with(bad.clone()), Err(SpecError::Hostname(bad)));
        }
        assert_eq!(TenantSpec::default().check(TenantId::SYSTEM), Err(SpecError::NilUid));
    }

    #[test]
    fn a_service_range_is_an_address_and_a_width() {
        for (text, good) in [("10.0.0.0/8", true), ("fd00::/108", true), ("10.0.0.0/33", false), ("10.0.0.0", false)] {
            assert_eq!(is_cidr(text), good, "{text}");
        }
    }
}
