//! The certificate authority of a tenant and what it signs.
//!
//! ECDSA on P-256 throughout: a key and a certificate take well under a millisecond, so serving certificates are made
//! when a connection needs one and never kept on disk.

use std::net::IpAddr;
use std::time::Duration;

use apimachinery::tenant::TenantId;
use jiff::Timestamp;
use rand::RngCore;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType, SerialNumber,
};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};

/// How long an authority is valid.
pub const AUTHORITY_LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// How long a serving certificate is valid.
pub const SERVING_LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long the client certificate in a kubeconfig is valid.
pub const CLIENT_LIFETIME: Duration = Duration::from_secs(365 * 24 * 3600);
/// Certificates are valid from a little before they are made, for clients whose clock is behind.
const BACKDATE: Duration = Duration::from_secs(300);

/// Key material could not be made or read. Carries no secrets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("certificate: {0}")]
pub struct CertificateError(String);

/// A certificate authority: its certificate and key as DER.
#[derive(Clone)]
pub struct Authority {
    certificate: CertificateDer<'static>,
    key: Box<[u8]>,
}

/// A signed certificate and its key.
pub struct Issued {
    /// The certificate.
    pub certificate: CertificateDer<'static>,
    /// Its key, PKCS#8.
    pub key: PrivatePkcs8KeyDer<'static>,
    /// When it ends.
    pub not_after: Timestamp,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

impl Authority {
    /// Makes a new authority.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn generate(id: TenantId, now: Timestamp) -> Result<Self, CertificateError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(wrong)?;
        let mut params = params(now, AUTHORITY_LIFETIME);
        params.distinguished_name.push(DnType::CommonName, format!("tenantry {id}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        let certificate = params.self_signed(&key).map_err(wrong)?;
        Ok(Self { certificate: certificate.der().clone(), key: key.serialized_der().into() })
    }

    /// Takes what [`Authority::certificate`] and [`Authority::key`] gave.
    pub fn from_der(certificate: Vec<u8>, key: Vec<u8>) -> Self {
        Self { certificate: certificate.into(), key: key.into() }
    }

    /// Its certificate.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// Its key, PKCS#8.
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// Its certificate as PEM: `ca.crt` everywhere.
    pub fn pem(&self) -> String {
        pem("CERTIFICATE", &self.certificate)
    }

    /// Signs a serving certificate for these names and addresses.
    ///
    /// # Errors
    /// For a name that is no ASCII.
    pub fn serving(&self, names: &[String], addresses: &[IpAddr], now: Timestamp) -> Result<Issued, CertificateError> {
        let mut params = params(now, SERVING_LIFETIME);
        params.distinguished_name.push(DnType::CommonName, "kube-apiserver");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        for name in names {
            params.subject_alt_names.push(SanType::DnsName(name.as_str().try_into().map_err(wrong)?));
        }
        params.subject_alt_names.extend(addresses.iter().map(|ip| SanType::IpAddress(*ip)));
        self.issue(params, now + SERVING_LIFETIME)
    }

    /// Signs a client certificate for a user in groups.
    ///
    /// # Errors
    /// When the authority's own key can not be read.
    pub fn client(
        &self,
        user: &str,
        groups: &[&str],
        lifetime: Duration,
        now: Timestamp,
    ) -> Result<Issued, CertificateError> {
        let mut params = params(now, lifetime);
        params.distinguished_name.push(DnType::CommonName, user);
        for group in groups {
            params.distinguished_name.push(DnType::OrganizationName, *group);
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(params, now + lifetime)
    }

    fn issue(&self, mut params: CertificateParams, not_after: Timestamp) -> Result<Issued, CertificateError> {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        // Says that a leaf is a leaf: Go's own certificates do, and some verifiers insist.
        params.is_ca = IsCa::ExplicitNoCa;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(wrong)?;
        let own = PrivatePkcs8KeyDer::from(self.key.as_ref());
        let own = KeyPair::from_pkcs8_der_and_sign_algo(&own, &PKCS_ECDSA_P256_SHA256).map_err(wrong)?;
        let issuer = Issuer::from_ca_cert_der(&self.certificate, own).map_err(wrong)?;
        let certificate = params.signed_by(&key, &issuer).map_err(wrong)?;
        Ok(Issued {
            certificate: certificate.der().clone(),
            key: PrivatePkcs8KeyDer::from(key.serialized_der().to_vec()),
            not_after,
        })
    }
}

impl Issued {
    /// The certificate as PEM.
    pub fn certificate_pem(&self) -> String {
        pem("CERTIFICATE", &self.certificate)
    }

    /// The key as PEM.
    pub fn key_pem(&self) -> String {
        pem("PRIVATE KEY", self.key.secret_pkcs8_der())
    }
}

/// DER as PEM (RFC 7468).
pub fn pem(label: &str, der: &[u8]) -> String {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let mut out = format!("-----BEGIN {label}-----\n");
    for line in text.as_bytes().chunks(64) {
        out.push_str(&String::from_utf8_lossy(line));
        out.push('\n');
    }
    out.push_str(&format!("-----END {label}-----\n"));
    out
}

fn params(now: Timestamp, lifetime: Duration) -> CertificateParams {
    let mut params = CertificateParams::default();
    let seconds = |t: Timestamp| Duration::from_secs(u64::try_from(t.as_second()).unwrap_or(0));
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + seconds(now - BACKDATE);
    params.not_after = epoch + seconds(now + lifetime);
    params.distinguished_name = DistinguishedName::new();
    let mut serial = [0; 16];
    rand::rng().fill_bytes(&mut serial);
    // Positive and of full length (RFC 5280, 4.1.2.2).
    serial[0] = serial[0] & 0x7f | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params
}

impl CertificateError {
    /// From what a library says.
    pub(crate) fn new(error: impl std::fmt::Display) -> Self {
        Self(error.to_string())
    }
}

fn wrong(error: impl std::fmt::Display) -> CertificateError {
    CertificateError::new(error)
}
