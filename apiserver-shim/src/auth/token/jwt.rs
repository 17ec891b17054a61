//! JSON Web Tokens in compact form, signed with ES256 (RFC 7515, RFC 7518 3.4).
//!
//! Exactly one algorithm and one key are accepted: what a token's header says is compared with them and never obeyed.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, UnparsedPublicKey};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::tls::CertificateError;

/// Longer tokens are not looked at.
const MAX_TOKEN: usize = 16 * 1024;
/// What comes before the point in the DER of a P-256 public key (RFC 5480).
const SPKI_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// What comes before the point at the end of a key in PKCS#8 (RFC 5915): a bit string of 65 bytes.
const PUBLIC: [u8; 3] = [0x03, 0x42, 0x00];
/// The length of an uncompressed point.
const POINT: usize = 65;

/// A tenant's key for tokens: P-256, PKCS#8.
pub struct TokenKey {
    /// Ends with the public key: see [`PUBLIC`].
    pkcs8: Box<[u8]>,
}

/// Why a token is no good. For logs and TokenReview; clients of other requests see 401 and no more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not three parts of base64url with JSON in the first two, or too long.
    #[error("malformed token")]
    Malformed,
    /// Another algorithm or key, or a signature that does not fit.
    #[error("invalid signature, no keys found")]
    Signature,
    /// Anything in its claims.
    #[error("{0}")]
    Claims(String),
}

impl std::fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenKey").field("id", &self.id()).finish_non_exhaustive()
    }
}

impl TokenKey {
    /// Makes a new key.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn generate() -> Result<Self, CertificateError> {
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
            .map_err(|_| CertificateError::new("no randomness for a key"))?;
        Self::from_pkcs8(pkcs8.as_ref().to_vec())
    }

    /// Takes what [`TokenKey::into_pkcs8`] gave. Whether the private half goes with the public one is found out when
    /// it signs: that takes a multiplication on the curve, and a server has thousands of these when it starts.
    ///
    /// # Errors
    /// When it has not the form of such a key.
    pub fn from_pkcs8(pkcs8: Vec<u8>) -> Result<Self, CertificateError> {
        let public = pkcs8.len().checked_sub(PUBLIC.len() + POINT);
        if public.is_none_or(|at| !pkcs8[at..].starts_with(&PUBLIC)) {
            return Err(CertificateError::new("no P-256 key in PKCS#8 with its public half"));
        }
        Ok(Self { pkcs8: pkcs8.into() })
    }

    /// The public key: an uncompressed point.
    fn public(&self) -> &[u8] {
        &self.pkcs8[self.pkcs8.len() - POINT..]
    }

    /// The key as PKCS#8.
    pub fn into_pkcs8(self) -> Vec<u8> {
        self.pkcs8.into()
    }

    /// `kid`: base64url of the SHA-256 of the public key's DER.
    pub fn id(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(SPKI_PREFIX);
        hash.update(self.public());
        URL_SAFE_NO_PAD.encode(hash.finalize())
    }

    /// The public key as a JSON Web Key (RFC 7517).
    pub fn jwk(&self) -> Value {
        // 0x04, then both coordinates of the point.
        let (x, y) = self.public()[1..].split_at(32);
        json!({
            "use": "sig", "kty": "EC", "kid": self.id(), "crv": "P-256", "alg": "ES256",
            "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
        })
    }

    /// Signs claims.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn sign(&self, claims: &Value) -> Result<String, CertificateError> {
        let header = format!("{{\"alg\":\"ES256\",\"kid\":\"{}\"}}", self.id());
        let mut token = URL_SAFE_NO_PAD.encode(header);
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(claims.to_string(), &mut token);
        let signature = pair(&self.pkcs8)?
            .sign(&SystemRandom::new(), token.as_bytes())
            .map_err(|_| CertificateError::new("no randomness for a signature"))?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature.as_ref(), &mut token);
        Ok(token)
    }

    /// Checks a token's signature and gives its claims, none of which are checked.
    ///
    /// # Errors
    /// [`TokenError::Malformed`] or [`TokenError::Signature`].
    pub fn verify(&self, token: &str) -> Result<Value, TokenError> {
        let (signed, signature) = split(token)?;
        let header = signed.split('.').next().and_then(json_part).ok_or(TokenError::Malformed)?;
        let own = self.id();
        let fits = |key: &str, wanted: &str| header.get(key).and_then(Value::as_str) == Some(wanted);
        // A critical extension that we do not know must not be ignored (RFC 7515 4.1.11).
        if !fits("alg", "ES256") || !fits("kid", &own) || header.get("crit").is_some() {
            return Err(TokenError::Signature);
        }
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| TokenError::Malformed)?;
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.public())
            .verify(signed.as_bytes(), &signature)
            .map_err(|_| TokenError::Signature)?;
        signed.split('.').nth(1).and_then(json_part).ok_or(TokenError::Malformed)
    }
}

/// The issuer that a token claims, unverified; none if it is no token.
pub fn claimed_issuer(token: &str) -> Option<String> {
    let (signed, _) = split(token).ok()?;
    json_part(signed.split('.').nth(1)?)?.get("iss")?.as_str().map(str::to_owned)
}

/// What is signed, and the signature.
fn split(token: &str) -> Result<(&str, &str), TokenError> {
    if token.len() > MAX_TOKEN || token.bytes().filter(|b| *b == b'.').count() != 2 {
        return Err(TokenError::Malformed);
    }
    token.rsplit_once('.').ok_or(TokenError::Malformed)
}

fn json_part(part: &str) -> Option<Value> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

fn pair(pkcs8: &[u8]) -> Result<EcdsaKeyPair, CertificateError> {
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8, &SystemRandom::new())
        .map_err(CertificateError::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_come_back_with_the_same_key_alone() {
        let key = TokenKey::generate().unwrap();
        let other = TokenKey::generate().unwrap();
        let claims = json!({"iss": "a", "sub": "b"});
        let token = key.sign(&claims).unwrap();
        assert_eq!(key.verify(&token), Ok(claims));
        assert_eq!(other.verify(&token), Err(TokenError::Signature));
        assert_eq!(claimed_issuer(&token).as_deref(), Some("a"));
        let again = TokenKey::from_pkcs8(key.pkcs8.to_vec()).unwrap();
        assert!(again.verify(&token).is_ok());
        assert_eq!(again.jwk(), key.jwk());
        // The public half of another: found out when it signs, and what the right one signed is not taken.
        let mut mixed = key.pkcs8.to_vec();
        let at = mixed.len() - POINT;
        mixed[at..].copy_from_slice(other.public());
        let mixed = TokenKey::from_pkcs8(mixed).unwrap();
        assert!(mixed.sign(&json!({})).is_err() && mixed.verify(&token).is_err());
        for bad in [&key.pkcs8[1..67], &key.pkcs8[..137], &[]] {
            assert!(TokenKey::from_pkcs8(bad.to_vec()).is_err());
        }
    }

    #[test]
    fn every_changed_part_is_refused() {
        let key = TokenKey::generate().unwrap();
        let token = key.sign(&json!({"iss": "a"})).unwrap();
        let parts: Vec<&str> = token.split('.').collect();
        let forged = URL_SAFE_NO_PAD.encode(r#"{"iss":"b"}"#);
        assert_eq!(key.verify(&format!("{}.{forged}.{}", parts[0], parts[2])), Err(TokenError::Signature));
        for header in [
            r#"{"alg":"none"}"#.to_owned(),
            format!(r#"{{"alg":"none","kid":"{}"}}"#, key.id()),
            format!(r#"{{"alg":"HS256","kid":"{}"}}"#, key.id()),
            r#"{"alg":"ES256"}"#.to_owned(),
        ] {
            let header = URL_SAFE_NO_PAD.encode(header);
            let bad = format!("{header}.{}.{}", parts[1], parts[2]);
            assert_eq!(key.verify(&bad), Err(TokenError::Signature));
            assert!(key.verify(&format!("{header}.{}.", parts[1])).is_err());
        }
        for bad in ["", ".", "..", "a.b", "a.b.c.d", "\u{0}.\u{0}.\u{0}", &"x".repeat(100_000)] {
            assert_eq!(key.verify(bad), Err(TokenError::Malformed), "{bad:.20}");
        }
    }

    #[test]
    fn the_key_id_is_that_of_the_public_key_in_der() {
        let key = TokenKey::generate().unwrap();
        let jwk = key.jwk();
        let part = |name: &str| URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap()).unwrap();
        let der = [&SPKI_PREFIX[..], &[4], &part("x"), &part("y")].concat();
        assert_eq!(jwk["kid"], URL_SAFE_NO_PAD.encode(Sha256::digest(der)));
    }
}
