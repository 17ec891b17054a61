//! ServiceAccounts.

use serde_json::{Value, json};

use super::WriteContext;
use super::edit::items_mut;

const MOUNTABLE_ONLY: &str = "kubernetes.io/enforce-mountable-secrets";

pub(super) fn account_prepare_create(account: &mut Value, _context: &WriteContext<'_>) {
    secrets_by_name(account);
}

pub(super) fn account_prepare_update(new: &mut Value, _old: &Value, _context: &WriteContext<'_>) {
    secrets_by_name(new);
}

/// Secrets are of the account's namespace: only their names count.
fn secrets_by_name(account: &mut Value) {
    for secret in items_mut(account, "secrets") {
        *secret = match secret.get("name").and_then(Value::as_str) {
            Some(name) if !name.is_empty() => json!({"name": name}),
            _ => json!({}),
        };
    }
}

pub(super) fn account_warnings(new: &Value, old: Option<&Value>) -> Vec<String> {
    let has =
        |account: &Value| account.pointer("/metadata/annotations").is_some_and(|a| a.get(MOUNTABLE_ONLY).is_some());
    if !has(new) || old.is_some_and(has) {
        return Vec::new();
    }
    vec![format!(
        "metadata.annotations[{MOUNTABLE_ONLY}]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets"
    )]
}
