//! `SelfSubjectRulesReview`: what may I do in a namespace.

use std::sync::Arc;

use apimachinery::rbac::PolicyRule;
use apimachinery::status::ApiError;
use async_trait::async_trait;
use serde_json::{Value, json};

use super::Context;
use crate::auth::authorize::who;
use crate::auth::user::GROUP_MASTERS;
use crate::registry::{Call, Registry};
use crate::special::Post;

pub(super) struct RulesReview(pub(super) Context);

#[async_trait]
impl Post for RulesReview {
    async fn post(&self, _registry: &Arc<Registry>, call: &Call, object: Value) -> Result<(u16, Value), ApiError> {
        let namespace = object["spec"]["namespace"].as_str().unwrap_or_default();
        if namespace.is_empty() {
            return Err(ApiError::bad_request("no namespace on request"));
        }
        let policy = self.0.authorizer.policy(call.tenant).await?;
        let mut found = policy.rules_for(&who(&call.user), namespace);
        // Whoever may do anything may do so without a binding too.
        let full = PolicyRule::full_authority();
        if call.user.in_group(GROUP_MASTERS) && !found.rules.contains(&full[0]) {
            found.rules.extend(full);
        }
        let rules = |pick: fn(&PolicyRule) -> bool, drop: [&str; 1]| -> Vec<Value> {
            let chosen = found.rules.iter().filter(|r| pick(r));
            let shown = chosen.map(|r| {
                let mut rule = r.to_value();
                if let Some(rule) = rule.as_object_mut() {
                    rule.remove(drop[0]);
                }
                rule
            });
            shown.collect()
        };
        let mut paths = rules(|r| !r.non_resource_urls.is_empty(), ["apiGroups"]);
        for rule in paths.iter_mut().filter_map(Value::as_object_mut) {
            rule.remove("resources");
            rule.remove("resourceNames");
        }
        let mut status = json!({
            "resourceRules": rules(|r| !r.resources.is_empty(), ["nonResourceURLs"]),
            "nonResourceRules": paths,
            "incomplete": false,
        });
        if !found.errors.is_empty() {
            status["evaluationError"] = json!(found.errors);
        }
        let answer = json!({
            "kind": "SelfSubjectRulesReview",
            "apiVersion": call.resource.gvk.api_version(),
            "metadata": {},
            "spec": {},
            "status": status,
        });
        Ok((201, answer))
    }
}
