//! What a pod's status may say.

use serde_json::Value;

use super::resources::is_sidecar;
use crate::field::Errors;
use crate::meta;
use crate::rules::at::At;
use crate::rules::{ip, names, quantities};

const NOT_AGAIN: &str = "may not be transitioned to non-terminated state";

pub(super) fn pod_status(new: &At<'_, '_>, old: &At<'_, '_>, errors: &mut Errors) {
    let (at, before, spec) = (new.field("status"), old.field("status"), new.field("spec"));
    conditions(&at.field("conditions"), errors);
    let old_spec = old.field("spec");
    if spec.field("nodeName").str() != old_spec.field("nodeName").str() {
        at.field("nodeName").forbidden(errors, "may not be changed directly");
    }
    let nominated = at.field("nominatedNodeName");
    if nominated.str() != before.field("nominatedNodeName").str() && !nominated.is_empty() {
        nominated.invalid_each(errors, names::dns1123_subdomain(nominated.str()));
        if !old_spec.field("nodeName").is_empty() {
            nominated.forbidden(errors, "may not be set on pods that are already bound to a node");
        }
    }
    let generation = at.field("observedGeneration");
    if generation.int() < 0 {
        generation.invalid_int(errors, "must be a non-negative integer");
    }
    let qos = at.field("qosClass");
    if qos.str() != before.field("qosClass").str() {
        qos.invalid_str(errors, "field is immutable");
    }
    state_transitions(&at, &before, old_spec.value(), errors);
    resource_claims(&at.field("resourceClaimStatuses"), &spec, errors);
    extended_claim(&at.field("extendedResourceClaimStatus"), &spec, errors);
    allocatable_claims(&at, &spec, errors);
    addresses(&at.field("podIPs"), &before.field("podIPs"), errors);
    let hosts = at.field("hostIPs");
    if let Some(first) = hosts.items().next() {
        let first = first.field("ip");
        if at.field("hostIP").str() != first.str() {
            first.invalid_str(errors, "must be equal to `hostIP`");
        }
    }
    addresses(&hosts, &before.field("hostIPs"), errors);
    let windows = spec.field("os").field("name").str() == "windows";
    for list in ["containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"] {
        for status in at.field(list).items() {
            container_user(&status.field("user"), windows, errors);
        }
    }
    allocated(&at.field("containerStatuses"), &spec.field("containers"), errors);
    allocated(&at.field("initContainerStatuses"), &spec.field("initContainers"), errors);
    for status in at.field("ephemeralContainerStatuses").items() {
        let allocated = status.field("allocatedResourcesStatus");
        if !allocated.is_empty() {
            allocated.forbidden(errors, "must not be specified in container status");
        }
    }
}

fn conditions(at: &At<'_, '_>, errors: &mut Errors) {
    for condition in at.items() {
        let generation = condition.field("observedGeneration");
        if generation.int() < 0 {
            generation.invalid_int(errors, "must be a non-negative integer");
        }
        let kind = condition.field("type").str();
        if !matches!(kind, "PodScheduled" | "Ready" | "Initialized") {
            for detail in names::qualified_name(kind) {
                condition.field("Type").invalid_text(errors, kind, &detail);
            }
        }
    }
}

/// A container that has ended stays ended, unless it is to be restarted.
fn state_transitions(at: &At<'_, '_>, before: &At<'_, '_>, spec: &Value, errors: &mut Errors) {
    let restart_all = ["initContainers", "containers"]
        .iter()
        .flat_map(|list| meta::list_at(spec, &[list]))
        .flat_map(|c| meta::list_at(c, &["restartPolicyRules"]))
        .any(|rule| meta::str_at(rule, &["action"]) == "RestartAllContainers");
    for (list, containers) in [
        ("containerStatuses", Some("containers")),
        ("initContainerStatuses", Some("initContainers")),
        ("ephemeralContainerStatuses", None),
    ] {
        if restart_all && containers.is_some() {
            continue;
        }
        let new = at.field(list);
        for (i, old) in before.field(list).items().enumerate() {
            let Some(code) = old.value().pointer("/state/terminated").filter(|t| !t.is_null()) else { continue };
            let name = old.field("name").str();
            let resumed = new
                .items()
                .filter(|s| s.field("name").str() == name)
                .any(|s| s.value().pointer("/state/terminated").is_none_or(Value::is_null));
            let code = code.get("exitCode").and_then(Value::as_i64).unwrap_or(0);
            let allowed = containers.is_some_and(|c| {
                meta::list_at(spec, &[c])
                    .iter()
                    .find(|c| meta::str_at(c, &["name"]) == name)
                    .is_some_and(|c| should_restart(c, spec, code))
            });
            if resumed && !allowed {
                new.item(i).field("state").forbidden(errors, NOT_AGAIN);
            }
        }
    }
}

fn should_restart(container: &Value, spec: &Value, code: i64) -> bool {
    let own = container.get("restartPolicy").and_then(Value::as_str);
    if own.is_some() {
        let matches = meta::list_at(container, &["restartPolicyRules"]).iter().any(|rule| {
            let listed = meta::list_at(rule, &["exitCodes", "values"]).iter().any(|v| v.as_i64() == Some(code));
            match meta::str_at(rule, &["exitCodes", "operator"]) {
                "In" => listed,
                "NotIn" => !listed,
                _ => false,
            }
        });
        if matches {
            return true;
        }
    }
    match own.unwrap_or_else(|| meta::str_at(spec, &["restartPolicy"])) {
        "OnFailure" => code != 0,
        "Never" => is_sidecar(container),
        _ => true,
    }
}

fn resource_claims(at: &At<'_, '_>, spec: &At<'_, '_>, errors: &mut Errors) {
    let mut seen = Vec::new();
    for status in at.items() {
        let name = status.field("name");
        if !spec.field("resourceClaims").items().any(|c| c.field("name").str() == name.str()) {
            name.invalid_str(errors, "must match the name of an entry in `spec.resourceClaims`");
        }
        if seen.contains(&name.str()) {
            name.duplicate(errors);
        } else {
            seen.push(name.str());
        }
        let claim = status.field("resourceClaimName");
        if claim.exists() {
            claim.invalid_each(errors, names::dns1123_subdomain(claim.str()));
        }
    }
}

fn extended_claim(at: &At<'_, '_>, spec: &At<'_, '_>, errors: &mut Errors) {
    if !at.exists() {
        return;
    }
    let mappings = at.field("requestMappings");
    if mappings.is_empty() {
        mappings.required(errors, "at least one request mapping is required");
    }
    let mut seen = Vec::new();
    for mapping in mappings.items() {
        let (container, resource, request) =
            (mapping.field("containerName"), mapping.field("resourceName"), mapping.field("requestName"));
        let found = ["containers", "initContainers"].iter().find_map(|list| {
            meta::list_at(spec.value(), &[list]).iter().find(|c| meta::str_at(c, &["name"]) == container.str())
        });
        match found {
            Some(c) => {
                if c.pointer("/resources/requests").and_then(|r| r.get(resource.str())).is_none() {
                    let says = "must match the extended resource name of an entry in spec.initContainers.resources.requests or spec.containers.resources.requests";
                    resource.invalid_str(errors, says);
                }
            }
            None => container.invalid_str(
                errors,
                "must match the name of an entry in spec.initContainers.name or spec.containers.name",
            ),
        }
        for detail in names::dns1123_label(request.str()) {
            at.field("requestName").invalid_text(errors, request.str(), &detail);
        }
        let key = (container.str(), resource.str(), request.str());
        if seen.contains(&key) {
            container.duplicate(errors);
            resource.duplicate(errors);
            request.duplicate(errors);
        }
        seen.push(key);
    }
    at.field("resourceClaimName").required_name(errors, names::dns1123_subdomain);
}

fn allocatable_claims(at: &At<'_, '_>, spec: &At<'_, '_>, errors: &mut Errors) {
    for status in at.field("nodeAllocatableResourceClaimStatuses").items() {
        let name = status.field("resourceClaimName");
        if name.is_empty() {
            name.required(errors, "must not be empty");
        }
        let (claims, statuses) = (spec.field("resourceClaims"), at.field("resourceClaimStatuses"));
        let known = [&claims, &statuses]
            .iter()
            .any(|list| list.items().any(|c| c.field("resourceClaimName").opt_str() == Some(name.str())));
        if !known {
            name.invalid_str(errors, "no mapping found in pod reference");
        }
        for list in ["containers", "resources"] {
            let list = status.field(list);
            if list.is_empty() {
                list.required(errors, "must not be empty");
            }
        }
        for (resource, amount) in status.field("resources").entries() {
            if !quantities::is_native(resource) {
                amount.invalid_text(errors, resource, "must be a node allocatable resource name");
            }
            if let Some(q) = quantities::quantity(amount.value()).filter(|q| q.sign() < 0) {
                amount.invalid_text(errors, &q.canonical(), "must be non-negative");
            }
        }
    }
}

/// Addresses, at most one of each family; those that were there already may be malformed.
fn addresses(at: &At<'_, '_>, before: &At<'_, '_>, errors: &mut Errors) {
    for address in at.items() {
        let text = address.field("ip").str();
        if before.items().any(|b| b.field("ip").str() == text) {
            continue;
        }
        for detail in ip::address(text) {
            address.invalid_text(errors, text, &detail);
        }
    }
    if at.len() > 1 {
        let mut v4 = at.items().filter_map(|a| ip::parse_address(a.field("ip").str())).map(|a| a.is_ipv4());
        let both = at.len() == 2 && v4.next() != v4.next();
        if !both {
            at.invalid(errors, "may specify no more than one IP for each IP family");
        }
    }
}

fn container_user(at: &At<'_, '_>, windows: bool, errors: &mut Errors) {
    let linux = at.field("linux");
    if !linux.exists() {
        return;
    }
    if windows {
        linux.forbidden(errors, "cannot be set for a windows pod");
        return;
    }
    let check = |at: &At<'_, '_>, errors: &mut Errors| {
        if let Some(detail) = names::user_id(at.int()) {
            at.invalid_int(errors, &detail);
        }
    };
    check(&linux.field("uid"), errors);
    check(&linux.field("gid"), errors);
    for group in linux.field("supplementalGroups").items() {
        check(&group, errors);
    }
}

fn allocated(statuses: &At<'_, '_>, containers: &At<'_, '_>, errors: &mut Errors) {
    for status in statuses.items() {
        let name = status.field("name").str();
        let Some(container) = containers.items().map(|c| c.value()).find(|c| meta::str_at(c, &["name"]) == name) else {
            continue;
        };
        for resource in status.field("allocatedResourcesStatus").items() {
            let at = resource.field("name");
            let (found, says) = match at.str().strip_prefix("claim:") {
                Some(reference) => (
                    meta::list_at(container, &["resources", "claims"]).iter().any(|claim| {
                        let (name, request) = (meta::str_at(claim, &["name"]), meta::str_at(claim, &["request"]));
                        if request.is_empty() { name == reference } else { format!("{name}/{request}") == reference }
                    }),
                    "must match one of the container's resource claims in a format 'claim:<claimName>/<request>' or 'claim:<claimName>' if request is empty",
                ),
                None => (
                    container.pointer("/resources/requests").is_some_and(|r| r.get(at.str()).is_some()),
                    "must match one of the container's resource requests",
                ),
            };
            if !found {
                at.invalid_str(errors, says);
            }
        }
    }
}
