//! A server in this process with one tenant and without identity: whoever asks may do everything. Other crates' tests and the example
//! `open` take this file by its path, so that no such thing is part of the library.

#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used)]

use std::sync::Arc;

use apimachinery::status::ApiError;
use apimachinery::tenant::TenantId;
use apiserver_shim::access::{Access, Entry, Origin};
use apiserver_shim::auth::{Attributes, Authorized, User};
use apiserver_shim::client::Served;
use apiserver_shim::clock::SystemClock;
use apiserver_shim::server::{ApiServer, Parts};
use async_trait::async_trait;
use http::HeaderMap;
use store::Embedded;
use tokio::sync::watch;

pub const TENANT: TenantId = TenantId::from_bytes([1; 16]);

struct Everyone;

#[async_trait]
impl Access for Everyone {
    fn enter(&self, _: TenantId) -> Result<Entry, ApiError> {
        Ok(Entry::default())
    }

    async fn identify(&self, _: &Origin, _: &HeaderMap, _: &Attributes<'_>) -> Result<User, ApiError> {
        Ok(User::internal("admin"))
    }

    async fn authorize(&self, _: TenantId, _: &Attributes<'_>) -> Result<Authorized, ApiError> {
        Ok(Authorized::allow("everyone may do everything"))
    }
}

/// A server and the store below it.
pub fn server() -> (ApiServer, Arc<Embedded>) {
    let store = Arc::new(Embedded::in_memory().unwrap());
    (ApiServer::new(Parts::new(store.clone(), Arc::new(SystemClock), None, Arc::new(Everyone))), store)
}

/// [`TENANT`] is served, for ever, and no other.
pub struct OneTenant(watch::Sender<u64>);

impl Default for OneTenant {
    fn default() -> Self {
        Self(watch::Sender::new(0))
    }
}

impl Served for OneTenant {
    fn ids(&self) -> Vec<TenantId> {
        vec![TENANT]
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.0.subscribe()
    }
}
