//! Annotations of pods that mean something: mirror pods, deletion cost, and the old names of security profiles.

use serde_json::Value;

use crate::field::Errors;
use crate::rules::at::At;
use crate::rules::check;

const MIRROR: &str = "kubernetes.io/config.mirror";
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";

/// Whether a pod only shows one that its node runs by itself.
pub(super) fn is_mirror(pod: &Value) -> bool {
    pod.pointer("/metadata/annotations").is_some_and(|a| a.get(MIRROR).is_some())
}

pub(super) fn pod_annotations(at: &At<'_, '_>, spec: &At<'_, '_>, errors: &mut Errors) {
    let mirror = at.entry(MIRROR);
    if mirror.exists() && spec.field("nodeName").is_empty() {
        mirror.invalid_str(errors, "must set spec.nodeName if mirror pod annotation is set");
    }
    let cost = at.entry(DELETION_COST);
    if cost.exists() && !is_cost(cost.str()) {
        cost.invalid_str(errors, "must be a 32bit integer");
    }
    let pod_seccomp = at.entry(SECCOMP_POD);
    if pod_seccomp.exists() {
        seccomp_name(&at.field(SECCOMP_POD), errors);
    }
    for (key, _) in at.entries() {
        if key.starts_with(SECCOMP_CONTAINER) {
            seccomp_name(&at.field(key), errors);
        }
    }
    for (key, value) in at.entries() {
        let Some(container) = key.strip_prefix(APP_ARMOR) else { continue };
        let mut found = false;
        super::visit_containers(spec, &mut |c| found |= c.field("name").str() == container);
        if !found {
            value.invalid_text(errors, container, "container not found");
        }
        let profile = value.str();
        if !matches!(profile, "" | "runtime/default" | "unconfined") && !profile.starts_with("localhost/") {
            let says = format!("invalid AppArmor profile name: {}", crate::field::quote(profile));
            value.invalid_str(errors, &says);
        }
    }
}

/// A 32-bit number without a plus sign or leading zeros.
fn is_cost(text: &str) -> bool {
    text.parse::<i32>().is_ok_and(|n| n.to_string() == text)
}

fn seccomp_name(at: &At<'_, '_>, errors: &mut Errors) {
    match at.str() {
        "runtime/default" | "docker/default" | "unconfined" => {}
        other => match other.strip_prefix("localhost/") {
            Some(path) => {
                let path = Value::from(path);
                check::local_path(&at.with_value(&path), errors);
            }
            None => at.invalid_str(errors, "must be a valid seccomp profile"),
        },
    }
}

/// Annotations of a pod that is changed: some stay as they are.
pub(super) fn annotation_changes(new: &At<'_, '_>, old: &At<'_, '_>, errors: &mut Errors) {
    let (new_notes, old_notes) = (new.field("annotations"), old.field("annotations"));
    let mut refuse = |key: &str, verb: &str| {
        let what = if key.starts_with(APP_ARMOR) {
            "AppArmor annotations"
        } else if key == MIRROR {
            "mirror pod annotation"
        } else {
            return;
        };
        new_notes.entry(key).forbidden(errors, &format!("may not {verb} {what}"));
    };
    for (key, value) in old_notes.entries() {
        if new_notes.entry(key).value() != value.value() {
            refuse(key, "remove or update");
        }
    }
    for (key, _) in new_notes.entries() {
        if !old_notes.entry(key).exists() {
            refuse(key, "add");
        }
    }
}

/// Where both the old annotation and the field say how a container is confined, they must agree.
pub(super) fn agree_with_fields(metadata: &At<'_, '_>, spec: &At<'_, '_>, errors: &mut Errors) {
    let notes = metadata.field("annotations");
    if notes.is_empty() {
        return;
    }
    let context = spec.field("securityContext");
    let of_pod = context.field("seccompProfile");
    agree(&of_pod, of_pod.value(), notes.entry(SECCOMP_POD).opt_str(), "seccomp", errors);
    super::visit_containers(spec, &mut |container| {
        let context = container.field("securityContext");
        let profile = context.field("seccompProfile");
        let key = format!("{SECCOMP_CONTAINER}{}", container.field("name").str());
        agree(&profile, profile.value(), notes.entry(&key).opt_str(), "seccomp", errors);
    });
    if spec.field("os").field("name").str() == "windows" {
        return;
    }
    let of_pod = context.field("appArmorProfile").value();
    super::visit_containers(spec, &mut |container| {
        let context = container.field("securityContext");
        let profile = context.field("appArmorProfile");
        let effective = if profile.exists() { profile.value() } else { of_pod };
        let key = format!("{APP_ARMOR}{}", container.field("name").str());
        agree(&profile, effective, notes.entry(&key).opt_str(), "apparmor", errors);
    });
}

fn agree(at: &At<'_, '_>, profile: &Value, annotation: Option<&str>, what: &str, errors: &mut Errors) {
    let Some(annotation) = annotation else { return };
    let localhost = profile.get("localhostProfile").and_then(Value::as_str);
    let matches = match profile.get("type").and_then(Value::as_str).unwrap_or_default() {
        "Unconfined" => annotation == "unconfined",
        "RuntimeDefault" => annotation == "runtime/default" || (what == "seccomp" && annotation == "docker/default"),
        "Localhost" => match annotation.strip_prefix("localhost/") {
            Some(path) => {
                if localhost != Some(path) {
                    let says = format!("{what} profile in annotation and field must match");
                    at.field("localhostProfile").forbidden(errors, &says);
                }
                true
            }
            None => false,
        },
        _ => true,
    };
    if !matches {
        at.field("type").forbidden(errors, &format!("{what} type in annotation and field must match"));
    }
}
