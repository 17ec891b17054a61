//! `TokenRequest`: a token for a service account, posted to its `token` subresource.
//!
//! Source: `k8s.io/kubernetes/pkg/registry/core/serviceaccount/storage/token.go`. Tokens are never valid for longer than
//! they say: the extension of a pod's default token to a year is left out, because the kubelet that it is meant for is
//! not there; the syncer renews what pods hold.

use std::sync::Arc;
use std::time::Duration;

use apimachinery::field::{Errors, Path};
use apimachinery::gvk::{GroupResource, GroupVersionKind};
use apimachinery::meta::{str_at, text};
use apimachinery::status::ApiError;
use async_trait::async_trait;
use serde_json::{Value, json};

use super::{Context, in_namespace, strings};
use crate::auth::objects::{Objects, decode};
use crate::auth::token::claims::{self, Bound, Grant, Reference};
use crate::clock::rfc3339;
use crate::registry::{Call, Registry};
use crate::special::Post;

/// How long a token is good for when the request does not say.
pub(crate) const DEFAULT_SECONDS: i64 = 3600;
const MIN_SECONDS: i64 = 600;
const MAX_SECONDS: i64 = 1 << 32;

pub(super) struct TokenRequest(pub(super) Context);

#[async_trait]
impl Post for TokenRequest {
    async fn post(&self, registry: &Arc<Registry>, call: &Call, mut object: Value) -> Result<(u16, Value), ApiError> {
        let tenant = self.0.tenant(call.tenant)?;
        let objects = Objects { store: registry.store().as_ref(), tenant: call.tenant };
        let kind = GroupVersionKind::new("authentication.k8s.io", "v1", "TokenRequest");
        in_namespace(call, &mut object)?;
        let given = text(&object, "name");
        if !given.is_empty() && given != call.name {
            let mut errors = Errors::default();
            let why = "must match the service account name if specified";
            errors.invalid_str(&Path::new("metadata").child("name"), given, why);
            return Err(ApiError::invalid(&kind, &call.name, &errors));
        }
        let accounts = GroupResource::new("", "serviceaccounts");
        let account = objects.get("serviceaccounts", &call.namespace, &call.name).await?;
        let account = account.ok_or_else(|| ApiError::not_found(&accounts, &call.name))?;
        let uid = account.uid().to_string();
        let given = text(&object, "uid");
        if !given.is_empty() && given != uid {
            let why =
                format!("the UID in the token request ({given}) does not match the UID of the service account ({uid})");
            let resource = GroupResource::new("authentication.k8s.io", "TokenRequest");
            return Err(ApiError::conflict(&resource, &call.name, &why));
        }
        let seconds = object["spec"]["expirationSeconds"].as_i64().unwrap_or(DEFAULT_SECONDS);
        let mut audiences = strings(&object["spec"]["audiences"]);
        if audiences.is_empty() {
            audiences.push(tenant.issuer());
        }
        let mut errors = Errors::default();
        let path = Path::new("spec").child("expirationSeconds");
        if seconds < MIN_SECONDS {
            errors.invalid(&path, &json!(seconds), "may not specify a duration less than 10 minutes");
        }
        if seconds > MAX_SECONDS {
            errors.invalid(&path, &json!(seconds), "may not specify a duration larger than 2^32 seconds");
        }
        if !errors.is_empty() {
            return Err(ApiError::invalid(&kind, "", &errors));
        }
        let bound = bound(objects, call, &object["spec"]["boundObjectRef"]).await?;
        let account = Reference { name: call.name.clone(), uid: uid.clone() };
        let grant = Grant { namespace: call.namespace.clone(), account, bound, audiences, seconds };
        let now = self.0.clock.now();
        let claims = claims::issue(&tenant.issuer(), &grant, now);
        let token = tenant.token_key().sign(&claims).map_err(ApiError::internal)?;
        let lifetime = Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
        let owners = object["metadata"]["managedFields"].take();
        object["metadata"] = json!({
            "name": call.name, "namespace": call.namespace, "uid": uid, "creationTimestamp": rfc3339(now),
        });
        if owners.is_array() {
            object["metadata"]["managedFields"] = owners;
        }
        object["spec"]["audiences"] = json!(grant.audiences);
        object["spec"]["expirationSeconds"] = json!(seconds);
        object["spec"]["boundObjectRef"] = object["spec"]["boundObjectRef"].take();
        object["status"] = json!({"token": token, "expirationTimestamp": rfc3339(now + lifetime)});
        object["kind"] = json!("TokenRequest");
        object["apiVersion"] = json!("authentication.k8s.io/v1");
        Ok((201, object))
    }
}

/// What a token is to be bound to, after a look at it.
async fn bound(objects: Objects<'_>, call: &Call, reference: &Value) -> Result<Bound, ApiError> {
    if !reference.is_object() {
        return Ok(Bound::Account);
    }
    let (api_version, kind) = (str_at(reference, &["apiVersion"]), str_at(reference, &["kind"]));
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let (collection, namespace) = match (group, kind) {
        ("", "Pod") => ("pods", call.namespace.as_str()),
        ("", "Secret") => ("secrets", call.namespace.as_str()),
        ("", "Node") => ("nodes", ""),
        _ => {
            let shown = format!("{group}/{version}, Kind={kind}");
            return Err(ApiError::bad_request(format!("cannot bind token to object of type {shown}")));
        }
    };
    let name = str_at(reference, &["name"]);
    let found = objects.get(collection, namespace, name).await?;
    let found = found.ok_or_else(|| ApiError::not_found(&GroupResource::new("", collection), name))?;
    let own = Reference { name: name.to_owned(), uid: found.uid().to_string() };
    let mut node = None;
    if kind == "Pod" {
        let pod = decode(&found)?;
        if str_at(&pod, &["spec", "serviceAccountName"]) != call.name {
            let account = apimachinery::field::quote(&call.name);
            return Err(ApiError::bad_request(format!(
                "cannot bind token for serviceaccount {account} to pod running with different serviceaccount name."
            )));
        }
        let name = str_at(&pod, &["spec", "nodeName"]);
        if !name.is_empty() {
            let uid = objects.get("nodes", "", name).await?.map(|n| n.uid().to_string()).unwrap_or_default();
            node = Some(Reference { name: name.to_owned(), uid });
        }
    }
    let asked = str_at(reference, &["uid"]);
    if !asked.is_empty() && asked != own.uid {
        let why = format!(
            "the UID in the bound object reference ({asked}) does not match the UID in record. The object might have \
             been deleted and then recreated"
        );
        return Err(ApiError::conflict(&GroupResource::new("", kind), name, &why));
    }
    Ok(match kind {
        "Pod" => Bound::Pod(own, node),
        "Secret" => Bound::Secret(own),
        _ => Bound::Node(own),
    })
}
