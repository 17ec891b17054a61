//! Restores with etcd as the store: the same ones, and what only etcd does. They start etcd: `make test` runs them with the tests of
//! the store in etcd.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use apimachinery::envelope::Stored;
use apimachinery::tenant::TenantId;
use apiserver_shim::tenants::ReplaceError;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use store::{Etcd, EtcdOptions, Plain, Store};
use tempfile::TempDir;
use tokio::net::TcpSocket;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use crate::replace::{MAPS, all, clients_see_changes, cut_off, map, maps, refused_changes_nothing};
use crate::world::{A, B, Client, World};

/// Time for what a loaded machine has to do.
const LIMIT: Duration = Duration::from_secs(60);

/// One member. It is killed when this is dropped.
struct Server {
    client: u16,
    peer: u16,
    // While these are held nobody gets the ports but who says that it shares them (`SO_REUSEPORT`).
    _ports: [TcpSocket; 2],
    folder: TempDir,
    process: Option<Child>,
}

impl Server {
    fn start() -> Self {
        let ports = [port(), port()];
        let [client, peer] = [0, 1].map(|i: usize| ports[i].local_addr().unwrap().port());
        let mut server = Self { client, peer, _ports: ports, folder: tempfile::tempdir().unwrap(), process: None };
        server.run();
        server
    }

    fn run(&mut self) {
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let (client, peer) = (url(self.client), url(self.peer));
        let program = program();
        let mut command = Command::new(&program);
        command
            .args(["--name=m", "--socket-reuse-port", "--log-level=error", "--unsafe-no-fsync"])
            .arg(format!("--data-dir={}", self.folder.path().display()))
            .args([format!("--listen-client-urls={client}"), format!("--advertise-client-urls={client}")])
            .args([format!("--listen-peer-urls={peer}"), format!("--initial-advertise-peer-urls={peer}")])
            .arg(format!("--initial-cluster=m={peer}"));
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        self.process = Some(child.unwrap_or_else(|e| {
            panic!("cannot run {}: {e}; start a local host with `make host-up`", program.display())
        }));
    }

    /// As `kill -9` does it.
    fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    async fn open(&self) -> Arc<dyn Store> {
        let endpoints = vec![format!("http://127.0.0.1:{}", self.client)];
        let options = EtcdOptions { endpoints, prefix: "/tenantry".to_owned(), tls: None };
        let mut last = None;
        for _ in 0..6 {
            match Etcd::open(options.clone()).await {
                Ok(store) => return Arc::new(store),
                Err(error) => last = Some(error),
            }
        }
        panic!("{last:?}");
    }

    async fn world(&self) -> World {
        World::on(self.open().await).await.two().await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn port() -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseport(true).unwrap();
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    socket
}

/// `TENANTRY_ETCD` if it is set, else etcd of the host cluster.
fn program() -> PathBuf {
    if let Some(program) = std::env::var_os("TENANTRY_ETCD") {
        return program.into();
    }
    let run = std::env::var_os("TENANTRY_RUN")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../.run"), PathBuf::from);
    run.join("bin/etcd")
}

#[tokio::test]
#[ignore = "needs etcd: e2e/test runs it"]
async fn a_restore_is_the_same() {
    let server = Server::start();
    let world = server.world().await;
    refused_changes_nothing(&world).await;
    assert_eq!(world.admin(A).send("DELETE", &format!("{MAPS}/mine"), None).await.0, 200);
    clients_see_changes(&world).await;
}

#[tokio::test]
#[ignore = "needs etcd: e2e/test runs it"]
async fn one_that_is_cut_off_is_done_whole_or_not_at_all() {
    let server = Server::start();
    let mut world = server.world().await;
    // Many commits are under way at a time: a store that is closed has the answers to all of them.
    cut_off(&mut world, 7, async |world| {
        world.store.close().await;
        world.store = server.open().await;
    })
    .await;
}

/// What a tenant has, and so many maps more.
async fn filled(world: &World, client: &Client, data: &str, count: usize) -> Vec<Plain> {
    map(client, "model", data).await;
    let (mut models, mut wanted): (Vec<Plain>, Vec<Plain>) =
        all(world.store.as_ref(), A).await.into_iter().partition(|(_, name, _)| name == "default/model");
    assert_eq!(client.send("DELETE", &format!("{MAPS}/model"), None).await.0, 200);
    let (collection, _, model) = models.pop().unwrap();
    let model = Stored::from_bytes(model).unwrap();
    let mut object = model.to_value(None, 0).unwrap();
    for i in 0..count {
        object["metadata"]["name"] = json!(i.to_string());
        object["metadata"]["uid"] = json!(Uuid::new_v4().to_string());
        let value = Stored::encode(model.version(), &object, &[]).unwrap().as_bytes().clone();
        wanted.push((collection.clone(), format!("default/{i}").into(), value));
    }
    wanted
}

#[tokio::test]
#[ignore = "needs etcd: e2e/test runs it"]
async fn what_etcd_does_not_take_is_refused_and_what_it_takes_comes_while_it_is_compacted() {
    let server = Server::start();
    let world = server.world().await;
    let a = world.admin(A);
    map(&a, "mine", "1").await;
    let before = all(world.store.as_ref(), A).await;
    let mut random = StdRng::seed_from_u64(1);
    // It is compressed before etcd measures it.
    let noise: String = (0..4 << 20).map(|_| random.random_range('#'..='Z')).collect();
    let mut large = before.clone();
    large.extend((0..600).map(|i| ("configmaps".into(), format!("default/{i}").into(), before[0].2.clone())));
    large.push(("configmaps".into(), "default/large".into(), noise.into()));
    let refused = world.tenants.replace(A, |_| Ok::<_, Infallible>(large)).await.unwrap_err();
    let said = apimachinery::error::chain(&refused);
    assert!(matches!(refused, ReplaceError::Stage(_)) && said.contains("--max-request-bytes"), "{said}");
    assert_eq!(all(world.store.as_ref(), A).await, before);
    assert_eq!(world.store.tenants().await.unwrap(), [TenantId::SYSTEM, A, B], "nothing is left over");

    let wanted = filled(&world, &a, "many", 2000).await;
    let compacting = async {
        loop {
            world.store.compact(world.store.revision()).await.unwrap();
            sleep(Duration::from_millis(5)).await;
        }
    };
    let made = wanted.clone();
    tokio::select! {
        () = compacting => {}
        done = world.tenants.replace(A, |_| Ok::<_, Infallible>(made)) => assert!(done.unwrap() >= 2000),
    }
    let mut wanted = wanted;
    wanted.sort_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)));
    assert!(all(world.store.as_ref(), A).await == wanted);
    assert_eq!(maps(&world.admin(A)).await.len(), 2001, "with the one from before");
}

/// etcd ends while a restore is under way and comes back: the virtual cluster is served again without a restart of the server, with
/// all of it or with nothing of it, and what it is told then stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs etcd: e2e/test runs it"]
async fn etcd_is_killed_meanwhile() {
    let mut server = Server::start();
    let world = server.world().await;
    let a = world.admin(A);
    let count = 1000;
    let sets = [filled(&world, &a, "first", count).await, filled(&world, &a, "second", count).await];
    world.tenants.replace(A, |_| Ok::<_, Infallible>(sets[0].clone())).await.unwrap();
    let (mut at, mut done) = (0, BTreeMap::<bool, usize>::new());
    // While all is staged, when it is, and while it is put in place.
    for writes in [100, sets[0].len() as u64 - 1, sets[0].len() as u64 + 2, sets[0].len() as u64 + 200] {
        let end = world.store.revision() + writes;
        let tenants = Arc::clone(&world.tenants);
        let wanted = sets[1 - at].clone();
        let replacing = tokio::spawn(async move { tenants.replace(A, |_| Ok::<_, Infallible>(wanted)).await });
        while world.store.revision() < end && !replacing.is_finished() {
            tokio::task::yield_now().await;
        }
        server.kill();
        assert!(!replacing.is_finished());
        while world.store.health().is_ok() {
            sleep(Duration::from_millis(10)).await;
        }
        server.run();
        let replaced = timeout(LIMIT, replacing).await.expect("it is completed when etcd is back").unwrap();
        let data = |at: usize| if at == 0 { "first" } else { "second" };
        if replaced.is_ok() {
            at = 1 - at;
        }
        *done.entry(replaced.is_ok()).or_default() += 1;
        let a = world.admin(A);
        let found = maps(&a).await;
        let wrong = found.iter().find(|(_, is)| *is != data(at));
        assert!(found.len() == count && wrong.is_none(), "{} {wrong:?} {replaced:?}", found.len());
        // What a tenant is acknowledged after that is there after the next start.
        let changed =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "0"}, "data": {"is": "late"}});
        assert_eq!(a.send("PUT", &format!("{MAPS}/0"), Some(changed)).await.0, 200);
        let again = World::on(server.open().await).await;
        assert_eq!(maps(&again.admin(A)).await["0"], "late", "{replaced:?}");
        assert_eq!(again.store.tenants().await.unwrap(), [TenantId::SYSTEM, A, B], "nothing is left over");
        let back =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "0"}, "data": {"is": data(at)}});
        assert_eq!(a.send("PUT", &format!("{MAPS}/0"), Some(back)).await.0, 200);
    }
    assert!(done.len() == 2, "of both kinds: {done:?}");
}
