//! `TokenReview`: whose token is this.

use std::sync::Arc;

use apimachinery::status::ApiError;
use async_trait::async_trait;
use serde_json::{Value, json};

use super::{Context, strings, user_info};
use crate::auth::token::claims::Rejected;
use crate::registry::{Call, Registry};
use crate::special::Post;

pub(super) struct TokenReview(pub(super) Context);

#[async_trait]
impl Post for TokenReview {
    async fn post(&self, _registry: &Arc<Registry>, call: &Call, mut object: Value) -> Result<(u16, Value), ApiError> {
        let tenant = self.0.tenant(call.tenant)?;
        let token = object["spec"]["token"].as_str().unwrap_or_default().to_owned();
        if token.is_empty() {
            return Err(ApiError::bad_request("token is required for TokenReview in authentication"));
        }
        let mut audiences = strings(&object["spec"]["audiences"]);
        if audiences.is_empty() {
            audiences.push(tenant.issuer());
        }
        object["status"] = match self.0.authenticator.token(&tenant, &token, &audiences).await {
            Ok(accepted) => json!({
                "authenticated": true,
                "user": user_info(&accepted.user),
                "audiences": accepted.audiences,
            }),
            Err(Rejected::Foreign) => json!({"user": {}, "error": "invalid bearer token"}),
            Err(Rejected::Invalid(why)) => json!({"user": {}, "error": format!("[invalid bearer token, {why}]")}),
            Err(Rejected::Failed(error)) => return Err(error),
        };
        Ok((201, object))
    }
}
