//! What a service uses: itself, node ports, a load balancer.

use serde_json::Value;

use super::{Amounts, one};
use crate::meta;
use crate::quantity::{Format, Quantity};

pub(super) const NAMES: [&str; 3] = ["services", "services.nodeports", "services.loadbalancers"];

/// What a service uses. Node ports count by what is asked for: they may not be allotted yet.
pub(super) fn usage(service: &Value) -> Amounts {
    let ports = meta::list_at(service, &["spec", "ports"]);
    let explicit = || ports.iter().filter(|p| p.get("nodePort").and_then(Value::as_i64).unwrap_or(0) != 0).count();
    let on_demand = meta::at(service, &["spec", "allocateLoadBalancerNodePorts"]) == Some(&Value::Bool(false));
    let (node_ports, balancers) = match meta::str_at(service, &["spec", "type"]) {
        "NodePort" => (ports.len(), 0),
        "LoadBalancer" if on_demand => (explicit(), 1),
        "LoadBalancer" => (ports.len(), 1),
        _ => (0, 0),
    };
    let number = |n: usize| Quantity::from_int(i64::try_from(n).unwrap_or(i64::MAX), Format::DecimalSi);
    let mut used = Amounts::default();
    used.set("services", one());
    used.set("services.nodeports", number(node_ports));
    used.set("services.loadbalancers", number(balancers));
    used
}
