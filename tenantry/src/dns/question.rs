//! What a name asks for: pure parsing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What a name in a tenant's view of DNS means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Question {
    /// `<service>.<namespace>.svc.<domain>`
    Service { namespace: String, service: String },
    /// `<endpoint>.<service>.<namespace>.svc.<domain>`: a hostname, or an address with dashes.
    Endpoint { namespace: String, service: String, endpoint: String },
    /// `_<port>._<protocol>.<service>.<namespace>.svc.<domain>`
    Port { namespace: String, service: String, port: String, protocol: String },
    /// `<a-b-c-d>.<namespace>.pod.<domain>`
    Pod { address: IpAddr },
    /// `<d>.<c>.<b>.<a>.in-addr.arpa` or `ip6.arpa`
    Reverse { address: IpAddr },
    /// `<namespace>.svc.<domain>`
    Namespace { namespace: String },
    /// `dns-version.<domain>`, which tells the version of the specification.
    Version,
    /// The domain itself, or an inner node of it: there, without records.
    Inner,
    /// In the domain, and not there.
    Nothing,
    /// Somebody else's name.
    Outside,
}

/// Parses a name, given without the dot at its end, in lower case.
pub(super) fn parse(name: &str, domain: &str) -> Question {
    if let Some(address) = reverse(name) {
        return Question::Reverse { address };
    }
    let rest = match name.strip_suffix(domain) {
        Some("") => return Question::Inner,
        Some(rest) => match rest.strip_suffix('.') {
            Some(rest) => rest,
            None => return Question::Outside,
        },
        None => return Question::Outside,
    };
    let mut labels: Vec<&str> = rest.split('.').collect();
    labels.reverse();
    let owned = |s: &str| s.to_owned();
    match labels.as_slice() {
        ["dns-version"] => Question::Version,
        ["svc" | "pod"] => Question::Inner,
        ["svc", namespace] => Question::Namespace { namespace: owned(namespace) },
        ["svc", namespace, service] => Question::Service { namespace: owned(namespace), service: owned(service) },
        ["svc", namespace, service, protocol, port] if protocol.starts_with('_') && port.starts_with('_') => {
            Question::Port {
                namespace: owned(namespace),
                service: owned(service),
                port: owned(&port[1..]),
                protocol: owned(&protocol[1..]),
            }
        }
        ["svc", namespace, service, endpoint] => {
            Question::Endpoint { namespace: owned(namespace), service: owned(service), endpoint: owned(endpoint) }
        }
        ["pod", _namespace] => Question::Inner,
        ["pod", _namespace, dashed] => {
            dashed_address(dashed).map_or(Question::Nothing, |address| Question::Pod { address })
        }
        _ => Question::Nothing,
    }
}

/// An address as pod names write it: `10-1-2-3`, or an IPv6 address with `-` for `:`.
pub(super) fn dashed_address(dashed: &str) -> Option<IpAddr> {
    let v4 = dashed.replace('-', ".").parse::<Ipv4Addr>().map(IpAddr::V4);
    v4.or_else(|_| dashed.replace('-', ":").parse::<Ipv6Addr>().map(IpAddr::V6)).ok()
}

fn reverse(name: &str) -> Option<IpAddr> {
    if let Some(rest) = name.strip_suffix(".in-addr.arpa") {
        let mut parts: Vec<&str> = rest.split('.').collect();
        parts.reverse();
        return parts.join(".").parse::<Ipv4Addr>().ok().map(IpAddr::V4);
    }
    let nibbles: Vec<&str> = name.strip_suffix(".ip6.arpa")?.split('.').collect();
    if nibbles.len() != 32 || nibbles.iter().any(|n| n.len() != 1) {
        return None;
    }
    let digits: String = nibbles.iter().rev().copied().collect();
    u128::from_str_radix(&digits, 16).ok().map(|n| IpAddr::V6(Ipv6Addr::from(n)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_mean_what_the_specification_says() {
        let parse = |name: &str| parse(name, "cluster.local");
        let service = |ns: &str, s: &str| Question::Service { namespace: ns.into(), service: s.into() };
        assert_eq!(parse("web.shop.svc.cluster.local"), service("shop", "web"));
        assert_eq!(
            parse("db-0.db.shop.svc.cluster.local"),
            Question::Endpoint { namespace: "shop".into(), service: "db".into(), endpoint: "db-0".into() }
        );
        assert_eq!(
            parse("_http._tcp.web.shop.svc.cluster.local"),
            Question::Port {
                namespace: "shop".into(),
                service: "web".into(),
                port: "http".into(),
                protocol: "tcp".into()
            }
        );
        assert_eq!(parse("10-1-2-3.shop.pod.cluster.local"), Question::Pod { address: "10.1.2.3".parse().unwrap() });
        assert_eq!(parse("3.2.1.10.in-addr.arpa"), Question::Reverse { address: "10.1.2.3".parse().unwrap() });
        assert_eq!(parse("shop.svc.cluster.local"), Question::Namespace { namespace: "shop".into() });
        assert_eq!(parse("cluster.local"), Question::Inner);
        assert_eq!(parse("svc.cluster.local"), Question::Inner);
        assert_eq!(parse("x.y.cluster.local"), Question::Nothing);
        assert_eq!(parse("a.b.c.d.e.svc.cluster.local"), Question::Nothing);
    }

    #[test]
    fn a_look_alike_domain_is_somebody_elses() {
        for name in ["example.com", "web.shop.svc.notcluster.local", "xcluster.local", "cluster.local.example.com", ""]
        {
            assert_eq!(parse(name, "cluster.local"), Question::Outside, "{name}");
        }
    }

    #[test]
    fn ipv6_reverse_names_are_addresses() {
        let name = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa";
        assert_eq!(parse(name, "cluster.local"), Question::Reverse { address: "2001:db8::1".parse().unwrap() });
        assert_eq!(parse("1.2.ip6.arpa", "cluster.local"), Question::Outside);
    }
}
