//! How names of tenants become names on the host. This is the only place that knows.
//!
//! A tenant namespace maps to one host namespace; names inside it stay as they are, so references in pods stay as they
//! are. The one exception is what the host writes into every namespace by itself.

use apimachinery::tenant::TenantId;
use sha2::{Digest, Sha256};

/// Longest DNS label (RFC 1123), and so the longest namespace.
const LABEL_MAX: usize = 63;
/// Characters of base32, five bits each: 100 bits.
const HASH_CHARS: usize = 20;
/// The config map that the host's own root CA publisher keeps in every namespace.
const ROOT_CA: &str = "kube-root-ca.crt";
const ROOT_CA_ESCAPE: &str = "tenant.";

/// The host namespace of a tenant's namespace: `<tenant>-<namespace>-<hash>`.
///
/// # Guarantees
/// A DNS label of at most 63 characters. The hash has 100 bits over the tenant's uid, which no one chooses, and the
/// namespace; the readable part in front of it, cut to what fits, tells nothing apart.
pub fn host_namespace(tenant: TenantId, tenant_name: &str, namespace: &str) -> String {
    let hash = hash(&[b"namespace", tenant.as_bytes(), namespace.as_bytes()]);
    let mut name: String = format!("{tenant_name}-{namespace}")
        .chars()
        .map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' })
        .take(LABEL_MAX - HASH_CHARS - 1)
        .collect();
    name.truncate(name.trim_end_matches('-').len());
    let name = name.trim_start_matches('-');
    if name.is_empty() { format!("vc-{hash}") } else { format!("{name}-{hash}") }
}

/// The host name of a tenant's config map.
///
/// The host keeps a config map `kube-root-ca.crt` with its own CA in every namespace; the tenant's takes another name.
/// Names that look like the other name are moved on in the same way, so no two names meet.
pub fn config_map(name: &str) -> String {
    if is_escaped_root_ca(name) { format!("{ROOT_CA_ESCAPE}{name}") } else { name.to_owned() }
}

/// The tenant's name of a host config map: the inverse of [`config_map`].
pub fn tenant_config_map(host_name: &str) -> &str {
    match host_name.strip_prefix(ROOT_CA_ESCAPE) {
        Some(rest) if is_escaped_root_ca(rest) => rest,
        _ => host_name,
    }
}

fn is_escaped_root_ca(mut name: &str) -> bool {
    while let Some(rest) = name.strip_prefix(ROOT_CA_ESCAPE) {
        name = rest;
    }
    name == ROOT_CA
}

/// The host secret that holds the tokens of a pod: `<pod>-sa-token-<hash>`.
pub fn token_secret(tenant: TenantId, pod_name: &str, pod_uid: &str) -> String {
    let hash = hash(&[b"token", tenant.as_bytes(), pod_uid.as_bytes()]);
    let head: String = pod_name.chars().take(200).collect();
    format!("{}-sa-token-{hash}", head.trim_end_matches(['-', '.']))
}

/// The key under which a label of a tenant namespace stands on its host namespace.
///
/// `team` becomes `ns.tenantry.io/team`, `a.b/team` becomes `a.b.ns.tenantry.io/team`; a prefix that would grow too
/// long is replaced by its hash.
pub fn namespace_label(key: &str) -> String {
    const DOMAIN: &str = crate::marks::NAMESPACE_LABEL_DOMAIN;
    match key.split_once('/') {
        None => format!("{DOMAIN}/{key}"),
        Some((prefix, name)) if prefix.len() + DOMAIN.len() < 253 => format!("{prefix}.{DOMAIN}/{name}"),
        Some((prefix, name)) => format!("{}.hash.{DOMAIN}/{name}", hash(&[b"label", prefix.as_bytes()])),
    }
}

/// The annotation that carries a pod's field for its downward API volumes.
pub fn field_annotation(field_path: &str) -> String {
    format!("{}/{}", crate::marks::FIELD_DOMAIN, hash(&[b"field", field_path.as_bytes()]))
}

/// A hash of 100 bits in lower-case base32 over parts of which each is preceded by its length.
pub fn hash(parts: &[&[u8]]) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let mut digest = Sha256::new();
    for part in parts {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    let digest = digest.finalize();
    (0..HASH_CHARS)
        .map(|i| {
            let bit = i * 5;
            let pair = u16::from_be_bytes([digest[bit / 8], digest[bit / 8 + 1]]);
            char::from(ALPHABET[usize::from(pair >> (11 - bit % 8)) & 31])
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const A: TenantId = TenantId::from_bytes([1; 16]);
    const B: TenantId = TenantId::from_bytes([2; 16]);

    fn is_label(name: &str) -> bool {
        let ok = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        name.len() <= 63 && name.starts_with(ok) && name.ends_with(ok) && name.chars().all(|c| ok(c) || c == '-')
    }

    #[test]
    fn joins_that_read_alike_do_not_meet() {
        let long = "n".repeat(63);
        let names = [
            (A, "a", "b-c"),
            (A, "a-b", "c"),
            (B, "a", "b-c"),
            (A, "a", "b.c"),
            (A, "a", &long),
            (A, "a", &long[..62]),
            (A, "a.b.c", "-"),
            (A, &"t".repeat(253), "default"),
            (A, &"t".repeat(253), "defaulu"),
            (A, "---", ""),
        ];
        let hosts: HashSet<String> = names.iter().map(|(id, t, n)| host_namespace(*id, t, n)).collect();
        assert_eq!(hosts.len(), names.len());
        for host in &hosts {
            assert!(is_label(host), "{host}");
        }
        assert!(host_namespace(A, "demo", "default").starts_with("demo-default-"));
    }

    #[test]
    fn the_hash_is_spread_over_all_its_characters() {
        let hashes: Vec<String> = (0..2000_u32).map(|i| hash(&[&i.to_be_bytes()])).collect();
        assert_eq!(hashes.iter().collect::<HashSet<_>>().len(), hashes.len());
        for position in 0..HASH_CHARS {
            let seen: HashSet<u8> = hashes.iter().map(|h| h.as_bytes()[position]).collect();
            assert_eq!(seen.len(), 32, "position {position}");
        }
        assert_ne!(hash(&[b"ab", b"c"]), hash(&[b"a", b"bc"]));
    }

    #[test]
    fn the_root_ca_gives_way_to_the_hosts_and_nothing_takes_its_place() {
        let names =
            ["kube-root-ca.crt", "tenant.kube-root-ca.crt", "tenant.tenant.kube-root-ca.crt", "tenant.x", "web"];
        let hosts: Vec<String> = names.iter().map(|n| config_map(n)).collect();
        assert!(!hosts.iter().any(|h| h == "kube-root-ca.crt"));
        assert_eq!(hosts.iter().collect::<HashSet<_>>().len(), names.len());
        for (name, host) in names.iter().zip(&hosts) {
            assert_eq!(tenant_config_map(host), *name);
        }
    }

    #[test]
    fn namespace_labels_move_below_our_domain() {
        assert_eq!(namespace_label("team"), "ns.tenantry.io/team");
        assert_eq!(namespace_label("kubernetes.io/metadata.name"), "kubernetes.io.ns.tenantry.io/metadata.name");
        let long = format!("{}/x", "p".repeat(253));
        assert!(namespace_label(&long).len() < 253 && crate::marks::is_ours(&namespace_label(&long)));
    }

    #[test]
    fn token_secrets_are_told_apart_by_the_pods_uid() {
        assert_ne!(token_secret(A, "web", "1"), token_secret(A, "web", "2"));
        assert!(token_secret(A, "web", "1").starts_with("web-sa-token-"));
        assert!(token_secret(A, &"w".repeat(253), "1").len() <= 253);
    }
}
