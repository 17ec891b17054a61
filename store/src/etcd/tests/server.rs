//! etcd for a test, on ports of the loopback, with TLS and client certificates.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use tempfile::TempDir;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::etcd::{Etcd, EtcdOptions, Tls};

/// Members of one cluster, and the files they need.
pub(crate) struct Cluster {
    pub(crate) members: Vec<Member>,
    folder: TempDir,
}

/// One of them. It is killed when this is dropped.
pub(crate) struct Member {
    arguments: Vec<String>,
    pub(crate) client: u16,
    _ports: [Port; 2],
    pub(crate) data: PathBuf,
    log: PathBuf,
    process: Option<Child>,
}

impl Cluster {
    /// Starts so many members.
    pub(crate) fn start(size: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        certificates(folder.path());
        let peers: Vec<Port> = (0..size).map(|_| Port::reserve()).collect();
        let cluster: Vec<String> =
            peers.iter().enumerate().map(|(i, peer)| format!("m{i}=http://127.0.0.1:{}", peer.number)).collect();
        let members = peers
            .into_iter()
            .enumerate()
            .map(|(i, peer)| Member::start(folder.path(), i, peer, &cluster.join(",")))
            .collect();
        Self { members, folder }
    }

    /// How to reach it.
    pub(crate) fn options(&self) -> EtcdOptions {
        let endpoints = self.members.iter().map(|m| format!("https://127.0.0.1:{}", m.client)).collect();
        let file = |name: &str| self.folder.path().join(name);
        let tls = Tls { ca: file("ca.crt"), identity: Some((file("own.crt"), file("own.key"))) };
        EtcdOptions { endpoints, prefix: "/tenantry".to_owned(), tls: Some(tls) }
    }

    /// Opens a store on it, as soon as it answers.
    pub(crate) async fn open(&self) -> Etcd {
        self.open_with(self.options()).await
    }

    pub(crate) async fn open_with(&self, options: EtcdOptions) -> Etcd {
        // Twice: the patience of the engine may be too short for a machine that does other things.
        let mut last = None;
        for _ in 0..6 {
            match Etcd::open(options.clone()).await {
                Ok(store) => return store,
                Err(e) => last = Some(e),
            }
        }
        let logs: Vec<String> = self.members.iter().map(|m| std::fs::read_to_string(&m.log).unwrap()).collect();
        panic!("{last:?}\n{}", logs.join("\n"));
    }
}

impl Member {
    fn start(folder: &Path, i: usize, peer_port: Port, cluster: &str) -> Self {
        let client_port = Port::reserve();
        let (client, peer) = (client_port.number, peer_port.number);
        let file = |name: &str| folder.join(name).display().to_string();
        let data = folder.join(format!("m{i}"));
        let arguments = vec![
            format!("--name=m{i}"),
            format!("--data-dir={}", data.display()),
            format!("--listen-client-urls=https://127.0.0.1:{client}"),
            format!("--advertise-client-urls=https://127.0.0.1:{client}"),
            format!("--listen-peer-urls=http://127.0.0.1:{peer}"),
            format!("--initial-advertise-peer-urls=http://127.0.0.1:{peer}"),
            format!("--initial-cluster={cluster}"),
            format!("--cert-file={}", file("etcd.crt")),
            format!("--key-file={}", file("etcd.key")),
            format!("--trusted-ca-file={}", file("ca.crt")),
            "--client-cert-auth".to_owned(),
            "--socket-reuse-port".to_owned(),
            "--log-level=warn".to_owned(),
            // The process is killed, not the machine.
            "--unsafe-no-fsync".to_owned(),
        ];
        let log = folder.join(format!("m{i}.log"));
        let mut member = Self { arguments, client, _ports: [client_port, peer_port], data, log, process: None };
        member.run();
        member
    }

    pub(crate) fn run(&mut self) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(&self.log).unwrap();
        let program = program();
        let child = Command::new(&program)
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|e| {
                panic!("cannot run {}: {e}; start a local host with `make host-up`", program.display())
            });
        self.process = Some(child);
    }

    /// As `kill -9` does it.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.kill();
    }
}

/// `TENANTRY_ETCD` if it is set, else etcd of the host cluster.
fn program() -> PathBuf {
    if let Some(program) = std::env::var_os("TENANTRY_ETCD") {
        return program.into();
    }
    let run = std::env::var_os("TENANTRY_RUN")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.run")), PathBuf::from);
    run.join("bin/etcd")
}

/// A port of loopback for what is ended and started again. While this is held nobody gets it but those who say that
/// they share it (`SO_REUSEPORT`).
struct Port {
    number: u16,
    _held: TcpSocket,
}

impl Port {
    fn reserve() -> Self {
        let held = sharing_socket();
        held.bind(loopback(0)).unwrap();
        Self { number: held.local_addr().unwrap().port(), _held: held }
    }
}

fn sharing_socket() -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseport(true).unwrap();
    socket
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// An authority, and what it signed for etcd and for us.
fn certificates(folder: &Path) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "etcd of a test");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let authority = params.self_signed(&key).unwrap();
    std::fs::write(folder.join("ca.crt"), authority.pem()).unwrap();
    let issuer = Issuer::new(params, key);
    for name in ["etcd", "own"] {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        // etcd's gateway calls etcd with the certificate of the server.
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let signed = params.signed_by(&key, &issuer).unwrap();
        std::fs::write(folder.join(format!("{name}.crt")), signed.pem()).unwrap();
        std::fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
}

/// A way to a port that can be cut.
pub(crate) struct Line {
    pub(crate) port: u16,
    _port: Port,
    to: u16,
    tasks: JoinSet<()>,
}

impl Line {
    pub(crate) async fn to(to: u16) -> Self {
        let port = Port::reserve();
        let mut line = Self { port: port.number, _port: port, to, tasks: JoinSet::new() };
        line.mend().await;
        line
    }

    /// Ends all connections and takes none.
    pub(crate) async fn cut(&mut self) {
        self.tasks.shutdown().await;
    }

    pub(crate) async fn mend(&mut self) {
        let socket = sharing_socket();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(loopback(self.port)).unwrap();
        let listener = socket.listen(128).unwrap();
        let to = self.to;
        self.tasks.spawn(async move {
            let mut carried = JoinSet::new();
            loop {
                let (mut near, _) = listener.accept().await.unwrap();
                carried.spawn(async move {
                    if let Ok(mut far) = TcpStream::connect(("127.0.0.1", to)).await {
                        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                    }
                });
            }
        });
    }
}

/// An empty store on an etcd of its own.
pub(crate) async fn fresh() -> (Arc<Etcd>, Cluster) {
    let cluster = Cluster::start(1);
    (Arc::new(cluster.open().await), cluster)
}

/// Time for what a loaded machine has to do.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);
