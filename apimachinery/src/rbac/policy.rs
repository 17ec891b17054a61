//! All roles and bindings of a cluster, and who may do what by them.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use serde_json::Value;
use smol_str::SmolStr;

use super::rule::quote_list;
use super::{GROUP, PolicyRule, Request, Who, rule};
use crate::field::quote;
use crate::gvk::GroupResource;
use crate::meta::{str_at, text};
use crate::status::ApiError;

/// Which role a binding gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleRef {
    /// `Role` or `ClusterRole`.
    pub kind: SmolStr,
    /// Its name.
    pub name: SmolStr,
}

/// To whom a binding gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// `User`, `Group` or `ServiceAccount`.
    pub kind: SmolStr,
    /// Its name.
    pub name: SmolStr,
    /// A service account's namespace; empty for the binding's own.
    pub namespace: SmolStr,
}

/// A `RoleBinding` or `ClusterRoleBinding`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// Its name.
    pub name: SmolStr,
    /// Its namespace; empty for a `ClusterRoleBinding`.
    pub namespace: SmolStr,
    /// What it gives.
    pub role: RoleRef,
    /// To whom.
    pub subjects: Box<[Subject]>,
}

/// All roles and bindings of a cluster.
///
/// # Guarantees
/// Nothing is allowed that no rule allows: what can not be read or found gives no rights.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    cluster_roles: HashMap<SmolStr, Arc<[PolicyRule]>>,
    roles: HashMap<SmolStr, Arc<[PolicyRule]>>,
    cluster_bindings: BTreeMap<SmolStr, Binding>,
    bindings: BTreeMap<SmolStr, Binding>,
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A rule allows it; says which binding gives that rule to whom.
    Allowed(String),
    /// No rule does; says what could not be found on the way, if anything.
    NoOpinion(String),
}

/// What applies to a user: rules, and roles that bindings name and that do not exist.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// The rules, those of the cluster first.
    pub rules: Vec<PolicyRule>,
    /// What could not be found, as a message; empty if all was.
    pub errors: String,
}

impl RoleRef {
    /// Reads `roleRef`.
    pub fn from_value(value: &Value) -> Self {
        Self { kind: str_at(value, &["kind"]).into(), name: str_at(value, &["name"]).into() }
    }
}

impl Subject {
    fn from_value(value: &Value) -> Self {
        let get = |key| SmolStr::new(str_at(value, &[key]));
        Self { kind: get("kind"), name: get("name"), namespace: get("namespace") }
    }

    fn applies_to(&self, who: &Who<'_>, binding_namespace: &str) -> bool {
        match self.kind.as_str() {
            "User" => self.name == who.name,
            "Group" => who.groups.iter().any(|g| self.name == *g),
            "ServiceAccount" => {
                let namespace = if self.namespace.is_empty() { binding_namespace } else { &self.namespace };
                let full = || {
                    let rest = who.name.strip_prefix("system:serviceaccount:")?;
                    rest.strip_prefix(namespace)?.strip_prefix(':')
                };
                !namespace.is_empty() && full() == Some(&self.name)
            }
            _ => false,
        }
    }
}

impl Binding {
    /// Reads a `RoleBinding` or `ClusterRoleBinding`.
    pub fn from_value(value: &Value) -> Self {
        let subjects = value.get("subjects").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        Self {
            name: text(value, "name").into(),
            namespace: text(value, "namespace").into(),
            role: RoleRef::from_value(value.get("roleRef").unwrap_or(&Value::Null)),
            subjects: subjects.iter().map(Subject::from_value).collect(),
        }
    }

    fn subject_for(&self, who: &Who<'_>) -> Option<&Subject> {
        self.subjects.iter().find(|s| s.applies_to(who, &self.namespace))
    }
}

/// A binding with the subject that a user is in.
#[derive(Clone, Copy)]
struct Source<'a>(&'a Binding, &'a Subject);

impl fmt::Display for Source<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(binding, subject) = self;
        let (kind, name) = if binding.namespace.is_empty() {
            ("ClusterRoleBinding", quote(&binding.name))
        } else {
            ("RoleBinding", quote(&format!("{}/{}", binding.name, binding.namespace)))
        };
        write!(f, "{kind} {name} of {} {} to {} ", binding.role.kind, quote(&binding.role.name), subject.kind)?;
        if subject.kind == "ServiceAccount" {
            let namespace = if subject.namespace.is_empty() { &binding.namespace } else { &subject.namespace };
            f.write_str(&quote(&format!("{}/{namespace}", subject.name)))
        } else {
            f.write_str(&quote(&subject.name))
        }
    }
}

impl Policy {
    /// Puts a `ClusterRole`'s rules, or takes them away.
    pub fn set_cluster_role(&mut self, name: &str, rules: Option<Arc<[PolicyRule]>>) {
        set(&mut self.cluster_roles, name, rules);
    }

    /// Puts a `Role`'s rules, or takes them away. `key` is `namespace/name`.
    pub fn set_role(&mut self, key: &str, rules: Option<Arc<[PolicyRule]>>) {
        set(&mut self.roles, key, rules);
    }

    /// Puts a `ClusterRoleBinding`, or takes it away.
    pub fn set_cluster_binding(&mut self, name: &str, binding: Option<Binding>) {
        match binding {
            Some(binding) => self.cluster_bindings.insert(name.into(), binding),
            None => self.cluster_bindings.remove(name),
        };
    }

    /// Puts a `RoleBinding`, or takes it away. `key` is `namespace/name`.
    pub fn set_binding(&mut self, key: &str, binding: Option<Binding>) {
        match binding {
            Some(binding) => self.bindings.insert(key.into(), binding),
            None => self.bindings.remove(key),
        };
    }

    /// The rules of a role that a binding in `namespace` (empty for a cluster binding) names.
    ///
    /// # Errors
    /// 404 if it does not exist; 500 for a kind that is no role.
    pub fn role_rules(&self, role: &RoleRef, namespace: &str) -> Result<&Arc<[PolicyRule]>, ApiError> {
        let (found, singular) = match role.kind.as_str() {
            "Role" => (self.roles.get(format!("{namespace}/{}", role.name).as_str()), "role"),
            "ClusterRole" => (self.cluster_roles.get(&role.name), "clusterrole"),
            other => {
                return Err(ApiError::new(500, "", format!("unsupported role reference kind: {}", quote(other))));
            }
        };
        found.ok_or_else(|| ApiError::not_found(&GroupResource::new(GROUP, singular), &role.name))
    }

    /// Whether `who` may do what is asked, by the bindings of the cluster and of `namespace` (empty for none).
    pub fn authorize(&self, who: &Who<'_>, namespace: &str, request: &Request<'_>) -> Verdict {
        let mut reason = None;
        let errors = self.visit(who, namespace, |source, rule| {
            if rule.allows(request) {
                reason = Some(format!("RBAC: allowed by {source}"));
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        });
        match reason {
            Some(reason) => Verdict::Allowed(reason),
            None if errors.is_empty() => Verdict::NoOpinion(String::new()),
            None => Verdict::NoOpinion(format!("RBAC: {}", aggregate(&errors))),
        }
    }

    /// All rules that apply to `who` in `namespace` (empty for none): those of the cluster, then the namespace's.
    pub fn rules_for(&self, who: &Who<'_>, namespace: &str) -> Rules {
        let mut rules = Vec::new();
        let errors = self.visit(who, namespace, |_, rule| {
            rules.push(rule.clone());
            ControlFlow::Continue(())
        });
        Rules { rules, errors: aggregate(&errors) }
    }

    /// Checks that `who` holds every right in `wanted` in `namespace`: nobody may grant what they do not have.
    ///
    /// # Errors
    /// The message of the refusal, which names what is missing.
    pub fn confirm_no_escalation(&self, who: &Who<'_>, namespace: &str, wanted: &[PolicyRule]) -> Result<(), String> {
        let held = self.rules_for(who, namespace);
        let missing = rule::missing_rights(&held.rules, wanted);
        if missing.is_empty() {
            return Ok(());
        }
        let mut message = format!(
            "user {} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
            quote(who.name),
            quote_list(who.groups),
            missing.join("\n")
        );
        if !held.errors.is_empty() {
            message.push_str(&format!("; resolution errors: [{}]", held.errors));
        }
        Err(message)
    }

    /// Visits each rule that applies until told to stop; gives the errors met on the way.
    fn visit(
        &self,
        who: &Who<'_>,
        namespace: &str,
        mut visitor: impl FnMut(Source<'_>, &PolicyRule) -> ControlFlow<()>,
    ) -> Vec<String> {
        let mut errors = Vec::new();
        let prefix = format!("{namespace}/");
        let local = self
            .bindings
            .range(SmolStr::new(&prefix)..)
            .take_while(|(key, _)| key.starts_with(&prefix))
            .map(|(_, binding)| binding);
        let local = local.filter(|_| !namespace.is_empty());
        for binding in self.cluster_bindings.values().chain(local) {
            let Some(subject) = binding.subject_for(who) else { continue };
            match self.role_rules(&binding.role, &binding.namespace) {
                Ok(rules) => {
                    for rule in rules.iter() {
                        if visitor(Source(binding, subject), rule).is_break() {
                            return errors;
                        }
                    }
                }
                Err(error) => errors.push(error.message),
            }
        }
        errors
    }
}

fn set(map: &mut HashMap<SmolStr, Arc<[PolicyRule]>>, key: &str, rules: Option<Arc<[PolicyRule]>>) {
    match rules {
        Some(rules) => map.insert(key.into(), rules),
        None => map.remove(key),
    };
}

/// Several errors as one text: each once, in brackets if more than one.
fn aggregate(errors: &[String]) -> String {
    let mut unique: Vec<&str> = Vec::new();
    for error in errors {
        if !unique.contains(&error.as_str()) {
            unique.push(error);
        }
    }
    match unique.as_slice() {
        [] => String::new(),
        [one] => (*one).to_owned(),
        many => format!("[{}]", many.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn binding(namespace: &str, name: &str, role: (&str, &str), subject: Value) -> Binding {
        Binding::from_value(&json!({
            "metadata": {"name": name, "namespace": namespace},
            "roleRef": {"kind": role.0, "name": role.1},
            "subjects": [subject],
        }))
    }

    fn rules(resource: &str, verbs: &[&str]) -> Arc<[PolicyRule]> {
        PolicyRule::list(Some(&json!([{"apiGroups": [""], "resources": [resource], "verbs": verbs}]))).into()
    }

    fn policy() -> Policy {
        let mut policy = Policy::default();
        policy.set_cluster_role("view", Some(rules("pods", &["get", "list"])));
        policy.set_role("a/edit", Some(rules("configmaps", &["update"])));
        let group = json!({"kind": "Group", "name": "viewers"});
        policy.set_cluster_binding("v", Some(binding("", "v", ("ClusterRole", "view"), group)));
        let account = json!({"kind": "ServiceAccount", "name": "bot"});
        policy.set_binding("a/e", Some(binding("a", "e", ("Role", "edit"), account)));
        policy
    }

    fn ask<'a>(verb: &'a str, resource: &'a str) -> Request<'a> {
        Request::Resource { verb, group: "", resource, subresource: "", name: "x" }
    }

    #[test]
    fn cluster_bindings_hold_everywhere_and_others_in_their_namespace() {
        let policy = policy();
        let groups = ["viewers".to_owned()];
        let viewer = Who { name: "u", groups: &groups };
        let reason = r#"RBAC: allowed by ClusterRoleBinding "v" of ClusterRole "view" to Group "viewers""#;
        assert_eq!(policy.authorize(&viewer, "", &ask("get", "pods")), Verdict::Allowed(reason.into()));
        assert_eq!(policy.authorize(&viewer, "a", &ask("get", "pods")), Verdict::Allowed(reason.into()));
        assert_eq!(policy.authorize(&viewer, "a", &ask("update", "pods")), Verdict::NoOpinion(String::new()));
        let bot = Who { name: "system:serviceaccount:a:bot", groups: &[] };
        let reason = r#"RBAC: allowed by RoleBinding "e/a" of Role "edit" to ServiceAccount "bot/a""#;
        assert_eq!(policy.authorize(&bot, "a", &ask("update", "configmaps")), Verdict::Allowed(reason.into()));
        for namespace in ["", "b", "a-b"] {
            let verdict = policy.authorize(&bot, namespace, &ask("update", "configmaps"));
            assert_eq!(verdict, Verdict::NoOpinion(String::new()), "{namespace}");
        }
    }

    #[test]
    fn a_service_account_of_the_same_name_elsewhere_is_another() {
        let policy = policy();
        for name in ["system:serviceaccount:b:bot", "system:serviceaccount:a:bot2", "bot", "system:serviceaccount:a"] {
            let who = Who { name, groups: &[] };
            let verdict = policy.authorize(&who, "a", &ask("update", "configmaps"));
            assert_eq!(verdict, Verdict::NoOpinion(String::new()), "{name}");
        }
    }

    #[test]
    fn a_binding_to_a_role_that_is_not_there_gives_nothing_and_says_so() {
        let mut policy = policy();
        let user = json!({"kind": "User", "name": "u"});
        policy.set_cluster_binding("x", Some(binding("", "x", ("ClusterRole", "gone"), user)));
        let who = Who { name: "u", groups: &[] };
        let message = r#"RBAC: clusterrole.rbac.authorization.k8s.io "gone" not found"#;
        assert_eq!(policy.authorize(&who, "", &ask("get", "pods")), Verdict::NoOpinion(message.into()));
        policy.set_cluster_binding("x", None);
        assert_eq!(policy.authorize(&who, "", &ask("get", "pods")), Verdict::NoOpinion(String::new()));
    }

    #[test]
    fn nobody_grants_what_they_do_not_have() {
        let policy = policy();
        let groups = ["viewers".to_owned(), "system:authenticated".to_owned()];
        let viewer = Who { name: "u", groups: &groups };
        assert_eq!(policy.confirm_no_escalation(&viewer, "", &rules("pods", &["list"])), Ok(()));
        let message = policy.confirm_no_escalation(&viewer, "", &rules("pods", &["list", "delete"])).unwrap_err();
        assert_eq!(
            message,
            "user \"u\" (groups=[\"viewers\" \"system:authenticated\"]) is attempting to grant RBAC permissions not \
             currently held:\n{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"delete\"]}"
        );
    }
}
