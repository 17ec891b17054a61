//! How much of which resource: what `spec.hard`, `status.used` and the requests of a container hold.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use smol_str::SmolStr;

use crate::quantity::Quantity;
use crate::rules::quantities;

/// Quantities by the names of resources.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Amounts(BTreeMap<SmolStr, Quantity>);

impl Amounts {
    /// Reads a map of quantities; what is none of it is left out, validation has refused it where it matters.
    pub fn read(value: Option<&Value>) -> Self {
        let entries = value.and_then(Value::as_object).into_iter().flatten();
        Self(entries.filter_map(|(name, value)| Some((name.into(), quantities::quantity(value)?))).collect())
    }

    /// The map as objects have it.
    pub fn to_value(&self) -> Value {
        let entry = |(name, amount): (&SmolStr, &Quantity)| (name.to_string(), Value::String(amount.to_string()));
        Value::Object(self.0.iter().map(entry).collect::<Map<_, _>>())
    }

    /// The quantity of a resource.
    pub fn get(&self, name: &str) -> Option<&Quantity> {
        self.0.get(name)
    }

    /// Sets the quantity of a resource.
    pub fn set(&mut self, name: impl Into<SmolStr>, amount: Quantity) {
        self.0.insert(name.into(), amount);
    }

    /// The names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(SmolStr::as_str)
    }

    /// Names and quantities, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Quantity)> {
        self.0.iter().map(|(name, amount)| (name.as_str(), amount))
    }

    /// Whether nothing is named.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds each quantity to the one of its name.
    pub fn add(&mut self, other: &Self) {
        for (name, amount) in &other.0 {
            let sum = self.0.get(name).map_or_else(|| amount.clone(), |own| own.add(amount));
            self.0.insert(name.clone(), sum);
        }
    }

    /// Takes each quantity from the one of its name; what would be below nothing is nothing.
    pub fn subtract(&mut self, other: &Self) {
        for (name, own) in &mut self.0 {
            let rest = other.0.get(name).map_or_else(|| own.clone(), |amount| own.sub(amount));
            *own = if rest.sign() > 0 { rest } else { Quantity::ZERO };
        }
    }

    /// Raises each quantity to the one of its name in `other`.
    pub fn raise(&mut self, other: &Self) {
        for (name, amount) in &other.0 {
            if self.0.get(name).is_none_or(|own| amount > own) {
                self.0.insert(name.clone(), amount.clone());
            }
        }
    }

    /// Keeps the entries that `keep` says yes to.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &Quantity) -> bool) {
        self.0.retain(|name, amount| keep(name, amount));
    }

    /// The entries of `self` that `other` names too.
    pub fn named_in(&self, other: &Self) -> Self {
        Self(
            self.0
                .iter()
                .filter(|(name, _)| other.0.contains_key(*name))
                .map(|(n, a)| (n.clone(), a.clone()))
                .collect(),
        )
    }

    /// As messages write it: `cpu=600m,memory=1Gi`.
    pub fn list(&self) -> String {
        let parts: Vec<String> = self.0.iter().map(|(name, amount)| format!("{name}={amount}")).collect();
        parts.join(",")
    }
}
