//! etcd and kube-apiserver on ports of the loopback, as long as a value lives.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use apimachinery::tenant::TenantId;
use kube::config::{AuthInfo, Config};
use tenant_client::remote::RemoteClient;
use tokio::net::TcpSocket;

use super::suite::Seam;

const TENANT: TenantId = TenantId::from_bytes([1; 16]);
const TOKEN: &str = "token-of-this-test";
const LIMIT: Duration = Duration::from_secs(300);

pub struct Server {
    client: kube::Client,
    _ports: [TcpSocket; 3],
    _processes: Vec<Process>,
    dir: Directory,
}

struct Process(Child);

/// A directory of the test's own.
struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn programs() -> PathBuf {
    let run = std::env::var_os("TENANTRY_RUN")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.run")), PathBuf::from);
    run.join("bin")
}

/// A port of loopback that nobody else gets while this is held, unless he says that he shares it (`SO_REUSEPORT`).
fn reserve() -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseport(true).unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    socket
}

fn start(dir: &Path, name: &str, args: &[String]) -> Process {
    let log = File::create(dir.join(format!("{name}.log"))).unwrap();
    let program = programs().join(name);
    let command = Command::new(&program)
        .args(args)
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn();
    Process(
        command.unwrap_or_else(|e| {
            panic!("cannot run {}: {e}; start a local host with `make host-up`", program.display())
        }),
    )
}

impl Server {
    /// Starts a server that answers.
    pub async fn start() -> Self {
        let dir = Directory(std::env::temp_dir().join(format!("tenantry-stock-{}", std::process::id())));
        std::fs::create_dir_all(&dir.0).unwrap();
        let ports = [reserve(), reserve(), reserve()];
        let [etcd, peer, api] = ports.each_ref().map(|port| port.local_addr().unwrap().port());
        std::fs::write(dir.0.join("tokens.csv"), format!("{TOKEN},admin,1,system:masters\n")).unwrap();
        let etcd_url = format!("http://127.0.0.1:{etcd}");
        let etcd = start(
            &dir.0,
            "etcd",
            &[
                "--data-dir=etcd".to_owned(),
                format!("--listen-client-urls={etcd_url}"),
                format!("--advertise-client-urls={etcd_url}"),
                format!("--listen-peer-urls=http://127.0.0.1:{peer}"),
                "--socket-reuse-port".to_owned(),
            ],
        );
        let api_server = start(
            &dir.0,
            "kube-apiserver",
            &[
                format!("--etcd-servers={etcd_url}"),
                "--bind-address=127.0.0.1".to_owned(),
                format!("--secure-port={api}"),
                "--permit-port-sharing".to_owned(),
                "--cert-dir=certificates".to_owned(),
                "--token-auth-file=tokens.csv".to_owned(),
                "--authorization-mode=RBAC".to_owned(),
                "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
                // The key of the certificate that it makes for itself also signs tokens.
                "--service-account-signing-key-file=certificates/apiserver.key".to_owned(),
                "--service-account-key-file=certificates/apiserver.key".to_owned(),
                "--service-cluster-ip-range=10.99.0.0/24".to_owned(),
            ],
        );
        let mut config = Config::new(format!("https://127.0.0.1:{api}").parse().unwrap());
        // Its certificate is its own; the connection does not leave the machine.
        config.accept_invalid_certs = true;
        config.auth_info = AuthInfo { token: Some(TOKEN.to_owned().into()), ..AuthInfo::default() };
        let client = kube::Client::try_from(config).unwrap();
        let mut this = Self { client, _ports: ports, _processes: vec![api_server, etcd], dir: dir };
        this.answers().await;
        this
    }

    async fn answers(&mut self) {
        let end = Instant::now() + LIMIT;
        loop {
            let ready = http::Request::get("/readyz").body(Vec::new()).unwrap();
            match self.client.request_text(ready).await {
                Ok(_) => return,
                Err(error) if Instant::now() > end => {
                    let log = std::fs::read_to_string(self.dir.0.join("kube-apiserver.log")).unwrap_or_default();
                    panic!("kube-apiserver is not ready: {error}\n{log}");
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
    }

    pub fn seam(&self) -> Seam {
        let client = Arc::new(RemoteClient::new());
        client.attach(TENANT, self.client.clone());
        Seam { client, tenant: TENANT }
    }
}
