//! Names of resources and how much of them.

use serde_json::Value;

use super::at::At;
use super::names;
use crate::field::Errors;
use crate::quantity::Quantity;

/// The quantity of a field, if there is one.
pub fn quantity(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(text) => Quantity::parse(text).ok(),
        Value::Number(number) => Quantity::parse(&number.to_string()).ok(),
        _ => None,
    }
}

/// Whether the resource belongs to Kubernetes: it has no prefix, or one of `kubernetes.io/`.
pub fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

/// Whether these are pages of some size.
pub fn is_hugepage(name: &str) -> bool {
    name.starts_with("hugepages-")
}

/// Whether more of it can be asked for than there is.
pub fn can_overcommit(name: &str) -> bool {
    is_native(name) && !is_hugepage(name)
}

/// Whether this is a resource of someone else, such as a GPU.
pub fn is_extended(name: &str) -> bool {
    !is_native(name) && !name.starts_with("requests.") && names::qualified_name(&format!("requests.{name}")).is_empty()
}

const STANDARD: &[&str] = &[
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "storage",
    "requests.storage",
    "services.nodeports",
    "services.loadbalancers",
];

/// Whether Kubernetes knows this resource without a prefix.
pub fn is_standard(name: &str) -> bool {
    STANDARD.contains(&name) || is_hugepage(name) || name.starts_with("requests.hugepages-")
}

/// Resources that are counted in whole numbers.
pub fn is_whole(name: &str) -> bool {
    matches!(
        name,
        "pods"
            | "resourcequotas"
            | "services"
            | "replicationcontrollers"
            | "secrets"
            | "configmaps"
            | "persistentvolumeclaims"
            | "services.nodeports"
            | "services.loadbalancers"
    ) || is_extended(name)
}

/// The name of any resource; `false` if something was wrong.
pub fn resource_name(at: &At<'_, '_>, name: &str, errors: &mut Errors) -> bool {
    let wrong = names::qualified_name(name);
    if wrong.is_empty() {
        if !name.contains('/') && !is_standard(name) {
            at.invalid_text(errors, name, "must be a standard resource type or fully qualified");
            return false;
        }
        return true;
    }
    for detail in wrong {
        at.invalid_text(errors, name, &detail);
    }
    false
}

/// The name of a resource that a container can ask for.
pub fn container_resource_name(at: &At<'_, '_>, name: &str, errors: &mut Errors) {
    resource_name(at, name, errors);
    if !name.contains('/') {
        if !matches!(name, "cpu" | "memory" | "ephemeral-storage") && !is_hugepage(name) {
            at.invalid_text(errors, name, "must be a standard resource for containers");
        }
    } else if !is_native(name) && !is_extended(name) {
        at.invalid_text(errors, name, "doesn't follow extended resource name standard");
    }
}

/// How much of `resource`: not negative, and whole where it must be.
pub fn resource_quantity(at: &At<'_, '_>, resource: &str, errors: &mut Errors) {
    let Some(quantity) = quantity(at.value()) else { return };
    non_negative(at, errors);
    if is_whole(resource) && !quantity.is_whole() {
        at.invalid_text(errors, &quantity.canonical(), "must be an integer");
    }
}

/// A quantity may not be below zero.
pub fn non_negative(at: &At<'_, '_>, errors: &mut Errors) {
    if let Some(quantity) = quantity(at.value()).filter(|q| q.sign() < 0) {
        at.invalid_text(errors, &quantity.canonical(), "must be greater than or equal to 0");
    }
}

/// A quantity must be above zero (nothing counts as zero).
pub fn positive(at: &At<'_, '_>, errors: &mut Errors) -> bool {
    let quantity = quantity(at.value()).unwrap_or(Quantity::ZERO);
    if quantity.sign() <= 0 {
        at.invalid_text(errors, &quantity.canonical(), "must be greater than zero");
    }
    quantity.sign() > 0
}

/// A quantity whose whole value is not negative.
pub fn basic(at: &At<'_, '_>, errors: &mut Errors) {
    if let Some(value) = quantity(at.value()).map(|q| q.value()).filter(|v| *v < 0) {
        errors.invalid(&at.path(), &value.into(), "must be a valid resource quantity");
    }
}
