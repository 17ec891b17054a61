//! Objects on their way to a client: spliced from the store's bytes where that is what the client wants, turned into
//! other forms and encodings where not.

use apimachinery::gvk::GroupVersionKind;
use apimachinery::resource::Resource;
use apimachinery::status::ApiError;
use apimachinery::table::Include;
use apimachinery::{builtin, codec, meta};
use bytes::BytesMut;
use serde_json::{Value, json};

use crate::negotiate::{Accepted, As, Encoding};
use crate::registry::{Listing, Live, from_storage, place};
use crate::resources::Found;
use crate::tables;
use crate::watch::EventKind;

/// Writes objects of one resource as one client wants them.
#[derive(Clone, Debug)]
pub(crate) struct Encoder {
    accepted: Accepted,
    resource: Found,
    include: Include,
    /// When the request came: what ages are counted from.
    now: jiff::Timestamp,
    /// Objects are stored as they are served and JSON is wanted: bytes are spliced.
    splice: bool,
}

impl Encoder {
    /// For objects of this resource.
    pub(crate) fn new(accepted: Accepted, resource: Found, include: Include, now: jiff::Timestamp) -> Self {
        let splice = accepted.form == As::Object
            && accepted.encoding == Encoding::Json { pretty: false }
            && !resource.custom
            && place::storage_kind(&resource) == resource.gvk;
        Self { accepted, resource, include, now, splice }
    }

    /// What the client gets.
    pub(crate) fn accepted(&self) -> &Accepted {
        &self.accepted
    }

    /// An object as it lies in the store.
    ///
    /// # Errors
    /// 500 if it can't be decoded, 406 if it has no such form.
    pub(crate) fn live(&self, live: &Live) -> Result<Vec<u8>, ApiError> {
        if self.splice {
            let mut out = Vec::new();
            live.stored.write_json(&mut out, Some(&self.resource.gvk), live.revision);
            out.push(b'\n');
            return Ok(out);
        }
        self.object(from_storage(&self.resource, live.to_value()?)?)
    }

    /// An object in the version of the resource, with `apiVersion` and `kind`. It may be of another kind (a `Scale`).
    ///
    /// # Errors
    /// As [`Encoder::live`].
    pub(crate) fn object(&self, object: Value) -> Result<Vec<u8>, ApiError> {
        let shown = match &self.accepted.form {
            As::Object | As::Discovery => object,
            _ if meta_text(&object, "kind") == "Status" => object,
            As::Partial { version, list: false } => partial(&object, version),
            As::Partial { list: true, .. } => {
                return Err(ApiError::new(
                    406,
                    "NotAcceptable",
                    format!(
                        "you requested PartialObjectMetadataList, but the requested object is not a list ({})",
                        self.go_type(&self.resource.gvk.kind)
                    ),
                ));
            }
            As::Table { version } => {
                let metadata = match meta::text(&object, "resourceVersion") {
                    "" => json!({}),
                    rv => json!({"resourceVersion": rv}),
                };
                tables::table(&self.resource, version, self.include, true, &[object], &metadata, self.now)?
            }
        };
        write(&shown, self.accepted.encoding, Some(&self.resource))
    }

    /// A list.
    ///
    /// # Errors
    /// As [`Encoder::live`].
    pub(crate) fn list(&self, listing: &Listing) -> Result<Vec<u8>, ApiError> {
        if self.splice {
            return Ok(self.splice_list(listing));
        }
        let mut metadata = list_metadata(listing);
        if self.resource.custom && self.accepted.form == As::Object && metadata.get("continue").is_none() {
            // Lists of custom resources are no Go type that would leave an empty token out.
            metadata["continue"] = json!("");
        }
        let mut items = Vec::with_capacity(listing.items.len());
        for live in &listing.items {
            items.push(from_storage(&self.resource, live.to_value()?)?);
        }
        let shown = match &self.accepted.form {
            As::Object | As::Discovery => {
                if !self.resource.custom {
                    for item in items.iter_mut().filter_map(Value::as_object_mut) {
                        item.remove("apiVersion");
                        item.remove("kind");
                    }
                }
                json!({
                    "kind": self.resource.list_kind, "apiVersion": self.resource.gvk.api_version(),
                    "metadata": metadata, "items": items,
                })
            }
            As::Partial { version, list: true } => json!({
                "kind": "PartialObjectMetadataList", "apiVersion": format!("meta.k8s.io/{version}"),
                "metadata": metadata, "items": items.iter().map(|i| partial(i, version)).collect::<Vec<_>>(),
            }),
            As::Partial { list: false, .. } => {
                return Err(ApiError::new(
                    406,
                    "NotAcceptable",
                    format!(
                        "you requested PartialObjectMetadata, but the requested object is a list ({})",
                        self.go_type(&self.resource.list_kind)
                    ),
                ));
            }
            As::Table { version } => {
                tables::table(&self.resource, version, self.include, true, &items, &metadata, self.now)?
            }
        };
        write(&shown, self.accepted.encoding, Some(&self.resource))
    }

    /// The Go type of the stock server that messages name.
    fn go_type(&self, kind: &str) -> String {
        if self.resource.custom {
            return "*unstructured.Unstructured".to_owned();
        }
        let group = self.resource.gvk.group.split('.').next().unwrap_or_default();
        format!("*{}.{kind}", if group.is_empty() { "core" } else { group })
    }

    fn splice_list(&self, listing: &Listing) -> Vec<u8> {
        let size: usize = listing.items.iter().map(|live| live.stored.body().len() + 64).sum();
        let mut out = Vec::with_capacity(size + 256);
        let head = json!({"kind": self.resource.list_kind, "apiVersion": self.resource.gvk.api_version()});
        out.extend_from_slice(
            format!(
                "{{\"kind\":{},\"apiVersion\":{},\"metadata\":{},\"items\":[",
                head["kind"],
                head["apiVersion"],
                list_metadata(listing)
            )
            .as_bytes(),
        );
        let kind = self.resource.custom.then_some(&self.resource.gvk);
        for (i, live) in listing.items.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            live.stored.write_json(&mut out, kind, live.revision);
        }
        out.extend_from_slice(b"]}\n");
        out
    }
}

fn list_metadata(listing: &Listing) -> Value {
    let mut metadata = json!({"resourceVersion": listing.revision.to_string()});
    if !listing.continue_token.is_empty() {
        metadata["continue"] = json!(listing.continue_token);
    }
    if let Some(remaining) = listing.remaining {
        metadata["remainingItemCount"] = json!(remaining);
    }
    metadata
}

/// The metadata of an object, and nothing else.
pub(crate) fn partial(object: &Value, version: &str) -> Value {
    json!({
        "kind": "PartialObjectMetadata", "apiVersion": format!("meta.k8s.io/{version}"),
        "metadata": object.get("metadata").cloned().unwrap_or_else(|| json!({})),
    })
}

/// Writes a value that has `apiVersion` and `kind`.
///
/// # Errors
/// 406 if its kind has no protobuf form.
pub(crate) fn write(value: &Value, encoding: Encoding, resource: Option<&Resource>) -> Result<Vec<u8>, ApiError> {
    match encoding {
        Encoding::Json { pretty: true } => serde_json::to_vec_pretty(value).map_err(ApiError::internal),
        Encoding::Json { pretty: false } => {
            let mut out = serde_json::to_vec(value).map_err(ApiError::internal)?;
            out.push(b'\n');
            Ok(out)
        }
        Encoding::Yaml => Ok(codec::to_yaml(value).into_bytes()),
        Encoding::Protobuf => {
            let kind = GroupVersionKind::from_api_version(meta_text(value, "apiVersion"), meta_text(value, "kind"));
            let schema = match resource {
                Some(resource) if resource.gvk == kind => Some(resource.schema.clone()),
                _ => builtin::kind_schema(&kind),
            };
            let Some(schema) = schema.filter(codec::has_protobuf) else {
                return Err(ApiError::new(406, "NotAcceptable", format!("{} has no protobuf form", kind.kind)));
            };
            let mut out = Vec::new();
            codec::protobuf_encode(&schema, &kind, value, &mut out);
            Ok(out)
        }
    }
}

fn meta_text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// Writes the events of one watch.
#[derive(Debug)]
pub(crate) struct WatchEncoder {
    encoder: Encoder,
    /// Whether nothing was written yet: the first table has the columns.
    first: bool,
}

impl WatchEncoder {
    /// For objects as this encoder writes them.
    pub(crate) fn new(encoder: Encoder) -> Self {
        Self { encoder, first: true }
    }

    /// `Content-Type` of the stream.
    pub(crate) fn content_type(&self) -> &'static str {
        match self.encoder.accepted.encoding {
            Encoding::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
            _ => "application/json",
        }
    }

    /// An event about an object, with the revision at which it happened.
    ///
    /// # Errors
    /// 500 if the object can't be decoded.
    pub(crate) fn object(
        &mut self,
        kind: EventKind,
        live: &Live,
        revision: u64,
        out: &mut BytesMut,
    ) -> Result<(), ApiError> {
        if self.encoder.splice {
            let mut json = Vec::with_capacity(live.stored.body().len() + 160);
            json.extend_from_slice(b"{\"type\":\"");
            json.extend_from_slice(kind.as_str().as_bytes());
            json.extend_from_slice(b"\",\"object\":");
            live.stored.write_json(&mut json, Some(&self.encoder.resource.gvk), revision);
            json.extend_from_slice(b"}\n");
            out.extend_from_slice(&json);
            return Ok(());
        }
        let live = Live { revision, ..live.clone() };
        let object = from_storage(&self.encoder.resource, live.to_value()?)?;
        self.value(kind, object, out)
    }

    /// A bookmark: an object of the watched kind with nothing but a revision.
    pub(crate) fn bookmark(&mut self, revision: u64, initial: bool, out: &mut BytesMut) {
        let kind = &self.encoder.resource.gvk;
        let mut metadata = json!({"resourceVersion": revision.to_string()});
        if initial {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let mut object = json!({"kind": kind.kind, "apiVersion": kind.api_version(), "metadata": metadata});
        let schema = &self.encoder.resource.schema;
        if let Some(fields) = object.as_object_mut().filter(|_| !self.encoder.resource.custom) {
            schema.schema.settle(schema.root(), fields);
        }
        // A bookmark is only a hint: one that can't be written is left out.
        let before = out.len();
        if self.value(EventKind::Bookmark, object, out).is_err() {
            out.truncate(before);
        }
    }

    /// The error that ends a watch.
    pub(crate) fn error(&mut self, error: &ApiError, out: &mut BytesMut) {
        let status = error.to_status();
        if let Ok(bytes) = write(&status, self.plain(), None) {
            self.frame(EventKind::Error, &bytes, out);
        }
    }

    fn plain(&self) -> Encoding {
        match self.encoder.accepted.encoding {
            Encoding::Protobuf => Encoding::Protobuf,
            _ => Encoding::Json { pretty: false },
        }
    }

    fn value(&mut self, kind: EventKind, object: Value, out: &mut BytesMut) -> Result<(), ApiError> {
        let shown = match &self.encoder.accepted.form {
            As::Partial { version, .. } => partial(&object, version),
            As::Table { version } => {
                let rv = meta::text(&object, "resourceVersion").to_owned();
                let metadata = json!({"resourceVersion": rv});
                let (resource, include) = (&self.encoder.resource, self.encoder.include);
                tables::table(resource, version, include, self.first, &[object], &metadata, self.encoder.now)?
            }
            As::Object | As::Discovery => object,
        };
        self.first = false;
        let bytes = write(&shown, self.plain(), Some(&self.encoder.resource))?;
        self.frame(kind, &bytes, out);
        Ok(())
    }

    fn frame(&self, kind: EventKind, object: &[u8], out: &mut BytesMut) {
        if self.encoder.accepted.encoding == Encoding::Protobuf {
            let mut frame = Vec::with_capacity(object.len() + 32);
            codec::protobuf_watch_frame(kind.as_str(), object, &mut frame);
            out.extend_from_slice(&frame);
            return;
        }
        out.extend_from_slice(b"{\"type\":\"");
        out.extend_from_slice(kind.as_str().as_bytes());
        out.extend_from_slice(b"\",\"object\":");
        out.extend_from_slice(object.trim_ascii_end());
        out.extend_from_slice(b"}\n");
    }
}
