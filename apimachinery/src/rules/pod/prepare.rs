//! What the server sets and resets when a pod is written.

use serde_json::{Value, json};

use super::resources::quantity;
use crate::meta;
use crate::rules::WriteContext;
use crate::rules::at::At;
use crate::rules::edit::{items_mut, made_mut, remove, set, some_mut};

/// A new pod is pending, has a QoS class, and selectors that name label keys are completed from its labels.
pub(in crate::rules) fn pod_prepare_create(pod: &mut Value, context: &WriteContext<'_>) {
    let qos = qos_class(pod);
    let mut status = json!({"phase": "Pending", "qosClass": qos});
    let gated = !meta::list_at(pod, &["spec", "schedulingGates"]).is_empty();
    if gated {
        status["conditions"] = json!([{
            "type": "PodScheduled",
            "status": "False",
            "lastProbeTime": null,
            "lastTransitionTime": context.now,
            "reason": "SchedulingGated",
            "message": "Scheduling is blocked due to non-empty scheduling gates",
        }]);
    }
    set(pod, "status", status);
    let labels = pod.pointer("/metadata/labels").cloned().unwrap_or(Value::Null);
    let notes = pod.pointer("/metadata/annotations").cloned().unwrap_or(Value::Null);
    if let Some(spec) = some_mut(pod, "spec") {
        drop_disabled(spec, None);
        complete_selectors(spec, &labels);
        app_armor_from_annotations(spec, &notes);
    }
}

/// Each subresource of a pod changes only its own part.
pub(in crate::rules) fn pod_prepare_update(new: &mut Value, old: &Value, context: &WriteContext<'_>) {
    let old_spec = old.get("spec").unwrap_or(&Value::Null);
    if context.part.is("status") {
        keep_status(new, old);
        return;
    }
    let keep_rest = |new: &mut Value, spec: Value| {
        set(new, "spec", spec);
        if let Some(status) = old.get("status") {
            set(new, "status", status.clone());
        }
        keep_metadata(new, old);
    };
    if context.part.is("ephemeralcontainers") {
        let mut spec = old_spec.clone();
        match new.pointer("/spec/ephemeralContainers").cloned() {
            Some(containers) => set(&mut spec, "ephemeralContainers", containers),
            None => remove(&mut spec, "ephemeralContainers"),
        }
        keep_rest(new, spec);
    } else if context.part.is("resize")
        && let Some(spec) = resized(new.get("spec").unwrap_or(&Value::Null), old_spec)
    {
        keep_rest(new, spec);
    }
    if let Some(spec) = some_mut(new, "spec") {
        drop_disabled(spec, Some(old_spec));
    }
}

/// What subresources may not change in metadata.
fn keep_metadata(new: &mut Value, old: &Value) {
    let Some(metadata) = made_mut(new, "metadata") else { return };
    for key in ["deletionTimestamp", "generation", "labels", "annotations", "finalizers", "ownerReferences"] {
        match old.pointer("/metadata").and_then(|m| m.get(key)) {
            Some(value) => set(metadata, key, value.clone()),
            None => remove(metadata, key),
        }
    }
}

/// Old kubelets forget some of what they were told.
fn keep_status(new: &mut Value, old: &Value) {
    let Some(status) = made_mut(new, "status") else { return };
    let old_status = old.get("status").unwrap_or(&Value::Null);
    let number = |v: &Value| v.get("observedGeneration").and_then(Value::as_i64).unwrap_or(0);
    if meta::str_at(status, &["qosClass"]).is_empty()
        && let Some(qos) = old_status.get("qosClass")
    {
        set(status, "qosClass", qos.clone());
    }
    if number(status) == 0 && number(old_status) != 0 {
        set(status, "observedGeneration", number(old_status));
    }
    let mut known: Vec<&Value> = meta::list_at(old_status, &["conditions"]).iter().collect();
    for condition in items_mut(status, "conditions") {
        let Some(i) = known.iter().position(|k| k.get("type") == condition.get("type")) else { continue };
        let generation = number(known.remove(i));
        if number(condition) == 0 && generation != 0 {
            set(condition, "observedGeneration", generation);
        }
    }
}

/// The old spec with the new resources; nothing if containers were added, removed or renamed, which validation refuses.
fn resized(new: &Value, old: &Value) -> Option<Value> {
    let mut spec = old.clone();
    match new.get("resources") {
        Some(resources) => set(&mut spec, "resources", resources.clone()),
        None => remove(&mut spec, "resources"),
    }
    for list in ["containers", "initContainers"] {
        let containers = meta::list_at(new, &[list]);
        if containers.len() != meta::list_at(old, &[list]).len() {
            return None;
        }
        let renamed =
            containers.iter().zip(meta::list_at(old, &[list])).any(|(new, old)| new.get("name") != old.get("name"));
        if renamed {
            set(&mut spec, list, containers.to_vec());
            continue;
        }
        for (container, new) in items_mut(&mut spec, list).zip(containers) {
            for key in ["resources", "resizePolicy"] {
                match new.get(key) {
                    Some(value) => set(container, key, value.clone()),
                    None => remove(container, key),
                }
            }
        }
    }
    Some(spec)
}

/// Fields behind feature gates that are off in 1.36; what an object had already stays.
pub(in crate::rules) fn drop_disabled(spec: &mut Value, old: Option<&Value>) {
    let used = |pointer: &str| old.is_some_and(|old| old.pointer(pointer).is_some_and(|v| !v.is_null()));
    if !used("/schedulingGroup") {
        remove(spec, "schedulingGroup");
    }
    let stop_signals = |spec: &Value| {
        ["containers", "initContainers", "ephemeralContainers"]
            .iter()
            .flat_map(|list| meta::list_at(spec, &[list]))
            .any(|c| c.pointer("/lifecycle/stopSignal").is_some_and(|s| !s.is_null()))
    };
    if !old.is_some_and(stop_signals) {
        for list in ["containers", "initContainers", "ephemeralContainers"] {
            for container in items_mut(spec, list) {
                let Some(lifecycle) = some_mut(container, "lifecycle") else { continue };
                if some_mut(lifecycle, "stopSignal").is_none() {
                    continue;
                }
                remove(lifecycle, "stopSignal");
                if lifecycle.as_object().is_some_and(|l| l.values().all(Value::is_null)) {
                    remove(container, "lifecycle");
                }
            }
        }
    }
    for key in ["clusterTrustBundle", "podCertificate"] {
        let has = |spec: &Value| {
            meta::list_at(spec, &["volumes"])
                .iter()
                .flat_map(|v| meta::list_at(v, &["projected", "sources"]))
                .any(|s| s.get(key).is_some_and(|v| !v.is_null()))
        };
        if old.is_some_and(has) {
            continue;
        }
        for volume in items_mut(spec, "volumes") {
            if let Some(projected) = some_mut(volume, "projected") {
                for source in items_mut(projected, "sources") {
                    remove(source, key);
                }
            }
        }
    }
}

/// Turns `matchLabelKeys` and `mismatchLabelKeys` into requirements on the pod's own labels.
fn complete_selectors(spec: &mut Value, labels: &Value) {
    for constraint in items_mut(spec, "topologySpreadConstraints") {
        complete_selector(constraint, labels);
    }
    let Some(affinity) = some_mut(spec, "affinity") else { return };
    for kind in ["podAffinity", "podAntiAffinity"] {
        let Some(pods) = some_mut(affinity, kind) else { continue };
        for term in items_mut(pods, "preferredDuringSchedulingIgnoredDuringExecution") {
            if let Some(term) = some_mut(term, "podAffinityTerm") {
                complete_selector(term, labels);
            }
        }
        for term in items_mut(pods, "requiredDuringSchedulingIgnoredDuringExecution") {
            complete_selector(term, labels);
        }
    }
}

fn complete_selector(term: &mut Value, labels: &Value) {
    let mut added = Vec::new();
    for (keys, operator) in [("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")] {
        for key in meta::list_at(term, &[keys]) {
            if let Some(value) = key.as_str().and_then(|key| labels.get(key)) {
                added.push(json!({"key": key, "operator": operator, "values": [value]}));
            }
        }
    }
    if added.is_empty() {
        return;
    }
    let Some(selector) = some_mut(term, "labelSelector") else { return };
    let mut expressions = meta::list_at(selector, &["matchExpressions"]).to_vec();
    expressions.extend(added);
    set(selector, "matchExpressions", expressions);
}

/// Containers that are confined by the old annotation only get the field.
fn app_armor_from_annotations(spec: &mut Value, notes: &Value) {
    const PREFIX: &str = "container.apparmor.security.beta.kubernetes.io/";
    if notes.as_object().is_none_or(|n| n.is_empty()) || meta::str_at(spec, &["os", "name"]) == "windows" {
        return;
    }
    let of_pod = spec.pointer("/securityContext/appArmorProfile").cloned().unwrap_or(Value::Null);
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for container in items_mut(spec, list) {
            let key = format!("{PREFIX}{}", meta::str_at(container, &["name"]));
            let has_field = container.pointer("/securityContext/appArmorProfile").is_some_and(|p| !p.is_null());
            let Some(note) = notes.get(&key).and_then(Value::as_str).filter(|_| !has_field) else { continue };
            let profile = match note {
                "unconfined" => json!({"type": "Unconfined"}),
                "" | "runtime/default" => json!({"type": "RuntimeDefault"}),
                other => match other.strip_prefix("localhost/").filter(|p| !p.is_empty() && p.trim() == *p) {
                    Some(path) => json!({"type": "Localhost", "localhostProfile": path}),
                    None => continue,
                },
            };
            if profile != of_pod
                && let Some(context) = made_mut(container, "securityContext")
            {
                set(context, "appArmorProfile", profile);
            }
        }
    }
}

/// How a pod is treated when its node runs short: by what it asks for and what limits it has.
pub(crate) fn qos_class(pod: &Value) -> &'static str {
    let root = At::root(pod);
    let spec = root.field("spec");
    let positive = |list: &At<'_, '_>, name: &str| quantity(list.entry(name).value()).filter(|q| q.sign() > 0);
    let mut holders: Vec<&Value> = Vec::new();
    let own = spec.field("resources");
    if own.exists() {
        holders.push(own.value());
    } else {
        for list in ["containers", "initContainers"] {
            holders.extend(
                meta::list_at(spec.value(), &[list]).iter().map(|c| c.get("resources").unwrap_or(&Value::Null)),
            );
        }
    }
    const COMPUTE: [&str; 2] = ["cpu", "memory"];
    let mut guaranteed = true;
    let mut any = false;
    let mut sums: [[Option<crate::quantity::Quantity>; 2]; 2] = Default::default();
    for holder in holders {
        let at = At::root(holder);
        for (i, list) in ["requests", "limits"].into_iter().enumerate() {
            let list = at.field(list);
            for (j, name) in COMPUTE.into_iter().enumerate() {
                let amount = positive(&list, name);
                any |= amount.is_some();
                let skipped = own.exists() && list.is_empty();
                if i == 1 && amount.is_none() && !skipped {
                    guaranteed = false;
                }
                if let Some(amount) = amount {
                    sums[i][j] = Some(sums[i][j].take().map_or(amount.clone(), |sum| sum.add(&amount)));
                }
            }
        }
    }
    if !any {
        return "BestEffort";
    }
    let [requests, limits] = &sums;
    let agree = requests.iter().zip(limits).all(|(r, l)| r.is_none() || r == l);
    let as_many = requests.iter().flatten().count() == limits.iter().flatten().count();
    if guaranteed && agree && as_many { "Guaranteed" } else { "Burstable" }
}
