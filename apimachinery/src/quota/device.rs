//! What a claim of devices uses: itself, and devices of each class, the most it may be given.

use serde_json::Value;
use smol_str::format_smolstr;

use super::Amounts;
use crate::meta;
use crate::quantity::{Format, Quantity};

const BY_CLASS: &str = ".deviceclass.resource.k8s.io/devices";
/// The most devices that `allocationMode: All` can give.
const ALL: i64 = 32;

/// Whether a quota of this name counts devices of a class.
pub(super) fn counts(name: &str) -> bool {
    name.ends_with(BY_CLASS)
}

/// What a claim of devices uses.
pub(super) fn usage(claim: &Value) -> Amounts {
    let mut used = Amounts::default();
    for request in meta::list_at(claim, &["spec", "devices", "requests"]) {
        let alternatives = meta::list_at(request, &["firstAvailable"]);
        let mut most = Amounts::default();
        for wanted in alternatives.iter().chain(request.get("exactly").filter(|_| alternatives.is_empty())) {
            let mut one = Amounts::default();
            one.set(format_smolstr!("{}{BY_CLASS}", meta::str_at(wanted, &["deviceClassName"])), devices(wanted));
            most.raise(&one);
        }
        used.add(&most);
    }
    used
}

fn devices(wanted: &Value) -> Quantity {
    let number = match meta::str_at(wanted, &["allocationMode"]) {
        "ExactCount" => wanted.get("count").and_then(Value::as_i64).unwrap_or(0),
        "All" => ALL,
        _ => 0,
    };
    Quantity::from_int(number, Format::DecimalSi)
}
