//! Puts identity into a server: who is this, may they, and what they may ask about themselves.

use std::sync::Arc;

use store::Store;
use tenant_client::host::Host;

use super::escalate::RoleGuard;
use super::{Authenticator, Authorizer, oidc, reviews};
use crate::access::TenantAccess;
use crate::clock::SharedClock;
use crate::pages::Paths;
use crate::registry::Registry;
use crate::resources::Catalog;
use crate::server::Parts;
use crate::special::Posts;
use crate::tenants::Tenants;

/// The parts of a server whose users are known by their tenant's certificates and tokens and whose rights are RBAC's.
pub fn server_parts(
    store: Arc<dyn Store>,
    clock: SharedClock,
    host: Option<Arc<dyn Host>>,
    tenants: Arc<Tenants>,
) -> Parts {
    let authenticator = Arc::new(Authenticator::new(Arc::clone(&store), Arc::clone(&clock)));
    let authorizer = Arc::new(Authorizer::new(Arc::clone(&store)));
    let mut registry = Registry::new(store, Arc::new(Catalog::default()), Arc::clone(&clock), host);
    registry.add_admission(vec![Box::new(RoleGuard::new(Arc::clone(&authorizer)))]);
    let mut paths = Paths::default();
    oidc::register(&mut paths, &tenants);
    let mut posts = Posts::default();
    reviews::register(&mut posts, Arc::clone(&tenants), Arc::clone(&authenticator), Arc::clone(&authorizer), clock);
    let access = Arc::new(TenantAccess::new(tenants, authenticator, authorizer));
    Parts { registry: Arc::new(registry), access, posts, paths, metrics: Arc::default() }
}
