//! A server with tenants on ports of its own choice, and a client that speaks to it over TLS.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use apimachinery::tenant::TenantId;
use apiserver_shim::auth::server_parts;
use apiserver_shim::clock::Clock;
use apiserver_shim::server::ApiServer;
use apiserver_shim::tenants::{Tenant, TenantSpec, Tenants, server_name};
use apiserver_shim::tls::{Acceptor, Authority, Listeners};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use parking_lot::Mutex;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use store::{Embedded, Store};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub const A: TenantId = TenantId::from_bytes([0xa; 16]);
pub const B: TenantId = TenantId::from_bytes([0xb; 16]);

/// A clock that tests turn.
pub struct TestClock(Mutex<Timestamp>);

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        *self.0.lock()
    }
}

impl TestClock {
    pub fn advance(&self, by: Duration) {
        let mut now = self.0.lock();
        *now += by;
    }
}

pub struct World {
    pub store: Arc<dyn Store>,
    pub clock: Arc<TestClock>,
    pub tenants: Arc<Tenants>,
    pub acceptor: Arc<Acceptor>,
    pub shared: SocketAddr,
    stop: CancellationToken,
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl World {
    /// A server without tenants.
    pub async fn start() -> Self {
        Self::on(Arc::new(Embedded::in_memory().unwrap())).await
    }

    /// A server on a store.
    pub async fn on(store: Arc<dyn Store>) -> Self {
        // Certificates are checked by the client against the real time.
        let clock = Arc::new(TestClock(Mutex::new(Timestamp::now())));
        let tenants = Tenants::load(Arc::clone(&store), clock.clone()).await.unwrap();
        let parts = server_parts(Arc::clone(&store), clock.clone(), None, Arc::clone(&tenants));
        let server = ApiServer::new(parts);
        let acceptor = Arc::new(Acceptor::new(Arc::clone(&tenants), clock.clone()));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let shared = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let handler = server.handler();
        let listeners =
            Listeners::new(Arc::clone(&acceptor), Arc::clone(&tenants), handler, TaskTracker::new(), stop.clone());
        tokio::spawn(listeners.run(listener, IpAddr::V4(Ipv4Addr::LOCALHOST)));
        Self { store, clock, tenants, acceptor, shared, stop }
    }

    /// A server with the tenants `A` and `B`.
    pub async fn with_two() -> Self {
        Self::start().await.two().await
    }

    /// The same with the tenants `A` and `B`.
    pub async fn two(self) -> Self {
        for (id, name) in [(A, "a"), (B, "b")] {
            self.tenants.attach(id, TenantSpec { name: name.into(), ..TenantSpec::default() }).await.unwrap();
        }
        self
    }

    pub fn tenant(&self, id: TenantId) -> Arc<Tenant> {
        self.tenants.get(id).unwrap()
    }

    /// An admin's client of a tenant.
    pub fn admin(&self, id: TenantId) -> Client {
        self.certified(id, "kubernetes-admin", &["system:masters"])
    }

    /// A client with a certificate of a tenant for a user.
    pub fn certified(&self, id: TenantId, user: &str, groups: &[&str]) -> Client {
        let tenant = self.tenant(id);
        let issued = tenant.authority().client(user, groups, Duration::from_secs(3600), self.clock.now()).unwrap();
        let mut client = self.anonymous(id);
        client.certificate = Some((issued.certificate.clone(), issued.key.secret_pkcs8_der().to_vec()));
        client
    }

    /// A client of a tenant without credentials.
    pub fn anonymous(&self, id: TenantId) -> Client {
        Client {
            address: self.shared,
            name: ServerName::try_from(server_name(id)).unwrap(),
            authority: self.tenant(id).authority().clone(),
            certificate: None,
            headers: Vec::new(),
        }
    }
}

#[derive(Clone)]
pub struct Client {
    pub address: SocketAddr,
    pub name: ServerName<'static>,
    pub authority: Authority,
    pub certificate: Option<(CertificateDer<'static>, Vec<u8>)>,
    headers: Vec<(String, String)>,
}

impl Client {
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn token(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub async fn connect(&self) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.certificate().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match &self.certificate {
            Some((certificate, key)) => {
                let key = PrivateKeyDer::Pkcs8(key.clone().into());
                builder.with_client_auth_cert(vec![certificate.clone()], key).unwrap()
            }
            None => builder.with_no_client_auth(),
        };
        let stream = TcpStream::connect(self.address).await?;
        TlsConnector::from(Arc::new(config)).connect(self.name.clone(), stream).await
    }

    pub async fn open(&self, method: &str, path: &str, body: Option<Value>) -> Response<hyper::body::Incoming> {
        let stream = self.connect().await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path).header("host", "tenant");
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let bytes = match body {
            Some(body) => {
                request = request.header("content-type", "application/json");
                Bytes::from(body.to_string())
            }
            None => Bytes::new(),
        };
        sender.send_request(request.body(Full::new(bytes)).unwrap()).await.unwrap()
    }

    pub async fn send(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let response = self.open(method, path, body).await;
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status.as_u16(), serde_json::from_slice(&bytes).unwrap_or_else(|_| json!(String::from_utf8_lossy(&bytes))))
    }

    pub async fn get(&self, path: &str) -> (u16, Value) {
        self.send("GET", path, None).await
    }

    pub async fn create(&self, path: &str, body: Value) -> Value {
        let (code, answer) = self.send("POST", path, Some(body)).await;
        assert_eq!(code, StatusCode::CREATED.as_u16(), "{answer}");
        answer
    }

    /// Who the server thinks this is.
    pub async fn whoami(&self) -> Result<Value, u16> {
        let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
        let (code, answer) = self.send("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", Some(review)).await;
        if code == 201 { Ok(answer["status"]["userInfo"].clone()) } else { Err(code) }
    }

    /// A token for a service account in `default`, with what `spec` says.
    pub async fn token_for(&self, account: &str, spec: Value) -> String {
        let path = format!("/api/v1/namespaces/default/serviceaccounts/{account}/token");
        let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec});
        self.create(&path, request).await["status"]["token"].as_str().unwrap().to_owned()
    }

    /// A service account in `default`.
    pub async fn account(&self, name: &str) {
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}});
        self.create("/api/v1/namespaces/default/serviceaccounts", account).await;
    }
}
