//! The tag of an image's name, as the distribution project reads it (`github.com/distribution/reference`).

/// The tag of an image: `latest` where there is neither tag nor digest, empty where there is only a digest, nothing if
/// the name cannot be read.
pub(super) fn tag(image: &str) -> Option<&str> {
    let (name, digest) = match image.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (image, None),
    };
    if digest.is_some_and(|d| !is_digest(d)) {
        return None;
    }
    // A colon before the last slash is that of a port.
    let start = name.rfind('/').map_or(0, |i| i + 1);
    let (repository, tag) = match name[start..].find(':') {
        Some(i) => (&name[..start + i], Some(&name[start + i + 1..])),
        None => (name, None),
    };
    let tag_is_good = |t: &str| {
        t.len() <= 128
            && !t.starts_with(['.', '-'])
            && !t.is_empty()
            && t.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
    };
    if !is_repository(repository) || tag.is_some_and(|t| !tag_is_good(t)) {
        return None;
    }
    Some(tag.unwrap_or(if digest.is_some() { "" } else { "latest" }))
}

fn is_digest(s: &str) -> bool {
    s.split_once(':').is_some_and(|(algorithm, hex)| {
        algorithm.split(['-', '_', '+', '.']).all(|part| {
            part.starts_with(|c: char| c.is_ascii_alphabetic()) && part.bytes().all(|b| b.is_ascii_alphanumeric())
        }) && hex.len() >= 32
            && hex.bytes().all(|b| b.is_ascii_hexdigit())
    })
}

fn is_repository(s: &str) -> bool {
    let is_identifier = |s: &str| s.len() == 64 && s.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if is_identifier(s) {
        return false;
    }
    let path = match s.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" || first != first.to_lowercase() => {
            if !is_domain(first) {
                return false;
            }
            rest
        }
        _ => s,
    };
    path.split('/').all(is_component)
}

fn is_domain(s: &str) -> bool {
    let (host, port) = match s.rsplit_once(':') {
        Some((host, port)) if !s.ends_with(']') => (host, Some(port)),
        _ => (s, None),
    };
    let is_label = |l: &str| {
        !l.is_empty()
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let is_v6 = host
        .strip_prefix('[')
        .and_then(|h| h.strip_suffix(']'))
        .is_some_and(|h| !h.is_empty() && h.bytes().all(|b| b.is_ascii_hexdigit() || b == b':'));
    port.is_none_or(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()))
        && (is_v6 || host.split('.').all(is_label))
}

/// Lower-case words and digits, separated by `.`, `_`, `__` or dashes.
fn is_component(s: &str) -> bool {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = s.as_bytes();
    if !bytes.first().is_some_and(|&b| word(b)) || !bytes.last().is_some_and(|&b| word(b)) {
        return false;
    }
    s.split(|c: char| word(c as u8) && c.is_ascii())
        .all(|separator| matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|b| b == b'-'))
}

#[cfg(test)]
mod tests {
    use super::tag;

    #[test]
    fn tags() {
        let digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
        for (image, expected) in [
            ("nginx", Some("latest")),
            ("nginx:latest", Some("latest")),
            ("nginx:1.25", Some("1.25")),
            ("registry.k8s.io:5000/e2e/agnhost", Some("latest")),
            ("registry.k8s.io:5000/e2e/agnhost:2.53", Some("2.53")),
            ("localhost/a__b-c", Some("latest")),
            ("a/b@", None),
            ("Nginx", None),
            ("", None),
            (" nginx", None),
            ("a//b", None),
        ] {
            assert_eq!(tag(image), expected, "{image}");
        }
        assert_eq!(tag(&format!("nginx@{digest}")), Some(""));
        assert_eq!(tag(&format!("nginx:1@{digest}")), Some("1"));
    }
}
