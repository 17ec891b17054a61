//! Requests about resources.

use std::sync::Arc;

use apimachinery::gvk::GroupVersionKind;
use apimachinery::resource::Resource;
use apimachinery::status::ApiError;
use apimachinery::table::Include;
use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response};
use serde_json::Value;

use super::{Exchange, body, respond, stream};
use crate::decode;
use crate::encode::{Encoder, WatchEncoder};
use crate::negotiate::{self, As, Offer};
use crate::pieces;
use crate::registry::{Call, DeleteOptions, Deleted, ListQuery, Listing, WriteOptions, from_storage};
use crate::resources::Found;
use crate::special;
use crate::tables;

/// Answers a request about a resource.
pub(super) async fn serve(exchange: Exchange, request: Request<Body>) -> Result<Response<Body>, ApiError> {
    let info = &exchange.info;
    let catalog = exchange.registry().catalog();
    let tenant = exchange.origin.tenant;
    let Some(resource) = catalog.find(tenant, &info.gvr()) else {
        return if apimachinery::builtin::groups().iter().any(|group| group.name == info.group) {
            Err(no_such_resource())
        } else {
            Ok(respond::no_such_path())
        };
    };
    let placed = match (resource.namespaced, info.namespace.is_empty()) {
        (true, true) => info.name.is_empty() || !info.named_by_path,
        (false, false) => info.group.is_empty() && info.resource == "namespaces",
        _ => true,
    };
    if !placed || info.verb == "proxy" {
        return Err(no_such_resource());
    }
    if !info.subresource.is_empty() && resource.subresource(&info.subresource).is_none() {
        return Err(match resource.custom {
            true => ApiError::not_found(&resource.group_resource(), &info.name),
            false => no_such_resource(),
        });
    }
    if stream::is_stream(&resource, &info.subresource) {
        let mut call = Call::new(tenant, exchange.user.clone(), resource.clone(), exchange.shared.clock.now());
        call.namespace = info.namespace.clone();
        // A proxied service may carry scheme and port with its name.
        call.name = info.name.split(':').find(|s| !matches!(*s, "http" | "https")).unwrap_or_default().to_owned();
        exchange.registry().get(&call).await?;
        return stream::serve(exchange, request).await;
    }
    let verbs = match resource.subresource(&info.subresource) {
        Some(sub) => &sub.verbs,
        None => &resource.verbs,
    };
    let everywhere = resource.namespaced && info.namespace.is_empty();
    let allowed = verbs.iter().any(|v| v.as_str() == info.verb) && !(everywhere && info.verb == "create");
    if !allowed || (info.verb == "deletecollection" && everywhere) {
        return Err(not_allowed());
    }
    if info.depth > 3 {
        return Err(no_such_resource());
    }
    let needs_name = matches!(info.verb.as_str(), "get" | "update" | "patch" | "delete");
    let takes_name = needs_name || !info.subresource.is_empty() || !info.named_by_path || info.verb != "create";
    if (needs_name && !info.named_by_path) || !takes_name || exchange.method == http::Method::HEAD {
        return Err(not_allowed());
    }
    if info.named_by_path
        && let Some(wrong) = apimachinery::rules::names::path_segment(&info.name).first()
    {
        let name = apimachinery::field::quote(&info.name);
        return Err(ApiError::bad_request(format!("Name parameter invalid: {name}: {wrong}")));
    }
    let mut call = Call::new(tenant, exchange.user.clone(), resource, exchange.shared.clock.now());
    call.namespace = if call.resource.namespaced { info.namespace.clone() } else { String::new() };
    call.name = if info.named_by_path { info.name.clone() } else { String::new() };
    call.subresource = info.subresource.clone();
    call.manager = exchange.agent();
    if let Some(text) = deprecation(&call.resource) {
        call.warn(text);
    }
    if let Some(text) = call.resource.definition.as_ref().and_then(|c| c.deprecation()) {
        call.warn(text);
    }
    if info.verb == "watch" {
        return watch(exchange, call).await;
    }
    let warnings = call.warnings.clone();
    let answered = match info.verb.as_str() {
        "get" => get(&exchange, call).await,
        "list" => list(&exchange, call).await,
        "create" => create(&exchange, call, request.into_body()).await,
        "update" => update(&exchange, call, request.into_body()).await,
        "patch" => patch(&exchange, call, request.into_body()).await,
        "delete" => delete(&exchange, call, request.into_body()).await,
        "deletecollection" => delete_collection(&exchange, call, request.into_body()).await,
        _ => Err(not_allowed()),
    };
    let mut response = answered.unwrap_or_else(|error| respond::status(&error, &exchange.headers, &exchange.query));
    respond::warn(&mut response, warnings.texts());
    Ok(response)
}

/// What clients are told of built-in resources that are on their way out.
fn deprecation(resource: &Resource) -> Option<&'static str> {
    match (resource.gvr.group.as_str(), resource.gvr.version.as_str(), resource.gvr.resource.as_str()) {
        ("", "v1", "endpoints") => Some("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"),
        ("", "v1", "componentstatuses") => Some("v1 ComponentStatus is deprecated in v1.19+"),
        _ => None,
    }
}

/// What the stock server says of a resource that a version does not have.
fn no_such_resource() -> ApiError {
    let mut error = ApiError::new(404, "NotFound", "the server could not find the requested resource");
    error.empty_details = true;
    error
}

fn not_allowed() -> ApiError {
    let mut error =
        ApiError::new(405, "MethodNotAllowed", "the server does not allow this method on the requested resource");
    error.empty_details = true;
    error
}

/// Custom resources have no protobuf form.
fn offer(resource: &Resource) -> Offer {
    Offer { forms: resource.allows("get"), ..Offer::objects(!resource.custom) }
}

fn encoder(exchange: &Exchange, resource: &Found, offer: Offer) -> Result<Encoder, ApiError> {
    let accepted = negotiate::accept(&exchange.headers, &exchange.query, offer)?;
    let include = match accepted.form {
        As::Table { .. } => tables::include(&exchange.query)?,
        _ => Include::default(),
    };
    Ok(Encoder::new(accepted, resource.clone(), include, exchange.shared.clock.now()))
}

fn object(exchange: &Exchange, encoder: &Encoder, code: u16, bytes: Vec<u8>) -> Response<Body> {
    respond::bytes(code, &encoder.accepted().content_type(), bytes, &exchange.headers)
}

/// An object of the registry, which is in the storage version, as the client wants it.
fn written(
    exchange: &Exchange,
    call: &Call,
    encoder: &Encoder,
    code: u16,
    value: Value,
) -> Result<Response<Body>, ApiError> {
    let value = from_storage(&call.resource, value)?;
    Ok(object(exchange, encoder, code, encoder.object(value)?))
}

async fn get(exchange: &Exchange, call: Call) -> Result<Response<Body>, ApiError> {
    let encoder = encoder(exchange, &call.resource, offer(&call.resource))?;
    if let Some(value) = special::get(exchange.registry(), &call).await? {
        return Ok(object(exchange, &encoder, 200, encoder.object(value)?));
    }
    if let Some(version) = exchange.query.get("resourceVersion").filter(|v| !v.is_empty()) {
        exchange.registry().reach(crate::registry::parse_revision_at(version)?).await?;
    }
    let live = exchange.registry().get(&call).await?;
    Ok(object(exchange, &encoder, 200, encoder.live(&live)?))
}

async fn list(exchange: &Exchange, call: Call) -> Result<Response<Body>, ApiError> {
    let offer = Offer { list: true, ..offer(&call.resource) };
    let encoder = encoder(exchange, &call.resource, offer)?;
    let query = ListQuery::parse(&exchange.query, false)?;
    let listing = exchange.registry().list(&call, &query).await?;
    listed(exchange, &encoder, &listing).await
}

async fn listed(exchange: &Exchange, encoder: &Encoder, listing: &Listing) -> Result<Response<Body>, ApiError> {
    let Some(writer) = encoder.list_writer() else {
        return Ok(object(exchange, encoder, 200, encoder.list(listing)?));
    };
    let (cache, tenant) = (&exchange.shared.pieces, exchange.origin.tenant);
    let gzip = respond::accepts_gzip(&exchange.headers);
    let body = pieces::list(cache, tenant, &writer, listing, gzip).await?;
    Ok(respond::pieces(200, &encoder.accepted().content_type(), body))
}

async fn watch(exchange: Exchange, call: Call) -> Result<Response<Body>, ApiError> {
    let offer = Offer { stream: true, ..offer(&call.resource) };
    let encoder = encoder(&exchange, &call.resource, offer)?;
    let mut query = ListQuery::parse(&exchange.query, true)?;
    if exchange.info.verb_by_path && !call.name.is_empty() {
        query.fields = apimachinery::selector::FieldSelector::field_is("metadata.name", call.name.as_str());
    }
    let encoder = WatchEncoder::new(encoder);
    let content_type = encoder.content_type();
    let registry = Arc::clone(exchange.registry());
    let gauge = exchange.shared.metrics.watcher();
    let Exchange { shared, entry, .. } = exchange;
    let (stop, closing) = (shared.stop.clone(), entry.closing.clone());
    let end = async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = closing.cancelled() => {}
        }
    };
    let stream = crate::watch::watch(registry, Arc::clone(&shared.frames), call, query, encoder, end).await?;
    let stream = futures::StreamExt::map(stream, move |frame| {
        // What must live as long as the watch: its count, and the tenant.
        let _held = (&gauge, &entry);
        frame
    });
    let mut response = Response::new(Body::from_stream(stream));
    response.headers_mut().insert(http::header::CONTENT_TYPE, super::header(content_type));
    Ok(response)
}

/// Takes over what the client wants of a write.
fn apply_options(call: &mut Call, options: &WriteOptions) {
    if !options.manager.is_empty() {
        call.manager = options.manager.clone();
    }
    call.dry_run = options.dry_run;
    call.field_validation = options.field_validation;
}

async fn read(exchange: &Exchange, call: &Call, body: Body) -> Result<(Bytes, negotiate::Encoding), ApiError> {
    let encoding = negotiate::body_encoding(&exchange.headers, !call.resource.custom)?;
    Ok((body::read(body).await?, encoding))
}

async fn create(exchange: &Exchange, mut call: Call, body: Body) -> Result<Response<Body>, ApiError> {
    let encoder = encoder(exchange, &call.resource, offer(&call.resource))?;
    let (bytes, encoding) = read(exchange, &call, body).await?;
    apply_options(&mut call, &WriteOptions::parse(&exchange.query, "CreateOptions", false)?);
    if !call.subresource.is_empty() || special::is_virtual(&call) {
        let kind = match call.resource.subresource(&call.subresource) {
            Some(sub) => sub.gvk.clone(),
            None => call.resource.gvk.clone(),
        };
        let mut posted = decode::object_of(&call, &kind, &bytes, encoding)?;
        if special::is_echoed(&call) {
            special::default_posted(&call, &mut posted);
            posted = decode::owned(&call, &kind, posted)?;
        }
        let (code, answer) = special::post(&exchange.shared, &call, posted).await?;
        return Ok(object(exchange, &encoder, code, encoder.object(answer)?));
    }
    let posted = decode::object(&call, &bytes, encoding)?;
    let created = exchange.registry().create(&call, posted).await?;
    written(exchange, &call, &encoder, 201, created)
}

async fn update(exchange: &Exchange, mut call: Call, body: Body) -> Result<Response<Body>, ApiError> {
    let encoder = encoder(exchange, &call.resource, offer(&call.resource))?;
    let (bytes, encoding) = read(exchange, &call, body).await?;
    apply_options(&mut call, &WriteOptions::parse(&exchange.query, "UpdateOptions", false)?);
    if let Some(kind) = special::projected(&call) {
        let put = decode::object_of(&call, &kind, &bytes, encoding)?;
        let value = special::put(exchange.registry(), &call, put).await?;
        return Ok(object(exchange, &encoder, 200, encoder.object(value)?));
    }
    let put = decode::object(&call, &bytes, encoding)?;
    let updated = exchange.registry().update(&call, put).await?;
    written(exchange, &call, &encoder, if updated.created { 201 } else { 200 }, updated.object)
}

async fn patch(exchange: &Exchange, mut call: Call, body: Body) -> Result<Response<Body>, ApiError> {
    let encoder = encoder(exchange, &call.resource, offer(&call.resource))?;
    let kind = decode::patch_type(&exchange.headers, &call)?;
    let bytes = body::read(body).await?;
    let options = WriteOptions::parse(&exchange.query, "PatchOptions", kind == apimachinery::patch::PatchType::Apply)?;
    apply_options(&mut call, &options);
    let patch = decode::patch(&call, kind, &bytes, options.force.unwrap_or(false))?;
    if special::projected(&call).is_some() {
        let value = special::patch(exchange.registry(), &call, &patch).await?;
        return Ok(object(exchange, &encoder, 200, encoder.object(value)?));
    }
    let updated = exchange.registry().patch(&call, &patch).await?;
    written(exchange, &call, &encoder, if updated.created { 201 } else { 200 }, updated.object)
}

async fn delete_options(exchange: &Exchange, call: &Call, body: Body) -> Result<DeleteOptions, ApiError> {
    let bytes = body::read(body).await?;
    if bytes.is_empty() {
        return DeleteOptions::from_query(&exchange.query);
    }
    let encoding = negotiate::body_encoding(&exchange.headers, true)?;
    let kind = GroupVersionKind::new("meta.k8s.io", "v1", "DeleteOptions");
    let object = decode::options(call, &kind, &bytes, encoding)?;
    DeleteOptions::from_object(&object)
}

async fn delete(exchange: &Exchange, mut call: Call, body: Body) -> Result<Response<Body>, ApiError> {
    let encoder = encoder(exchange, &call.resource, offer(&call.resource))?;
    let options = delete_options(exchange, &call, body).await?;
    call.dry_run = options.dry_run;
    let Deleted { object: value, gone } = exchange.registry().delete(&call, &options).await?;
    let code = if !gone && options.orphan_dependents == Some(false) { 202 } else { 200 };
    if !gone || special::returns_deleted(&call) {
        return written(exchange, &call, &encoder, code, value);
    }
    let status = crate::status::deleted(&call.resource.group_resource(), &call.name, &value);
    Ok(object(exchange, &encoder, code, encoder.object(status)?))
}

async fn delete_collection(exchange: &Exchange, mut call: Call, body: Body) -> Result<Response<Body>, ApiError> {
    let encoder = encoder(exchange, &call.resource, offer(&call.resource))?;
    let query = ListQuery::parse(&exchange.query, false)?;
    let options = delete_options(exchange, &call, body).await?;
    call.dry_run = options.dry_run;
    let listing = exchange.registry().delete_collection(&call, &query, &options).await?;
    listed(exchange, &encoder, &listing).await
}
