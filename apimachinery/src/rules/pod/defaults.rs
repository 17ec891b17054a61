//! What a pod's or a pod template's spec has when it does not say.

use serde_json::{Value, json};

use crate::rules::edit::{fill, fill_entries, fill_number, fill_text, items_mut, made_mut, map_mut, set, some_mut};
use crate::rules::image;

/// Defaults of a pod's spec wherever it stands. What only a pod itself has is in [`pod_default`].
pub(in crate::rules) fn pod_spec_default(spec: &mut Value) {
    fill_text(spec, "dnsPolicy", "ClusterFirst");
    fill_text(spec, "restartPolicy", "Always");
    made_mut(spec, "securityContext");
    fill(spec, "terminationGracePeriodSeconds", 30);
    fill_text(spec, "schedulerName", "default-scheduler");
    service_account_names(spec);
    for volume in items_mut(spec, "volumes") {
        volume_default(volume);
    }
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for container in items_mut(spec, list) {
            container_default(container);
        }
    }
}

/// Defaults of a pod template (`{metadata, spec}`).
pub(in crate::rules) fn pod_template_default(template: &mut Value) {
    if let Some(spec) = made_mut(template, "spec") {
        pod_spec_default(spec);
    }
}

/// Defaults of a pod.
pub(in crate::rules) fn pod_default(pod: &mut Value) {
    if let Some(status) = some_mut(pod, "status") {
        pod_address_default(status);
    }
    let Some(spec) = made_mut(pod, "spec") else { return };
    if spec.get("terminationGracePeriodSeconds").and_then(Value::as_i64).is_some_and(|s| s < 0) {
        set(spec, "terminationGracePeriodSeconds", 1);
    }
    pod_spec_default(spec);
    for list in ["containers", "initContainers"] {
        for container in items_mut(spec, list) {
            requests_from_limits(container);
        }
    }
    super::resources::pod_level_default(spec);
    fill(spec, "enableServiceLinks", true);
    if spec.get("hostNetwork").and_then(Value::as_bool).unwrap_or(false) {
        for list in ["containers", "initContainers"] {
            for container in items_mut(spec, list) {
                for port in items_mut(container, "ports") {
                    let container_port = port.get("containerPort").and_then(Value::as_i64).unwrap_or(0);
                    fill_number(port, "hostPort", container_port);
                }
            }
        }
    }
}

/// `podIP` is the first of `podIPs`; who writes only the old field changes the new one.
fn pod_address_default(status: &mut Value) {
    let one = status.get("podIP").and_then(Value::as_str).unwrap_or_default().to_owned();
    let first = status.pointer("/podIPs/0/ip").and_then(Value::as_str).map(str::to_owned);
    match first {
        _ if !one.is_empty() && first.as_deref() != Some(&one) => set(status, "podIPs", json!([{"ip": one}])),
        Some(first) if one.is_empty() => set(status, "podIP", first),
        _ => {}
    }
}

/// `serviceAccount` is the old name of `serviceAccountName`; both are always shown.
fn service_account_names(spec: &mut Value) {
    let text = |key: &str| spec.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let name = match text("serviceAccountName") {
        name if name.is_empty() => text("serviceAccount"),
        name => name,
    };
    if !name.is_empty() {
        set(spec, "serviceAccountName", name.clone());
        set(spec, "serviceAccount", name);
    }
}

fn requests_from_limits(container: &mut Value) {
    let Some(resources) = some_mut(container, "resources") else { return };
    let Some(limits) = map_mut(resources, "limits").map(|limits| limits.clone()) else { return };
    if let Some(Value::Object(requests)) = made_mut(resources, "requests") {
        fill_entries(requests, &limits);
    }
}

fn container_default(container: &mut Value) {
    let image = container.get("image").and_then(Value::as_str).unwrap_or_default();
    let policy = if image::tag(image) == Some("latest") { "Always" } else { "IfNotPresent" };
    fill_text(container, "imagePullPolicy", policy);
    fill_text(container, "terminationMessagePath", "/dev/termination-log");
    fill_text(container, "terminationMessagePolicy", "File");
    for port in items_mut(container, "ports") {
        fill_text(port, "protocol", "TCP");
    }
    for env in items_mut(container, "env") {
        if let Some(source) = some_mut(env, "valueFrom") {
            if let Some(field) = some_mut(source, "fieldRef") {
                fill_text(field, "apiVersion", "v1");
            }
            if let Some(file) = some_mut(source, "fileKeyRef") {
                fill(file, "optional", false);
            }
        }
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = some_mut(container, probe) {
            probe_default(probe);
        }
    }
    if let Some(lifecycle) = some_mut(container, "lifecycle") {
        for hook in ["postStart", "preStop"] {
            if let Some(hook) = some_mut(lifecycle, hook) {
                http_get_default(hook);
            }
        }
    }
}

fn probe_default(probe: &mut Value) {
    fill_number(probe, "timeoutSeconds", 1);
    fill_number(probe, "periodSeconds", 10);
    fill_number(probe, "successThreshold", 1);
    fill_number(probe, "failureThreshold", 3);
    http_get_default(probe);
    if let Some(grpc) = some_mut(probe, "grpc") {
        fill(grpc, "service", "");
    }
}

fn http_get_default(handler: &mut Value) {
    if let Some(get) = some_mut(handler, "httpGet") {
        fill_text(get, "path", "/");
        fill_text(get, "scheme", "HTTP");
    }
}

fn volume_default(volume: &mut Value) {
    let has_source = volume.as_object().is_some_and(|v| v.iter().any(|(k, v)| k != "name" && !v.is_null()));
    if !has_source {
        fill(volume, "emptyDir", json!({}));
    }
    for source in ["secret", "configMap", "downwardAPI", "projected"] {
        if let Some(source) = some_mut(volume, source) {
            fill(source, "defaultMode", 0o644);
            downward_default(source);
            for projection in items_mut(source, "sources") {
                if let Some(token) = some_mut(projection, "serviceAccountToken") {
                    fill(token, "expirationSeconds", 3600);
                }
                if let Some(downward) = some_mut(projection, "downwardAPI") {
                    downward_default(downward);
                }
            }
        }
    }
    if let Some(image) = some_mut(volume, "image") {
        let reference = image.get("reference").and_then(Value::as_str).unwrap_or_default();
        let policy = if image::tag(reference) == Some("latest") { "Always" } else { "IfNotPresent" };
        fill_text(image, "pullPolicy", policy);
    }
    if let Some(claim) = some_mut(volume, "ephemeral").and_then(|e| some_mut(e, "volumeClaimTemplate"))
        && let Some(spec) = made_mut(claim, "spec")
    {
        claim_spec_default(spec);
    }
    volume_source_default(volume);
}

fn downward_default(source: &mut Value) {
    for item in items_mut(source, "items") {
        if let Some(field) = some_mut(item, "fieldRef") {
            fill_text(field, "apiVersion", "v1");
        }
    }
}

/// Defaults of a PersistentVolumeClaim's spec.
pub(in crate::rules) fn claim_spec_default(spec: &mut Value) {
    fill(spec, "volumeMode", "Filesystem");
}

/// Defaults of the volume sources that volumes of pods and PersistentVolumes share.
pub(in crate::rules) fn volume_source_default(source: &mut Value) {
    if let Some(host_path) = some_mut(source, "hostPath") {
        fill(host_path, "type", "");
    }
    if let Some(iscsi) = some_mut(source, "iscsi") {
        fill_text(iscsi, "iscsiInterface", "default");
    }
    if let Some(rbd) = some_mut(source, "rbd") {
        fill_text(rbd, "pool", "rbd");
        fill_text(rbd, "user", "admin");
        fill_text(rbd, "keyring", "/etc/ceph/keyring");
    }
    if let Some(disk) = some_mut(source, "azureDisk") {
        fill(disk, "cachingMode", "ReadWrite");
        fill(disk, "fsType", "ext4");
        fill(disk, "readOnly", false);
        fill(disk, "kind", "Shared");
    }
    if let Some(scale) = some_mut(source, "scaleIO") {
        fill_text(scale, "storageMode", "ThinProvisioned");
        fill_text(scale, "fsType", "xfs");
    }
}
