//! Quotas: a write that uses more of what a quota of its namespace counts is charged to that quota, or refused.
//!
//! This is the last step of a write. The charge and the object are one transaction, so that a quota never says less than
//! what is there, and a write that fails costs nothing. Of more than one quota that a write concerns, and of quotas that
//! count quotas, all but that one are charged just before it, and given back should it fail. A connection that is lost just
//! then leaves such a quota charged until it is counted anew.
//!
//! Source of messages and order: `k8s.io/apiserver/pkg/admission/plugin/resourcequota`.

use std::time::Duration;

use apimachinery::gvk::GroupResource;
use apimachinery::meta;
use apimachinery::quota::{self, Amounts, Asked, Charge, Measure};
use apimachinery::status::ApiError;
use serde_json::Value;
use store::{Precondition, Revision, StoreError, Write};
use tokio::time::Instant;

use super::Request;
use crate::registry::{Live, place, store_error};

/// How long a write tries to be charged while others are faster.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a charge that turned out to be for nothing is tried to be given back.
const REFUND_ATTEMPTS: usize = 20;

/// Why a write was not done.
pub(crate) enum Failed {
    /// A quota is in the way.
    Refused(ApiError),
    /// The store refused the write of the object itself.
    Store(StoreError),
}

/// A quota as it stands, and its body.
struct Quota {
    live: Live,
    value: Value,
}

fn quotas() -> GroupResource {
    GroupResource::new("", "resourcequotas")
}

/// Refuses a write that exceeds a quota, and charges nothing.
///
/// # Errors
/// 403
pub(crate) async fn check(request: &Request<'_>) -> Result<(), ApiError> {
    match measure(request) {
        Some(measure) => {
            let present = present(request, &[]).await?;
            charges(request, &measure, &present).map(|_| ())
        }
        None => Ok(()),
    }
}

/// Does a write together with what it is charged.
///
/// # Errors
/// [`Failed`]; nothing was written.
pub(crate) async fn commit(request: &Request<'_>, write: Write) -> Result<Revision, Failed> {
    let registry = request.registry;
    let Some(measure) = measure(request) else {
        return registry.commit(vec![write]).await.map_err(Failed::Store);
    };
    let mut ahead = Vec::new();
    let done = commit_charged(request, &measure, write, &mut ahead).await;
    if done.is_err() {
        for (name, added) in ahead {
            refund(request, &name, &added).await;
        }
    }
    done
}

/// How what is written counts, unless it does not, or can't cost more than before.
fn measure(request: &Request<'_>) -> Option<Measure> {
    let (call, new) = (request.call, request.object.as_ref()?);
    if call.namespace.is_empty() || !call.resource.namespaced {
        return None;
    }
    Measure::of(&call.resource.group_resource()).filter(|m| m.concerns(&call.subresource, new, request.old))
}

/// The quotas of the namespace but for those that were charged already.
async fn present(request: &Request<'_>, ahead: &[(String, Amounts)]) -> Result<Vec<Quota>, ApiError> {
    let mut found = Vec::new();
    for live in request.registry.objects(request.call.tenant, &quotas(), &request.call.namespace).await? {
        let value = live.to_value()?;
        if !ahead.iter().any(|(name, _)| name == meta::name(&value)) {
            found.push(Quota { live, value });
        }
    }
    Ok(found)
}

fn charges(request: &Request<'_>, measure: &Measure, present: &[Quota]) -> Result<Vec<Charge>, ApiError> {
    let (call, Some(new)) = (request.call, request.object.as_ref()) else { return Ok(Vec::new()) };
    if present.is_empty() {
        return Ok(Vec::new());
    }
    let asked = Asked { measure, subresource: &call.subresource, new, old: request.old, now: call.now };
    let values: Vec<&Value> = present.iter().map(|quota| &quota.value).collect();
    quota::charge(&asked, &values)
        .map_err(|why| ApiError::forbidden(&call.resource.group_resource(), meta::name(new), &why))
}

async fn commit_charged(
    request: &Request<'_>,
    measure: &Measure,
    write: Write,
    ahead: &mut Vec<(String, Amounts)>,
) -> Result<Revision, Failed> {
    let registry = request.registry;
    let begun = Instant::now();
    loop {
        let present = present(request, ahead).await.map_err(Failed::Refused)?;
        let mut charges = charges(request, measure, &present).map_err(Failed::Refused)?;
        // A transaction writes to a collection once: watchers tell its changes apart by their revision.
        let together = if place::collection(request.call.tenant, &quotas()) == write.key.collection {
            None
        } else {
            charges.pop()
        };
        let mut writes = vec![write.clone()];
        if let Some(charge) = &together {
            writes.push(quota_write(request, &present[charge.index], &charge.used).map_err(Failed::Refused)?);
        }
        let mut beaten = false;
        for charge in charges {
            let quota = &present[charge.index];
            let alone = quota_write(request, quota, &charge.used).map_err(Failed::Refused)?;
            match registry.commit(vec![alone]).await {
                Ok(_) => ahead.push((meta::name(&quota.value).to_owned(), charge.added)),
                Err(StoreError::Conflict { .. }) => beaten = true,
                Err(error) => return Err(Failed::Refused(store_error(error))),
            }
        }
        if !beaten {
            match registry.commit(writes).await {
                Err(StoreError::Conflict { index, .. }) if index > 0 => {}
                done => return done.map_err(Failed::Store),
            }
        }
        if begun.elapsed() > PATIENCE {
            let error = ApiError::internal("resource quota evaluation timed out").with_retry_after(1);
            return Err(Failed::Refused(error));
        }
    }
}

fn quota_write(request: &Request<'_>, quota: &Quota, used: &Amounts) -> Result<Write, ApiError> {
    let mut value = quota.value.clone();
    value["status"]["used"] = used.to_value();
    let require = Precondition::Revision(quota.live.revision);
    request.registry.write_of(request.call.tenant, &quotas(), &quota.live, &value, require)
}

/// Gives back what a write that failed was charged. A quota that is gone needs none of it. Should this fail too, the
/// next count makes up for it.
async fn refund(request: &Request<'_>, name: &str, added: &Amounts) {
    let (registry, call) = (request.registry, request.call);
    for _ in 0..REFUND_ATTEMPTS {
        let given_back = async {
            let found = registry.object(call.tenant, &quotas(), &call.namespace, name).await?;
            let Some(live) = found else { return Ok(true) };
            let quota = Quota { value: live.to_value()?, live };
            let write = quota_write(request, &quota, &quota::refund(&quota.value, added))?;
            match registry.commit(vec![write]).await {
                Ok(_) => Ok(true),
                Err(StoreError::Conflict { .. }) => Ok(false),
                Err(error) => Err(store_error(error)),
            }
        };
        match given_back.await {
            Ok(true) => return,
            Ok(false) => {}
            Err(error) => return told(request, name, &error),
        }
    }
    told(request, name, &ApiError::modified(&quotas(), name));
}

fn told(request: &Request<'_>, name: &str, error: &ApiError) {
    let call = request.call;
    tracing::warn!(tenant = %call.tenant, namespace = %call.namespace, name, %error, "a quota could not be given back");
}
