//! What a write costs.

use jiff::Timestamp;
use serde_json::Value;

use super::{Amounts, Kind, Measure, pod};
use crate::meta;

/// A write of an object that may be counted.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// How its resource counts.
    pub measure: &'a Measure,
    /// Which part of it is written; empty for the object itself.
    pub subresource: &'a str,
    /// The object as it would be stored.
    pub new: &'a Value,
    /// The object before; `None` for a create.
    pub old: Option<&'a Value>,
    /// When.
    pub now: Timestamp,
}

/// What a quota is charged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charge {
    /// Which of the quotas.
    pub index: usize,
    /// Its `status.used` afterwards.
    pub used: Amounts,
    /// How much was added.
    pub added: Amounts,
}

fn status(quota: &Value, key: &str) -> Amounts {
    Amounts::read(meta::at(quota, &["status", key]))
}

/// What a write adds to which of a namespace's quotas, going by what they enforce and count at present (their status).
///
/// # Errors
/// Why it must be refused, in the words of the stock server: `exceeded quota: ...`, `failed quota: ...`,
/// `status unknown for quota: ...`.
pub fn charge(asked: &Asked<'_>, quotas: &[&Value]) -> Result<Vec<Charge>, String> {
    let measure = asked.measure;
    if !measure.concerns(asked.subresource, asked.new, asked.old) {
        return Ok(Vec::new());
    }
    let mut pertinent = Vec::new();
    for (index, quota) in quotas.iter().enumerate() {
        let hard = status(quota, "hard");
        if !measure.counts_any(&hard) || !measure.in_scopes(quota, asked.new) {
            continue;
        }
        let name = meta::name(quota);
        let counted: Vec<&str> = hard.names().filter(|name| measure.counts(name)).collect();
        if measure.kind == Kind::Pods
            && let Some(missing) = pod::missing(counted.iter().copied(), asked.new)
        {
            return Err(format!("failed quota: {name}: must specify {missing}"));
        }
        let used = status(quota, "used");
        if counted.iter().any(|counted| used.get(counted).is_none()) {
            return Err(format!("status unknown for quota: {name}, resources: {}", counted.join(",")));
        }
        pertinent.push((index, hard, used));
    }
    if pertinent.is_empty() {
        return Ok(Vec::new());
    }
    let usage = measure.usage(asked.new, asked.now);
    let negative: Vec<&str> = usage.iter().filter(|(_, amount)| amount.sign() < 0).map(|(name, _)| name).collect();
    if !negative.is_empty() {
        return Err(format!("quota usage is negative for resource(s): {}", negative.join(",")));
    }
    let mut charges = Vec::new();
    for (index, hard, used) in pertinent {
        let mut added = usage.clone();
        if let Some(old) = asked.old.filter(|old| measure.in_scopes(quotas[index], old)) {
            added.subtract(&measure.usage(old, asked.now));
        }
        added.retain(|name, amount| !amount.is_zero() && hard.get(name).is_some());
        if added.is_empty() {
            continue;
        }
        let mut after = used.clone();
        after.add(&added);
        let mut exceeded = added.clone();
        exceeded.retain(|name, _| after.get(name) > hard.get(name));
        if !exceeded.is_empty() && asked.subresource != "status" {
            return Err(format!(
                "exceeded quota: {}, requested: {}, used: {}, limited: {}",
                meta::name(quotas[index]),
                exceeded.list(),
                used.named_in(&exceeded).list(),
                hard.named_in(&exceeded).list(),
            ));
        }
        charges.push(Charge { index, used: after, added });
    }
    Ok(charges)
}

/// `status.used` of a quota without what was added to it.
pub fn refund(quota: &Value, added: &Amounts) -> Amounts {
    let mut used = status(quota, "used");
    used.subtract(&added.named_in(&used));
    used
}
