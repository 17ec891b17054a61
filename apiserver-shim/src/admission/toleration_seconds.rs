//! Pods stay for five minutes on a node that is not ready or out of reach, unless they say otherwise.
//!
//! Source: `k8s.io/kubernetes/plugin/pkg/admission/defaulttolerationseconds`.

use apimachinery::meta;
use apimachinery::status::ApiError;
use async_trait::async_trait;
use serde_json::{Value, json};

use super::{Admission, Operation, Request};

const TAINTS: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];
const SECONDS: u32 = 300;

pub(super) struct DefaultTolerationSeconds;

#[async_trait]
impl Admission for DefaultTolerationSeconds {
    fn name(&self) -> &'static str {
        "DefaultTolerationSeconds"
    }

    async fn mutate(&self, request: &mut Request<'_>) -> Result<(), ApiError> {
        let writes = matches!(request.operation, Operation::Create | Operation::Update);
        if !writes || !request.is_for("", "pods", "") {
            return Ok(());
        }
        let Some(pod) = request.object.as_mut() else { return Ok(()) };
        for taint in TAINTS {
            let tolerations = meta::list_at(pod, &["spec", "tolerations"]);
            if tolerations.iter().any(|t| covers(t, taint)) {
                continue;
            }
            let added = json!({
                "key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": SECONDS,
            });
            let Some(spec) = pod.get_mut("spec").and_then(Value::as_object_mut) else { return Ok(()) };
            if let Some(list) = spec.entry("tolerations").or_insert_with(|| json!([])).as_array_mut() {
                list.push(added);
            }
        }
        Ok(())
    }
}

/// Whether a toleration speaks of being evicted for this taint.
fn covers(toleration: &Value, taint: &str) -> bool {
    let key = meta::str_at(toleration, &["key"]);
    let effect = meta::str_at(toleration, &["effect"]);
    (key == taint || key.is_empty()) && (effect == "NoExecute" || effect.is_empty())
}
