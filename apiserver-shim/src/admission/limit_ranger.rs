//! Pods get the default requests and limits of their namespace's limit ranges; pods and claims must keep their bounds.
//!
//! Source: `k8s.io/kubernetes/plugin/pkg/admission/limitranger`.

use apimachinery::gvk::GroupResource;
use apimachinery::status::ApiError;
use apimachinery::{limit_range, meta};
use async_trait::async_trait;
use serde_json::Value;

use super::{Admission, Operation, Request};

pub(super) struct LimitRanger;

#[async_trait]
impl Admission for LimitRanger {
    fn name(&self) -> &'static str {
        "LimitRanger"
    }

    async fn mutate(&self, request: &mut Request<'_>) -> Result<(), ApiError> {
        if !is_pod(request) || going(request) {
            return Ok(());
        }
        let ranges = ranges(request).await?;
        if let Some(pod) = request.object.as_mut() {
            ranges.iter().for_each(|range| limit_range::pod_default(range, pod));
        }
        Ok(())
    }

    async fn validate(&self, request: &Request<'_>) -> Result<(), ApiError> {
        let check = if is_pod(request) {
            limit_range::pod_check
        } else if is_claim(request) {
            limit_range::claim_check
        } else {
            return Ok(());
        };
        let Some(object) = request.object.as_ref().filter(|_| !going(request)) else { return Ok(()) };
        for range in ranges(request).await? {
            if let Some(why) = limit_range::message(check(&range, object)) {
                let resource = request.call.resource.group_resource();
                return Err(ApiError::forbidden(&resource, meta::name(object), &why));
            }
        }
        Ok(())
    }
}

/// Containers are set when a pod is created, and when it is resized.
fn is_pod(request: &Request<'_>) -> bool {
    match request.operation {
        Operation::Create => request.is_for("", "pods", ""),
        Operation::Update => request.is_for("", "pods", "resize"),
        _ => false,
    }
}

fn is_claim(request: &Request<'_>) -> bool {
    matches!(request.operation, Operation::Create | Operation::Update)
        && request.is_for("", "persistentvolumeclaims", "")
}

fn going(request: &Request<'_>) -> bool {
    request.old.is_some_and(|old| !meta::text(old, "deletionTimestamp").is_empty())
}

async fn ranges(request: &Request<'_>) -> Result<Vec<Value>, ApiError> {
    let resource = GroupResource::new("", "limitranges");
    let found = request.registry.objects(request.call.tenant, &resource, &request.call.namespace).await?;
    found.iter().map(crate::registry::Live::to_value).collect()
}
