//! Calls to etcd: one connection, to one member at a time. When it fails, the next call connects to the next member, with
//! certificates read anew.

use std::path::{Path, PathBuf};
use std::time::Duration;

use apimachinery::error;
use http::uri::PathAndQuery;
use prost::Message;
use tokio::sync::{Mutex, mpsc};
use tokio::time::{Instant, timeout};
use tonic::client::Grpc;
use tonic::metadata::MetadataValue;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Status, Streaming};
use tonic_prost::ProstCodec;

use super::proto::{
    RangeRequest, RangeResponse, ResponseHeader, TxnRequest, TxnResponse, WATCH, WatchRequest, WatchResponse,
};
use super::{Tls, proto};

/// How long a member may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(3);
/// How long etcd may take for one call. Its own limit, for a cluster without trouble, is 7 s.
const CALL: Duration = Duration::from_secs(8);
/// How long what can be asked again is asked again: longer than it takes to elect a leader.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// The first pause before something is asked again. Each is twice as long as the one before.
const PAUSE: Duration = Duration::from_millis(20);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(1);
/// Requests of a watch that wait to be sent.
const ASKS: usize = 4;

/// Why a call failed.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    /// No answer, or one that says to try again. `maybe` if it may have been done nevertheless.
    Away { reason: String, maybe: bool },
    /// What was asked for has been compacted.
    Compacted,
    /// The request is beyond a limit of etcd.
    TooLarge(&'static str),
    /// Refused for good.
    Refused(String),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Away { reason, .. } | Self::Refused(reason) => f.write_str(reason),
            Self::Compacted => f.write_str("compacted"),
            Self::TooLarge(limit) => f.write_str(limit),
        }
    }
}

/// The pauses between attempts.
#[derive(Debug)]
pub(crate) struct Pauses(Duration);

impl Pauses {
    pub(crate) fn new() -> Self {
        Self(PAUSE)
    }

    /// Waits, each time twice as long; not quite, so that those who wait together do not return together.
    pub(crate) async fn wait(&mut self) {
        tokio::time::sleep(self.0.mul_f64(rand::random_range(0.75..1.25))).await;
        self.0 = (self.0 * 2).min(LONGEST);
    }
}

/// The way to etcd.
pub(crate) struct Client {
    endpoints: Vec<String>,
    tls: Option<Tls>,
    current: Mutex<Current>,
}

#[derive(Default)]
struct Current {
    channel: Option<Channel>,
    /// Which connection this is.
    number: u64,
    /// The endpoint to connect to next.
    next: usize,
}

impl Client {
    pub(crate) fn new(endpoints: Vec<String>, tls: Option<Tls>) -> Self {
        Self { endpoints, tls, current: Mutex::default() }
    }

    /// A connection and its number.
    async fn channel(&self) -> Result<(Channel, u64), Failure> {
        let mut current = self.current.lock().await;
        if let Some(channel) = &current.channel {
            return Ok((channel.clone(), current.number));
        }
        let mut reasons = Vec::new();
        for _ in 0..self.endpoints.len() {
            let endpoint = &self.endpoints[current.next % self.endpoints.len()];
            current.next += 1;
            match self.connect(endpoint).await {
                Ok(channel) => {
                    current.number += 1;
                    current.channel = Some(channel.clone());
                    return Ok((channel, current.number));
                }
                Err(reason) => reasons.push(format!("{endpoint}: {reason}")),
            }
        }
        Err(Failure::Away { reason: format!("etcd cannot be reached ({})", reasons.join("; ")), maybe: false })
    }

    async fn connect(&self, endpoint: &str) -> Result<Channel, String> {
        let mut to = Endpoint::from_shared(endpoint.to_owned())
            .map_err(|e| error::chain(&e))?
            .connect_timeout(CONNECT)
            .tcp_nodelay(true)
            .initial_stream_window_size(4 << 20)
            .initial_connection_window_size(8 << 20)
            .http2_keep_alive_interval(Duration::from_secs(5))
            .keep_alive_timeout(Duration::from_secs(5))
            .keep_alive_while_idle(true);
        if let Some(tls) = &self.tls {
            let mut config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(&tls.ca).await?));
            if let Some((certificate, key)) = &tls.identity {
                config = config.identity(Identity::from_pem(read(certificate).await?, read(key).await?));
            }
            to = to.tls_config(config).map_err(|e| error::chain(&e))?;
        }
        // The limit of the endpoint is for the socket; the handshakes behind it may hang as well.
        match timeout(2 * CONNECT, to.connect()).await {
            Ok(connected) => connected.map_err(|e| error::chain(&e)),
            Err(_) => Err("no answer to the handshake".to_owned()),
        }
    }

    /// Gives up a connection: the next call makes another one.
    async fn lost(&self, number: u64) {
        let mut current = self.current.lock().await;
        if current.number == number {
            current.channel = None;
        }
    }

    /// One call, once.
    pub(crate) async fn call<Q, A>(&self, path: &'static str, request: Q) -> Result<A, Failure>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let (channel, number) = self.channel().await?;
        let mut grpc = grpc(channel);
        let asked = async {
            grpc.ready().await.map_err(|e| Failure::Away { reason: error::chain(&e), maybe: false })?;
            let codec = ProstCodec::<Q, A>::default();
            let answer = grpc.unary(led(request), PathAndQuery::from_static(path), codec).await;
            answer.map(tonic::Response::into_inner).map_err(|status| failure(&status))
        };
        let failed = match timeout(CALL, asked).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(failed)) => failed,
            Err(_) => Failure::Away { reason: format!("etcd did not answer within {} s", CALL.as_secs()), maybe: true },
        };
        if matches!(failed, Failure::Away { .. }) {
            self.lost(number).await;
        }
        Err(failed)
    }

    /// A call that may be done more than once, until it is answered or patience ends.
    pub(crate) async fn insist<Q, A>(&self, path: &'static str, request: Q) -> Result<A, Failure>
    where
        Q: Message + Clone + 'static,
        A: Message + Default + 'static,
    {
        self.repeat(path, request, |_| true).await
    }

    /// A transaction, which is done once at most: asked again only when it surely was not done.
    pub(crate) async fn transact(&self, request: TxnRequest) -> Result<TxnResponse, Failure> {
        self.repeat(proto::TXN, request, |maybe| !maybe).await
    }

    /// Asks while etcd is away and what may have been done may be done again.
    async fn repeat<Q, A>(&self, path: &'static str, request: Q, again: impl Fn(bool) -> bool) -> Result<A, Failure>
    where
        Q: Message + Clone + 'static,
        A: Message + Default + 'static,
    {
        let (start, mut pauses) = (Instant::now(), Pauses::new());
        loop {
            match self.call(path, request.clone()).await {
                Err(Failure::Away { maybe, .. }) if again(maybe) && start.elapsed() < PATIENCE => pauses.wait().await,
                answered => return answered,
            }
        }
    }

    /// A linearizable range.
    pub(crate) async fn range(&self, request: RangeRequest) -> Result<RangeResponse, Failure> {
        self.insist(proto::RANGE, request).await
    }

    /// Opens a watch. What it is asked goes into the sender, the first request first.
    pub(crate) async fn watch(&self, first: WatchRequest) -> Result<Watch, Failure> {
        let (channel, number) = self.channel().await?;
        let (asks, requests) = mpsc::channel(ASKS);
        let _ = asks.try_send(first);
        let requests = futures::stream::unfold(requests, |mut requests: mpsc::Receiver<WatchRequest>| async move {
            requests.recv().await.map(|next| (next, requests))
        });
        let mut grpc = grpc(channel);
        let opened = async {
            grpc.ready().await.map_err(|e| Failure::Away { reason: error::chain(&e), maybe: false })?;
            let codec = ProstCodec::<WatchRequest, WatchResponse>::default();
            let answer = grpc.streaming(led(Box::pin(requests)), PathAndQuery::from_static(WATCH), codec).await;
            answer.map(tonic::Response::into_inner).map_err(|status| failure(&status))
        };
        match timeout(CALL, opened).await {
            Ok(Ok(answers)) => Ok(Watch { asks, answers, number }),
            Ok(Err(failed)) => {
                self.lost(number).await;
                Err(failed)
            }
            Err(_) => {
                self.lost(number).await;
                Err(Failure::Away { reason: "etcd did not open the watch".to_owned(), maybe: false })
            }
        }
    }

    /// Gives up the connection that a watch was on.
    pub(crate) async fn leave(&self, watch: Watch) {
        self.lost(watch.number).await;
    }
}

/// A watch that was opened.
pub(crate) struct Watch {
    pub(crate) asks: mpsc::Sender<WatchRequest>,
    answers: Streaming<WatchResponse>,
    number: u64,
}

impl Watch {
    /// The next answer.
    pub(crate) async fn next(&mut self) -> Result<WatchResponse, Failure> {
        match self.answers.message().await {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => Err(Failure::Away { reason: "etcd ended the watch".to_owned(), maybe: false }),
            Err(status) => Err(failure(&status)),
        }
    }
}

/// The header of an answer, without which no one knows what it is an answer of.
pub(crate) fn header(header: Option<ResponseHeader>) -> Result<ResponseHeader, Failure> {
    header.ok_or_else(|| Failure::Away { reason: "etcd answered without a header".to_owned(), maybe: true })
}

fn grpc(channel: Channel) -> Grpc<Channel> {
    Grpc::new(channel).max_decoding_message_size(usize::MAX)
}

/// A member that has lost its leader shall say so instead of waiting for one: another one may know more.
fn led<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("hasleader", MetadataValue::from_static("true"));
    request
}

/// What an error of etcd means. Texts as in `api/v3rpc/rpctypes/error.go`.
fn failure(status: &Status) -> Failure {
    let (text, code) = (status.message(), status.code());
    if text.contains("has been compacted") {
        return Failure::Compacted;
    }
    if text.contains("request is too large") || text.contains("message larger than max") {
        return Failure::TooLarge("more than etcd takes in one request (its --max-request-bytes, 1.5 MiB by default)");
    }
    if text.contains("too many operations") {
        return Failure::TooLarge("more writes than etcd takes in one transaction (its --max-txn-ops, 128 by default)");
    }
    let mut reason = if text.is_empty() { format!("etcd: {code}") } else { format!("etcd: {text}") };
    if let Some(source) = std::error::Error::source(status) {
        reason = format!("{reason}: {}", error::chain(source));
    }
    // These are given out before anything is proposed to the cluster.
    let undone = ["no leader", "too many requests"].iter().any(|known| text.contains(known));
    match code {
        _ if undone => Failure::Away { reason, maybe: false },
        Code::InvalidArgument
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::Unauthenticated
        | Code::Unimplemented => Failure::Refused(reason),
        _ => Failure::Away { reason, maybe: true },
    }
}

async fn read(path: &Path) -> Result<Vec<u8>, String> {
    let path: PathBuf = path.to_owned();
    tokio::fs::read(&path).await.map_err(|e| format!("{}: {e}", path.display()))
}
