//! What a pod's spec may say, in a pod and in a template.

use crate::field::Errors;
use crate::rules::at::At;
use crate::rules::{check, ip, names};

use super::container::Surroundings;
use super::{affinity, annotations, container, env, resources, security, volume};

/// Looks at a pod's spec. `pod` is the pod itself if this is not a template's.
pub(super) fn pod_spec(spec: &At<'_, '_>, pod: Option<&At<'_, '_>>, errors: &mut Errors) {
    let grace = spec.field("terminationGracePeriodSeconds");
    if !grace.exists() {
        grace.required(errors, "");
    }
    let own_users = spec.field("hostUsers");
    let metadata = pod.map(|p| p.field("metadata"));
    let name = metadata.as_ref().map(|m| m.field("name").str());
    let volumes = volume::volumes(&spec.field("volumes"), name, errors);
    let claims = resource_claims(spec, pod, errors);
    let surroundings = Surroundings {
        volumes: &volumes,
        claims: &claims,
        grace: grace.opt_int(),
        restart_policy: spec.field("restartPolicy").str(),
        host_users: !own_users.exists() || own_users.bool(),
    };
    let (regular, init) = (spec.field("containers"), spec.field("initContainers"));
    container::containers(&regular, &surroundings, errors);
    container::init_containers(&init, &regular, &surroundings, errors);
    container::ephemeral_containers(&spec.field("ephemeralContainers"), &[&regular, &init], &surroundings, errors);
    resources::pod_resources(spec, &claims, errors);
    host_network_ports(spec, pod.is_some(), errors);
    spec.field("restartPolicy").required_one_of(errors, &["Always", "OnFailure", "Never"], "");
    spec.field("dnsPolicy").required_one_of(
        errors,
        &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"],
        "",
    );
    check::labels(&spec.field("nodeSelector"), errors);
    security::pod_security(spec, errors);
    affinity::affinity(&spec.field("affinity"), errors);
    dns_config(spec, errors);
    gates(spec, errors);
    affinity::topology_spread(&spec.field("topologySpreadConstraints"), errors);
    security::windows_host_process(spec, errors);
    security::host_users(spec, errors);
    hostname_override(spec, errors);
    spec.field("serviceAccountName").optional_name(errors, names::dns1123_subdomain);
    spec.field("nodeName").optional_name(errors, names::dns1123_subdomain);
    let deadline = spec.field("activeDeadlineSeconds");
    if deadline.exists() && !(1..=i64::from(i32::MAX)).contains(&deadline.int()) {
        deadline.invalid_int(errors, &names::between(1, i64::from(i32::MAX)));
    }
    spec.field("hostname").optional_name(errors, names::dns1123_label);
    spec.field("subdomain").optional_name(errors, names::dns1123_label);
    affinity::tolerations(&spec.field("tolerations"), errors);
    for alias in spec.field("hostAliases").items() {
        let address = alias.field("ip");
        address.invalid_each(errors, ip::address(address.str()));
        for name in alias.field("hostnames").items() {
            name.invalid_each(errors, names::dns1123_subdomain(name.str()));
        }
    }
    spec.field("priorityClassName").optional_name(errors, names::dns1123_subdomain);
    let class = spec.field("runtimeClassName");
    if class.exists() {
        class.invalid_each(errors, names::dns1123_subdomain(class.str()));
    }
    let preemption = spec.field("preemptionPolicy");
    if preemption.exists() {
        preemption.required_one_of(errors, &["PreemptLowerPriority", "Never"], "");
    }
    resources::overhead(&spec.field("overhead"), errors);
    security::operating_system(spec, errors);
    env::env_file_volumes(spec, errors);
}

/// What a pod template (`{metadata, spec}`) may say.
pub(in crate::rules) fn pod_template(at: &At<'_, '_>, errors: &mut Errors) {
    let (metadata, spec) = (at.field("metadata"), at.field("spec"));
    pod_template_metadata(at, errors);
    pod_spec(&spec, None, errors);
    annotations::agree_with_fields(&metadata, &spec, errors);
    let ephemeral = spec.field("ephemeralContainers");
    if !ephemeral.is_empty() {
        ephemeral.forbidden(errors, "ephemeral containers not allowed in pod template");
    }
}

/// The labels and annotations of a pod template.
pub(in crate::rules) fn pod_template_metadata(at: &At<'_, '_>, errors: &mut Errors) {
    let metadata = at.field("metadata");
    // The stock server does not name `metadata` here.
    let (labels, notes) = (at.field("labels"), at.field("annotations"));
    let notes = notes.with_value(metadata.field("annotations").value());
    check::labels(&labels.with_value(metadata.field("labels").value()), errors);
    check::annotations(&notes, errors);
    annotations::pod_annotations(&notes, &at.field("spec"), errors);
}

/// What holds for pods that are made and pods that are changed.
pub(super) fn pod(pod: &At<'_, '_>, errors: &mut Errors) {
    let (metadata, spec) = (pod.field("metadata"), pod.field("spec"));
    annotations::pod_annotations(&metadata.field("annotations"), &spec, errors);
    pod_spec(&spec, Some(pod), errors);
    if spec.field("serviceAccountName").is_empty() {
        for volume in spec.field("volumes").items() {
            let projected = volume.field("projected");
            for source in projected.field("sources").items() {
                let token = source.field("serviceAccountToken");
                if token.exists() {
                    token.forbidden(errors, "must not be specified when serviceAccountName is not set");
                }
            }
        }
    }
    for list in ["containers", "initContainers"] {
        for container in spec.field(list).items() {
            container::image_padding(&container, errors);
        }
    }
}

fn resource_claims<'v>(spec: &At<'v, '_>, pod: Option<&At<'_, '_>>, errors: &mut Errors) -> Vec<&'v str> {
    let is_mirror = pod.is_some_and(|p| annotations::is_mirror(p.value()));
    let mut names: Vec<&str> = Vec::new();
    for claim in spec.field("resourceClaims").items() {
        if is_mirror {
            errors.forbidden(&crate::field::Path::new("[]"), "static pods do not support resource claims");
            continue;
        }
        let name = claim.field("name");
        if name.str().is_empty() {
            name.required(errors, "");
        } else if names.contains(&name.str()) {
            name.duplicate(errors);
        } else {
            name.invalid_each(errors, names::dns1123_label(name.str()));
            names.push(name.str());
        }
        let (own, template) = (claim.field("resourceClaimName"), claim.field("resourceClaimTemplateName"));
        match (own.exists(), template.exists()) {
            (true, true) => {
                claim.invalid(
                    errors,
                    "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified",
                );
            }
            (false, false) => {
                claim.invalid(errors, "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`");
            }
            _ => {}
        }
        for reference in [own, template] {
            if reference.exists() {
                reference.invalid_each(errors, names::dns1123_subdomain(reference.str()));
            }
        }
    }
    names
}

/// On the host's network a container's port is the host's; a template may leave that to the pods.
fn host_network_ports(spec: &At<'_, '_>, is_pod: bool, errors: &mut Errors) {
    if !spec.field("hostNetwork").bool() {
        return;
    }
    for container in spec.field("containers").items() {
        for port in container.field("ports").items() {
            let host = port.field("hostPort");
            if (is_pod || host.int() != 0) && host.int() != port.field("containerPort").int() {
                host.invalid_int(errors, "must match `containerPort` when `hostNetwork` is true");
            }
        }
    }
}

fn dns_config(spec: &At<'_, '_>, errors: &mut Errors) {
    const NAMESERVERS_MAX: usize = 3;
    const SEARCHES_MAX: usize = 32;
    const SEARCH_CHARS_MAX: usize = 2048;
    let at = spec.field("dnsConfig");
    let (servers, searches) = (at.field("nameservers"), at.field("searches"));
    if spec.field("dnsPolicy").str() == "None" {
        if !at.exists() {
            at.required(errors, "must provide `dnsConfig` when `dnsPolicy` is None");
            return;
        }
        if servers.is_empty() {
            servers.required(errors, "must provide at least one DNS nameserver when `dnsPolicy` is None");
            return;
        }
    }
    if servers.len() > NAMESERVERS_MAX {
        servers.invalid(errors, &format!("must not have more than {NAMESERVERS_MAX} nameservers"));
    }
    for server in servers.items() {
        server.invalid_each(errors, ip::address(server.str()));
    }
    if searches.len() > SEARCHES_MAX {
        searches.invalid(errors, &format!("must not have more than {SEARCHES_MAX} search paths"));
    }
    let length = searches.items().map(|s| s.str().len() + 1).sum::<usize>().saturating_sub(1);
    if length > SEARCH_CHARS_MAX {
        let says =
            format!("must not have more than {SEARCH_CHARS_MAX} characters (including spaces) in the search list");
        searches.invalid(errors, &says);
    }
    for search in searches.items().filter(|s| s.str() != ".") {
        let name = search.str().strip_suffix('.').unwrap_or(search.str());
        for detail in names::dns1123_subdomain_underscore(name) {
            search.invalid_text(errors, name, &detail);
        }
    }
    for option in at.field("options").items() {
        if option.field("name").is_empty() {
            option.required(errors, "must not be empty");
        }
    }
}

fn gates(spec: &At<'_, '_>, errors: &mut Errors) {
    for gate in spec.field("readinessGates").items() {
        check::label_name(&gate.field("conditionType"), errors);
    }
    let mut seen = Vec::new();
    for gate in spec.field("schedulingGates").items() {
        let name = gate.field("name").str();
        for detail in names::qualified_name(name) {
            gate.invalid_text(errors, name, &detail);
        }
        if seen.contains(&name) {
            errors.duplicate(&gate.path(), &name.into());
        }
        seen.push(name);
    }
}

fn hostname_override(spec: &At<'_, '_>, errors: &mut Errors) {
    const HOSTNAME_MAX: usize = 64;
    let at = spec.field("hostnameOverride");
    if !at.exists() {
        return;
    }
    if spec.field("setHostnameAsFQDN").bool() {
        at.forbidden(errors, "may not be specified when setHostnameAsFQDN is true");
    }
    if spec.field("hostNetwork").bool() {
        at.forbidden(errors, "may not be specified when hostNetwork is true");
    }
    if at.str().len() > HOSTNAME_MAX {
        at.too_long(errors, HOSTNAME_MAX);
    }
    at.invalid_each(errors, names::dns1123_subdomain(at.str()));
}
