//! Every pod runs as a service account and, unless it does not want to, has that account's token mounted.
//!
//! Source: `k8s.io/kubernetes/plugin/pkg/admission/serviceaccount`.

use std::time::Duration;

use apimachinery::gvk::GroupResource;
use apimachinery::meta;
use apimachinery::status::ApiError;
use async_trait::async_trait;
use serde_json::{Value, json};

use super::{Admission, Operation, Request};

const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const VOLUME_PREFIX: &str = "kube-api-access-";
const DEFAULT: &str = "default";
const MIRROR: &str = "kubernetes.io/config.mirror";
/// How long the default account of a new namespace is waited for.
const DEFAULT_WAIT: Duration = Duration::from_millis(1500);
/// How long the mounted token lives: an hour, and seven seconds by which the kubelet knows it.
const TOKEN_SECONDS: u32 = 3607;

pub(super) struct ServiceAccount;

#[async_trait]
impl Admission for ServiceAccount {
    fn name(&self) -> &'static str {
        "ServiceAccount"
    }

    async fn mutate(&self, request: &mut Request<'_>) -> Result<(), ApiError> {
        if request.operation != Operation::Create || !request.is_for("", "pods", "") {
            return Ok(());
        }
        let call = request.call;
        let Some(pod) = request.object.as_mut() else { return Ok(()) };
        if meta::metadata(pod).and_then(|m| m.get("annotations")).and_then(|a| a.get(MIRROR)).is_some() {
            return check_mirror(pod);
        }
        if meta::str_at(pod, &["spec", "serviceAccountName"]).is_empty() {
            pod["spec"]["serviceAccountName"] = json!(DEFAULT);
            pod["spec"]["serviceAccount"] = json!(DEFAULT);
        }
        let name = meta::str_at(pod, &["spec", "serviceAccountName"]).to_owned();
        let accounts = GroupResource::new("", "serviceaccounts");
        let wait = if name == DEFAULT { DEFAULT_WAIT } else { Duration::ZERO };
        let found = match request.registry.object(call.tenant, &accounts, &call.namespace, &name).await? {
            None if !wait.is_zero() => {
                request.registry.object_soon(call.tenant, &accounts, &call.namespace, &name, wait).await?
            }
            found => found,
        };
        let Some(account) = found else {
            let why = format!(
                "error looking up service account {}/{name}: serviceaccount \"{name}\" not found",
                call.namespace
            );
            return Err(forbidden(pod, &why));
        };
        let account = account.to_value()?;
        let wants = pod["spec"].get("automountServiceAccountToken").or(account.get("automountServiceAccountToken"));
        if wants != Some(&Value::Bool(false)) {
            mount(pod);
        }
        if meta::list_at(pod, &["spec", "imagePullSecrets"]).is_empty() {
            let secrets = meta::list_at(&account, &["imagePullSecrets"]);
            if !secrets.is_empty() {
                pod["spec"]["imagePullSecrets"] = secrets.iter().map(|s| json!({"name": s["name"]})).collect();
            }
        }
        check_secrets(&account, pod)
    }
}

fn forbidden(pod: &Value, why: &str) -> ApiError {
    ApiError::forbidden(&GroupResource::new("", "pods"), meta::name(pod), why)
}

/// A pod that mirrors one of the kubelet's own references nothing of the API.
fn check_mirror(pod: &Value) -> Result<(), ApiError> {
    if !meta::str_at(pod, &["spec", "serviceAccountName"]).is_empty() {
        return Err(forbidden(pod, "a mirror pod may not reference service accounts"));
    }
    if pod["spec"].to_string().contains("\"serviceAccountToken\"") {
        return Err(forbidden(pod, "a mirror pod may not use ServiceAccountToken volume projections"));
    }
    Ok(())
}

/// Accounts that say so limit which secrets their pods may have.
fn check_secrets(account: &Value, pod: &Value) -> Result<(), ApiError> {
    let limits = meta::at(account, &["metadata", "annotations", "kubernetes.io/enforce-mountable-secrets"]);
    if limits.and_then(Value::as_str) != Some("true") {
        return Ok(());
    }
    let name = meta::name(account);
    let allowed =
        |list: &str, secret: &Value| meta::list_at(account, &[list]).iter().any(|s| s.get("name") == Some(secret));
    for volume in meta::list_at(pod, &["spec", "volumes"]) {
        if let Some(secret) = meta::at(volume, &["secret", "secretName"]).filter(|s| !allowed("secrets", s)) {
            let why = format!(
                "volume with secret.secretName={secret} is not allowed because service account {name} does not reference that secret"
            );
            return Err(forbidden(pod, &why));
        }
    }
    for (list, what) in [("initContainers", "init container"), ("containers", "container")] {
        for container in meta::list_at(pod, &["spec", list]) {
            let from_env = meta::list_at(container, &["env"]).iter().filter_map(|e| {
                let secret = meta::at(e, &["valueFrom", "secretKeyRef", "name"])?;
                Some((format!("envVar {} referencing", meta::str_at(e, &["name"])), secret))
            });
            let from_all = meta::list_at(container, &["envFrom"])
                .iter()
                .filter_map(|e| Some(("envFrom referencing".to_owned(), meta::at(e, &["secretRef", "name"])?)));
            if let Some((how, secret)) = from_env.chain(from_all).find(|(_, s)| !allowed("secrets", s)) {
                let container = meta::str_at(container, &["name"]);
                let why = format!(
                    "{what} {container} with {how} secret.secretName={secret} is not allowed because service account {name} does not reference that secret"
                );
                return Err(forbidden(pod, &why));
            }
        }
    }
    for (i, secret) in meta::list_at(pod, &["spec", "imagePullSecrets"]).iter().enumerate() {
        if secret.get("name").is_some_and(|s| !allowed("imagePullSecrets", s)) {
            let why = format!(
                "imagePullSecrets[{i}].name={} is not allowed because service account {name} does not reference that imagePullSecret",
                secret["name"]
            );
            return Err(forbidden(pod, &why));
        }
    }
    Ok(())
}

/// Mounts the account's token, the API server's CA and the namespace where no container has something else.
fn mount(pod: &mut Value) {
    let volumes = meta::list_at(pod, &["spec", "volumes"]);
    let there = volumes.iter().map(|v| meta::str_at(v, &["name"])).find(|n| n.starts_with(VOLUME_PREFIX));
    let there = there.map(str::to_owned);
    let name = there.clone().unwrap_or_else(|| crate::registry::generate_name(VOLUME_PREFIX));
    let mut needed = false;
    for list in ["initContainers", "containers"] {
        let containers = pod["spec"].get_mut(list).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten().filter_map(Value::as_object_mut) {
            let mounts = container.entry("volumeMounts").or_insert_with(|| json!([]));
            let Some(mounts) = mounts.as_array_mut() else { continue };
            if mounts.iter().any(|m| m["mountPath"] == MOUNT_PATH) {
                continue;
            }
            mounts.push(json!({"name": name, "readOnly": true, "mountPath": MOUNT_PATH}));
            needed = true;
        }
    }
    if !needed || there.is_some() {
        return;
    }
    let Some(spec) = pod["spec"].as_object_mut() else { return };
    if let Some(volumes) = spec.entry("volumes").or_insert_with(|| json!([])).as_array_mut() {
        volumes.push(token_volume(&name));
    }
}

fn token_volume(name: &str) -> Value {
    json!({"name": name, "projected": {"defaultMode": 0o644, "sources": [
        {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [
            {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}},
        ]}},
    ]}})
}
