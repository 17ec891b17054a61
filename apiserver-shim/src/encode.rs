//! Objects on their way to a client: spliced or transcoded from the store's bytes where the client wants them as they
//! are stored, decoded and turned into other forms and encodings where not.

mod direct;

use apimachinery::gvk::GroupVersionKind;
use apimachinery::resource::Resource;
use apimachinery::status::ApiError;
use apimachinery::table::Include;
use apimachinery::{builtin, codec, meta};
use serde_json::{Value, json};

use crate::negotiate::{Accepted, As, Encoding};
use crate::registry::{Listing, Live, from_storage};
use crate::resources::Found;
use crate::tables;
use crate::watch::EventKind;
use direct::Direct;

pub(crate) use direct::ListWriter;

/// Writes objects of one resource as one client wants them.
#[derive(Clone, Debug)]
pub(crate) struct Encoder {
    accepted: Accepted,
    resource: Found,
    include: Include,
    /// When the request came: what ages are counted from.
    now: jiff::Timestamp,
    /// Set if what is wanted can be written from the bytes in the store.
    direct: Option<Direct>,
}

impl Encoder {
    /// For objects of this resource.
    pub(crate) fn new(accepted: Accepted, resource: Found, include: Include, now: jiff::Timestamp) -> Self {
        let direct = Direct::of(&accepted, &resource);
        Self { accepted, resource, include, now, direct }
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
        let direct = self.direct.as_ref().filter(|_| !matches!(self.accepted.form, As::Partial { list: true, .. }));
        let Some(direct) = direct else {
            return self.object(from_storage(&self.resource, live.to_value()?)?);
        };
        let mut out = Vec::new();
        direct.object(&live.stored, live.revision, &mut out)?;
        if direct.protobuf.is_none() {
            out.push(b'\n');
        }
        Ok(out)
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

    /// What writes a list from the bytes in the store, if that can be done. What can't is for [`Encoder::list`].
    pub(crate) fn list_writer(&self) -> Option<ListWriter<'_>> {
        let direct = self.direct.as_ref()?;
        let kind = match &self.accepted.form {
            As::Partial { version, list: true } => partial_kind(version, "PartialObjectMetadataList"),
            As::Object => {
                let gvk = &self.resource.gvk;
                GroupVersionKind::new(gvk.group.clone(), gvk.version.clone(), self.resource.list_kind.clone())
            }
            _ => return None,
        };
        Some(ListWriter::new(direct, &self.resource.gvr, kind))
    }

    /// A list, by way of values.
    ///
    /// # Errors
    /// As [`Encoder::live`].
    pub(crate) fn list(&self, listing: &Listing) -> Result<Vec<u8>, ApiError> {
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

fn partial_kind(version: &str, kind: &'static str) -> GroupVersionKind {
    GroupVersionKind::new("meta.k8s.io", version, kind)
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
            let json = serde_json::to_vec(value).map_err(ApiError::internal)?;
            let mut out = Vec::with_capacity(json.len());
            codec::protobuf_encode(&schema, &kind, &json, &mut out).map_err(ApiError::internal)?;
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

    /// The form in which every watcher that wants it gets the same bytes; `None` for tables, which tell ages.
    pub(crate) fn form(&self) -> Option<Form> {
        let (name, version) = match self.encoder.accepted.form {
            As::Object => (FormName::Object, ""),
            As::Partial { version, .. } => (FormName::Partial, version),
            As::Table { .. } | As::Discovery => return None,
        };
        let protobuf = self.encoder.accepted.encoding == Encoding::Protobuf;
        Some(Form { name, version, protobuf, resource: self.encoder.resource.clone() })
    }

    /// An event about an object, whose revision is that at which it happened.
    ///
    /// # Errors
    /// 500 if the object can't be decoded.
    pub(crate) fn object(&mut self, kind: EventKind, live: &Live) -> Result<Vec<u8>, ApiError> {
        if let Some(direct) = &self.encoder.direct {
            let mut out = Vec::new();
            direct.event(kind, &live.stored, live.revision, &mut out)?;
            return Ok(out);
        }
        self.value(kind, from_storage(&self.encoder.resource, live.to_value()?)?)
    }

    /// A bookmark: an object of the watched kind with nothing but a revision.
    ///
    /// # Errors
    /// 500 if it has no such form.
    pub(crate) fn bookmark(&mut self, revision: u64, initial: bool) -> Result<Vec<u8>, ApiError> {
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
        self.value(EventKind::Bookmark, object)
    }

    /// The error that ends a watch; empty if it has no such form.
    pub(crate) fn error(&mut self, error: &ApiError) -> Vec<u8> {
        self.frame(EventKind::Error, &error.to_status(), None).unwrap_or_default()
    }

    fn value(&mut self, kind: EventKind, object: Value) -> Result<Vec<u8>, ApiError> {
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
        self.frame(kind, &shown, Some(&self.encoder.resource))
    }

    fn frame(&self, kind: EventKind, object: &Value, resource: Option<&Resource>) -> Result<Vec<u8>, ApiError> {
        let mut out = Vec::new();
        if self.encoder.accepted.encoding == Encoding::Protobuf {
            let object = write(object, Encoding::Protobuf, resource)?;
            let write = |out: &mut Vec<u8>| {
                out.extend_from_slice(&object);
                Ok(())
            };
            codec::protobuf_watch_frame(kind.as_str(), &mut out, write).map_err(ApiError::internal)?;
            return Ok(out);
        }
        out.extend_from_slice(b"{\"type\":\"");
        out.extend_from_slice(kind.as_str().as_bytes());
        out.extend_from_slice(b"\",\"object\":");
        serde_json::to_writer(&mut out, object).map_err(ApiError::internal)?;
        out.extend_from_slice(b"}\n");
        Ok(out)
    }
}

/// What an object becomes for a watcher, but for selectors.
#[derive(Clone, Debug)]
pub(crate) struct Form {
    name: FormName,
    version: &'static str,
    protobuf: bool,
    resource: Found,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FormName {
    Object,
    Partial,
}

impl PartialEq for Form {
    fn eq(&self, other: &Self) -> bool {
        (self.name, self.version, self.protobuf) == (other.name, other.version, other.protobuf)
            && self.resource.is_same(&other.resource)
    }
}
