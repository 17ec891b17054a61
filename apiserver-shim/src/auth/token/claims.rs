//! What a service-account token says, and whether it still holds.
//!
//! Source: `k8s.io/kubernetes/pkg/serviceaccount/claims.go` (KEP-1205, KEP-2799, KEP-4193).

use std::time::Duration;

use apimachinery::envelope::Stored;
use apimachinery::rbac::rule::quote_list;
use apimachinery::status::ApiError;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::jwt::{TokenError, claimed_issuer};
use crate::auth::User;
use crate::auth::objects::{Objects, deleted_at};
use crate::tenants::Tenant;

/// How far clocks may differ.
const LEEWAY: Duration = Duration::from_secs(60);
const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";

/// Something that a token names: name and uid.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reference {
    /// Name.
    pub name: String,
    /// Uid; empty only for the node of a pod that is not there.
    pub uid: String,
}

/// What binds a token's life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bound {
    /// Nothing but its service account.
    Account,
    /// A pod, and the node that it runs on if it runs.
    Pod(Reference, Option<Reference>),
    /// A secret.
    Secret(Reference),
    /// A node.
    Node(Reference),
}

/// A token to be issued.
#[derive(Clone, Debug)]
pub struct Grant {
    /// The service account's namespace.
    pub namespace: String,
    /// The service account.
    pub account: Reference,
    /// What binds its life.
    pub bound: Bound,
    /// Who may accept it.
    pub audiences: Vec<String>,
    /// How long it is valid, in seconds.
    pub seconds: i64,
}

/// A token that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Whose it is. `system:authenticated` is not among the groups yet.
    pub user: User,
    /// The audiences that it is for, of those asked for.
    pub audiences: Vec<String>,
}

/// Why a token was not accepted.
#[derive(Clone, Debug, PartialEq)]
pub enum Rejected {
    /// It is not one of this tenant's tokens at all.
    Foreign,
    /// It is, and does not hold.
    Invalid(TokenError),
    /// Whether it holds could not be found out.
    Failed(ApiError),
}

/// The claims of a token, to be signed.
pub fn issue(issuer: &str, grant: &Grant, now: Timestamp) -> Value {
    let reference = |r: &Reference| {
        let mut out = json!({"name": r.name});
        if !r.uid.is_empty() {
            out["uid"] = json!(r.uid);
        }
        out
    };
    let mut kubernetes = json!({"namespace": grant.namespace, "serviceaccount": reference(&grant.account)});
    match &grant.bound {
        Bound::Account => {}
        Bound::Pod(pod, node) => {
            kubernetes["pod"] = reference(pod);
            if let Some(node) = node {
                kubernetes["node"] = reference(node);
            }
        }
        Bound::Secret(secret) => kubernetes["secret"] = reference(secret),
        Bound::Node(node) => kubernetes["node"] = reference(node),
    }
    let seconds = now.as_second();
    json!({
        "iss": issuer,
        "sub": crate::auth::user::service_account_name(&grant.namespace, &grant.account.name),
        "aud": grant.audiences,
        "exp": seconds.saturating_add(grant.seconds),
        "iat": seconds,
        "nbf": seconds,
        "jti": uuid::Uuid::new_v4().to_string(),
        "kubernetes.io": kubernetes,
    })
}

/// Checks a token of a tenant for one of the audiences `wanted`: signature, times, and that the service account and
/// what binds it are still there, with the uids that the token names.
///
/// # Errors
/// See [`Rejected`].
pub(crate) async fn accept(
    tenant: &Tenant,
    objects: Objects<'_>,
    token: &str,
    wanted: &[String],
    now: Timestamp,
) -> Result<Accepted, Rejected> {
    let issuer = tenant.issuer();
    if claimed_issuer(token).as_deref() != Some(issuer.as_str()) {
        return Err(Rejected::Foreign);
    }
    let claims = tenant.token_key().verify(token).map_err(Rejected::Invalid)?;
    let refused = |why: String| Rejected::Invalid(TokenError::Claims(why));
    // Looked at before without a signature.
    if claims["iss"].as_str() != Some(issuer.as_str()) {
        return Err(refused("token issuer is invalid".to_owned()));
    }
    let own = strings(&claims["aud"]);
    let audiences: Vec<String> = own.iter().filter(|a| wanted.contains(a)).cloned().collect();
    if audiences.is_empty() {
        let (own, wanted) = (quote_list(&own), quote_list(wanted));
        return Err(refused(format!("token audiences {own} is invalid for the target audiences {wanted}")));
    }
    check_times(&claims, now).map_err(|why| refused(why.to_owned()))?;
    let user = check_objects(&claims, objects, now).await?;
    Ok(Accepted { user, audiences })
}

fn check_times(claims: &Value, now: Timestamp) -> Result<(), &'static str> {
    let time = |key: &str| claims[key].as_i64().and_then(|s| Timestamp::from_second(s).ok());
    let (Some(begin), Some(end), Some(issued)) = (time("nbf"), time("exp"), time("iat")) else {
        return Err("service account token claims could not be validated due to unexpected validation error");
    };
    if now + LEEWAY < begin {
        Err("service account token is not valid yet")
    } else if now - LEEWAY > end {
        Err("service account token has expired")
    } else if now + LEEWAY < issued {
        Err("service account token is issued in the future")
    } else {
        Ok(())
    }
}

async fn check_objects(claims: &Value, objects: Objects<'_>, now: Timestamp) -> Result<User, Rejected> {
    let kubernetes = &claims["kubernetes.io"];
    let namespace = kubernetes["namespace"].as_str().unwrap_or_default();
    let refused = |why: String| Rejected::Invalid(TokenError::Claims(why));
    let named = |key: &str| {
        let found = kubernetes.get(key)?;
        let text = |k: &str| found[k].as_str().unwrap_or_default().to_owned();
        Some(Reference { name: text("name"), uid: text("uid") })
    };
    let gone = |o: &Stored| deleted_at(o).is_some_and(|at| at < now - LEEWAY);
    let account = named("serviceaccount").unwrap_or_default();
    let found = objects.get("serviceaccounts", namespace, &account.name).await.map_err(Rejected::Failed)?;
    let Some(found) = found.filter(|_| !namespace.is_empty()) else {
        return Err(refused(format!("serviceaccounts \"{}\" not found", account.name)));
    };
    if found.uid().to_string() != account.uid {
        let (uid, claim) = (found.uid(), &account.uid);
        return Err(refused(format!("service account UID ({uid}) does not match claim ({claim})")));
    }
    if gone(&found) {
        return Err(refused(format!("service account {namespace}/{} has been deleted", account.name)));
    }
    let (secret, pod, node) = (named("secret"), named("pod"), named("node"));
    // The node of a token that is bound to a pod is information; the node of one that is not binds it.
    let bound = [
        ("secrets", "secret", "secret ref", namespace, secret.as_ref()),
        ("pods", "pod", "pod ref", namespace, pod.as_ref()),
        ("nodes", "node", "node ref", "", node.as_ref().filter(|_| pod.is_none())),
    ];
    for (collection, kind, claim, namespace, reference) in bound {
        let Some(reference) = reference else { continue };
        let found = objects.get(collection, namespace, &reference.name).await.map_err(Rejected::Failed)?;
        let Some(found) = found.filter(|o| !gone(o)) else {
            return Err(refused("service account token has been invalidated".to_owned()));
        };
        if found.uid().to_string() != reference.uid {
            let mut kind = kind.to_owned();
            kind[..1].make_ascii_uppercase();
            return Err(refused(format!(
                "{kind} UID ({}) does not match service account {claim} claim ({})",
                found.uid(),
                reference.uid
            )));
        }
    }
    let mut user = User::service_account(namespace, &account.name, &account.uid);
    if let Some(id) = claims["jti"].as_str() {
        user.extra.insert(CREDENTIAL_ID.to_owned(), vec![format!("JTI={id}")]);
    }
    let mut add = |key: &str, value: &str| {
        if !value.is_empty() {
            user.extra.insert(format!("authentication.kubernetes.io/{key}"), vec![value.to_owned()]);
        }
    };
    if let Some(pod) = pod {
        add("pod-name", &pod.name);
        add("pod-uid", &pod.uid);
    }
    if let Some(node) = node {
        add("node-name", &node.name);
        add("node-uid", &node.uid);
    }
    Ok(user)
}

fn strings(value: &Value) -> Vec<String> {
    match value {
        Value::String(one) => vec![one.clone()],
        other => other.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect(),
    }
}
