//! The authorizer: roles and bindings of each tenant, as the store has them now.
//!
//! A tenant that sends requests has its roles and bindings decoded in memory. At each question the change log is asked
//! whether any of the four collections was written since, so a change holds from the next request on; tenants that send
//! nothing cost nothing. The number of tenants held is bounded, those not heard of for longest go first.

use std::collections::HashMap;
use std::sync::Arc;

use apimachinery::envelope::Stored;
use apimachinery::rbac::{Binding, Policy, Request, Verdict, Who};
use apimachinery::status::ApiError;
use apimachinery::tenant::TenantId;
use bytes::Bytes;
use parking_lot::Mutex;
use smol_str::SmolStr;
use store::{CollectionId, Cursor, RangeQuery, Scope, Store, StoreError};

use super::objects::unavailable;
use super::user::GROUP_MASTERS;
use super::{Attributes, Authorized, User};
use crate::tenants::bootstrap::role_rules;

/// How many tenants' policies are held (some 30 KB each while they have only the bootstrap roles).
const POLICIES: usize = 512;
/// How often a policy is read anew before a question fails, when it is written faster than it can be read.
const READS: usize = 3;
const CLUSTER_ROLES: &str = "rbac.authorization.k8s.io/clusterroles";
const ROLES: &str = "rbac.authorization.k8s.io/roles";
const CLUSTER_BINDINGS: &str = "rbac.authorization.k8s.io/clusterrolebindings";
const BINDINGS: &str = "rbac.authorization.k8s.io/rolebindings";
const COLLECTIONS: [&str; 4] = [CLUSTER_ROLES, ROLES, CLUSTER_BINDINGS, BINDINGS];

/// A tenant's policy and the cursors that say what changed since it was read.
struct Held {
    policy: Arc<Policy>,
    cursors: Vec<Box<dyn Cursor>>,
    used: u64,
}

#[derive(Default)]
struct Cache {
    by_tenant: HashMap<TenantId, Held>,
    uses: u64,
}

/// Decides by RBAC. `system:masters` may do anything.
///
/// There is no Node authorizer: kubelets do not speak to a tenant's API, the syncer stands for all of them.
pub struct Authorizer {
    store: Arc<dyn Store>,
    cache: Mutex<Cache>,
}

impl Authorizer {
    /// An authorizer over the objects in a store.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, cache: Mutex::default() }
    }

    /// Decides whether what is asked may be done.
    ///
    /// # Errors
    /// 503 when the roles can not be read: nothing is allowed then, except to `system:masters`.
    pub async fn authorize(&self, tenant: TenantId, attributes: &Attributes<'_>) -> Result<Authorized, ApiError> {
        if attributes.user.in_group(GROUP_MASTERS) {
            return Ok(Authorized::allow(""));
        }
        let policy = self.policy(tenant).await?;
        let verdict = policy.authorize(&who(attributes.user), attributes.namespace, &request(attributes));
        Ok(match verdict {
            Verdict::Allowed(reason) => Authorized::allow(reason),
            Verdict::NoOpinion(reason) => Authorized::no_opinion(reason),
        })
    }

    /// A tenant's roles and bindings, as they are now.
    ///
    /// # Errors
    /// 503 when they can not be read.
    pub async fn policy(&self, tenant: TenantId) -> Result<Arc<Policy>, ApiError> {
        for _ in 0..READS {
            if let Some(policy) = self.held(tenant) {
                return Ok(policy);
            }
            match self.read(tenant).await {
                Ok(held) => self.hold(tenant, held),
                Err(StoreError::Compacted { .. }) => {}
                Err(error) => return Err(unavailable(&error)),
            }
        }
        Err(ApiError::unavailable("roles change faster than they can be read").with_retry_after(1))
    }

    /// Lets go of a tenant that nobody asks anything of. Its policy is read anew when somebody does.
    pub fn forget(&self, tenant: TenantId) {
        self.cache.lock().by_tenant.remove(&tenant);
    }

    /// The policy that is held, with all that was written since; none if it must be read anew.
    fn held(&self, tenant: TenantId) -> Option<Arc<Policy>> {
        let mut cache = self.cache.lock();
        cache.uses += 1;
        let used = cache.uses;
        let held = cache.by_tenant.get_mut(&tenant)?;
        held.used = used;
        for cursor in &mut held.cursors {
            match cursor.poll_now() {
                Ok(changes) => {
                    for change in changes {
                        let policy = Arc::make_mut(&mut held.policy);
                        put(policy, &change.key.collection.name, &change.key.name, change.value.as_ref());
                    }
                }
                Err(_) => {
                    cache.by_tenant.remove(&tenant);
                    return None;
                }
            }
        }
        Some(Arc::clone(&held.policy))
    }

    async fn read(&self, tenant: TenantId) -> Result<Held, StoreError> {
        let mut policy = Policy::default();
        let mut cursors = Vec::with_capacity(COLLECTIONS.len());
        for name in COLLECTIONS {
            let collection = CollectionId { tenant, name: SmolStr::new_static(name) };
            let range = self.store.range(&collection, RangeQuery::default()).await?;
            for record in range.records {
                put(&mut policy, name, &record.name, Some(&record.value));
            }
            cursors.push(self.store.follow(Scope::Collection(collection), range.revision)?);
        }
        Ok(Held { policy: Arc::new(policy), cursors, used: 0 })
    }

    fn hold(&self, tenant: TenantId, held: Held) {
        let mut cache = self.cache.lock();
        if cache.by_tenant.len() >= POLICIES && !cache.by_tenant.contains_key(&tenant) {
            let oldest = cache.by_tenant.iter().min_by_key(|(_, h)| h.used).map(|(id, _)| *id);
            oldest.and_then(|id| cache.by_tenant.remove(&id));
        }
        cache.by_tenant.insert(tenant, held);
    }
}

impl std::fmt::Debug for Authorizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authorizer").finish_non_exhaustive()
    }
}

/// A user as RBAC sees it.
pub(crate) fn who(user: &User) -> Who<'_> {
    Who { name: &user.name, groups: &user.groups }
}

fn request<'a>(attributes: &Attributes<'a>) -> Request<'a> {
    if attributes.is_resource {
        Request::Resource {
            verb: attributes.verb,
            group: attributes.group,
            resource: attributes.resource,
            subresource: attributes.subresource,
            name: attributes.name,
        }
    } else {
        Request::Path { verb: attributes.verb, path: attributes.path }
    }
}

/// Puts a record into a policy, or takes it out. What can not be decoded gives no rights.
fn put(policy: &mut Policy, collection: &str, name: &str, value: Option<&Bytes>) {
    let binding = || {
        let stored = Stored::from_bytes(value?.clone()).ok()?;
        Some(Binding::from_value(&stored.to_value(None, 0).ok()?))
    };
    match collection {
        CLUSTER_ROLES => policy.set_cluster_role(name, value.and_then(role_rules)),
        ROLES => policy.set_role(name, value.and_then(role_rules)),
        CLUSTER_BINDINGS => policy.set_cluster_binding(name, binding()),
        BINDINGS => policy.set_binding(name, binding()),
        _ => {}
    }
}
