//! Deployments: replica sets that roll from one pod template to the next.
//!
//! Source of behaviour and of annotation names: `k8s.io/kubernetes/pkg/controller/deployment`.

mod plan;
mod revision;
mod status;

use apimachinery::gvk::GroupVersionKind;
use apimachinery::meta::{self, at, str_at};
use apimachinery::selector::LabelSelector;
use apimachinery::status::ApiError;
use async_trait::async_trait;
use serde_json::{Value, json};
use tenant_client::{Caller, Change};

use crate::claim::claim;
use crate::context::{Context, resource};
use crate::controller::{Again, Controller, Key};
use crate::events::{Event, tell};
use crate::object::{controller_of, deleting, int_at, seconds};
use crate::pods;
use plan::{Rollout, Scale};

const CALLER: Caller =
    Caller { user: "system:serviceaccount:kube-system:deployment-controller", manager: "kube-controller-manager" };

/// Rolls deployments. Keys are deployments.
pub(crate) struct Deployments;

#[async_trait]
impl Controller for Deployments {
    fn name(&self) -> &'static str {
        "deployment"
    }

    fn resources(&self) -> &'static [(&'static str, &'static str)] {
        &[("apps", "deployments")]
    }

    fn keys(&self, change: &Change, add: &mut dyn FnMut(&str, &str)) {
        let Some(object) = change.object() else { return };
        match (change.resource.group.as_str(), change.resource.resource.as_str()) {
            ("apps", "deployments") if change.new.is_some() => add(&object.namespace, &object.name),
            ("apps", "replicasets") => {
                for set in [&change.old, &change.new].into_iter().flatten() {
                    if let Some(owner) = controller_of(set).filter(|o| o.kind == "Deployment") {
                        add(&set.namespace, &owner.name);
                    }
                }
            }
            // A Recreate waits for the last old pod to be gone.
            ("", "pods") if change.new.is_none() => {
                if let Some(owner) = controller_of(object).filter(|o| o.kind == "ReplicaSet")
                    && let Some((deployment, _)) = owner.name.rsplit_once('-')
                {
                    add(&object.namespace, deployment);
                }
            }
            _ => {}
        }
    }

    async fn reconcile(&self, context: &Context, key: Key<'_>) -> Result<Again, ApiError> {
        let Some(deployment) = context.get(key, &resource("apps", "deployments"), key.name).await? else {
            return Ok(None);
        };
        let selector = at(&deployment, &["spec", "selector"]).cloned().unwrap_or_default();
        let selector = LabelSelector::from_object(&selector).map_err(ApiError::internal)?;
        if selector.is_empty() {
            let text = "This deployment is selecting all pods. A non-empty selector is required.";
            tell(context, CALLER, key, &deployment, &kind(), Event::warning("SelectingAll", text)).await;
            return Ok(None);
        }
        let sets =
            claim(context, key, &resource("apps", "replicasets"), &deployment, &kind(), CALLER, &selector).await?;
        let mut run = Run { context, key, deployment, sets };
        run.roll(&selector).await
    }
}

fn kind() -> GroupVersionKind {
    GroupVersionKind::new("apps", "v1", "Deployment")
}

/// One look at one deployment.
struct Run<'a> {
    context: &'a Context,
    key: Key<'a>,
    deployment: Value,
    sets: Vec<Value>,
}

impl Run<'_> {
    async fn roll(&mut self, selector: &LabelSelector) -> Result<Again, ApiError> {
        if deleting(&self.deployment) {
            return self.write_status(None).await;
        }
        let paused = at(&self.deployment, &["spec", "paused"]).and_then(Value::as_bool).unwrap_or(false);
        let newest = revision::newest(&self.deployment, &self.sets);
        if paused || plan::is_scaling(&self.deployment, &self.sets) {
            self.scale_all(&plan::proportional(&self.deployment, &self.sets, newest)).await?;
            if paused {
                self.clean_up(newest).await?;
            }
            return self.write_status(None).await;
        }
        if str_at(&self.deployment, &["spec", "strategy", "type"]) == "Recreate" {
            return self.recreate(newest, selector).await;
        }
        let (newest, created) = self.ensure_newest(newest).await?;
        let Some(newest) = newest else { return Ok(None) };
        let wanted = Rollout::new(&self.deployment, &self.sets, newest).scale();
        self.scale_all(&wanted).await?;
        if status::is_complete(&self.deployment, &self.sets, newest) {
            self.clean_up(Some(newest)).await?;
        }
        self.write_status(created).await
    }

    async fn recreate(&mut self, newest: Option<usize>, selector: &LabelSelector) -> Result<Again, ApiError> {
        let down: Vec<Scale> = (0..self.sets.len())
            .filter(|&i| Some(i) != newest && plan::replicas(&self.sets[i]) > 0)
            .map(|set| Scale { set, replicas: 0 })
            .collect();
        if !down.is_empty() {
            self.scale_all(&down).await?;
            return self.write_status(None).await;
        }
        if self.old_pods_run(newest, selector).await? {
            return self.write_status(None).await;
        }
        let (newest, created) = self.ensure_newest(newest).await?;
        let Some(newest) = newest else { return Ok(None) };
        let replicas = int_at(&self.deployment, &["spec", "replicas"]).unwrap_or(1);
        self.scale_all(&[Scale { set: newest, replicas }]).await?;
        if status::is_complete(&self.deployment, &self.sets, newest) {
            self.clean_up(Some(newest)).await?;
        }
        self.write_status(created).await
    }

    async fn old_pods_run(&self, newest: Option<usize>, selector: &LabelSelector) -> Result<bool, ApiError> {
        let new_uid = newest.map(|i| meta::uid(&self.sets[i]).to_owned());
        for object in self.context.list(self.key, &resource("", "pods")).await? {
            if !selector.matches_stored(&object.stored) {
                continue;
            }
            let Some(owner) = controller_of(&object) else { continue };
            let of_ours = self.sets.iter().any(|s| meta::uid(s) == owner.uid);
            if of_ours && Some(&owner.uid) != new_uid.as_ref() && !pods::finished(&object.to_value()?) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The replica set of the present template, made if there is none, with what its annotations should say. Tells also
    /// whether it was made in this look. `None` if the name is taken: the next look takes another one.
    async fn ensure_newest(&mut self, newest: Option<usize>) -> Result<(Option<usize>, Option<Progress>), ApiError> {
        let sets = resource("apps", "replicasets");
        if let Some(i) = newest {
            let mut set = self.sets[i].clone();
            let number = revision::number(&self.sets, Some(i));
            if revision::annotate(&mut set, &self.deployment, &number) {
                self.sets[i] = self.context.update(CALLER, self.key, &sets, "", set).await?;
            }
            self.set_revision(&number).await?;
            let found = Progress {
                reason: "FoundNewReplicaSet",
                message: format!("Found new replica set \"{}\"", meta::name(&self.sets[i])),
            };
            return Ok((Some(i), Some(found)));
        }
        let number = revision::number(&self.sets, None);
        let new = revision::replica_set(&self.deployment, &self.sets, &number, &kind());
        let name = meta::name(&new).to_owned();
        match self.context.create(CALLER, self.key, &sets, new).await {
            Ok(set) => {
                let replicas = plan::replicas(&set);
                self.sets.push(set);
                if replicas > 0 {
                    let message = format!("Scaled up replica set {name} from 0 to {replicas}");
                    tell(
                        self.context,
                        CALLER,
                        self.key,
                        &self.deployment,
                        &kind(),
                        Event::normal("ScalingReplicaSet", &message),
                    )
                    .await;
                }
                self.set_revision(&number).await?;
                let made =
                    Progress { reason: "NewReplicaSetCreated", message: format!("Created new replica set \"{name}\"") };
                Ok((Some(self.sets.len() - 1), Some(made)))
            }
            Err(error) if error.reason == "AlreadyExists" => {
                // Another template has the same hash, or an orphan lies there: the count makes the next name another one.
                let mut status = self.deployment.get("status").cloned().unwrap_or_else(|| json!({}));
                status["collisionCount"] = json!(int_at(&status, &["collisionCount"]).unwrap_or(0) + 1);
                let deployments = resource("apps", "deployments");
                self.context.update_status(CALLER, self.key, &deployments, self.deployment.clone(), status).await?;
                Ok((None, None))
            }
            Err(error) => {
                let message = format!("Failed to create new replica set \"{name}\": {error}");
                tell(
                    self.context,
                    CALLER,
                    self.key,
                    &self.deployment,
                    &kind(),
                    Event::warning("FailedCreate", &message),
                )
                .await;
                Err(error)
            }
        }
    }

    async fn set_revision(&mut self, number: &str) -> Result<(), ApiError> {
        if str_at(&self.deployment, &["metadata", "annotations", revision::REVISION]) == number {
            return Ok(());
        }
        let mut deployment = self.deployment.clone();
        deployment["metadata"]["annotations"][revision::REVISION] = json!(number);
        self.deployment =
            self.context.update(CALLER, self.key, &resource("apps", "deployments"), "", deployment).await?;
        Ok(())
    }

    async fn scale_all(&mut self, scales: &[Scale]) -> Result<(), ApiError> {
        for scale in scales {
            let mut set = self.sets[scale.set].clone();
            let before = plan::replicas(&set);
            set["spec"]["replicas"] = json!(scale.replicas);
            revision::annotate_size(&mut set, &self.deployment);
            if set == self.sets[scale.set] {
                continue;
            }
            self.sets[scale.set] =
                self.context.update(CALLER, self.key, &resource("apps", "replicasets"), "", set).await?;
            if before != scale.replicas {
                let way = if before < scale.replicas { "up" } else { "down" };
                let name = meta::name(&self.sets[scale.set]).to_owned();
                let message = format!("Scaled {way} replica set {name} from {before} to {}", scale.replicas);
                tell(
                    self.context,
                    CALLER,
                    self.key,
                    &self.deployment,
                    &kind(),
                    Event::normal("ScalingReplicaSet", &message),
                )
                .await;
            }
        }
        Ok(())
    }

    /// Deletes old replica sets beyond `revisionHistoryLimit`.
    async fn clean_up(&self, newest: Option<usize>) -> Result<(), ApiError> {
        let Some(limit) = int_at(&self.deployment, &["spec", "revisionHistoryLimit"]) else { return Ok(()) };
        let mut old: Vec<&Value> =
            self.sets.iter().enumerate().filter(|(i, s)| Some(*i) != newest && !deleting(s)).map(|(_, s)| s).collect();
        old.sort_by_key(|s| revision::of(s));
        let beyond = old.len().saturating_sub(usize::try_from(limit).unwrap_or(usize::MAX));
        for set in &old[..beyond] {
            let idle = plan::replicas(set) == 0 && int_at(set, &["status", "replicas"]).unwrap_or(0) == 0;
            let seen = int_at(set, &["status", "observedGeneration"]) >= int_at(set, &["metadata", "generation"]);
            if idle && seen {
                self.context
                    .delete(CALLER, self.key, &resource("apps", "replicasets"), meta::name(set), meta::uid(set))
                    .await?;
            }
        }
        Ok(())
    }

    async fn write_status(&self, news: Option<Progress>) -> Result<Again, ApiError> {
        let newest = revision::newest(&self.deployment, &self.sets);
        let now = self.context.now();
        let (status, again) = status::of(&self.deployment, &self.sets, newest, news.as_ref(), now);
        self.context
            .update_status(CALLER, self.key, &resource("apps", "deployments"), self.deployment.clone(), status)
            .await?;
        Ok(again.map(seconds))
    }
}

/// What the `Progressing` condition says when a replica set was made or found.
struct Progress {
    reason: &'static str,
    message: String,
}
