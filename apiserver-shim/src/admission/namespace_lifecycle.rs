//! Namespaces must exist before something is created in them, and not be on their way out. Some can't be deleted.
//!
//! Source: `k8s.io/apiserver/pkg/admission/plugin/namespace/lifecycle`.

use apimachinery::gvk::GroupResource;
use apimachinery::meta;
use apimachinery::status::ApiError;
use async_trait::async_trait;

use super::{Admission, Operation, Request};

const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

pub(super) struct NamespaceLifecycle;

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
        let value = namespace.to_value()?;
        if meta::str_at(&value, &["status", "phase"]) == "Terminating" || namespace.stored.deleting() {
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
