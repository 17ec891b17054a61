//! Jobs.

use serde_json::Value;

use super::{fill_labels, job_status, template_default, template_labels};
use crate::field::Errors;
use crate::meta;
use crate::rules::at::{At, semantic_eq};
use crate::rules::edit::{fill, fill_text, items_mut, made_mut, remove, set, some_mut};
use crate::rules::{WriteContext, check, names, pod};
use crate::selector::LabelSelector;

const UID_LABEL: &str = "batch.kubernetes.io/controller-uid";
const NAME_LABEL: &str = "batch.kubernetes.io/job-name";
const OLD_UID_LABEL: &str = "controller-uid";
const OLD_NAME_LABEL: &str = "job-name";

const INDEXED_MAX: i64 = 100_000;
const HIGH_COMPLETIONS_MAX: i64 = 10_000;
const RULES_MAX: usize = 20;
const CODES_MAX: usize = 255;

pub(in crate::rules) fn job_default(job: &mut Value) {
    let Some(spec) = made_mut(job, "spec") else { return };
    job_spec_static_default(spec);
    let unset = |spec: &Value, key: &str| spec.get(key).is_none_or(Value::is_null);
    if unset(spec, "completions") && unset(spec, "parallelism") {
        fill(spec, "completions", 1);
    }
    fill(spec, "parallelism", 1);
    let limit = if unset(spec, "backoffLimitPerIndex") { 6 } else { i32::MAX };
    fill(spec, "backoffLimit", limit);
    fill(spec, "completionMode", "NonIndexed");
    fill(spec, "suspend", false);
    let replacement = if unset(spec, "podFailurePolicy") { "TerminatingOrFailed" } else { "Failed" };
    fill(spec, "podReplacementPolicy", replacement);
    fill(spec, "manualSelector", false);
    if let Some(labels) = template_labels(spec) {
        fill_labels(job, &labels);
    }
}

/// What a job's spec gets wherever it stands (in a CronJob, the rest is left to the jobs that it makes).
pub(super) fn job_spec_static_default(spec: &mut Value) {
    template_default(spec);
    if let Some(policy) = some_mut(spec, "podFailurePolicy") {
        for rule in items_mut(policy, "rules") {
            for condition in items_mut(rule, "onPodConditions") {
                fill_text(condition, "status", "True");
            }
        }
    }
}

/// Pods of a job have its name and uid; it selects them by the uid.
pub(in crate::rules) fn job_prepare_create(job: &mut Value, context: &WriteContext<'_>) {
    super::workload_prepare_create(job, context);
    let (name, uid) = (meta::name(job).to_owned(), meta::uid(job).to_owned());
    let has_labels = |at: &[&str]| meta::at(job, at).and_then(Value::as_object).is_some_and(|l| !l.is_empty());
    let unlabelled = !has_labels(&["metadata", "labels"]) && !has_labels(&["spec", "template", "metadata", "labels"]);
    let Some(spec) = some_mut(job, "spec") else { return };
    if spec.get("manualSelector").and_then(Value::as_bool).unwrap_or(false) {
        return;
    }
    let labels = made_mut(spec, "template").and_then(|t| made_mut(t, "metadata")).and_then(|m| made_mut(m, "labels"));
    if let Some(labels) = labels {
        for key in [OLD_NAME_LABEL, NAME_LABEL] {
            fill(labels, key, name.as_str());
        }
        for key in [OLD_UID_LABEL, UID_LABEL] {
            fill(labels, key, uid.as_str());
        }
    }
    if let Some(selected) = made_mut(spec, "selector").and_then(|s| made_mut(s, "matchLabels")) {
        fill(selected, UID_LABEL, uid);
    }
    // A job without labels has those of its template, whatever they become.
    let given = spec.pointer("/template/metadata/labels").cloned();
    if let (true, Some(given), Some(metadata)) = (unlabelled, given, made_mut(job, "metadata")) {
        set(metadata, "labels", given);
    }
}

pub(in crate::rules) fn job_validate(object: &Value, errors: &mut Errors) {
    let root = At::root(object);
    generated_selector(&root, errors);
    let spec = root.field("spec");
    selected_job_spec(&spec, errors);
    indexed_name(&root, errors);
}

/// The last pod of an indexed job has the longest hostname.
fn indexed_name(root: &At<'_, '_>, errors: &mut Errors) {
    let (metadata, spec) = (root.field("metadata"), root.field("spec"));
    let (name, completions) = (metadata.field("name"), spec.field("completions").int());
    if spec.field("completionMode").str() == "Indexed" && completions > 0 {
        let hostname = format!("{}-{}", name.str(), completions - 1);
        if !names::dns1123_label(&hostname).is_empty() {
            name.invalid_str(errors, &format!("will not able to create pod with invalid DNS label: {hostname}"));
        }
    }
}

fn generated_selector(root: &At<'_, '_>, errors: &mut Errors) {
    let (metadata, spec) = (root.field("metadata"), root.field("spec"));
    let selector = spec.field("selector");
    if spec.field("manualSelector").bool() || !selector.exists() {
        return;
    }
    let (uid, name) = (metadata.field("uid"), metadata.field("name").str());
    uid.required_text(errors);
    let template = spec.field("template");
    let template_metadata = template.field("metadata");
    let labels = template_metadata.field("labels");
    let expected = [(OLD_UID_LABEL, uid.str()), (OLD_NAME_LABEL, name), (UID_LABEL, uid.str()), (NAME_LABEL, name)];
    for (key, value) in expected {
        let label = labels.entry(key);
        let says = format!("must be '{value}'");
        match label.opt_str() {
            None => label.required(errors, &says),
            Some(found) if found != value => errors.invalid(&label.path(), labels.value(), &says),
            Some(_) => {}
        }
    }
    let parsed = LabelSelector::from_object(selector.value()).ok();
    let lookup = |key: &str| expected.iter().find(|(k, _)| *k == key).map(|(_, v)| *v);
    if parsed.is_some_and(|s| !s.matches(lookup)) {
        selector.invalid(errors, "`selector` not auto-generated");
    }
}

/// A job's `spec` with its selector.
fn selected_job_spec(spec: &At<'_, '_>, errors: &mut Errors) {
    job_spec(spec, errors);
    let selector = spec.field("selector");
    if selector.exists() {
        check::label_selector(&selector, errors);
    } else {
        selector.required(errors, "");
    }
    let parsed = if selector.exists() {
        LabelSelector::from_object(selector.value()).ok()
    } else {
        Some(LabelSelector::nothing())
    };
    if let Some(parsed) = parsed {
        super::template_is_selected(&spec.field("template"), &parsed, errors);
    }
}

/// A job's `spec` as far as it is the same in a CronJob.
pub(super) fn job_spec(spec: &At<'_, '_>, errors: &mut Errors) {
    for field in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ] {
        spec.field(field).non_negative(errors);
    }
    let (per_index, max_failed) = (spec.field("backoffLimitPerIndex"), spec.field("maxFailedIndexes"));
    if max_failed.exists() && !per_index.exists() {
        per_index.required(errors, "when maxFailedIndexes is specified");
    }
    let manager = spec.field("managedBy");
    if manager.exists() {
        check::domain_prefixed_path(&manager, errors);
        if manager.str().len() > names::LABEL_MAX {
            manager.too_long(errors, names::LABEL_MAX);
        }
    }
    let mode = spec.field("completionMode");
    if mode.exists() {
        mode.one_of(errors, &["NonIndexed", "Indexed"]);
    }
    if mode.str() == "Indexed" {
        indexed(spec, errors);
    } else if !mode.exists() || mode.str() == "NonIndexed" {
        for field in [&per_index, &max_failed] {
            if field.exists() {
                field.invalid_int(errors, "requires indexed completion mode");
            }
        }
    }
    let (failure, success) = (spec.field("podFailurePolicy"), spec.field("successPolicy"));
    if failure.exists() {
        failure_policy(spec, &failure, errors);
    }
    if success.exists() {
        if mode.str() == "Indexed" {
            success_policy(spec, &success, errors);
        } else {
            success.invalid(errors, "requires indexed completion mode");
        }
    }
    let replacement = spec.field("podReplacementPolicy");
    if replacement.exists() {
        let supported: &[&str] = if failure.exists() { &["Failed"] } else { &["Failed", "TerminatingOrFailed"] };
        replacement.one_of(errors, supported);
    }
    let template = spec.field("template");
    pod::pod_template(&template, errors);
    let pod_spec = template.field("spec");
    let restart = pod_spec.field("restartPolicy");
    match restart.str() {
        "Always" | "" => restart.required(errors, "valid values: \"OnFailure\", \"Never\""),
        "OnFailure" if failure.exists() => {
            restart.invalid_str(errors, "only \"Never\" is supported when podFailurePolicy is specified");
        }
        "OnFailure" | "Never" => {}
        _ => restart.not_supported(errors, &["OnFailure", "Never"]),
    }
}

fn indexed(spec: &At<'_, '_>, errors: &mut Errors) {
    let (completions, parallelism, max_failed) =
        (spec.field("completions"), spec.field("parallelism"), spec.field("maxFailedIndexes"));
    if !completions.exists() {
        completions.required(errors, "when completion mode is Indexed");
    }
    if parallelism.int() > INDEXED_MAX {
        let says = format!("must be less than or equal to {INDEXED_MAX} when completion mode is Indexed");
        parallelism.invalid_int(errors, &says);
    }
    if completions.exists() && max_failed.int() > completions.int() {
        max_failed.invalid_int(errors, "must be less than or equal to completions");
    }
    if max_failed.int() > INDEXED_MAX {
        max_failed.invalid_int(errors, &format!("must be less than or equal to {INDEXED_MAX}"));
    }
    if completions.int() > INDEXED_MAX && spec.field("backoffLimitPerIndex").exists() {
        if !max_failed.exists() {
            max_failed.required(errors, &format!("must be specified when completions is above {INDEXED_MAX}"));
        }
        for at in [&parallelism, &max_failed] {
            if at.int() > HIGH_COMPLETIONS_MAX {
                let says = format!(
                    "must be less than or equal to {HIGH_COMPLETIONS_MAX} when completions are above {INDEXED_MAX} and used with backoff limit per index"
                );
                at.invalid_int(errors, &says);
            }
        }
    }
}

fn invalid_without_value(at: &At<'_, '_>, says: &str, errors: &mut Errors) {
    errors.invalid_without_value(&at.path(), says);
}

fn failure_policy(spec: &At<'_, '_>, policy: &At<'_, '_>, errors: &mut Errors) {
    const ACTIONS: &[&str] = &["Count", "FailIndex", "FailJob", "Ignore"];
    let rules = policy.field("rules");
    if rules.len() > RULES_MAX {
        rules.too_many(errors, RULES_MAX);
    }
    for rule in rules.items() {
        let action = rule.field("action");
        match action.str() {
            "" => action.required(errors, "valid values: [\"Count\" \"FailIndex\" \"FailJob\" \"Ignore\"]"),
            "FailIndex" => {
                if !spec.field("backoffLimitPerIndex").exists() {
                    action.invalid_str(errors, "requires the backoffLimitPerIndex to be set");
                }
            }
            _ => action.one_of(errors, ACTIONS),
        }
        let (codes, conditions) = (rule.field("onExitCodes"), rule.field("onPodConditions"));
        if codes.exists() {
            exit_codes(spec, &codes, errors);
        }
        if conditions.len() > RULES_MAX {
            conditions.too_many(errors, RULES_MAX);
        }
        for condition in conditions.items() {
            check::label_name(&condition.field("type"), errors);
            condition.field("status").required_one_of(
                errors,
                &["False", "True", "Unknown"],
                "valid values: [\"False\" \"True\" \"Unknown\"]",
            );
        }
        match (codes.exists(), !conditions.is_empty()) {
            (true, true) => {
                invalid_without_value(
                    &rule,
                    "specifying both OnExitCodes and OnPodConditions is not supported",
                    errors,
                );
            }
            (false, false) => {
                invalid_without_value(&rule, "specifying one of OnExitCodes and OnPodConditions is required", errors);
            }
            _ => {}
        }
    }
}

fn exit_codes(spec: &At<'_, '_>, at: &At<'_, '_>, errors: &mut Errors) {
    let (operator, container, values) = (at.field("operator"), at.field("containerName"), at.field("values"));
    operator.required_one_of(errors, &["In", "NotIn"], "valid values: [\"In\" \"NotIn\"]");
    if container.exists() {
        let known = ["containers", "initContainers"].iter().any(|list| {
            meta::list_at(spec.value(), &["template", "spec", list])
                .iter()
                .any(|c| meta::str_at(c, &["name"]) == container.str())
        });
        if !known {
            container.invalid_str(errors, "must be one of the container or initContainer names in the pod template");
        }
    }
    if values.is_empty() {
        values.invalid(errors, "at least one value is required");
    } else if values.len() > CODES_MAX {
        values.too_many(errors, CODES_MAX);
    }
    let mut seen: Vec<i64> = Vec::new();
    for value in values.items() {
        if operator.str() == "In" && value.int() == 0 {
            value.invalid_int(errors, "must not be 0 for the In operator");
        }
        if seen.contains(&value.int()) {
            value.duplicate(errors);
        }
        seen.push(value.int());
    }
    if !seen.is_sorted() {
        values.invalid(errors, "must be ordered");
    }
}

fn success_policy(spec: &At<'_, '_>, policy: &At<'_, '_>, errors: &mut Errors) {
    const INDEXES_MAX: usize = 64 * 1024;
    let (rules, completions) = (policy.field("rules"), spec.field("completions").int());
    if rules.is_empty() {
        rules.required(errors, "at least one rules must be specified when the successPolicy is specified");
    }
    if rules.len() > RULES_MAX {
        rules.too_many(errors, RULES_MAX);
    }
    for rule in rules.items() {
        let (count, indexes) = (rule.field("succeededCount"), rule.field("succeededIndexes"));
        if !count.exists() && !indexes.exists() {
            rule.required(errors, "at least one of succeededCount or succeededIndexes must be specified");
        }
        let mut total = 0;
        if indexes.exists() {
            if indexes.str().len() > INDEXES_MAX {
                indexes.too_long(errors, INDEXES_MAX);
            }
            match job_status::count_indexes(indexes.str(), completions) {
                Ok(n) => total = n,
                Err(why) => indexes.invalid_str(errors, &format!("error parsing succeededIndexes: {why}")),
            }
        }
        if !count.exists() {
            continue;
        }
        count.non_negative(errors);
        if count.int() > completions {
            let says = format!("must be less than or equal to {completions} (the number of specified completions)");
            count.invalid_int(errors, &says);
        }
        if indexes.exists() && count.int() > total {
            let says = format!(
                "must be less than or equal to {total} (the number of indexes in the specified succeededIndexes field)"
            );
            count.invalid_int(errors, &says);
        }
    }
}

pub(in crate::rules) fn job_validate_update(new: &Value, old: &Value, context: &WriteContext<'_>, errors: &mut Errors) {
    let (root, before) = (At::root(new), At::root(old));
    if context.part.is("status") {
        job_status::job_status(&root, &before, errors);
        return;
    }
    job_validate(new, errors);
    let (spec, old_spec) = (root.field("spec"), before.field("spec"));
    // The stock server looks at the spec once more.
    selected_job_spec(&spec, errors);
    let (completions, parallelism) = (spec.field("completions"), spec.field("parallelism"));
    if spec.field("completionMode").str() == "Indexed" {
        let changed = completions.value() != old_spec.field("completions").value();
        if changed && completions.exists() && completions.int() != parallelism.int() {
            let says = format!("can only be modified in tandem with {}", parallelism.path());
            completions.invalid_int(errors, &says);
        }
    } else {
        completions.immutable(errors, old_spec.field("completions").value());
    }
    spec.field("selector").immutable(errors, old_spec.field("selector").value());
    template_change(&before, &spec, errors);
    for field in ["completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"] {
        spec.field(field).immutable(errors, old_spec.field(field).value());
    }
}

/// The template stays, but a suspended job that has no pods may be placed anew and given other resources.
fn template_change(old: &At<'_, '_>, spec: &At<'_, '_>, errors: &mut Errors) {
    let (old_spec, status) = (old.field("spec"), old.field("status"));
    let suspended = old_spec.field("suspend").bool();
    let was_suspended = status
        .field("conditions")
        .items()
        .any(|c| c.field("type").str() == "Suspended" && c.field("status").str() == "True");
    let mutable =
        suspended && (!status.field("startTime").exists() || was_suspended) && status.field("active").int() == 0;
    let template = spec.field("template");
    let mut expected = old_spec.field("template").value().clone();
    if mutable {
        take_scheduling(&mut expected, template.value());
    }
    if !suspended || !mutable {
        template.immutable(errors, &expected);
        return;
    }
    let pod_spec = spec.field("template.spec");
    let new_spec = template.field("spec");
    let mut expected = expected.get("spec").cloned().unwrap_or_default();
    for list in ["containers", "initContainers"] {
        let new = meta::list_at(new_spec.value(), &[list]);
        if new.len() != meta::list_at(&expected, &[list]).len() {
            continue;
        }
        for (container, new) in items_mut(&mut expected, list).zip(new) {
            if container.get("name") == new.get("name") {
                match new.get("resources") {
                    Some(resources) => set(container, "resources", resources.clone()),
                    None => remove(container, "resources"),
                }
            }
        }
    }
    if !semantic_eq(new_spec.value(), &expected) {
        pod_spec.with_value(new_spec.value()).invalid(errors, "field is immutable");
    }
}

/// Gives the old template what the new one says of where its pods run.
fn take_scheduling(old: &mut Value, new: &Value) {
    let copy = |old: &mut Value, new: &Value, key: &str| match new.get(key) {
        Some(value) => set(old, key, value.clone()),
        None => remove(old, key),
    };
    let null = Value::Null;
    if let Some(metadata) = made_mut(old, "metadata") {
        let new = new.get("metadata").unwrap_or(&null);
        copy(metadata, new, "labels");
        copy(metadata, new, "annotations");
    }
    let Some(spec) = some_mut(old, "spec") else { return };
    let new = new.get("spec").unwrap_or(&null);
    for key in ["nodeSelector", "tolerations", "schedulingGates"] {
        copy(spec, new, key);
    }
    let affinity = new.get("affinity").unwrap_or(&null);
    if affinity.is_null() {
        if let Some(old) = some_mut(spec, "affinity") {
            remove(old, "nodeAffinity");
        }
        if spec.get("affinity").and_then(Value::as_object).is_some_and(serde_json::Map::is_empty) {
            remove(spec, "affinity");
        }
    } else if let Some(old) = made_mut(spec, "affinity") {
        copy(old, affinity, "nodeAffinity");
    }
}
