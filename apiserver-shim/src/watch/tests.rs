//! Long replays, step by step.

use apimachinery::builtin;
use apimachinery::envelope::Stored;
use apimachinery::gvk::GroupResource;
use apimachinery::table::Include;
use apimachinery::tenant::TenantId;
use serde_json::json;
use store::{Embedded, Precondition, Write};

use super::*;
use crate::auth::User;
use crate::clock::SystemClock;
use crate::encode::Encoder;
use crate::negotiate::Accepted;
use crate::registry::place;
use crate::resources::{Catalog, Found};

const TENANT: TenantId = TenantId::from_bytes([1; 16]);

struct World {
    registry: Arc<Registry>,
    frames: Arc<Frames>,
}

impl World {
    fn new() -> Self {
        let store = Arc::new(Embedded::in_memory().unwrap());
        let registry = Registry::new(store, Arc::new(Catalog::default()), Arc::new(SystemClock), None);
        Self { registry: Arc::new(registry), frames: Arc::default() }
    }

    fn resource() -> GroupResource {
        GroupResource::new("", "configmaps")
    }

    async fn write(&self, namespace: &str, name: &str) {
        let uid = uuid::Uuid::new_v4();
        let object = json!({"metadata": {"name": name, "namespace": namespace, "uid": uid.to_string()}});
        let value = Some(Stored::encode("v1", &object, &[]).unwrap().as_bytes().clone());
        let key = place::key(TENANT, &Self::resource(), namespace, name);
        self.registry.store().commit(vec![Write { key, value, require: Precondition::None }]).await.unwrap();
    }

    /// A watcher of a namespace from a revision on.
    async fn source(&self, namespace: &str, from: u64) -> Source {
        let found = Found::built_in(builtin::resource("", "v1", "configmaps").unwrap());
        let now = jiff::Timestamp::UNIX_EPOCH;
        let mut call = Call::new(TENANT, User::internal("test"), found.clone(), now);
        call.namespace = namespace.to_owned();
        let query = ListQuery { resource_version: from.to_string(), ..ListQuery::default() };
        let encoder = WatchEncoder::new(Encoder::new(Accepted::json(), found, Include::default(), now));
        Source::begin(Arc::clone(&self.registry), Arc::clone(&self.frames), call, query, encoder).await.unwrap()
    }
}

fn events(frame: Option<Bytes>) -> usize {
    frame.unwrap().iter().filter(|b| **b == b'\n').count()
}

#[tokio::test]
async fn a_long_replay_gives_way_to_others() {
    const WRITES: usize = 20_000;
    let world = World::new();
    world.write("others", "first").await;
    let from = world.registry.store().revision();
    for i in 0..WRITES {
        world.write("others", &format!("object-{}", i % 10)).await;
    }
    world.write("mine", "last").await;
    let mut source = world.source("mine", from).await;
    let replay = tokio::spawn(async move { events(source.next().await) });
    // This task and the replay share one thread: each turn here is one that the replay gave.
    let mut turns = 0;
    while !replay.is_finished() {
        tokio::task::yield_now().await;
        turns += 1;
    }
    assert_eq!(replay.await.unwrap(), 1);
    assert!(turns >= WRITES / 2048, "{turns} turns while {WRITES} writes were looked at");
}

#[tokio::test]
async fn a_long_replay_of_own_events_comes_in_frames_of_bounded_size() {
    let world = World::new();
    world.write("mine", "first").await;
    let from = world.registry.store().revision();
    for i in 0..2000 {
        world.write("mine", &format!("object-{}", i % 10)).await;
    }
    let mut source = world.source("mine", from).await;
    let (mut came, mut frames) = (0, 0);
    while came < 2000 {
        let frame = source.next().await;
        assert!(frame.as_ref().unwrap().len() < 72 * 1024);
        came += events(frame);
        frames += 1;
    }
    assert!(frames > 4, "{frames} frames");
}
