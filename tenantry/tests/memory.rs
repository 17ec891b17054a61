//! What an idle virtual cluster costs in memory, counted by the allocator: with everything that does not need a host.

#![allow(missing_docs, clippy::unwrap_used, reason = "a test's helpers may fail it")]

use std::alloc::System;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use apimachinery::gvk::GroupResource;
use apimachinery::tenant::TenantId;
use apiserver_shim::auth::server_parts;
use apiserver_shim::clock::{SharedClock, SystemClock};
use apiserver_shim::server::ApiServer;
use apiserver_shim::tenants::{TenantSpec, Tenants, server_name};
use apiserver_shim::tls::{Acceptor, Listeners, authority};
use cap::Cap;
use controllers::Controllers;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use store::{Embedded, Store};
use tenant_client::{Caller, DeleteOptions, Event, EventStream, Target, TenantClient};
use tenantry::dns::{Resolver, Upstreams};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// A service account and a config map in each of four namespaces, which the controllers make.
const MADE: usize = 8;
/// What a virtual cluster has in which somebody has worked: definitions, owners, and what each of them owns.
const DEFINITIONS: usize = 10;
const OWNERS: usize = 20;
const OWNED: usize = 10;
const ADMIN: Caller = Caller { user: "admin", manager: "test" };

struct World {
    store: Arc<dyn Store>,
    clock: SharedClock,
    tenants: Arc<Tenants>,
    api: ApiServer,
    acceptor: Arc<Acceptor>,
    shared: SocketAddr,
    resolver: Resolver,
    client: Arc<dyn TenantClient>,
    controllers_rest: Box<dyn Fn(TenantId)>,
    changes: Box<dyn EventStream>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl World {
    async fn start() -> Self {
        let store: Arc<dyn Store> = Arc::new(Embedded::in_memory().unwrap());
        let clock: SharedClock = Arc::new(SystemClock);
        let tenants = Tenants::load(Arc::clone(&store), Arc::clone(&clock)).await.unwrap();
        let parts = server_parts(Arc::clone(&store), Arc::clone(&clock), None, Arc::clone(&tenants));
        let api = ApiServer::new(parts);
        let client = api.client(tenants.clone());
        let acceptor = Arc::new(Acceptor::new(Arc::clone(&tenants), Arc::clone(&clock)));
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let listener = TcpListener::bind((LOCAL, 0)).await.unwrap();
        let shared = listener.local_addr().unwrap();
        let listeners = Listeners::new(
            Arc::clone(&acceptor),
            Arc::clone(&tenants),
            api.handler(),
            TaskTracker::new(),
            stop.clone(),
        );
        tasks.spawn(listeners.run(listener, LOCAL));
        let now = Arc::clone(&clock);
        let controllers =
            Controllers::new(client.clone(), move || now.now(), |_| true, &controllers::Config::default());
        let controllers_rest = Box::new(controllers.rest());
        tasks.spawn(controllers.run(stop.clone()));
        let resolver = Resolver::new(client.clone(), "cluster.local".into(), Upstreams::new(&[LOCAL]).unwrap());
        let changes = client.follow();
        Self { store, clock, tenants, api, acceptor, shared, resolver, client, controllers_rest, changes, tasks, stop }
    }

    /// A virtual cluster as the operator makes it, with ports of its own, until its controllers have nothing to do; then
    /// an admin asks it something over TLS.
    async fn create(&mut self, number: u32) {
        let id = id(number);
        let name = format!("cluster-{number}");
        let port = StdListener::bind((LOCAL, 0)).unwrap().local_addr().unwrap().port();
        let mut spec = TenantSpec {
            namespace: "default".into(),
            name,
            port,
            endpoint_ips: vec![[192, 0, 2, 1].into()],
            endpoint_port: port,
            service_cidrs: vec!["10.96.0.0/16".into()],
            options: serde_json::json!({"controllers": "tenantry"}),
            ..TenantSpec::default()
        };
        self.tenants.attach(id, spec.clone()).await.unwrap();
        spec.service_ips = vec![[10, 96, (number >> 8) as u8, number as u8].into()];
        self.tenants.attach(id, spec).await.unwrap();
        self.resolver.serve(id, LOCAL, 0, &self.tasks, self.stop.clone()).await.unwrap();
        let mut made = 0;
        while made < MADE {
            for event in self.changes.next().await.unwrap() {
                if let Event::Change(change) = event {
                    let object = change.object().unwrap();
                    let controllers_own = matches!(
                        (change.resource.resource.as_str(), object.name.as_str()),
                        ("serviceaccounts", "default") | ("configmaps", "kube-root-ca.crt")
                    );
                    made += usize::from(change.old.is_none() && controllers_own);
                }
            }
        }
        assert!(self.get(id, "/api/v1/namespaces/default/services/kubernetes").await.contains("\"clusterIP\""));
    }

    async fn make(&self, tenant: TenantId, resource: &GroupResource, namespace: &str, object: Value) -> Value {
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        let target = Target { tenant, resource, namespace, name: &name, subresource: "" };
        self.client.create(ADMIN, target, object).await.unwrap()
    }

    /// Gives a virtual cluster definitions, and objects with owners: one of the definitions' own is among the owners.
    async fn furnish(&self, id: TenantId) {
        let definitions = GroupResource::new("apiextensions.k8s.io", "customresourcedefinitions");
        for number in 0..DEFINITIONS {
            self.make(id, &definitions, "", definition(number)).await;
        }
        let maps = GroupResource::new("", "configmaps");
        for number in 0..OWNERS {
            let (kind, owners, api) = match number {
                0 => ("Kind0", GroupResource::new("example.com", "kinds0"), "example.com/v1"),
                _ => ("ConfigMap", maps.clone(), "v1"),
            };
            let name = format!("owner-{number}");
            let owner = json!({"apiVersion": api, "kind": kind, "metadata": {"name": name, "namespace": "default"}});
            let owner = self.make(id, &owners, "default", owner).await;
            for dependent in 0..OWNED {
                let owned = json!({
                    "apiVersion": "v1", "kind": "ConfigMap",
                    "metadata": {
                        "name": format!("owned-{number}-{dependent}"), "namespace": "default",
                        "ownerReferences": [
                            {"apiVersion": api, "kind": kind, "name": name, "uid": owner["metadata"]["uid"]},
                        ],
                    },
                    "data": {"number": number.to_string()},
                });
                self.make(id, &maps, "default", owned).await;
            }
        }
    }

    /// What was let go of is there with whoever needs it first: a definition for a request, owners for the collector.
    async fn wakes_with_all_it_had(&mut self, id: TenantId) {
        assert!(self.store.at_rest(id));
        let owners = self.get(id, "/apis/example.com/v1/namespaces/default/kinds0").await;
        assert!(body(&owners).contains("\"owner-0\""), "{owners}");
        self.rest().await;
        assert!(self.store.at_rest(id));
        self.changes = self.client.follow();
        let (custom, maps) = (GroupResource::new("example.com", "kinds0"), GroupResource::new("", "configmaps"));
        for (resource, name) in [(&custom, "owner-0"), (&maps, "owner-1")] {
            let target = Target { tenant: id, resource, namespace: "default", name, subresource: "" };
            self.client.delete(ADMIN, target, DeleteOptions::default()).await.unwrap();
        }
        let mut collected = 0;
        while collected < 2 * OWNED {
            for event in self.changes.next().await.unwrap() {
                let Event::Change(change) = event else { continue };
                let Some(old) = change.old.as_ref().filter(|_| change.new.is_none() && change.tenant == id) else {
                    continue;
                };
                assert!(["owner-0", "owner-1"].contains(&old.name.as_str()) || old.name.starts_with("owned-"));
                collected += usize::from(old.name.starts_with("owned-0-") || old.name.starts_with("owned-1-"));
            }
        }
        assert!(self.get(id, "/api/v1/namespaces/default/configmaps/owned-2-0").await.contains("200 OK"));
    }

    async fn get(&self, id: TenantId, path: &str) -> String {
        let tenant = self.tenants.get(id).unwrap();
        let authority = tenant.authority();
        let issued =
            authority.client("admin", &["system:masters"], authority::CLIENT_LIFETIME, self.clock.now()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(authority.certificate().clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![issued.certificate.clone()], issued.key.into())
            .unwrap();
        let stream = TcpStream::connect(self.shared).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let name = ServerName::try_from(server_name(id)).unwrap();
        let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: tenant\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // The server closes without a word of TLS if it has nothing more to say.
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Takes out of memory all that can go, as the program does, but at once.
    async fn rest(&self) {
        self.settled().await;
        for tenant in self.store.rest(Duration::ZERO).await.tenants {
            self.acceptor.rest(tenant);
            self.api.rest(tenant);
            (self.controllers_rest)(tenant);
        }
    }

    /// Bytes allocated when history has gone and whatever ran has ended.
    async fn settled(&self) -> usize {
        loop {
            let before = ALLOCATOR.allocated();
            self.store.compact(self.store.revision()).await.unwrap();
            for _ in 0..1000 {
                tokio::task::yield_now().await;
            }
            if ALLOCATOR.allocated() >= before {
                return ALLOCATOR.allocated();
            }
        }
    }
}

fn id(number: u32) -> TenantId {
    let mut id = [1; 16];
    id[..4].copy_from_slice(&number.to_le_bytes());
    TenantId::from_bytes(id)
}

/// A definition with a schema of some size.
fn definition(number: usize) -> Value {
    let fields = |of: Value| -> Value { (0..20).map(|n| (format!("field{n}"), of.clone())).collect() };
    let text =
        json!({"type": "string", "maxLength": 63, "description": "Something that a definition describes at length."});
    let inner = json!({"type": "object", "properties": fields(text), "required": ["field0"]});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("kinds{number}.example.com")},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"plural": format!("kinds{number}"), "kind": format!("Kind{number}")},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": {"type": "object", "properties": fields(inner)},
                }}},
            }],
        },
    })
}

/// The body of an answer, and what its list says of itself.
fn body(answer: &str) -> &str {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
    body
}

/// One test: the allocator is the process's.
#[tokio::test]
async fn an_idle_virtual_cluster_stays_within_its_bounds() {
    const CLUSTERS: u32 = 100;
    const IDLE: usize = 40 << 10;
    const AT_REST: usize = 12_000;
    const FURNISHED_AT_REST: usize = 15_000;
    let mut world = World::start().await;
    for number in 0..10 {
        world.create(number).await;
    }
    let before = world.settled().await;
    for number in 0..CLUSTERS {
        world.create(10 + number).await;
    }
    let each = (world.settled().await - before) / CLUSTERS as usize;
    println!("idle virtual cluster: {each} bytes");
    assert!(each <= IDLE, "{each} bytes for an idle virtual cluster");

    const LISTS: [&str; 5] = [
        "/apis/rbac.authorization.k8s.io/v1/clusterroles",
        "/api/v1/configmaps",
        "/api/v1/namespaces",
        "/api/v1/services",
        "/apis/discovery.k8s.io/v1/endpointslices",
    ];
    let someone = id(7);
    let old = world.store.revision();
    world.create(10 + CLUSTERS).await;
    let mut lists = Vec::new();
    for list in LISTS {
        lists.push(world.get(someone, list).await);
    }
    world.rest().await;
    let before = world.settled().await;
    for number in 0..CLUSTERS {
        world.create(20 + CLUSTERS + number).await;
    }
    world.rest().await;
    let each = (world.settled().await - before) / CLUSTERS as usize;
    println!("virtual cluster at rest: {each} bytes");
    assert!(each <= AT_REST, "{each} bytes for a virtual cluster at rest");

    const FURNISHED: u32 = 10;
    for number in 0..FURNISHED {
        world.create(1000 + number).await;
    }
    world.rest().await;
    let before = world.settled().await;
    for number in 0..FURNISHED {
        world.furnish(id(1000 + number)).await;
    }
    let awake = (world.settled().await - before) / FURNISHED as usize;
    world.rest().await;
    let each = (world.settled().await - before) / FURNISHED as usize;
    println!("definitions and owned objects: {awake} bytes; at rest {each} bytes");
    assert!(each <= FURNISHED_AT_REST, "{each} bytes at rest for definitions and owned objects");

    world.wakes_with_all_it_had(id(1000)).await;

    // The first request brings it back, and nothing is different but the revision that a list is from.
    assert!(world.store.at_rest(someone));
    let present = world.store.revision();
    for (list, before) in LISTS.into_iter().zip(&lists) {
        let before: serde_json::Value = serde_json::from_str(body(before)).unwrap();
        let began = Instant::now();
        let after: serde_json::Value = serde_json::from_str(body(&world.get(someone, list).await)).unwrap();
        println!("{list}: {:?}", began.elapsed());
        assert!(!world.store.at_rest(someone));
        assert_eq!(after["items"], before["items"]);
        assert_eq!(after["metadata"]["resourceVersion"], present.to_string());
    }
    // A watch goes on from now; what was before is gone as after any compaction.
    for (from, expired) in [(present, false), (old, true)] {
        let path = format!("/api/v1/configmaps?watch=1&timeoutSeconds=1&resourceVersion={from}");
        assert_eq!(world.get(someone, &path).await.contains("\"code\":410"), expired);
    }
    assert!(world.store.at_rest(id(8)), "woken though nobody asked");
    world.stop.cancel();
}
