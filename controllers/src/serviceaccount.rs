//! What every namespace has: the service account `default` and the config map `kube-root-ca.crt`.

use apimachinery::meta::str_at;
use apimachinery::status::ApiError;
use async_trait::async_trait;
use serde_json::json;
use tenant_client::{Caller, Change};

use crate::context::{Context, resource};
use crate::controller::{Again, Controller, Key};
use crate::object::deleting;

const SERVICE_ACCOUNT: Caller =
    Caller { user: "system:serviceaccount:kube-system:service-account-controller", manager: "kube-controller-manager" };
const ROOT_CA_PUBLISHER: Caller =
    Caller { user: "system:serviceaccount:kube-system:root-ca-cert-publisher", manager: "kube-controller-manager" };
const DEFAULT: &str = "default";
const ROOT_CA: &str = "kube-root-ca.crt";
/// Where the API server keeps the CA that clients trust.
const AUTHENTICATION: (&str, &str) = ("kube-system", "extension-apiserver-authentication");

/// Keeps a service account `default` in each namespace. Keys are namespaces.
pub(crate) struct DefaultServiceAccount;

/// Keeps the tenant's CA in each namespace. Keys are namespaces.
pub(crate) struct RootCa;

/// Adds the namespace of a change to a namespace, or to the object of this name in one.
fn namespace_keys(change: &Change, group: &str, plural: &str, named: &str, add: &mut dyn FnMut(&str, &str)) {
    let Some(object) = change.object() else { return };
    if !change.resource.group.is_empty() {
        return;
    }
    if change.resource.resource == "namespaces" && change.new.is_some() {
        add("", &object.name);
    } else if change.resource.group == group && change.resource.resource == plural && object.name == named {
        add("", &object.namespace);
    }
}

async fn is_active(context: &Context, key: Key<'_>) -> Result<bool, ApiError> {
    let namespace = context.get(Key { namespace: "", ..key }, &resource("", "namespaces"), key.name).await?;
    Ok(namespace.is_some_and(|n| !deleting(&n)))
}

#[async_trait]
impl Controller for DefaultServiceAccount {
    fn name(&self) -> &'static str {
        "serviceaccount"
    }

    fn resources(&self) -> &'static [(&'static str, &'static str)] {
        &[("", "namespaces")]
    }

    fn keys(&self, change: &Change, add: &mut dyn FnMut(&str, &str)) {
        namespace_keys(change, "", "serviceaccounts", DEFAULT, add);
    }

    async fn reconcile(&self, context: &Context, key: Key<'_>) -> Result<Again, ApiError> {
        if !is_active(context, key).await? {
            return Ok(None);
        }
        let inside = Key { namespace: key.name, ..key };
        let accounts = resource("", "serviceaccounts");
        if context.get(inside, &accounts, DEFAULT).await?.is_none() {
            let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": DEFAULT, "namespace": key.name}});
            context.create(SERVICE_ACCOUNT, inside, &accounts, account).await?;
        }
        Ok(None)
    }
}

#[async_trait]
impl Controller for RootCa {
    fn name(&self) -> &'static str {
        "root-ca-certificate-publisher"
    }

    fn resources(&self) -> &'static [(&'static str, &'static str)] {
        &[("", "namespaces")]
    }

    fn keys(&self, change: &Change, add: &mut dyn FnMut(&str, &str)) {
        namespace_keys(change, "", "configmaps", ROOT_CA, add);
    }

    async fn reconcile(&self, context: &Context, key: Key<'_>) -> Result<Again, ApiError> {
        if !is_active(context, key).await? {
            return Ok(None);
        }
        let maps = resource("", "configmaps");
        let source = context.get(Key { namespace: AUTHENTICATION.0, ..key }, &maps, AUTHENTICATION.1).await?;
        let ca = source.as_ref().map(|s| str_at(s, &["data", "client-ca-file"])).unwrap_or_default();
        if ca.is_empty() {
            return Err(ApiError::unavailable(format!(
                "config map {}/{} has no client-ca-file",
                AUTHENTICATION.0, AUTHENTICATION.1
            )));
        }
        let data = json!({"ca.crt": ca});
        let inside = Key { namespace: key.name, ..key };
        match context.get(inside, &maps, ROOT_CA).await? {
            None => {
                let map = json!({
                    "apiVersion": "v1",
                    "kind": "ConfigMap",
                    "metadata": {
                        "name": ROOT_CA,
                        "namespace": key.name,
                        "annotations": {"kubernetes.io/description": "The CA certificate of this cluster's API server. Pods use it to tell that they talk to the right one."},
                    },
                    "data": data,
                });
                context.create(ROOT_CA_PUBLISHER, inside, &maps, map).await?;
            }
            Some(mut map) if map.get("data") != Some(&data) => {
                map["data"] = data;
                context.update(ROOT_CA_PUBLISHER, inside, &maps, "", map).await?;
            }
            Some(_) => {}
        }
        Ok(None)
    }
}
