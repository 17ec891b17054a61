use serde_json::json;

use super::*;

fn now() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn measure(group: &str, resource: &str) -> Measure {
    Measure::of(&GroupResource::new(group, resource)).unwrap()
}

fn quota(spec: Value, hard: Value, used: Value) -> Value {
    json!({"metadata": {"name": "q"}, "spec": spec, "status": {"hard": hard, "used": used}})
}

fn pod(requests: Value, limits: Value) -> Value {
    json!({"metadata": {"name": "p"}, "spec": {"containers": [
        {"name": "c", "resources": {"requests": requests, "limits": limits}},
    ]}})
}

fn create(measure: &Measure, new: &Value, quotas: &[&Value]) -> Result<Vec<Charge>, String> {
    charge(&Asked { measure, subresource: "", new, old: None, now: now() }, quotas)
}

#[test]
fn a_pod_counts_under_all_names_of_what_it_asks_for() {
    let asks = json!({"cpu": "500m", "memory": "252Mi", "ephemeral-storage": "30Gi", "example.com/dongle": "2",
        "hugepages-2Mi": "4Mi"});
    let used = measure("", "pods").usage(&pod(asks, json!({"cpu": "1"})), now());
    assert_eq!(
        used.list(),
        "count/pods=1,cpu=500m,ephemeral-storage=30Gi,hugepages-2Mi=4Mi,limits.cpu=1,memory=252Mi,pods=1,requests.cpu=500m,requests.ephemeral-storage=30Gi,requests.example.com/dongle=2,requests.hugepages-2Mi=4Mi,requests.memory=252Mi"
    );
    for name in used.names() {
        assert!(measure("", "pods").counts(name), "{name}");
    }
}

#[test]
fn starting_takes_the_most_of_any_moment_and_sidecars_stay() {
    let asks = |name: &str, cpu: &str| json!({"name": name, "resources": {"requests": {"cpu": cpu}}});
    let mut sidecar = asks("s", "100m");
    sidecar["restartPolicy"] = json!("Always");
    let mut pod = json!({"spec": {"containers": [asks("a", "200m"), asks("b", "300m")],
        "initContainers": [sidecar, asks("i", "250m")], "overhead": {"cpu": "5m"}}});
    let cpu = |pod: &Value| measure("", "pods").usage(pod, now()).get("requests.cpu").unwrap().to_string();
    assert_eq!(cpu(&pod), "605m");
    pod["spec"]["initContainers"][1] = asks("i", "2");
    assert_eq!(cpu(&pod), "2105m");
    pod["spec"]["resources"] = json!({"requests": {"cpu": "3"}});
    assert_eq!(cpu(&pod), "3005m");
}

#[test]
fn what_runs_counts_until_it_was_made_smaller() {
    let mut pod = pod(json!({"cpu": "100m"}), json!({}));
    pod["status"] = json!({"containerStatuses": [{"name": "c", "resources": {"requests": {"cpu": "300m"}},
        "allocatedResources": {"cpu": "200m"}}]});
    let cpu = |pod: &Value| measure("", "pods").usage(pod, now()).get("cpu").unwrap().to_string();
    assert_eq!(cpu(&pod), "300m");
    pod["spec"]["containers"][0]["resources"]["requests"]["cpu"] = json!("1");
    assert_eq!(cpu(&pod), "1");
    pod["status"]["conditions"] = json!([{"type": "PodResizePending", "reason": "Infeasible"}]);
    assert_eq!(cpu(&pod), "300m");
}

#[test]
fn a_pod_that_ended_or_is_overdue_counts_only_as_an_object() {
    let mut ended = pod(json!({"cpu": "1"}), json!({}));
    ended["status"] = json!({"phase": "Succeeded"});
    assert_eq!(measure("", "pods").usage(&ended, now()).list(), "count/pods=1");
    let mut going = pod(json!({}), json!({}));
    going["metadata"]["deletionTimestamp"] = json!("2025-12-31T23:59:00Z");
    going["metadata"]["deletionGracePeriodSeconds"] = json!(30);
    assert_eq!(stops_counting_at(&going).unwrap().to_string(), "2025-12-31T23:59:30Z");
    assert_eq!(measure("", "pods").usage(&going, now()).list(), "count/pods=1");
    going["metadata"]["deletionGracePeriodSeconds"] = json!(3600);
    assert_eq!(measure("", "pods").usage(&going, now()).list(), "count/pods=1,pods=1");
}

#[test]
fn services_claims_and_others_count_by_their_kind() {
    let services = measure("", "services");
    let service = |spec: Value| services.usage(&json!({"spec": spec}), now()).list();
    let ports = json!([{"port": 1}, {"port": 2, "nodePort": 30000}]);
    assert_eq!(
        service(json!({"type": "NodePort", "ports": ports})),
        "count/services=1,services=1,services.loadbalancers=0,services.nodeports=2"
    );
    assert_eq!(
        service(json!({"type": "LoadBalancer", "ports": ports, "allocateLoadBalancerNodePorts": false})),
        "count/services=1,services=1,services.loadbalancers=1,services.nodeports=1"
    );
    let claims = measure("", "persistentvolumeclaims");
    let claim = json!({"spec": {"storageClassName": "gold", "resources": {"requests": {"storage": "1.5"}}}});
    assert_eq!(
        claims.usage(&claim, now()).list(),
        "count/persistentvolumeclaims=1,gold.storageclass.storage.k8s.io/persistentvolumeclaims=1,gold.storageclass.storage.k8s.io/requests.storage=2,persistentvolumeclaims=1,requests.storage=2"
    );
    assert!(claims.counts("gold.storageclass.storage.k8s.io/requests.storage"));
    assert!(!claims.counts("goldrequests.storage"));
    assert_eq!(measure("", "secrets").usage(&json!({}), now()).list(), "count/secrets=1,secrets=1");
    assert_eq!(measure("example.com", "widgets").usage(&json!({}), now()).list(), "count/widgets.example.com=1");
    assert!(Measure::of(&GroupResource::new("", "events")).is_none());
    let device = json!({"spec": {"devices": {"requests": [
        {"exactly": {"deviceClassName": "a", "allocationMode": "ExactCount", "count": 2}},
        {"firstAvailable": [{"deviceClassName": "a", "allocationMode": "ExactCount", "count": 1},
            {"deviceClassName": "b", "allocationMode": "All"}]},
    ]}}});
    assert_eq!(
        measure("resource.k8s.io", "resourceclaims").usage(&device, now()).list(),
        "a.deviceclass.resource.k8s.io/devices=3,b.deviceclass.resource.k8s.io/devices=32,count/resourceclaims.resource.k8s.io=1"
    );
}

#[test]
fn what_is_too_much_is_refused_in_the_words_of_kubernetes() {
    let pods = measure("", "pods");
    let tight = quota(
        json!({}),
        json!({"cpu": "1", "memory": "500Mi", "pods": "5"}),
        json!({"cpu": "500m", "memory": "252Mi", "pods": "1"}),
    );
    let refused = create(&pods, &pod(json!({"cpu": "600m", "memory": "400Mi"}), json!({})), &[&tight]);
    assert_eq!(
        refused.unwrap_err(),
        "exceeded quota: q, requested: cpu=600m,memory=400Mi, used: cpu=500m,memory=252Mi, limited: cpu=1,memory=500Mi"
    );
    let refused = create(&pods, &pod(json!({"cpu": "1"}), json!({})), &[&tight]);
    assert_eq!(refused.unwrap_err(), "failed quota: q: must specify memory for: c");
    let charged = create(&pods, &pod(json!({"cpu": "500m", "memory": "1Mi"}), json!({})), &[&tight]).unwrap();
    assert_eq!(charged[0].used.list(), "cpu=1,memory=253Mi,pods=2");
    assert_eq!(charged[0].added.list(), "cpu=500m,memory=1Mi,pods=1");
    let unknown = quota(json!({}), json!({"pods": "1", "cpu": "1"}), json!({"pods": "0"}));
    let refused = create(&pods, &pod(json!({"cpu": "1"}), json!({})), &[&unknown]);
    assert_eq!(refused.unwrap_err(), "status unknown for quota: q, resources: cpu,pods");
}

#[test]
fn a_quota_counts_what_is_in_its_scopes() {
    let pods = measure("", "pods");
    let hard = json!({"pods": "1"});
    let scoped = |scope: &str| quota(json!({"scopes": [scope]}), hard.clone(), json!({"pods": "0"}));
    let counts = |quota: &Value, pod: &Value| !create(&pods, pod, &[quota]).unwrap().is_empty();
    let plain = pod(json!({}), json!({}));
    let mut ending = pod(json!({"cpu": "1"}), json!({}));
    ending["spec"]["activeDeadlineSeconds"] = json!(10);
    ending["spec"]["affinity"] = json!({"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution":
        [{"podAffinityTerm": {"namespaceSelector": {}}}]}});
    for (scope, of_plain) in [
        ("Terminating", false),
        ("NotTerminating", true),
        ("BestEffort", true),
        ("NotBestEffort", false),
        ("CrossNamespacePodAffinity", false),
    ] {
        assert_eq!(counts(&scoped(scope), &plain), of_plain, "{scope}");
        assert_eq!(counts(&scoped(scope), &ending), !of_plain, "{scope}");
    }
    let selects = |operator: &str, values: Value| {
        let expression = json!({"scopeName": "PriorityClass", "operator": operator, "values": values});
        quota(json!({"scopeSelector": {"matchExpressions": [expression]}}), hard.clone(), json!({"pods": "0"}))
    };
    let mut high = pod(json!({}), json!({}));
    high["spec"]["priorityClassName"] = json!("high");
    for (operator, values, of_high, of_plain) in [
        ("In", json!(["high"]), true, false),
        ("In", json!(["low"]), false, false),
        ("NotIn", json!(["high"]), false, true),
        ("Exists", json!([]), true, false),
        ("DoesNotExist", json!([]), false, true),
    ] {
        let quota = selects(operator, values);
        assert_eq!((counts(&quota, &high), counts(&quota, &plain)), (of_high, of_plain), "{operator}");
    }
    let maps =
        quota(json!({"scopes": ["BestEffort"]}), json!({"count/configmaps": "0"}), json!({"count/configmaps": "0"}));
    assert!(create(&measure("", "configmaps"), &json!({}), &[&maps]).unwrap().is_empty());
}

#[test]
fn a_change_costs_what_it_adds() {
    let services = measure("", "services");
    let ports = json!([{"port": 1}]);
    let cluster = json!({"spec": {"type": "ClusterIP", "ports": ports}});
    let node = json!({"spec": {"type": "NodePort", "ports": ports}});
    let quota = quota(
        json!({}),
        json!({"services": "1", "services.nodeports": "1"}),
        json!({"services": "1", "services.nodeports": "0"}),
    );
    let change = |new: &Value, old: &Value| {
        let asked = Asked { measure: &services, subresource: "", new, old: Some(old), now: now() };
        charge(&asked, &[&quota]).unwrap()
    };
    assert_eq!(change(&node, &cluster)[0].used.list(), "services=1,services.nodeports=1");
    assert!(change(&cluster, &node).is_empty());
    let bytes = |value: &Value| value.to_string().into_bytes();
    assert!(services.may_free(&bytes(&cluster), &bytes(&node)));
    assert!(!services.may_free(&bytes(&node), &bytes(&node)));
    let pods = measure("", "pods");
    let (mut running, mut ended) = (pod(json!({"cpu": "1"}), json!({})), pod(json!({"cpu": "1"}), json!({})));
    running["status"] = json!({"phase": "Running"});
    ended["status"] = json!({"phase": "Failed"});
    assert!(!pods.may_free(&bytes(&running), &bytes(&pod(json!({"cpu": "1"}), json!({})))));
    assert!(pods.may_free(&bytes(&ended), &bytes(&running)));
}

#[test]
fn counting_anew_gives_what_is_there_and_zero_of_the_rest() {
    let hard = Amounts::read(Some(
        &json!({"pods": "5", "requests.cpu": "1", "secrets": "3", "count/widgets.example.com": "1"}),
    ));
    let resources: Vec<String> = counted_resources(&hard).iter().map(ToString::to_string).collect();
    assert_eq!(resources, ["pods", "secrets", "widgets.example.com"]);
    let quota = quota(json!({"scopes": ["NotBestEffort"]}), json!({}), json!({}));
    let objects = [pod(json!({"cpu": "250m"}), json!({})), pod(json!({}), json!({}))];
    let used = recount(&measure("", "pods"), &quota, &hard, objects.iter(), now());
    assert_eq!(used.list(), "pods=1,requests.cpu=250m");
    let used = recount(&measure("", "secrets"), &quota, &hard, objects.iter(), now());
    assert_eq!(used.list(), "secrets=0");
    let charged = json!({"status": {"used": {"pods": "2", "cpu": "1"}}});
    let back = refund(&charged, &Amounts::read(Some(&json!({"pods": "3", "memory": "1"}))));
    assert_eq!(back.list(), "cpu=1,pods=0");
}
