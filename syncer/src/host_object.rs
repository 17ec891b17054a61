//! What host objects of all namespaced kinds have in common.

use apimachinery::meta;
use apimachinery::tenant::TenantId;
use serde_json::{Map, Value};

use crate::config::TenantSettings;
use crate::marks::Mark;

/// The labels and annotations of a host object: the tenant's as far as they pass, and our mark.
pub(crate) fn host_metadata(
    object: &Value,
    resource: &str,
    tenant: TenantId,
    settings: &TenantSettings,
) -> (Map<String, Value>, Map<String, Value>) {
    let pass = |key: &str, passes: &dyn Fn(&str) -> bool| -> Map<String, Value> {
        let map = meta::at(object, &["metadata", key]).and_then(Value::as_object);
        map.into_iter().flatten().filter(|(k, _)| passes(k)).map(|(k, v)| (k.clone(), v.clone())).collect()
    };
    let mut labels = pass("labels", &|k| settings.policy.passes_label(k));
    let mut annotations = pass("annotations", &|k| settings.policy.passes_annotation(k));
    let mark = Mark {
        tenant,
        resource: resource.to_owned(),
        namespace: meta::namespace(object).to_owned(),
        name: meta::name(object).to_owned(),
        uid: meta::uid(object).to_owned(),
    };
    mark.write(&settings.name, &mut labels, &mut annotations);
    (labels, annotations)
}
