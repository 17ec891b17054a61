//! One rule of a role: what it allows, and whether it covers another.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use smol_str::SmolStr;

use crate::field::quote;

type Words = Box<[SmolStr]>;

/// A rule of a role: these verbs on these resources or paths.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PolicyRule {
    /// `verbs`
    pub verbs: Words,
    /// `apiGroups`
    pub api_groups: Words,
    /// `resources`: `pods`, `pods/log`, `*/scale`, `*`
    pub resources: Words,
    /// `resourceNames`; none for all.
    pub resource_names: Words,
    /// `nonResourceURLs`
    pub non_resource_urls: Words,
}

/// What is asked of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// A verb on a resource.
    Resource {
        /// Verb.
        verb: &'a str,
        /// API group.
        group: &'a str,
        /// Plural name.
        resource: &'a str,
        /// Subresource, or empty.
        subresource: &'a str,
        /// Name of the object, or empty.
        name: &'a str,
    },
    /// A method on a path that is no resource.
    Path {
        /// HTTP method in lower case.
        verb: &'a str,
        /// The path.
        path: &'a str,
    },
}

impl PolicyRule {
    /// Reads a rule. What is absent or no list of strings is empty and so allows nothing.
    pub fn from_value(value: &Value) -> Self {
        let words = |key: &str| -> Words {
            let items = value.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            items.iter().filter_map(Value::as_str).map(SmolStr::new).collect()
        };
        Self {
            verbs: words("verbs"),
            api_groups: words("apiGroups"),
            resources: words("resources"),
            resource_names: words("resourceNames"),
            non_resource_urls: words("nonResourceURLs"),
        }
    }

    /// Reads a list of rules.
    pub fn list(value: Option<&Value>) -> Vec<Self> {
        value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default().iter().map(Self::from_value).collect()
    }

    /// Everything on everything, resources and paths.
    pub fn full_authority() -> [Self; 2] {
        let star = || -> Words { Box::new([SmolStr::new_static("*")]) };
        [
            Self { verbs: star(), api_groups: star(), resources: star(), ..Self::default() },
            Self { verbs: star(), non_resource_urls: star(), ..Self::default() },
        ]
    }

    /// Whether the rule allows a request.
    pub fn allows(&self, request: &Request<'_>) -> bool {
        match *request {
            Request::Resource { verb, group, resource, subresource, name } => {
                has_or_star(&self.verbs, verb)
                    && has_or_star(&self.api_groups, group)
                    && self.resources.iter().any(|r| resource_matches(r, resource, subresource))
                    && (self.resource_names.is_empty() || has(&self.resource_names, name))
            }
            Request::Path { verb, path } => {
                has_or_star(&self.verbs, verb) && self.non_resource_urls.iter().any(|u| path_covers(u, path))
            }
        }
    }

    /// The rule as the reviews answer it: empty lists left out, verbs always there.
    pub fn to_value(&self) -> Value {
        let mut out = json!({"verbs": strings(&self.verbs)});
        for (key, words) in [
            ("apiGroups", &self.api_groups),
            ("resources", &self.resources),
            ("resourceNames", &self.resource_names),
            ("nonResourceURLs", &self.non_resource_urls),
        ] {
            if !words.is_empty() {
                out[key] = strings(words);
            }
        }
        out
    }

    /// The rule as refusals show it: `{APIGroups:[""], Resources:["pods"], Verbs:["get" "list"]}`.
    pub fn compact(&self) -> String {
        let parts: Vec<String> = [
            ("APIGroups", &self.api_groups),
            ("Resources", &self.resources),
            ("NonResourceURLs", &self.non_resource_urls),
            ("ResourceNames", &self.resource_names),
            ("Verbs", &self.verbs),
        ]
        .iter()
        .filter(|(_, words)| !words.is_empty())
        .map(|(key, words)| format!("{key}:{}", quote_list(words)))
        .collect();
        format!("{{{}}}", parts.join(", "))
    }

    /// Splits into rules of one verb on one resource, name or path each.
    fn atoms(&self) -> Vec<Self> {
        let one = |w: &SmolStr| -> Words { Box::new([w.clone()]) };
        let mut out = Vec::new();
        for group in &self.api_groups {
            for resource in &self.resources {
                for verb in &self.verbs {
                    let atom =
                        Self { verbs: one(verb), api_groups: one(group), resources: one(resource), ..Self::default() };
                    if self.resource_names.is_empty() {
                        out.push(atom);
                    } else {
                        let named = |n| Self { resource_names: one(n), ..atom.clone() };
                        out.extend(self.resource_names.iter().map(named));
                    }
                }
            }
        }
        for url in &self.non_resource_urls {
            let rule = |verb| Self { verbs: one(verb), non_resource_urls: one(url), ..Self::default() };
            out.extend(self.verbs.iter().map(rule));
        }
        out
    }

    /// Whether this rule allows all that an atom does.
    fn covers(&self, atom: &Self) -> bool {
        atom.verbs.iter().all(|v| has_or_star(&self.verbs, v))
            && atom.api_groups.iter().all(|g| has_or_star(&self.api_groups, g))
            && atom.resources.iter().all(|r| {
                let (resource, subresource) = r.split_once('/').unwrap_or((r, ""));
                self.resources.iter().any(|own| own == r || resource_matches(own, resource, subresource))
            })
            && atom.non_resource_urls.iter().all(|u| self.non_resource_urls.iter().any(|own| path_covers(own, u)))
            && (self.resource_names.is_empty()
                || !atom.resource_names.is_empty() && atom.resource_names.iter().all(|n| has(&self.resource_names, n)))
    }
}

/// What of `wanted` is not covered by `held`: one line for each resource, sorted, as refusals show it; none if all is.
pub fn missing_rights(held: &[PolicyRule], wanted: &[PolicyRule]) -> Vec<String> {
    let mut missing: Vec<PolicyRule> = Vec::new();
    for atom in wanted.iter().flat_map(PolicyRule::atoms) {
        if held.iter().any(|own| own.covers(&atom)) {
            continue;
        }
        let same = |m: &&mut PolicyRule| {
            m.non_resource_urls.is_empty()
                && atom.non_resource_urls.is_empty()
                && m.api_groups == atom.api_groups
                && m.resources == atom.resources
                && m.resource_names == atom.resource_names
        };
        match missing.iter_mut().find(same) {
            Some(m) => m.verbs = m.verbs.iter().chain(atom.verbs.iter()).cloned().collect(),
            None => missing.push(atom),
        }
    }
    missing.iter().map(PolicyRule::compact).collect::<BTreeSet<_>>().into_iter().collect()
}

/// A list of strings as Go's `%q` writes it: `["a" "b"]`.
pub fn quote_list<S: AsRef<str>>(words: &[S]) -> String {
    let quoted: Vec<String> = words.iter().map(|w| quote(w.as_ref())).collect();
    format!("[{}]", quoted.join(" "))
}

fn strings(words: &[SmolStr]) -> Value {
    words.iter().map(|w| Value::String(w.to_string())).collect()
}

fn has(words: &[SmolStr], word: &str) -> bool {
    words.iter().any(|w| w == word)
}

fn has_or_star(words: &[SmolStr], word: &str) -> bool {
    words.iter().any(|w| w == word || w == "*")
}

fn resource_matches(rule: &str, resource: &str, subresource: &str) -> bool {
    match rule.split_once('/') {
        None => rule == "*" || subresource.is_empty() && rule == resource,
        Some((r, s)) => !subresource.is_empty() && s == subresource && (r == "*" || r == resource),
    }
}

/// `*` alone is everything; a trailing `*` is any ending.
fn path_covers(rule: &str, path: &str) -> bool {
    rule == path || rule.ends_with('*') && path.starts_with(rule.trim_end_matches('*'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(groups: &[&str], resources: &[&str], names: &[&str], verbs: &[&str]) -> PolicyRule {
        let words = |w: &[&str]| -> Words { w.iter().map(SmolStr::new).collect() };
        PolicyRule {
            verbs: words(verbs),
            api_groups: words(groups),
            resources: words(resources),
            resource_names: words(names),
            non_resource_urls: Box::default(),
        }
    }

    fn ask<'a>(verb: &'a str, group: &'a str, resource: &'a str, subresource: &'a str, name: &'a str) -> Request<'a> {
        Request::Resource { verb, group, resource, subresource, name }
    }

    #[test]
    fn a_resource_does_not_carry_its_subresources() {
        let pods = rule(&[""], &["pods"], &[], &["get"]);
        assert!(pods.allows(&ask("get", "", "pods", "", "p")));
        assert!(!pods.allows(&ask("get", "", "pods", "log", "p")));
        assert!(!pods.allows(&ask("list", "", "pods", "", "")));
        assert!(!pods.allows(&ask("get", "apps", "pods", "", "p")));
        let log = rule(&[""], &["pods/log"], &[], &["get"]);
        assert!(log.allows(&ask("get", "", "pods", "log", "p")));
        assert!(!log.allows(&ask("get", "", "pods", "", "p")));
        let scale = rule(&["*"], &["*/scale"], &[], &["update"]);
        assert!(scale.allows(&ask("update", "apps", "deployments", "scale", "d")));
        assert!(!scale.allows(&ask("update", "apps", "deployments", "", "d")));
        assert!(rule(&["*"], &["*"], &[], &["*"]).allows(&ask("x", "y", "z", "w", "v")));
    }

    #[test]
    fn names_restrict_and_never_match_a_request_without_one() {
        let named = rule(&[""], &["configmaps"], &["a", "b"], &["get", "list", "create"]);
        assert!(named.allows(&ask("get", "", "configmaps", "", "b")));
        assert!(!named.allows(&ask("get", "", "configmaps", "", "c")));
        assert!(!named.allows(&ask("list", "", "configmaps", "", "")));
        assert!(!named.allows(&ask("create", "", "configmaps", "", "")));
    }

    #[test]
    fn paths_match_exactly_or_by_a_trailing_star() {
        let paths = PolicyRule {
            verbs: Box::new(["get".into()]),
            non_resource_urls: Box::new(["/healthz/*".into(), "/version".into()]),
            ..PolicyRule::default()
        };
        for (path, allowed) in
            [("/healthz/etcd", true), ("/healthz", false), ("/version", true), ("/version/", false), ("/", false)]
        {
            assert_eq!(paths.allows(&Request::Path { verb: "get", path }), allowed, "{path}");
        }
        assert!(!paths.allows(&Request::Path { verb: "post", path: "/version" }));
        assert!(PolicyRule::full_authority()[1].allows(&Request::Path { verb: "put", path: "/x" }));
        assert!(!PolicyRule::full_authority()[0].allows(&Request::Path { verb: "put", path: "/x" }));
    }

    #[test]
    fn what_is_not_held_is_listed_by_resource() {
        let held = [rule(&[""], &["pods"], &[], &["get"]), rule(&["apps"], &["*"], &[], &["*"])];
        let wanted = [
            rule(&[""], &["pods"], &[], &["get", "list", "watch"]),
            rule(&["apps"], &["deployments/scale"], &[], &["update"]),
            rule(&[""], &["secrets"], &["s"], &["get"]),
        ];
        assert_eq!(
            missing_rights(&held, &wanted),
            [
                r#"{APIGroups:[""], Resources:["pods"], Verbs:["list" "watch"]}"#,
                r#"{APIGroups:[""], Resources:["secrets"], ResourceNames:["s"], Verbs:["get"]}"#,
            ]
        );
        assert!(missing_rights(&PolicyRule::full_authority(), &wanted).is_empty());
        assert_eq!(missing_rights(&[rule(&["*"], &["*"], &[], &["*"])], &PolicyRule::full_authority()).len(), 1);
    }

    #[test]
    fn a_right_on_one_name_does_not_cover_all_names() {
        let held = [rule(&[""], &["secrets"], &["a"], &["get"])];
        assert!(missing_rights(&held, &held).is_empty());
        assert_eq!(missing_rights(&held, &[rule(&[""], &["secrets"], &[], &["get"])]).len(), 1);
        assert_eq!(missing_rights(&held, &[rule(&[""], &["secrets"], &["b"], &["get"])]).len(), 1);
        let stars = [rule(&[""], &["*/log"], &[], &["get"])];
        assert!(missing_rights(&stars, &[rule(&[""], &["pods/log"], &[], &["get"])]).is_empty());
        assert_eq!(missing_rights(&stars, &[rule(&[""], &["pods"], &[], &["get"])]).len(), 1);
    }
}
