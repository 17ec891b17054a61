//! The Pod Security Standards, as far as the field table cannot say them: rules about values.
//!
//! Source: <https://kubernetes.io/docs/concepts/security/pod-security-standards/>. The host namespace carries the
//! enforcing label of the same level, so the host checks again what is checked here.

use apimachinery::meta::{list_at, str_at};
use serde_json::Value;

use crate::config::PodSecurity;
use crate::table::Remark;

const BASELINE_CAPABILITIES: &[&str] = &[
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];
const SELINUX_TYPES: &[&str] = &["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"];
const SAFE_SYSCTLS: &[&str] = &[
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
];
const RESTRICTED_VOLUMES: &[&str] = &[
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];
/// The three lists of containers in a pod's spec.
pub(super) const CONTAINER_LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

/// Finds what in a pod goes beyond a level. What the field table marks as privileged is not repeated here.
pub fn pod_security_check(pod: &Value, level: PodSecurity) -> Vec<Remark> {
    let mut found = Vec::new();
    if level == PodSecurity::None {
        return found;
    }
    let pod_context = &pod["spec"]["securityContext"];
    baseline_context(pod_context, "spec.securityContext", &mut found);
    for (i, sysctl) in list_at(pod_context, &["sysctls"]).iter().enumerate() {
        let name = str_at(sysctl, &["name"]);
        if !SAFE_SYSCTLS.contains(&name) {
            let field = format!("spec.securityContext.sysctls[{i}].name");
            found.push(Remark::new(field, format!("{name:?} is not one of the safe sysctls")));
        }
    }
    for list in CONTAINER_LISTS {
        for (i, container) in list_at(pod, &["spec", list]).iter().enumerate() {
            let context = &container["securityContext"];
            let path = format!("spec.{list}[{i}].securityContext");
            baseline_context(context, &path, &mut found);
            let proc_mount = str_at(context, &["procMount"]);
            if !matches!(proc_mount, "" | "Default") {
                found.push(Remark::new(format!("{path}.procMount"), "only Default is allowed"));
            }
            let allowed =
                if level == PodSecurity::Restricted { &["NET_BIND_SERVICE"][..] } else { BASELINE_CAPABILITIES };
            for capability in list_at(context, &["capabilities", "add"]) {
                if !capability.as_str().is_some_and(|c| allowed.contains(&c)) {
                    let message = format!("{capability} may not be added; allowed: {}", allowed.join(", "));
                    found.push(Remark::new(format!("{path}.capabilities.add"), message));
                }
            }
            if level == PodSecurity::Restricted {
                restricted_container(context, pod_context, &path, &mut found);
            }
        }
    }
    if level == PodSecurity::Restricted {
        for (i, volume) in list_at(pod, &["spec", "volumes"]).iter().enumerate() {
            for kind in volume.as_object().into_iter().flatten().map(|(k, _)| k.as_str()).filter(|k| *k != "name") {
                if !RESTRICTED_VOLUMES.contains(&kind) {
                    let field = format!("spec.volumes[{i}].{kind}");
                    found.push(Remark::new(field, "volumes of this type are not allowed at level restricted"));
                }
            }
        }
    }
    found
}

fn baseline_context(context: &Value, path: &str, found: &mut Vec<Remark>) {
    for profile in ["seccompProfile", "appArmorProfile"] {
        if str_at(context, &[profile, "type"]) == "Unconfined" {
            found.push(Remark::new(format!("{path}.{profile}.type"), "Unconfined is not allowed"));
        }
    }
    if !SELINUX_TYPES.contains(&str_at(context, &["seLinuxOptions", "type"])) {
        found.push(Remark::new(format!("{path}.seLinuxOptions.type"), "only the container types are allowed"));
    }
    for key in ["user", "role"] {
        if !str_at(context, &["seLinuxOptions", key]).is_empty() {
            found.push(Remark::new(format!("{path}.seLinuxOptions.{key}"), "may not be set"));
        }
    }
}

fn restricted_container(context: &Value, pod_context: &Value, path: &str, found: &mut Vec<Remark>) {
    let mut require = |ok: bool, field: &str, message: &str| {
        if !ok {
            found.push(Remark::new(format!("{path}.{field}"), message));
        }
    };
    require(context["allowPrivilegeEscalation"] == false, "allowPrivilegeEscalation", "must be false");
    let effective = |key: &str| if context[key].is_null() { &pod_context[key] } else { &context[key] };
    require(*effective("runAsNonRoot") == true, "runAsNonRoot", "must be true here or for the pod");
    require(*effective("runAsUser") != 0, "runAsUser", "must not be 0");
    let seccomp = effective("seccompProfile");
    require(
        matches!(str_at(seccomp, &["type"]), "RuntimeDefault" | "Localhost"),
        "seccompProfile.type",
        "must be RuntimeDefault or Localhost here or for the pod",
    );
    let drops_all = list_at(context, &["capabilities", "drop"]).iter().any(|c| c == "ALL");
    require(drops_all, "capabilities.drop", "must contain ALL");
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(pod: &Value, level: PodSecurity) -> Vec<String> {
        pod_security_check(pod, level).into_iter().map(|r| r.field).collect()
    }

    #[test]
    fn an_ordinary_pod_is_baseline_and_not_restricted() {
        let pod = json!({"spec": {"containers": [{"name": "c", "image": "i"}]}});
        assert!(fields(&pod, PodSecurity::Baseline).is_empty());
        assert_eq!(fields(&pod, PodSecurity::Restricted).len(), 4);
    }

    #[test]
    fn each_rule_of_baseline_finds_its_field() {
        let pod = json!({"spec": {
            "securityContext": {"seccompProfile": {"type": "Unconfined"}, "sysctls": [{"name": "kernel.msgmax"}],
                "seLinuxOptions": {"type": "spc_t", "user": "u"}},
            "initContainers": [{"securityContext": {"capabilities": {"add": ["SYS_ADMIN", "CHOWN"]}}}],
            "ephemeralContainers": [{"securityContext": {"procMount": "Unmasked", "appArmorProfile": {"type": "Unconfined"}}}],
        }});
        let mut found = fields(&pod, PodSecurity::Baseline);
        found.sort();
        assert_eq!(
            found,
            [
                "spec.ephemeralContainers[0].securityContext.appArmorProfile.type",
                "spec.ephemeralContainers[0].securityContext.procMount",
                "spec.initContainers[0].securityContext.capabilities.add",
                "spec.securityContext.seLinuxOptions.type",
                "spec.securityContext.seLinuxOptions.user",
                "spec.securityContext.seccompProfile.type",
                "spec.securityContext.sysctls[0].name",
            ]
        );
        assert!(fields(&pod, PodSecurity::None).is_empty());
    }

    #[test]
    fn a_careful_pod_is_restricted() {
        let pod = json!({"spec": {
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{"securityContext": {"allowPrivilegeEscalation": false, "runAsUser": 1000,
                "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}}}],
            "volumes": [{"name": "v", "emptyDir": {}}],
        }});
        assert!(fields(&pod, PodSecurity::Restricted).is_empty());
    }
}
