//! An etcd of several members, each of which can be killed, stopped, or cut off from the others.
//!
//! Members reach each other through `Peers`, which knows from the head of a connection who opened it. One that is
//! cut off still runs and still serves its clients, with what it knows.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::process::Process;

/// What a member says of itself.
const STATUS: &str = "/v3/maintenance/status";
/// How long a member may take to answer that.
const PATIENCE: Duration = Duration::from_millis(500);
/// The longest head of a request between members.
const HEAD: u64 = 16 << 10;

/// The members.
pub struct Cluster {
    /// Each as a process.
    pub members: Vec<Process>,
    clients: Vec<Port>,
    _own: Vec<Port>,
    peers: Peers,
}

/// The ways between members.
struct Peers {
    /// Member ids, as heads have them, and numbers.
    ids: watch::Sender<HashMap<String, usize>>,
    cut: watch::Sender<Option<usize>>,
    _tasks: JoinSet<()>,
}

/// A port of loopback for a program that is killed and started again. While this is held nobody gets it but those who
/// say that they share it (`SO_REUSEPORT`).
pub struct Port {
    /// Its number.
    pub number: u16,
    _held: TcpSocket,
}

impl Port {
    /// One that nobody has.
    ///
    /// # Errors
    /// If there is none.
    pub fn reserve() -> io::Result<Self> {
        let held = TcpSocket::new_v4()?;
        held.set_reuseport(true)?;
        held.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        Ok(Self { number: held.local_addr()?.port(), _held: held })
    }
}

impl Cluster {
    /// Starts so many members. Returns when they have a leader.
    ///
    /// # Errors
    /// If they cannot be started.
    pub async fn start(program: &Path, folder: &Path, size: usize) -> io::Result<Self> {
        let ports = || (0..size).map(|_| Port::reserve()).collect::<io::Result<Vec<_>>>();
        let (clients, own) = (ports()?, ports()?);
        let (peers, advertised) = Peers::between(&own).await?;
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let all: Vec<String> = advertised.iter().enumerate().map(|(i, port)| format!("m{i}={}", url(*port))).collect();
        let members = (0..size).map(|i| {
            let arguments = vec![
                format!("--name=m{i}"),
                format!("--data-dir={}", folder.join(format!("m{i}")).display()),
                format!("--listen-client-urls={}", url(clients[i].number)),
                format!("--advertise-client-urls={}", url(clients[i].number)),
                format!("--listen-peer-urls={}", url(own[i].number)),
                format!("--initial-advertise-peer-urls={}", url(advertised[i])),
                format!("--initial-cluster={}", all.join(",")),
                "--socket-reuse-port".to_owned(),
                "--log-level=warn".to_owned(),
                // The process is killed, not the machine.
                "--unsafe-no-fsync".to_owned(),
            ];
            Process::new(program, arguments, folder.join(format!("m{i}.log")))
        });
        let mut cluster = Self { members: members.collect(), clients, _own: own, peers };
        for member in &mut cluster.members {
            member.start()?;
        }
        while cluster.leader().await.is_none() || cluster.peers.ids.borrow().len() < size {
            sleep(Duration::from_millis(100)).await;
        }
        Ok(cluster)
    }

    /// Where clients reach the members.
    #[must_use]
    pub fn endpoints(&self) -> Vec<String> {
        self.clients.iter().map(|port| format!("http://127.0.0.1:{}", port.number)).collect()
    }

    /// The number of the member that leads, as most of those say that answer.
    pub async fn leader(&self) -> Option<usize> {
        let mut votes: HashMap<String, usize> = HashMap::new();
        for (number, port) in self.clients.iter().enumerate() {
            let Ok(Some(status)) = timeout(PATIENCE, ask(port.number, STATUS)).await else { continue };
            if let Some(id) = status["header"]["member_id"].as_str().and_then(hexadecimal) {
                self.peers.ids.send_modify(|ids| {
                    ids.insert(id, number);
                });
            }
            if let Some(leader) = status["leader"].as_str().and_then(hexadecimal) {
                *votes.entry(leader).or_default() += 1;
            }
        }
        let (leader, _) = votes.into_iter().max_by_key(|(_, votes)| *votes)?;
        self.peers.ids.borrow().get(&leader).copied()
    }

    /// Cuts one member off from the others, or none.
    pub fn cut_off(&self, member: Option<usize>) {
        self.peers.cut.send_replace(member);
    }
}

/// Ids are decimal in JSON and hexadecimal in heads.
fn hexadecimal(id: &str) -> Option<String> {
    id.parse::<u64>().ok().filter(|id| *id > 0).map(|id| format!("{id:x}"))
}

/// Asks a member's gateway.
async fn ask(port: u16, path: &str) -> Option<Value> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    // Of that version it ends with the connection.
    let request = format!("POST {path} HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()
}

impl Peers {
    /// Ways to the members that listen on these ports: where each is reached.
    async fn between(members: &[Port]) -> io::Result<(Self, Vec<u16>)> {
        let (ids, cut) = (watch::Sender::default(), watch::Sender::new(None));
        let (mut tasks, mut ports) = (JoinSet::new(), Vec::new());
        for (number, port) in members.iter().enumerate() {
            let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
            ports.push(listener.local_addr()?.port());
            let way = Way { to: number, port: port.number, ids: ids.subscribe(), cut: cut.subscribe() };
            tasks.spawn(way.run(listener));
        }
        Ok((Self { ids, cut, _tasks: tasks }, ports))
    }
}

/// The way to one member.
#[derive(Clone)]
struct Way {
    to: usize,
    port: u16,
    ids: watch::Receiver<HashMap<String, usize>>,
    cut: watch::Receiver<Option<usize>>,
}

impl Way {
    async fn run(self, listener: TcpListener) {
        let this = Arc::new(self);
        let mut carried = JoinSet::new();
        while let Ok((near, _)) = listener.accept().await {
            let this = this.clone();
            carried.spawn(async move { this.carry(near).await.unwrap_or_default() });
            while carried.try_join_next().is_some() {}
        }
    }

    /// Carries a connection until one of its ends is cut off.
    async fn carry(&self, mut near: TcpStream) -> io::Result<()> {
        let mut head = Vec::new();
        while !head.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
            if (&mut near).take(HEAD - head.len() as u64).read_buf(&mut head).await? == 0 {
                return Ok(());
            }
        }
        let head_text = String::from_utf8_lossy(&head);
        let from = header(&head_text, "x-server-from").map(|id| self.ids.borrow().get(id).copied());
        // A probe says not from whom it is, and raft's messages may follow on its connection.
        if from.is_none() && head_text.starts_with("GET /raft") {
            return Ok(());
        }
        let from = from.flatten();
        let mut cut = self.cut.clone();
        let is_cut = |cut: &Option<usize>| cut.is_some() && (*cut == Some(self.to) || *cut == from);
        if is_cut(&cut.borrow()) {
            return Ok(());
        }
        let mut far = TcpStream::connect(("127.0.0.1", self.port)).await?;
        far.write_all(&head).await?;
        tokio::select! {
            () = async { drop(cut.wait_for(is_cut).await) } => {}
            _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
        }
        Ok(())
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(n, _)| n.eq_ignore_ascii_case(name))
        .map(|(_, v)| v.trim())
}
