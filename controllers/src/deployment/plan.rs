//! How many replicas each replica set should have: pure arithmetic.

use apimachinery::intstr::IntOrString;
use apimachinery::meta::at;
use serde_json::Value;

use super::revision;
use crate::object::{deleting, int_at};

/// A new size of a replica set, by its index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scale {
    pub(super) set: usize,
    pub(super) replicas: i64,
}

/// How many replicas a deployment wants.
pub(super) fn desired(deployment: &Value) -> i64 {
    int_at(deployment, &["spec", "replicas"]).unwrap_or(1)
}

/// `spec.replicas` of a set.
pub(super) fn replicas(set: &Value) -> i64 {
    int_at(set, &["spec", "replicas"]).unwrap_or(1)
}

fn available(set: &Value) -> i64 {
    int_at(set, &["status", "availableReplicas"]).unwrap_or(0)
}

fn is_rolling(deployment: &Value) -> bool {
    at(deployment, &["spec", "strategy", "type"]).and_then(Value::as_str) != Some("Recreate")
}

fn bound(deployment: &Value, key: &str, round_up: bool) -> i64 {
    let value = at(deployment, &["spec", "strategy", "rollingUpdate", key]).and_then(IntOrString::from_value);
    let total = i32::try_from(desired(deployment)).unwrap_or(i32::MAX);
    value.and_then(|v| v.scaled(total, round_up)).map_or(0, i64::from)
}

/// How many replicas there may be beyond the number that is wanted.
pub(super) fn max_surge(deployment: &Value) -> i64 {
    if is_rolling(deployment) { bound(deployment, "maxSurge", true) } else { 0 }
}

/// How many of the wanted replicas may be missing.
pub(super) fn max_unavailable(deployment: &Value) -> i64 {
    if !is_rolling(deployment) || desired(deployment) == 0 {
        return 0;
    }
    let unavailable = bound(deployment, "maxUnavailable", false);
    // Both round to none for a small deployment: then it could not move at all.
    let unavailable = if unavailable == 0 && max_surge(deployment) == 0 { 1 } else { unavailable };
    unavailable.min(desired(deployment))
}

/// The size with which a new replica set begins.
pub(super) fn initial_replicas(deployment: &Value, sets: &[Value]) -> i64 {
    if !is_rolling(deployment) {
        return desired(deployment);
    }
    grown(deployment, sets, 0)
}

/// What a replica set of this size may grow to.
fn grown(deployment: &Value, sets: &[Value], own: i64) -> i64 {
    let wanted = desired(deployment);
    let total: i64 = sets.iter().map(replicas).sum();
    let room = wanted + max_surge(deployment) - total;
    if room <= 0 { own } else { own + room.min(wanted - own).max(0) }
}

/// Whether the deployment's size was changed since its sets were scaled last.
pub(super) fn is_scaling(deployment: &Value, sets: &[Value]) -> bool {
    let wanted = desired(deployment);
    sets.iter().filter(|s| replicas(s) > 0).any(|s| revision::desired_before(s).is_some_and(|before| before != wanted))
}

/// Sizes for a deployment whose own size changed: all to the one set that is in use, or shares by size in the middle of
/// a roll.
pub(super) fn proportional(deployment: &Value, sets: &[Value], newest: Option<usize>) -> Vec<Scale> {
    let wanted = desired(deployment);
    let active: Vec<usize> = (0..sets.len()).filter(|&i| replicas(&sets[i]) > 0).collect();
    let only = match active.as_slice() {
        [] => newest.or_else(|| (0..sets.len()).max_by_key(|&i| revision::of(&sets[i]))),
        [one] => Some(*one),
        _ => None,
    };
    if let Some(set) = only {
        return vec![Scale { set, replicas: wanted }];
    }
    if let Some(new) = newest.filter(|&i| saturated(&sets[i], wanted)) {
        return active.into_iter().filter(|&i| i != new).map(|set| Scale { set, replicas: 0 }).collect();
    }
    if !is_rolling(deployment) {
        return Vec::new();
    }
    let total: i64 = active.iter().map(|&i| replicas(&sets[i])).sum();
    let allowed = if wanted > 0 { wanted + max_surge(deployment) } else { 0 };
    let mut left = allowed - total;
    // The largest set first when growing, the oldest of the largest first when shrinking, so that rounding favours the new.
    let mut order = active;
    order.sort_by_key(|&i| {
        (std::cmp::Reverse(replicas(&sets[i])), if left > 0 { -revision::of(&sets[i]) } else { revision::of(&sets[i]) })
    });
    let mut scales: Vec<Scale> = order.iter().map(|&set| Scale { set, replicas: replicas(&sets[set]) }).collect();
    for scale in &mut scales {
        let size = scale.replicas;
        let before = revision::max_before(&sets[scale.set]).filter(|m| *m > 0).unwrap_or(total.max(1));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            reason = "replica counts are far below 2^52"
        )]
        let share = ((size as f64) * (allowed as f64) / (before as f64)).round() as i64 - size;
        let share = if left > 0 { share.clamp(0, left) } else { share.clamp(left, 0) };
        scale.replicas = (size + share).max(0);
        left -= share;
    }
    if let Some(first) = scales.first_mut() {
        first.replicas = (first.replicas + left).max(0);
    }
    scales
}

fn saturated(set: &Value, wanted: i64) -> bool {
    let annotated = revision::desired_before(set);
    replicas(set) == wanted && annotated == Some(wanted) && available(set) == wanted
}

/// One step of a rolling update.
pub(super) struct Rollout<'a> {
    deployment: &'a Value,
    sets: &'a [Value],
    newest: usize,
}

impl<'a> Rollout<'a> {
    /// A step towards the set at `newest`.
    pub(super) fn new(deployment: &'a Value, sets: &'a [Value], newest: usize) -> Self {
        Self { deployment, sets, newest }
    }

    /// The sizes that change in this step: the new set grows, or else old ones shrink.
    pub(super) fn scale(&self) -> Vec<Scale> {
        let wanted = desired(self.deployment);
        let own = replicas(&self.sets[self.newest]);
        let grown = if own > wanted { wanted } else { grown(self.deployment, self.sets, own) };
        if grown != own {
            return vec![Scale { set: self.newest, replicas: grown }];
        }
        self.shrink_old()
    }

    fn shrink_old(&self) -> Vec<Scale> {
        let mut old: Vec<usize> = (0..self.sets.len())
            .filter(|&i| i != self.newest && replicas(&self.sets[i]) > 0 && !deleting(&self.sets[i]))
            .collect();
        old.sort_by_key(|&i| revision::of(&self.sets[i]));
        let wanted = desired(self.deployment);
        let new = &self.sets[self.newest];
        let new_unavailable = replicas(new) - available(new);
        let total: i64 = self.sets.iter().map(replicas).sum();
        let min_available = wanted - max_unavailable(self.deployment);
        let mut may_go = total - min_available - new_unavailable;
        if may_go <= 0 {
            return Vec::new();
        }
        let mut sizes: Vec<(usize, i64)> = old.iter().map(|&i| (i, replicas(&self.sets[i]))).collect();
        // Pods that do not work are no loss: they go first.
        for (i, size) in &mut sizes {
            let broken = (*size - available(&self.sets[*i])).clamp(0, may_go);
            *size -= broken;
            may_go -= broken;
        }
        let all_available: i64 = self.sets.iter().map(available).sum();
        let mut may_go = all_available - min_available;
        for (_, size) in &mut sizes {
            let going = (*size).min(may_go.max(0));
            *size -= going;
            may_go -= going;
        }
        let changed = sizes.into_iter().filter(|(i, size)| replicas(&self.sets[*i]) != *size);
        changed.map(|(set, replicas)| Scale { set, replicas }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn deployment(replicas: i64, surge: Value, unavailable: Value) -> Value {
        json!({"spec": {"replicas": replicas, "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}}})
    }

    fn set(replicas: i64, available: i64, revision: i64) -> Value {
        json!({
            "metadata": {"annotations": {"deployment.kubernetes.io/revision": revision.to_string()}},
            "spec": {"replicas": replicas}, "status": {"replicas": replicas, "availableReplicas": available},
        })
    }

    fn sized(mut set: Value, desired: i64, max: i64) -> Value {
        set["metadata"]["annotations"]["deployment.kubernetes.io/desired-replicas"] = json!(desired.to_string());
        set["metadata"]["annotations"]["deployment.kubernetes.io/max-replicas"] = json!(max.to_string());
        set
    }

    #[test]
    fn bounds_are_numbers_or_percentages_and_never_both_nothing() {
        let d = deployment(10, json!("25%"), json!("25%"));
        assert_eq!((max_surge(&d), max_unavailable(&d)), (3, 2));
        let d = deployment(1, json!(0), json!("25%"));
        assert_eq!((max_surge(&d), max_unavailable(&d)), (0, 1));
        let d = deployment(3, json!(1), json!(9));
        assert_eq!((max_surge(&d), max_unavailable(&d)), (1, 3));
    }

    #[test]
    fn a_roll_goes_step_by_step_and_never_below_what_must_be_available() {
        let d = deployment(4, json!(1), json!(1));
        let step = |sets: &[Value]| Rollout::new(&d, sets, 1).scale();
        // Room for one above four.
        assert_eq!(step(&[set(4, 4, 1), set(0, 0, 2)]), [Scale { set: 1, replicas: 1 }]);
        // The new one is not available yet: one old may go.
        assert_eq!(step(&[set(4, 4, 1), set(1, 0, 2)]), [Scale { set: 0, replicas: 3 }]);
        // Three old are left, which is the least there may be: nothing moves but the new set's growth.
        assert_eq!(step(&[set(3, 3, 1), set(1, 0, 2)]), [Scale { set: 1, replicas: 2 }]);
        assert_eq!(step(&[set(3, 3, 1), set(2, 0, 2)]), []);
        assert_eq!(step(&[set(3, 3, 1), set(2, 2, 2)]), [Scale { set: 0, replicas: 1 }]);
        assert_eq!(step(&[set(0, 0, 1), set(4, 4, 2)]), []);
    }

    #[test]
    fn broken_old_pods_go_before_working_ones() {
        let d = deployment(3, json!(1), json!(0));
        let sets = [set(3, 1, 1), set(1, 1, 2)];
        assert_eq!(Rollout::new(&d, &sets, 1).scale(), [Scale { set: 0, replicas: 2 }]);
    }

    #[test]
    fn a_change_of_size_goes_to_the_only_set_or_is_shared_in_a_roll() {
        let d = deployment(6, json!(2), json!(0));
        let sets = [sized(set(3, 3, 1), 3, 5), sized(set(0, 0, 2), 3, 5)];
        assert!(is_scaling(&d, &sets));
        assert_eq!(proportional(&d, &sets, Some(1)), [Scale { set: 0, replicas: 6 }]);
        let d = deployment(20, json!(5), json!(0));
        let sets = [sized(set(8, 8, 1), 10, 15), sized(set(7, 2, 2), 10, 15)];
        let scales = proportional(&d, &sets, Some(1));
        assert_eq!(scales.iter().map(|s| s.replicas).sum::<i64>(), 25);
        assert!(scales.iter().all(|s| s.replicas >= 11), "{scales:?}");
    }
}
