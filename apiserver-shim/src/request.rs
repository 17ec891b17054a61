//! What a request is about, read from its method, path and query alone.
//!
//! Source: `k8s.io/apiserver/pkg/endpoints/request/requestinfo.go`.

use apimachinery::gvk::{GroupResource, GroupVersionResource};
use percent_encoding::percent_decode_str;

use crate::auth::{Attributes, User};

/// What a request is about. Strings that do not apply are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestInfo {
    /// Whether this is about a resource below `/api` or `/apis`.
    pub is_resource: bool,
    /// The path, percent-decoded.
    pub path: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`, `proxy`; for what is no
    /// resource the method in lower case. Empty for methods that resources do not know.
    pub verb: String,
    /// API group; empty for the core group.
    pub group: String,
    /// API version.
    pub version: String,
    /// Namespace; for `namespaces/x` itself that is `x` too.
    pub namespace: String,
    /// Plural name of the resource.
    pub resource: String,
    /// First path segment behind the name.
    pub subresource: String,
    /// Name of the object; of a list or watch, the one that its field selector asks for.
    pub name: String,
    /// What follows the subresource, joined by `/`, as `proxy` wants it.
    pub rest: String,
    /// Whether the name comes from the path, not from a field selector.
    pub named_by_path: bool,
    /// `fieldSelector`, where authorizers may look at it.
    pub field_selector: String,
    /// `labelSelector`, likewise.
    pub label_selector: String,
    /// Whether the verb was a path prefix (`/api/v1/watch/...`).
    pub verb_by_path: bool,
    /// How many segments the path has from the resource on.
    pub depth: usize,
}

/// The path names a verb by prefix and nothing behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unable to determine kind and namespace from url")]
pub struct MalformedPath;

impl RequestInfo {
    /// Reads a request. `path` and `query` are as they came, percent-encoded.
    ///
    /// # Errors
    /// [`MalformedPath`]
    pub fn parse(method: &str, path: &str, query: &Query) -> Result<Self, MalformedPath> {
        let path = percent_decode_str(path).decode_utf8_lossy().into_owned();
        let mut info = Self { verb: method.to_ascii_lowercase(), ..Self::default() };
        let trimmed = path.trim_matches('/');
        let segments: Vec<&str> = if trimmed.is_empty() { Vec::new() } else { trimmed.split('/').collect() };
        let mut parts = segments.as_slice();
        let core = parts.first() == Some(&"api");
        let least = if core { 3 } else { 4 };
        if parts.len() < least || !(core || parts[0] == "apis") {
            info.path = path;
            return Ok(info);
        }
        if !core {
            info.group = parts[1].to_owned();
            parts = &parts[1..];
        }
        info.is_resource = true;
        info.version = parts[1].to_owned();
        parts = &parts[2..];
        if matches!(parts[0], "proxy" | "watch") {
            if parts.len() < 2 {
                return Err(MalformedPath);
            }
            info.verb = parts[0].to_owned();
            info.verb_by_path = true;
            parts = &parts[1..];
        } else {
            info.verb = match method {
                "POST" => "create",
                "GET" | "HEAD" => "get",
                "PUT" => "update",
                "PATCH" => "patch",
                "DELETE" => "delete",
                _ => "",
            }
            .to_owned();
        }
        if parts[0] == "namespaces" && parts.len() > 1 {
            info.namespace = parts[1].to_owned();
            if parts.len() > 2 && !matches!(parts[2], "status" | "finalize") {
                parts = &parts[2..];
            }
        }
        info.depth = parts.len();
        info.resource = parts[0].to_owned();
        if parts.len() >= 2 {
            info.name = parts[1].to_owned();
            info.named_by_path = true;
        }
        if parts.len() >= 3 && info.verb != "proxy" {
            info.subresource = parts[2].to_owned();
        }
        info.rest = parts.get(3..).unwrap_or_default().join("/");
        if info.name.is_empty() && info.verb == "get" {
            let watch = query.get("watch").is_some_and(is_true);
            info.verb = if watch { "watch" } else { "list" }.to_owned();
            if let Some(name) = query.get("fieldSelector").and_then(exact_name) {
                info.name = name.to_owned();
            }
        }
        if info.name.is_empty() && info.verb == "delete" {
            info.verb = "deletecollection".to_owned();
        }
        if !info.verb_by_path && matches!(info.verb.as_str(), "list" | "watch" | "deletecollection") {
            info.field_selector = query.get("fieldSelector").unwrap_or_default().to_owned();
            info.label_selector = query.get("labelSelector").unwrap_or_default().to_owned();
        }
        info.path = path;
        Ok(info)
    }

    /// Group, version and plural.
    pub fn gvr(&self) -> GroupVersionResource {
        GroupVersionResource::new(self.group.as_str(), self.version.as_str(), self.resource.as_str())
    }

    /// Group and plural.
    pub fn group_resource(&self) -> GroupResource {
        GroupResource::new(self.group.as_str(), self.resource.as_str())
    }

    /// What the authorizer is asked.
    pub fn attributes<'a>(&'a self, user: &'a User) -> Attributes<'a> {
        Attributes {
            user,
            verb: &self.verb,
            is_resource: self.is_resource,
            group: &self.group,
            version: &self.version,
            resource: &self.resource,
            subresource: &self.subresource,
            namespace: &self.namespace,
            name: &self.name,
            path: &self.path,
            field_selector: &self.field_selector,
            label_selector: &self.label_selector,
        }
    }

    /// Whether a request of this verb may go on for long: it has no deadline.
    pub fn is_long_running(&self) -> bool {
        matches!(self.verb.as_str(), "watch" | "proxy")
            || matches!(self.subresource.as_str(), "attach" | "exec" | "proxy" | "log" | "portforward")
    }
}

/// The query of a request: decoded pairs in their order. Keys may repeat.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Decodes a query string (without `?`).
    pub fn parse(raw: &str) -> Self {
        let decode = |s: &str| percent_decode_str(&s.replace('+', " ")).decode_utf8_lossy().into_owned();
        Self(
            raw.split('&')
                .filter(|pair| !pair.is_empty())
                .map(|pair| {
                    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (decode(key), decode(value))
                })
                .collect(),
        )
    }

    /// The first value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// All values of a key.
    pub fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(k, _)| k == key).map(|(_, v)| v.as_str())
    }
}

/// How the stock server reads booleans of a query: anything but `false` and `0` is true, also nothing at all.
pub fn is_true(value: &str) -> bool {
    !matches!(value.to_ascii_lowercase().as_str(), "false" | "0")
}

/// The name that a field selector demands, if it demands one.
fn exact_name(selector: &str) -> Option<&str> {
    let name = selector.split(',').find_map(|term| {
        let (key, value) = term.split_once('=')?;
        (key == "metadata.name").then(|| value.strip_prefix('=').unwrap_or(value))
    })?;
    (!name.is_empty() && name != "." && name != ".." && !name.contains(['/', '%'])).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(method: &str, target: &str) -> RequestInfo {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        RequestInfo::parse(method, path, &Query::parse(query)).unwrap()
    }

    #[test]
    fn paths_are_read_as_the_stock_server_reads_them() {
        // method, target -> resource?, verb, group, version, namespace, resource, subresource, name
        for (method, target, want) in [
            ("GET", "/api/v1/namespaces", "list||v1||namespaces||"),
            ("GET", "/api/v1/namespaces/other", "get||v1|other|namespaces||other"),
            ("GET", "/api/v1/namespaces/other/pods", "list||v1|other|pods||"),
            ("HEAD", "/api/v1/namespaces/other/pods/foo", "get||v1|other|pods||foo"),
            ("GET", "/api/v1/pods", "list||v1||pods||"),
            ("GET", "/api/v1/pods?watch=true", "watch||v1||pods||"),
            ("GET", "/api/v1/pods?watch=0", "list||v1||pods||"),
            ("GET", "/api/v1/pods?fieldSelector=metadata.name%3Dx", "list||v1||pods||x"),
            ("GET", "/api/v1/watch/namespaces/other/pods/p", "watch||v1|other|pods||p"),
            ("PUT", "/api/v1/namespaces/x/finalize", "update||v1|x|namespaces|finalize|x"),
            ("PUT", "/api/v1/namespaces/x/status", "update||v1|x|namespaces|status|x"),
            ("PATCH", "/apis/apps/v1/namespaces/n/deployments/d/scale", "patch|apps|v1|n|deployments|scale|d"),
            ("DELETE", "/apis/apps/v1/namespaces/n/deployments", "deletecollection|apps|v1|n|deployments||"),
            ("DELETE", "/api/v1/nodes/n", "delete||v1||nodes||n"),
            ("POST", "/api/v1/namespaces/n/pods", "create||v1|n|pods||"),
            ("BREW", "/api/v1/pods", "||v1||pods||"),
        ] {
            let i = parse(method, target);
            assert!(i.is_resource, "{target}");
            let got = [i.verb, i.group, i.version, i.namespace, i.resource, i.subresource, i.name].join("|");
            assert_eq!(got, want, "{method} {target}");
        }
        for target in ["/", "/api", "/api/v1", "/apis/apps/v1", "/healthz/ping", "/openapi/v3/apis/apps/v1"] {
            let i = parse("GET", target);
            assert!(!i.is_resource && i.verb == "get", "{target}");
        }
        assert_eq!(RequestInfo::parse("GET", "/api/v1/watch", &Query::default()), Err(MalformedPath));
    }

    #[test]
    fn what_follows_a_subresource_is_kept_for_proxies() {
        let i = parse("GET", "/api/v1/namespaces/n/services/https:web:443/proxy/a/b");
        assert_eq!((i.name.as_str(), i.subresource.as_str(), i.rest.as_str()), ("https:web:443", "proxy", "a/b"));
        assert!(i.is_long_running());
    }
}
