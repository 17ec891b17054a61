//! Who a request is from: client certificate, bearer token, or nobody.

use std::sync::Arc;

use apimachinery::status::ApiError;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use http::header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL};
use store::Store;

use super::User;
use super::objects::Objects;
use super::token::claims::{self, Accepted, Rejected};
use super::user::GROUP_AUTHENTICATED;
use crate::clock::SharedClock;
use crate::tenants::Tenant;
use crate::tls::Peer;

/// A WebSocket client that can set no headers sends its token as a subprotocol with this prefix, base64url-coded.
const WEBSOCKET_BEARER: &str = "base64url.bearer.authorization.k8s.io.";

/// Finds out who a request is from.
///
/// Headers of a front proxy (`X-Remote-User` and its like) are never looked at: nothing stands in front of this server
/// whose word it would take.
pub struct Authenticator {
    store: Arc<dyn Store>,
    clock: SharedClock,
}

impl Authenticator {
    /// An authenticator over the objects in a store.
    pub fn new(store: Arc<dyn Store>, clock: SharedClock) -> Self {
        Self { store, clock }
    }

    /// The user of a request: of the connection's certificate if it is this tenant's, or of the bearer token, or
    /// anonymous if there is neither.
    ///
    /// # Errors
    /// 401 for credentials that do not hold, 503 when that can not be found out.
    pub async fn authenticate(&self, tenant: &Tenant, peer: &Peer, headers: &HeaderMap) -> Result<User, ApiError> {
        let mut failed = false;
        match peer {
            Peer::Verified(identity) if self.clock.now() <= identity.not_after => {
                return Ok(authenticated(identity.user.clone()));
            }
            Peer::Verified(_) | Peer::Untrusted => failed = true,
            Peer::None => {}
        }
        if let Some(token) = bearer_token(headers)? {
            match self.token(tenant, &token, &[tenant.issuer()]).await {
                Ok(accepted) => return Ok(accepted.user),
                Err(Rejected::Failed(error)) => return Err(error),
                Err(Rejected::Invalid(why)) => {
                    tracing::debug!(tenant = %tenant.id(), %why, "token refused");
                    failed = true;
                }
                Err(Rejected::Foreign) => failed = true,
            }
        }
        if failed { Err(ApiError::unauthorized()) } else { Ok(User::anonymous()) }
    }

    /// Checks a token for one of these audiences. The user is in `system:authenticated`.
    ///
    /// # Errors
    /// See [`Rejected`].
    pub async fn token(&self, tenant: &Tenant, token: &str, audiences: &[String]) -> Result<Accepted, Rejected> {
        let objects = Objects { store: self.store.as_ref(), tenant: tenant.id() };
        let accepted = claims::accept(tenant, objects, token, audiences, self.clock.now()).await?;
        Ok(Accepted { user: authenticated(accepted.user), ..accepted })
    }
}

impl std::fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authenticator").finish_non_exhaustive()
    }
}

/// Adds the group that all have who are known.
pub(crate) fn authenticated(mut user: User) -> User {
    let known = [GROUP_AUTHENTICATED, super::user::GROUP_UNAUTHENTICATED];
    if !user.groups.iter().any(|g| known.contains(&g.as_str())) {
        user.groups.push(GROUP_AUTHENTICATED.to_owned());
    }
    user
}

/// The bearer token of a request, if it has one.
///
/// # Errors
/// 401 for more than one `Authorization` header, of which different readers would take different ones.
fn bearer_token(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    if let Some(value) = values.next() {
        if values.next().is_some() {
            return Err(ApiError::unauthorized());
        }
        let value = value.to_str().map_err(|_| ApiError::unauthorized())?.trim();
        let mut words = value.splitn(3, ' ');
        let bearer = words.next().is_some_and(|w| w.eq_ignore_ascii_case("bearer"));
        if bearer && let Some(token) = words.next().filter(|t| !t.is_empty()) {
            return Ok(Some(token.to_owned()));
        }
    }
    let protocols = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|v| v.to_str().ok());
    let mut coded = protocols.flat_map(|v| v.split(',')).filter_map(|p| p.trim().strip_prefix(WEBSOCKET_BEARER));
    let Some(first) = coded.next() else { return Ok(None) };
    if coded.next().is_some() {
        return Err(ApiError::unauthorized());
    }
    let token = URL_SAFE_NO_PAD.decode(first).ok().and_then(|t| String::from_utf8(t).ok());
    token.map(Some).ok_or_else(ApiError::unauthorized)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn token(values: &[&str]) -> Result<Option<String>, u16> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        }
        bearer_token(&headers).map_err(|e| e.code)
    }

    #[test]
    fn only_one_bearer_token_is_taken() {
        assert_eq!(token(&[]), Ok(None));
        assert_eq!(token(&["Bearer x"]), Ok(Some("x".into())));
        assert_eq!(token(&["bEARER x"]), Ok(Some("x".into())));
        for other in ["Basic x", "Bearer", "Bearer ", "", "Bearerx y"] {
            assert_eq!(token(&[other]), Ok(None), "{other}");
        }
        assert_eq!(token(&["Bearer x", "Bearer y"]), Err(401));
        assert_eq!(token(&["Basic x", "Bearer y"]), Err(401));
    }

    #[test]
    fn a_websocket_may_carry_its_token_as_a_subprotocol() {
        let mut headers = HeaderMap::new();
        let value = format!("v5.channel.k8s.io, {WEBSOCKET_BEARER}{}", URL_SAFE_NO_PAD.encode("abc"));
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_str(&value).unwrap());
        assert_eq!(bearer_token(&headers), Ok(Some("abc".into())));
    }
}
