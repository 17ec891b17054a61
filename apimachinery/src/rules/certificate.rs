//! CertificateSigningRequests. The request's own signature is the signer's to look at.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::at::At;
use super::edit::{fill, items_mut, made_mut, remove, set};
use super::{Part, WriteContext, check};
use crate::field::Errors;
use crate::meta;

const USAGES: &[&str] = &[
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

/// Who asks is what the server knows of them.
pub(super) fn request_prepare_create(request: &mut Value, context: &WriteContext<'_>) {
    set(request, "status", json!({}));
    let Some(spec) = made_mut(request, "spec") else { return };
    let user = &context.user;
    for field in ["username", "uid", "groups", "extra"] {
        remove(spec, field);
    }
    for (field, text) in [("username", user.name), ("uid", user.uid)] {
        if !text.is_empty() {
            set(spec, field, text);
        }
    }
    if !user.groups.is_empty() {
        set(spec, "groups", user.groups.to_vec());
    }
    if let Some(extra) = user.extra.filter(|e| !e.is_empty()) {
        let extra: Map<String, Value> = extra.iter().map(|(k, v)| (k.clone(), json!(v))).collect();
        set(spec, "extra", extra);
    }
}

/// A request cannot change; its conditions are written through `approval`, its certificate through `status`.
pub(super) fn request_prepare_update(new: &mut Value, old: &Value, context: &WriteContext<'_>) {
    let restore = |new: &mut Value, field: &str| match old.get(field) {
        Some(value) => set(new, field, value.clone()),
        None => remove(new, field),
    };
    restore(new, "spec");
    match context.part {
        Part::Main => restore(new, "status"),
        Part::Subresource("approval") => {
            stamp_conditions(new, old, context.now);
            let conditions = meta::at(new, &["status", "conditions"]).cloned();
            restore(new, "status");
            if let (Some(conditions), Some(status)) = (conditions, made_mut(new, "status")) {
                set(status, "conditions", conditions);
            }
        }
        Part::Subresource(_) => {
            keep_conditions(new, old, "Approved");
            keep_conditions(new, old, "Denied");
            stamp_conditions(new, old, context.now);
        }
    }
}

fn is_of(condition: &Value, kind: &str) -> bool {
    condition.get("type").and_then(Value::as_str) == Some(kind)
}

fn conditions<'a>(request: &'a Value, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    meta::list_at(request, &["status", "conditions"]).iter().filter(move |c| is_of(c, kind))
}

/// Conditions of this type stay as they were, if there are as many.
fn keep_conditions(new: &mut Value, old: &Value, kind: &str) {
    let before: Vec<&Value> = conditions(old, kind).collect();
    if conditions(new, kind).count() != before.len() {
        return;
    }
    let Some(status) = new.get_mut("status") else { return };
    for (now, was) in items_mut(status, "conditions").filter(|c| is_of(c, kind)).zip(before) {
        *now = was.clone();
    }
}

fn stamp_conditions(new: &mut Value, old: &Value, now: &str) {
    let Some(status) = new.get_mut("status") else { return };
    for condition in items_mut(status, "conditions") {
        let same = |was: &&Value| ["type", "status"].iter().all(|f| was.get(f) == condition.get(f));
        let was = meta::list_at(old, &["status", "conditions"]).iter().find(same);
        let since = was.and_then(|w| w.get("lastTransitionTime")).filter(|t| !t.is_null()).cloned();
        fill(condition, "lastUpdateTime", now);
        fill(condition, "lastTransitionTime", since.unwrap_or_else(|| now.into()));
    }
}

pub(super) fn request_validate(object: &Value, errors: &mut Errors) {
    request(&At::root(object), None, errors);
}

/// The text of a field that is base64.
fn decoded(at: &At<'_, '_>) -> Option<String> {
    String::from_utf8(STANDARD.decode(at.str()).ok()?).ok()
}

/// The type and the body of the first PEM block, and what comes after it.
fn pem_block(text: &str) -> Option<(&str, &str, &str)> {
    let start = text.find("-----BEGIN ")? + "-----BEGIN ".len();
    let (kind, rest) = text[start..].split_once("-----")?;
    let (body, rest) = rest.split_once(&format!("-----END {kind}-----"))?;
    Some((kind, body, rest))
}

fn is_certificate_request(at: &At<'_, '_>) -> bool {
    decoded(at).is_some_and(|text| {
        pem_block(&text).is_some_and(|(kind, body, _)| {
            let body: String = body.split_whitespace().collect();
            kind == "CERTIFICATE REQUEST" && STANDARD.decode(body).is_ok_and(|der| !der.is_empty())
        })
    })
}

fn request(request: &At<'_, '_>, old: Option<&At<'_, '_>>, errors: &mut Errors) {
    const SECONDS_MIN: i64 = 600;
    const LEGACY: &str = "kubernetes.io/legacy-unknown";
    let spec = request.field("spec");
    let (csr, usages, signer) = (spec.field("request"), spec.field("usages"), spec.field("signerName"));
    if !is_certificate_request(&csr) {
        csr.invalid(errors, "PEM block type must be CERTIFICATE REQUEST");
    }
    if usages.is_empty() {
        usages.required(errors, "");
    }
    if old.is_none() {
        let mut seen = Vec::new();
        for usage in usages.items() {
            usage.one_of(errors, USAGES);
        }
        for usage in usages.items() {
            if seen.contains(&usage.str()) {
                usage.duplicate(errors);
            }
            seen.push(usage.str());
        }
    }
    if signer.str() != LEGACY {
        check::signer_name(&signer, errors);
    } else if old.is_none() {
        signer.invalid_str(errors, "the legacy signerName is not allowed via this API version");
    }
    let seconds = spec.field("expirationSeconds");
    if seconds.exists() && seconds.int() < SECONDS_MIN {
        seconds.invalid_int(errors, "may not specify a duration less than 600 seconds (10 minutes)");
    }
    let status = request.field("status");
    let old_status = old.map(|o| o.field("status"));
    let old_conditions = old_status.as_ref().map(|s| s.field("conditions"));
    request_conditions(&status.field("conditions"), old_conditions.as_ref(), errors);
    let certificate = status.field("certificate");
    let unchanged = old_status.as_ref().is_some_and(|s| s.field("certificate").str() == certificate.str());
    if !unchanged && let Some(says) = certificate_wrong(&certificate) {
        certificate.invalid_text(errors, "<certificate data>", &says);
    }
}

fn certificate_wrong(at: &At<'_, '_>) -> Option<String> {
    if at.is_empty() {
        return None;
    }
    let text = decoded(at).unwrap_or_default();
    let (mut rest, mut found) = (text.as_str(), false);
    while let Some((kind, body, after)) = pem_block(rest) {
        if kind != "CERTIFICATE" {
            let kind = crate::field::quote(kind);
            return Some(format!("only CERTIFICATE PEM blocks are allowed, found {kind}"));
        }
        if body.contains(':') {
            return Some("no PEM block headers are permitted".to_owned());
        }
        found = true;
        rest = after;
    }
    (!found).then(|| "must contain at least one CERTIFICATE PEM block".to_owned())
}

/// What the old object has that would be wrong now may stay.
fn request_conditions(at: &At<'_, '_>, old: Option<&At<'_, '_>>, errors: &mut Errors) {
    const APART: &str = "Approved and Denied conditions are mutually exclusive";
    let types = |list: &At<'_, '_>| -> Vec<String> { list.items().map(|c| c.field("type").str().to_owned()).collect() };
    let old = old.map(types).unwrap_or_default();
    let had = |kind: &str| old.iter().any(|k| k == kind);
    let had_both = had("Approved") && had("Denied");
    let had_twice = old.iter().enumerate().any(|(i, kind)| old[..i].contains(kind));
    let mut seen: Vec<&str> = Vec::new();
    for condition in at.items() {
        let (kind, status) = (condition.field("type"), condition.field("status"));
        if kind.is_empty() && !had("") {
            kind.required(errors, "");
        }
        let allowed: &[&str] = match kind.str() {
            "Approved" | "Denied" | "Failed" => &["True"],
            _ => &["False", "True", "Unknown"],
        };
        status.required_one_of(errors, allowed, "");
        let other = match kind.str() {
            "Approved" => "Denied",
            "Denied" => "Approved",
            _ => "-",
        };
        if seen.contains(&other) && !had_both {
            at.invalid_text(errors, kind.str(), APART);
        }
        if seen.contains(&kind.str()) && !had_twice {
            kind.duplicate(errors);
        }
        seen.push(kind.str());
    }
}

pub(super) fn request_validate_update(new: &Value, old: &Value, context: &WriteContext<'_>, errors: &mut Errors) {
    let (now, was) = (At::root(new), At::root(old));
    request(&now, Some(&was), errors);
    let status = now.field("status");
    let list = status.field("conditions");
    for kind in ["Approved", "Denied", "Failed"] {
        if conditions(new, kind).count() < conditions(old, kind).count() {
            list.forbidden(errors, &format!("updates may not remove a condition of type \"{kind}\""));
        }
    }
    if !context.part.is("approval") {
        for kind in ["Approved", "Denied"] {
            let (after, before): (Vec<&Value>, Vec<&Value>) =
                (conditions(new, kind).collect(), conditions(old, kind).collect());
            if after.len() > before.len() {
                list.forbidden(errors, &format!("updates may not add a condition of type \"{kind}\""));
            } else if after.len() == before.len() && after != before {
                list.forbidden(errors, &format!("updates may not modify a condition of type \"{kind}\""));
            }
        }
    }
    let certificate = status.field("certificate");
    let before = meta::str_at(old, &["status", "certificate"]);
    if certificate.str() != before {
        if !context.part.is("status") {
            certificate.forbidden(errors, "updates may not set certificate content");
        } else if !before.is_empty() {
            certificate.forbidden(errors, "updates may not modify existing certificate content");
        }
    }
}
