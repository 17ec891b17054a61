//! Tenant pod to host pod: a pure function.

use std::collections::{BTreeMap, HashSet};

use apimachinery::meta::{self, list_at, str_at};
use apimachinery::tenant::TenantId;
use serde_json::{Map, Value, json};

use super::affinity::{affinity_translate, node_require};
use super::fieldref::{Answer, env_literal, field_answer, volume_field_ref};
use super::fields::TABLE;
use super::security::{CONTAINER_LISTS, pod_security_check};
use crate::config::{PodSecurity, TenantSettings};
use crate::host_object::host_metadata;
use crate::marks;
use crate::names;
use crate::table::{Remark, Remarks};

/// What the translation needs beyond the pod.
#[derive(Clone, Copy, Debug)]
pub struct PodContext<'a> {
    /// Whose pod.
    pub tenant: TenantId,
    /// The tenant's settings.
    pub settings: &'a TenantSettings,
    /// The host pod exists already, so `spec.nodeName` is what the host's scheduler chose.
    pub on_host: bool,
}

/// A pod as the host shall have it.
#[derive(Clone, Debug, PartialEq)]
pub struct HostPod {
    /// The object to apply. Ephemeral containers are not in it: the host takes them by a subresource.
    pub object: Value,
    /// `spec.ephemeralContainers`, translated.
    pub ephemeral_containers: Vec<Value>,
    /// The tokens that its token secret must hold.
    pub tokens: Vec<TokenNeed>,
    /// What was left out that the tenant should hear of.
    pub warnings: Vec<Remark>,
}

/// A token that a pod asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenNeed {
    /// Its key in the token secret.
    pub key: String,
    /// The audience; the API's own if `None`.
    pub audience: Option<String>,
    /// How long it shall hold, in seconds.
    pub expiration_seconds: i64,
}

/// Why there is no host pod.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The pod asks for what this virtual cluster may not have. Every reason, with its field.
    #[error("pod is not allowed on the host: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    NotAllowed(Vec<Remark>),
    /// Something is not there yet; it comes without the tenant's doing.
    #[error("{0}")]
    NotYet(&'static str),
}

/// Translates a tenant pod.
///
/// # Guarantees
/// The host pod is made of nothing but what the field table passes and what is written here. It has no service account
/// of the host, no token of the host, and lies in the one host namespace of the tenant's namespace.
///
/// # Errors
/// [`Refusal`], with all reasons at once.
pub fn pod_translate(pod: &Value, context: &PodContext<'_>) -> Result<HostPod, Refusal> {
    let policy = &context.settings.policy;
    if context.settings.api_address.is_empty() {
        return Err(Refusal::NotYet("the virtual cluster's API service has no address yet"));
    }
    let mut remarks = Remarks::default();
    let privileged = policy.pods.security == PodSecurity::None;
    let mut object = TABLE.copy(pod, privileged, &mut remarks);
    remarks.refused.extend(pod_security_check(pod, policy.pods.security));

    let mut tokens = Vec::new();
    let mut carried = BTreeMap::new();
    object["apiVersion"] = json!("v1");
    object["kind"] = json!("Pod");
    if !object["spec"].is_object() {
        object["spec"] = json!({});
    }
    volumes(pod, &mut object, context, &mut tokens, &mut carried, &mut remarks);
    containers(pod, &mut object, context);
    placement(pod, &mut object["spec"], context, &mut remarks);
    names_and_rights(pod, &mut object["spec"]);
    dns(pod, &mut object["spec"], context)?;
    object["metadata"] = metadata(pod, context, carried);

    let mut ephemeral_containers = match object["spec"].as_object_mut().and_then(|s| s.remove("ephemeralContainers")) {
        Some(Value::Array(items)) => items.into_iter().map(Some).collect(),
        _ => Vec::new(),
    };
    // A container that someone adds to look into a running pod may be refused; the pod goes on without it.
    let (of_ephemeral, refused): (Vec<_>, Vec<_>) =
        remarks.refused.into_iter().partition(|r| r.field.starts_with("spec.ephemeralContainers["));
    if !refused.is_empty() {
        return Err(Refusal::NotAllowed(refused));
    }
    for remark in of_ephemeral {
        let index = remark.field.split(['[', ']']).nth(1).and_then(|i| i.parse::<usize>().ok());
        if let Some(container) = index.and_then(|i| ephemeral_containers.get_mut(i)) {
            *container = None;
        }
        remarks.dropped.push(Remark::new(remark.field, format!("the container is not started: {}", remark.message)));
    }
    let ephemeral_containers = ephemeral_containers.into_iter().flatten().collect();
    Ok(HostPod { object, ephemeral_containers, tokens, warnings: remarks.dropped })
}

fn metadata(pod: &Value, context: &PodContext<'_>, carried: BTreeMap<String, String>) -> Value {
    let (labels, mut annotations) = host_metadata(pod, "pods", context.tenant, context.settings);
    annotations.extend(carried.into_iter().map(|(k, v)| (k, Value::String(v))));
    if let Some(generation) = meta::at(pod, &["metadata", "generation"]).and_then(Value::as_i64) {
        annotations.insert(marks::GENERATION.to_owned(), json!(generation.to_string()));
    }
    json!({
        "name": meta::name(pod),
        "namespace": names::host_namespace(context.tenant, &context.settings.name, meta::namespace(pod)),
        "labels": labels,
        "annotations": annotations,
    })
}

fn containers(pod: &Value, object: &mut Value, context: &PodContext<'_>) {
    let policy = &context.settings.policy;
    for list in CONTAINER_LISTS {
        let originals = list_at(pod, &["spec", list]);
        let Some(copies) = object["spec"].get_mut(list).and_then(Value::as_array_mut) else { continue };
        for (original, copy) in originals.iter().zip(copies) {
            for (source, target) in list_at(original, &["envFrom"]).iter().zip(items_mut(copy, "envFrom")) {
                rename_config_map(source, target, "configMapRef");
            }
            let mut env = api_service_env(context.settings);
            for (source, target) in list_at(original, &["env"]).iter().zip(items_mut(copy, "env")) {
                let from = &source["valueFrom"];
                rename_config_map(from, &mut target["valueFrom"], "configMapKeyRef");
                if let Some(path) = from["fieldRef"]["fieldPath"].as_str() {
                    *target = match field_answer(pod, path, policy) {
                        Answer::Literal(value) => json!({"name": source["name"], "value": env_literal(&value)}),
                        Answer::Host => json!({"name": source["name"], "valueFrom": {"fieldRef": from["fieldRef"]}}),
                    };
                } else if from.is_null() {
                    target.as_object_mut().and_then(|t| t.remove("valueFrom"));
                }
                env.push(target.take());
            }
            copy["env"] = last_of_each(env, |e| str_at(e, &["name"]).to_owned());
            if copy["ports"].is_array() {
                let ports = items_mut(copy, "ports").map(Value::take).collect();
                copy["ports"] = last_of_each(ports, |p| format!("{}/{}", p["containerPort"], p["protocol"]));
            }
        }
    }
}

/// The variables of the tenant's API service, which the kubelet would otherwise fill with the host's.
fn api_service_env(settings: &TenantSettings) -> Vec<Value> {
    let (host, port) = (&settings.api_address, settings.api_port);
    let bracketed = if host.contains(':') { format!("[{host}]") } else { host.clone() };
    let url = format!("tcp://{bracketed}:{port}");
    [
        ("KUBERNETES_SERVICE_HOST".to_owned(), host.clone()),
        ("KUBERNETES_SERVICE_PORT".to_owned(), port.to_string()),
        ("KUBERNETES_SERVICE_PORT_HTTPS".to_owned(), port.to_string()),
        ("KUBERNETES_PORT".to_owned(), url.clone()),
        (format!("KUBERNETES_PORT_{port}_TCP"), url),
        (format!("KUBERNETES_PORT_{port}_TCP_PROTO"), "tcp".to_owned()),
        (format!("KUBERNETES_PORT_{port}_TCP_PORT"), port.to_string()),
        (format!("KUBERNETES_PORT_{port}_TCP_ADDR"), host.clone()),
    ]
    .into_iter()
    .map(|(name, value)| json!({"name": name, "value": value}))
    .collect()
}

fn volumes(
    pod: &Value,
    object: &mut Value,
    context: &PodContext<'_>,
    tokens: &mut Vec<TokenNeed>,
    carried: &mut BTreeMap<String, String>,
    remarks: &mut Remarks,
) {
    let policy = &context.settings.policy;
    let secret = names::token_secret(context.tenant, meta::name(pod), meta::uid(pod));
    let originals = list_at(pod, &["spec", "volumes"]);
    let mut items = |source: &Value, target: &mut Value| {
        for (source, target) in list_at(source, &["items"]).iter().zip(items_mut(target, "items")) {
            if let Some(path) = source["fieldRef"]["fieldPath"].as_str() {
                target["fieldRef"] = volume_field_ref(path, field_answer(pod, path, policy), carried);
            }
        }
    };
    for (v, (original, copy)) in originals.iter().zip(items_mut(&mut object["spec"], "volumes")).enumerate() {
        rename_config_map(original, copy, "configMap");
        items(&original["downwardAPI"], &mut copy["downwardAPI"]);
        let sources = list_at(original, &["projected", "sources"]);
        for (s, (source, target)) in sources.iter().zip(items_mut(&mut copy["projected"], "sources")).enumerate() {
            rename_config_map(source, target, "configMap");
            items(&source["downwardAPI"], &mut target["downwardAPI"]);
            if let Some(token) = source.get("serviceAccountToken").filter(|t| t.is_object()) {
                let key = format!("token-{v}-{s}");
                *target = json!({"secret": {"name": secret, "items": [{"key": key, "path": token["path"]}]}});
                tokens.push(TokenNeed {
                    key,
                    audience: token["audience"].as_str().filter(|a| !a.is_empty()).map(str::to_owned),
                    expiration_seconds: token["expirationSeconds"].as_i64().unwrap_or(3600),
                });
            }
            without_nulls(target);
        }
        if let Some(driver) = original["csi"]["driver"].as_str()
            && !policy.pods.csi_drivers.iter().any(|d| d == driver)
        {
            let field = format!("spec.volumes[{v}].csi.driver");
            remarks.refused.push(Remark::new(field, format!("inline volumes of driver {driver:?} are not allowed")));
        }
        let template = &original["ephemeral"]["volumeClaimTemplate"];
        if template.is_object() {
            ephemeral_claim(template, &mut copy["ephemeral"]["volumeClaimTemplate"], v, context, remarks);
        }
        without_nulls(copy);
    }
}

fn ephemeral_claim(template: &Value, copy: &mut Value, v: usize, context: &PodContext<'_>, remarks: &mut Remarks) {
    let (labels, annotations) = host_metadata(template, "ephemeral", context.tenant, context.settings);
    // The claim belongs to the host pod alone, so of our marks it carries the tenant's label only.
    let annotations: Map<_, _> = annotations.into_iter().filter(|(k, _)| !marks::is_ours(k)).collect();
    copy["metadata"] = json!({"labels": labels, "annotations": annotations});
    if let Some(class) = template["spec"]["storageClassName"].as_str() {
        if class.is_empty() || context.settings.policy.storage_classes.allows(class) {
            copy["spec"]["storageClassName"] = json!(class);
        } else {
            let field = format!("spec.volumes[{v}].ephemeral.volumeClaimTemplate.spec.storageClassName");
            remarks.refused.push(Remark::new(field, format!("storage class {class:?} is not allowed")));
        }
    }
}

fn placement(pod: &Value, spec: &mut Value, context: &PodContext<'_>, remarks: &mut Remarks) {
    let policy = &context.settings.policy;
    let original = &pod["spec"];
    let mut refuse = |field: &str, message: String| remarks.refused.push(Remark::new(field, message));
    affinity_translate(original, spec, context);
    match original["nodeName"].as_str() {
        None | Some("") => {}
        Some(_) if context.on_host => {}
        Some(node) if policy.pods.allow_node_name => node_require(spec, node),
        Some(_) => refuse(
            "spec.nodeName",
            "the host's scheduler chooses the node; leave the field out or use a node selector or affinity".to_owned(),
        ),
    }

    let mut selector = original["nodeSelector"].as_object().cloned().unwrap_or_default();
    selector.extend(policy.pods.node_selector.iter().map(|(k, v)| (k.clone(), json!(v))));
    if !selector.is_empty() {
        spec["nodeSelector"] = Value::Object(selector);
    }
    let mut tolerations = list_at(original, &["tolerations"]).to_vec();
    for toleration in policy.pods.tolerations.iter().filter_map(|t| serde_json::to_value(t).ok()) {
        if !tolerations.contains(&toleration) {
            tolerations.push(toleration);
        }
    }
    if !tolerations.is_empty() {
        spec["tolerations"] = Value::Array(tolerations);
    }
    match original["schedulerName"].as_str() {
        None | Some("" | "default-scheduler") => {}
        Some(name) if policy.pods.schedulers.iter().any(|s| s == name) => spec["schedulerName"] = json!(name),
        Some(name) => refuse("spec.schedulerName", format!("scheduler {name:?} is not allowed; leave the field out")),
    }
    match original["runtimeClassName"].as_str() {
        None | Some("") => {}
        Some(name) if policy.runtime_classes.allows(name) => spec["runtimeClassName"] = json!(name),
        Some(name) => refuse("spec.runtimeClassName", format!("runtime class {name:?} is not allowed")),
    }
    match original["priorityClassName"].as_str() {
        None | Some("") => {}
        Some(name) if name.starts_with("system-") => {}
        Some(name) if policy.priority_classes.allows(name) => spec["priorityClassName"] = json!(name),
        Some(name) => remarks.dropped.push(Remark::new(
            "spec.priorityClassName",
            format!("priority class {name:?} is not known to the host: the pod runs with the host's default priority"),
        )),
    }
}

fn names_and_rights(pod: &Value, spec: &mut Value) {
    spec["automountServiceAccountToken"] = json!(false);
    let secrets = list_at(pod, &["spec", "imagePullSecrets"]).to_vec();
    if !secrets.is_empty() {
        spec["imagePullSecrets"] = last_of_each(secrets, |s| str_at(s, &["name"]).to_owned());
    }
    let mut aliases: Vec<Value> = Vec::new();
    for alias in list_at(pod, &["spec", "hostAliases"]) {
        let hostnames = list_at(alias, &["hostnames"]);
        match aliases.iter_mut().find(|a| a["ip"] == alias["ip"]) {
            Some(known) => {
                if let Some(list) = known["hostnames"].as_array_mut() {
                    list.extend_from_slice(hostnames);
                }
            }
            None => aliases.push(json!({"ip": alias["ip"], "hostnames": hostnames})),
        }
    }
    if !aliases.is_empty() {
        spec["hostAliases"] = Value::Array(aliases);
    }
}

fn dns(pod: &Value, spec: &mut Value, context: &PodContext<'_>) -> Result<(), Refusal> {
    let original = &pod["spec"];
    let host_network = original["hostNetwork"] == true;
    let own = |key: &str| list_at(original, &["dnsConfig", key]).to_vec();
    let policy = match str_at(original, &["dnsPolicy"]) {
        "ClusterFirst" | "" if host_network => "Default",
        "" => "ClusterFirst",
        policy => policy,
    };
    if !matches!(policy, "ClusterFirst" | "ClusterFirstWithHostNet") {
        spec["dnsPolicy"] = json!(policy);
        let config: Map<String, Value> = ["nameservers", "searches", "options"]
            .into_iter()
            .map(|key| (key.to_owned(), Value::Array(own(key))))
            .filter(|(_, list)| list.as_array().is_some_and(|l| !l.is_empty()))
            .collect();
        if !config.is_empty() {
            spec["dnsConfig"] = Value::Object(config);
        }
        return Ok(());
    }
    let address = context.settings.dns_address.as_ref();
    let address = address.ok_or(Refusal::NotYet("the virtual cluster's DNS service has no address yet"))?;
    let domain = &context.settings.cluster_domain;
    let mut searches =
        vec![json!(format!("{}.svc.{domain}", meta::namespace(pod))), json!(format!("svc.{domain}")), json!(domain)];
    let mut nameservers = vec![json!(address)];
    for (list, key) in [(&mut searches, "searches"), (&mut nameservers, "nameservers")] {
        for value in own(key) {
            if !list.contains(&value) {
                list.push(value);
            }
        }
    }
    nameservers.truncate(3);
    let mut options = vec![json!({"name": "ndots", "value": "5"})];
    options.extend(own("options"));
    spec["dnsPolicy"] = json!("None");
    spec["dnsConfig"] = json!({
        "nameservers": nameservers,
        "searches": searches,
        "options": last_of_each(options, |o| str_at(o, &["name"]).to_owned()),
    });
    Ok(())
}

/// Carries `<source>.<key>.name` over under the config map's host name.
fn rename_config_map(source: &Value, target: &mut Value, key: &str) {
    if let Some(name) = source[key]["name"].as_str() {
        target[key]["name"] = json!(names::config_map(name));
    }
}

/// The list with only the last item of each key: where the API allows an item twice, apply does not, and the last counts.
fn last_of_each(items: Vec<Value>, key: impl Fn(&Value) -> String) -> Value {
    let mut seen = HashSet::new();
    let mut kept: Vec<Value> = items.into_iter().rev().filter(|item| seen.insert(key(item))).collect();
    kept.reverse();
    Value::Array(kept)
}

/// The items of a list of an object, none if there is no such list. Leaves `null` values as they are.
fn items_mut<'a>(object: &'a mut Value, key: &str) -> std::slice::IterMut<'a, Value> {
    match object.get_mut(key).and_then(Value::as_array_mut) {
        Some(items) => items.iter_mut(),
        None => [].iter_mut(),
    }
}

/// Drops the `null`s that looking into absent fields left behind.
fn without_nulls(object: &mut Value) {
    if let Some(fields) = object.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
}
