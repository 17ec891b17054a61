//! What may change of a pod: through the pod itself, and through its subresources.

use serde_json::Value;

use super::resources::{is_sidecar, quantity};
use super::{affinity, annotations, container, prepare, spec, status};
use crate::field::{Errors, Path};
use crate::meta;
use crate::rules::WriteContext;
use crate::rules::at::{At, semantic_eq};
use crate::rules::edit::{remove, set};
use crate::rules::names;

const UPDATABLE: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

static NULL: Value = Value::Null;

pub(in crate::rules) fn pod_validate_update(new: &Value, old: &Value, context: &WriteContext<'_>, errors: &mut Errors) {
    let (new, old) = (At::root(new), At::root(old));
    if context.part.is("status") {
        annotation_changes(&new, &old, errors);
        status::pod_status(&new, &old, errors);
    } else if context.part.is("ephemeralcontainers") {
        ephemeral_containers(&new, &old, errors);
    } else if context.part.is("resize") {
        resize(&new, &old, errors);
    } else {
        main(&new, &old, errors);
    }
}

fn annotation_changes(new: &At<'_, '_>, old: &At<'_, '_>, errors: &mut Errors) {
    annotations::annotation_changes(&new.field("metadata"), &old.field("metadata"), errors);
    let (metadata, spec) = (new.field("metadata"), new.field("spec"));
    annotations::pod_annotations(&metadata.field("annotations"), &spec, errors);
}

fn main(new: &At<'_, '_>, old: &At<'_, '_>, errors: &mut Errors) {
    spec::pod(new, errors);
    annotation_changes(new, old, errors);
    let (new_spec, old_spec) = (new.field("spec"), old.field("spec"));
    for list in ["containers", "initContainers"] {
        let (new, old) = (new_spec.field(list), old_spec.field(list));
        if new.len() != old.len() {
            new.forbidden(errors, "pod updates may not add or remove containers");
            return;
        }
        for container in new.items() {
            container.field("image").required_text(errors);
            container::image_padding(&container, errors);
        }
    }
    let (deadline, before) = (new_spec.field("activeDeadlineSeconds"), old_spec.field("activeDeadlineSeconds"));
    if deadline.exists() {
        if !(0..=i64::from(i32::MAX)).contains(&deadline.int()) {
            deadline.invalid_int(errors, &names::between(0, i64::from(i32::MAX)));
            return;
        }
        if before.exists() && before.int() < deadline.int() {
            deadline.invalid_int(errors, "must be less than or equal to previous value");
            return;
        }
    } else if before.exists() {
        deadline.invalid(errors, "must not update from a positive integer to nil value");
    }
    added_tolerations(&new_spec.field("tolerations"), &old_spec.field("tolerations"), errors);
    removed_gates(&new_spec.field("schedulingGates"), &old_spec.field("schedulingGates"), errors);
    rest_is_same(&new_spec, &old_spec, errors);
}

fn added_tolerations(new: &At<'_, '_>, old: &At<'_, '_>, errors: &mut Errors) {
    const TIMED: &str = "tolerationSeconds";
    let without_time = |toleration: &Value| {
        let mut toleration = toleration.clone();
        remove(&mut toleration, TIMED);
        toleration
    };
    let kept = old.items().all(|old| {
        let old = without_time(old.value());
        new.items().any(|new| semantic_eq(&without_time(new.value()), &old))
    });
    if kept {
        affinity::tolerations(new, errors);
    } else {
        new.forbidden(errors, "existing toleration can not be modified except its tolerationSeconds");
    }
}

fn removed_gates(new: &At<'_, '_>, old: &At<'_, '_>, errors: &mut Errors) {
    for gate in new.items() {
        let name = gate.field("name");
        if !old.items().any(|old| old.field("name").str() == name.str()) {
            name.forbidden(
                errors,
                &format!("only deletion is allowed, but found new scheduling gate '{}'", name.str()),
            );
        }
    }
}

/// With what may change put back, nothing else may differ.
fn rest_is_same(new: &At<'_, '_>, old: &At<'_, '_>, errors: &mut Errors) {
    if semantic_eq(new.value(), old.value()) {
        return;
    }
    let mut munged = new.value().clone();
    let before = |key: &str| old.value().get(key).unwrap_or(&NULL);
    let put_back = |munged: &mut Value, key: &str| match old.value().get(key) {
        Some(value) => set(munged, key, value.clone()),
        None => remove(munged, key),
    };
    for list in ["containers", "initContainers"] {
        for (container, old) in
            crate::rules::edit::items_mut(&mut munged, list).zip(meta::list_at(old.value(), &[list]))
        {
            set(container, "image", old.get("image").cloned().unwrap_or_default());
        }
    }
    for key in ["activeDeadlineSeconds", "schedulingGates", "tolerations"] {
        put_back(&mut munged, key);
    }
    const GRACE: &str = "terminationGracePeriodSeconds";
    if before(GRACE).as_i64().is_some_and(|g| g < 0) && munged.get(GRACE).and_then(Value::as_i64) == Some(1) {
        put_back(&mut munged, GRACE);
    }
    if !old.field("schedulingGates").is_empty() {
        narrowed_while_gated(new, old, &mut munged, errors);
    }
    if !semantic_eq(&munged, old.value()) {
        let changed = changed_fields(&munged, old.value());
        new.forbidden(errors, &format!("{UPDATABLE}\n{changed}"));
    }
}

/// A pod that waits may be kept to fewer nodes.
fn narrowed_while_gated(new: &At<'_, '_>, old: &At<'_, '_>, munged: &mut Value, errors: &mut Errors) {
    let (selector, before) = (new.field("nodeSelector"), old.field("nodeSelector"));
    if !semantic_eq(selector.value(), before.value()) {
        let kept = before.entries().all(|(key, value)| selector.entry(key).value() == value.value());
        if !kept {
            let says = "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
            selector.invalid(errors, says);
        }
        match old.value().get("nodeSelector") {
            Some(value) => set(munged, "nodeSelector", value.clone()),
            None => remove(munged, "nodeSelector"),
        }
    }
    let (affinity, before) = (new.field("affinity"), old.field("affinity"));
    let (node, old_node) = (affinity.field("nodeAffinity"), before.field("nodeAffinity"));
    if semantic_eq(node.value(), old_node.value()) {
        return;
    }
    let required = node.field("requiredDuringSchedulingIgnoredDuringExecution");
    let terms = required.field("nodeSelectorTerms");
    let old_terms =
        meta::list_at(old_node.value(), &["requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms"]);
    if !old_terms.is_empty() && old_terms.len() != terms.len() {
        terms.invalid(errors, "no additions/deletions to non-empty NodeSelectorTerms list are allowed");
    } else if !old_terms.is_empty() {
        for (term, old) in terms.items().zip(old_terms) {
            if !affinity::narrows(term.value(), old) {
                term.invalid(errors, "only additions are allowed (no mutations or deletions)");
            }
        }
    }
    if let Some(affinity) = crate::rules::edit::made_mut(munged, "affinity") {
        match before.value().get("nodeAffinity") {
            Some(value) => set(affinity, "nodeAffinity", value.clone()),
            None => remove(affinity, "nodeAffinity"),
        }
    }
}

/// The names of the fields that differ, a line each.
fn changed_fields(new: &Value, old: &Value) -> String {
    let keys = |v: &Value| v.as_object().map(|o| o.keys().cloned().collect::<Vec<_>>()).unwrap_or_default();
    let mut names = keys(new);
    names.extend(keys(old));
    names.sort_unstable();
    names.dedup();
    names.retain(|k| !semantic_eq(new.get(k).unwrap_or(&NULL), old.get(k).unwrap_or(&NULL)));
    names.iter().map(|name| format!("  spec.{name}\n")).collect()
}

fn ephemeral_containers(new: &At<'_, '_>, old: &At<'_, '_>, errors: &mut Errors) {
    if annotations::is_mirror(old.value()) {
        errors.forbidden(&Path::new("[]"), "static pods do not support ephemeral containers");
        return;
    }
    spec::pod(new, errors);
    annotation_changes(new, old, errors);
    let spec = new.field("spec");
    let at = spec.field("ephemeralContainers");
    for container in meta::list_at(old.value(), &["spec", "ephemeralContainers"]) {
        let name = meta::str_at(container, &["name"]);
        let quoted = crate::field::quote(name);
        match at.items().rfind(|c| c.field("name").str() == name) {
            None => at.forbidden(errors, &format!("existing ephemeral containers {quoted} may not be removed\n")),
            Some(kept) if !semantic_eq(kept.value(), container) => {
                at.forbidden(errors, &format!("existing ephemeral containers {quoted} may not be changed\n"));
            }
            Some(_) => {}
        }
    }
}

fn resize(new: &At<'_, '_>, old: &At<'_, '_>, errors: &mut Errors) {
    const ONLY: &str = "only cpu and memory resources are mutable";
    if annotations::is_mirror(old.value()) {
        errors.forbidden(&Path::new("[]"), "static pods cannot be resized");
        return;
    }
    let (spec, old_spec) = (new.field("spec"), old.field("spec"));
    if old_spec.field("os").field("name").str() == "windows" {
        errors.forbidden(&Path::new("[]"), "windows pods cannot be resized");
        return;
    }
    spec::pod(new, errors);
    let qos = meta::str_at(old.value(), &["status", "qosClass"]);
    let qos = if qos.is_empty() { prepare::qos_class(old.value()) } else { qos };
    if qos != prepare::qos_class(new.value()) {
        spec.invalid_text(errors, qos, "Pod QOS Class may not change as a result of resizing");
    }
    let running = meta::list_at(old.value(), &["status", "containerStatuses"])
        .iter()
        .find(|s| s.pointer("/state/running").is_some_and(|r| !r.is_null()));
    if running.is_some_and(|s| s.get("resources").is_none_or(Value::is_null)) {
        spec.forbidden(errors, "Pod running on node without support for resize");
    }
    let mut munged = spec.value().clone();
    resize_of_pod(&spec, &old_spec, &mut munged, errors);
    if !old.field("status").field("nodeAllocatableResourceClaimStatuses").is_empty() {
        spec.forbidden(errors, "pods with node allocatable resource claims cannot be resized");
    }
    let before = errors.0.len();
    same_containers(&spec, &old_spec, errors);
    if errors.0.len() > before {
        return;
    }
    for list in ["initContainers", "containers"] {
        for (container, old) in spec.field(list).items().zip(meta::list_at(old_spec.value(), &[list])) {
            let resources = container.field("resources");
            for part in ["requests", "limits"] {
                if removed(resources.value(), old.get("resources").unwrap_or(&NULL), part) {
                    let noun = if part == "requests" { "requests" } else { "limits" };
                    resources.field(part).forbidden(errors, &format!("resource {noun} cannot be removed"));
                }
            }
        }
    }
    for list in ["containers", "initContainers"] {
        let at = spec.field(list);
        for (i, (container, old)) in
            crate::rules::edit::items_mut(&mut munged, list).zip(meta::list_at(old_spec.value(), &[list])).enumerate()
        {
            let modified = !semantic_eq(container, old);
            put_back_compute(container, old);
            let same = semantic_eq(container, old);
            if list == "containers" {
                if !same {
                    spec.forbidden(errors, ONLY);
                }
                continue;
            }
            if !same {
                let says = "only cpu and memory resources for init or sidecar containers are mutable";
                at.item(i).forbidden(errors, says);
            }
            if modified && !is_sidecar(container) {
                for policy in meta::list_at(container, &["resizePolicy"]) {
                    if meta::str_at(policy, &["restartPolicy"]) == "RestartContainer" {
                        let says =
                            "non-sidecar init containers with a resize policy of RestartContainer cannot be resized";
                        at.item(i).forbidden(errors, says);
                    }
                }
            }
        }
    }
    if errors.is_empty() && !semantic_eq(&munged, old_spec.value()) {
        spec.forbidden(errors, ONLY);
    }
}

fn resize_of_pod(spec: &At<'_, '_>, old: &At<'_, '_>, munged: &mut Value, errors: &mut Errors) {
    let (own, before) = (spec.field("resources"), old.field("resources"));
    let has = |at: &At<'_, '_>| !at.field("requests").is_empty() || !at.field("limits").is_empty();
    if !has(&own) && !has(&before) {
        return;
    }
    if before.exists() && !own.exists() {
        own.forbidden(errors, "pod-level resources cannot be removed");
        return;
    }
    if before.exists() {
        for part in ["requests", "limits"] {
            if removed(own.value(), before.value(), part) {
                let says = format!("pod-level resource {part} cannot be removed");
                own.field(part).forbidden(errors, &says);
            }
        }
    }
    put_back_compute(munged, old.value());
    if !semantic_eq(munged.get("resources").unwrap_or(&NULL), before.value()) {
        spec.forbidden(errors, "only cpu and memory resources are mutable at pod-level");
    }
}

fn same_containers(spec: &At<'_, '_>, old: &At<'_, '_>, errors: &mut Errors) {
    for list in ["containers", "initContainers"] {
        let (new, old) = (spec.field(list), old.field(list));
        if new.len() != old.len() {
            new.forbidden(errors, &format!("{list} may not be added or removed on resize"));
            continue;
        }
        for (new, old) in new.items().zip(old.items()) {
            if new.field("name").str() != old.field("name").str() {
                new.field("name").forbidden(errors, &format!("{list} may not be renamed or reordered on resize"));
            }
        }
    }
}

/// Whether `part` of some resources lacks what it had.
fn removed(new: &Value, old: &Value, part: &str) -> bool {
    let (new, old) = (At::root(new), At::root(old));
    let new = new.field(part);
    old.field(part).entries().any(|(name, _)| !new.entry(name).exists())
}

/// Gives the `resources` of `object` the processors and memory that `old` has.
fn put_back_compute(object: &mut Value, old: &Value) {
    let mut resources = serde_json::Map::new();
    for part in ["limits", "requests"] {
        let entries = |v: &Value| v.get("resources").and_then(|r| r.get(part)).and_then(Value::as_object).cloned();
        let mut amounts = entries(object).unwrap_or_default();
        amounts.retain(|name, _| !matches!(name.as_str(), "cpu" | "memory"));
        for (name, amount) in entries(old).unwrap_or_default() {
            if matches!(name.as_str(), "cpu" | "memory") && quantity(&amount).is_some() {
                amounts.insert(name, amount);
            }
        }
        if !amounts.is_empty() {
            resources.insert(part.to_owned(), amounts.into());
        }
    }
    set(object, "resources", resources);
}
