//! The remote form of the tenant seam against a stock kube-apiserver, and the controllers over it.
//!
//! The programs are those that the host cluster was built from (`.run/bin`). The servers are the test's own, as a host has
//! a controller manager already.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, unreachable_pub)]

mod server;
#[path = "../seam/suite.rs"]
mod suite;

use server::Server;
use suite::{controllers_work, follows, reads_and_writes};

#[tokio::test]
async fn the_seam_and_the_controllers_work_on_a_stock_kube_apiserver() {
    let server = Server::start().await;
    let seam = server.seam();
    reads_and_writes(&seam, "rw").await;
    follows(&seam, "follow").await;
    controllers_work(&seam, "shop").await;
}
