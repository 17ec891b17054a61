//! Resource quotas: what an object uses, which quotas count it, what a write would use more, what a namespace uses in all.
//!
//! Admission charges a quota for what a write uses more ([`charge()`]); a controller counts anew what is there
//! ([`recount`]). Both go by the same [`Measure`] of a resource.
//!
//! Source: `k8s.io/apiserver/pkg/{admission/plugin/resourcequota,quota/v1}`, `k8s.io/kubernetes/pkg/quota/v1`.

mod amounts;
mod charge;
mod claim;
mod device;
mod pod;
mod scope;
mod service;
#[cfg(test)]
mod tests;

use jiff::Timestamp;
use serde_json::Value;
use smol_str::{SmolStr, format_smolstr};

pub use amounts::Amounts;
pub use charge::{Asked, Charge, charge, refund};
pub use pod::{limits as pod_limits, requests as pod_requests, stops_counting_at};

use crate::gvk::GroupResource;
use crate::quantity::{Format, Quantity};

/// How the objects of a resource count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measure {
    kind: Kind,
    /// `count/RESOURCE.GROUP`
    count: SmolStr,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Pods,
    Services,
    Claims,
    DeviceClaims,
    /// Each object counts as one; some core resources also under their own name.
    Objects(Option<&'static str>),
}

/// What is never counted: events, and what is not stored.
const IGNORED: [(&str, &str); 10] = [
    ("", "bindings"),
    ("", "componentstatuses"),
    ("authentication.k8s.io", "tokenreviews"),
    ("authentication.k8s.io", "selfsubjectreviews"),
    ("authorization.k8s.io", "subjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectaccessreviews"),
    ("authorization.k8s.io", "localsubjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectrulesreviews"),
    ("", "events"),
    ("events.k8s.io", "events"),
];

fn one() -> Quantity {
    Quantity::from_int(1, Format::DecimalSi)
}

impl Measure {
    /// How the objects of a resource count; `None` for what is never counted.
    pub fn of(resource: &GroupResource) -> Option<Self> {
        let name = (resource.group.as_str(), resource.resource.as_str());
        if IGNORED.contains(&name) {
            return None;
        }
        let kind = match name {
            ("", "pods") => Kind::Pods,
            ("", "services") => Kind::Services,
            ("", "persistentvolumeclaims") => Kind::Claims,
            ("resource.k8s.io", "resourceclaims") => Kind::DeviceClaims,
            ("", "configmaps") => Kind::Objects(Some("configmaps")),
            ("", "secrets") => Kind::Objects(Some("secrets")),
            ("", "replicationcontrollers") => Kind::Objects(Some("replicationcontrollers")),
            ("", "resourcequotas") => Kind::Objects(Some("resourcequotas")),
            _ => Kind::Objects(None),
        };
        Some(Self { kind, count: format_smolstr!("count/{resource}") })
    }

    /// Whether a quota of this name counts something of these objects.
    pub fn counts(&self, name: &str) -> bool {
        if name == self.count {
            return true;
        }
        match self.kind {
            Kind::Pods => pod::counts(name),
            Kind::Services => service::NAMES.contains(&name),
            Kind::Claims => claim::counts(name),
            Kind::DeviceClaims => device::counts(name),
            Kind::Objects(alias) => alias == Some(name),
        }
    }

    /// Whether a quota counts something of these objects, going by `hard`.
    pub fn counts_any(&self, hard: &Amounts) -> bool {
        hard.names().any(|name| self.counts(name))
    }

    /// Whether each object counts as one, whatever is in it.
    pub fn is_plain_count(&self) -> bool {
        matches!(self.kind, Kind::Objects(_))
    }

    /// What an object uses at a time (a pod that is long overdue uses nothing but its place).
    pub fn usage(&self, object: &Value, now: Timestamp) -> Amounts {
        let mut used = match self.kind {
            Kind::Pods => pod::usage(object, now),
            Kind::Services => service::usage(object),
            Kind::Claims => claim::usage(object),
            Kind::DeviceClaims => device::usage(object),
            Kind::Objects(alias) => {
                let mut used = Amounts::default();
                if let Some(alias) = alias {
                    used.set(alias, one());
                }
                used
            }
        };
        used.set(self.count.clone(), one());
        used
    }

    /// Whether a quota's scopes are those of an object. What knows no scopes is in none.
    pub fn in_scopes(&self, quota: &Value, object: &Value) -> bool {
        scope::requirements(quota).all(|requirement| match self.kind {
            Kind::Pods => scope::pod_in(&requirement, object),
            Kind::Claims => scope::claim_in(&requirement, object),
            _ => false,
        })
    }

    /// Whether a write may use more than before. `old` is `None` for a create.
    pub fn concerns(&self, subresource: &str, new: &Value, old: Option<&Value>) -> bool {
        match (&self.kind, subresource, old) {
            (_, "", None) => true,
            (Kind::Pods, "", Some(old)) => scope::terminating(new) != scope::terminating(old),
            (Kind::Pods, "resize", Some(_)) => true,
            (Kind::Services | Kind::Claims | Kind::DeviceClaims, "", Some(_)) => true,
            (Kind::Claims, "status", Some(old)) => claim::status_counts(new, old),
            _ => false,
        }
    }

    /// Whether an object after a change may count for less than before it, so that counting anew is worthwhile. Takes
    /// the JSON of both.
    pub fn may_free(&self, new: &[u8], old: &[u8]) -> bool {
        let uses: fn(&Value) -> Amounts = match self.kind {
            Kind::Pods => return pod::Measured::read(new) != pod::Measured::read(old),
            Kind::Services => service::usage,
            Kind::Claims => claim::usage,
            Kind::DeviceClaims => device::usage,
            Kind::Objects(_) => return false,
        };
        let read = |body| serde_json::from_slice::<Value>(body).unwrap_or_default();
        let (new, old) = (read(new), read(old));
        uses(&new) != uses(&old) || self.kind == Kind::Claims && claim::status_counts(&new, &old)
    }
}

/// The resources that a quota of these hard limits may have to count, custom ones included. There may be none of that name.
pub fn counted_resources(hard: &Amounts) -> Vec<GroupResource> {
    const FIXED: [(&str, &str); 8] = [
        ("", "pods"),
        ("", "services"),
        ("", "persistentvolumeclaims"),
        ("", "configmaps"),
        ("", "secrets"),
        ("", "replicationcontrollers"),
        ("", "resourcequotas"),
        ("resource.k8s.io", "resourceclaims"),
    ];
    let fixed = FIXED.iter().map(|(group, resource)| GroupResource::new(*group, *resource));
    let named = hard.names().filter_map(|name| {
        let (resource, group) = name.strip_prefix("count/").map(|n| n.split_once('.').unwrap_or((n, "")))?;
        Some(GroupResource::new(group, resource))
    });
    let mut found: Vec<GroupResource> = Vec::new();
    for resource in fixed.chain(named) {
        let counted = Measure::of(&resource).is_some_and(|m| m.counts_any(hard));
        if counted && !found.contains(&resource) {
            found.push(resource);
        }
    }
    found
}

/// What a quota counts of the objects of one resource: zero of what there is none.
pub fn recount<'a>(
    measure: &Measure,
    quota: &Value,
    hard: &Amounts,
    objects: impl Iterator<Item = &'a Value>,
    now: Timestamp,
) -> Amounts {
    let mut used = Amounts::default();
    for name in hard.names().filter(|name| measure.counts(name)) {
        used.set(name, Quantity::ZERO);
    }
    for object in objects.filter(|object| measure.in_scopes(quota, object)) {
        let amounts = measure.usage(object, now).named_in(&used);
        used.add(&amounts);
    }
    used
}
