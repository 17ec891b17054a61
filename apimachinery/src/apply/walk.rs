//! Comparing, merging and pruning two objects of one type.
//!
//! Source of the semantics: `sigs.k8s.io/structured-merge-diff/v6/typed` (`compare.go`, `merge.go`, `remove.go`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::{Map, Value};

use super::fieldset::{FieldPath, FieldSet, PathElement, show_path};
use super::typed::{Form, MapForm, Ty, TypeError, form_of, forms_of, item_elements};
use crate::schema::{ListKind, Schema};

/// How two objects differ.
#[derive(Clone, Debug, Default)]
pub(super) struct Comparison {
    pub(super) removed: FieldSet,
    pub(super) modified: FieldSet,
    pub(super) added: FieldSet,
}

/// Compares two objects field by field.
pub(super) fn compare(schema: &Schema, ty: Ty<'_>, old: &Value, new: &Value) -> Result<Comparison, TypeError> {
    let mut walk = Compare { schema, out: Comparison::default(), path: Vec::new() };
    walk.value(ty, Some(old), Some(new))?;
    Ok(walk.out)
}

struct Compare<'a> {
    schema: &'a Schema,
    out: Comparison,
    path: FieldPath,
}

impl Compare<'_> {
    fn value(&mut self, ty: Ty<'_>, old: Option<&Value>, new: Option<&Value>) -> Result<(), TypeError> {
        if old == new {
            return Ok(());
        }
        let (former, form) = forms_of(self.schema, ty, old, new);
        if let Some(former) = former {
            self.form(former, old, new)?;
        }
        let leaf = self.form(form, old, new)?;
        if !leaf {
            self.mark_presence(old, new);
        }
        Ok(())
    }

    /// Records a field that only one of the two has; false if both have it.
    fn mark_presence(&mut self, old: Option<&Value>, new: Option<&Value>) -> bool {
        match (old, new) {
            (None, _) => self.out.added.insert(&self.path),
            (_, None) => self.out.removed.insert(&self.path),
            _ => return false,
        }
        true
    }

    fn leaf(&mut self, old: Option<&Value>, new: Option<&Value>) -> bool {
        if !self.mark_presence(old, new) && !same(old, new) {
            self.out.modified.insert(&self.path);
        }
        true
    }

    /// Compares as this form; says whether the value was one piece.
    fn form(&mut self, form: Form<'_>, old: Option<&Value>, new: Option<&Value>) -> Result<bool, TypeError> {
        match form {
            Form::Scalar(_) => Ok(self.leaf(old, new)),
            Form::Map(form) => {
                let (a, b) = (object_of(old), object_of(new));
                if form.atomic || (a.is_none() && b.is_none()) {
                    return Ok(self.leaf(old, new));
                }
                let empty = Map::new();
                let (a, b) = (a.unwrap_or(&empty), b.unwrap_or(&empty));
                for key in keys(a, b) {
                    self.path.push(PathElement::Field(key.into()));
                    self.value(form.entry(key).unwrap_or(Ty::Deduced), a.get(key), b.get(key))?;
                    self.path.pop();
                }
                Ok(false)
            }
            Form::List { item, kind } => {
                let (a, b) = (list_of(old), list_of(new));
                if matches!(kind, ListKind::Atomic) || (a.is_empty() && b.is_empty()) {
                    return Ok(self.leaf(old, new));
                }
                self.items(item, kind, a, b)?;
                Ok(false)
            }
        }
    }

    fn items(&mut self, item: Ty<'_>, kind: &ListKind, old: &[Value], new: &[Value]) -> Result<(), TypeError> {
        let mut groups: BTreeMap<PathElement, (Vec<&Value>, Vec<&Value>)> = BTreeMap::new();
        for (element, value) in item_elements(self.schema, item, kind, old, &self.path)?.into_iter().zip(old) {
            groups.entry(element).or_default().0.push(value);
        }
        for (element, value) in item_elements(self.schema, item, kind, new, &self.path)?.into_iter().zip(new) {
            groups.entry(element).or_default().1.push(value);
        }
        for (element, (old, new)) in groups {
            self.path.push(element);
            match (&old[..], &new[..]) {
                ([] | [_], [] | [_]) => self.value(item, old.first().copied(), new.first().copied())?,
                // Items that stand there more than once are one piece together.
                ([_, _, ..], [_, _, ..]) => {
                    if old != new {
                        self.out.modified.insert(&self.path);
                    }
                }
                ([_, _, ..], new) => {
                    if let Some(only) = new.first() {
                        self.value(item, None, Some(only))?;
                    }
                    self.out.removed.insert(&self.path);
                }
                (old, _) => {
                    if let Some(only) = old.first() {
                        self.value(item, Some(only), None)?;
                    }
                    self.out.added.insert(&self.path);
                }
            }
            self.path.pop();
        }
        Ok(())
    }
}

/// Equal, numbers by their value.
fn same(a: Option<&Value>, b: Option<&Value>) -> bool {
    match (a, b) {
        (Some(Value::Number(a)), Some(Value::Number(b))) => a == b || a.as_f64() == b.as_f64(),
        _ => a == b,
    }
}

fn keys<'a>(a: &'a Map<String, Value>, b: &'a Map<String, Value>) -> BTreeSet<&'a str> {
    a.keys().chain(b.keys()).map(String::as_str).collect()
}

/// A map that has entries.
fn object_of(value: Option<&Value>) -> Option<&Map<String, Value>> {
    value.and_then(Value::as_object).filter(|m| !m.is_empty())
}

fn list_of(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// Merges a partial object over a live one. Nothing is removed; leaves of the partial object win; lists that both have
/// take the order of the partial one.
pub(super) fn merge(schema: &Schema, ty: Ty<'_>, live: &Value, config: &Value) -> Result<Value, TypeError> {
    let walk = Merge { schema };
    Ok(walk.value(ty, Some(live), Some(config), &mut Vec::new())?.unwrap_or_default())
}

struct Merge<'a> {
    schema: &'a Schema,
}

impl Merge<'_> {
    fn value(
        &self,
        ty: Ty<'_>,
        live: Option<&Value>,
        config: Option<&Value>,
        path: &mut FieldPath,
    ) -> Result<Option<Value>, TypeError> {
        let leaf = || config.or(live).cloned();
        // Where an unknown type changes its form, the new form rules.
        match forms_of(self.schema, ty, live, config).1 {
            Form::Scalar(_) => Ok(leaf()),
            Form::Map(form) => {
                let (a, b) = (object_of(live), object_of(config));
                if form.atomic || (a.is_none() && b.is_none()) {
                    return Ok(leaf());
                }
                self.map(form, a, b, path).map(Some)
            }
            Form::List { item, kind } => {
                let (a, b) = (list_of(live), list_of(config));
                if matches!(kind, ListKind::Atomic) || (a.is_empty() && b.is_empty()) {
                    return Ok(leaf());
                }
                let merged = self.items(item, kind, a, b, path)?;
                Ok(if merged.is_empty() { None } else { Some(Value::Array(merged)) })
            }
        }
    }

    fn map(
        &self,
        form: MapForm<'_>,
        live: Option<&Map<String, Value>>,
        config: Option<&Map<String, Value>>,
        path: &mut FieldPath,
    ) -> Result<Value, TypeError> {
        let empty = Map::new();
        let (live, config) = (live.unwrap_or(&empty), config.unwrap_or(&empty));
        let mut out = Map::new();
        for key in keys(live, config) {
            path.push(PathElement::Field(key.into()));
            let ty = form.entry(key).unwrap_or(Ty::Deduced);
            if let Some(value) = self.value(ty, live.get(key), config.get(key), path)? {
                out.insert(key.to_owned(), value);
            }
            path.pop();
        }
        Ok(Value::Object(out))
    }

    fn items(
        &self,
        item: Ty<'_>,
        kind: &ListKind,
        live: &[Value],
        config: &[Value],
        path: &mut FieldPath,
    ) -> Result<Vec<Value>, TypeError> {
        let theirs = item_elements(self.schema, item, kind, config, path)?;
        let mut wanted: BTreeMap<&PathElement, &Value> = BTreeMap::new();
        for (element, value) in theirs.iter().zip(config) {
            if wanted.insert(element, value).is_some() {
                let message = format!("duplicate entries for key {element}");
                return Err(TypeError { path: show_path(path), message });
            }
        }
        let ours = item_elements(self.schema, item, kind, live, path)?;
        let mut present: BTreeMap<&PathElement, &Value> = BTreeMap::new();
        for (element, value) in ours.iter().zip(live) {
            // What stands there more than once is replaced, not merged with.
            present.entry(element).and_modify(|v| *v = &Value::Null).or_insert(value);
        }
        let mut shared: VecDeque<&PathElement> = theirs.iter().filter(|e| present.contains_key(e)).collect();
        let mut next = shared.pop_front();
        let mut done: BTreeSet<&PathElement> = BTreeSet::new();
        let mut out = Vec::with_capacity(live.len().max(config.len()));
        let (mut i, mut j) = (0, 0);
        let mut push = |element: &PathElement, live: Option<&Value>, config: Option<&Value>, path: &mut FieldPath| {
            path.push(element.clone());
            let merged = self.value(item, live, config, path)?;
            path.pop();
            out.extend(merged);
            Ok::<_, TypeError>(())
        };
        while i < ours.len() || j < theirs.len() {
            if let (Some(own), Some(their)) = (ours.get(i), theirs.get(j)) {
                if own == their {
                    done.insert(own);
                    push(own, present.get(own).copied(), wanted.get(own).copied(), path)?;
                    i += 1;
                    j += 1;
                    next = shared.pop_front();
                    continue;
                }
                if wanted.contains_key(own) && next.is_some_and(|next| next != own) {
                    // Both have it, but it is not its turn in the order of the config.
                    i += 1;
                    continue;
                }
            }
            if let Some(own) = ours.get(i) {
                if !wanted.contains_key(own) {
                    push(own, Some(&live[i]), None, path)?;
                    i += 1;
                    continue;
                }
                if done.contains(own) {
                    i += 1;
                }
            }
            if let Some(their) = theirs.get(j) {
                done.insert(their);
                push(their, present.get(their).copied(), wanted.get(their).copied(), path)?;
                j += 1;
                if next == Some(their) {
                    next = shared.pop_front();
                }
            }
        }
        Ok(out)
    }
}

/// The value without these fields and items. A map or list of which nothing is left becomes null.
pub(super) fn remove(schema: &Schema, ty: Ty<'_>, value: &Value, gone: &FieldSet) -> Value {
    match form_of(schema, ty, value) {
        Form::Scalar(_) => value.clone(),
        Form::List { kind: ListKind::Atomic, .. } | Form::Map(MapForm { atomic: true, .. }) => Value::Null,
        Form::List { item, kind } => {
            let mut out = Vec::new();
            for value in value.as_array().into_iter().flatten() {
                let Ok(element) = super::typed::item_element(schema, item, kind, value) else {
                    out.push(value.clone());
                    continue;
                };
                if gone.has_element(&element) {
                    continue;
                }
                out.push(match gone.below(&element) {
                    Some(gone) => remove(schema, item, value, gone),
                    None => value.clone(),
                });
            }
            if out.is_empty() { Value::Null } else { Value::Array(out) }
        }
        Form::Map(form) => {
            let mut out = Map::new();
            for (key, value) in value.as_object().into_iter().flatten() {
                let element = PathElement::Field(key.as_str().into());
                if gone.has_element(&element) {
                    continue;
                }
                let value = match gone.below(&element) {
                    Some(gone) => remove(schema, form.entry(key).unwrap_or(Ty::Deduced), value, gone),
                    None => value.clone(),
                };
                out.insert(key.clone(), value);
            }
            if out.is_empty() { Value::Null } else { Value::Object(out) }
        }
    }
}
