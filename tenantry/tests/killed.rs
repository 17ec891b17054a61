//! The program itself, while it restores a virtual cluster: killed at any moment, and with a full disk. It runs without a host cluster.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "a test's helpers may fail it")]

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use apimachinery::envelope::Stored;
use apimachinery::tenant::TenantId;
use apiserver_shim::clock::SystemClock;
use apiserver_shim::tenants::{TenantSpec, Tenants};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client};
use serde_json::json;
use store::{CollectionId, Embedded, Key, Options, Precondition, RangeQuery, Store, Write};
use tempfile::TempDir;
use tenantry::config::Config;
use tokio::net::TcpSocket;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

const A: TenantId = TenantId::from_bytes([0xa; 16]);
const B: TenantId = TenantId::from_bytes([0xb; 16]);
/// Objects of a backup: enough that a restore takes a while.
const OBJECTS: usize = 2000;
/// How often something is tried, at most, until all that can happen has happened.
const TRIES: u32 = 60;
/// With how many sizes of a disk.
const FULL: u32 = 6;
/// Time for what a loaded machine has to do.
const LIMIT: Duration = Duration::from_secs(60);

type Maps = BTreeMap<String, String>;

/// The program on a store of two virtual clusters, with two backups of the first one.
struct World {
    folder: TempDir,
    ports: [TcpSocket; 2],
    process: Option<Child>,
    a: Api<ConfigMap>,
    b: Api<ConfigMap>,
    /// What the backups have.
    sets: [Maps; 2],
}

/// Objects of a backup.
fn set(of: usize) -> Maps {
    let first = of * OBJECTS / 2;
    (first..first + OBJECTS).map(|i| (format!("m-{i}"), format!("{of}"))).collect()
}

fn key(name: &str) -> Key {
    let collection = CollectionId { tenant: A, name: "configmaps".into() };
    Key { collection, name: format!("default/{name}").into() }
}

fn value(name: &str, data: &str) -> bytes::Bytes {
    let uid = Uuid::from_u128(name.bytes().fold(7, |sum, byte| sum * 256 + u128::from(byte)));
    let metadata = json!({"name": name, "namespace": "default", "uid": uid.to_string()});
    let map = json!({"metadata": metadata, "data": {"is": data, "more": "x".repeat(300)}});
    Stored::encode("v1", &map, &[]).unwrap().as_bytes().clone()
}

async fn commit_all(store: &dyn Store, maps: &Maps, put: bool) {
    let write = |(name, data): (&String, &String)| {
        let value = put.then(|| value(name, data));
        store.commit(vec![Write { key: key(name), value, require: Precondition::None }])
    };
    futures::future::try_join_all(maps.iter().map(write)).await.unwrap();
}

/// A port that is held until it is dropped, outside of those that belong to tenants.
fn shared_port() -> TcpSocket {
    let of_tenants = Config::default().ports;
    let mut passed_over = Vec::new();
    loop {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let port = socket.local_addr().unwrap().port();
        if port < of_tenants.first || port - of_tenants.first >= of_tenants.count {
            return socket;
        }
        passed_over.push(socket);
    }
}

async fn client(kubeconfig: &str) -> Api<ConfigMap> {
    let kubeconfig = Kubeconfig::from_yaml(kubeconfig).unwrap();
    let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    config.read_timeout = Some(Duration::from_secs(10));
    // 503 is an answer here, and for some servers the only one until they are started again.
    config.default_retry = false;
    Api::namespaced(Client::try_from(config).unwrap(), "default")
}

impl World {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ports = [shared_port(), shared_port()];
        let sets = [set(0), set(1)];
        let store: Arc<dyn Store> = Arc::new(Embedded::open(&folder.path().join("store"), Options::default()).unwrap());
        let tenants = Tenants::load(Arc::clone(&store), Arc::new(SystemClock)).await.unwrap();
        let server = format!("https://{}", ports[0].local_addr().unwrap());
        let mut clients = Vec::new();
        for (id, name) in [(A, "shop"), (B, "other")] {
            let spec = TenantSpec { namespace: "team-a".into(), name: name.into(), ..TenantSpec::default() };
            tenants.attach(id, spec).await.unwrap();
            clients.push(client(&tenants.kubeconfig(id, &server).unwrap()).await);
        }
        for (of, set) in sets.iter().enumerate() {
            commit_all(store.as_ref(), set, true).await;
            let file = File::create(folder.path().join(format!("{of}.backup"))).unwrap();
            store.backup(None, Box::new(file)).await.unwrap();
            commit_all(store.as_ref(), set, of == 1).await;
        }
        store.close().await;
        drop((tenants, store));
        let host = json!({"apiVersion": "v1", "kind": "Config", "current-context": "away",
            "contexts": [{"name": "away", "context": {"cluster": "away", "user": "away"}}],
            "clusters": [{"name": "away", "cluster": {"server": "https://127.0.0.1:1"}}],
            "users": [{"name": "away", "user": {"token": "x"}}]});
        std::fs::write(folder.path().join("host.yaml"), host.to_string()).unwrap();
        let [a, b] = clients.try_into().unwrap_or_else(|_| panic!("two"));
        Self { folder, ports, process: None, a, b, sets }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts the program.
    fn run(&mut self) {
        let log = File::options().create(true).append(true).open(self.path("log")).unwrap();
        // A file that may not grow is told by an error then and not by a signal, as on a full disk.
        let script = "trap '' XFSZ; exec \"$0\" \"$@\"";
        let mut command = Command::new("sh");
        command.arg("-c").arg(script).arg(env!("CARGO_BIN_EXE_tenantry")).arg("server");
        command.arg("--store-path").arg(self.path("store")).arg("--host-kubeconfig").arg(self.path("host.yaml"));
        for (flag, port) in ["--api-listen", "--ops-listen"].iter().zip(&self.ports) {
            command.arg(flag).arg(port.local_addr().unwrap().to_string());
        }
        command.args(["--host-address", "127.0.0.1", "--log-level", "warn"]);
        let child = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        self.process = Some(child);
    }

    /// As `kill -9` does it.
    fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Begins a restore of one of the backups.
    fn restore(&self, of: usize) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tenantry"));
        command.args(["restore", "--virtual-cluster", "team-a/shop", "--replace"]);
        command.arg("--store-path").arg(self.path("store")).arg("--from").arg(self.path(&format!("{of}.backup")));
        command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// All objects of the first virtual cluster, from its server.
    async fn maps(&self) -> kube::Result<Maps> {
        let found = self.a.list(&ListParams::default()).await?;
        let entry = |map: ConfigMap| Some((map.metadata.name?, map.data?.remove("is")?));
        Ok(found.into_iter().filter_map(entry).collect())
    }

    /// The same, as soon as it is served.
    async fn maps_served(&mut self) -> Maps {
        let end = Instant::now() + LIMIT;
        loop {
            match self.maps().await {
                Ok(maps) => return maps,
                Err(error) if Instant::now() > end => panic!("{error}\n{}", self.log()),
                Err(_) => sleep(Duration::from_millis(20)).await,
            }
            self.still_runs();
        }
    }

    async fn other_served(&mut self) {
        let end = Instant::now() + LIMIT;
        while let Err(error) = self.b.list(&ListParams::default()).await {
            assert!(Instant::now() < end, "{error}\n{}", self.log());
            self.still_runs();
            sleep(Duration::from_millis(20)).await;
        }
    }

    fn still_runs(&mut self) {
        let ended = self.process.as_mut().and_then(|process| process.try_wait().unwrap());
        assert!(ended.is_none(), "{}", self.log());
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap()
    }

    /// Which backup a virtual cluster has all of and nothing else.
    fn which(&self, maps: &Maps) -> Option<usize> {
        self.sets.iter().position(|set| set == maps)
    }

    /// What lies in the store while no server has it: whether something is staged, and the objects.
    async fn look(&self) -> (bool, Maps) {
        let store = open(&self.path("store"));
        let staged = store.tenants().await.unwrap() != [TenantId::SYSTEM, A, B];
        let query = RangeQuery { prefix: "default/m-".into(), ..RangeQuery::default() };
        let found = store.range(&key("").collection, query).await.unwrap();
        let mut maps = Maps::new();
        for record in found.records {
            let map = Stored::from_bytes(record.value).unwrap().to_value(None, 0).unwrap();
            let text = |place: &str| map.pointer(place).and_then(serde_json::Value::as_str).unwrap().to_owned();
            maps.insert(text("/metadata/name"), text("/data/is"));
        }
        store.close().await;
        (staged, maps)
    }

    async fn nothing_is_left_over(mut self) {
        self.kill();
        let store = open(&self.path("store"));
        assert_eq!(store.tenants().await.unwrap(), [TenantId::SYSTEM, A, B]);
        let own = store.collections(TenantId::SYSTEM).await.unwrap();
        assert!(!own.iter().any(|name| name == "staged"), "{own:?}");
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.kill();
    }
}

fn open(path: &Path) -> Embedded {
    Embedded::open(path, Options::default()).unwrap()
}

/// One who writes numbers to the other virtual cluster, each a greater one: what was acknowledged, and what was tried.
#[derive(Default)]
struct Writer {
    tried: AtomicU64,
    acknowledged: AtomicU64,
    stop: AtomicBool,
}

impl Writer {
    async fn run(self: Arc<Self>, maps: Api<ConfigMap>) {
        while !self.stop.load(Ordering::SeqCst) {
            let number = self.tried.fetch_add(1, Ordering::SeqCst) + 1;
            let patch = Patch::Merge(json!({"data": {"number": number.to_string()}}));
            match timeout(Duration::from_secs(10), maps.patch("count", &PatchParams::default(), &patch)).await {
                Ok(Ok(_)) => self.acknowledged.store(number, Ordering::SeqCst),
                _ => sleep(Duration::from_millis(10)).await,
            }
        }
    }

    async fn check(&self, maps: &Api<ConfigMap>) {
        let acknowledged = self.acknowledged.load(Ordering::SeqCst);
        let found: u64 = maps.get("count").await.unwrap().data.unwrap()["number"].parse().unwrap();
        let tried = self.tried.load(Ordering::SeqCst);
        assert!((acknowledged..=tried).contains(&found), "{acknowledged}..={tried}, and {found} is there");
    }
}

fn count_map() -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": "count"}, "data": {"number": "0"}})).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_in_a_restore_has_all_of_it_or_nothing() {
    let mut world = World::start().await;
    world.run();
    assert_eq!(world.maps_served().await, world.sets[1]);
    world.b.create(&PostParams::default(), &count_map()).await.unwrap();
    let writer = Arc::new(Writer::default());
    let writing = tokio::spawn(Arc::clone(&writer).run(world.b.clone()));

    let begun = Instant::now();
    let done = world.restore(0).wait_with_output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let whole = begun.elapsed();
    assert_eq!(world.maps_served().await, world.sets[0]);

    // At how many kills nothing was staged, all was as before, objects were of both, all was there.
    let (mut has, mut early, mut before, mut between, mut after) = (0, 0, 0, 0, 0);
    for attempt in 0..TRIES {
        let mut restore = world.restore(1 - has);
        sleep(whole.mul_f64(f64::from(attempt * 7 % 20) / 16.0)).await;
        world.kill();
        let _ = restore.wait();
        let (staged, found) = world.look().await;
        *(match world.which(&found) {
            None => &mut between,
            Some(of) if of != has => &mut after,
            Some(_) if staged => &mut before,
            Some(_) => &mut early,
        }) += 1;
        world.run();
        let now = world.maps_served().await;
        let of = world.which(&now).unwrap_or_else(|| panic!("{} objects of both\n{}", now.len(), world.log()));
        assert!(staged || world.which(&found) == Some(of), "what was whole stays");
        assert!(world.which(&found).is_some() || of != has, "what was begun is completed");
        has = of;
        writer.check(&world.b).await;
        if before > 1 && between > 1 && after > 0 && attempt > 8 {
            break;
        }
    }
    writer.stop.store(true, Ordering::SeqCst);
    writing.await.unwrap();
    writer.check(&world.b).await;
    world.nothing_is_left_over().await;
    assert!(before > 0 && between > 0, "{early} early, {before} before, {between} between, {after} after");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_a_restore_or_has_it_completed_when_there_is_room() {
    let mut world = World::start().await;
    let (mut has, mut refused, mut begun) = (1, 0, 0);
    for attempt in 0..FULL {
        world.run();
        assert_eq!(world.maps_served().await, world.sets[has]);
        // How far files have been written differs from one attempt to the other, and so does what fails.
        let limit = 4096 + u64::from(attempt) * (1 << 20);
        let pid = world.process.as_ref().unwrap().id().to_string();
        assert!(
            Command::new("prlimit").args([&format!("--fsize={limit}:"), "--pid", &pid]).status().unwrap().success()
        );
        let done = world.restore(1 - has).wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        // Whatever became of it: all others are read.
        world.other_served().await;
        let half_way = said.contains("half-way");
        match world.maps().await {
            Ok(maps) if done.status.success() => assert_eq!(maps, world.sets[1 - has]),
            Ok(maps) => assert!(maps == world.sets[has] && said.contains("File too large"), "{said}\n{}", world.log()),
            Err(kube::Error::Api(error)) => assert!(error.code == 503 && half_way, "{error} {said}"),
            Err(error) => panic!("{error} {said}"),
        }
        world.kill();
        world.run();
        let now = world.maps_served().await;
        let of = world.which(&now).unwrap_or_else(|| panic!("{} objects of both\n{said}", now.len()));
        if done.status.success() {
            assert!(of != has);
        } else if said.contains("answers 503 until") {
            begun += 1;
            assert!(of != has, "what was begun is completed: {said}");
        } else {
            refused += 1;
            assert!(of == has || half_way, "what was refused is not done: {said}");
        }
        has = of;
        // There is room again.
        let room = ConfigMap {
            metadata: ObjectMeta { name: Some(format!("room-{attempt}")), ..ObjectMeta::default() },
            ..ConfigMap::default()
        };
        world.b.create(&PostParams::default(), &room).await.unwrap();
        world.kill();
    }
    world.nothing_is_left_over().await;
    assert!(refused > 0, "{refused} refused, {begun} begun");
}
