//! Addresses and ports of services where there is no host to ask: drawn from fixed ranges, told apart by what the
//! tenant's other services have. For tests and for tenants without pods; two services that are created at the same
//! moment may be given the same address.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use apimachinery::field::{Errors, Path};
use apimachinery::gvk::GroupResource;
use apimachinery::meta;
use apimachinery::status::ApiError;
use rand::Rng;
use serde_json::{Value, json};

use crate::registry::{Call, Registry, place};

const NETWORK: u32 = u32::from_be_bytes([10, 96, 0, 0]);
const ADDRESSES: u32 = 1 << 16;
const PORTS: std::ops::RangeInclusive<i64> = 30_000..=32_767;

struct Used {
    addresses: HashSet<String>,
    ports: HashSet<i64>,
}

/// Fills in `clusterIP`, `clusterIPs`, IP families and node ports.
pub(super) async fn allot(
    registry: &Registry,
    call: &Call,
    service: &mut Value,
    old: Option<&Value>,
) -> Result<(), ApiError> {
    let used = used(registry, call, service).await?;
    let mut errors = Errors::default();
    let kind = match meta::str_at(service, &["spec", "type"]) {
        "" => "ClusterIP".to_owned(),
        other => other.to_owned(),
    };
    let Some(spec) = service.get_mut("spec").and_then(Value::as_object_mut) else { return Ok(()) };
    if kind == "ExternalName" {
        for key in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            spec.remove(key);
        }
        return Ok(());
    }
    let first = spec.get("clusterIPs").and_then(|l| l.get(0)).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut address = spec.get("clusterIP").and_then(Value::as_str).unwrap_or_default().to_owned();
    if address.is_empty() {
        address = first;
    }
    let before = old.map(|o| meta::str_at(o, &["spec", "clusterIP"])).unwrap_or_default();
    if address.is_empty()
        && !before.is_empty()
        && old.is_some_and(|o| meta::str_at(o, &["spec", "type"]) != "ExternalName")
    {
        address = before.to_owned();
    }
    if address.is_empty() {
        address = free_address(&used).ok_or_else(|| ApiError::internal("no address is left"))?;
    } else if address != "None" && address != before && used.addresses.contains(&address) {
        let value = json!([address]);
        let why = format!("failed to allocate IP {address}: provided IP is already allocated");
        errors.invalid(&Path::new("spec").child("clusterIPs").index(0), &value, &why);
    }
    spec.insert("clusterIPs".to_owned(), json!([address]));
    spec.insert("clusterIP".to_owned(), json!(address));
    let selects = spec.get("selector").and_then(Value::as_object).is_some_and(|s| !s.is_empty());
    let (families, policy) = match address == "None" && !selects && old.is_none() {
        // Whoever writes its endpoints may write them in both families.
        true => (json!(["IPv4", "IPv6"]), "RequireDualStack"),
        false => (json!(["IPv4"]), "SingleStack"),
    };
    spec.entry("ipFamilies").or_insert(families);
    spec.entry("ipFamilyPolicy").or_insert_with(|| json!(policy));
    let wants_ports = matches!(kind.as_str(), "NodePort" | "LoadBalancer")
        && spec.get("allocateLoadBalancerNodePorts") != Some(&json!(false));
    if wants_ports {
        node_ports(spec, old, &used, &mut errors);
    }
    if errors.is_empty() { Ok(()) } else { Err(ApiError::invalid(&call.resource.gvk, &call.name, &errors)) }
}

fn node_ports(spec: &mut serde_json::Map<String, Value>, old: Option<&Value>, used: &Used, errors: &mut Errors) {
    let before = old.map(|o| meta::list_at(o, &["spec", "ports"])).unwrap_or_default();
    let had = |port: &Value| {
        before
            .iter()
            .find(|b| b.get("port") == port.get("port") && b.get("protocol") == port.get("protocol"))
            .and_then(|b| b.get("nodePort"))
            .and_then(Value::as_i64)
    };
    let mut taken = used.ports.clone();
    let path = Path::new("spec").child("ports");
    for (i, port) in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten().enumerate() {
        let own = had(port);
        let asked = port.get("nodePort").and_then(Value::as_i64).filter(|p| *p != 0);
        let number = match asked.or(own) {
            Some(number) => {
                let path = path.index(i).child("nodePort");
                if !PORTS.contains(&number) {
                    let why = "provided port is not in the valid range. The range of valid ports is 30000-32767";
                    errors.invalid(&path, &json!(number), why);
                } else if Some(number) != own && taken.contains(&number) {
                    errors.invalid(&path, &json!(number), "provided port is already allocated");
                }
                number
            }
            None => {
                let mut rng = rand::rng();
                let start = rng.random_range(PORTS);
                let span = PORTS.end() - PORTS.start() + 1;
                let free = (0..span).map(|n| PORTS.start() + (start - PORTS.start() + n) % span);
                let Some(number) = free.into_iter().find(|n| !taken.contains(n)) else { continue };
                number
            }
        };
        taken.insert(number);
        port["nodePort"] = json!(number);
    }
}

async fn used(registry: &Registry, call: &Call, service: &Value) -> Result<Used, ApiError> {
    let collection = place::collection(call.tenant, &GroupResource::new("", "services"));
    let range = registry.store().range(&collection, store::RangeQuery::default()).await;
    let mut used = Used { addresses: HashSet::new(), ports: HashSet::new() };
    for record in range.map_err(crate::registry::store_error)?.records {
        if place::split_record_name(&record.name) == (call.namespace.as_str(), meta::name(service)) {
            continue;
        }
        let stored = apimachinery::envelope::Stored::from_bytes(record.value).map_err(ApiError::internal)?;
        let other: Value = serde_json::from_slice(stored.body()).map_err(ApiError::internal)?;
        used.addresses.insert(meta::str_at(&other, &["spec", "clusterIP"]).to_owned());
        let ports = meta::list_at(&other, &["spec", "ports"]);
        used.ports.extend(ports.iter().filter_map(|p| p.get("nodePort").and_then(Value::as_i64)));
    }
    Ok(used)
}

fn free_address(used: &Used) -> Option<String> {
    let start: u32 = rand::rng().random_range(0..ADDRESSES);
    (0..ADDRESSES)
        .map(|n| (start + n) % ADDRESSES)
        .filter(|n| *n > 10 && *n < ADDRESSES - 1)
        .map(|n| Ipv4Addr::from(NETWORK + n).to_string())
        .find(|a| !used.addresses.contains(a))
}
