//! Security contexts of pods and containers, and what the operating system of a pod rules out.

use crate::field::Errors;
use crate::rules::at::At;
use crate::rules::{check, names};

const PROFILE_TYPES: &[&str] = &["Localhost", "RuntimeDefault", "Unconfined"];

fn id(at: &At<'_, '_>, errors: &mut Errors) {
    if let Some(detail) = at.opt_int().and_then(names::user_id) {
        at.invalid_int(errors, &detail);
    }
}

/// The security context of a pod.
pub(super) fn pod_security(spec: &At<'_, '_>, errors: &mut Errors) {
    let at = spec.field("securityContext");
    for field in ["fsGroup", "runAsUser", "runAsGroup"] {
        id(&at.field(field), errors);
    }
    for group in at.field("supplementalGroups").items() {
        id(&group, errors);
    }
    // These two are part of the security context inside the stock server, and its messages say so.
    if spec.field("shareProcessNamespace").bool() && spec.field("hostPID").bool() {
        let shared = at.field("shareProcessNamespace");
        shared
            .with_value(spec.field("shareProcessNamespace").value())
            .invalid(errors, "ShareProcessNamespace and HostPID cannot both be enabled");
    }
    sysctls(spec, &at.field("sysctls"), errors);
    let change = at.field("fsGroupChangePolicy");
    if change.exists() {
        change.one_of(errors, &["Always", "OnRootMismatch"]);
    }
    seccomp(&at.field("seccompProfile"), errors);
    windows_options(&at.field("windowsOptions"), errors);
    app_armor(&at.field("appArmorProfile"), errors);
    let groups = at.field("supplementalGroupsPolicy");
    if groups.exists() {
        groups.one_of(errors, &["Merge", "Strict"]);
    }
    let relabel = at.field("seLinuxChangePolicy");
    if relabel.exists() {
        // `MountOption` waits for the SELinuxMount gate.
        relabel.one_of(errors, &["Recursive"]);
    }
}

/// The security context of a container whose pod shares the host's user namespace, or not.
pub(super) fn container_security(at: &At<'_, '_>, host_users: bool, errors: &mut Errors) {
    if !at.exists() {
        return;
    }
    id(&at.field("runAsUser"), errors);
    id(&at.field("runAsGroup"), errors);
    let proc = at.field("procMount");
    if proc.exists() {
        proc.one_of(errors, &["Default", "Unmasked"]);
        if host_users && proc.str() == "Unmasked" {
            proc.invalid_str(errors, "`hostUsers` must be false to use `Unmasked`");
        }
    }
    seccomp(&at.field("seccompProfile"), errors);
    let escalation = at.field("allowPrivilegeEscalation");
    if escalation.exists() && !escalation.bool() {
        if at.field("privileged").bool() {
            at.invalid(errors, "cannot set `allowPrivilegeEscalation` to false and `privileged` to true");
        }
        for capability in at.field("capabilities").field("add").items() {
            if capability.str() == "CAP_SYS_ADMIN" {
                at.invalid(
                    errors,
                    "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN",
                );
            }
        }
    }
    windows_options(&at.field("windowsOptions"), errors);
    app_armor(&at.field("appArmorProfile"), errors);
}

fn seccomp(at: &At<'_, '_>, errors: &mut Errors) {
    if !at.exists() {
        return;
    }
    let (kind, profile) = (at.field("type"), at.field("localhostProfile"));
    kind.required_one_of(errors, PROFILE_TYPES, "type is required when seccompProfile is set");
    if kind.str() == "Localhost" {
        if profile.exists() {
            check::local_path(&profile, errors);
        } else {
            profile.required(errors, "must be set when seccomp type is Localhost");
        }
    } else if profile.exists() {
        profile.with_value(at.value()).invalid(errors, "can only be set when seccomp type is Localhost");
    }
}

fn app_armor(at: &At<'_, '_>, errors: &mut Errors) {
    const MAX_PATH: usize = 4095;
    if !at.exists() {
        return;
    }
    let (kind, profile) = (at.field("type"), at.field("localhostProfile"));
    match kind.str() {
        "Localhost" => {
            let text = profile.str();
            if profile.exists() && text.trim() != text {
                profile.invalid_str(errors, "must not be padded with whitespace");
            } else if text.is_empty() {
                profile.required(errors, "must be set when AppArmor type is Localhost");
            }
            if text.len() > MAX_PATH {
                profile.too_long(errors, MAX_PATH);
            }
        }
        "RuntimeDefault" | "Unconfined" => {
            if profile.exists() {
                profile.invalid_str(errors, "can only be set when AppArmor type is Localhost");
            }
        }
        "" => kind.required(errors, "type is required when appArmorProfile is set"),
        _ => kind.not_supported(errors, PROFILE_TYPES),
    }
}

fn sysctls(spec: &At<'_, '_>, at: &At<'_, '_>, errors: &mut Errors) {
    const SAYS: &str = "must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";
    let is_name = |name: &str| {
        let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        name.len() <= names::SUBDOMAIN_MAX
            && name.split(['.', '/']).all(|part| {
                let bytes = part.as_bytes();
                bytes.first().is_some_and(|&b| word(b))
                    && bytes.last().is_some_and(|&b| word(b))
                    && bytes.iter().all(|&b| word(b) || b == b'-' || b == b'_')
            })
    };
    let mut seen = Vec::new();
    for sysctl in at.items() {
        let name = sysctl.field("name");
        if name.str().is_empty() {
            name.required(errors, "");
        } else if !is_name(name.str()) {
            name.invalid_str(errors, SAYS);
        } else if seen.contains(&name.str()) {
            name.duplicate(errors);
        }
        seen.push(name.str());
        match sysctl_namespace(name.str()) {
            Some("net") if spec.field("hostNetwork").bool() => {
                name.invalid_str(errors, "may not be specified when 'hostNetwork' is true");
            }
            Some("ipc") if spec.field("hostIPC").bool() => {
                name.invalid_str(errors, "may not be specified when 'hostIPC' is true");
            }
            _ => {}
        }
    }
}

/// The namespace that a sysctl belongs to. Its parts are separated by whichever of `.` and `/` comes first.
fn sysctl_namespace(name: &str) -> Option<&'static str> {
    let dotted: String = match name.find(['.', '/']) {
        Some(i) if name[i..].starts_with('/') => name
            .chars()
            .map(|c| {
                if c == '/' {
                    '.'
                } else if c == '.' {
                    '/'
                } else {
                    c
                }
            })
            .collect(),
        _ => name.to_owned(),
    };
    match dotted.as_str() {
        "kernel.sem"
        | "kernel.shmall"
        | "kernel.shmmax"
        | "kernel.shmmni"
        | "kernel.shm_rmid_forced"
        | "kernel.shm"
        | "kernel.msgmax"
        | "kernel.msgmnb"
        | "kernel.msgmni"
        | "kernel.msg" => Some("ipc"),
        d if d.starts_with("net.") => Some("net"),
        d if d.starts_with("fs.mqueue.") => Some("ipc"),
        _ => None,
    }
}

fn windows_options(at: &At<'_, '_>, errors: &mut Errors) {
    const SPEC_MAX: usize = 64 * 1024;
    if !at.exists() {
        return;
    }
    let name = at.field("gmsaCredentialSpecName");
    if name.exists() {
        name.invalid_each(errors, names::dns1123_subdomain(name.str()));
    }
    let spec = at.field("gmsaCredentialSpec");
    if spec.exists() {
        if spec.str().is_empty() {
            spec.invalid_str(errors, "gmsaCredentialSpec cannot be an empty string");
        } else if spec.str().len() > SPEC_MAX {
            spec.invalid_str(errors, "gmsaCredentialSpec size must be under 64 KiB");
        }
    }
    let user = at.field("runAsUserName");
    if user.exists() {
        for says in windows_user(user.str()) {
            user.invalid_str(errors, says);
        }
    }
}

fn windows_user(name: &str) -> Vec<&'static str> {
    if name.is_empty() {
        return vec!["runAsUserName cannot be an empty string"];
    }
    if name.chars().any(|c| c.is_ascii_control()) {
        return vec!["runAsUserName cannot contain control characters"];
    }
    let (domain, user) = match name.split('\\').collect::<Vec<_>>()[..] {
        [user] => (None, user),
        [domain, user] => (Some(domain), user),
        _ => return vec!["runAsUserName cannot contain more than one backslash"],
    };
    let mut wrong = Vec::new();
    if let Some(domain) = domain {
        if domain.len() >= 256 {
            wrong.push("runAsUserName's Domain length must be under 256 characters");
        }
        let length = domain.chars().count();
        let net_bios = (1..=15).contains(&length)
            && !domain.starts_with('.')
            && !domain.contains(['/', ':', '*', '?', '"', '<', '>', '|']);
        let dns = domain.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        });
        if !net_bios && !dns {
            wrong.push("runAsUserName's Domain doesn't match the NetBios nor the DNS format");
        }
    }
    if user.is_empty() {
        wrong.push("runAsUserName's User cannot be empty");
    } else if user.len() > 104 {
        wrong.push("runAsUserName's User length must not be longer than 104 characters");
    }
    if !user.is_empty() && user.chars().all(|c| c == '.' || c == ' ') {
        wrong.push("runAsUserName's User cannot contain only periods or spaces");
    }
    if user.contains(['"', '/', '\\', ':', ';', '|', '=', ',', '+', '*', '?', '<', '>', '@', '[', ']']) {
        wrong.push("runAsUserName's User cannot contain the following characters: \"/\\:;|=,+*?<>@[]");
    }
    wrong
}

/// Containers that are processes of a Windows host: all of a pod or none, and then on the host's network.
pub(super) fn windows_host_process(spec: &At<'_, '_>, errors: &mut Errors) {
    let context = spec.field("securityContext");
    let options = context.field("windowsOptions");
    let of_pod = options.field("hostProcess").value().as_bool();
    let (mut all, mut host) = (0, 0);
    super::visit_containers(spec, &mut |container| {
        all += 1;
        let context = container.field("securityContext");
        let options = context.field("windowsOptions");
        let at = options.field("hostProcess");
        let own = at.value().as_bool();
        if let Some((pod, own)) = of_pod.zip(own).filter(|(pod, own)| pod != own) {
            let says = format!("pod hostProcess value must be identical if both are specified, was {pod}");
            errors.invalid(&at.path(), &own.into(), &says);
        }
        if own.or(of_pod) == Some(true) {
            host += 1;
        }
    });
    if host == 0 {
        return;
    }
    if host != all {
        let says = "If pod contains any hostProcess containers then all containers must be HostProcess containers";
        spec.invalid_text(errors, "", says);
    }
    if !spec.field("hostNetwork").bool() {
        let says = "hostNetwork must be true if pod contains any hostProcess containers";
        errors.invalid(&spec.field("hostNetwork").path(), &false.into(), says);
    }
}

/// The operating system of a pod and what it rules out.
pub(super) fn operating_system(spec: &At<'_, '_>, errors: &mut Errors) {
    let os = spec.field("os");
    if !os.exists() {
        return;
    }
    match os.field("name").str() {
        "" => os.field("name").required(errors, ""),
        "linux" => linux(spec, errors),
        "windows" => windows(spec, errors),
        other => errors.not_supported(&os.path(), &other.into(), &["linux", "windows"]),
    }
}

fn linux(spec: &At<'_, '_>, errors: &mut Errors) {
    let mut refuse = |context: &At<'_, '_>| {
        let options = context.field("windowsOptions");
        if options.exists() {
            options.forbidden(errors, "windows options cannot be set for a linux pod");
        }
    };
    refuse(&spec.field("securityContext"));
    super::visit_containers(spec, &mut |container| refuse(&container.field("securityContext")));
}

fn windows(spec: &At<'_, '_>, errors: &mut Errors) {
    let mut refuse = |object: &At<'_, '_>, names: &[&str]| {
        for name in names {
            let at = object.field(name);
            let set = match at.value() {
                serde_json::Value::Array(list) if *name == "sysctls" => !list.is_empty(),
                serde_json::Value::Bool(value) if name.starts_with("host") && *name != "hostUsers" => *value,
                value => !value.is_null(),
            };
            if set {
                at.forbidden(errors, "cannot be set for a windows pod");
            }
        }
    };
    let context = spec.field("securityContext");
    refuse(&context, &["appArmorProfile", "seLinuxOptions"]);
    refuse(spec, &["hostUsers", "hostPID", "hostIPC"]);
    refuse(&context, &["seccompProfile", "fsGroup", "fsGroupChangePolicy", "sysctls"]);
    refuse(spec, &["shareProcessNamespace"]);
    refuse(
        &context,
        &["runAsUser", "runAsGroup", "supplementalGroups", "supplementalGroupsPolicy", "seLinuxChangePolicy"],
    );
    super::visit_containers(spec, &mut |container| {
        refuse(
            &container.field("securityContext"),
            &[
                "appArmorProfile",
                "seLinuxOptions",
                "seccompProfile",
                "capabilities",
                "readOnlyRootFilesystem",
                "privileged",
                "allowPrivilegeEscalation",
                "procMount",
                "runAsUser",
                "runAsGroup",
            ],
        );
    });
}

/// A user namespace of its own goes with no other namespace of the host.
pub(super) fn host_users(spec: &At<'_, '_>, errors: &mut Errors) {
    let own = spec.field("hostUsers");
    if !own.exists() || own.bool() {
        return;
    }
    // The stock server spells the last two like this.
    for (field, shown) in [("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")] {
        if spec.field(field).bool() {
            spec.field(shown).forbidden(errors, "when `hostUsers` is false");
        }
    }
    super::visit_containers(spec, &mut |container| {
        let devices = container.field("volumeDevices");
        if !devices.is_empty() {
            devices.forbidden(errors, "when `hostUsers` is false");
        }
    });
}
