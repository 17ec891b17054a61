//! Objects written from the bytes in the store: no value is built.

use apimachinery::envelope::Stored;
use apimachinery::gvk::{GroupVersionKind, GroupVersionResource};
use apimachinery::schema::KindSchema;
use apimachinery::status::ApiError;
use apimachinery::{builtin, codec};
use serde_json::json;

use super::{list_metadata, partial_kind};
use crate::negotiate::{Accepted, As, Encoding};
use crate::registry::{Listing, Live, place};
use crate::resources::Found;
use crate::watch::EventKind;

#[derive(Clone, Debug)]
pub(super) struct Direct {
    kind: GroupVersionKind,
    /// The metadata alone, as an object of `kind`.
    partial: bool,
    /// Protobuf by this schema; JSON if `None`.
    pub(super) protobuf: Option<KindSchema>,
}

impl Direct {
    /// If an object is stored as it is served and wanted in JSON or protobuf.
    pub(super) fn of(accepted: &Accepted, resource: &Found) -> Option<Self> {
        if place::storage_kind(resource) != resource.gvk || resource.webhook {
            return None;
        }
        let (kind, partial) = match accepted.form {
            // What is stored of a custom resource is brought up to its schema when it is read, but for the metadata.
            As::Object if !resource.custom => (resource.gvk.clone(), false),
            As::Partial { version, .. } => (partial_kind(version, "PartialObjectMetadata"), true),
            _ => return None,
        };
        let protobuf = match accepted.encoding {
            Encoding::Json { pretty: false } => None,
            Encoding::Protobuf => {
                let schema = if partial { builtin::kind_schema(&kind)? } else { resource.schema.clone() };
                Some(schema).filter(codec::has_protobuf).map(Some)?
            }
            Encoding::Json { pretty: true } | Encoding::Yaml => return None,
        };
        Some(Self { kind, partial, protobuf })
    }

    /// Writes JSON, `named` with `apiVersion` and `kind`.
    fn json(&self, stored: &Stored, revision: u64, named: bool, out: &mut Vec<u8>) -> Result<(), ApiError> {
        let kind = named.then_some(&self.kind);
        if self.partial {
            return stored.write_metadata_json(out, kind, revision).map_err(ApiError::internal);
        }
        stored.write_json(out, kind, revision);
        Ok(())
    }

    /// Writes an object.
    pub(super) fn object(&self, stored: &Stored, revision: u64, out: &mut Vec<u8>) -> Result<(), ApiError> {
        let Some(schema) = &self.protobuf else { return self.json(stored, revision, true, out) };
        let mut json = Vec::new();
        self.json(stored, revision, false, &mut json)?;
        codec::protobuf_encode(schema, &self.kind, &json, out).map_err(ApiError::internal)
    }

    /// Writes a watch event.
    pub(super) fn event(
        &self,
        kind: EventKind,
        stored: &Stored,
        revision: u64,
        out: &mut Vec<u8>,
    ) -> Result<(), ApiError> {
        let Some(schema) = &self.protobuf else {
            out.reserve(stored.body().len() + 192);
            out.extend_from_slice(b"{\"type\":\"");
            out.extend_from_slice(kind.as_str().as_bytes());
            out.extend_from_slice(b"\",\"object\":");
            self.json(stored, revision, true, out)?;
            out.extend_from_slice(b"}\n");
            return Ok(());
        };
        let mut json = Vec::new();
        self.json(stored, revision, false, &mut json)?;
        out.reserve(json.len() + 64);
        codec::protobuf_watch_frame(kind.as_str(), out, |out| codec::protobuf_encode(schema, &self.kind, &json, out))
            .map_err(ApiError::internal)
    }
}

/// Writes a list in parts: what is before its items, some of the items, what is behind them.
#[derive(Clone, Debug)]
pub(crate) struct ListWriter<'a> {
    direct: &'a Direct,
    resource: &'a GroupVersionResource,
    kind: GroupVersionKind,
}

impl<'a> ListWriter<'a> {
    pub(super) fn new(direct: &'a Direct, resource: &'a GroupVersionResource, kind: GroupVersionKind) -> Self {
        Self { direct, resource, kind }
    }

    /// What the bytes of an item depend on, beside the object: what it is one of, what kind of list it is in, how that is
    /// written. A built-in resource has one schema, of another one only metadata is written here, which has one for all.
    pub(crate) fn form(&self) -> String {
        let encoding = if self.direct.protobuf.is_some() { "protobuf" } else { "json" };
        format!("{:?} {:?} {encoding}", self.resource, self.kind)
    }

    /// Whether items are more than copies of what is stored.
    pub(crate) fn transcodes(&self) -> bool {
        self.direct.protobuf.is_some()
    }

    /// What is before the items, which have so many bytes together.
    ///
    /// # Errors
    /// 500 if there is a bug.
    pub(crate) fn head(&self, listing: &Listing, items: usize) -> Result<Vec<u8>, ApiError> {
        let metadata = list_metadata(listing).to_string();
        if self.direct.protobuf.is_some() {
            let mut out = Vec::with_capacity(256);
            codec::protobuf_list_head(&self.kind, &builtin::list_meta(), metadata.as_bytes(), items, &mut out)
                .map_err(ApiError::internal)?;
            return Ok(out);
        }
        let (kind, api_version) = (json!(self.kind.kind), json!(self.kind.api_version()));
        let head = format!("{{\"kind\":{kind},\"apiVersion\":{api_version},\"metadata\":{metadata},\"items\":[");
        Ok(head.into_bytes())
    }

    /// Writes items that follow each other; `first` says whether the first of them is that of the list.
    ///
    /// # Errors
    /// 500 if one can't be read.
    pub(crate) fn items(&self, items: &[Live], first: bool, out: &mut Vec<u8>) -> Result<(), ApiError> {
        // Only partial metadata says of each item what it is.
        let named = self.direct.partial;
        let Some(schema) = &self.direct.protobuf else {
            for (i, live) in items.iter().enumerate() {
                if i > 0 || !first {
                    out.push(b',');
                }
                self.direct.json(&live.stored, live.revision, named, out)?;
            }
            return Ok(());
        };
        let mut json = Vec::new();
        for live in items {
            json.clear();
            self.direct.json(&live.stored, live.revision, named, &mut json)?;
            codec::protobuf_list_item(schema, &json, out).map_err(ApiError::internal)?;
        }
        Ok(())
    }

    /// What is behind the items.
    pub(crate) fn tail(&self) -> &'static [u8] {
        if self.direct.protobuf.is_some() { codec::ENVELOPE_TAIL } else { b"]}\n" }
    }
}
