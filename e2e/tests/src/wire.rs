//! Requests as bytes: for what no client library would send.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::Value;

use crate::{Cluster, Error, text};

/// Longer than any bound of the server: a connection that is silent for so long is one that the server forgot.
const SILENCE: Duration = Duration::from_secs(75);

/// The address of a cluster's API and what a TLS connection to it needs.
#[derive(Clone, Debug)]
pub struct Wire {
    address: SocketAddr,
    host: String,
    name: ServerName<'static>,
    config: Arc<ClientConfig>,
}

/// An answer of HTTP.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub code: u16,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as JSON; null when it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// Whether the body is a `Status` that agrees with the code and says something.
    #[must_use]
    pub fn is_clear_status(&self) -> bool {
        let body = self.json();
        body["kind"] == "Status" && body["code"] == self.code && !text(&body, "/message").is_empty()
    }
}

impl Wire {
    /// To a cluster, with the credentials of its kubeconfig.
    ///
    /// # Errors
    /// [`Error::Kubeconfig`] when it holds no client certificate or no address.
    pub fn to(cluster: &Cluster) -> Result<Self, Error> {
        let view = cluster.kubectl(&["config", "view", "--raw", "--minify", "--output", "json"])?;
        let view: Value =
            serde_json::from_str(&view).map_err(|source| Error::Json { what: "the kubeconfig".to_owned(), source })?;
        let pem = |pointer: &str| STANDARD.decode(text(&view, pointer)).map_err(|e| bad(pointer, &e));
        let (at, user) = ("/clusters/0/cluster", "/users/0/user");
        let server = text(&view, &format!("{at}/server"));
        let host = server.trim_start_matches("https://").trim_end_matches('/').to_owned();
        let address = host.to_socket_addrs().map_err(|e| bad(&host, &e))?.next();
        let address = address.ok_or_else(|| Error::Kubeconfig(format!("{host} has no address")))?;
        let name = match text(&view, &format!("{at}/tls-server-name")) {
            "" => address.ip().to_string(),
            name => name.to_owned(),
        };
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_slice(&pem(&format!("{at}/certificate-authority-data"))?);
        roots.add(ca.map_err(|e| bad("the CA", &e))?).map_err(|e| bad("the CA", &e))?;
        let chain = vec![
            CertificateDer::from_pem_slice(&pem(&format!("{user}/client-certificate-data"))?)
                .map_err(|e| bad("the client certificate", &e))?,
        ];
        let key = PrivateKeyDer::from_pem_slice(&pem(&format!("{user}/client-key-data"))?);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|b| {
                let key = key.map_err(|e| rustls::Error::General(e.to_string()))?;
                b.with_root_certificates(roots).with_client_auth_cert(chain, key)
            })
            .map_err(|e| bad("the kubeconfig", &e))?;
        let name = ServerName::try_from(name).map_err(|e| bad("the server name", &e))?;
        Ok(Self { address, host, name, config: Arc::new(config) })
    }

    /// A TCP connection without TLS.
    ///
    /// # Errors
    /// [`Error::Wire`]
    pub fn tcp(&self) -> Result<TcpStream, Error> {
        let open = || {
            let stream = TcpStream::connect_timeout(&self.address, Duration::from_secs(10))?;
            stream.set_read_timeout(Some(SILENCE))?;
            stream.set_nodelay(true)?;
            Ok(stream)
        };
        open().map_err(|source| Error::Wire { what: format!("connect to {}", self.address), source })
    }

    /// A TLS connection; the handshake happens with the first bytes.
    ///
    /// # Errors
    /// [`Error::Wire`]
    pub fn tls(&self) -> Result<StreamOwned<ClientConnection, TcpStream>, Error> {
        let session = ClientConnection::new(Arc::clone(&self.config), self.name.clone())
            .map_err(|e| bad("the TLS session", &e))?;
        Ok(StreamOwned::new(session, self.tcp()?))
    }

    /// Sends bytes over TLS and reads what is answered; `None` when the connection is closed without an answer.
    ///
    /// # Errors
    /// [`Error::Wire`] when there is no connection, or when it stays open in silence.
    pub fn send(&self, bytes: &[u8]) -> Result<Option<Answer>, Error> {
        let mut stream = self.tls()?;
        // The server may answer and close before it has read everything: what it said is what counts.
        let _ = stream.write_all(bytes).and_then(|()| stream.flush());
        answer(&mut BufReader::new(stream))
    }

    /// A request with a body that must be answered. `headers` are whole lines without their ends.
    ///
    /// # Errors
    /// As [`Wire::send`]; [`Error::Unexpected`] when there is no answer.
    pub fn request(&self, method: &str, path: &str, headers: &[&str], body: &[u8]) -> Result<Answer, Error> {
        let answer = self.try_request(method, path, headers, body)?;
        answer.ok_or_else(|| Error::Unexpected { what: format!("{method} {path}"), got: "no answer".to_owned() })
    }

    /// A request whose connection may be closed without an answer: who answers before the body is read and closes, resets it.
    ///
    /// # Errors
    /// As [`Wire::send`].
    pub fn try_request(
        &self,
        method: &str,
        path: &str,
        headers: &[&str],
        body: &[u8],
    ) -> Result<Option<Answer>, Error> {
        let mut head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n",
            self.host,
            body.len()
        );
        for header in headers {
            head.push_str(header);
            head.push_str("\r\n");
        }
        head.push_str("\r\n");
        self.send(&[head.as_bytes(), body].concat())
    }
}

fn bad(what: &str, error: &dyn std::fmt::Display) -> Error {
    Error::Kubeconfig(format!("{what}: {error}"))
}

/// Reads one answer. Connections that are closed or reset are no error, those that are silent are one.
fn answer(reader: &mut impl BufRead) -> Result<Option<Answer>, Error> {
    match read_answer(reader) {
        Ok(answer) => Ok(answer),
        Err(source) if matches!(source.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
            Err(Error::Wire { what: "the connection stays open and says nothing".to_owned(), source })
        }
        Err(_) => Ok(None),
    }
}

fn read_answer(reader: &mut impl BufRead) -> std::io::Result<Option<Answer>> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let Some(code) = line.split(' ').nth(1).and_then(|code| code.parse().ok()) else { return Ok(None) };
    let (mut length, mut chunked) = (None, false);
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let header = line.trim_end().to_ascii_lowercase();
        match header.split_once(':') {
            Some(("content-length", value)) => length = value.trim().parse().ok(),
            Some(("transfer-encoding", value)) => chunked = value.trim() == "chunked",
            Some(_) => {}
            None => break,
        }
    }
    let mut body = Vec::new();
    match length {
        _ if chunked => loop {
            line.clear();
            reader.read_line(&mut line)?;
            let size = u64::from_str_radix(line.trim_end(), 16).map_err(std::io::Error::other)?;
            reader.take(size).read_to_end(&mut body)?;
            line.clear();
            reader.read_line(&mut line)?;
            if size == 0 {
                break;
            }
        },
        Some(length) => {
            reader.take(length).read_to_end(&mut body)?;
        }
        None => {
            reader.read_to_end(&mut body)?;
        }
    }
    Ok(Some(Answer { code, body }))
}
