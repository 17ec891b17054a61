//! ConfigMaps and Secrets.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::at::{At, semantic_eq};
use super::edit::{fill_text, made_mut, remove};
use super::{WriteContext, names};
use crate::field::{Errors, Path};

/// `stringData` goes into `data`, and wins.
pub(super) fn secret_default(secret: &mut Value) {
    fill_text(secret, "type", "Opaque");
    let Some(Value::Object(texts)) = secret.get("stringData").cloned() else { return };
    if !texts.is_empty()
        && let Some(Value::Object(data)) = made_mut(secret, "data")
    {
        for (key, text) in texts {
            data.insert(key, STANDARD.encode(text.as_str().unwrap_or_default()).into());
        }
    }
    remove(secret, "stringData");
}

const MAX_BYTES: usize = 1024 * 1024;
const IMMUTABLE: &str = "field is immutable when `immutable` is set";

/// How many bytes base64 text stands for.
fn decoded_len(text: &str) -> usize {
    text.len() / 4 * 3 - text.bytes().rev().take_while(|b| *b == b'=').count().min(2)
}

pub(super) fn config_map_validate(object: &Value, errors: &mut Errors) {
    let map = At::root(object);
    let (data, binary) = (map.field("data"), map.field("binaryData"));
    let mut size = 0;
    for (key, value) in data.entries() {
        for detail in names::config_map_key(key) {
            value.invalid_text(errors, key, &detail);
        }
        if binary.entry(key).exists() {
            value.invalid_text(errors, key, "duplicate of key present in binaryData");
        }
        size += value.str().len();
    }
    for (key, value) in binary.entries() {
        for detail in names::config_map_key(key) {
            value.invalid_text(errors, key, &detail);
        }
        size += decoded_len(value.str());
    }
    if size > MAX_BYTES {
        // A path of one empty name is shown like this.
        errors.too_long(&Path::new("[]"), MAX_BYTES);
    }
}

/// What was made immutable stays so, and as it is.
fn kept_if_immutable(new: &At<'_, '_>, old: &At<'_, '_>, fields: &[&str], errors: &mut Errors) {
    if !old.field("immutable").bool() {
        return;
    }
    if !new.field("immutable").bool() {
        new.field("immutable").forbidden(errors, IMMUTABLE);
    }
    for field in fields {
        if !semantic_eq(new.field(field).value(), old.field(field).value()) {
            new.field(field).forbidden(errors, IMMUTABLE);
        }
    }
}

pub(super) fn config_map_validate_update(new: &Value, old: &Value, _: &WriteContext<'_>, errors: &mut Errors) {
    kept_if_immutable(&At::root(new), &At::root(old), &["data", "binaryData"], errors);
    config_map_validate(new, errors);
}

pub(super) fn secret_validate(object: &Value, errors: &mut Errors) {
    let secret = At::root(object);
    let data = secret.field("data");
    let mut size = 0;
    for (key, value) in data.entries() {
        for detail in names::config_map_key(key) {
            value.invalid_text(errors, key, &detail);
        }
        size += decoded_len(value.str());
    }
    if size > MAX_BYTES {
        data.too_long(errors, MAX_BYTES);
    }
    let has = |key: &str| data.entry(key).opt_str().is_some();
    let missing = |key: &str, errors: &mut Errors| data.entry(key).required(errors, "");
    match secret.field("type").str() {
        "kubernetes.io/service-account-token" => {
            let metadata = secret.field("metadata");
            let notes = metadata.field("annotations");
            notes.entry("kubernetes.io/service-account.name").required_text(errors);
        }
        "kubernetes.io/dockercfg" => json_entry(&data.entry(".dockercfg"), errors),
        "kubernetes.io/dockerconfigjson" => json_entry(&data.entry(".dockerconfigjson"), errors),
        "kubernetes.io/basic-auth" if !has("username") && !has("password") => {
            missing("username", errors);
            missing("password", errors);
        }
        "kubernetes.io/ssh-auth" if data.entry("ssh-privatekey").is_empty() => missing("ssh-privatekey", errors),
        "kubernetes.io/tls" => {
            for key in ["tls.crt", "tls.key"].into_iter().filter(|key| !has(key)) {
                missing(key, errors);
            }
        }
        _ => {}
    }
}

/// The entry must be there and hold a JSON object. What it holds is not shown.
fn json_entry(at: &At<'_, '_>, errors: &mut Errors) {
    let Some(text) = at.opt_str() else {
        at.required(errors, "");
        return;
    };
    let bytes = STANDARD.decode(text).unwrap_or_default();
    let says = match serde_json::from_slice::<serde_json::Map<String, Value>>(&bytes) {
        Ok(_) => return,
        Err(_) if bytes == b"null" => return,
        Err(_) if bytes.is_empty() => "unexpected end of JSON input".to_owned(),
        Err(why) if why.is_eof() => "unexpected end of JSON input".to_owned(),
        Err(why) => match (why.is_data(), bytes.get(why.column().saturating_sub(1))) {
            (false, Some(&b)) => {
                format!("invalid character {} looking for beginning of value", go_char(b))
            }
            _ => why.to_string(),
        },
    };
    at.invalid_text(errors, "<secret contents redacted>", &says);
}

fn go_char(byte: u8) -> String {
    match byte {
        b'\'' => "'\\''".to_owned(),
        b'"' => "'\"'".to_owned(),
        b => format!("'{}'", char::from(b).escape_default()),
    }
}

pub(super) fn secret_validate_update(new: &Value, old: &Value, _: &WriteContext<'_>, errors: &mut Errors) {
    let (at, before) = (At::root(new), At::root(old));
    let kind = at.field("type");
    if kind.str() != before.field("type").str() {
        kind.invalid_str(errors, "field is immutable");
    }
    kept_if_immutable(&at, &before, &["data"], errors);
    secret_validate(new, errors);
}

/// A Secret that is written without a type keeps the one it has.
pub(super) fn secret_prepare_update(new: &mut Value, old: &Value, _: &WriteContext<'_>) {
    if crate::meta::str_at(new, &["type"]).is_empty()
        && let Some(kind) = old.get("type")
    {
        super::edit::set(new, "type", kind.clone());
    }
}

/// A certificate or key that is none.
pub(super) fn secret_warnings(new: &Value, _old: Option<&Value>) -> Vec<String> {
    let secret = At::root(new);
    if secret.field("type").str() != "kubernetes.io/tls" {
        return Vec::new();
    }
    let data = secret.field("data");
    let lacks_pem = |key: &str| {
        let text = STANDARD.decode(data.entry(key).str()).unwrap_or_default();
        !String::from_utf8_lossy(&text).contains("-----BEGIN ")
    };
    let wrong = [("tls.crt", "certificate"), ("tls.key", "key")].into_iter().find(|(key, _)| lacks_pem(key));
    wrong.map(|(_, what)| format!("tls: failed to find any PEM data in {what} input")).into_iter().collect()
}
