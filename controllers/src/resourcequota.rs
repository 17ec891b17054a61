//! What quotas hold and what is used of it: `status.hard` follows `spec.hard`, `status.used` is counted anew when a quota
//! changes and when something that it counts is gone or has ended. What is new is charged by admission.
//!
//! Source: `k8s.io/kubernetes/pkg/controller/resourcequota`.

use std::collections::HashMap;
use std::time::Duration;

use apimachinery::gvk::GroupResource;
use apimachinery::meta::{at, name};
use apimachinery::quota::{Amounts, Measure, counted_resources, recount, stops_counting_at};
use apimachinery::status::ApiError;
use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::{Value, json};
use tenant_client::{Caller, Change, Object};

use crate::context::{Context, resource};
use crate::controller::{Again, Controller, Key};

const CALLER: Caller =
    Caller { user: "system:serviceaccount:kube-system:resourcequota-controller", manager: "kube-controller-manager" };
/// How soon to look again at a quota of which less is used, where it is not the only one: a write that was just charged
/// to several may not have been there yet.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// Counts what is used of quotas. Keys are quotas, and `/RESOURCE.GROUP` for all that count a resource in a namespace.
pub(crate) struct ResourceQuotas;

fn quotas() -> GroupResource {
    resource("", "resourcequotas")
}

#[async_trait]
impl Controller for ResourceQuotas {
    fn name(&self) -> &'static str {
        "resourcequota"
    }

    fn resources(&self) -> &'static [(&'static str, &'static str)] {
        &[("", "resourcequotas")]
    }

    fn keys(&self, change: &Change, add: &mut dyn FnMut(&str, &str)) {
        let Some(object) = change.object().filter(|o| !o.namespace.is_empty()) else { return };
        let Some(measure) = Measure::of(&change.resource) else { return };
        let freed = match (&change.old, &change.new) {
            (Some(_), None) => true,
            (Some(old), Some(new)) => measure.may_free(new.stored.body(), old.stored.body()),
            (None, _) => false,
        };
        if freed {
            add(&object.namespace, &format!("/{}", change.resource));
        }
        if let Some(new) = &change.new
            && *change.resource == quotas()
            && change.old.as_ref().is_none_or(|old| !only_charged(new, old))
        {
            add(&object.namespace, &object.name);
        }
    }

    async fn reconcile(&self, context: &Context, key: Key<'_>) -> Result<Again, ApiError> {
        // Read before what they count: a write in between changes them too, and then ours is refused.
        let mut present = Vec::new();
        for quota in context.list(key, &quotas()).await? {
            present.push(quota.to_value()?);
        }
        let several = present.len() > 1;
        let counted = key.name.strip_prefix('/').map(|text| {
            let (plural, group) = text.split_once('.').unwrap_or((text, ""));
            Measure::of(&resource(group, plural))
        });
        present.retain(|quota| match &counted {
            Some(measure) => measure.as_ref().is_some_and(|m| m.counts_any(&hard(quota))),
            None => name(quota) == key.name,
        });
        let mut census =
            Census { context, key, now: context.now(), counted: None, objects: HashMap::new(), overdue: None };
        let mut again = None;
        for quota in present {
            let less = census.count(quota).await?;
            if less && several {
                again = Some(LOOK_AGAIN);
            }
        }
        let overdue = census.overdue.map(|end| Duration::try_from(end.duration_since(census.now)).unwrap_or_default());
        Ok([again, overdue].into_iter().flatten().min())
    }
}

fn hard(quota: &Value) -> Amounts {
    Amounts::read(at(quota, &["spec", "hard"]))
}

/// Whether all that a change of a quota did is to charge it: admission does that, and knows.
fn only_charged(new: &Object, old: &Object) -> bool {
    let rest = |quota: &Object| {
        let mut value: Value = serde_json::from_slice(quota.stored.body()).ok()?;
        value.get_mut("status")?.as_object_mut()?.remove("used")?;
        Some(value)
    };
    match (rest(new), rest(old)) {
        (Some(new), Some(old)) => new == old,
        _ => false,
    }
}

/// The objects of a namespace that quotas count, each resource read once.
struct Census<'a> {
    context: &'a Context,
    key: Key<'a>,
    now: Timestamp,
    /// The resources that can be counted, once that was asked.
    counted: Option<Vec<GroupResource>>,
    objects: HashMap<GroupResource, Vec<Value>>,
    /// When the next pod stops counting although nothing happens.
    overdue: Option<Timestamp>,
}

impl Census<'_> {
    /// Counts what is used of a quota and writes what changed; says whether it is less than before.
    async fn count(&mut self, quota: Value) -> Result<bool, ApiError> {
        let hard = hard(&quota);
        let status = |key| Amounts::read(at(&quota, &["status", key]));
        let before = status("used");
        // What nothing here counts may be counted by others.
        let mut used = before.clone();
        used.retain(|name, _| hard.get(name).is_some());
        for counted in counted_resources(&hard) {
            let Some(measure) = Measure::of(&counted) else { continue };
            if !self.exists(&counted).await? {
                continue;
            }
            let now = self.now;
            let objects = self.objects(&counted, &measure).await?;
            for (name, amount) in recount(&measure, &quota, &hard, objects.iter(), now).iter() {
                used.set(name, amount.clone());
            }
        }
        let counted_once = at(&quota, &["status", "used"]).is_some() && at(&quota, &["status", "hard"]).is_some();
        if counted_once && used == before && hard == status("hard") {
            return Ok(false);
        }
        let less = used.iter().any(|(name, amount)| before.get(name).is_some_and(|b| amount < b));
        let status = json!({"hard": at(&quota, &["spec", "hard"]).unwrap_or(&json!({})), "used": used.to_value()});
        self.context.update_status(CALLER, self.key, &quotas(), quota, status).await?;
        Ok(less)
    }

    /// Whether there is such a resource in namespaces.
    async fn exists(&mut self, counted: &GroupResource) -> Result<bool, ApiError> {
        let known = match self.counted.take() {
            Some(known) => known,
            None => {
                let all = self.context.client.resources(self.key.tenant).await?;
                all.into_iter().filter(|r| r.namespaced).map(|r| r.resource).collect()
            }
        };
        let found = known.contains(counted);
        self.counted = Some(known);
        Ok(found)
    }

    /// The objects of a resource; nothing in place of each where it only matters how many there are.
    async fn objects(&mut self, counted: &GroupResource, measure: &Measure) -> Result<&[Value], ApiError> {
        if !self.objects.contains_key(counted) {
            let mut objects = Vec::new();
            for object in self.context.list(self.key, counted).await? {
                objects.push(if measure.is_plain_count() { Value::Null } else { object.to_value()? });
            }
            if *counted == resource("", "pods") {
                self.overdue = objects.iter().filter_map(stops_counting_at).filter(|end| *end >= self.now).min();
            }
            self.objects.insert(counted.clone(), objects);
        }
        Ok(self.objects.get(counted).map(Vec::as_slice).unwrap_or_default())
    }
}
