//! What a write does to ownership, and what an apply does to the object.
//!
//! Source: `sigs.k8s.io/structured-merge-diff/v6/merge/update.go` and the chain of managers in
//! `k8s.io/apimachinery/pkg/util/managedfields/internal`.

use std::collections::BTreeMap;

use serde_json::Value;
use smol_str::SmolStr;

use super::Target;
use super::fieldset::{FieldPath, FieldSet};
use super::managed::{Entry, Managed};
use super::typed::{Ty, TypeError, field_set, reconciled, with_named_fields};
use super::walk::{Comparison, compare, merge, remove};
use crate::schema::KindSchema;

/// Fields that no one owns.
const NEVER_OWNED: [&str; 11] = [
    "apiVersion",
    "kind",
    "metadata",
    "metadata.name",
    "metadata.namespace",
    "metadata.creationTimestamp",
    "metadata.selfLink",
    "metadata.uid",
    "metadata.generation",
    "metadata.managedFields",
    "metadata.resourceVersion",
];

/// A field that someone else owns and this apply would change.
#[derive(Clone, Debug)]
pub(super) struct Conflict {
    pub(super) owner: Entry,
    pub(super) path: FieldPath,
}

/// Why an apply fails.
#[derive(Debug)]
pub(super) enum Failure {
    Conflicts(Vec<Conflict>),
    Type(TypeError),
}

impl From<TypeError> for Failure {
    fn from(error: TypeError) -> Self {
        Self::Type(error)
    }
}

fn root(kind: &KindSchema) -> Ty<'static> {
    Ty::Struct(kind.root)
}

/// An object in another version, with its schema; `None` if that version is no more.
fn in_version(target: &Target<'_>, object: &Value, version: &str) -> Option<(Value, KindSchema)> {
    if version == target.api_version {
        Some((object.clone(), target.kind.clone()))
    } else {
        target.versions.convert(object, version)
    }
}

fn strip(set: &FieldSet) -> FieldSet {
    set.difference(&FieldSet::of_fields(&NEVER_OWNED))
}

/// Brings sets that were recorded under an older schema up to date; forgets versions that are no more.
fn bring_up_to_date(target: &Target<'_>, managed: Managed) -> Managed {
    let mut kinds: BTreeMap<SmolStr, Option<KindSchema>> = BTreeMap::new();
    kinds.insert(target.api_version.into(), Some(target.kind.clone()));
    let mut out = Managed::default();
    for (id, mut entry) in managed.0 {
        let kind = kinds.entry(entry.api_version.clone()).or_insert_with(|| target.versions.kind(&entry.api_version));
        if let Some(kind) = kind {
            entry.set = reconciled(&kind.schema, root(kind), entry.set);
            out.0.insert(id, entry);
        }
    }
    out
}

/// Takes what changed between two objects from everyone who owned it. Without `force`, changes of what others own are
/// conflicts.
fn take_changed(
    target: &Target<'_>,
    old: &Value,
    new: &Value,
    managed: &mut Managed,
    own: &str,
    force: bool,
) -> Result<Comparison, Failure> {
    let filtered = |c: Comparison| Comparison {
        removed: target.reset_fields.filter(c.removed),
        modified: target.reset_fields.filter(c.modified),
        added: target.reset_fields.filter(c.added),
    };
    let own_comparison = filtered(compare(&target.kind.schema, root(target.kind), old, new)?);
    let mut comparisons: BTreeMap<SmolStr, Option<Comparison>> = BTreeMap::new();
    comparisons.insert(target.api_version.into(), Some(own_comparison.clone()));
    let mut conflicts = Vec::new();
    let mut losses: Vec<(String, Option<FieldSet>)> = Vec::new();
    for (id, entry) in managed.0.iter().filter(|(id, _)| *id != own) {
        if !comparisons.contains_key(&entry.api_version) {
            let versioned =
                in_version(target, old, &entry.api_version).zip(in_version(target, new, &entry.api_version));
            let comparison = match versioned {
                Some(((old, kind), (new, _))) => Some(filtered(compare(&kind.schema, root(&kind), &old, &new)?)),
                None => None,
            };
            comparisons.insert(entry.api_version.clone(), comparison);
        }
        let Some(Some(comparison)) = comparisons.get(&entry.api_version) else {
            losses.push((id.clone(), None));
            continue;
        };
        let taken = entry.set.intersection(&comparison.modified.clone().union(&comparison.added));
        if !force {
            conflicts.extend(taken.paths().into_iter().map(|path| Conflict { owner: entry.clone(), path }));
        }
        losses.push((id.clone(), Some(taken.union(&comparison.removed))));
    }
    if !conflicts.is_empty() {
        return Err(Failure::Conflicts(conflicts));
    }
    for (id, lost) in losses {
        match (lost, managed.0.get_mut(&id)) {
            (Some(lost), Some(entry)) => entry.set = entry.set.difference(&lost),
            _ => {
                managed.0.remove(&id);
            }
        }
    }
    managed.0.retain(|_, e| !e.set.is_empty());
    Ok(own_comparison)
}

/// Records that `manager` wrote `new` over `old`. The manager owns what the write changed, beside what it owned before.
pub(super) fn update(
    target: &Target<'_>,
    old: &Value,
    new: &Value,
    managed: Managed,
    manager: &str,
) -> Result<Managed, TypeError> {
    let mut managed = bring_up_to_date(target, managed);
    // No manager has the empty identity: its own earlier entry loses what changed like everyone's, and gains it below.
    let changed = match take_changed(target, old, new, &mut managed, "", true) {
        Ok(changed) => changed,
        Err(Failure::Type(error)) => return Err(error),
        Err(Failure::Conflicts(_)) => Comparison::default(),
    };
    let set = strip(&target.reset_fields.filter(changed.modified.union(&changed.added)));
    if !set.is_empty() {
        let entry = entry_of(target, manager, false, set);
        match managed.0.get_mut(&entry.identity()) {
            Some(own) => {
                own.set = std::mem::take(&mut own.set).union(&entry.set);
                own.time = entry.time;
            }
            None => {
                managed.0.insert(entry.identity(), entry);
            }
        }
    }
    super::managed::cap(&mut managed);
    Ok(managed)
}

/// An entry of the version and subresource of this request, made now.
pub(super) fn entry_of(target: &Target<'_>, manager: &str, applied: bool, set: FieldSet) -> Entry {
    Entry {
        manager: if manager.is_empty() { "unknown" } else { manager }.to_owned(),
        applied,
        api_version: target.api_version.into(),
        subresource: target.subresource.to_owned(),
        time: Some(target.now.to_owned()),
        set,
    }
}

/// Merges an applied object over the live one. Gives the new object, or `None` if nothing changed.
pub(super) fn apply(
    target: &Target<'_>,
    live: &Value,
    config: &Value,
    managed: Managed,
    manager: &str,
    force: bool,
) -> Result<(Option<Value>, Managed), Failure> {
    let schema = &target.kind.schema;
    let ty = root(target.kind);
    let mut managed = bring_up_to_date(target, managed);
    let merged = merge(schema, ty, live, config)?;
    let set = target.reset_fields.filter(field_set(schema, ty, config)?);
    let mut entry = entry_of(target, manager, true, set);
    let id = entry.identity();
    let last = managed.0.remove(&id);
    entry.time = last.as_ref().and_then(|e| e.time.clone());
    managed.0.insert(id.clone(), entry);
    let new = prune(target, merged, &managed, last.as_ref())?;
    take_changed(target, live, &new, &mut managed, &id, force)?;
    let changed = new != *live;
    if let Some(entry) = managed.0.get_mut(&id) {
        entry.set = strip(&entry.set);
        if changed {
            entry.time = Some(target.now.to_owned());
        }
    }
    managed.0.retain(|_, e| !e.set.is_empty());
    Ok((changed.then_some(new), managed))
}

/// Removes what the manager applied last time, does not apply now, and no one else owns.
fn prune(target: &Target<'_>, merged: Value, managed: &Managed, last: Option<&Entry>) -> Result<Value, TypeError> {
    let Some(last) = last.filter(|l| !l.set.is_empty()) else { return Ok(merged) };
    let Some((full, kind)) = in_version(target, &merged, &last.api_version) else { return Ok(merged) };
    let ty = root(&kind);
    let named = |set: &FieldSet| with_named_fields(&kind.schema, Some(ty), set);
    let mut pruned = remove(&kind.schema, ty, &full, &named(&last.set));

    // What others, or the new config, own comes back: first in the version at hand, then in the others.
    let mut owned: BTreeMap<SmolStr, FieldSet> = BTreeMap::new();
    for entry in managed.0.values() {
        let all = owned.entry(entry.api_version.clone()).or_default();
        *all = std::mem::take(all).union(&entry.set);
    }
    let mut versions: Vec<SmolStr> = owned.keys().cloned().collect();
    versions.sort_by_key(|v| *v != last.api_version);
    for version in versions {
        let convert = |object: &Value| {
            if version == last.api_version {
                Some((object.clone(), kind.clone()))
            } else {
                target.versions.convert(object, &version)
            }
        };
        let Some(((full, kind), (kept, _))) = convert(&full).zip(convert(&pruned)) else { continue };
        let ty = root(&kind);
        let named = |set: &FieldSet| with_named_fields(&kind.schema, Some(ty), set);
        let all = named(&field_set(&kind.schema, ty, &full)?);
        let keep = named(&field_set(&kind.schema, ty, &kept)?).union(&named(&owned[&version]));
        let result = remove(&kind.schema, ty, &full, &all.difference(&keep));
        pruned = if version == last.api_version {
            result
        } else {
            match target.versions.convert(&result, &last.api_version) {
                Some((back, _)) => back,
                None => continue,
            }
        };
    }

    // Only what this manager owned may go.
    let kept = named(&field_set(&kind.schema, ty, &pruned)?);
    let all = named(&field_set(&kind.schema, ty, &full)?);
    let gone = all.difference(&kept).intersection(&named(&last.set));
    let result = remove(&kind.schema, ty, &full, &gone);
    if last.api_version == target.api_version {
        return Ok(result);
    }
    Ok(target.versions.convert(&result, target.api_version).map_or(merged, |(value, _)| value))
}

/// The conflicts that remain when what `kubectl` applied on the client side last time counts as its own.
pub(super) fn beyond_last_applied(
    target: &Target<'_>,
    live: &Value,
    last_applied: &Value,
    conflicts: &[Conflict],
) -> Result<Vec<Conflict>, TypeError> {
    let schema = &target.kind.schema;
    let ty = root(target.kind);
    let changed = compare(schema, ty, last_applied, live)?;
    let own = field_set(schema, ty, last_applied)?
        .difference(&changed.modified)
        .difference(&changed.added)
        .difference(&changed.removed);
    Ok(conflicts.iter().filter(|c| !own.has(&c.path)).cloned().collect())
}
