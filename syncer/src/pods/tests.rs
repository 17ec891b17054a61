use std::sync::Arc;

use apimachinery::tenant::TenantId;
use serde_json::{Value, json};

use super::*;
use crate::config::{Policy, TenantSettings};
use crate::names;

const TENANT: TenantId = TenantId::from_bytes([7; 16]);

fn settings() -> TenantSettings {
    TenantSettings { dns_address: Some("10.96.0.51".into()), ..TenantSettings::demo() }
}

fn with_policy(change: impl FnOnce(&mut Policy)) -> TenantSettings {
    let mut policy = Policy::default();
    change(&mut policy);
    TenantSettings { policy: Arc::new(policy), ..settings() }
}

fn pod(spec: Value) -> Value {
    let mut spec = spec;
    if spec["containers"].is_null() {
        spec["containers"] = json!([{"name": "c", "image": "i"}]);
    }
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "web", "namespace": "shop", "uid": "0b0f", "generation": 3, "resourceVersion": "9",
            "labels": {"app": "web", "tenantry.io/tenant": "forged"},
            "annotations": {"note": "$(x) \"q\"", "tenantry.io/uid": "forged", "k8s.v1.cni.cncf.io/networks": "host"},
            "ownerReferences": [{"kind": "ReplicaSet", "name": "r", "uid": "u", "apiVersion": "apps/v1"}],
            "finalizers": ["batch.kubernetes.io/job-tracking"],
        },
        "spec": spec, "status": {"phase": "Pending"},
    })
}

fn translate_with(pod: &Value, settings: &TenantSettings) -> Result<HostPod, Refusal> {
    pod_translate(pod, &PodContext { tenant: TENANT, settings, on_host: false })
}

fn translate(spec: Value) -> HostPod {
    translate_with(&pod(spec), &settings()).unwrap()
}

fn refused(spec: Value, settings: &TenantSettings) -> Vec<String> {
    match translate_with(&pod(spec), settings) {
        Err(Refusal::NotAllowed(reasons)) => reasons.into_iter().map(|r| r.field).collect(),
        other => panic!("not refused: {other:?}"),
    }
}

fn env(host: &HostPod, name: &str) -> Value {
    let env = host.object["spec"]["containers"][0]["env"].as_array().unwrap();
    let found: Vec<_> = env.iter().filter(|e| e["name"] == name).collect();
    assert_eq!(found.len(), 1, "{name} stands {} times", found.len());
    found[0].clone()
}

#[test]
fn the_host_pod_carries_our_marks_and_none_of_the_tenants_forgeries() {
    let host = translate(json!({}));
    let metadata = &host.object["metadata"];
    assert_eq!(metadata["name"], "web");
    assert_eq!(metadata["namespace"], names::host_namespace(TENANT, "demo", "shop"));
    assert_eq!(metadata["labels"], json!({"app": "web", "tenantry.io/tenant": TENANT.to_string()}));
    assert_eq!(
        metadata["annotations"],
        json!({"note": "$(x) \"q\"", "tenantry.io/uid": "0b0f", "tenantry.io/name": "web",
            "tenantry.io/namespace": "shop", "tenantry.io/resource": "pods", "tenantry.io/tenant-name": "demo",
            "tenantry.io/generation": "3"})
    );
    for key in ["ownerReferences", "finalizers", "uid", "resourceVersion", "generation"] {
        assert!(metadata.get(key).is_none(), "{key}");
    }
    assert!(host.object.get("status").is_none());
}

#[test]
fn the_host_pod_has_no_rights_of_its_own() {
    let host = translate(json!({"serviceAccountName": "admin", "automountServiceAccountToken": true,
        "priority": 7, "priorityClassName": "system-node-critical", "preemptionPolicy": "Never", "overhead": {"cpu": "1"}}));
    let spec = host.object["spec"].as_object().unwrap();
    assert_eq!(spec["automountServiceAccountToken"], false);
    for key in ["serviceAccountName", "serviceAccount", "priority", "priorityClassName", "preemptionPolicy", "overhead"]
    {
        assert!(!spec.contains_key(key), "{key}");
    }
}

#[test]
fn what_owns_the_node_is_refused_with_every_reason_unless_the_admin_allows_it() {
    let spec = json!({
        "hostNetwork": true, "hostPID": true, "hostIPC": true, "nodeName": "n1", "schedulerName": "mine",
        "resourceClaims": [{"name": "gpu"}], "runtimeClassName": "fast",
        "containers": [{"name": "c", "image": "i", "securityContext": {"privileged": true, "procMount": "Unmasked"},
            "ports": [{"containerPort": 80, "hostPort": 80}], "livenessProbe": {"httpGet": {"host": "10.0.0.1", "port": 1}}}],
        "initContainers": [{"name": "d", "image": "i", "securityContext": {"windowsOptions": {"hostProcess": true}}}],
        "volumes": [{"name": "h", "hostPath": {"path": "/"}}, {"name": "n", "nfs": {"server": "s", "path": "/"}},
            {"name": "c", "csi": {"driver": "d.example.com"}}],
    });
    let mut fields = refused(spec.clone(), &settings());
    fields.sort();
    assert_eq!(
        fields,
        [
            "spec.containers[0].livenessProbe.httpGet.host",
            "spec.containers[0].ports[0].hostPort",
            "spec.containers[0].securityContext.privileged",
            "spec.containers[0].securityContext.procMount",
            "spec.hostIPC",
            "spec.hostNetwork",
            "spec.hostPID",
            "spec.initContainers[0].securityContext.windowsOptions.hostProcess",
            "spec.nodeName",
            "spec.resourceClaims",
            "spec.runtimeClassName",
            "spec.schedulerName",
            "spec.volumes[0].hostPath",
            "spec.volumes[1].nfs",
            "spec.volumes[2].csi.driver",
        ]
    );
    let open = with_policy(|p| {
        p.pods.security = crate::config::PodSecurity::None;
        p.pods.allow_node_name = true;
        p.pods.schedulers = vec!["mine".into()];
        p.pods.csi_drivers = vec!["d.example.com".into()];
        p.runtime_classes.all = true;
    });
    let mut fields = refused(spec, &open);
    fields.sort();
    assert_eq!(fields, ["spec.resourceClaims", "spec.volumes[1].nfs"]);
}

#[test]
fn a_field_that_no_one_knows_is_refused() {
    assert_eq!(refused(json!({"brandNew": {"x": 1}}), &settings()), ["spec.brandNew"]);
    translate(json!({"brandNew": null, "otherNew": ""}));
}

#[test]
fn variables_lead_to_the_tenants_api_and_of_one_name_the_last_counts() {
    let host = translate(json!({"containers": [{"name": "c", "image": "i", "env": [
        {"name": "A", "value": "1"}, {"name": "A", "value": "2"},
        {"name": "KUBERNETES_SERVICE_PORT", "value": "mine"},
        {"name": "NS", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}},
        {"name": "UID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}},
        {"name": "NET", "valueFrom": {"fieldRef": {"fieldPath": "metadata.annotations['k8s.v1.cni.cncf.io/networks']"}}},
        {"name": "NOTE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.annotations['note']"}}},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "CA", "valueFrom": {"configMapKeyRef": {"name": "kube-root-ca.crt", "key": "ca.crt"}}},
        {"name": "S", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k", "optional": true}}},
    ]}]}));
    assert_eq!(env(&host, "A")["value"], "2");
    assert_eq!(env(&host, "KUBERNETES_SERVICE_HOST")["value"], "10.96.0.50");
    assert_eq!(env(&host, "KUBERNETES_PORT")["value"], "tcp://10.96.0.50:443");
    assert_eq!(env(&host, "KUBERNETES_SERVICE_PORT")["value"], "mine");
    assert_eq!(env(&host, "NS"), json!({"name": "NS", "value": "shop"}));
    assert_eq!(env(&host, "UID"), json!({"name": "UID", "value": "0b0f"}));
    assert_eq!(env(&host, "NET"), json!({"name": "NET", "value": "host"}));
    assert_eq!(env(&host, "NOTE")["valueFrom"]["fieldRef"]["fieldPath"], "metadata.annotations['note']");
    assert_eq!(env(&host, "IP")["valueFrom"]["fieldRef"]["fieldPath"], "status.podIP");
    assert_eq!(
        env(&host, "CA")["valueFrom"]["configMapKeyRef"],
        json!({"name": "tenant.kube-root-ca.crt", "key": "ca.crt"})
    );
    assert_eq!(env(&host, "S")["valueFrom"]["secretKeyRef"], json!({"name": "s", "key": "k", "optional": true}));
}

#[test]
fn a_value_that_is_substituted_expands_to_itself() {
    let mut original = pod(json!({"containers": [{"name": "c", "env": [{"name": "X", "valueFrom":
        {"fieldRef": {"fieldPath": "metadata.annotations['x.cncf.io/a']"}}}]}]}));
    original["metadata"]["annotations"]["x.cncf.io/a"] = json!("$(HOME) $$");
    let host = translate_with(&original, &settings()).unwrap();
    assert_eq!(env(&host, "X")["value"], "$$(HOME) $$$$");
}

#[test]
fn the_token_of_the_host_never_reaches_a_pod() {
    let host = translate(
        json!({"volumes": [{"name": "kube-api-access-x", "projected": {"defaultMode": 420, "sources": [
            {"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
            {"serviceAccountToken": {"path": "vault", "audience": "vault"}},
        ]}}]}),
    );
    assert!(!host.object.to_string().contains("serviceAccountToken\":{"));
    let secret = names::token_secret(TENANT, "web", "0b0f");
    let key = names::field_annotation("metadata.namespace");
    assert_eq!(
        host.object["spec"]["volumes"][0],
        json!({"name": "kube-api-access-x", "projected": {"defaultMode": 420, "sources": [
            {"secret": {"name": secret, "items": [{"key": "token-0-0", "path": "token"}]}},
            {"configMap": {"name": "tenant.kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"apiVersion": "v1",
                "fieldPath": format!("metadata.annotations['{key}']")}}]}},
            {"secret": {"name": secret, "items": [{"key": "token-0-3", "path": "vault"}]}},
        ]}})
    );
    assert_eq!(host.object["metadata"]["annotations"][&key], "shop");
    assert_eq!(
        host.tokens,
        [
            TokenNeed { key: "token-0-0".into(), audience: None, expiration_seconds: 3607 },
            TokenNeed { key: "token-0-3".into(), audience: Some("vault".into()), expiration_seconds: 3600 },
        ]
    );
}

#[test]
fn downward_volumes_show_the_tenants_labels_in_the_kubelets_form() {
    let host = translate(json!({"volumes": [{"name": "d", "downwardAPI": {"items": [
        {"path": "annotations", "fieldRef": {"fieldPath": "metadata.annotations"}},
        {"path": "name", "fieldRef": {"fieldPath": "metadata.name"}},
        {"path": "cpu", "resourceFieldRef": {"containerName": "c", "resource": "limits.cpu"}, "mode": 256},
    ]}}]}));
    let items = &host.object["spec"]["volumes"][0]["downwardAPI"]["items"];
    let carried = &host.object["metadata"]["annotations"][names::field_annotation("metadata.annotations")];
    assert_eq!(*carried, "k8s.v1.cni.cncf.io/networks=\"host\"\nnote=\"$(x) \\\"q\\\"\"\ntenantry.io/uid=\"forged\"");
    assert_eq!(items[1]["fieldRef"]["fieldPath"], "metadata.name");
    assert_eq!(
        items[2],
        json!({"path": "cpu", "resourceFieldRef": {"containerName": "c", "resource": "limits.cpu"}, "mode": 256})
    );
}

#[test]
fn cluster_first_asks_the_tenants_resolver() {
    let host = translate(json!({"dnsPolicy": "ClusterFirst", "dnsConfig": {
        "searches": ["corp.example.com", "svc.cluster.local"], "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}]}}));
    assert_eq!(host.object["spec"]["dnsPolicy"], "None");
    assert_eq!(
        host.object["spec"]["dnsConfig"],
        json!({"nameservers": ["10.96.0.51"], "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}],
            "searches": ["shop.svc.cluster.local", "svc.cluster.local", "cluster.local", "corp.example.com"]})
    );
    let host = translate(json!({"dnsPolicy": "Default"}));
    assert_eq!((&host.object["spec"]["dnsPolicy"], host.object["spec"].get("dnsConfig")), (&json!("Default"), None));
    let waiting = TenantSettings { dns_address: None, ..settings() };
    assert!(matches!(translate_with(&pod(json!({})), &waiting), Err(Refusal::NotYet(_))));
}

#[test]
fn affinity_stays_inside_the_tenant() {
    let required = "requiredDuringSchedulingIgnoredDuringExecution";
    let preferred = "preferredDuringSchedulingIgnoredDuringExecution";
    let host = translate(json!({"affinity": {
        "podAntiAffinity": {required: [
            {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"a": "b"}}},
            {"topologyKey": "z", "labelSelector": {}, "namespaceSelector": {}},
            {"topologyKey": "z", "namespaces": ["kube-system"], "matchLabelKeys": ["v", "w"],
                "labelSelector": {"matchExpressions": [{"key": "v", "operator": "In", "values": ["1"]}]}},
        ]},
        "podAffinity": {preferred: [{"weight": 1, "podAffinityTerm": {"topologyKey": "z", "labelSelector": {},
            "namespaceSelector": {"matchLabels": {"team": "x"},
                "matchExpressions": [{"key": "a.b/c", "operator": "DoesNotExist"}]}}}]},
    }}));
    let affinity = &host.object["spec"]["affinity"];
    let terms = &affinity["podAntiAffinity"][required];
    assert_eq!(
        terms[0],
        json!({"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"a": "b"}}})
    );
    assert_eq!(terms[1]["namespaceSelector"], json!({"matchLabels": {"tenantry.io/tenant": TENANT.to_string()}}));
    assert_eq!(terms[2]["namespaces"], json!([names::host_namespace(TENANT, "demo", "kube-system")]));
    assert_eq!(terms[2]["matchLabelKeys"], json!(["w"]));
    assert_eq!(
        affinity["podAffinity"][preferred][0]["podAffinityTerm"]["namespaceSelector"],
        json!({"matchLabels": {"tenantry.io/tenant": TENANT.to_string(), "ns.tenantry.io/team": "x"},
            "matchExpressions": [{"key": "a.b.ns.tenantry.io/c", "operator": "DoesNotExist"}]})
    );
}

#[test]
fn a_node_name_that_is_allowed_becomes_an_affinity_and_the_hosts_own_choice_is_not_repeated() {
    let open = with_policy(|p| p.pods.allow_node_name = true);
    let host = translate_with(&pod(json!({"nodeName": "n1"})), &open).unwrap();
    let terms = &host.object["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    assert_eq!(
        terms["nodeSelectorTerms"],
        json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}])
    );
    assert!(host.object["spec"].get("nodeName").is_none());
    let bound = PodContext { tenant: TENANT, settings: &settings(), on_host: true };
    let host = pod_translate(&pod(json!({"nodeName": "n1"})), &bound).unwrap();
    assert!(host.object["spec"].get("nodeName").is_none() && host.object["spec"].get("affinity").is_none());
}

#[test]
fn the_admins_placement_wins() {
    let pinned = with_policy(|p| {
        p.pods.node_selector.insert("pool".into(), "tenants".into());
        p.pods.tolerations.push(crate::config::Toleration {
            key: "t".into(),
            operator: "Exists".into(),
            ..Default::default()
        });
    });
    let host = translate_with(&pod(json!({"nodeSelector": {"pool": "admins", "disk": "ssd"}})), &pinned).unwrap();
    assert_eq!(host.object["spec"]["nodeSelector"], json!({"pool": "tenants", "disk": "ssd"}));
    assert_eq!(host.object["spec"]["tolerations"], json!([{"key": "t", "operator": "Exists"}]));
}

#[test]
fn claims_of_ephemeral_volumes_may_not_reach_for_other_volumes() {
    let template =
        |spec: Value| json!({"volumes": [{"name": "v", "ephemeral": {"volumeClaimTemplate": {"spec": spec}}}]});
    let base = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
    let host = translate(template(base.clone()));
    let claim = &host.object["spec"]["volumes"][0]["ephemeral"]["volumeClaimTemplate"];
    assert_eq!(claim["spec"], base);
    for (key, value) in
        [("volumeName", json!("pv")), ("dataSource", json!({"name": "x"})), ("storageClassName", json!("gold"))]
    {
        let mut spec = base.clone();
        spec[key] = value;
        assert_eq!(
            refused(template(spec), &settings()),
            [format!("spec.volumes[0].ephemeral.volumeClaimTemplate.spec.{key}")]
        );
    }
}

#[test]
fn what_the_api_allows_twice_reaches_apply_once() {
    let host = translate(json!({
        "hostAliases": [{"ip": "1.1.1.1", "hostnames": ["a"]}, {"ip": "1.1.1.1", "hostnames": ["b"]}],
        "imagePullSecrets": [{"name": "s"}, {"name": "s"}],
        "containers": [{"name": "c", "ports": [{"containerPort": 1, "protocol": "TCP"}, {"containerPort": 1, "protocol": "TCP", "name": "x"}]}],
    }));
    let spec = &host.object["spec"];
    assert_eq!(spec["hostAliases"], json!([{"ip": "1.1.1.1", "hostnames": ["a", "b"]}]));
    assert_eq!(spec["imagePullSecrets"], json!([{"name": "s"}]));
    assert_eq!(spec["containers"][0]["ports"], json!([{"containerPort": 1, "protocol": "TCP", "name": "x"}]));
}

#[test]
fn ephemeral_containers_go_by_their_own_way() {
    let host = translate(json!({"ephemeralContainers": [{"name": "e", "image": "i", "targetContainerName": "c"}]}));
    assert!(host.object["spec"].get("ephemeralContainers").is_none());
    assert_eq!(host.ephemeral_containers[0]["targetContainerName"], "c");
    assert!(!host.ephemeral_containers[0]["env"].as_array().unwrap().is_empty());
}

#[test]
fn an_ephemeral_container_that_is_refused_does_not_take_its_pod_along() {
    let host = translate(json!({"ephemeralContainers": [
        {"name": "e", "securityContext": {"capabilities": {"add": ["SYS_PTRACE"]}}}, {"name": "f", "securityContext": {"privileged": true}}, {"name": "g"}]}));
    assert_eq!(host.ephemeral_containers.iter().map(|c| c["name"].clone()).collect::<Vec<_>>(), ["g"]);
    let warned: Vec<_> = host.warnings.iter().map(|w| w.field.as_str()).collect();
    assert_eq!(warned.len(), 2, "{warned:?}");
}

#[test]
fn there_are_no_nulls_in_what_is_applied() {
    fn nulls(value: &Value, path: &str, found: &mut Vec<String>) {
        match value {
            Value::Null => found.push(path.to_owned()),
            Value::Array(items) => items.iter().enumerate().for_each(|(i, v)| nulls(v, &format!("{path}[{i}]"), found)),
            Value::Object(fields) => fields.iter().for_each(|(k, v)| nulls(v, &format!("{path}.{k}"), found)),
            _ => {}
        }
    }
    let host = translate(json!({
        "containers": [{"name": "c", "env": [{"name": "x"}, {"name": "y", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
            "envFrom": [{"secretRef": {"name": "s"}}], "ports": [{"containerPort": 1}]}],
        "volumes": [{"name": "a", "emptyDir": {}}, {"name": "b", "secret": {"secretName": "s"}},
            {"name": "c", "projected": {"sources": [{"secret": {"name": "s"}}]}}],
        "affinity": {"podAffinity": {}},
        "topologySpreadConstraints": [{"topologyKey": "z", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule"}],
    }));
    let mut found = Vec::new();
    nulls(&host.object, "", &mut found);
    assert!(found.is_empty(), "{found:?}");
}

mod up {
    use super::*;
    use crate::rewrite::Rewrite;

    fn tenant_pod() -> Value {
        let mut pod =
            pod(json!({"readinessGates": [{"conditionType": "example.com/lb"}, {"conditionType": "Ready2"}]}));
        pod["status"] = json!({"phase": "Pending", "qosClass": "BestEffort", "observedGeneration": 1, "conditions": [
            {"type": "example.com/lb", "status": "True"}, {"type": "Ready", "status": "False"}]});
        pod
    }

    fn host_pod() -> Value {
        json!({
            "metadata": {"name": "web", "uid": "host-uid", "generation": 5, "annotations": {"tenantry.io/generation": "3"}},
            "spec": {"nodeName": "n1"},
            "status": {
                "phase": "Running", "podIP": "10.244.0.9", "qosClass": "Burstable", "observedGeneration": 5,
                "nominatedNodeName": "secret-node", "message": format!("pod web_{}", names::host_namespace(TENANT, "demo", "shop")),
                "conditions": [
                    {"type": "Ready", "status": "True", "observedGeneration": 5},
                    {"type": "example.com/lb", "status": "False"},
                    {"type": "istio.io/mesh", "status": "True"},
                ],
                "containerStatuses": [
                    {"name": "c", "ready": true, "state": {"waiting": {"message": "uid host-uid"}}, "allocatedResourcesStatus": [{}]},
                    {"name": "injected-proxy", "ready": true},
                ],
            },
        })
    }

    #[test]
    fn the_hosts_status_comes_up_without_the_hosts_own_affairs() {
        let pod = tenant_pod();
        let rewrite = Rewrite::new(TENANT, "demo", "shop").with_uid("host-uid", "0b0f");
        assert_eq!(
            pod_status(&pod, &host_pod(), &rewrite),
            json!({
                "phase": "Running", "podIP": "10.244.0.9", "qosClass": "BestEffort", "observedGeneration": 3,
                "message": "pod web_shop",
                "conditions": [
                    {"type": "Ready", "status": "True", "observedGeneration": 3},
                    {"type": "example.com/lb", "status": "True"},
                ],
                "containerStatuses": [{"name": "c", "ready": true, "state": {"waiting": {"message": "uid 0b0f"}}}],
            })
        );
    }

    #[test]
    fn a_generation_that_the_kubelet_has_not_seen_is_not_said_to_be() {
        let mut host = host_pod();
        host["metadata"]["generation"] = json!(6);
        let status = pod_status(&tenant_pod(), &host, &Rewrite::default());
        assert_eq!(status["observedGeneration"], 1);
    }

    #[test]
    fn why_a_pod_is_evicted_stays_unless_the_host_knows_better() {
        let mut pod = tenant_pod();
        let evicted = json!({"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"});
        pod["status"]["conditions"] = json!([evicted]);
        let mut host = host_pod();
        let last = |host: &Value| {
            let status = pod_status(&pod, host, &Rewrite::default());
            let found = apimachinery::meta::list_at(&status, &["conditions"])
                .iter()
                .filter(|c| c["type"] == "DisruptionTarget");
            found.map(|c| c["reason"].clone()).collect::<Vec<_>>()
        };
        assert_eq!(last(&host), ["EvictionByEvictionAPI"]);
        host["status"]["conditions"] =
            json!([{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}]);
        assert_eq!(last(&host), ["PreemptionByScheduler"]);
    }

    #[test]
    fn conditions_of_readiness_gates_go_down_once() {
        let down = pod_conditions_down(&tenant_pod(), &host_pod());
        assert_eq!(down, [json!({"type": "example.com/lb", "status": "True"})]);
        let mut host = host_pod();
        host["status"]["conditions"][1]["status"] = json!("True");
        assert!(pod_conditions_down(&tenant_pod(), &host).is_empty());
    }

    #[test]
    fn qos_follows_the_tenants_spec() {
        let class = |resources: Value| qos_class(&json!({"containers": [{"resources": resources}]}));
        assert_eq!(class(json!({})), "BestEffort");
        assert_eq!(class(json!({"requests": {"cpu": "1"}})), "Burstable");
        let both = json!({"cpu": "1", "memory": "1Gi"});
        assert_eq!(class(json!({"limits": both})), "Guaranteed");
        assert_eq!(class(json!({"limits": both, "requests": {"cpu": "500m", "memory": "1Gi"}})), "Burstable");
        assert_eq!(
            qos_class(&json!({"resources": {"limits": both, "requests": both}, "containers": [{}]})),
            "Guaranteed"
        );
    }
}

mod plan {
    use super::*;
    use crate::covers::applied_stamp;

    /// The wanted host pod, and what the host made of an earlier one.
    fn pair(spec: Value) -> (Value, HostPod, Value) {
        let pod = pod(spec);
        let mut host = translate_with(&pod, &settings()).unwrap();
        applied_stamp(&mut host.object);
        let mut present = host.object.clone();
        present["spec"]["nodeName"] = json!("n1");
        present["spec"]["containers"].as_array_mut().unwrap().push(json!({"name": "injected", "image": "proxy"}));
        (pod, host, present)
    }

    #[test]
    fn a_pod_in_sync_needs_nothing() {
        let (pod, host, present) = pair(json!({"tolerations": [{"key": "a"}]}));
        assert!(pod_plan(&pod, &host, &present).is_empty());
    }

    #[test]
    fn what_may_change_is_applied_and_what_may_not_stays() {
        let (mut pod, _, mut present) = pair(json!({"tolerations": [{"key": "a"}], "hostname": "h"}));
        present["spec"]["tolerations"].as_array_mut().unwrap().push(json!({"key": "added-by-host"}));
        pod["metadata"]["labels"]["new"] = json!("1");
        pod["spec"]["containers"][0]["image"] = json!("i:2");
        pod["spec"]["tolerations"].as_array_mut().unwrap().push(json!({"key": "b"}));
        let moved = TenantSettings { dns_address: Some("10.96.9.9".into()), ..settings() };
        let mut host = translate_with(&pod, &moved).unwrap();
        applied_stamp(&mut host.object);
        let plan = pod_plan(&pod, &host, &present);
        let apply = plan.apply.unwrap();
        assert_eq!(apply["metadata"]["labels"]["new"], "1");
        assert_eq!(apply["spec"]["containers"].as_array().unwrap().len(), 1);
        assert_eq!(apply["spec"]["containers"][0]["image"], "i:2");
        assert_eq!(apply["spec"]["tolerations"], json!([{"key": "a"}, {"key": "added-by-host"}, {"key": "b"}]));
        assert_eq!(apply["spec"]["dnsConfig"]["nameservers"], json!(["10.96.0.51"]));
        assert!(plan.resize.is_none() && plan.ephemeral_containers.is_none() && plan.status.is_none());
    }

    #[test]
    fn an_edit_on_the_host_is_put_back() {
        let (pod, host, mut present) = pair(json!({}));
        present["metadata"]["labels"]["app"] = json!("stolen");
        assert_eq!(pod_plan(&pod, &host, &present).apply.unwrap()["metadata"]["labels"]["app"], "web");
    }

    #[test]
    fn resources_and_ephemeral_containers_go_by_their_subresources() {
        let container = |cpu: &str| json!([{"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}}]);
        let (_, _, present) = pair(json!({"containers": container("1")}));
        let grown = pod(json!({"containers": container("2"), "ephemeralContainers": [{"name": "e", "image": "i"}]}));
        let mut host = translate_with(&grown, &settings()).unwrap();
        applied_stamp(&mut host.object);
        let plan = pod_plan(&grown, &host, &present);
        assert_eq!(plan.apply.unwrap()["spec"]["containers"][0]["resources"]["requests"]["cpu"], "1");
        assert_eq!(
            plan.resize.unwrap(),
            json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "2"}}}]}})
        );
        assert_eq!(plan.ephemeral_containers.unwrap()["spec"]["ephemeralContainers"][0]["name"], "e");
    }
}
