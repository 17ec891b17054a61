//! Tenant service to host service, and what the host allots on its way back: pure functions.

use apimachinery::meta::{self, list_at, str_at};
use apimachinery::tenant::TenantId;
use serde_json::{Map, Value, json};

use crate::config::TenantSettings;
use crate::covers::applied_stamp;
use crate::host_object::host_metadata;
use crate::names;
use crate::table::{Remark, is_set};

/// Fields that reach the host as they are.
const PASSED: &[&str] = &[
    "type",
    "selector",
    "clusterIP",
    "clusterIPs",
    "ipFamilies",
    "ipFamilyPolicy",
    "internalTrafficPolicy",
    "externalTrafficPolicy",
    "sessionAffinity",
    "sessionAffinityConfig",
    "publishNotReadyAddresses",
    "allocateLoadBalancerNodePorts",
    "loadBalancerSourceRanges",
    "healthCheckNodePort",
    "trafficDistribution",
];
/// Fields that only a service of type `LoadBalancer` may have.
const BALANCER_FIELDS: &[&str] = &["allocateLoadBalancerNodePorts", "loadBalancerSourceRanges", "healthCheckNodePort"];
const PORT_FIELDS: &[&str] = &["name", "port", "protocol", "targetPort", "nodePort", "appProtocol"];

/// Whether a service has a host service: not one that is only a name, and not the tenant's own API.
pub fn service_has_host(service: &Value) -> bool {
    let own_api = meta::namespace(service) == "default" && meta::name(service) == "kubernetes";
    !own_api && str_at(service, &["spec", "type"]) != "ExternalName"
}

/// Whether the service names a load balancer class that the admin does not allow. The host must not balance it then: whoever
/// implements the class in the tenant does, or no one, as in any cluster.
pub fn service_class_is_foreign(service: &Value, settings: &TenantSettings) -> bool {
    let class = str_at(service, &["spec", "loadBalancerClass"]);
    !class.is_empty() && !settings.policy.services.load_balancer_classes.iter().any(|c| c == class)
}

/// The host service.
///
/// # Errors
/// All reasons why the service may not be on the host.
pub fn service_translate(service: &Value, tenant: TenantId, settings: &TenantSettings) -> Result<Value, Vec<Remark>> {
    let policy = &settings.policy.services;
    let original = &service["spec"];
    let foreign = service_class_is_foreign(service, settings);
    let kind = match str_at(original, &["type"]) {
        "LoadBalancer" if foreign && original["allocateLoadBalancerNodePorts"] == false => "ClusterIP",
        "LoadBalancer" if foreign && policy.deny_node_ports => "ClusterIP",
        "LoadBalancer" if foreign => "NodePort",
        kind => kind,
    };
    let mut refused = Vec::new();
    let mut refuse = |field: &str, message: String| refused.push(Remark::new(format!("spec.{field}"), message));
    let mut spec: Map<String, Value> = PASSED
        .iter()
        .filter_map(|field| Some(((*field).to_owned(), original.get(*field).filter(|v| is_set(v))?.clone())))
        .collect();
    if foreign {
        spec.insert("type".to_owned(), json!(kind));
        spec.retain(|field, _| !BALANCER_FIELDS.contains(&field.as_str()));
        if kind == "ClusterIP" {
            spec.remove("externalTrafficPolicy");
        }
    }
    let has_node_ports = matches!(kind, "NodePort" | "LoadBalancer");
    let ports: Vec<Value> = list_at(original, &["ports"])
        .iter()
        .map(|port| {
            let fields = PORT_FIELDS
                .iter()
                .filter(|f| has_node_ports || **f != "nodePort")
                .filter_map(|f| Some(((*f).to_owned(), port.get(*f).filter(|v| is_set(v))?.clone())));
            Value::Object(fields.collect())
        })
        .collect();
    if !ports.is_empty() {
        spec.insert("ports".to_owned(), Value::Array(ports));
    }
    match kind {
        "NodePort" if policy.deny_node_ports => refuse("type", "services of type NodePort are not allowed".to_owned()),
        "LoadBalancer" if policy.deny_load_balancers => {
            refuse("type", "services of type LoadBalancer are not allowed".to_owned());
        }
        _ => {}
    }
    let external = list_at(original, &["externalIPs"]);
    if !external.is_empty() {
        if policy.allow_external_ips {
            spec.insert("externalIPs".to_owned(), json!(external));
        } else {
            refuse(
                "externalIPs",
                "external addresses are not allowed: they could be anyone's; remove the field".to_owned(),
            );
        }
    }
    if !foreign && let Some(class) = original.get("loadBalancerClass").filter(|v| is_set(v)) {
        spec.insert("loadBalancerClass".to_owned(), class.clone());
    }
    if !refused.is_empty() {
        return Err(refused);
    }
    let (labels, annotations) = host_metadata(service, "services", tenant, settings);
    let mut host = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {
            "name": meta::name(service),
            "namespace": names::host_namespace(tenant, &settings.name, meta::namespace(service)),
            "labels": labels, "annotations": annotations,
        },
        "spec": spec,
    });
    applied_stamp(&mut host);
    Ok(host)
}

/// Carries over from the service before an update what was allotted to it and what the update leaves open.
///
/// Source: `patchAllocatedValues` of `k8s.io/kubernetes/pkg/registry/core/service/strategy.go` does so for the stock server.
pub fn service_carry(service: &mut Value, old: &Value) {
    let kind = |s: &Value| str_at(s, &["spec", "type"]).to_owned();
    let (before, after) = (kind(old), kind(service));
    let has_address = |kind: &str| kind != "ExternalName";
    let has_node_ports = |kind: &str| matches!(kind, "NodePort" | "LoadBalancer");
    let spec = &mut service["spec"];
    if has_address(&before) && has_address(&after) {
        for field in ["clusterIP", "clusterIPs"] {
            if !is_set(&spec[field]) && is_set(&old["spec"][field]) {
                spec[field] = old["spec"][field].clone();
            }
        }
    }
    if has_node_ports(&before) && has_node_ports(&after) {
        let known = list_at(old, &["spec", "ports"]);
        for port in spec["ports"].as_array_mut().into_iter().flatten() {
            let same = |k: &&Value| k["port"] == port["port"] && k["protocol"] == port["protocol"];
            if !is_set(&port["nodePort"])
                && let Some(number) = known.iter().find(same).map(|k| k["nodePort"].clone()).filter(is_set)
            {
                port["nodePort"] = number;
            } else if let Some(fields) = port.as_object_mut() {
                fields.retain(|_, v| !v.is_null());
            }
        }
    }
    if let Some(fields) = spec.as_object_mut() {
        fields.retain(|_, v| !v.is_null());
    }
}

/// What the host allotted, put into the tenant's service.
pub fn service_allotted(service: &mut Value, host: &Value) {
    let Some(spec) = service.get_mut("spec").and_then(Value::as_object_mut) else { return };
    for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "healthCheckNodePort", "ports"] {
        match host["spec"].get(field) {
            Some(value) => spec.insert(field.to_owned(), value.clone()),
            None => spec.remove(field),
        };
    }
}

/// Whether the host has allotted what the tenant's service does not know.
pub fn service_lacks(service: &Value, host: &Value) -> bool {
    let number = |value: &Value| value.as_i64().unwrap_or_default();
    let node_ports = |s: &Value| list_at(s, &["spec", "ports"]).iter().filter(|p| number(&p["nodePort"]) != 0).count();
    let health = |s: &Value| number(&s["spec"]["healthCheckNodePort"]);
    (str_at(service, &["spec", "clusterIP"]).is_empty() && !str_at(host, &["spec", "clusterIP"]).is_empty())
        || node_ports(service) < node_ports(host)
        || (health(service) == 0 && health(host) != 0)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::Policy;

    fn service(spec: Value) -> Value {
        json!({"metadata": {"name": "web", "namespace": "shop", "uid": "u",
            "annotations": {"service.beta.kubernetes.io/aws-load-balancer-internal": "false"}}, "spec": spec})
    }

    const TENANT: TenantId = TenantId::from_bytes([5; 16]);

    #[test]
    fn a_service_keeps_its_name_selector_and_address() {
        let spec = json!({"type": "ClusterIP", "clusterIP": "10.96.0.9", "selector": {"app": "web"},
            "ports": [{"port": 80, "targetPort": "http", "protocol": "TCP", "nodePort": 31000}], "externalName": ""});
        let host = service_translate(&service(spec), TENANT, &TenantSettings::demo()).unwrap();
        assert_eq!(host["metadata"]["name"], "web");
        assert_eq!(
            host["spec"],
            json!({"type": "ClusterIP", "clusterIP": "10.96.0.9", "selector": {"app": "web"},
                "ports": [{"port": 80, "targetPort": "http", "protocol": "TCP"}]})
        );
        let annotations = host["metadata"]["annotations"].as_object().unwrap();
        assert!(annotations.keys().all(|k| crate::marks::is_ours(k)));
    }

    #[test]
    fn a_service_that_was_restored_is_given_what_the_host_allotted() {
        let host = service(json!({"type": "NodePort", "clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"],
            "ports": [{"port": 80, "protocol": "TCP", "nodePort": 31000}]}));
        let mut restored = service(json!({"type": "NodePort", "ports": [{"port": 80, "protocol": "TCP"}]}));
        assert!(service_lacks(&restored, &host));
        service_allotted(&mut restored, &host);
        assert!(!service_lacks(&restored, &host));
        restored["spec"]["ports"][0]["nodePort"] = json!(null);
        assert!(service_lacks(&restored, &host));
        let headless = service(json!({"clusterIP": "None", "ports": [{"port": 80}]}));
        assert!(!service_lacks(&headless, &headless));
    }

    #[test]
    fn addresses_of_others_are_refused() {
        let spec = json!({"type": "LoadBalancer", "externalIPs": ["1.2.3.4"]});
        let fields: Vec<_> = service_translate(&service(spec), TENANT, &TenantSettings::demo()).unwrap_err();
        assert_eq!(fields.iter().map(|r| r.field.as_str()).collect::<Vec<_>>(), ["spec.externalIPs"]);
    }

    #[test]
    fn a_load_balancer_class_that_is_not_allowed_is_not_the_hosts() {
        let spec = json!({"type": "LoadBalancer", "loadBalancerClass": "x", "allocateLoadBalancerNodePorts": true,
            "externalTrafficPolicy": "Cluster", "ports": [{"port": 80, "nodePort": 31000}]});
        let host = service_translate(&service(spec.clone()), TENANT, &TenantSettings::demo()).unwrap();
        let ports = json!([{"port": 80, "nodePort": 31000}]);
        assert_eq!(host["spec"], json!({"type": "NodePort", "externalTrafficPolicy": "Cluster", "ports": ports}));
        let mut allowed = TenantSettings::demo();
        let services = crate::config::ServicePolicy { load_balancer_classes: vec!["x".into()], ..Default::default() };
        allowed.policy = Arc::new(Policy { services, ..Policy::default() });
        let host = service_translate(&service(spec.clone()), TENANT, &allowed).unwrap();
        assert_eq!(host["spec"], spec);
    }

    #[test]
    fn an_update_that_says_nothing_keeps_what_was_allotted() {
        let old = service(json!({"type": "NodePort", "clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"],
            "ports": [{"port": 80, "protocol": "TCP", "nodePort": 31000}]}));
        let mut new = service(
            json!({"type": "NodePort", "ports": [{"port": 80, "protocol": "TCP"}, {"port": 81, "protocol": "TCP"}]}),
        );
        service_carry(&mut new, &old);
        assert_eq!(new["spec"]["clusterIP"], "10.96.0.9");
        assert_eq!(
            new["spec"]["ports"],
            json!([{"port": 80, "protocol": "TCP", "nodePort": 31000}, {"port": 81, "protocol": "TCP"}])
        );
        let mut name = service(json!({"type": "ExternalName", "externalName": "x"}));
        service_carry(&mut name, &old);
        assert!(name["spec"].get("clusterIP").is_none());
        assert!(!service_has_host(&name));
    }
}
