//! IP addresses and CIDRs as the stock server reads and refuses them (`k8s.io/apimachinery/pkg/util/validation/ip.go`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::field::quote;

const NOT_AN_ADDRESS: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
const NOT_A_CIDR: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";

/// Reads an address; leading zeros in its decimal parts are let pass, and IPv4 mapped to IPv6 is IPv4.
pub fn parse_address(s: &str) -> Option<IpAddr> {
    if let Ok(address) = s.parse::<IpAddr>() {
        return Some(match address {
            IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
            IpAddr::V4(_) => address,
        });
    }
    // Only the decimal part at the end can have zeros that the parser above refuses.
    let start = s.rfind(':').map_or(0, |i| i + 1);
    let (head, tail) = s.split_at(start);
    if !tail.contains('.') {
        return None;
    }
    let parts: Vec<&str> = tail.split('.').collect();
    if parts.iter().any(|p| p.is_empty() || !p.bytes().all(|b| b.is_ascii_digit())) {
        return None;
    }
    let plain: Vec<&str> = parts
        .iter()
        .map(|p| match p.trim_start_matches('0') {
            "" => "0",
            rest => rest,
        })
        .collect();
    let plain = format!("{head}{}", plain.join("."));
    if plain == s { None } else { parse_address(&plain) }
}

fn is_mapped(s: &str) -> bool {
    s.parse::<Ipv6Addr>().is_ok_and(|v6| v6.to_ipv4_mapped().is_some())
}

/// What is wrong with an address of a long-standing field.
pub fn address(s: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if parse_address(s).is_none() {
        wrong.push(NOT_AN_ADDRESS.to_owned());
    } else if s.parse::<IpAddr>().is_err() {
        wrong.push("must not have leading 0s".to_owned());
    } else if is_mapped(s) {
        wrong.push("must not be an IPv4-mapped IPv6 address".to_owned());
    }
    wrong
}

/// What is wrong with an address of a newer field: it must be canonical, too.
pub fn canonical_address(s: &str) -> Option<String> {
    if let Some(wrong) = address(s).pop() {
        return Some(wrong);
    }
    let canonical = parse_address(s)?.to_string();
    (canonical != s).then(|| format!("must be in canonical form ({})", quote(&canonical)))
}

/// A network: its address as written and the length of its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    /// The address before the slash.
    pub address: IpAddr,
    /// Number of leading bits that make the network.
    pub prefix: u8,
}

impl Cidr {
    /// Reads `address/prefix`, as sloppily as [`parse_address`].
    pub fn parse(s: &str) -> Option<Self> {
        let (address, prefix) = s.split_once('/')?;
        if prefix.is_empty() || !prefix.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let mut prefix: u16 = match prefix.trim_start_matches('0') {
            "" => 0,
            digits => digits.parse().ok()?,
        };
        let is_v6 = address.contains(':');
        if prefix > if is_v6 { 128 } else { 32 } {
            return None;
        }
        let address = parse_address(address)?;
        if is_v6 && address.is_ipv4() {
            prefix = prefix.saturating_sub(96);
        }
        Some(Self { address, prefix: prefix as u8 })
    }

    /// The address with all bits beyond the prefix cleared.
    pub fn network(&self) -> IpAddr {
        match self.address {
            IpAddr::V4(v4) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from(u32::from(v4) & mask))
            }
            IpAddr::V6(v6) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix)).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from(u128::from(v6) & mask))
            }
        }
    }

    /// Whether `other` lies in this network and is smaller than it.
    pub fn strictly_contains(&self, other: &Self) -> bool {
        self.prefix < other.prefix
            && self.address.is_ipv4() == other.address.is_ipv4()
            && Self { address: other.address, prefix: self.prefix }.network() == self.network()
    }

    /// `network/prefix`
    pub fn canonical(&self) -> String {
        format!("{}/{}", self.network(), self.prefix)
    }
}

/// What is wrong with a CIDR of a long-standing field.
pub fn cidr(s: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let Some(parsed) = Cidr::parse(s) else {
        wrong.push(NOT_A_CIDR.to_owned());
        return wrong;
    };
    let (address, prefix) = s.split_once('/').unwrap_or((s, ""));
    if address.parse::<IpAddr>().is_err() || (prefix.len() > 1 && prefix.starts_with('0')) {
        wrong.push("must not have leading 0s in IP or prefix length".to_owned());
    } else if is_mapped(address) {
        wrong.push("must not have an IPv4-mapped IPv6 address".to_owned());
    } else if parsed.network() != parsed.address {
        wrong.push("must not have bits set beyond the prefix length".to_owned());
    }
    wrong
}

/// What is wrong with a CIDR of a newer field: it must be canonical, too.
pub fn canonical_cidr(s: &str) -> Vec<String> {
    let mut wrong = cidr(s);
    if let (true, Some(parsed)) = (wrong.is_empty(), Cidr::parse(s)) {
        let canonical = parsed.canonical();
        if canonical != s {
            wrong.push(format!("must be in canonical form ({})", quote(&canonical)));
        }
    }
    wrong
}

/// The warning for an address that is right but not written as it should be.
pub fn address_warning(path: &str, s: &str) -> Option<String> {
    let address = parse_address(s)?;
    if s.parse::<IpAddr>().is_err() || is_mapped(s) {
        return Some(format!("{path}: non-standard IP address {} is invalid: use \"{address}\"", quote(s)));
    }
    (address.is_ipv6() && address.to_string() != s)
        .then(|| format!("{path}: IPv6 address {} should be in RFC 5952 canonical format (\"{address}\")", quote(s)))
}

/// The warnings for a CIDR that is right but not written as it should be.
pub fn cidr_warnings(path: &str, s: &str) -> Vec<String> {
    let Some(parsed) = Cidr::parse(s) else { return Vec::new() };
    let (shown, canonical) = (quote(s), parsed.canonical());
    let mut warnings = Vec::new();
    if parsed.network() != parsed.address {
        let bits = if parsed.address.is_ipv4() { 32 } else { 128 };
        warnings.push(format!(
            "{path}: CIDR value {shown} is ambiguous in this context (should be \"{canonical}\" or \"{}/{bits}\"?)",
            parsed.address
        ));
    }
    let (address, prefix) = s.split_once('/').unwrap_or((s, ""));
    if address.parse::<IpAddr>().is_err() || (prefix.len() > 1 && prefix.starts_with('0')) || is_mapped(address) {
        warnings.push(format!("{path}: non-standard CIDR value {shown} is invalid: use \"{canonical}\""));
    }
    if warnings.is_empty() && parsed.address.is_ipv6() && canonical != s {
        warnings
            .push(format!("{path}: IPv6 CIDR value {shown} should be in RFC 5952 canonical format (\"{canonical}\")"));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        assert!(address("10.0.0.1").is_empty());
        assert!(address("FE80::ABC").is_empty());
        assert_eq!(address("010.0.0.1"), ["must not have leading 0s"]);
        assert_eq!(address("::ffff:1.2.3.4"), ["must not be an IPv4-mapped IPv6 address"]);
        assert_eq!(address("10.0.0"), [NOT_AN_ADDRESS]);
        assert_eq!(address(""), [NOT_AN_ADDRESS]);
        assert_eq!(canonical_address("FE80::1").as_deref(), Some("must be in canonical form (\"fe80::1\")"));
        assert_eq!(parse_address("010.002.0.1"), "10.2.0.1".parse().ok());
    }

    #[test]
    fn networks() {
        assert!(cidr("10.0.0.0/8").is_empty());
        assert!(cidr("::/0").is_empty());
        assert!(cidr("0.0.0.0/0").is_empty());
        assert_eq!(cidr("10.0.0.1/8"), ["must not have bits set beyond the prefix length"]);
        assert_eq!(cidr("10.0.0.0/08"), ["must not have leading 0s in IP or prefix length"]);
        assert_eq!(cidr("10.0.0.0/33"), [NOT_A_CIDR]);
        assert_eq!(cidr("10.0.0.0"), [NOT_A_CIDR]);
        let (big, small) = (Cidr::parse("10.0.0.0/8"), Cidr::parse("10.1.0.0/16"));
        assert!(big.zip(small).is_some_and(|(b, s)| b.strictly_contains(&s) && !s.strictly_contains(&b)));
    }
}
