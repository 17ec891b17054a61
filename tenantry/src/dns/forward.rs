//! Names that are not the tenant's: the query goes to an upstream resolver as it came, and so does its answer.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

const PORT: u16 = 53;
/// How long an upstream has, in seconds, before the next one is asked.
const PATIENCE: Duration = Duration::from_secs(2);

/// The upstream resolvers.
#[derive(Clone, Debug)]
pub struct Upstreams(Vec<SocketAddr>);

/// Why there are no upstream resolvers.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamsError {
    /// `/etc/resolv.conf` cannot be read.
    #[error("cannot read /etc/resolv.conf; name resolvers in tenants.upstreamDns")]
    Read(#[source] std::io::Error),
}

impl Upstreams {
    /// These resolvers, or those of `/etc/resolv.conf` if there are none.
    ///
    /// # Errors
    /// When that file cannot be read.
    pub fn new(configured: &[IpAddr]) -> Result<Self, UpstreamsError> {
        let addresses = if configured.is_empty() {
            nameservers(&std::fs::read_to_string("/etc/resolv.conf").map_err(UpstreamsError::Read)?)
        } else {
            configured.to_vec()
        };
        Ok(Self(addresses.into_iter().map(|a| SocketAddr::new(a, PORT)).collect()))
    }

    /// Asks one after the other; `None` if none answers.
    pub(super) async fn ask(&self, query: &[u8], stream: bool) -> Option<Vec<u8>> {
        for &upstream in &self.0 {
            let asking =
                async { if stream { over_tcp(upstream, query).await } else { over_udp(upstream, query).await } };
            if let Ok(Ok(answer)) = timeout(PATIENCE, asking).await {
                return Some(answer);
            }
        }
        None
    }
}

fn nameservers(resolv_conf: &str) -> Vec<IpAddr> {
    let values = resolv_conf.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    values.filter_map(|value| value.trim().parse().ok()).collect()
}

async fn over_udp(upstream: SocketAddr, query: &[u8]) -> std::io::Result<Vec<u8>> {
    let any: IpAddr = if upstream.is_ipv4() { [0, 0, 0, 0].into() } else { [0u16; 8].into() };
    // A socket, and so a port, of its own for each query: an answer cannot be guessed by someone off the path.
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(upstream).await?;
    socket.send(query).await?;
    let mut answer = vec![0; 4096];
    loop {
        let length = socket.recv(&mut answer).await?;
        if length >= 2 && answer[..2] == query[..2] {
            answer.truncate(length);
            return Ok(answer);
        }
    }
}

async fn over_tcp(upstream: SocketAddr, query: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(upstream).await?;
    let length = u16::try_from(query.len()).map_err(|_| std::io::ErrorKind::InvalidInput)?;
    stream.write_all(&length.to_be_bytes()).await?;
    stream.write_all(query).await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nameservers_are_read_from_resolv_conf() {
        let text = "# comment\nsearch x\nnameserver 10.0.0.1\n  nameserver fd00::1\nnameserver bad\noptions ndots:5\n";
        assert_eq!(nameservers(text), ["10.0.0.1".parse::<IpAddr>().unwrap(), "fd00::1".parse().unwrap()]);
    }
}
