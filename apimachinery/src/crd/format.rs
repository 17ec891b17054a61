//! `format` of CRD schemas.
//!
//! Source: `k8s.io/kube-openapi/pkg/validation/strfmt` and `apiextensions-apiserver/pkg/apiserver/validation/formats.go`.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::LazyLock;

use base64::Engine;
use regex::Regex;
use smol_str::SmolStr;

use super::node::Kind;

const STRING_FORMATS: [&str; 26] = [
    "bsonobjectid",
    "uri",
    "email",
    "hostname",
    "ipv4",
    "ipv6",
    "cidr",
    "mac",
    "uuid",
    "uuid3",
    "uuid4",
    "uuid5",
    "isbn",
    "isbn10",
    "isbn13",
    "creditcard",
    "ssn",
    "hexcolor",
    "rgbcolor",
    "byte",
    "password",
    "date",
    "duration",
    "datetime",
    "k8sshortname",
    "k8slongname",
];

/// The format if it means something for this type, else nothing: formats that are not known are not checked.
pub(super) fn known(format: &str, kind: Kind) -> SmolStr {
    let means = match kind {
        Kind::String | Kind::Any => STRING_FORMATS.contains(&format.replace('-', "").as_str()),
        Kind::Integer => matches!(format, "int32" | "int64"),
        Kind::Number => matches!(format, "float" | "double"),
        _ => false,
    };
    if means { format.into() } else { SmolStr::default() }
}

macro_rules! patterns {
    ($($name:ident = $text:expr;)*) => { $(
        static $name: LazyLock<Option<Regex>> = LazyLock::new(|| super::pattern::compile($text).ok());
    )* };
}

patterns! {
    HOSTNAME = r"^([a-zA-Z0-9\p{S}\p{L}]((-?[a-zA-Z0-9\p{S}\p{L}]{0,62})?)|([a-zA-Z0-9\p{S}\p{L}](([a-zA-Z0-9-\p{S}\p{L}]{0,61}[a-zA-Z0-9\p{S}\p{L}])?)(\.)){1,}([a-zA-Z\p{L}]){2,63})$";
    UUID = r"(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$";
    UUID3 = r"(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?3[0-9a-f]{3}-?[0-9a-f]{4}-?[0-9a-f]{12}$";
    UUID4 = r"(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?4[0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12}$";
    UUID5 = r"(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?5[0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12}$";
    CREDIT_CARD = r"^(?:4[0-9]{12}(?:[0-9]{3})?|5[1-5][0-9]{14}|(222[1-9]|22[3-9][0-9]|2[3-6][0-9]{2}|27[01][0-9]|2720)[0-9]{12}|6(?:011|5[0-9][0-9])[0-9]{12}|3[47][0-9]{13}|3(?:0[0-5]|[68][0-9])[0-9]{11}|(?:2131|1800|35\d{3})\d{11}|6[27][0-9]{14})$";
    SSN = r"^\d{3}[- ]?\d{2}[- ]?\d{4}$";
    HEX_COLOR = r"^#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$";
    RGB_COLOR = r"^rgb\(\s*(0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])\s*,\s*(0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])\s*,\s*(0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])\s*\)$";
    EMAIL = r#"^[^\s@<>()\[\],;:\\"]+@[^\s@<>()\[\],;:\\"]+$"#;
    DATE_TIME = r"(?i)^\d{4}-\d{2}-\d{2}t([01]\d|2[0-4]):[0-5]\d:([0-5]\d|60)(\.\d+)?(z|[+-]([01]\d|2[0-3]):[0-5]\d)$";
    DURATION = r"^(\d+(\.\d+)?)\s*(ns|nano\w*|us|µs|micro\w*|ms|milli\w*|s|sec\w*|m|min\w*|h|hr\w*|hour\w*|d|day\w*|w|wk\w*|week\w*)$";
    SHORT_NAME = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";
    LONG_NAME = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
    OBJECT_ID = r"^[0-9a-fA-F]{24}$";
}

fn fits(pattern: &LazyLock<Option<Regex>>, text: &str) -> bool {
    pattern.as_ref().is_some_and(|p| p.is_match(text))
}

/// Whether a string has a format that [`known`] gave.
pub(super) fn valid(format: &str, s: &str) -> bool {
    match format.replace('-', "").as_str() {
        "bsonobjectid" => fits(&OBJECT_ID, s),
        "uri" => uri(s),
        "email" => {
            fits(&EMAIL, s)
                || (s.ends_with('>') && s.rsplit_once('<').is_some_and(|(_, a)| fits(&EMAIL, a.trim_end_matches('>'))))
        }
        "hostname" => s.len() <= 255 && s.split('.').all(|l| l.len() <= 63) && fits(&HOSTNAME, s),
        "ipv4" => s.contains('.') && crate::rules::ip::parse_address(s).is_some(),
        "ipv6" => s.parse::<Ipv6Addr>().is_ok(),
        "cidr" => cidr(s),
        "mac" => mac(s),
        "uuid" => fits(&UUID, s),
        "uuid3" => fits(&UUID3, s),
        "uuid4" => fits(&UUID4, s),
        "uuid5" => fits(&UUID5, s),
        "isbn" => isbn10(s) || isbn13(s),
        "isbn10" => isbn10(s),
        "isbn13" => isbn13(s),
        "creditcard" => credit_card(s),
        "ssn" => fits(&SSN, s),
        "hexcolor" => fits(&HEX_COLOR, s),
        "rgbcolor" => fits(&RGB_COLOR, s),
        "byte" => !s.is_empty() && base64::engine::general_purpose::STANDARD.decode(s).is_ok(),
        "date" => date(s),
        "duration" => crate::time::parse_duration(s).is_ok() || fits(&DURATION, s),
        "datetime" => s.get(..10).is_some_and(date) && fits(&DATE_TIME, s),
        "k8sshortname" => s.len() <= 63 && fits(&SHORT_NAME, s),
        "k8slongname" => s.len() <= 253 && fits(&LONG_NAME, s),
        _ => true,
    }
}

/// An absolute URI or an absolute path, as Go's `url.ParseRequestURI` takes it.
fn uri(s: &str) -> bool {
    let printable = s.bytes().all(|b| b > b' ' && b != 0x7f);
    let mut escapes = s.split('%').skip(1);
    let escaped = escapes.all(|rest| rest.get(..2).is_some_and(|h| h.bytes().all(|b| b.is_ascii_hexdigit())));
    let scheme = s.split_once(':').is_some_and(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
    });
    printable && escaped && (s.starts_with('/') || scheme)
}

fn date(s: &str) -> bool {
    s.len() == 10 && s.parse::<jiff::civil::Date>().is_ok()
}

fn cidr(s: &str) -> bool {
    let Some((address, bits)) = s.split_once('/') else { return false };
    let Ok(bits) = bits.parse::<u8>() else { return false };
    match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => bits <= 32,
        Ok(IpAddr::V6(_)) => bits <= 128,
        Err(_) => false,
    }
}

fn mac(s: &str) -> bool {
    let hex = |parts: Vec<&str>, width: usize, counts: &[usize]| {
        counts.contains(&parts.len())
            && parts.iter().all(|p| p.len() == width && p.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    hex(s.split(':').collect(), 2, &[6, 8, 20])
        || hex(s.split('-').collect(), 2, &[6, 8, 20])
        || hex(s.split('.').collect(), 4, &[3, 4, 10])
}

fn isbn10(s: &str) -> bool {
    let digits: Vec<u8> = s.bytes().filter(|b| !matches!(b, b'-' | b' ')).collect();
    let value = |(i, b): (usize, &u8)| match b {
        b'0'..=b'9' => Some(u32::from(b - b'0')),
        b'X' if i == 9 => Some(10),
        _ => None,
    };
    let values: Option<Vec<u32>> = digits.iter().enumerate().map(value).collect();
    values.is_some_and(|v| v.len() == 10 && v.iter().zip(1u32..).map(|(d, i)| d * i).sum::<u32>() % 11 == 0)
}

fn isbn13(s: &str) -> bool {
    let digits: Vec<u8> = s.bytes().filter(|b| !matches!(b, b'-' | b' ')).collect();
    digits.len() == 13
        && digits.iter().all(u8::is_ascii_digit)
        && digits.iter().zip([1u32, 3].into_iter().cycle()).map(|(d, f)| u32::from(d - b'0') * f).sum::<u32>() % 10 == 0
}

fn credit_card(s: &str) -> bool {
    let digits: String = s.chars().filter(char::is_ascii_digit).collect();
    if !fits(&CREDIT_CARD, &digits) {
        return false;
    }
    let luhn = |(i, b): (usize, u8)| {
        let d = u32::from(b - b'0');
        if i % 2 == 0 { d } else { d * 2 / 10 + d * 2 % 10 }
    };
    digits.bytes().rev().enumerate().map(luhn).sum::<u32>() % 10 == 0
}
