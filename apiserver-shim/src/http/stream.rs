//! Streams to pods and services: authorized here, carried by the host.

use std::sync::Arc;

use apimachinery::resource::Resource;
use apimachinery::status::ApiError;
use axum::body::Body;
use futures::StreamExt;
use http::header::{AUTHORIZATION, CONNECTION, COOKIE, HeaderName, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use tenant_client::host::{StreamRequest, StreamResponse};

use super::Exchange;

/// Whether a subresource is a stream.
pub(super) fn is_stream(resource: &Resource, subresource: &str) -> bool {
    resource.gvr.group.is_empty()
        && matches!(
            (resource.gvr.resource.as_str(), subresource),
            ("pods", "log" | "exec" | "attach" | "portforward" | "proxy") | ("services", "proxy")
        )
}

/// Passes a request through to the host.
pub(super) async fn serve(exchange: Exchange, request: Request<Body>) -> Result<Response<Body>, ApiError> {
    let info = &exchange.info;
    let Some(host) = exchange.registry().host().map(Arc::clone) else {
        return Err(ApiError::unavailable("the host cluster is away: streams to pods need it"));
    };
    let subresource =
        if info.rest.is_empty() { info.subresource.clone() } else { format!("{}/{}", info.subresource, info.rest) };
    let (mut parts, body) = request.into_parts();
    let upgrade = parts.headers.contains_key(UPGRADE);
    let pending = parts.extensions.remove::<hyper::upgrade::OnUpgrade>();
    let stream = StreamRequest {
        tenant: exchange.origin.tenant,
        namespace: info.namespace.clone(),
        resource: if info.resource == "services" { "services" } else { "pods" },
        name: info.name.clone(),
        subresource,
        query: exchange.raw_query.clone(),
        method: parts.method.clone(),
        headers: passed_on(&parts.headers, upgrade),
        body: Box::pin(body.into_data_stream().map(|chunk| chunk.map_err(std::io::Error::other))),
    };
    match host.stream(stream).await? {
        StreamResponse::Body(response) => Ok(response.map(Body::from_stream)),
        StreamResponse::Upgraded(response, mut far) => {
            let Some(pending) = pending else {
                return Err(ApiError::bad_request("the host switched protocols, but this connection can't"));
            };
            let (stop, entry) = (exchange.shared.stop.clone(), exchange.entry);
            exchange.shared.streams.spawn(async move {
                let Ok(near) = pending.await else { return };
                let mut near = TokioIo::new(near);
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = entry.closing.cancelled() => {}
                    _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                }
            });
            Ok(response.map(|()| Body::empty()))
        }
    }
}

/// The headers that the host gets to see: no credentials, and what is meant for this hop only if it is an upgrade.
fn passed_on(headers: &HeaderMap, upgrade: bool) -> HeaderMap {
    let named: Vec<String> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .map(|v| v.trim().to_ascii_lowercase())
        .collect();
    let keep = |name: &HeaderName| {
        let text = name.as_str();
        if *name == CONNECTION || *name == UPGRADE {
            return upgrade;
        }
        let identity = *name == AUTHORIZATION
            || *name == COOKIE
            || text.starts_with("impersonate-")
            || text.starts_with("x-remote-")
            || text == "host";
        let hop = *name == TRANSFER_ENCODING
            || matches!(text, "keep-alive" | "te" | "trailer" | "proxy-authorization" | "proxy-connection")
            || named.iter().any(|n| n == text);
        !identity && !hop
    };
    headers.iter().filter(|(name, _)| keep(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}
