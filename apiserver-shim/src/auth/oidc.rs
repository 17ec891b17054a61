//! What lets others check a tenant's tokens: OpenID Connect discovery (KEP-1393).

use std::sync::Arc;

use apimachinery::status::ApiError;
use apimachinery::tenant::TenantId;
use async_trait::async_trait;
use axum::body::Body;
use http::Response;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use serde_json::{Value, json};

use crate::pages::{Page, Paths};
use crate::tenants::{Tenant, Tenants};

const CONFIGURATION: &str = "/.well-known/openid-configuration";
const KEYS: &str = "/openid/v1/jwks";
/// Keys do not change, so answers may be kept for an hour.
const MAX_AGE: &str = "public, max-age=3600";

struct Document {
    tenants: Arc<Tenants>,
    content_type: &'static str,
    content: fn(&Tenant) -> Value,
}

/// Registers the discovery document and the key set.
pub(super) fn register(paths: &mut Paths, tenants: &Arc<Tenants>) {
    paths
        .add(
            CONFIGURATION,
            Document { tenants: Arc::clone(tenants), content_type: "application/json", content: configuration },
        )
        .add(KEYS, Document { tenants: Arc::clone(tenants), content_type: "application/jwk-set+json", content: keys });
}

fn configuration(tenant: &Tenant) -> Value {
    let issuer = tenant.issuer();
    json!({
        "issuer": issuer,
        "jwks_uri": format!("{issuer}{KEYS}"),
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
    })
}

fn keys(tenant: &Tenant) -> Value {
    json!({"keys": [tenant.token_key().jwk()]})
}

#[async_trait]
impl Page for Document {
    async fn page(&self, tenant: TenantId) -> Result<Response<Body>, ApiError> {
        let gone = || ApiError::unavailable("this virtual cluster is not served any more");
        let tenant = self.tenants.get(tenant).ok_or_else(gone)?;
        Response::builder()
            .header(CONTENT_TYPE, self.content_type)
            .header(CACHE_CONTROL, MAX_AGE)
            .body(Body::from((self.content)(&tenant).to_string()))
            .map_err(ApiError::internal)
    }
}
