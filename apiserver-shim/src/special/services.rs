//! Services get their addresses from the host, within the call that creates or changes them.

use apimachinery::meta;
use apimachinery::status::ApiError;
use serde_json::{Map, Value};

use crate::admission::{Operation, Request, resource_quota};
use crate::registry::{Call, Registry};

/// What the host allots.
const ALLOTTED: [&str; 6] = ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "ports", "healthCheckNodePort"];

/// Has the host create or update its Service and takes over what it allotted.
pub(super) async fn allot(
    registry: &Registry,
    call: &Call,
    service: &mut Value,
    old: Option<&Value>,
) -> Result<(), ApiError> {
    if let Some(old) = old
        && service.get("spec") == old.get("spec")
        && service["metadata"].get("labels") == old["metadata"].get("labels")
        && service["metadata"].get("annotations") == old["metadata"].get("annotations")
    {
        return Ok(());
    }
    let Some(host) = registry.host() else {
        return super::service_addresses::allot(registry, call, service, old).await;
    };
    // Before the host has it: what a quota refuses must not be left there.
    let operation = if old.is_some() { Operation::Update } else { Operation::Create };
    resource_quota::check(&Request::new(registry, call, operation, Some(service.clone()), old)).await?;
    let given = host.service_apply(call.tenant, service.clone(), old, call.dry_run).await?;
    let Some(spec) = service.get_mut("spec").and_then(Value::as_object_mut) else { return Ok(()) };
    take(spec, meta::at(&given, &["spec"]).and_then(Value::as_object));
    Ok(())
}

fn take(spec: &mut Map<String, Value>, given: Option<&Map<String, Value>>) {
    for key in ALLOTTED {
        match given.and_then(|g| g.get(key)) {
            Some(value) => spec.insert(key.to_owned(), value.clone()),
            None => spec.remove(key),
        };
    }
}
