//! Resources of containers and of whole pods.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::field::Errors;
use crate::quantity::Quantity;
use crate::rules::at::At;
use crate::rules::edit::{made_mut, set, some_mut};
use crate::rules::names;
pub(super) use crate::rules::quantities::quantity;
use crate::rules::quantities::{
    can_overcommit, container_resource_name, is_hugepage, resource_name, resource_quantity,
};

/// Whether a reference of the downward API names huge pages.
pub(super) fn is_hugepage_reference(resource: &str) -> bool {
    resource.starts_with("requests.hugepages-") || resource.starts_with("limits.hugepages-")
}

/// What a container asks for.
pub(super) fn container_resources(at: &At<'_, '_>, claims: &[&str], errors: &mut Errors) {
    requirements(at, container_resource_name, claims, errors);
}

fn is_pod_level(resource: &str) -> bool {
    matches!(resource, "cpu" | "memory") || is_hugepage(resource)
}

fn pod_resource_name(at: &At<'_, '_>, name: &str, errors: &mut Errors) {
    if resource_name(at, name, errors) && !is_pod_level(name) {
        errors.not_supported(&at.path(), &name.into(), &["cpu", "hugepages-", "memory"]);
    }
}

fn requirements(at: &At<'_, '_>, check_name: fn(&At<'_, '_>, &str, &mut Errors), claims: &[&str], errors: &mut Errors) {
    let (limits, requests) = (at.field("limits"), at.field("requests"));
    let (mut compute, mut hugepages) = (false, false);
    for (list, is_limit) in [(&limits, true), (&requests, false)] {
        for (name, entry) in list.entries() {
            check_name(&entry, name, errors);
            resource_quantity(&entry, name, errors);
            let amount = quantity(entry.value()).unwrap_or(Quantity::ZERO);
            if !is_limit {
                within_limit(&limits, &requests, name, &amount, errors);
            }
            if is_hugepage(name) {
                hugepages = true;
                if !divides(name, &amount) {
                    let canonical = amount.canonical();
                    entry.invalid_text(
                        errors,
                        &canonical,
                        &format!("{canonical} is not positive integer multiple of {name}"),
                    );
                }
            }
            compute |= matches!(name, "cpu" | "memory");
        }
    }
    if hugepages && !compute {
        at.forbidden(errors, "HugePages require cpu or memory");
    }
    claim_references(&at.field("claims"), claims, errors);
}

fn within_limit(limits: &At<'_, '_>, requests: &At<'_, '_>, name: &str, amount: &Quantity, errors: &mut Errors) {
    match quantity(limits.entry(name).value()) {
        Some(limit) if *amount != limit && !can_overcommit(name) => {
            let says = format!("must be equal to {name} limit of {}", limit.canonical());
            requests.invalid_text(errors, &amount.canonical(), &says);
        }
        Some(limit) if *amount > limit => {
            let says = format!("must be less than or equal to {name} limit of {}", limit.canonical());
            requests.invalid_text(errors, &amount.canonical(), &says);
        }
        Some(_) => {}
        None if !can_overcommit(name) => {
            limits.required(errors, "Limit must be set for non overcommitable resources");
        }
        None => {}
    }
}

/// Whether `amount` is a number of whole pages.
fn divides(name: &str, amount: &Quantity) -> bool {
    let page = name.strip_prefix("hugepages-").and_then(|size| Quantity::parse(size).ok());
    page.is_some_and(|page| page.sign() > 0 && page.is_whole() && amount.value() % page.value() == 0)
}

fn claim_references(at: &At<'_, '_>, claims: &[&str], errors: &mut Errors) {
    let mut seen: Vec<String> = Vec::new();
    for reference in at.items() {
        let (name, request) = (reference.field("name").str(), reference.field("request"));
        if name.is_empty() {
            reference.required(errors, "");
            continue;
        }
        let duplicate = |errors: &mut Errors, key: &str| errors.duplicate(&reference.path(), &key.into());
        if seen.iter().any(|s| s == name) {
            duplicate(errors, name);
        } else {
            let mut key = name.to_owned();
            if !request.str().is_empty() {
                request.invalid_each(errors, names::dns1123_label(request.str()));
                key = format!("{name}/{}", request.str());
            }
            if seen.contains(&key) {
                duplicate(errors, &key);
            } else if request.str().is_empty() {
                let parts = seen.iter().filter(|s| s.split_once('/').is_some_and(|(claim, _)| claim == name)).count();
                for _ in 0..parts {
                    duplicate(errors, name);
                }
            }
            seen.push(key);
        }
        if !claims.contains(&name) {
            let mut sorted = claims.to_vec();
            sorted.sort_unstable();
            let known =
                if claims.is_empty() { " which is empty".to_owned() } else { format!(": {}", sorted.join(", ")) };
            errors.not_found(&reference.path(), &name.into());
            if let Some(last) = errors.0.last_mut() {
                last.body.push_str(&format!(": must be one of the names in pod.spec.resourceClaims{known}"));
            }
        }
    }
}

/// What a pod as a whole asks for.
pub(super) fn pod_resources(spec: &At<'_, '_>, claims: &[&str], errors: &mut Errors) {
    let at = spec.field("resources");
    if !at.exists() {
        return;
    }
    if spec.field("os").field("name").str() == "windows" {
        at.forbidden(errors, "may not be set for a windows pod");
        return;
    }
    if at.field("claims").exists() {
        at.field("claims").forbidden(errors, "claims may not be set for Resources at pod-level");
    }
    requirements(&at, pod_resource_name, claims, errors);
    covers_containers(spec, &at, errors);
}

fn covers_containers(spec: &At<'_, '_>, at: &At<'_, '_>, errors: &mut Errors) {
    let (limits, requests) = (at.field("limits"), at.field("requests"));
    for (name, sum) in aggregate(spec.value(), "requests") {
        let entry = requests.entry(&name);
        if let Some(own) = quantity(entry.value()).filter(|own| sum > *own) {
            let says = format!("must be greater than or equal to aggregate container requests of {}", sum.canonical());
            entry.invalid_text(errors, &own.canonical(), &says);
        }
    }
    for (name, sum) in aggregate(spec.value(), "limits") {
        let entry = limits.entry(&name);
        if let Some(own) = quantity(entry.value()).filter(|own| is_hugepage(&name) && sum > *own) {
            let says = format!("must be greater than or equal to aggregate container limits of {}", sum.canonical());
            entry.invalid_text(errors, &own.canonical(), &says);
        }
    }
    for (i, container) in spec.field("containers").items().enumerate() {
        for (name, limit) in container.field("resources").field("limits").entries() {
            let Some((limit, own)) = quantity(limit.value()).zip(quantity(limits.entry(name).value())) else {
                continue;
            };
            if limit > own {
                let path = at.path().child("containers").index(i).key(name).child("limits");
                let says = format!("must be less than or equal to pod limits of {}", own.canonical());
                errors.invalid_str(&path, &limit.canonical(), &says);
            }
        }
    }
}

/// Whether an init container keeps running beside the others.
pub(super) fn is_sidecar(container: &Value) -> bool {
    container.get("restartPolicy").and_then(Value::as_str) == Some("Always")
}

type Amounts = BTreeMap<String, Quantity>;

fn add(into: &mut Amounts, from: &Amounts) {
    for (name, amount) in from {
        let sum = into.get(name).map_or_else(|| amount.clone(), |own| own.add(amount));
        into.insert(name.clone(), sum);
    }
}

fn raise(into: &mut Amounts, from: &Amounts) {
    for (name, amount) in from {
        if into.get(name).is_none_or(|own| amount > own) {
            into.insert(name.clone(), amount.clone());
        }
    }
}

/// What all containers of a pod need at once: the sum of those that run together, or more while one of the init
/// containers runs. `list` is `requests` or `limits`.
pub(super) fn aggregate(spec: &Value, list: &str) -> Amounts {
    let amounts = |container: &Value| -> Amounts {
        let map = container.get("resources").and_then(|r| r.get(list)).and_then(Value::as_object);
        map.into_iter().flatten().filter_map(|(k, v)| Some((k.clone(), quantity(v)?))).collect()
    };
    let items = |key: &str| spec.get(key).and_then(Value::as_array).into_iter().flatten();
    let (mut sum, mut sidecars, mut init) = (Amounts::new(), Amounts::new(), Amounts::new());
    for container in items("containers") {
        add(&mut sum, &amounts(container));
    }
    for container in items("initContainers") {
        let mut own = amounts(container);
        if is_sidecar(container) {
            add(&mut sum, &own);
            add(&mut sidecars, &own);
            own = sidecars.clone();
        } else {
            add(&mut own, &sidecars);
        }
        raise(&mut init, &own);
    }
    raise(&mut sum, &init);
    sum
}

/// Fills in what a pod asks for as a whole, where it says part of it, from its containers and its limits.
pub(super) fn pod_level_default(spec: &mut Value) {
    let (requests, limits) = (aggregate(spec, "requests"), aggregate(spec, "limits"));
    let Some(own) = some_mut(spec, "resources") else { return };
    let has = |own: &Value, list: &str, name: &str| own.get(list).is_some_and(|l| l.get(name).is_some());
    let is_empty =
        |own: &Value, list: &str| own.get(list).and_then(Value::as_object).is_none_or(serde_json::Map::is_empty);
    if is_empty(own, "limits") && is_empty(own, "requests") {
        return;
    }
    let put = |own: &mut Value, list: &str, name: &str, value: Value| {
        if let Some(list) = made_mut(own, list) {
            set(list, name, value);
        }
    };
    for (name, amount) in &limits {
        if is_hugepage(name) && !has(own, "requests", name) && !has(own, "limits", name) {
            put(own, "limits", name, amount.canonical().as_str().into());
        }
    }
    if is_empty(own, "limits") {
        return;
    }
    for (name, amount) in &requests {
        if is_pod_level(name) && can_overcommit(name) && !has(own, "requests", name) {
            put(own, "requests", name, amount.canonical().as_str().into());
        }
    }
    let own_limits = own.get("limits").and_then(Value::as_object).cloned().unwrap_or_default();
    for (name, amount) in own_limits {
        if is_pod_level(&name) && !has(own, "requests", &name) {
            put(own, "requests", &name, amount);
        }
    }
}

/// Resources that run out without a pod being able to use less.
pub(in crate::rules) fn overhead(at: &At<'_, '_>, errors: &mut Errors) {
    // Looked at as limits are; the path is that of a container's resources.
    if !at.exists() {
        return;
    }
    let wrapped = serde_json::json!({ "limits": at.value() });
    requirements(&at.with_value(&wrapped), container_resource_name, &[], errors);
}
