//! Cluster roles that are made of others: the rules of all that their `aggregationRule` selects.
//!
//! Charts of operators extend `admin`, `edit` and `view` that way (`rbac.authorization.k8s.io/aggregate-to-admin: "true"`).
//! Source of behaviour: `k8s.io/kubernetes/pkg/controller/clusterroleaggregation`.

use apimachinery::meta::{at, list_at};
use apimachinery::selector::LabelSelector;
use apimachinery::status::ApiError;
use async_trait::async_trait;
use serde_json::{Value, json};
use tenant_client::{Caller, Change, Object, Patch, Target};

use crate::context::{Context, resource};
use crate::controller::{Again, Controller, Key};

const CALLER: Caller = Caller {
    user: "system:serviceaccount:kube-system:clusterrole-aggregation-controller",
    manager: "clusterrole-aggregation-controller",
};
const GROUP: &str = "rbac.authorization.k8s.io";
/// The only key: any role may be part of any other.
const ALL: &str = "all";

/// Aggregates cluster roles. The key is all of a tenant's.
pub(crate) struct Aggregation;

#[async_trait]
impl Controller for Aggregation {
    fn name(&self) -> &'static str {
        "clusterrole-aggregation"
    }

    fn resources(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }

    fn scan_key(&self) -> Option<&'static str> {
        Some(ALL)
    }

    fn keys(&self, change: &Change, add: &mut dyn FnMut(&str, &str)) {
        if change.resource.group == GROUP && change.resource.resource == "clusterroles" {
            add("", ALL);
        }
    }

    async fn reconcile(&self, context: &Context, key: Key<'_>) -> Result<Again, ApiError> {
        let what = resource(GROUP, "clusterroles");
        let roles = context.client.list(key.tenant, &what, None).await?.items;
        for role in roles.iter().filter(|r| aggregates(r) && !r.stored.deleting()) {
            let value = role.to_value()?;
            let Some(rules) = rules(role, &value, &roles)? else { continue };
            if list_at(&value, &["rules"]) == rules {
                continue;
            }
            let object = json!({
                "apiVersion": role.kind.api_version().as_str(),
                "kind": "ClusterRole",
                "metadata": {"name": role.name, "uid": role.stored.uid().to_string()},
                "rules": rules,
            });
            let target =
                Target { tenant: key.tenant, resource: &what, namespace: "", name: &role.name, subresource: "" };
            match context.client.patch(CALLER, target, Patch::Apply { object, force: true }).await {
                // It is gone, or another one by now: its change comes.
                Err(error) if error.code == 404 || error.code == 409 => {}
                result => drop(result?),
            }
        }
        Ok(None)
    }
}

/// Whether a role may have an aggregation rule, told without decoding it: nearly all have none.
fn aggregates(role: &Object) -> bool {
    std::str::from_utf8(role.stored.body()).is_ok_and(|body| body.contains("\"aggregationRule\""))
}

/// The rules of all roles that a role selects, each once; `None` if it selects none by its nature.
fn rules(role: &Object, value: &Value, roles: &[Object]) -> Result<Option<Vec<Value>>, ApiError> {
    if at(value, &["aggregationRule"]).is_none() {
        return Ok(None);
    }
    let mut rules: Vec<Value> = Vec::new();
    for selector in list_at(value, &["aggregationRule", "clusterRoleSelectors"]) {
        let selector = LabelSelector::from_object(selector).map_err(ApiError::internal)?;
        for part in roles.iter().filter(|r| r.name != role.name && selector.matches_stored(&r.stored)) {
            for rule in list_at(&part.to_value()?, &["rules"]) {
                if !rules.contains(rule) {
                    rules.push(rule.clone());
                }
            }
        }
    }
    Ok(Some(rules))
}
