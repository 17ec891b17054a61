//! Paths that are no resources and that other parts of the server answer: `/.well-known/openid-configuration`,
//! `/openid/v1/jwks`.

use std::collections::BTreeMap;

use apimachinery::status::ApiError;
use apimachinery::tenant::TenantId;
use async_trait::async_trait;
use axum::body::Body;
use http::Response;

/// Something that answers GET at a path.
#[async_trait]
pub trait Page: Send + Sync + 'static {
    /// The answer for a tenant.
    ///
    /// # Errors
    /// What becomes a `Status`.
    async fn page(&self, tenant: TenantId) -> Result<Response<Body>, ApiError>;
}

/// Pages by their paths.
#[derive(Default)]
pub struct Paths(BTreeMap<&'static str, Box<dyn Page>>);

impl Paths {
    /// Registers what answers at a path, which begins with `/` and does not end with one.
    pub fn add(&mut self, path: &'static str, page: impl Page) -> &mut Self {
        self.0.insert(path, Box::new(page));
        self
    }

    pub(crate) fn get(&self, path: &str) -> Option<&dyn Page> {
        self.0.get(path).map(Box::as_ref)
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.0.keys().copied()
    }
}
