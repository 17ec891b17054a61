//! Namespaces must exist before something is created in them, and not be on their way out. Some can't be deleted.
//!
//! Source: `k8s.io/apiserver/pkg/admission/plugin/namespace/lifecycle`.

use std::borrow::Cow;

use apimachinery::gvk::GroupResource;
use apimachinery::meta;
use apimachinery::status::ApiError;
use async_trait::async_trait;
use serde::Deserialize;

use super::{Admission, Operation, Request};

const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

pub(super) struct NamespaceLifecycle;

/// As much of a namespace as is asked of it with every create.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Namespace<'a> {
    #[serde(borrow)]
    status: NamespaceStatus<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct NamespaceStatus<'a> {
    #[serde(borrow)]
    phase: Cow<'a, str>,
}

#[async_trait]
impl Admission for NamespaceLifecycle {
    fn name(&self) -> &'static str {
        "NamespaceLifecycle"
    }

    async fn mutate(&self, request: &mut Request<'_>) -> Result<(), ApiError> {
        let call = request.call;
        let namespaces = GroupResource::new("", "namespaces");
        if request.is_for("", "namespaces", "") {
            if request.operation == Operation::Delete && IMMORTAL.contains(&call.name.as_str()) {
                return Err(ApiError::forbidden(&namespaces, &call.name, "this namespace may not be deleted"));
            }
            return Ok(());
        }
        if call.namespace.is_empty() || !call.resource.namespaced || request.operation != Operation::Create {
            return Ok(());
        }
        // Reviews are asked about namespaces, not put into them.
        if call.resource.gvr.group == "authorization.k8s.io" {
            return Ok(());
        }
        let Some(namespace) = request.registry.namespace(call.tenant, &call.namespace).await? else {
            return Err(ApiError::not_found(&namespaces, &call.namespace));
        };
        let read: Namespace = serde_json::from_slice(namespace.stored.body()).map_err(ApiError::internal)?;
        if read.status.phase == "Terminating" || namespace.stored.deleting() {
            let mut error = ApiError::forbidden(
                &call.resource.group_resource(),
                request.object.as_ref().map(meta::name).unwrap_or_default(),
                &format!("unable to create new content in namespace {} because it is being terminated", call.namespace),
            );
            error = error.with_cause(
                "NamespaceTerminating",
                format!("namespace {} is being terminated", call.namespace),
                "metadata.namespace",
            );
            return Err(error);
        }
        Ok(())
    }
}
