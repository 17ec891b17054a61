//! How names look: labels, subdomains, keys, ports, addresses. Each check gives the reasons why a text is wrong, in the
//! words of the stock server (`k8s.io/apimachinery/pkg/util/validation`, `pkg/api/validate/content`).

use super::NameRule;

const LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const SUBDOMAIN: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const QUALIFIED: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";

/// Longest DNS label.
pub const LABEL_MAX: usize = 63;
/// Longest DNS subdomain.
pub const SUBDOMAIN_MAX: usize = 253;

/// `must be no more than N characters`
pub fn max_length(max: usize) -> String {
    format!("must be no more than {max} characters")
}

fn max_bytes(max: usize) -> String {
    format!("must be no more than {max} bytes")
}

/// `must be between LOW and HIGH, inclusive`
pub fn between(low: i64, high: i64) -> String {
    format!("must be between {low} and {high}, inclusive")
}

/// What a text must match, with examples and the expression that says it exactly.
pub fn pattern(says: &str, expression: &str, examples: &[&str]) -> String {
    if examples.is_empty() {
        return format!("{says} (regex used for validation is '{expression}')");
    }
    let examples: Vec<String> = examples.iter().map(|e| format!("'{e}', ")).collect();
    format!("{says} (e.g. {}regex used for validation is '{expression}')", examples.join(" or "))
}

fn is_lower_alnum(b: u8) -> bool {
    b.is_ascii_lowercase() || b.is_ascii_digit()
}

/// Begins and ends with `edge`, and `middle` or `edge` between.
fn framed(s: &str, edge: fn(u8) -> bool, middle: fn(u8) -> bool) -> bool {
    match s.as_bytes() {
        [] => false,
        [only] => edge(*only),
        [first, between @ .., last] => edge(*first) && edge(*last) && between.iter().all(|&b| edge(b) || middle(b)),
    }
}

fn matches_label(s: &str) -> bool {
    framed(s, is_lower_alnum, |b| b == b'-')
}

fn matches_subdomain(s: &str) -> bool {
    s.split('.').all(matches_label)
}

fn matches_qualified(s: &str) -> bool {
    framed(s, |b| b.is_ascii_alphanumeric(), |b| matches!(b, b'-' | b'_' | b'.'))
}

/// RFC 1123 label: `my-name`.
pub fn dns1123_label(s: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if s.len() > LABEL_MAX {
        wrong.push(max_length(LABEL_MAX));
    }
    if !matches_label(s) {
        wrong.push(if matches_subdomain(s) {
            "must not contain dots".to_owned()
        } else {
            pattern(
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character",
                LABEL,
                &["my-name", "123-abc"],
            )
        });
    }
    wrong
}

/// RFC 1123 subdomain: `example.com`.
pub fn dns1123_subdomain(s: &str) -> Vec<String> {
    subdomain(s, max_length)
}

fn subdomain(s: &str, too_long: fn(usize) -> String) -> Vec<String> {
    let mut wrong = Vec::new();
    if s.len() > SUBDOMAIN_MAX {
        wrong.push(too_long(SUBDOMAIN_MAX));
    }
    if !matches_subdomain(s) {
        wrong.push(pattern(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character",
            SUBDOMAIN,
            &["example.com"],
        ));
    }
    wrong
}

/// RFC 1123 subdomain that may have underscores (DNS search paths).
pub fn dns1123_subdomain_underscore(s: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if s.len() > SUBDOMAIN_MAX {
        wrong.push(max_length(SUBDOMAIN_MAX));
    }
    let label =
        |part: &str| framed(part.strip_prefix('_').unwrap_or(part), is_lower_alnum, |b| matches!(b, b'-' | b'_'));
    if !s.split('.').all(label) {
        wrong.push(pattern(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with an alphanumeric character",
            "_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*",
            &["example.com"],
        ));
    }
    wrong
}

/// RFC 1123 subdomain in either case.
pub fn dns1123_subdomain_caseless(s: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if s.len() > SUBDOMAIN_MAX {
        wrong.push(max_bytes(SUBDOMAIN_MAX));
    }
    if !matches_subdomain(&s.to_ascii_lowercase()) {
        wrong.push(pattern(
            "an RFC 1123 subdomain must consist of alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character",
            SUBDOMAIN,
            &["Example.com"],
        ));
    }
    wrong
}

/// A subdomain whose first label is `*`.
pub fn wildcard_subdomain(s: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if s.len() > SUBDOMAIN_MAX {
        wrong.push(max_length(SUBDOMAIN_MAX));
    }
    if !s.strip_prefix("*.").is_some_and(matches_subdomain) {
        wrong.push(pattern(
            "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character",
            &format!("\\*\\.{SUBDOMAIN}"),
            &["*.example.com"],
        ));
    }
    wrong
}

/// RFC 1035 label: begins with a letter.
pub fn dns1035_label(s: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if s.len() > LABEL_MAX {
        wrong.push(max_length(LABEL_MAX));
    }
    if !(matches_label(s) && s.starts_with(|c: char| c.is_ascii_lowercase())) {
        wrong.push(pattern(
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character",
            "[a-z]([-a-z0-9]*[a-z0-9])?",
            &["my-name", "abc-123"],
        ));
    }
    wrong
}

/// A label's key, `[prefix/]name`: a "qualified name".
pub fn qualified_name(s: &str) -> Vec<String> {
    const SAYS: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
    const EXAMPLES: &[&str] = &["MyName", "my.name", "123-abc"];
    let mut wrong = Vec::new();
    let name = match s.split_once('/') {
        None => s,
        Some((_, rest)) if rest.contains('/') => {
            wrong.push(format!(
                "a valid label key {} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')",
                pattern(SAYS, QUALIFIED, EXAMPLES)
            ));
            return wrong;
        }
        Some((prefix, name)) => {
            if prefix.is_empty() {
                wrong.push("prefix part must be non-empty".to_owned());
            } else {
                wrong.extend(subdomain(prefix, max_bytes).into_iter().map(|reason| format!("prefix part {reason}")));
            }
            name
        }
    };
    if name.is_empty() {
        wrong.push("name part must be non-empty".to_owned());
    } else if name.len() > LABEL_MAX {
        wrong.push(format!("name part {}", max_bytes(LABEL_MAX)));
    }
    if !matches_qualified(name) {
        wrong.push(format!("name part {}", pattern(SAYS, QUALIFIED, EXAMPLES)));
    }
    wrong
}

/// Why a condition is as it is, in a word.
pub fn condition_reason(s: &str) -> Vec<String> {
    let ok = s.starts_with(|c: char| c.is_ascii_alphabetic())
        && s.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && s.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b',' | b':'));
    if ok {
        return Vec::new();
    }
    vec![pattern(
        "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric characters or '_,:', and must end with an alphanumeric character or '_'",
        "[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?",
        &["my_name", "MY_NAME", "MyName", "ReasonA,ReasonB", "ReasonA:ReasonB"],
    )]
}

/// A label's value.
pub fn label_value(s: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if s.len() > LABEL_MAX {
        wrong.push(max_bytes(LABEL_MAX));
    }
    if !s.is_empty() && !matches_qualified(s) {
        wrong.push(pattern(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character",
            &format!("({QUALIFIED})?"),
            &["MyValue", "my_value", "12345"],
        ));
    }
    wrong
}

/// A name that can be a segment of a path.
pub fn path_segment(s: &str) -> Vec<String> {
    if s == "." || s == ".." { vec![format!("may not be '{s}'")] } else { path_segment_prefix(s) }
}

/// The beginning of a name that can be a segment of a path.
pub fn path_segment_prefix(s: &str) -> Vec<String> {
    ['/', '%'].into_iter().filter(|&c| s.contains(c)).map(|c| format!("may not contain '{c}'")).collect()
}

/// A C identifier.
pub fn c_identifier(s: &str) -> Vec<String> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if s.starts_with(|c: char| word(c) && !c.is_ascii_digit()) && s.chars().all(word) {
        return Vec::new();
    }
    vec![pattern(
        "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_'",
        "[A-Za-z_][A-Za-z0-9_]*",
        &["my_name", "MY_NAME", "MyName"],
    )]
}

/// The name of an environment variable: any printable ASCII but `=`.
pub fn env_var_name(s: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if s.is_empty() {
        wrong.push("environment variable name must be non-empty".to_owned());
    }
    if !s.bytes().all(|b| (0x20..0x7f).contains(&b) && b != b'=') {
        wrong.push(
            "a valid environment variable name must consist only of printable ASCII characters other than '='"
                .to_owned(),
        );
    }
    wrong
}

fn dot_prefix(s: &str) -> Option<String> {
    match s {
        "." | ".." => Some(format!("must not be '{s}'")),
        s if s.starts_with("..") => Some("must not start with '..'".to_owned()),
        _ => None,
    }
}

/// A key of a ConfigMap or Secret.
pub fn config_map_key(s: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if s.len() > SUBDOMAIN_MAX {
        wrong.push(max_length(SUBDOMAIN_MAX));
    }
    if s.is_empty() || !s.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')) {
        wrong.push(pattern(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
            "[-._a-zA-Z0-9]+",
            &["key.name", "KEY_NAME", "key-name"],
        ));
    }
    wrong.extend(dot_prefix(s));
    wrong
}

/// A port's number.
pub fn port_number(port: i64) -> Option<String> {
    (!(1..=65535).contains(&port)).then(|| between(1, 65535))
}

/// A port's name (IANA service name).
pub fn port_name(s: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut need = |holds: bool, says: &str| {
        if !holds {
            wrong.push(says.to_owned());
        }
    };
    need(s.len() <= 15, &max_length(15));
    need(
        !s.is_empty() && s.bytes().all(|b| is_lower_alnum(b) || b == b'-'),
        "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)",
    );
    need(s.bytes().any(|b| b.is_ascii_lowercase()), "must contain at least one letter (a-z)");
    need(!s.contains("--"), "must not contain consecutive hyphens");
    need(!s.starts_with('-') && !s.ends_with('-'), "must not begin or end with a hyphen");
    wrong
}

/// A percentage: `25%`.
pub fn percent(s: &str) -> Vec<String> {
    if s.strip_suffix('%').is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit())) {
        return Vec::new();
    }
    vec![pattern(
        "a valid percent string must be a numeric string followed by an ending '%'",
        "[0-9]+%",
        &["1%", "93%"],
    )]
}

/// The name of an HTTP header.
pub fn http_header_name(s: &str) -> Vec<String> {
    if !s.is_empty() && s.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return Vec::new();
    }
    vec![pattern(
        "a valid HTTP header must consist of alphanumeric characters or '-'",
        "[-A-Za-z0-9]+",
        &["X-Header-Name"],
    )]
}

/// A user or group id.
pub fn user_id(id: i64) -> Option<String> {
    (!(0..=i64::from(i32::MAX)).contains(&id)).then(|| between(0, i64::from(i32::MAX)))
}

impl NameRule {
    /// What is wrong with a name of this kind; nothing if it is right. A `prefix` (`generateName`) may end with a dash.
    pub fn check(self, name: &str, prefix: bool) -> Vec<String> {
        // What will be appended makes a dash at the end right, and the length is that of the prefix alone.
        let masked = match name.strip_suffix('-') {
            Some(rest) if prefix && !rest.is_empty() => {
                let kept: String = rest.chars().take(rest.chars().count() - 1).collect();
                Some(kept + "a")
            }
            _ => None,
        };
        let text = masked.as_deref().unwrap_or(name);
        match self {
            Self::Subdomain => dns1123_subdomain(text),
            Self::Label => dns1123_label(text),
            Self::Label1035 => dns1035_label(text),
            Self::PathSegment => path_segment(name),
            Self::Address => super::ip::canonical_address(name).into_iter().collect(),
            Self::Any => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_those_of_the_stock_server() {
        assert_eq!(
            dns1123_label("Foo"),
            [
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
            ]
        );
        assert_eq!(dns1123_label("a.b"), ["must not contain dots"]);
        assert_eq!(dns1123_subdomain(&"a".repeat(254)), ["must be no more than 253 characters"]);
        assert_eq!(label_value(&"a".repeat(64)), ["must be no more than 63 bytes"]);
        assert_eq!(qualified_name("/x"), ["prefix part must be non-empty"]);
        assert_eq!(config_map_key(".."), ["must not be '..'"]);
        assert_eq!(port_name("8080"), ["must contain at least one letter (a-z)"]);
        assert_eq!(env_var_name("A=B").len(), 1);
    }

    #[test]
    fn valid_names_pass() {
        for s in ["a", "a-b", "0a", "a.b-c.d"] {
            assert!(dns1123_subdomain(s).is_empty(), "{s}");
        }
        for s in ["", "a", "A_b.c", "1"] {
            assert!(label_value(s).is_empty(), "{s}");
        }
        for s in ["a", "example.com/A.b", "kubernetes.io/metadata.name"] {
            assert!(qualified_name(s).is_empty(), "{s}");
        }
        assert!(wildcard_subdomain("*.foo.com").is_empty());
        assert!(!wildcard_subdomain("*foo.com").is_empty());
        assert!(NameRule::Subdomain.check("web-", true).is_empty());
        assert!(!NameRule::Subdomain.check("web-", false).is_empty());
        assert!(NameRule::PathSegment.check("system:node", false).is_empty());
    }
}
