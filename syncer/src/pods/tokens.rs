//! The tokens of a pod: issued by its tenant, bound to it, kept in a secret of the host that goes with it.

use std::time::Duration;

use apimachinery::gvk::GroupResource;
use apimachinery::meta;
use apimachinery::tenant::TenantId;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use tenant_client::Target;
use tokio::time::Instant;

use super::translate::TokenNeed;
use crate::context::{CALLER, Context};
use crate::error::SyncError;
use crate::host_api::{HostKind, HostPatch};
use crate::marks::{self, Mark};
use crate::{clock, names};
use tenant_client::work::Item;

const SECRETS: HostKind = HostKind::core("secrets", "Secret");
/// The API issues no token for less.
const SHORTEST: i64 = 600;

/// Sees to it that the token secret of a pod holds what it must, and that someone looks again before it expires.
///
/// `host_uid` is the host pod's, once there is one: the secret then belongs to it.
pub(super) async fn tokens_ensure(
    context: &Context,
    tenant: TenantId,
    item: &Item,
    pod: &Value,
    needs: &[TokenNeed],
    host_uid: Option<&str>,
) -> Result<(), SyncError> {
    let uid = meta::uid(pod);
    let key = (tenant, uid.to_owned());
    if needs.is_empty() || context.tokens.lock().get(&key).is_some_and(|renew| *renew > Instant::now()) {
        return Ok(());
    }
    let settings = context.settings(tenant)?;
    let host_namespace = context.host_namespace(tenant, meta::namespace(pod))?;
    let name = names::token_secret(tenant, meta::name(pod), uid);
    let present = context.host.get(SECRETS, &host_namespace, &name).await?;
    if let Some(present) = &present
        && let Some(left) = still_good(present, uid, needs)
    {
        remember(context, tenant, item, uid, left);
        return Ok(());
    }
    let mut data = Map::new();
    let mut shortest = i64::MAX;
    for need in needs {
        let (token, holds) = issue(context, tenant, pod, need).await?;
        shortest = shortest.min(holds);
        data.insert(need.key.clone(), json!(STANDARD.encode(token)));
    }
    let renew_in = shortest * 4 / 5;
    let (mut labels, mut annotations) = (Map::new(), Map::new());
    let mark = Mark {
        tenant,
        resource: "token".to_owned(),
        namespace: meta::namespace(pod).to_owned(),
        name: meta::name(pod).to_owned(),
        uid: uid.to_owned(),
    };
    mark.write(&settings.name, &mut labels, &mut annotations);
    annotations.insert(marks::RENEW_AT.to_owned(), json!((clock::now_seconds() + renew_in).to_string()));
    let mut secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque", "data": data,
        "metadata": {"name": name, "namespace": host_namespace, "labels": labels, "annotations": annotations},
    });
    if let Some(host_uid) = host_uid {
        secret["metadata"]["ownerReferences"] = json!([owner(pod, host_uid)]);
    }
    let known = present.as_ref().filter(|p| p["metadata"]["annotations"][marks::UID] == uid).map(meta::uid);
    context.host.apply_owned(SECRETS, &mut secret, known, false).await?;
    remember(context, tenant, item, uid, Duration::from_secs(renew_in.unsigned_abs()));
    Ok(())
}

/// Makes the token secret of a pod belong to its host pod, which the host had not made before.
pub(super) async fn tokens_adopt(
    context: &Context,
    tenant: TenantId,
    pod: &Value,
    host_uid: &str,
) -> Result<(), SyncError> {
    let host_namespace = context.host_namespace(tenant, meta::namespace(pod))?;
    let name = names::token_secret(tenant, meta::name(pod), meta::uid(pod));
    let patch = HostPatch::Merge(json!({"metadata": {"ownerReferences": [owner(pod, host_uid)]}}));
    context.host.patch(SECRETS, &host_namespace, &name, "", &patch).await?;
    Ok(())
}

fn owner(pod: &Value, host_uid: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "name": meta::name(pod), "uid": host_uid})
}

fn remember(context: &Context, tenant: TenantId, item: &Item, uid: &str, left: Duration) {
    context.tokens.lock().insert((tenant, uid.to_owned()), Instant::now() + left);
    context.queue.add_after(tenant, item.clone(), left + Duration::from_secs(1));
}

/// For how long a secret needs no new tokens; `None` if it does now.
fn still_good(secret: &Value, uid: &str, needs: &[TokenNeed]) -> Option<Duration> {
    let annotations = &secret["metadata"]["annotations"];
    let renew_at: i64 = annotations[marks::RENEW_AT].as_str()?.parse().ok()?;
    let left = u64::try_from(renew_at - clock::now_seconds()).ok().filter(|left| *left > 0)?;
    let complete = needs.iter().all(|need| secret["data"].get(&need.key).is_some());
    (annotations[marks::UID] == uid && complete).then(|| Duration::from_secs(left))
}

async fn issue(context: &Context, tenant: TenantId, pod: &Value, need: &TokenNeed) -> Result<(String, i64), SyncError> {
    let resource = GroupResource::new("", "serviceaccounts");
    let account = match meta::str_at(pod, &["spec", "serviceAccountName"]) {
        "" => "default",
        name => name,
    };
    let expiration = need.expiration_seconds.max(SHORTEST);
    let mut spec = json!({
        "expirationSeconds": expiration,
        "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": meta::name(pod), "uid": meta::uid(pod)},
    });
    spec["audiences"] = need.audience.iter().map(|a| json!(a)).collect();
    let request =
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "metadata": {}, "spec": spec});
    let namespace = meta::namespace(pod);
    let target = Target { tenant, resource: &resource, namespace, name: account, subresource: "token" };
    let answer = context.tenants.create(CALLER, target, request).await?;
    let token = answer["status"]["token"].as_str().unwrap_or_default();
    if token.is_empty() {
        return Err(SyncError::Refused(format!("the API gave no token for service account {account:?}")));
    }
    // The API may have granted less than was asked for.
    Ok((token.to_owned(), answer["spec"]["expirationSeconds"].as_i64().unwrap_or(expiration)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_renewed_when_it_is_due_incomplete_or_another_pods() {
        let need = |key: &str| TokenNeed { key: key.into(), audience: None, expiration_seconds: 3600 };
        let secret = |in_seconds: i64| {
            let at = (clock::now_seconds() + in_seconds).to_string();
            json!({"metadata": {"annotations": {(marks::RENEW_AT): at, (marks::UID): "u"}}, "data": {"token-0-0": "x"}})
        };
        assert!(still_good(&secret(100), "u", &[need("token-0-0")]).is_some_and(|left| left.as_secs() > 90));
        assert!(still_good(&secret(-1), "u", &[need("token-0-0")]).is_none());
        assert!(still_good(&secret(100), "v", &[need("token-0-0")]).is_none());
        assert!(still_good(&secret(100), "u", &[need("token-0-0"), need("token-1-0")]).is_none());
        assert!(still_good(&json!({}), "u", &[]).is_none());
    }
}
