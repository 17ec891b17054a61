//! When a virtual cluster is looked at, and what follows from how that went.

use std::sync::Arc;
use std::time::Duration;

use apimachinery::tenant::TenantId;
use kube::Api;
use kube::api::{Patch, PatchParams};
use kube::runtime::controller::Action;
use kube::runtime::finalizer::{self, finalizer};
use kube::runtime::reflector::{ObjectRef, Store};
use virtualcluster::{FINALIZER, Phase, VirtualCluster};

use super::turns::Turn;
use super::{Lane, Operator, OperatorError, RESIGN, identity, status};

/// How soon what failed is tried again, at first and at most.
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_LAST: Duration = Duration::from_secs(60);

/// Puts our finalizer on an object that lacks it and gives the object as it is then, so that it need not come round by
/// the watch first. `None` if somebody else wrote meanwhile: that brings it here again.
async fn with_finalizer(
    api: &Api<VirtualCluster>,
    vc: Arc<VirtualCluster>,
) -> Result<Option<Arc<VirtualCluster>>, OperatorError> {
    let metadata = &vc.metadata;
    let mut finalizers = metadata.finalizers.clone().unwrap_or_default();
    if metadata.deletion_timestamp.is_some() || finalizers.iter().any(|f| f == FINALIZER) {
        return Ok(Some(vc));
    }
    finalizers.push(FINALIZER.to_owned());
    let patch = serde_json::json!({
        "metadata": {"uid": metadata.uid, "resourceVersion": metadata.resource_version, "finalizers": finalizers},
    });
    let name = metadata.name.as_deref().ok_or(OperatorError::Malformed("name"))?;
    match api.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await {
        Ok(vc) => Ok(Some(Arc::new(vc))),
        Err(kube::Error::Api(status)) if status.code == 409 || status.code == 404 => Ok(None),
        Err(error) => Err(OperatorError::Finalizer(Box::new(finalizer::Error::AddFinalizer(error)))),
    }
}

/// A virtual cluster, or what was made for it, has changed: it is asked for unless it is what it should be.
pub(super) async fn looked_at(vc: Arc<VirtualCluster>, operator: Arc<Operator>) -> Result<Action, OperatorError> {
    let (id, ..) = identity(&vc)?;
    if !operator.settle(&vc, id).await? {
        operator.turns.ask(&ObjectRef::from_obj(&*vc), operator.lane(id, &vc));
    }
    Ok(Action::requeue(RESIGN))
}

/// Does what the turn is for, and asks for another one if that is called for.
pub(super) async fn in_turn(
    operator: Arc<Operator>,
    vc: Arc<VirtualCluster>,
    turn: Turn,
    known: Store<VirtualCluster>,
) {
    let Ok((id, ..)) = identity(&vc) else { return };
    let (who, lane) = (turn.who.clone(), turn.lane);
    let (mut again, mut gone, mut later) = (false, false, None);
    if operator.lane(id, &vc) == lane {
        match reconcile(&operator, &vc, id, lane).await {
            Ok(after) => (gone, later) = (lane == Lane::Going, after),
            Err(error) => later = Some(retry(&vc, id, &error, &operator)),
        }
    } else {
        again = true;
    }
    again |= turn.end();
    let ask = move |operator: &Operator| {
        let Some(vc) = known.get(&who) else { return };
        // One that is gone may be known for a moment yet, and another one may have its name by now.
        if let Ok((present, ..)) = identity(&vc)
            && !(gone && present == id)
        {
            operator.turns.ask(&who, operator.lane(present, &vc));
        }
    };
    if again {
        ask(&operator);
    }
    if let Some(after) = later {
        let tasks = operator.tasks.clone();
        tasks.spawn(async move {
            tokio::select! {
                () = operator.cancel.cancelled() => {}
                () = tokio::time::sleep(after) => ask(&operator),
            }
        });
    }
}

async fn reconcile(
    operator: &Operator,
    vc: &Arc<VirtualCluster>,
    id: TenantId,
    lane: Lane,
) -> Result<Option<Duration>, OperatorError> {
    if operator.settle(vc, id).await? {
        return Ok(None);
    }
    let namespace = vc.metadata.namespace.as_deref().ok_or(OperatorError::Malformed("namespace"))?;
    let api: Api<VirtualCluster> = Api::namespaced(operator.client.clone(), namespace);
    let Some(vc) = with_finalizer(&api, Arc::clone(vc)).await? else { return Ok(None) };
    let mut later = None;
    let result = finalizer(&api, FINALIZER, vc, async |event| {
        match event {
            finalizer::Event::Apply(vc) => later = operator.apply(&vc, lane).await?,
            finalizer::Event::Cleanup(vc) => operator.cleanup(&vc).await?,
        }
        Ok(Action::await_change())
    })
    .await;
    result.map(|_| later).map_err(|error| match error {
        finalizer::Error::ApplyFailed(error) | finalizer::Error::CleanupFailed(error) => error,
        error => OperatorError::Finalizer(Box::new(error)),
    })
}

/// Tells of a failure, in the status and in the log, and when to try again.
fn retry(vc: &Arc<VirtualCluster>, id: TenantId, error: &OperatorError, operator: &Arc<Operator>) -> Duration {
    let text = apimachinery::error::chain(error);
    let (vc, operator) = (Arc::clone(vc), Arc::clone(operator));
    let name = vc.metadata.name.clone().unwrap_or_default();
    let failures = {
        let mut failures = operator.failures.lock();
        let count = failures.entry(id).or_default();
        *count = count.saturating_add(1);
        *count
    };
    tracing::warn!(tenant = %id, name, error = text, failures, "cannot reconcile a virtual cluster");
    let tasks = operator.tasks.clone();
    tasks.spawn(async move {
        let phase = if vc.metadata.deletion_timestamp.is_some() {
            Phase::Terminating
        } else {
            status::phase_after_failure(&vc)
        };
        if let Err(error) = operator.report(&vc, phase, None, "ReconcileFailed", &text).await {
            tracing::warn!(tenant = %id, error = apimachinery::error::chain(&error), "cannot report a failure");
        }
    });
    RETRY_FIRST.saturating_mul(1 << failures.min(10)).min(RETRY_LAST)
}
