//! Acting as someone else: `Impersonate-*` headers.
//!
//! Two ways are tried, as a stock server does: first those that limit what may be done as whom (verbs
//! `impersonate:MODE` and `impersonate-on:MODE:VERB`, KEP-5284), then the verb `impersonate` alone. Every part that is
//! asked for (name, uid, each group, each extra) must be allowed.
//!
//! Source: `k8s.io/apiserver/pkg/endpoints/filters/impersonation`.

use std::collections::BTreeMap;

use apimachinery::field::quote;
use apimachinery::status::ApiError;
use apimachinery::tenant::TenantId;
use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;

use super::user::{
    ANONYMOUS, GROUP_AUTHENTICATED, GROUP_MASTERS, GROUP_UNAUTHENTICATED, service_account_groups, service_account_parts,
};
use super::{Attributes, Authorizer, User};

const USER: HeaderName = HeaderName::from_static("impersonate-user");
const UID: HeaderName = HeaderName::from_static("impersonate-uid");
const GROUP: HeaderName = HeaderName::from_static("impersonate-group");
const EXTRA: &str = "impersonate-extra-";
const AUTHENTICATION: &str = "authentication.k8s.io";
const NODE_PREFIX: &str = "system:node:";
const NODE_NAME: &str = "authentication.kubernetes.io/node-name";

/// Whom the headers ask for, as they say it: nothing added. None if they ask for nobody.
///
/// # Errors
/// 400 for groups, uid or extras of nobody, for two users, and for what is no text.
pub fn wanted(headers: &HeaderMap) -> Result<Option<User>, ApiError> {
    let name = single(headers, &USER)?;
    let uid = single(headers, &UID)?;
    let groups = headers.get_all(GROUP).iter().map(text).collect::<Result<Vec<_>, _>>()?;
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (header, value) in headers {
        if let Some(key) = header.as_str().strip_prefix(EXTRA) {
            let decoded = percent_decode_str(key).decode_utf8();
            let key = decoded.map_or_else(|_| key.to_owned(), |k| k.into_owned());
            extra.entry(key).or_default().push(text(value)?);
        }
    }
    let user = User { name, uid, groups, extra };
    if !user.name.is_empty() {
        return Ok(Some(user));
    }
    if user.uid.is_empty() && user.groups.is_empty() && user.extra.is_empty() {
        return Ok(None);
    }
    Err(ApiError::bad_request(format!("requested {} without impersonating a user name", show(&user))))
}

/// The user to go on with: `attributes.user`, or whom the headers ask for if that is allowed.
///
/// # Errors
/// 400 as [`wanted`], 403 when it is not allowed, 503 when that can not be found out.
pub async fn impersonate(
    authorizer: &Authorizer,
    tenant: TenantId,
    headers: &HeaderMap,
    attributes: &Attributes<'_>,
) -> Result<Option<User>, ApiError> {
    let Some(wanted) = wanted(headers)? else { return Ok(None) };
    let check = Check { authorizer, tenant, requestor: attributes.user };
    let mut first = None;
    for mode in Mode::all(&wanted, attributes.user) {
        match check.mode(mode, &wanted, attributes).await {
            Ok(user) => return Ok(Some(user)),
            Err(error) if error.code == 403 => first = first.or(Some(error)),
            Err(error) => return Err(error),
        }
    }
    Err(first.unwrap_or_else(ApiError::unauthorized))
}

/// A way to impersonate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    AssociatedNode,
    ArbitraryNode,
    ServiceAccount,
    UserInfo,
    Legacy,
}

impl Mode {
    /// Those that can be for this user, in the order in which they are tried.
    fn all(wanted: &User, requestor: &User) -> Vec<Self> {
        let name_only = wanted.uid.is_empty() && wanted.groups.is_empty() && wanted.extra.is_empty();
        let mut modes = Vec::new();
        match (node_name(&wanted.name), service_account_parts(&wanted.name)) {
            (Some(node), _) if name_only => {
                let own = requestor.extra.get(NODE_NAME).is_some_and(|n| n.len() == 1 && n[0] == node);
                if own && service_account_parts(&requestor.name).is_some() {
                    modes.push(Self::AssociatedNode);
                }
                modes.push(Self::ArbitraryNode);
            }
            (None, Some(_)) if name_only => modes.push(Self::ServiceAccount),
            (None, None) => modes.push(Self::UserInfo),
            _ => {}
        }
        modes.push(Self::Legacy);
        modes
    }

    fn name(self) -> &'static str {
        match self {
            Self::AssociatedNode => "associated-node",
            Self::ArbitraryNode => "arbitrary-node",
            Self::ServiceAccount => "serviceaccount",
            Self::UserInfo => "user-info",
            Self::Legacy => "",
        }
    }
}

struct Check<'a> {
    authorizer: &'a Authorizer,
    tenant: TenantId,
    requestor: &'a User,
}

impl Check<'_> {
    async fn mode(&self, mode: Mode, wanted: &User, attributes: &Attributes<'_>) -> Result<User, ApiError> {
        let constrained = mode != Mode::Legacy;
        let verb = if constrained { format!("impersonate:{}", mode.name()) } else { "impersonate".to_owned() };
        if constrained {
            let on = format!("impersonate-on:{}:{}", mode.name(), attributes.verb);
            self.allowed(&Attributes { verb: &on, ..*attributes }).await?;
        }
        // Users and groups are in the core group for the old verb and in the review group for the new ones.
        let group = if constrained { AUTHENTICATION } else { "" };
        let mut user = wanted.clone();
        let mut who = Attributes { name: &wanted.name, ..self.ask(&verb, group, "users") };
        if let Some(node) = node_name(&wanted.name).filter(|_| constrained) {
            who.resource = "nodes";
            who.name = if mode == Mode::AssociatedNode { "*" } else { node };
            user.groups = vec!["system:nodes".to_owned()];
        } else if let Some((namespace, name)) = service_account_parts(&wanted.name) {
            who.resource = "serviceaccounts";
            who.namespace = namespace;
            who.name = name;
            if wanted.groups.is_empty() {
                user.groups = service_account_groups(namespace);
            }
        }
        self.allowed(&who).await?;
        if !wanted.uid.is_empty() {
            self.allowed(&Attributes { name: &wanted.uid, ..self.ask(&verb, AUTHENTICATION, "uids") }).await?;
        }
        self.groups(&verb, group, &wanted.groups, constrained).await?;
        self.extra(&verb, &wanted.extra, constrained).await?;
        if user.name == ANONYMOUS {
            ensure(&mut user.groups, GROUP_UNAUTHENTICATED);
        } else if !user.in_group(GROUP_UNAUTHENTICATED) {
            ensure(&mut user.groups, GROUP_AUTHENTICATED);
        }
        Ok(user)
    }

    async fn groups(&self, verb: &str, group: &str, wanted: &[String], constrained: bool) -> Result<(), ApiError> {
        let ask = self.ask(verb, group, "groups");
        if constrained && wanted.iter().any(String::is_empty) {
            return Err(ask.forbidden("impersonating the empty string group is not allowed"));
        }
        if constrained && wanted.iter().any(|g| g == GROUP_MASTERS) {
            let ask = Attributes { name: GROUP_MASTERS, ..ask };
            return Err(ask.forbidden("impersonating the system:masters group is not allowed"));
        }
        for name in wanted {
            self.allowed(&Attributes { name, ..ask }).await?;
        }
        Ok(())
    }

    async fn extra(
        &self,
        verb: &str,
        wanted: &BTreeMap<String, Vec<String>>,
        constrained: bool,
    ) -> Result<(), ApiError> {
        let ask = self.ask(verb, AUTHENTICATION, "userextras");
        for (subresource, values) in wanted {
            if constrained && (subresource.is_empty() || !subresource.contains('/')) {
                let why = "impersonating an invalid key in extra is not allowed: must be a domain-prefixed path (such as \"acme.io/foo\")";
                return Err(ask.forbidden(why));
            }
            if constrained && values.iter().any(String::is_empty) {
                return Err(ask.forbidden("impersonating the empty string value in extra is not allowed"));
            }
            for name in values {
                self.allowed(&Attributes { subresource, name, ..ask }).await?;
            }
        }
        Ok(())
    }

    fn ask<'b>(&'b self, verb: &'b str, group: &'b str, resource: &'b str) -> Attributes<'b> {
        Attributes { version: "v1", ..Attributes::resource(self.requestor, verb, group, resource) }
    }

    async fn allowed(&self, attributes: &Attributes<'_>) -> Result<(), ApiError> {
        let authorized = self.authorizer.authorize(self.tenant, attributes).await?;
        if authorized.allowed() { Ok(()) } else { Err(attributes.forbidden(&authorized.reason)) }
    }
}

fn node_name(user: &str) -> Option<&str> {
    let label = |l: &str| {
        let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        !l.is_empty() && l.bytes().all(inner) && !l.starts_with('-') && !l.ends_with('-')
    };
    user.strip_prefix(NODE_PREFIX).filter(|n| n.len() <= 253 && n.split('.').all(label))
}

fn ensure(groups: &mut Vec<String>, group: &str) {
    if !groups.iter().any(|g| g == group) {
        groups.push(group.to_owned());
    }
}

fn single(headers: &HeaderMap, name: &HeaderName) -> Result<String, ApiError> {
    let mut values = headers.get_all(name).iter();
    let first = values.next().map(text).transpose()?.unwrap_or_default();
    match values.next() {
        None => Ok(first),
        Some(_) => Err(ApiError::bad_request(format!("more than one {name} header"))),
    }
}

fn text(value: &HeaderValue) -> Result<String, ApiError> {
    std::str::from_utf8(value.as_bytes())
        .map(str::to_owned)
        .map_err(|_| ApiError::bad_request("an impersonation header is not UTF-8"))
}

/// A user as the stock server's message shows it.
fn show(user: &User) -> String {
    let list = |words: &[String]| {
        let quoted: Vec<String> = words.iter().map(|w| quote(w)).collect();
        format!("{{{}}}", quoted.join(", "))
    };
    let groups =
        if user.groups.is_empty() { "[]string(nil)".to_owned() } else { format!("[]string{}", list(&user.groups)) };
    let extra = if user.extra.is_empty() {
        "map[string][]string(nil)".to_owned()
    } else {
        let entries: Vec<String> =
            user.extra.iter().map(|(k, v)| format!("{}:[]string{}", quote(k), list(v))).collect();
        format!("map[string][]string{{{}}}", entries.join(", "))
    };
    format!("&user.DefaultInfo{{Name:{}, UID:{}, Groups:{groups}, Extra:{extra}}}", quote(&user.name), quote(&user.uid))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut out = HeaderMap::new();
        for (name, value) in pairs {
            out.append(*name, HeaderValue::from_static(value));
        }
        out
    }

    #[test]
    fn headers_say_whom() {
        assert_eq!(wanted(&headers(&[("x-remote-user", "admin"), ("impersonate_user", "admin")])), Ok(None));
        let user = wanted(&headers(&[
            ("impersonate-user", "bob"),
            ("impersonate-group", "a"),
            ("impersonate-group", "b"),
            ("impersonate-extra-acme.io%2fscope", "x"),
        ]));
        let user = user.unwrap().unwrap();
        assert_eq!((user.name.as_str(), user.groups.join(",")), ("bob", "a,b".to_owned()));
        assert_eq!(user.extra["acme.io/scope"], ["x"]);
    }

    #[test]
    fn nobody_in_a_group_and_two_users_are_refused() {
        let error = wanted(&headers(&[("impersonate-group", "g")])).unwrap_err();
        assert_eq!(
            (error.code, error.message.as_str()),
            (
                400,
                "requested &user.DefaultInfo{Name:\"\", UID:\"\", Groups:[]string{\"g\"}, \
                 Extra:map[string][]string(nil)} without impersonating a user name"
            )
        );
        let two = headers(&[("impersonate-user", "a"), ("impersonate-user", "b")]);
        assert_eq!(wanted(&two).unwrap_err().code, 400);
    }

    #[test]
    fn nodes_and_service_accounts_are_not_users_like_others() {
        let user = |name: &str| User { name: name.into(), ..User::default() };
        let nobody = User::default();
        assert_eq!(Mode::all(&user("bob"), &nobody), [Mode::UserInfo, Mode::Legacy]);
        assert_eq!(Mode::all(&user("system:node:n1"), &nobody), [Mode::ArbitraryNode, Mode::Legacy]);
        let account = user("system:serviceaccount:a:b");
        assert_eq!(Mode::all(&account, &nobody), [Mode::ServiceAccount, Mode::Legacy]);
        let mut agent = account;
        agent.extra.insert(NODE_NAME.into(), vec!["n1".into()]);
        let modes = Mode::all(&user("system:node:n1"), &agent);
        assert_eq!(modes, [Mode::AssociatedNode, Mode::ArbitraryNode, Mode::Legacy]);
    }
}
