//! StatefulSets.

use serde_json::{Value, json};

use super::template_default;
use crate::field::Errors;
use crate::rules::at::{At, semantic_eq};
use crate::rules::claim::{claim_default, claim_spec};
use crate::rules::edit::{fill, fill_text, items_mut, made_mut, remove, set, some_mut};
use crate::rules::{WriteContext, check, names, pod};

pub(in crate::rules) fn stateful_set_default(object: &mut Value) {
    let Some(spec) = made_mut(object, "spec") else { return };
    fill_text(spec, "podManagementPolicy", "OrderedReady");
    if let Some(strategy) = made_mut(spec, "updateStrategy") {
        let kind = strategy.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
        if kind.is_empty() {
            set(strategy, "type", "RollingUpdate");
            made_mut(strategy, "rollingUpdate");
        }
        if (kind.is_empty() || kind == "RollingUpdate")
            && let Some(rolling) = some_mut(strategy, "rollingUpdate")
        {
            fill(rolling, "partition", 0);
        }
    }
    if let Some(retention) = made_mut(spec, "persistentVolumeClaimRetentionPolicy") {
        fill_text(retention, "whenDeleted", "Retain");
        fill_text(retention, "whenScaled", "Retain");
    }
    fill(spec, "replicas", 1);
    fill(spec, "revisionHistoryLimit", 10);
    template_default(spec);
    for claim in items_mut(spec, "volumeClaimTemplates") {
        fill_text(claim, "kind", "PersistentVolumeClaim");
        fill_text(claim, "apiVersion", "v1");
        claim_default(claim);
    }
}

/// `maxUnavailable` of a rolling update waits behind a feature gate.
fn drop_max_unavailable(object: &mut Value, old: Option<&Value>) {
    let used = |o: &Value| o.pointer("/spec/updateStrategy/rollingUpdate/maxUnavailable").is_some_and(|v| !v.is_null());
    if old.is_some_and(used) {
        return;
    }
    let rolling =
        some_mut(object, "spec").and_then(|s| some_mut(s, "updateStrategy")).and_then(|s| some_mut(s, "rollingUpdate"));
    if let Some(rolling) = rolling {
        remove(rolling, "maxUnavailable");
    }
}

pub(in crate::rules) fn stateful_set_prepare_create(object: &mut Value, context: &WriteContext<'_>) {
    super::workload_prepare_create(object, context);
    drop_max_unavailable(object, None);
}

pub(in crate::rules) fn stateful_set_prepare_update(new: &mut Value, old: &Value, context: &WriteContext<'_>) {
    super::workload_prepare_update(new, old, context);
    drop_max_unavailable(new, Some(old));
}

pub(in crate::rules) fn stateful_set_validate(object: &Value, errors: &mut Errors) {
    let root = At::root(object);
    stateful_set_spec(&root.field("spec"), false, errors);
}

/// A StatefulSet's `spec`. What an update cannot change is not looked at again.
fn stateful_set_spec(spec: &At<'_, '_>, is_update: bool, errors: &mut Errors) {
    let management = spec.field("podManagementPolicy");
    match management.str() {
        "" => management.required(errors, ""),
        "OrderedReady" | "Parallel" => {}
        _ => management.invalid_str(errors, "must be 'OrderedReady' or 'Parallel'"),
    }
    let strategy = spec.field("updateStrategy");
    let rolling = strategy.field("rollingUpdate");
    match strategy.field("type").str() {
        "" => strategy.required(errors, ""),
        "OnDelete" => {
            if rolling.exists() {
                rolling.invalid(errors, "only allowed for updateStrategy 'RollingUpdate'");
            }
        }
        "RollingUpdate" => {
            rolling.field("partition").non_negative(errors);
            let unavailable = rolling.field("maxUnavailable");
            if unavailable.exists() {
                check::positive_int_or_percent(&unavailable, errors);
                if check::int_or_percent(unavailable.value()) == 0 {
                    unavailable.invalid(errors, "cannot be 0");
                }
                check::percent_at_most_100(&unavailable, errors);
            }
        }
        _ => strategy.invalid(errors, "must be 'RollingUpdate' or 'OnDelete'"),
    }
    let retention = spec.field("persistentVolumeClaimRetentionPolicy");
    if retention.exists() {
        retention.field("whenDeleted").one_of(errors, &["Retain", "Delete"]);
        retention.field("whenScaled").one_of(errors, &["Retain", "Delete"]);
    }
    let claims = spec.field("volumeClaimTemplates");
    if !is_update {
        for claim in claims.items() {
            claim_spec(&claim.field("spec"), errors);
        }
    }
    spec.field("replicas").non_negative(errors);
    spec.field("minReadySeconds").non_negative(errors);
    let start = spec.field("ordinals").value().get("start").and_then(Value::as_i64).unwrap_or(0);
    if start < 0 {
        spec.field("ordinals.start").with_value(&start.into()).non_negative(errors);
    }
    if !is_update {
        spec.field("serviceName").optional_name(errors, names::dns1123_label);
    }
    let selected = super::selector(spec, "empty selector is invalid for statefulset", "", errors);
    let template = spec.field("template");
    if let Some(selector) = selected {
        let controlled = as_controlled(template.value(), claims.value());
        let shown = template.with_value(&controlled);
        super::template_is_selected(&shown, &selector, errors);
        pod::pod_template(&shown, errors);
        // The stock server looks at these twice.
        pod::pod_template_metadata(&shown, errors);
    }
    super::runs_always(&template, "StatefulSet", errors);
}

/// The template with what the controller sets in each pod: its name, the service, the volumes of its claims.
fn as_controlled(template: &Value, claims: &Value) -> Value {
    let mut template = template.clone();
    let Some(spec) = some_mut(&mut template, "spec") else { return template };
    remove(spec, "subdomain");
    remove(spec, "hostname");
    let name = |v: &Value| v.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
    let claimed: Vec<String> =
        claims.as_array().into_iter().flatten().filter_map(|c| c.get("metadata")).map(name).collect();
    if claimed.is_empty() {
        return template;
    }
    let mut volumes: Vec<Value> =
        claimed.iter().map(|n| json!({"name": n, "persistentVolumeClaim": {"claimName": n}})).collect();
    let own = spec.get("volumes").and_then(Value::as_array).cloned().unwrap_or_default();
    volumes.extend(own.into_iter().filter(|v| !claimed.contains(&name(v))));
    set(spec, "volumes", volumes);
    template
}

pub(in crate::rules) fn stateful_set_validate_update(
    new: &Value,
    old: &Value,
    context: &WriteContext<'_>,
    errors: &mut Errors,
) {
    const MUTABLE: &[&str] = &[
        "replicas",
        "ordinals",
        "template",
        "updateStrategy",
        "revisionHistoryLimit",
        "persistentVolumeClaimRetentionPolicy",
        "minReadySeconds",
    ];
    let (at, before) = (At::root(new), At::root(old));
    if context.part.is("status") {
        stateful_set_status(&at.field("status"), &before.field("status"), errors);
        return;
    }
    let spec = at.field("spec");
    stateful_set_spec(&spec, true, errors);
    let rest = |v: &Value| {
        let mut rest = v.get("spec").cloned().unwrap_or_default();
        MUTABLE.iter().for_each(|field| remove(&mut rest, field));
        rest
    };
    if !semantic_eq(&rest(new), &rest(old)) {
        spec.forbidden(errors, "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden");
    }
}

fn stateful_set_status(status: &At<'_, '_>, before: &At<'_, '_>, errors: &mut Errors) {
    super::counters(
        status,
        &[
            "replicas",
            "readyReplicas",
            "currentReplicas",
            "updatedReplicas",
            "availableReplicas",
            "observedGeneration",
            "collisionCount",
        ],
        errors,
    );
    super::at_most(
        status,
        &["readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"],
        "replicas",
        "cannot be greater than status.replicas",
        errors,
    );
    super::at_most(
        status,
        &["availableReplicas"],
        "readyReplicas",
        "cannot be greater than status.readyReplicas",
        errors,
    );
    super::collisions_grow(status, before, errors);
}
