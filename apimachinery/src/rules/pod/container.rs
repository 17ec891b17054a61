//! Containers of every sort.

use crate::field::Errors;
use crate::rules::at::At;
use crate::rules::names;

use super::mount::Volumes;
use super::{env, mount, probe, resources, security};

const NEEDS_POLICY: &str = "must specify restartPolicy when restart rules are used";

/// What containers share with their pod.
pub(super) struct Surroundings<'a, 'v> {
    pub(super) volumes: &'a Volumes<'v>,
    /// Names of the pod's resource claims.
    pub(super) claims: &'a [&'v str],
    pub(super) grace: Option<i64>,
    pub(super) restart_policy: &'v str,
    /// Whether the pod shares the host's user namespace.
    pub(super) host_users: bool,
}

/// The containers that run as long as the pod.
pub(super) fn containers(at: &At<'_, '_>, pod: &Surroundings<'_, '_>, errors: &mut Errors) {
    if at.is_empty() {
        at.required(errors, "");
        return;
    }
    let mut names: Vec<&str> = Vec::new();
    for container in at.items() {
        common(&container, pod, errors);
        let name = container.field("name");
        if names.contains(&name.str()) {
            name.duplicate(errors);
        } else {
            names.push(name.str());
        }
        lifecycle_and_probes(&container, pod, errors);
        restart_rules(&container, errors);
    }
    host_ports(at, at.items(), errors);
}

/// The containers that run before, and those of them that stay.
pub(super) fn init_containers(at: &At<'_, '_>, regular: &At<'_, '_>, pod: &Surroundings<'_, '_>, errors: &mut Errors) {
    const ONLY_SIDECARS: &str = "may not be set for init containers without restartPolicy=Always";
    let mut names: Vec<&str> = regular.items().map(|c| c.field("name").str()).collect();
    for container in at.items() {
        common(&container, pod, errors);
        if container.field("restartPolicy").exists() || container.field("restartPolicyRules").is_empty() {
            restart_rules(&container, errors);
        } else {
            container.field("restartPolicy").required(errors, NEEDS_POLICY);
        }
        let name = container.field("name");
        if names.contains(&name.str()) {
            name.duplicate(errors);
        } else if !name.str().is_empty() {
            names.push(name.str());
        }
        // They run one after the other; the stock server counts each as the first.
        host_ports(at, std::iter::once(container), errors);
        let sidecar = resources::is_sidecar(container.value());
        if sidecar {
            lifecycle_and_probes(&container, pod, errors);
        } else {
            for field in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
                let field = container.field(field);
                if field.exists() {
                    field.forbidden(errors, ONLY_SIDECARS);
                }
            }
            for policy in container.field("resizePolicy").items() {
                let restart = policy.field("restartPolicy");
                if restart.str() == "RestartContainer" {
                    let says = "must not be set to 'RestartContainer' for non-sidecar initContainers";
                    restart.invalid_str(errors, says);
                }
            }
        }
    }
}

/// The containers that are added to look into a running pod.
pub(super) fn ephemeral_containers(
    at: &At<'_, '_>,
    others: &[&At<'_, '_>],
    pod: &Surroundings<'_, '_>,
    errors: &mut Errors,
) {
    const NOT_SET: &str = "cannot be set for an Ephemeral Container";
    let mut taken: Vec<&str> = others.iter().flat_map(|list| list.items().map(|c| c.field("name").str())).collect();
    let targets = taken.clone();
    for container in at.items() {
        common(&container, pod, errors);
        image_padding(&container, errors);
        let (name, target) = (container.field("name"), container.field("targetContainerName"));
        if taken.contains(&name.str()) {
            name.duplicate(errors);
        } else {
            taken.push(name.str());
        }
        if !target.str().is_empty() && !targets.contains(&target.str()) {
            target.not_found(errors);
        }
        for field in [
            "ports",
            "resources",
            "resizePolicy",
            "restartPolicy",
            "restartPolicyRules",
            "livenessProbe",
            "readinessProbe",
            "startupProbe",
            "lifecycle",
        ] {
            // `resources: {}` is as good as none.
            let nothing = field == "resources" && container.field(field).is_empty();
            let field = container.field(field);
            if field.exists() && !nothing {
                field.forbidden(errors, NOT_SET);
            }
        }
        for mount in container.field("volumeMounts").items() {
            for field in ["subPath", "subPathExpr"] {
                let field = mount.field(field);
                if !field.is_empty() {
                    field.forbidden(errors, NOT_SET);
                }
            }
        }
    }
}

/// Image names of pods (not of templates) have no space around them.
pub(super) fn image_padding(container: &At<'_, '_>, errors: &mut Errors) {
    let image = container.field("image");
    if image.str().trim() != image.str() {
        image.invalid_str(errors, "must not have leading or trailing whitespace");
    }
}

fn common(container: &At<'_, '_>, pod: &Surroundings<'_, '_>, errors: &mut Errors) {
    container.field("name").required_name(errors, names::dns1123_label);
    container.field("image").required_text(errors);
    container.field("terminationMessagePolicy").required_one_of(errors, &["File", "FallbackToLogsOnError"], "");
    ports(&container.field("ports"), errors);
    env::env(&container.field("env"), errors);
    env::env_from(&container.field("envFrom"), errors);
    mount::volume_mounts(container, pod.volumes, errors);
    mount::volume_devices(container, pod.volumes, errors);
    pull_policy(&container.field("imagePullPolicy"), errors);
    resources::container_resources(&container.field("resources"), pod.claims, errors);
    resize_policy(&container.field("resizePolicy"), pod.restart_policy, errors);
    security::container_security(&container.field("securityContext"), pod.host_users, errors);
}

/// When an image is pulled.
pub(super) fn pull_policy(at: &At<'_, '_>, errors: &mut Errors) {
    at.required_one_of(errors, &["Always", "IfNotPresent", "Never"], "");
}

fn ports(at: &At<'_, '_>, errors: &mut Errors) {
    let mut seen: Vec<&str> = Vec::new();
    for port in at.items() {
        let name = port.field("name");
        if !name.str().is_empty() {
            let wrong = names::port_name(name.str());
            if !wrong.is_empty() {
                name.invalid_each(errors, wrong);
            } else if seen.contains(&name.str()) {
                name.duplicate(errors);
            } else {
                seen.push(name.str());
            }
        }
        let (container_port, host_port) = (port.field("containerPort"), port.field("hostPort"));
        if container_port.int() == 0 {
            container_port.required(errors, "");
        } else {
            crate::rules::check::port_number(&container_port, errors);
        }
        if host_port.int() != 0 {
            crate::rules::check::port_number(&host_port, errors);
        }
        port.field("protocol").required_one_of(errors, &["SCTP", "TCP", "UDP"], "");
    }
}

/// Two containers cannot have the same port of the host.
fn host_ports<'v: 's, 's>(list: &At<'v, '_>, containers: impl Iterator<Item = At<'v, 's>>, errors: &mut Errors) {
    let mut taken: Vec<String> = Vec::new();
    for (i, container) in containers.enumerate() {
        for (j, port) in container.field("ports").items().enumerate() {
            let number = port.field("hostPort").int();
            if number == 0 {
                continue;
            }
            let key = format!("{}/{}/{number}", port.field("protocol").str(), port.field("hostIP").str());
            if taken.contains(&key) {
                let path = list.path().index(i).child("ports").index(j).child("hostPort");
                errors.duplicate(&path, &key.into());
            } else {
                taken.push(key);
            }
        }
    }
}

fn lifecycle_and_probes(container: &At<'_, '_>, pod: &Surroundings<'_, '_>, errors: &mut Errors) {
    let lifecycle = container.field("lifecycle");
    if lifecycle.exists() {
        probe::lifecycle(&lifecycle, pod.grace, errors);
    }
    probe::probes(container, errors);
}

fn resize_policy(at: &At<'_, '_>, restart_policy: &str, errors: &mut Errors) {
    let mut seen: Vec<&str> = Vec::new();
    for policy in at.items() {
        let (name, restart) = (policy.field("resourceName").str(), policy.field("restartPolicy").str());
        if seen.contains(&name) {
            errors.duplicate(&policy.path(), &name.into());
        }
        seen.push(name);
        match name {
            "cpu" | "memory" => {}
            "" => at.required(errors, ""),
            _ => errors.not_supported(&at.path(), &name.into(), &["cpu", "memory"]),
        }
        match restart {
            "NotRequired" | "RestartContainer" => {}
            "" => at.required(errors, ""),
            _ => errors.not_supported(&at.path(), &restart.into(), &["NotRequired", "RestartContainer"]),
        }
        if restart_policy == "Never" && restart != "NotRequired" {
            at.invalid_text(errors, restart, "must be 'NotRequired' when pod `restartPolicy` is 'Never'");
        }
    }
}

/// When a container is restarted, if it says so itself.
fn restart_rules(container: &At<'_, '_>, errors: &mut Errors) {
    const RULES_MAX: usize = 20;
    const CODES_MAX: usize = 255;
    let (policy, rules) = (container.field("restartPolicy"), container.field("restartPolicyRules"));
    if policy.exists() {
        policy.one_of(errors, &["Always", "Never", "OnFailure"]);
    } else if !rules.is_empty() {
        policy.required(errors, NEEDS_POLICY);
    }
    if rules.len() > RULES_MAX {
        rules.too_many(errors, RULES_MAX);
    }
    for rule in rules.items() {
        rule.field("action").one_of(errors, &["Restart", "RestartAllContainers"]);
        let codes = rule.field("exitCodes");
        if !codes.exists() {
            codes.required(errors, "must be specified");
            continue;
        }
        codes.field("operator").one_of(errors, &["In", "NotIn"]);
        let values = codes.field("values");
        if values.len() > CODES_MAX {
            values.too_many(errors, CODES_MAX);
        }
    }
}
