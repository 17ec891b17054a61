//! `SelfSubjectReview`: who am I.

use std::sync::Arc;

use apimachinery::status::ApiError;
use async_trait::async_trait;
use serde_json::{Value, json};

use super::user_info;
use crate::registry::{Call, Registry};
use crate::special::Post;

pub(super) struct SelfSubjectReview;

#[async_trait]
impl Post for SelfSubjectReview {
    async fn post(&self, _registry: &Arc<Registry>, call: &Call, _object: Value) -> Result<(u16, Value), ApiError> {
        Ok((
            201,
            json!({
                "kind": "SelfSubjectReview",
                "apiVersion": call.resource.gvk.api_version(),
                "metadata": {"creationTimestamp": call.now_text()},
                "status": {"userInfo": user_info(&call.user)},
            }),
        ))
    }
}
