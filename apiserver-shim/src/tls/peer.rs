//! The client certificate of a connection, and the user in it.

use std::sync::Arc;

use jiff::Timestamp;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};
use sha2::{Digest, Sha256};
use x509_parser::der_parser::oid;
use x509_parser::der_parser::oid::Oid;

use super::authority::Authority;
use crate::auth::User;

/// Where a subject carries the user's uid (Kubernetes 1.33+, KEP-4633).
const UID: Oid<'static> = oid!(1.3.6.1.4.1.57683.2);
const COMMON_NAME: Oid<'static> = oid!(2.5.4.3);
const ORGANIZATION: Oid<'static> = oid!(2.5.4.10);

/// What a connection's client showed.
#[derive(Clone, Debug, Default)]
pub enum Peer {
    /// No certificate.
    #[default]
    None,
    /// A certificate that this tenant's authority did not sign, or that is not for clients, or makes no user.
    Untrusted,
    /// A certificate of this tenant's authority.
    Verified(Arc<Identity>),
}

/// The user of a verified certificate and how long it may be believed.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Common name, organizations, uid. `system:authenticated` is not among the groups yet.
    pub user: User,
    /// When the certificate ends. Connections outlive certificates, so this is asked at each request.
    pub not_after: Timestamp,
}

/// Takes any client certificate whose key the client has. Whether it is to be believed is asked once per connection, by
/// [`verify`]: a certificate that is not gets a 401 that says so, as the stock server does, and not a broken handshake.
#[derive(Debug)]
pub(super) struct AnyClient {
    algorithms: WebPkiSupportedAlgorithms,
}

impl AnyClient {
    pub(super) fn new() -> Self {
        Self { algorithms: rustls::crypto::ring::default_provider().signature_verification_algorithms }
    }
}

impl ClientCertVerifier for AnyClient {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Checks a client's certificates (its own first) against an authority.
pub fn verify(authority: &Authority, chain: &[CertificateDer<'_>], now: Timestamp) -> Peer {
    match verified(authority, chain, now) {
        Some(identity) => Peer::Verified(Arc::new(identity)),
        None if chain.is_empty() => Peer::None,
        None => Peer::Untrusted,
    }
}

fn verified(authority: &Authority, chain: &[CertificateDer<'_>], now: Timestamp) -> Option<Identity> {
    let (own, intermediates) = chain.split_first()?;
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate().clone()).ok()?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().ok()?;
    let seconds = u64::try_from(now.as_second()).ok()?;
    let time = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
    verifier.verify_client_cert(own, intermediates, time).ok()?;
    identity(own)
}

fn identity(certificate: &CertificateDer<'_>) -> Option<Identity> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let all = |wanted: &Oid<'_>| -> Vec<String> {
        let found = parsed.subject().iter_attributes().filter(|a| a.attr_type() == wanted);
        found.filter_map(|a| a.as_str().ok()).map(str::to_owned).collect()
    };
    let name = all(&COMMON_NAME).pop().filter(|n| !n.is_empty())?;
    let mut uids = all(&UID);
    if uids.len() > 1 || uids.first().is_some_and(String::is_empty) {
        return None;
    }
    let digest: String = Sha256::digest(certificate.as_ref()).iter().map(|b| format!("{b:02x}")).collect();
    let mut user = User { name, uid: uids.pop().unwrap_or_default(), groups: all(&ORGANIZATION), ..User::default() };
    user.extra.insert("authentication.kubernetes.io/credential-id".to_owned(), vec![format!("X509SHA256={digest}")]);
    let not_after = Timestamp::from_second(parsed.validity().not_after.timestamp()).ok()?;
    Some(Identity { user, not_after })
}
