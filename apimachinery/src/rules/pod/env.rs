//! Environment variables and the downward API.

use super::resources::is_hugepage_reference;
use crate::field::Errors;
use crate::quantity::Quantity;
use crate::rules::at::At;
use crate::rules::{check, names};

const ENV_FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
pub(super) const VOLUME_FIELDS: &[&str] =
    &["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];
const RESOURCES: &[&str] = &[
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

pub(super) fn env(vars: &At<'_, '_>, errors: &mut Errors) {
    for var in vars.items() {
        var.field("name").required_name(errors, names::env_var_name);
        let source = var.field("valueFrom");
        if source.exists() {
            value_from(&var, &source, errors);
        }
    }
}

fn value_from(var: &At<'_, '_>, source: &At<'_, '_>, errors: &mut Errors) {
    let mut sources = 0;
    let mut each = |name: &'static str, check: &mut dyn FnMut(&At<'_, '_>)| {
        let at = source.field(name);
        if at.exists() {
            sources += 1;
            check(&at);
        }
    };
    each("fieldRef", &mut |at| field_reference(at, ENV_FIELDS, errors));
    each("resourceFieldRef", &mut |at| resource_reference(at, false, errors));
    each("configMapKeyRef", &mut |at| key_reference(at, errors));
    each("secretKeyRef", &mut |at| key_reference(at, errors));
    each("fileKeyRef", &mut |at| file_reference(at, errors));
    let says = if sources == 0 {
        "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
    } else if !var.field("value").is_empty() {
        "may not be specified when `value` is not empty"
    } else if sources > 1 {
        "may not have more than one field specified at a time"
    } else {
        return;
    };
    source.invalid_text(errors, "", says);
}

/// A field of the pod, of which `supported` can be told.
pub(super) fn field_reference(at: &At<'_, '_>, supported: &[&str], errors: &mut Errors) {
    let (version, path) = (at.field("apiVersion"), at.field("fieldPath"));
    if version.str().is_empty() {
        version.required(errors, "");
        return;
    }
    if path.str().is_empty() {
        path.required(errors, "");
        return;
    }
    let label = path.str();
    let subscripted = split_subscript(label);
    let problem = if version.str() != "v1" {
        Some(format!("unsupported pod version: {}", version.str()))
    } else if let Some((field, _)) = subscripted {
        (!matches!(field, "metadata.annotations" | "metadata.labels"))
            .then(|| format!("field label does not support subscript: {label}"))
    } else {
        (!is_known_field(label)).then(|| format!("field label not supported: {label}"))
    };
    if let Some(problem) = problem {
        path.invalid_str(errors, &format!("error converting fieldPath: {problem}"));
        return;
    }
    match subscripted {
        Some(("metadata.annotations", key)) => {
            let key = key.to_lowercase();
            for detail in names::qualified_name(&key) {
                at.invalid_text(errors, &key, &detail);
            }
        }
        Some((_, key)) => {
            for detail in names::qualified_name(key) {
                at.invalid_text(errors, key, &detail);
            }
        }
        None => {
            let field = if label == "spec.host" { "spec.nodeName" } else { label };
            if !supported.contains(&field) {
                errors.not_supported(&path.path(), &field.into(), supported);
            }
        }
    }
}

fn is_known_field(label: &str) -> bool {
    matches!(
        label,
        "metadata.annotations"
            | "metadata.labels"
            | "metadata.name"
            | "metadata.namespace"
            | "metadata.uid"
            | "spec.nodeName"
            | "spec.host"
            | "spec.restartPolicy"
            | "spec.serviceAccountName"
            | "spec.schedulerName"
            | "status.phase"
            | "status.hostIP"
            | "status.hostIPs"
            | "status.podIP"
            | "status.podIPs"
    )
}

/// `metadata.labels['a']` is `metadata.labels` and `a`.
fn split_subscript(path: &str) -> Option<(&str, &str)> {
    path.strip_suffix("']")?.split_once("['").filter(|(field, _)| !field.is_empty())
}

/// A resource of a container; in a volume it must say of which.
pub(super) fn resource_reference(at: &At<'_, '_>, in_volume: bool, errors: &mut Errors) {
    let (container, resource) = (at.field("containerName"), at.field("resource"));
    if in_volume && container.str().is_empty() {
        container.required(errors, "");
    } else if resource.str().is_empty() {
        resource.required(errors, "");
    } else if !RESOURCES.contains(&resource.str()) && !is_hugepage_reference(resource.str()) {
        resource.not_supported(errors, RESOURCES);
    }
    let divisor = at.field("divisor");
    let Some(quantity) = super::resources::quantity(divisor.value()).filter(|q| !q.is_zero()) else { return };
    divisor_fits(&divisor, resource.str(), &quantity, errors);
}

fn divisor_fits(divisor: &At<'_, '_>, resource: &str, quantity: &Quantity, errors: &mut Errors) {
    const BYTES: &[&str] = &["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];
    let canonical = quantity.canonical();
    let refuse = |errors: &mut Errors, values: &str, of: &str| {
        let says = format!("only divisor's values {values} are supported with the {of} resource");
        divisor.invalid_text(errors, resource, &says);
    };
    let of = match resource {
        "limits.cpu" | "requests.cpu" => {
            if !["1m", "1"].contains(&canonical.as_str()) {
                refuse(errors, "1m and 1", "cpu");
            }
            return;
        }
        "limits.memory" | "requests.memory" => "memory",
        "limits.ephemeral-storage" | "requests.ephemeral-storage" => "local ephemeral storage",
        other if is_hugepage_reference(other) => "hugepages",
        _ => return,
    };
    if !BYTES.contains(&canonical.as_str()) {
        refuse(errors, &BYTES.join(", "), of);
    }
}

fn key_reference(at: &At<'_, '_>, errors: &mut Errors) {
    let name = at.field("name");
    name.invalid_each(errors, names::dns1123_subdomain(name.str()));
    at.field("key").required_name(errors, names::config_map_key);
}

fn file_reference(at: &At<'_, '_>, errors: &mut Errors) {
    at.field("key").required_name(errors, names::env_var_name);
    at.field("volumeName").required_name(errors, names::dns1123_label);
    let path = at.field("path");
    if path.str().is_empty() {
        path.required(errors, "");
    } else {
        check::path_no_backsteps(&path, errors);
    }
}

pub(super) fn env_from(sources: &At<'_, '_>, errors: &mut Errors) {
    for source in sources.items() {
        source.field("prefix").optional_name(errors, names::env_var_name);
        let mut count = 0;
        for kind in ["configMapRef", "secretRef"] {
            let reference = source.field(kind);
            if reference.exists() {
                count += 1;
                reference
                    .field("name")
                    .required_name(errors, |name| crate::rules::NameRule::Subdomain.check(name, true));
            }
        }
        match count {
            0 => sources.invalid_text(errors, "", "must specify one of: `configMapRef` or `secretRef`"),
            1 => {}
            _ => sources.invalid_text(errors, "", "may not have more than one field specified at a time"),
        }
    }
}

/// Files that variables come from must lie on an `emptyDir`.
pub(super) fn env_file_volumes(spec: &At<'_, '_>, errors: &mut Errors) {
    super::visit_containers(spec, &mut |container| {
        for var in container.field("env").items() {
            let source = var.field("valueFrom");
            let file = source.field("fileKeyRef");
            if !file.exists() {
                continue;
            }
            let name = file.field("volumeName");
            match spec.field("volumes").items().rfind(|v| v.field("name").str() == name.str()) {
                None => name.not_found(errors),
                Some(volume) if !volume.field("emptyDir").exists() => {
                    name.invalid_str(errors, "referenced volume must be of type emptyDir");
                }
                Some(_) => {}
            }
        }
    });
}
