//! Limit ranges: what containers get that ask for nothing, and what pods, containers and claims may ask for.
//!
//! Source: `k8s.io/kubernetes/plugin/pkg/admission/limitranger`.

use serde_json::{Value, json};

use crate::meta;
use crate::quantity::Quantity;
use crate::quota::{Amounts, pod_limits, pod_requests};

const ANNOTATION: &str = "kubernetes.io/limit-ranger";

/// Gives the containers of a pod the default requests and limits of a range where they have none of that name, and
/// says so in an annotation.
pub fn pod_default(range: &Value, pod: &mut Value) {
    let (mut requests, mut limits) = (Amounts::default(), Amounts::default());
    for item in items(range, "Container") {
        for (name, amount) in Amounts::read(item.get("defaultRequest")).iter() {
            requests.set(name, amount.clone());
        }
        for (name, amount) in Amounts::read(item.get("default")).iter() {
            limits.set(name, amount.clone());
        }
    }
    let mut said = Vec::new();
    for (list, what) in [("containers", "container"), ("initContainers", "init container")] {
        let containers = pod.pointer_mut(&format!("/spec/{list}")).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            for (key, defaults, kind) in [("requests", &requests, "request"), ("limits", &limits, "limit")] {
                let set = fill(container, key, defaults);
                if !set.is_empty() {
                    said.push(format!("{} {kind} for {what} {}", set.join(", "), meta::str_at(container, &["name"])));
                }
            }
        }
    }
    if !said.is_empty() {
        pod["metadata"]["annotations"][ANNOTATION] = json!(format!("LimitRanger plugin set: {}", said.join("; ")));
    }
}

/// Puts in what is missing; gives the names of it.
fn fill<'a>(container: &mut Value, key: &str, defaults: &'a Amounts) -> Vec<&'a str> {
    let mut set = Vec::new();
    for (name, amount) in defaults.iter() {
        if meta::at(container, &["resources", key, name]).is_none() {
            container["resources"][key][name] = json!(amount.to_string());
            set.push(name);
        }
    }
    set
}

/// What a range has against a pod.
pub fn pod_check(range: &Value, pod: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    for item in meta::list_at(range, &["spec", "limits"]) {
        match meta::str_at(item, &["type"]) {
            "Container" => {
                let list = |name| meta::list_at(pod, &["spec", name]);
                for container in list("containers").iter().chain(list("initContainers")) {
                    let read = |key| Amounts::read(meta::at(container, &["resources", key]));
                    bounds(item, "Container", &read("requests"), &read("limits"), &mut wrong);
                }
            }
            "Pod" => bounds(item, "Pod", &pod_requests(pod), &pod_limits(pod), &mut wrong),
            _ => {}
        }
    }
    wrong
}

/// What a range has against a persistent volume claim. Only what it requests counts.
pub fn claim_check(range: &Value, claim: &Value) -> Vec<String> {
    const KIND: &str = "PersistentVolumeClaim";
    let requests = Amounts::read(meta::at(claim, &["spec", "resources", "requests"]));
    let mut wrong = Vec::new();
    for item in items(range, KIND) {
        at_least(item, KIND, &requests, &Amounts::default(), &mut wrong);
        for (name, max) in Amounts::read(item.get("max")).iter() {
            let is = format!("maximum {name} usage per {KIND} is {max}");
            match requests.get(name) {
                None => wrong.push(format!("{is}.  No request is specified")),
                Some(asked) if asked > max => wrong.push(format!("{is}, but request is {asked}")),
                Some(_) => {}
            }
        }
    }
    wrong
}

/// What was found wrong, as one message.
pub fn message(mut wrong: Vec<String>) -> Option<String> {
    let mut told: Vec<String> = Vec::new();
    wrong.retain(|text| {
        let new = !told.contains(text);
        told.push(text.clone());
        new
    });
    match wrong.len() {
        0 => None,
        1 => wrong.pop(),
        _ => Some(format!("[{}]", wrong.join(", "))),
    }
}

fn items<'a>(range: &'a Value, kind: &'static str) -> impl Iterator<Item = &'a Value> {
    meta::list_at(range, &["spec", "limits"]).iter().filter(move |item| meta::str_at(item, &["type"]) == kind)
}

fn bounds(item: &Value, kind: &str, requests: &Amounts, limits: &Amounts, wrong: &mut Vec<String>) {
    at_least(item, kind, requests, limits, wrong);
    for (name, max) in Amounts::read(item.get("max")).iter() {
        let is = format!("maximum {name} usage per {kind} is {max}");
        match (limits.get(name), requests.get(name)) {
            (None, _) => wrong.push(format!("{is}.  No limit is specified")),
            (Some(limit), _) if limit > max => wrong.push(format!("{is}, but limit is {limit}")),
            (_, Some(request)) if request > max => wrong.push(format!("{is}, but request is {request}")),
            _ => {}
        }
    }
    for (name, ratio) in Amounts::read(item.get("maxLimitRequestRatio")).iter() {
        let is = format!("{name} max limit to request ratio per {kind} is {ratio}");
        let present = |amounts: &Amounts| amounts.get(name).filter(|amount| !amount.is_zero()).cloned();
        match (present(requests), present(limits)) {
            (None, _) => wrong.push(format!("{is}, but no request is specified or request is 0")),
            (_, None) => wrong.push(format!("{is}, but no limit is specified or limit is 0")),
            (Some(request), Some(limit)) => {
                let given = quotient(&limit, &request);
                if given > ratio.as_f64() {
                    wrong.push(format!("{is}, but provided ratio is {given:.6}"));
                }
            }
        }
    }
}

fn at_least(item: &Value, kind: &str, requests: &Amounts, limits: &Amounts, wrong: &mut Vec<String>) {
    for (name, min) in Amounts::read(item.get("min")).iter() {
        let is = format!("minimum {name} usage per {kind} is {min}");
        match (requests.get(name), limits.get(name)) {
            (None, _) => wrong.push(format!("{is}.  No request is specified")),
            (Some(request), _) if request < min => wrong.push(format!("{is}, but request is {request}")),
            (_, Some(limit)) if limit < min => wrong.push(format!("{is}, but limit is {limit}")),
            _ => {}
        }
    }
}

fn quotient(limit: &Quantity, request: &Quantity) -> f64 {
    limit.as_f64() / request.as_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(item: Value) -> Value {
        json!({"metadata": {"name": "r"}, "spec": {"limits": [item]}})
    }

    fn pod(resources: Value) -> Value {
        json!({"metadata": {"name": "p"}, "spec": {
            "containers": [{"name": "c", "resources": resources}],
            "initContainers": [{"name": "i", "resources": {"requests": {"cpu": "1"}}}],
        }})
    }

    #[test]
    fn containers_get_what_they_do_not_ask_for_and_the_pod_says_so() {
        let range = range(json!({"type": "Container", "default": {"cpu": "500m", "memory": "500Mi"},
            "defaultRequest": {"cpu": "100m", "memory": "200Mi"}}));
        let mut pod = pod(json!({"limits": {"cpu": "300m"}}));
        pod_default(&range, &mut pod);
        let spec = &pod["spec"];
        let want =
            json!({"limits": {"cpu": "300m", "memory": "500Mi"}, "requests": {"cpu": "100m", "memory": "200Mi"}});
        assert_eq!(spec["containers"][0]["resources"], want);
        assert_eq!(spec["initContainers"][0]["resources"]["requests"], json!({"cpu": "1", "memory": "200Mi"}));
        assert_eq!(
            pod["metadata"]["annotations"]["kubernetes.io/limit-ranger"],
            "LimitRanger plugin set: cpu, memory request for container c; memory limit for container c; \
             memory request for init container i; cpu, memory limit for init container i"
        );
        let before = pod.clone();
        pod_default(&range, &mut pod);
        assert_eq!(pod, before);
    }

    #[test]
    fn what_is_out_of_bounds_is_told_in_the_words_of_kubernetes() {
        let container = range(json!({"type": "Container", "min": {"cpu": "50m"}, "max": {"cpu": "500m"},
            "maxLimitRequestRatio": {"memory": "2"}}));
        let asks = |requests: Value, limits: Value| {
            let pod =
                json!({"spec": {"containers": [{"name": "c", "resources": {"requests": requests, "limits": limits}}]}});
            message(pod_check(&container, &pod))
        };
        let fine = (json!({"cpu": "100m", "memory": "1Gi"}), json!({"cpu": "500m", "memory": "2Gi"}));
        assert_eq!(asks(fine.0.clone(), fine.1.clone()), None);
        assert_eq!(
            asks(json!({"cpu": "10m", "memory": "1Gi"}), fine.1.clone()).unwrap(),
            "minimum cpu usage per Container is 50m, but request is 10m"
        );
        assert_eq!(
            asks(fine.0.clone(), json!({"cpu": "1", "memory": "3Gi"})).unwrap(),
            "[maximum cpu usage per Container is 500m, but limit is 1, memory max limit to request ratio per Container is 2, but provided ratio is 3.000000]"
        );
        assert_eq!(
            asks(json!({"memory": "1"}), json!({"memory": "1"})).unwrap(),
            "[minimum cpu usage per Container is 50m.  No request is specified, maximum cpu usage per Container is 500m.  No limit is specified]"
        );
        let whole = range(json!({"type": "Pod", "max": {"cpu": "1"}}));
        let wrong = pod_check(&whole, &pod(json!({"limits": {"cpu": "2"}})));
        assert_eq!(wrong, ["maximum cpu usage per Pod is 1, but limit is 2"]);
        let storage =
            range(json!({"type": "PersistentVolumeClaim", "min": {"storage": "1Gi"}, "max": {"storage": "2Gi"}}));
        let claim = json!({"spec": {"resources": {"requests": {"storage": "3Gi"}}}});
        assert_eq!(
            claim_check(&storage, &claim),
            ["maximum storage usage per PersistentVolumeClaim is 2Gi, but request is 3Gi"]
        );
    }
}
