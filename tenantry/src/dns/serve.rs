//! The sockets: one UDP and one TCP for each tenant, on the same port.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use apimachinery::tenant::TenantId;
use hickory_proto::op::{Edns, Message, MessageType, OpCode, ResponseCode};
use tenant_client::TenantClient;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::answer::{Answer, View};
use super::forward::Upstreams;

/// Queries of all tenants that may be in work at once, and of one tenant.
const IN_FLIGHT: usize = 4096;
const IN_FLIGHT_PER_TENANT: usize = 256;
/// How long, in seconds, a TCP connection may say nothing.
const IDLE: Duration = Duration::from_secs(10);
/// The largest answer over UDP that any client takes (RFC 1035).
const UDP_MAX: u16 = 512;
/// The largest query that is read.
const QUERY_MAX: usize = 4096;

/// The resolver of all tenants.
#[derive(Clone)]
pub struct Resolver {
    shared: Arc<Shared>,
}

struct Shared {
    client: Arc<dyn TenantClient>,
    domain: String,
    upstreams: Upstreams,
    in_flight: Semaphore,
}

struct Tenant {
    shared: Arc<Shared>,
    id: TenantId,
    in_flight: Semaphore,
}

impl Resolver {
    /// A resolver for the tenants of a client.
    pub fn new(client: Arc<dyn TenantClient>, domain: String, upstreams: Upstreams) -> Self {
        let in_flight = Semaphore::new(IN_FLIGHT);
        Self { shared: Arc::new(Shared { client, domain: domain.to_ascii_lowercase(), upstreams, in_flight }) }
    }

    /// Serves a tenant at a port until cancelled.
    ///
    /// # Errors
    /// When the port is taken.
    pub async fn serve(
        &self,
        tenant: TenantId,
        ip: IpAddr,
        port: u16,
        tasks: &TaskTracker,
        cancel: CancellationToken,
    ) -> std::io::Result<SocketAddr> {
        let tcp = TcpListener::bind((ip, port)).await?;
        let address = tcp.local_addr()?;
        let udp = Arc::new(UdpSocket::bind(address).await?);
        let tenant = Arc::new(Tenant {
            shared: Arc::clone(&self.shared),
            id: tenant,
            in_flight: Semaphore::new(IN_FLIGHT_PER_TENANT),
        });
        tasks.spawn(serve_udp(Arc::clone(&tenant), udp, tasks.clone(), cancel.clone()));
        tasks.spawn(serve_tcp(tenant, tcp, tasks.clone(), cancel));
        Ok(address)
    }
}

async fn serve_udp(tenant: Arc<Tenant>, socket: Arc<UdpSocket>, tasks: TaskTracker, cancel: CancellationToken) {
    loop {
        // The buffer is there only while there is something to read: an idle tenant has none.
        let readable = tokio::select! {
            readable = socket.readable() => readable,
            () = cancel.cancelled() => return,
        };
        let mut query = vec![0; QUERY_MAX];
        let (length, from) = match readable.and_then(|()| socket.try_recv_from(&mut query)) {
            Ok(received) => received,
            // An ICMP error of an earlier answer, or nothing after all.
            Err(_) => continue,
        };
        query.truncate(length);
        let (tenant, socket) = (Arc::clone(&tenant), Arc::clone(&socket));
        tasks.spawn(async move {
            if let Some(answer) = tenant.respond(&query, false).await {
                // The client asks again if this is lost.
                let _ = socket.send_to(&answer, from).await;
            }
        });
    }
}

async fn serve_tcp(tenant: Arc<Tenant>, listener: TcpListener, tasks: TaskTracker, cancel: CancellationToken) {
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(_) => continue,
            },
            () = cancel.cancelled() => return,
        };
        let (tenant, cancel) = (Arc::clone(&tenant), cancel.clone());
        tasks.spawn(async move {
            tokio::select! {
                _ = converse(tenant, stream) => {}
                () = cancel.cancelled() => {}
            }
        });
    }
}

async fn converse(tenant: Arc<Tenant>, mut stream: TcpStream) -> std::io::Result<()> {
    loop {
        let length = timeout(IDLE, stream.read_u16()).await??;
        let mut query = vec![0; usize::from(length)];
        timeout(IDLE, stream.read_exact(&mut query)).await??;
        let Some(answer) = tenant.respond(&query, true).await else { return Ok(()) };
        let length = u16::try_from(answer.len()).map_err(|_| std::io::ErrorKind::InvalidData)?;
        timeout(IDLE, async {
            stream.write_all(&length.to_be_bytes()).await?;
            stream.write_all(&answer).await
        })
        .await??;
    }
}

impl Tenant {
    /// The answer to a query; `None` where silence is the answer: what is no query, or too many at once.
    async fn respond(&self, query: &[u8], stream: bool) -> Option<Vec<u8>> {
        let _mine = self.in_flight.try_acquire().ok()?;
        let _all = self.shared.in_flight.acquire().await.ok()?;
        let query_message = match Message::from_vec(query) {
            Ok(message) if message.metadata.message_type == MessageType::Query => message,
            Ok(_) => return None,
            Err(_) => {
                let id = u16::from_be_bytes([*query.first()?, *query.get(1)?]);
                return Message::error_msg(id, OpCode::Query, ResponseCode::FormErr).to_vec().ok();
            }
        };
        let mut response = Message::response(query_message.metadata.id, query_message.metadata.op_code);
        response.metadata.recursion_desired = query_message.metadata.recursion_desired;
        response.metadata.recursion_available = true;
        response.queries.clone_from(&query_message.queries);
        let limit = query_message.edns.as_ref().map_or(UDP_MAX, |e| e.max_payload().max(UDP_MAX));
        if query_message.edns.is_some() {
            let mut edns = Edns::new();
            edns.set_max_payload(1232);
            response.edns = Some(edns);
        }
        let [asked] = query_message.queries.as_slice() else {
            response.metadata.response_code = ResponseCode::FormErr;
            return response.to_vec().ok();
        };
        if query_message.metadata.op_code != OpCode::Query {
            response.metadata.response_code = ResponseCode::NotImp;
            return response.to_vec().ok();
        }
        let view = View { client: &*self.shared.client, tenant: self.id, domain: &self.shared.domain };
        match view.answer(asked.name(), asked.query_type()).await {
            Ok(Answer::Outside) => match self.shared.upstreams.ask(query, stream).await {
                Some(answer) => return Some(answer),
                None => response.metadata.response_code = ResponseCode::ServFail,
            },
            Ok(Answer::Records(records)) if !records.is_empty() => {
                response.metadata.authoritative = true;
                response.answers = records;
            }
            Ok(negative) => {
                response.metadata.authoritative = true;
                if negative == Answer::NoName {
                    response.metadata.response_code = ResponseCode::NXDomain;
                }
                response.authorities = view.authority().ok().into_iter().collect();
            }
            Err(error) => {
                tracing::warn!(tenant = %self.id, error = apimachinery::error::chain(&error), "cannot answer a DNS query");
                response.metadata.response_code = ResponseCode::ServFail;
            }
        }
        let answer = response.to_vec().ok()?;
        if stream || answer.len() <= usize::from(limit) { Some(answer) } else { response.truncate().to_vec().ok() }
    }
}
