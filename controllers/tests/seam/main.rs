//! The tenant seam in both its forms to one server in this process, and the controllers over both.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, unreachable_pub)]

mod suite;
mod world;

use serde_json::json;
use suite::{controllers_work, follows, reads_and_writes};
use tenant_client::{Event, TenantClient};
use world::World;

#[tokio::test]
async fn in_process_reads_and_writes() {
    reads_and_writes(&World::start().local(), "rw").await;
}

#[tokio::test]
async fn remote_reads_and_writes() {
    reads_and_writes(&World::start().remote(), "rw").await;
}

#[tokio::test]
async fn in_process_follows() {
    follows(&World::start().local(), "follow").await;
}

#[tokio::test]
async fn remote_follows() {
    follows(&World::start().remote(), "follow").await;
}

#[tokio::test]
async fn controllers_work_in_process() {
    controllers_work(&World::start().local(), "shop").await;
}

#[tokio::test]
async fn controllers_work_remotely() {
    controllers_work(&World::start().remote(), "shop").await;
}

/// What happens while the server is away is told when it is back, whether its history still has it or not.
#[tokio::test]
async fn remote_misses_nothing_while_the_server_is_away() {
    let world = World::start();
    let (seam, local) = (world.remote(), world.local());
    local.create("", "namespaces/away", json!({})).await.unwrap();
    local.create("away", "configmaps/doomed", json!({})).await.unwrap();
    let mut followed = seam.follow().await;
    for lose_history in [false, true] {
        world.disconnect();
        assert_eq!(seam.get("away", "configmaps/doomed").await.unwrap_err().code, 503);
        local.create("away", "configmaps/made", json!({})).await.unwrap();
        local.delete("away", "configmaps/doomed", Default::default()).await.unwrap();
        if lose_history {
            world.forget_history().await;
        }
        world.connect();
        let (gone, made) = if lose_history {
            let gone = followed.next("configmaps/doomed").await;
            (gone, followed.next("configmaps/made").await)
        } else {
            let made = followed.next("configmaps/made").await;
            (followed.next("configmaps/doomed").await, made)
        };
        assert!(gone.new.is_none() && gone.old.is_some() && made.old.is_none());
        local.delete("away", "configmaps/made", Default::default()).await.unwrap();
        assert!(followed.next("configmaps/made").await.new.is_none());
        local.create("away", "configmaps/doomed", json!({})).await.unwrap();
        assert!(followed.next("configmaps/doomed").await.old.is_none());
    }
}

#[tokio::test]
async fn remote_tells_of_tenants_that_come_and_go() {
    let world = World::start();
    let (client, seam) = world.remote_client();
    let mut followed = seam.follow().await.stream;
    client.detach(seam.tenant);
    assert_eq!(client.tenants(), []);
    let detached = async {
        while !followed.next().await.unwrap().iter().any(|e| matches!(e, Event::Detached(t) if *t == seam.tenant)) {}
    };
    tokio::time::timeout(suite::LIMIT, detached).await.expect("the tenant is detached in time");
    assert_eq!(seam.get("", "namespaces/x").await.unwrap_err().code, 503);
}
