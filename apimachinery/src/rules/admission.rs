//! Webhook configurations and admission policies.

use serde_json::{Value, json};

use super::edit::{fill, items_mut, made_mut, some_mut};

fn webhooks_default(configuration: &mut Value, mutating: bool) {
    for webhook in items_mut(configuration, "webhooks") {
        fill(webhook, "failurePolicy", "Fail");
        match_default(webhook);
        fill(webhook, "timeoutSeconds", 10);
        if mutating {
            fill(webhook, "reinvocationPolicy", "Never");
        }
        for rule in items_mut(webhook, "rules") {
            fill(rule, "scope", "*");
        }
        if let Some(service) = some_mut(webhook, "clientConfig").and_then(|c| some_mut(c, "service")) {
            fill(service, "port", 443);
        }
    }
}

fn match_default(object: &mut Value) {
    fill(object, "matchPolicy", "Equivalent");
    fill(object, "namespaceSelector", json!({}));
    fill(object, "objectSelector", json!({}));
}

fn resources_default(resources: &mut Value) {
    match_default(resources);
    for rules in ["resourceRules", "excludeResourceRules"] {
        for rule in items_mut(resources, rules) {
            fill(rule, "scope", "*");
        }
    }
}

pub(super) fn mutating_configuration_default(configuration: &mut Value) {
    webhooks_default(configuration, true);
}

pub(super) fn validating_configuration_default(configuration: &mut Value) {
    webhooks_default(configuration, false);
}

pub(super) fn policy_default(policy: &mut Value) {
    let Some(spec) = made_mut(policy, "spec") else { return };
    fill(spec, "failurePolicy", "Fail");
    if let Some(constraints) = some_mut(spec, "matchConstraints") {
        resources_default(constraints);
    }
}

pub(super) fn policy_binding_default(binding: &mut Value) {
    if let Some(resources) = some_mut(binding, "spec").and_then(|spec| some_mut(spec, "matchResources")) {
        resources_default(resources);
    }
}
