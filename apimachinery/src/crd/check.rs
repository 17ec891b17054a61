//! Whether a CustomResourceDefinition may stand.
//!
//! Source of rules and wording: `k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation`. The stock server
//! moves what all versions have alike to the top before it validates, which messages show: with one version they say
//! `spec.validation`, not `spec.versions[0].schema`.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::check_schema;
use crate::field::{Errors, Path};
use crate::meta;
use crate::rules::names;

const COLUMN_TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
const COLUMN_FORMATS: [&str; 8] = ["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];
const APPROVAL: &str = "api-approved.kubernetes.io";
const MAX_SELECTABLE: usize = 8;
const REVIEW_VERSIONS: [&str; 2] = ["v1", "v1beta1"];

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// Finds what is wrong with a CRD; with `old`, also what may not change. `status.storedVersions` must be set.
pub fn validate_definition(crd: &Value, old: Option<&Value>, errors: &mut Errors) {
    let spec = crd.get("spec").cloned().unwrap_or_default();
    let spec = &spec;
    let names = spec.get("names").cloned().unwrap_or_default();
    let wanted = format!("{}.{}", text(&names, "plural"), text(spec, "group"));
    if old.is_none() && meta::name(crd) != wanted {
        let path = Path::new("metadata").child("name");
        errors.invalid_str(&path, meta::name(crd), "must be spec.names.plural+\".\"+spec.group");
    }
    let path = Path::new("spec");
    check_spec(spec, &names, &path, errors);
    if let Some(old) = old {
        check_unchanged(spec, old, &path, errors);
    }
    let status = crd.get("status").cloned().unwrap_or_default();
    let accepted = status.get("acceptedNames").cloned().unwrap_or_default();
    check_names(&accepted, &Path::new("status").child("acceptedNames"), errors);
    check_stored_versions(&status, spec, errors);
    check_approval(crd, old, errors);
    if spec.get("preserveUnknownFields") == Some(&json!(true)) {
        let says =
            "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
        errors.invalid(&path.child("preserveUnknownFields"), &json!(true), says);
    }
}

/// Finds what is wrong with a CRD whose status is written.
pub fn validate_definition_status(crd: &Value, errors: &mut Errors) {
    let accepted = crd.pointer("/status/acceptedNames").cloned().unwrap_or_default();
    check_names(&accepted, &Path::new("status").child("acceptedNames"), errors);
}

fn check_spec(spec: &Value, names: &Value, path: &Path, errors: &mut Errors) {
    let group = text(spec, "group");
    let group_path = path.child("group");
    let wrong = names::dns1123_subdomain(group);
    if group.is_empty() {
        errors.required(&group_path, "");
    } else if !wrong.is_empty() {
        errors.invalid_str(&group_path, group, &wrong.join(","));
    } else if !group.contains('.') {
        errors.invalid_str(&group_path, group, "should be a domain with at least one dot");
    }
    check_enum(text(spec, "scope"), &["Cluster", "Namespaced"], &path.child("scope"), errors);
    let versions = list(spec, "versions");
    for (i, version) in versions.iter().enumerate() {
        if version.pointer("/schema/openAPIV3Schema").is_none_or(Value::is_null) {
            let path = path.child("versions").index(i).child("schema").child("openAPIV3Schema");
            errors.required(&path, "");
        }
    }
    check_versions(spec, versions, path, errors);
    for key in ["plural", "singular", "kind", "listKind"] {
        if text(names, key).is_empty() {
            errors.required(&path.child("names").child(key), "");
        }
    }
    check_names(names, &path.child("names"), errors);
    // What all versions have alike is checked once, at the top.
    if let Some(first) = versions.first() {
        let status = versions.iter().any(has_status);
        if alike(versions, "schema") {
            check_version_schema(first, status, &path.child("validation"), errors);
        }
        if alike(versions, "subresources") {
            check_subresources(first, &path.child("subresources"), errors);
        }
        if alike(versions, "additionalPrinterColumns") {
            check_columns(first, &path.child("additionalPrinterColumns"), errors);
        }
        if alike(versions, "selectableFields") {
            check_selectable(first, &path.child("selectableFields"), errors);
        }
    }
    check_conversion(spec, &path.child("conversion"), errors);
}

fn check_enum(value: &str, accepted: &[&str], path: &Path, errors: &mut Errors) {
    if value.is_empty() {
        errors.required(path, "");
    } else if !accepted.contains(&value) {
        errors.not_supported(path, &json!(value), accepted);
    }
}

fn alike(versions: &[Value], key: &str) -> bool {
    let value = |v: &Value| v.get(key).filter(|v| !v.is_null() && !v.as_array().is_some_and(Vec::is_empty)).cloned();
    versions.first().is_some_and(|first| versions.iter().all(|v| value(v) == value(first)))
}

fn has_status(version: &Value) -> bool {
    version.pointer("/subresources/status").is_some_and(|s| !s.is_null())
}

fn check_versions(spec: &Value, versions: &[Value], path: &Path, errors: &mut Errors) {
    let at = path.child("versions");
    for (i, version) in versions.iter().enumerate() {
        let path = at.index(i);
        let name = text(version, "name");
        let wrong = names::dns1035_label(name);
        if !wrong.is_empty() {
            errors.invalid_str(&path.child("name"), name, &wrong.join(","));
        }
        check_deprecation(version, &path, errors);
        if !alike(versions, "schema") {
            check_version_schema(version, has_status(version), &path.child("schema"), errors);
        }
        if !alike(versions, "subresources") {
            check_subresources(version, &path.child("subresources"), errors);
        }
        if !alike(versions, "additionalPrinterColumns") {
            check_columns(version, &path.child("additionalPrinterColumns"), errors);
        }
        if !alike(versions, "selectableFields") {
            check_selectable(version, &path.child("selectableFields"), errors);
        }
    }
    let shown = spec.get("versions").cloned().unwrap_or_default();
    let unique: BTreeSet<&str> = versions.iter().map(|v| text(v, "name")).collect();
    if unique.len() != versions.len() {
        errors.invalid(&at, &shown, "must contain unique version names");
    }
    if versions.iter().filter(|v| v.get("storage") == Some(&json!(true))).count() != 1 {
        errors.invalid(&at, &shown, "must have exactly one version marked as storage version");
    }
    if let Some(first) = versions.first().map(|v| text(v, "name")).filter(|n| !n.is_empty()) {
        let wrong = names::dns1035_label(first);
        if !wrong.is_empty() {
            errors.invalid_str(&path.child("version"), first, &wrong.join(","));
        }
    }
}

fn check_deprecation(version: &Value, path: &Path, errors: &mut Errors) {
    let Some(warning) = version.get("deprecationWarning").and_then(Value::as_str) else { return };
    let path = path.child("deprecationWarning");
    if version.get("deprecated") != Some(&json!(true)) {
        errors.invalid_str(&path, warning, "can only be set for deprecated versions");
        return;
    }
    if warning.len() > 256 {
        errors.invalid_str(&path, warning, "must be <= 256 characters long");
    }
    if warning.is_empty() {
        errors.invalid_str(&path, warning, "must not be an empty string");
    }
    if let Some((i, _)) = warning.char_indices().find(|(_, c)| c.is_control()) {
        let says = format!("must only contain printable UTF-8 characters; non-printable character found at index {i}");
        errors.invalid_str(&path, warning, &says);
    }
}

fn check_version_schema(version: &Value, has_status: bool, path: &Path, errors: &mut Errors) {
    if let Some(schema) = version.pointer("/schema/openAPIV3Schema").filter(|s| !s.is_null()) {
        check_schema::check(schema, has_status, &path.child("openAPIV3Schema"), errors);
    }
}

fn check_names(names: &Value, path: &Path, errors: &mut Errors) {
    for key in ["plural", "singular"] {
        let name = text(names, key);
        let wrong = names::dns1035_label(name);
        if !name.is_empty() && !wrong.is_empty() {
            errors.invalid_str(&path.child(key), name, &wrong.join(","));
        }
    }
    for key in ["kind", "listKind"] {
        let name = text(names, key);
        let wrong = names::dns1035_label(&name.to_lowercase());
        if !name.is_empty() && !wrong.is_empty() {
            let says = format!("may have mixed case, but should otherwise match: {}", wrong.join(","));
            errors.invalid_str(&path.child(key), name, &says);
        }
    }
    let check_all = |key: &str, errors: &mut Errors| {
        for (i, name) in list(names, key).iter().enumerate() {
            let name = name.as_str().unwrap_or_default();
            let wrong = names::dns1035_label(name);
            if !wrong.is_empty() {
                errors.invalid_str(&path.child(key).index(i), name, &wrong.join(","));
            }
        }
    };
    check_all("shortNames", errors);
    if !text(names, "kind").is_empty() && text(names, "kind") == text(names, "listKind") {
        errors.invalid_str(&path.child("listKind"), text(names, "listKind"), "kind and listKind may not be the same");
    }
    check_all("categories", errors);
}

fn check_path(path_text: &str, path: &Path, errors: &mut Errors) -> bool {
    let simple = path_text.starts_with('.');
    if !simple {
        errors.invalid_str(path, path_text, "must be a simple json path starting with .");
    }
    simple
}

fn check_subresources(version: &Value, path: &Path, errors: &mut Errors) {
    let Some(scale) = version.pointer("/subresources/scale").filter(|s| !s.is_null()) else { return };
    for (key, under) in [("specReplicasPath", ".spec"), ("statusReplicasPath", ".status")] {
        let path = path.child(&format!("scale.{key}"));
        let value = text(scale, key);
        if value.is_empty() {
            errors.required(&path, "");
        } else if check_path(value, &path, errors) && !value.starts_with(&format!("{under}.")) {
            errors.invalid_str(&path, value, &format!("should be a json path under {under}"));
        }
    }
    let selector = text(scale, "labelSelectorPath");
    let path = path.child("scale.labelSelectorPath");
    let under = selector.starts_with(".spec.") || selector.starts_with(".status.");
    if !selector.is_empty() && check_path(selector, &path, errors) && !under {
        errors.invalid_str(&path, selector, "should be a json path under either .spec or .status");
    }
}

fn check_columns(version: &Value, path: &Path, errors: &mut Errors) {
    for (i, column) in list(version, "additionalPrinterColumns").iter().enumerate() {
        let path = path.index(i);
        if text(column, "name").is_empty() {
            errors.required(&path.child("name"), "");
        }
        let kind = text(column, "type");
        let says = format!("must be one of {}", COLUMN_TYPES.join(","));
        if kind.is_empty() {
            errors.required(&path.child("type"), &says);
        } else if !COLUMN_TYPES.contains(&kind) {
            errors.invalid_str(&path.child("type"), kind, &says);
        }
        let format = text(column, "format");
        if !format.is_empty() && !COLUMN_FORMATS.contains(&format) {
            let says = format!("must be one of {}", COLUMN_FORMATS.join(","));
            errors.invalid_str(&path.child("format"), format, &says);
        }
        let json_path = text(column, "jsonPath");
        if json_path.is_empty() {
            errors.required(&path.child("JSONPath"), "");
        } else {
            check_path(json_path, &path.child("JSONPath"), errors);
        }
    }
}

fn check_selectable(version: &Value, path: &Path, errors: &mut Errors) {
    let schema = version.pointer("/schema/openAPIV3Schema");
    let mut seen = BTreeSet::new();
    for (i, field) in list(version, "selectableFields").iter().enumerate() {
        let at = path.index(i).child("jsonPath");
        let json_path = text(field, "jsonPath");
        if json_path.is_empty() {
            errors.required(&at, "");
            continue;
        }
        if !json_path.starts_with(['.', '[']) {
            let says = format!("is an invalid path: expected [ or . but got: {json_path}");
            errors.invalid_str(&at, json_path, &says);
            continue;
        }
        let steps = json_path.trim_start_matches('.').split('.');
        let step = |schema: &'_ Value, name: &str| schema.get("properties").and_then(|p| p.get(name)).cloned();
        let found = steps.fold(schema.cloned(), |schema, name| schema.and_then(|s| step(&s, name)));
        let Some(found) = found else {
            errors.invalid_str(&at, json_path, "is an invalid path: does not refer to a valid field");
            continue;
        };
        if json_path.trim_start_matches('.').starts_with("metadata.") {
            errors.invalid_str(&at, json_path, "must not point to fields in metadata");
        }
        if !matches!(text(&found, "type"), "string" | "boolean" | "integer") {
            let says = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.";
            errors.invalid_str(&at, json_path, says);
        }
        if !seen.insert(json_path) {
            errors.duplicate(&at, &json!(json_path));
        }
    }
    if seen.len() > MAX_SELECTABLE {
        errors.too_many(path, seen.len(), MAX_SELECTABLE);
    }
}

fn check_conversion(spec: &Value, path: &Path, errors: &mut Errors) {
    let Some(conversion) = spec.get("conversion").filter(|c| !c.is_null()) else { return };
    let strategy = text(conversion, "strategy");
    check_enum(strategy, &["None", "Webhook"], &path.child("strategy"), errors);
    let config = conversion.pointer("/webhook/clientConfig").filter(|c| !c.is_null());
    let reviews = conversion.get("webhook").map(|w| list(w, "conversionReviewVersions")).unwrap_or_default();
    let config_path = path.child("webhookClientConfig");
    let reviews_path = path.child("conversionReviewVersions");
    if strategy != "Webhook" {
        let says = "should not be set when strategy is not set to Webhook";
        if config.is_some() {
            errors.forbidden(&config_path, says);
        }
        if !reviews.is_empty() {
            errors.forbidden(&reviews_path, says);
        }
        return;
    }
    match config {
        None => errors.required(&config_path, "required when strategy is set to Webhook"),
        Some(config) => check_client(config, &config_path, errors),
    }
    if reviews.is_empty() {
        errors.required(&reviews_path, "");
        return;
    }
    for (i, version) in reviews.iter().enumerate() {
        let version_text = version.as_str().unwrap_or_default();
        if reviews[..i].contains(version) {
            errors.invalid_str(&reviews_path.index(i), version_text, "duplicate version");
            continue;
        }
        for why in names::dns1035_label(version_text) {
            errors.invalid_str(&reviews_path.index(i), version_text, &why);
        }
    }
    if !reviews.iter().any(|v| v.as_str().is_some_and(|v| REVIEW_VERSIONS.contains(&v))) {
        let says = format!("must include at least one of {}", REVIEW_VERSIONS.join(", "));
        errors.invalid(&reviews_path, &Value::Array(reviews.to_vec()), &says);
    }
}

fn check_client(config: &Value, path: &Path, errors: &mut Errors) {
    let url = config.get("url").and_then(Value::as_str);
    let service = config.get("service").filter(|s| !s.is_null());
    match (url, service) {
        (Some(url), None) => {
            let path = path.child("url");
            if !url.starts_with("https://") {
                let scheme = url.split_once("://").map_or("", |(s, _)| s);
                let says = "'https' is the only allowed URL scheme; desired format: https://host[/path]";
                errors.invalid_str(&path, scheme, says);
            } else if url["https://".len()..].split('/').next().is_none_or(str::is_empty) {
                errors.invalid_str(&path, "", "host must be specified; desired format: https://host[/path]");
            }
            if let Some((_, fragment)) = url.split_once('#') {
                errors.invalid_str(&path, fragment, "fragments are not permitted in the URL");
            }
            if let Some((_, query)) = url.split_once('?') {
                errors.invalid_str(&path, query, "query parameters are not permitted in the URL");
            }
        }
        (None, Some(service)) => {
            let path = path.child("service");
            for key in ["name", "namespace"] {
                if text(service, key).is_empty() {
                    errors.required(&path.child(key), &format!("service {key} is required"));
                }
            }
            let port = service.get("port").and_then(Value::as_i64).unwrap_or(443);
            if !(1..=65535).contains(&port) {
                let says = "port is not valid: must be between 1 and 65535, inclusive";
                errors.invalid(&path.child("port"), &json!(port), says);
            }
        }
        _ => errors.required(path, "exactly one of url or service is required"),
    }
}

fn check_unchanged(spec: &Value, old: &Value, path: &Path, errors: &mut Errors) {
    let old_spec = old.get("spec").cloned().unwrap_or_default();
    let mut same = |pointer: &str, path: Path| {
        let (new, before) = (spec.pointer(pointer), old_spec.pointer(pointer));
        if new != before {
            errors.invalid(&path, new.unwrap_or(&Value::Null), "field is immutable");
        }
    };
    if super::condition_is_true(old, "Established") {
        same("/scope", path.child("scope"));
        same("/names/kind", path.child("names").child("kind"));
    }
    same("/group", path.child("group"));
    same("/names/plural", path.child("names").child("plural"));
}

fn check_stored_versions(status: &Value, spec: &Value, errors: &mut Errors) {
    let path = Path::new("status").child("storedVersions");
    let stored = list(status, "storedVersions");
    let shown = status.get("storedVersions").cloned().unwrap_or_default();
    if stored.is_empty() {
        errors.invalid(&path, &shown, "must have at least one stored version");
        return;
    }
    for version in list(spec, "versions") {
        let name = text(version, "name");
        if version.get("storage") == Some(&json!(true)) && !stored.iter().any(|s| s == name) {
            errors.invalid(&path, &shown, &format!("must have the storage version {name}"));
        }
    }
    for (i, version) in stored.iter().enumerate() {
        let name = version.as_str().unwrap_or_default();
        if !list(spec, "versions").iter().any(|v| text(v, "name") == name) {
            let says = format!(
                "missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in {name} and removes {name} from status.storedVersions"
            );
            errors.invalid_str(&path.index(i), name, &says);
        }
    }
}

#[derive(PartialEq, Eq)]
enum Approval {
    Missing,
    Given,
    Invalid,
}

fn approval(crd: &Value) -> (&str, Approval) {
    let annotation = meta::metadata(crd)
        .and_then(|m| m.get("annotations"))
        .and_then(|a| a.get(APPROVAL))
        .and_then(Value::as_str)
        .unwrap_or_default();
    let url = annotation.split_once("://").is_some_and(|(scheme, rest)| {
        !scheme.is_empty() && rest.split('/').next().is_some_and(|host| !host.is_empty())
    });
    let state = match annotation {
        "" => Approval::Missing,
        a if a.starts_with("unapproved") || url => Approval::Given,
        _ => Approval::Invalid,
    };
    (annotation, state)
}

fn check_approval(crd: &Value, old: Option<&Value>, errors: &mut Errors) {
    let group = crd.pointer("/spec/group").and_then(Value::as_str).unwrap_or_default();
    let protected = |domain: &str| group == domain || group.ends_with(&format!(".{domain}"));
    let (annotation, state) = approval(crd);
    if !(protected("k8s.io") || protected("kubernetes.io")) || old.is_some_and(|o| approval(o).1 == state) {
        return;
    }
    let path = Path::new("metadata").child("annotations").key(APPROVAL);
    let see = "see https://github.com/kubernetes/enhancements/pull/1111";
    match state {
        Approval::Given => {}
        Approval::Missing => {
            errors.required(&path, &format!("protected groups must have approval annotation \"{APPROVAL}\", {see}"));
        }
        Approval::Invalid => {
            let says = format!(
                "protected groups must have approval annotation \"{APPROVAL}\" with either a URL or a reason starting with \"unapproved\", {see}"
            );
            errors.invalid_str(&path, annotation, &says);
        }
    }
}
