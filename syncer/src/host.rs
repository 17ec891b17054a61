//! What tenants' API servers ask of the host within a request: [`tenant_client::host::Host`] over the host's API.

use std::sync::{Arc, OnceLock};

use apimachinery::status::ApiError;
use apimachinery::tenant::TenantId;
use async_trait::async_trait;
use serde_json::Value;
use tenant_client::host::{Host, StreamRequest, StreamResponse};
use tokio::time::Instant;

use crate::context::Context;
use crate::error::{HostError, SyncError};
use crate::namespaces::namespace_ensure;
use crate::rewrite::Rewrite;
use crate::services::{SERVICES, service_allotted, service_carry, service_has_host, service_translate};
use crate::stream;
use crate::table::reasons;
use tenant_client::work::Item;

/// The host, for API servers. It answers 503 until [`crate::Syncer::new`] has connected it.
#[derive(Default)]
pub struct HostBridge {
    context: OnceLock<Arc<Context>>,
}

impl HostBridge {
    /// A bridge that leads nowhere yet.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    pub(crate) fn connect(&self, context: Arc<Context>) {
        // A second syncer on the same bridge would be a fault of the wiring; the first one stays.
        let _ = self.context.set(context);
    }

    fn context(&self) -> Result<&Arc<Context>, ApiError> {
        self.context
            .get()
            .ok_or_else(|| ApiError::unavailable("the host cluster is away: the server is still starting"))
    }
}

#[async_trait]
impl Host for HostBridge {
    async fn service_apply(
        &self,
        tenant: TenantId,
        mut service: Value,
        old: Option<&Value>,
        dry_run: bool,
    ) -> Result<Value, ApiError> {
        if let Some(old) = old {
            service_carry(&mut service, old);
        }
        if !service_has_host(&service) {
            return Ok(service);
        }
        let context = self.context()?;
        let answer = service_apply(context, tenant, &mut service, old, dry_run).await;
        answer.map_err(|error| in_tenants_words(context, tenant, &service, error))?;
        Ok(service)
    }

    async fn stream(&self, request: StreamRequest) -> Result<StreamResponse, ApiError> {
        stream::carry(self.context()?, request).await
    }
}

async fn service_apply(
    context: &Arc<Context>,
    tenant: TenantId,
    service: &mut Value,
    old: Option<&Value>,
    dry_run: bool,
) -> Result<(), SyncError> {
    use apimachinery::{gvk::GroupResource, meta};
    let (namespace, name) = (meta::namespace(service).to_owned(), meta::name(service).to_owned());
    let settings = context.settings(tenant)?;
    let resource = GroupResource::new("", "services");
    if old.is_none() && context.tenant_get(tenant, &resource, &namespace, &name).await?.is_some() {
        // The create will fail; the host service of the one that is there must not be touched.
        return Err(ApiError::already_exists(&resource, &name).into());
    }
    let mut desired = service_translate(service, tenant, &settings).map_err(|r| SyncError::Refused(reasons(&r)))?;
    let item = Item::new("services", &namespace, &name);
    if !dry_run {
        context.pending_services.lock().insert((tenant, item.clone()), Instant::now());
    }
    let applied = async {
        let host_namespace = namespace_ensure(context, tenant, &namespace).await?;
        if old.is_none() && !dry_run {
            // What is left of an earlier service of that name has another address and must not lend it.
            if let Some(left) = context.host.get(SERVICES, &host_namespace, &name).await?
                && crate::marks::Mark::read(&left, |t| context.directory.name(t))
                    .is_some_and(|m| m.tenant == tenant && m.resource == SERVICES.resource)
            {
                let uid = Some(meta::uid(&left).to_owned());
                let options = crate::host_api::HostDelete { uid, ..Default::default() };
                context.host.delete(SERVICES, &host_namespace, &name, &options).await?;
            }
        }
        Ok::<_, SyncError>(context.host.apply_owned(SERVICES, &mut desired, None, dry_run).await?)
    }
    .await;
    match applied {
        Ok(host) => {
            service_allotted(service, &host);
            Ok(())
        }
        Err(error) => {
            context.pending_services.lock().remove(&(tenant, item));
            Err(error)
        }
    }
}

fn in_tenants_words(context: &Context, tenant: TenantId, service: &Value, error: SyncError) -> ApiError {
    use apimachinery::{field::Errors, gvk::GroupVersionKind, meta};
    let rewrite = context
        .directory
        .get(tenant)
        .map(|s| Rewrite::new(tenant, &s.name, meta::namespace(service)))
        .unwrap_or_default();
    let mut answer = match error {
        SyncError::Tenant(error) | SyncError::Host(HostError::Refused(error)) => error,
        SyncError::Host(HostError::Away(why)) => {
            tracing::warn!(%tenant, error = why, "a service could not be made on the host");
            // Without a time to try again: clients would wait for it in silence, over and over, instead of saying what is wrong.
            ApiError::unavailable("the host cluster is away: services need it; try again")
        }
        SyncError::Host(HostError::NoRight(why)) => {
            tracing::warn!(%tenant, error = why, "a service could not be made on the host");
            context.namespace_doubt(tenant, meta::namespace(service));
            ApiError::unavailable("the host cluster is not ready for this namespace; try again").with_retry_after(1)
        }
        SyncError::Host(HostError::NameTaken) => ApiError::new(409, "Conflict", HostError::NameTaken.to_string()),
        SyncError::Wait(why, after) => {
            let seconds = u32::try_from(after.as_secs()).unwrap_or(1).max(1);
            ApiError::unavailable(format!("the host cluster is not ready: {why}")).with_retry_after(seconds)
        }
        SyncError::Refused(why) => {
            let mut errors = Errors::default();
            let (field, why) = why.split_once(": ").unwrap_or(("spec", &why));
            errors.forbidden(&apimachinery::field::Path::new(field), why);
            ApiError::invalid(&GroupVersionKind::new("", "v1", "Service"), meta::name(service), &errors)
        }
    };
    answer.message = rewrite.text(&answer.message);
    for cause in &mut answer.causes {
        cause.message = rewrite.text(&cause.message);
    }
    answer
}
