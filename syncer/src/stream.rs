//! Logs, exec, attach, port-forward and proxy: the tenant's request, carried to the subresource of the host object with
//! our own credentials; what comes after an upgrade is not looked at.

use std::sync::Arc;

use apimachinery::gvk::GroupResource;
use apimachinery::meta::{self, list_at};
use apimachinery::status::ApiError;
use apimachinery::tenant::TenantId;
use bytes::Bytes;
use futures::TryStreamExt;
use http::header::{CONNECTION, CONTENT_LENGTH, HeaderName, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper_util::rt::TokioIo;
use kube::client::Body;
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde_json::Value;
use tenant_client::host::{ByteStream, StreamRequest, StreamResponse};

use crate::context::Context;
use crate::error::SyncError;
use crate::marks::Mark;
use crate::pods::PODS;
use crate::rewrite::Rewrite;
use crate::services::SERVICES;

/// How much of a refusal of the host is read.
const REFUSAL_LIMIT: usize = 1 << 20;
/// How much of a proxied request's body is taken: the client below sends bodies as a whole.
const BODY_LIMIT: usize = 16 << 20;
/// The WebSocket subprotocol in which browsers send a token.
const TOKEN_PROTOCOL: &str = "base64url.bearer.authorization.k8s.io.";

/// The query parameters that a subresource knows; `None` where the query is not the API's (proxy).
fn known_parameters(subresource: &str) -> Option<&'static [&'static str]> {
    Some(match subresource {
        "log" => &[
            "container",
            "follow",
            "previous",
            "sinceSeconds",
            "sinceTime",
            "timestamps",
            "tailLines",
            "limitBytes",
            "insecureSkipTLSVerifyBackend",
            "stream",
        ],
        "exec" => &["command", "container", "stdin", "stdout", "stderr", "tty"],
        "attach" => &["container", "stdin", "stdout", "stderr", "tty"],
        "portforward" => &["ports"],
        "proxy" => return None,
        _ => &[],
    })
}

/// A [`StreamRequest`] without its body, which cannot be looked at by two threads.
struct Asked {
    tenant: TenantId,
    namespace: String,
    resource: &'static str,
    name: String,
    subresource: String,
    query: String,
    method: Method,
    headers: HeaderMap,
}

/// Carries a request to the host.
///
/// # Errors
/// 404 without a host object that is this tenant's, 400 for what the API does not know, 503 if the host is away, or what the host says.
pub(crate) async fn carry(context: &Arc<Context>, request: StreamRequest) -> Result<StreamResponse, ApiError> {
    let StreamRequest { tenant, namespace, resource, name, subresource, query, method, headers, body } = request;
    let request = Asked { tenant, namespace, resource, name, subresource, query, method, headers };
    let (subresource, rest) = request.subresource.split_once('/').unwrap_or((&request.subresource, ""));
    let allowed = match request.resource {
        "pods" => matches!(subresource, "log" | "exec" | "attach" | "portforward" | "proxy"),
        "services" => subresource == "proxy",
        _ => false,
    };
    if !allowed {
        return Err(ApiError::not_implemented(format!(
            "{}/{subresource} is not carried to the host",
            request.resource
        )));
    }
    let (name, addressed) = if subresource == "proxy" {
        addressed_name(&request.name)
    } else {
        (request.name.as_str(), request.name.as_str())
    };
    let host_namespace = owned_namespace(context, &request, name).await?;
    let query = match known_parameters(subresource) {
        Some(known) => {
            let mut query = known_query(&request.query, known);
            if request.resource == "pods" && subresource != "portforward" {
                check_container(context, &request, name, &mut query).await?;
            }
            to_query(&query)
        }
        None => request.query.clone(),
    };
    let mut path =
        format!("/api/v1/namespaces/{host_namespace}/{}/{}/{subresource}", request.resource, encode(addressed));
    if request.subresource.contains('/') {
        path.push_str(&proxy_path(rest)?);
    }
    if !query.is_empty() {
        path.push('?');
        path.push_str(&query);
    }
    send(context, &request, body, &host_namespace, &path).await
}

/// The host namespace of the request's object, once it is certain that the host has it and that it is this tenant's.
async fn owned_namespace(context: &Context, request: &Asked, name: &str) -> Result<String, ApiError> {
    let kind = if request.resource == "pods" { PODS } else { SERVICES };
    let resource = GroupResource::new("", kind.resource);
    let not_found = || ApiError::not_found(&resource, name);
    let host_namespace = context.host_namespace(request.tenant, &request.namespace).map_err(|_| away())?;
    // What was seen may be of an earlier pod of that name, so the tenant's own object decides which it must be.
    let tenant = context.tenant_get(request.tenant, &resource, &request.namespace, name).await;
    let Some(tenant) = tenant.map_err(into_api)? else { return Err(not_found()) };
    let uid = tenant.stored.uid().to_string();
    let seen = context.marked.get(request.tenant, kind.resource, &request.namespace, name);
    let host = match seen.filter(|h| !h.gone).map(|h| h.value()) {
        Some(host) if host["metadata"]["annotations"][crate::marks::UID] == uid => host,
        _ => match context.host.get(kind, &host_namespace, name).await {
            Ok(Some(host)) => host,
            Ok(None) => return Err(not_yet(&resource, name)),
            Err(e) => return Err(into_api(e.into())),
        },
    };
    let mark = Mark::read(&host, |t| context.directory.name(t));
    if mark.is_none_or(|m| m.tenant != request.tenant || m.name != name || m.uid != uid) {
        return Err(not_yet(&resource, name));
    }
    if kind == SERVICES && list_selector_is_empty(&host) {
        // Its endpoints are what the tenant wrote; the host's API server must not be sent to any address.
        return Err(ApiError::forbidden(&resource, name, "a service without selector cannot be proxied"));
    }
    Ok(host_namespace)
}

fn list_selector_is_empty(service: &Value) -> bool {
    service["spec"]["selector"].as_object().is_none_or(serde_json::Map::is_empty)
}

fn not_yet(resource: &GroupResource, name: &str) -> ApiError {
    let mut error = ApiError::not_found(resource, name);
    error.message = format!("{resource} {name:?} is not on the host cluster (yet)");
    error
}

fn away() -> ApiError {
    ApiError::unavailable("the host cluster is away: streams to pods need it; try again")
}

fn into_api(error: SyncError) -> ApiError {
    match error {
        SyncError::Tenant(error) => error,
        _ => away(),
    }
}

/// Containers that the host injected are not the tenant's; a pod with one container of its own needs no choice.
async fn check_container(
    context: &Context,
    request: &Asked,
    name: &str,
    query: &mut Vec<(String, String)>,
) -> Result<(), ApiError> {
    let resource = GroupResource::new("", "pods");
    let pod = context.tenant_get(request.tenant, &resource, &request.namespace, name).await.map_err(into_api)?;
    let pod = pod.ok_or_else(|| ApiError::not_found(&resource, name))?.to_value()?;
    let names = |list: &str| -> Vec<String> {
        list_at(&pod, &["spec", list]).iter().map(|c| meta::str_at(c, &["name"]).to_owned()).collect()
    };
    let own = names("containers");
    match query.iter().find(|(key, value)| key == "container" && !value.is_empty()) {
        Some((_, wanted)) => {
            let known = [own, names("initContainers"), names("ephemeralContainers")].concat();
            if known.contains(wanted) {
                return Ok(());
            }
            Err(ApiError::bad_request(format!("container {wanted} is not valid for pod {name}")))
        }
        None => {
            let default = meta::str_at(&pod, &["metadata", "annotations", "kubectl.kubernetes.io/default-container"]);
            match own.as_slice() {
                [only] => query.push(("container".to_owned(), only.clone())),
                all if all.iter().any(|c| c == default) => query.push(("container".to_owned(), default.to_owned())),
                all => {
                    let init = names("initContainers");
                    let mut choices = format!("choose one of: [{}]", all.join(" "));
                    if !init.is_empty() {
                        choices.push_str(&format!(" or one of the init containers: [{}]", init.join(" ")));
                    }
                    let message = format!("a container name must be specified for pod {name}, {choices}");
                    return Err(ApiError::bad_request(message));
                }
            }
            Ok(())
        }
    }
}

async fn send(
    context: &Context,
    request: &Asked,
    body: ByteStream,
    host_namespace: &str,
    path: &str,
) -> Result<StreamResponse, ApiError> {
    let upgrade = request.headers.contains_key(UPGRADE);
    let body = if upgrade || matches!(request.method, Method::GET | Method::HEAD) {
        Body::empty()
    } else {
        let body = http_body_util::Limited::new(StreamBody::new(body.map_ok(http_body::Frame::data)), BODY_LIMIT);
        let read = body.collect().await;
        Body::from(read.map_err(|_| ApiError::too_large("a proxied request may have 16 MiB at most"))?.to_bytes())
    };
    let mut out = Request::new(body);
    *out.method_mut() = request.method.clone();
    *out.uri_mut() = path.parse().map_err(|_| ApiError::bad_request("the path or query is malformed"))?;
    *out.headers_mut() = passed_headers(&request.headers, upgrade);
    let response = context.host.send(out).await.map_err(|error| {
        tracing::warn!(tenant = %request.tenant, %error, "a stream could not be opened on the host");
        away()
    })?;
    let (mut parts, body) = response.into_parts();
    let is_proxy = request.subresource.starts_with("proxy");
    if parts.status == StatusCode::SWITCHING_PROTOCOLS {
        let headers = answered_headers(&parts.headers, true);
        let pending = hyper::upgrade::on(Response::from_parts(parts, body));
        let upgraded = pending.await.map_err(|_| away())?;
        let mut answer = Response::new(());
        *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        *answer.headers_mut() = headers;
        return Ok(StreamResponse::Upgraded(answer, Box::new(TokioIo::new(upgraded))));
    }
    if !is_proxy && !parts.status.is_success() {
        let bytes = http_body_util::Limited::new(body, REFUSAL_LIMIT).collect().await.map_err(|_| away())?.to_bytes();
        return Err(host_refusal(context, request, host_namespace, parts.status, &bytes));
    }
    parts.headers = answered_headers(&parts.headers, false);
    let stream = body.into_data_stream().map_err(std::io::Error::other);
    Ok(StreamResponse::Body(Response::from_parts(parts, Box::pin(stream))))
}

fn host_refusal(
    context: &Context,
    request: &Asked,
    host_namespace: &str,
    status: StatusCode,
    body: &Bytes,
) -> ApiError {
    // A kubelet refuses in plain text.
    let plain = || serde_json::json!({"message": String::from_utf8_lossy(body).trim()});
    let value = serde_json::from_slice(body).unwrap_or_else(|_| plain());
    let mut error = ApiError::from_status(status.as_u16(), &value);
    if matches!(error.code, 401 | 403) {
        // This is about our own rights.
        tracing::warn!(tenant = %request.tenant, host_namespace, message = error.message, "the host refused a stream");
        return away();
    }
    if let Some(settings) = context.directory.get(request.tenant) {
        let rewrite = Rewrite::new(request.tenant, &settings.name, &request.namespace);
        error.message = rewrite.text(&error.message);
        for cause in &mut error.causes {
            cause.message = rewrite.text(&cause.message);
        }
    }
    error
}

/// `[scheme:]name[:port]` as the name in it and what is asked of the host.
fn addressed_name(name: &str) -> (&str, &str) {
    let mut parts = name.split(':');
    match (parts.next(), parts.next(), parts.next()) {
        (Some("http" | "https"), Some(inner), Some(_)) => (inner, name),
        (Some(inner), Some(_), None) => (inner, name),
        _ => (name, name),
    }
}

/// The rest of a proxied path. Segments that climb are refused: nothing may leave the object's own subresource.
fn proxy_path(rest: &str) -> Result<String, ApiError> {
    let mut path = String::new();
    for segment in rest.split('/') {
        let decoded = percent_decode_str(segment).decode_utf8_lossy();
        if matches!(decoded.as_ref(), "." | "..") || decoded.contains(['/', '\\']) {
            return Err(ApiError::bad_request("a proxied path may not contain . or .. segments"));
        }
        path.push('/');
        path.push_str(&encode(&decoded));
    }
    Ok(path)
}

fn known_query(query: &str, known: &[&str]) -> Vec<(String, String)> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(key, value)| (decode(key), decode(value)))
        .filter(|(key, _)| known.contains(&key.as_str()))
        .collect()
}

fn to_query(pairs: &[(String, String)]) -> String {
    pairs.iter().map(|(key, value)| format!("{}={}", encode(key), encode(value))).collect::<Vec<_>>().join("&")
}

fn decode(text: &str) -> String {
    percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}

fn encode(text: &str) -> String {
    const KEEP: &percent_encoding::AsciiSet =
        &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b':');
    utf8_percent_encode(text, KEEP).to_string()
}

/// The headers that the host gets: none that says who someone is, none of another hop.
fn passed_headers(headers: &HeaderMap, upgrade: bool) -> HeaderMap {
    let mut out = HeaderMap::new();
    for (name, value) in headers {
        if says_who(name) || is_hop(name) || *name == CONTENT_LENGTH && upgrade {
            continue;
        }
        if *name == SEC_WEBSOCKET_PROTOCOL {
            let text = value.to_str().unwrap_or_default();
            let kept: Vec<&str> =
                text.split(',').map(str::trim).filter(|p| !p.is_empty() && !p.starts_with(TOKEN_PROTOCOL)).collect();
            if let (false, Ok(value)) = (kept.is_empty(), HeaderValue::from_str(&kept.join(", "))) {
                out.append(name.clone(), value);
            }
            continue;
        }
        out.append(name.clone(), value.clone());
    }
    if upgrade && let Some(protocol) = headers.get(UPGRADE) {
        out.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        out.insert(UPGRADE, protocol.clone());
    }
    out
}

/// The headers of the host's answer that the client gets.
fn answered_headers(headers: &HeaderMap, upgrade: bool) -> HeaderMap {
    let keep = |name: &HeaderName| {
        upgrade && (*name == CONNECTION || *name == UPGRADE)
            || !is_hop(name) && !name.as_str().starts_with("x-kubernetes-pf-") && name.as_str() != "audit-id"
    };
    headers.iter().filter(|(name, _)| keep(name)).map(|(n, v)| (n.clone(), v.clone())).collect()
}

fn says_who(name: &HeaderName) -> bool {
    // Underscores and case variants reach some servers as the same header.
    let name = name.as_str().replace('_', "-");
    matches!(name.as_str(), "authorization" | "cookie" | "host" | "proxy-authorization" | "x-forwarded-client-cert")
        || ["impersonate-", "x-remote-", "x-forwarded-"].iter().any(|prefix| name.starts_with(prefix))
}

fn is_hop(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "upgrade"
            | "keep-alive"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "proxy-connection"
            | "proxy-authenticate"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v))).collect()
    }

    #[test]
    fn no_identity_reaches_the_host() {
        let given = headers(&[
            ("authorization", "Bearer x"),
            ("impersonate-user", "system:admin"),
            ("impersonate_user", "system:admin"),
            ("x-remote-group", "system:masters"),
            ("cookie", "a=b"),
            ("connection", "Upgrade, X-Remote-User"),
            ("upgrade", "SPDY/3.1"),
            ("x-stream-protocol-version", "v4.channel.k8s.io"),
            ("sec-websocket-protocol", "v5.channel.k8s.io, base64url.bearer.authorization.k8s.io.c2VjcmV0"),
        ]);
        let out = passed_headers(&given, true);
        assert_eq!(
            out,
            headers(&[
                ("x-stream-protocol-version", "v4.channel.k8s.io"),
                ("sec-websocket-protocol", "v5.channel.k8s.io"),
                ("connection", "Upgrade"),
                ("upgrade", "SPDY/3.1"),
            ])
        );
        assert!(passed_headers(&given, false).get(CONNECTION).is_none());
    }

    #[test]
    fn queries_hold_what_the_subresource_knows() {
        let known = known_parameters("exec").unwrap();
        let query = known_query("command=sh&command=-c&command=a%26b+c&dryRun=All&container=x&__proto__", known);
        assert_eq!(to_query(&query), "command=sh&command=-c&command=a%26b%20c&container=x");
    }

    #[test]
    fn a_proxied_path_cannot_climb() {
        assert_eq!(proxy_path("a/b%20c/").unwrap(), "/a/b%20c/");
        for path in ["../secrets", "a/%2e%2e/b", "a%2f..%2fb", "./x", "a%5cb"] {
            assert!(proxy_path(path).is_err(), "{path}");
        }
        assert_eq!(addressed_name("https:web:443"), ("web", "https:web:443"));
        assert_eq!(addressed_name("web:http"), ("web", "web:http"));
        assert_eq!(addressed_name("web"), ("web", "web"));
    }
}
