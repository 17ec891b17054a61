//! Users as the API knows them: names in groups.

use std::collections::BTreeMap;

/// Everyone whose credentials were recognised.
pub const GROUP_AUTHENTICATED: &str = "system:authenticated";
/// Everyone else.
pub const GROUP_UNAUTHENTICATED: &str = "system:unauthenticated";
/// Those who may do anything.
pub const GROUP_MASTERS: &str = "system:masters";
/// All service accounts; `system:serviceaccounts:NAMESPACE` are those of a namespace.
pub const GROUP_SERVICE_ACCOUNTS: &str = "system:serviceaccounts";
/// Who shows no credentials.
pub const ANONYMOUS: &str = "system:anonymous";
const SERVICE_ACCOUNT_PREFIX: &str = "system:serviceaccount:";

/// An authenticated user of one virtual cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// Name that tells users apart.
    pub name: String,
    /// What tells a user from one who had the name before; often empty.
    pub uid: String,
    /// Groups the user is in, in the order the authenticator found them.
    pub groups: Vec<String>,
    /// More that the authenticator knows, by key.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl User {
    /// The user of a request without credentials.
    pub fn anonymous() -> Self {
        Self { name: ANONYMOUS.to_owned(), groups: vec![GROUP_UNAUTHENTICATED.to_owned()], ..Self::default() }
    }

    /// A part of the server itself (a controller, the syncer) acting in a virtual cluster.
    pub fn internal(name: &str) -> Self {
        let mut user = Self { name: name.to_owned(), ..Self::default() };
        user.groups.push(GROUP_MASTERS.to_owned());
        user.groups.push(GROUP_AUTHENTICATED.to_owned());
        user
    }

    /// A service account with its groups, `system:authenticated` not among them.
    pub fn service_account(namespace: &str, name: &str, uid: &str) -> Self {
        Self {
            name: service_account_name(namespace, name),
            uid: uid.to_owned(),
            groups: service_account_groups(namespace),
            extra: BTreeMap::new(),
        }
    }

    /// Whether the user is in a group.
    pub fn in_group(&self, group: &str) -> bool {
        self.groups.iter().any(|g| g == group)
    }
}

/// `system:serviceaccount:NAMESPACE:NAME`
pub fn service_account_name(namespace: &str, name: &str) -> String {
    format!("{SERVICE_ACCOUNT_PREFIX}{namespace}:{name}")
}

/// The groups of the service accounts in a namespace.
pub fn service_account_groups(namespace: &str) -> Vec<String> {
    vec![GROUP_SERVICE_ACCOUNTS.to_owned(), format!("{GROUP_SERVICE_ACCOUNTS}:{namespace}")]
}

/// Namespace and name, if a user name is a well-formed service account's.
pub fn service_account_parts(user: &str) -> Option<(&str, &str)> {
    let (namespace, name) = user.strip_prefix(SERVICE_ACCOUNT_PREFIX)?.split_once(':')?;
    (!namespace.is_empty() && !name.is_empty() && !name.contains(':')).then_some((namespace, name))
}
