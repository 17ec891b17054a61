//! Projected volumes: files from several sources in one place.

use crate::field::Errors;
use crate::rules::at::At;
use crate::rules::{check, names};

use super::env;

/// A key of a ConfigMap or Secret and the file that shows it.
pub(super) fn key_to_path(at: &At<'_, '_>, errors: &mut Errors) {
    at.field("key").required_text(errors);
    let path = at.field("path");
    path.required_text(errors);
    check::local_non_reserved_path(&path, errors);
    check::file_mode(&at.field("mode"), errors);
}

/// A file that tells something of the pod.
pub(super) fn downward_file(at: &At<'_, '_>, errors: &mut Errors) {
    let path = at.field("path");
    path.required_text(errors);
    check::local_non_reserved_path(&path, errors);
    let (field, resource) = (at.field("fieldRef"), at.field("resourceFieldRef"));
    if field.exists() {
        env::field_reference(&field, env::VOLUME_FIELDS, errors);
        if resource.exists() {
            at.invalid_text(errors, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously");
        }
    } else if resource.exists() {
        env::resource_reference(&resource, true, errors);
    } else {
        at.required(errors, "one of fieldRef and resourceFieldRef is required");
    }
    check::file_mode(&at.field("mode"), errors);
}

/// A path is used once in a volume. `shown` is what the message shows.
fn used_once<'v>(volume: &At<'_, '_>, taken: &mut Vec<&'v str>, path: &'v str, shown: &str, errors: &mut Errors) {
    if taken.contains(&path) {
        volume.invalid_text(errors, shown, "conflicting duplicate paths");
    } else {
        taken.push(path);
    }
}

pub(super) fn projected(at: &At<'_, '_>, errors: &mut Errors) {
    check::file_mode(&at.field("defaultMode"), errors);
    let mut taken: Vec<&str> = Vec::new();
    for source in at.field("sources").items() {
        let mut count = 0;
        for kind in ["secret", "configMap"] {
            let keys = source.field(kind);
            if !keys.exists() {
                continue;
            }
            count += 1;
            let name = keys.field("name");
            name.required_text(errors);
            for item in keys.field("items").items() {
                key_to_path(&item, errors);
                let path = item.field("path").str();
                if !path.is_empty() {
                    used_once(at, &mut taken, path, name.str(), errors);
                }
            }
        }
        let downward = source.field("downwardAPI");
        if downward.exists() {
            count += 1;
            for file in downward.field("items").items() {
                downward_file(&downward.with_value(file.value()), errors);
                let path = file.field("path").str();
                if !path.is_empty() {
                    used_once(at, &mut taken, path, path, errors);
                }
            }
        }
        let token = source.field("serviceAccountToken");
        if token.exists() {
            count += 1;
            service_account_token(at, &token, errors);
        }
        let bundle = source.field("clusterTrustBundle");
        if bundle.exists() {
            count += 1;
            trust_bundle(&bundle, errors);
            let path = bundle.field("path").str();
            used_once(at, &mut taken, path, path, errors);
        }
        let certificate = source.field("podCertificate");
        if certificate.exists() {
            count += 1;
            pod_certificate(&certificate, errors);
            let mut paths = 0;
            for key in ["credentialBundlePath", "keyPath", "certificateChainPath"] {
                let path = certificate.field(key);
                if !path.is_empty() {
                    paths += 1;
                    check::local_non_reserved_path(&path, errors);
                    used_once(at, &mut taken, path.str(), path.str(), errors);
                }
            }
            if paths == 0 {
                let says = "specify at least one of credentialBundlePath, keyPath, and certificateChainPath";
                certificate.required(errors, says);
            }
        }
        if count > 1 {
            source.forbidden(errors, "may not specify more than 1 volume type per source");
        }
    }
}

fn service_account_token(volume: &At<'_, '_>, at: &At<'_, '_>, errors: &mut Errors) {
    let expiration = at.field("expirationSeconds");
    if expiration.int() < 600 {
        expiration.invalid_int(errors, "may not specify a duration less than 10 minutes");
    }
    if expiration.int() > 1 << 32 {
        expiration.invalid_int(errors, "may not specify a duration larger than 2^32 seconds");
    }
    // The stock server names the volume here, not the source.
    let shown = volume.field("path");
    let path = shown.with_value(at.field("path").value());
    if path.str().is_empty() {
        path.required(errors, "");
    } else {
        check::local_non_reserved_path(&path, errors);
    }
}

fn trust_bundle(at: &At<'_, '_>, errors: &mut Errors) {
    let (name, signer, selector) = (at.field("name"), at.field("signerName"), at.field("labelSelector"));
    match (name.exists(), signer.exists()) {
        (true, true) => at.invalid(errors, "only one of name and signerName may be used"),
        (true, false) => {
            if name.str().is_empty() {
                name.required(errors, "must be a valid object name");
            }
            let last = name.str().rsplit_once(':').map_or(name.str(), |(_, last)| last);
            for detail in names::dns1123_subdomain(last) {
                name.invalid_str(errors, &format!("not a valid clustertrustbundlename: {detail}"));
            }
            if selector.exists() {
                selector.invalid(errors, "labelSelector must be unset if name is specified");
            }
        }
        (false, true) => {
            if signer.str().is_empty() {
                signer.required(errors, "must be a valid signer name");
            }
            check::signer_name(&signer, errors);
            check::label_selector(&selector, errors);
        }
        (false, false) => at.required(errors, "either name or signerName must be specified"),
    }
    let path = at.field("path");
    path.required_text(errors);
    check::local_non_reserved_path(&path, errors);
}

fn pod_certificate(at: &At<'_, '_>, errors: &mut Errors) {
    let signer = at.field("signerName");
    check::signer_name(&signer, errors);
    at.field("keyType").one_of(errors, &["RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519"]);
    let expiration = at.field("maxExpirationSeconds");
    if expiration.exists() {
        if expiration.int() < 3600 {
            expiration.invalid_int(errors, "if provided, maxExpirationSeconds must be >= 3600");
        }
        let domain = signer.str().split('/').next().unwrap_or_default();
        let of_kubernetes = domain == "kubernetes.io" || domain.ends_with(".kubernetes.io");
        let max = if of_kubernetes { 24 * 3600 } else { 91 * 24 * 3600 };
        if expiration.int() > max {
            expiration.invalid_int(errors, &format!("if provided, maxExpirationSeconds must be <= {max}"));
        }
    }
}
