//! ResourceQuotas and LimitRanges.

use serde_json::{Map, Value};

use super::edit::{fill_entries, items_mut, some_mut};

pub(super) fn limit_range_default(range: &mut Value) {
    let Some(spec) = some_mut(range, "spec") else { return };
    for item in items_mut(spec, "limits") {
        if item.get("type").and_then(Value::as_str) != Some("Container") {
            continue;
        }
        let map = |key: &str| item.get(key).and_then(Value::as_object).cloned().unwrap_or_default();
        let (max, min) = (map("max"), map("min"));
        let (mut default, mut request) = (map("default"), map("defaultRequest"));
        fill_entries(&mut default, &max);
        fill_entries(&mut request, &default);
        fill_entries(&mut request, &min);
        let mut put = |key: &str, entries: Map<String, Value>| {
            if !entries.is_empty() {
                super::edit::set(item, key, entries);
            }
        };
        put("default", default);
        put("defaultRequest", request);
    }
}
