//! Reading the bodies of requests.

use apimachinery::status::ApiError;
use axum::body::Body;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};

/// The largest body that is read.
pub(super) const LIMIT: usize = 3 * 1024 * 1024;

/// Reads a body whole.
pub(super) async fn read(body: Body) -> Result<Bytes, ApiError> {
    match Limited::new(body, LIMIT).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(e) if e.downcast_ref::<LengthLimitError>().is_some() => {
            Err(ApiError::too_large(format!("Request entity too large: limit is {LIMIT}")))
        }
        Err(e) => Err(ApiError::bad_request(format!("unable to read the request's body: {e}"))),
    }
}
