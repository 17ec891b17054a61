//! Whom the slow scan looks at. Who is not looked at stays out of memory if it is.

use prometheus_client::registry::Registry;
use serde_json::json;
use tenant_client::Change;
use tenant_client::remote::RemoteClient;
use tokio::time::timeout;

use super::*;
use crate::config::TenantSettings;
use crate::marks::Mark;
use crate::names;
use crate::watch::seen;

const SECONDS: u64 = 300;

fn tenant(number: u8) -> TenantId {
    TenantId::from_bytes([number; 16])
}

/// A syncer of six tenants; nobody is asked for anything.
fn syncer() -> Syncer {
    let host = kube::Client::try_from(kube::Config::new("http://127.0.0.1:1".parse().unwrap())).unwrap();
    let directory = Arc::new(Directory::default());
    for number in 1..=6 {
        let settings = TenantSettings {
            name: format!("vc{number}"),
            api_address: "10.0.0.1".to_owned(),
            api_port: 443,
            dns_address: None,
            cluster_domain: "cluster.local".to_owned(),
            policy: Arc::default(),
        };
        directory.set(tenant(number), settings);
    }
    let config = Config { scan_seconds: SECONDS, ..Config::default() };
    let (metrics, bridge) = (Metrics::register(&mut Registry::default()), HostBridge::new());
    Syncer::new(Arc::new(RemoteClient::new()), host, directory, config, metrics, &bridge)
}

/// Who is scanned in three intervals; other items are passed over.
async fn scanned(context: &Context) -> Vec<TenantId> {
    let mut found = Vec::new();
    let end = Instant::now() + Duration::from_secs(3 * SECONDS);
    while let Ok((tenant, item, _)) = timeout(end - Instant::now(), context.queue.next()).await {
        context.queue.done(tenant, &item, None);
        found.extend((item.room == SCAN).then_some(tenant));
    }
    found.sort_unstable();
    found
}

#[tokio::test(start_paused = true)]
async fn the_slow_scan_looks_where_something_happened_and_nowhere_else() {
    let syncer = syncer();
    let context = &syncer.context;
    let _scan = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(scan_all(Arc::clone(context))));
    assert_eq!(scanned(context).await, []);

    // A tenant writes something that no room looks at; of another one an object of ours changes on the host.
    let resource = Arc::new(GroupResource::new("example.org", "things"));
    let written = Change { tenant: tenant(2), resource, old: None, new: None, revision: 5 };
    route(context, &syncer.rooms, &Event::Change(Arc::new(written)));
    let room = syncer.rooms.find("services").unwrap();
    let (mut labels, mut annotations) = (serde_json::Map::new(), serde_json::Map::new());
    let mark = Mark {
        tenant: tenant(3),
        resource: "services".to_owned(),
        namespace: "default".to_owned(),
        name: "web".to_owned(),
        uid: "1".to_owned(),
    };
    mark.write("vc3", &mut labels, &mut annotations);
    let namespace = names::host_namespace(tenant(3), "vc3", "default");
    let metadata = json!({"name": "web", "namespace": namespace, "labels": labels, "annotations": annotations});
    seen(context, room.as_ref(), room.watching().unwrap(), json!({"metadata": metadata}));
    // A sync that did not end is not over; one that did is.
    let (failed, ended) = (Item::new("pods", "default", "a"), Item::new("pods", "default", "b"));
    let away = Err(SyncError::Wait("a test", Duration::from_secs(1)));
    syncer.finish(tenant(4), &failed, Instant::now(), Some(away), &mut JoinSet::new());
    syncer.finish(tenant(5), &ended, Instant::now(), Some(Ok(())), &mut JoinSet::new());
    assert_eq!(scanned(context).await, [tenant(2), tenant(3), tenant(4)]);
    assert_eq!(scanned(context).await, [], "looked at again though nothing happened since");

    // What happens while others wait for their turn is not lost.
    context.touched.add(tenant(1));
    tokio::time::sleep(Duration::from_secs(SECONDS + SECONDS / 2)).await;
    context.touched.add(tenant(6));
    context.touched.add(tenant(1));
    assert_eq!(scanned(context).await, [tenant(1), tenant(1), tenant(6)]);
}
