//! One version of a custom resource, compiled: how its objects are read, checked and shown.

use std::sync::Arc;

use base64::Engine;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use smol_str::{SmolStr, format_smolstr};

use super::node::Node;
use super::scale::ScalePaths;
use super::{embedded, kind, prune, text, validate};
use crate::field::{Errors, Path};
use crate::gvk::{GroupVersionKind, GroupVersionResource};
use crate::resource::{Resource, Subresource};
use crate::schema::KindSchema;
use crate::status::ApiError;
use crate::table::CustomColumn;

/// In the order in which the stock server lists them.
const VERBS: [&str; 8] = ["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"];

/// A version of a definition. One is shared by all requests; it costs memory only where there is a definition.
#[derive(Debug)]
pub struct CustomVersion {
    resource: Arc<Resource>,
    root: Node,
    scale: Option<ScalePaths>,
    selectable: Vec<(SmolStr, Vec<SmolStr>)>,
    deprecation: Option<String>,
}

/// An object that was read from a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// The object: unknown fields dropped, defaults filled in.
    pub value: Value,
    /// What strict field validation complains about, in its words: `unknown field "spec.foo"`.
    pub strict: Vec<String>,
}

fn words(value: Option<&Value>) -> Vec<SmolStr> {
    value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).map(Into::into).collect()
}

/// `storageVersionHash` of discovery.
fn storage_version_hash(group: &str, version: &str, kind: &str) -> SmolStr {
    let digest = Sha256::digest(format!("{group}/{version}/{kind}"));
    base64::engine::general_purpose::STANDARD.encode(&digest[..8]).into()
}

impl CustomVersion {
    /// Compiles a version of a definition that passed [`super::validate_definition`].
    ///
    /// # Errors
    /// 500 if there is no such version, or its schema cannot be compiled.
    pub fn compile(crd: &Value, version: &str) -> Result<Self, ApiError> {
        let name = text(crd, "/metadata/name");
        let found = super::versions(crd).iter().find(|v| text(v, "/name") == version);
        let Some(found) = found else {
            return Err(ApiError::internal(format!("custom resource definition {name} has no version {version}")));
        };
        let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        let schema = found.pointer("/schema/openAPIV3Schema").filter(|s| !s.is_null()).unwrap_or(&open);
        let mut root = Node::compile(schema).map_err(|why| {
            ApiError::internal(format!("custom resource definition {name}, version {version}: {why}"))
        })?;
        root.embedded = false;
        let selectable = found.get("selectableFields").and_then(Value::as_array).into_iter().flatten();
        let selectable = selectable.map(|f| text(f, "/jsonPath").trim_start_matches('.'));
        let selectable = selectable.map(|p| (SmolStr::from(p), p.split('.').map(SmolStr::from).collect())).collect();
        let resource = Arc::new(resource(crd, found, &root));
        let deprecation = found.get("deprecated").and_then(Value::as_bool).filter(|d| *d).map(|_| {
            let own = text(found, "/deprecationWarning");
            let gvk = &resource.gvk;
            if own.is_empty() { format!("{} {} is deprecated", gvk.api_version(), gvk.kind) } else { own.to_owned() }
        });
        Ok(Self { resource, root, scale: ScalePaths::of(found), selectable, deprecation })
    }

    /// The resource as discovery and routing know it.
    pub fn resource(&self) -> &Arc<Resource> {
        &self.resource
    }

    /// Where the scale subresource has its fields, if there is one.
    pub fn scale(&self) -> Option<&ScalePaths> {
        self.scale.as_ref()
    }

    /// Whether there is a status subresource.
    pub fn has_status(&self) -> bool {
        self.resource.subresource("status").is_some()
    }

    /// The text of the `Warning` header on every use of a deprecated version.
    pub fn deprecation(&self) -> Option<&str> {
        self.deprecation.as_deref()
    }

    /// Reads an object of a request: metadata made canonical, unknown fields dropped, defaults filled in.
    ///
    /// # Errors
    /// 400 in stock words for metadata, its own or of embedded objects, that does not decode.
    pub fn decode(&self, mut value: Value) -> Result<Decoded, ApiError> {
        let mut unknown = Vec::new();
        if let Some(metadata) = value.get_mut("metadata").filter(|m| !m.is_null()) {
            let fields = embedded::coerce_metadata(metadata).map_err(|why| self.cannot_be_handled(&why))?;
            unknown.extend(fields.into_iter().map(|f| format!("metadata.{f}")));
        }
        unknown.extend(prune::prune_object(&mut value, &self.root));
        embedded::coerce(&mut value, &self.root, &Path::root(), false, &mut unknown)
            .map_err(|errors| self.cannot_be_handled(&errors.0.iter().map(ToString::to_string).collect::<String>()))?;
        self.fill(&mut value);
        let strict = unknown.into_iter().map(|f| format!("unknown field \"{f}\"")).collect();
        Ok(Decoded { value, strict })
    }

    fn cannot_be_handled(&self, why: &str) -> ApiError {
        let GroupVersionKind { version, kind, .. } = &self.resource.gvk;
        ApiError::bad_request(format!("{kind} in version \"{version}\" cannot be handled as a {kind}: {why}"))
    }

    /// Brings an object from storage up to the schema of today: what it no longer knows is dropped, new defaults are filled
    /// in, and embedded metadata that does not decode goes. `apiVersion` becomes that of this version.
    pub fn read(&self, mut value: Value) -> Value {
        prune::prune_object(&mut value, &self.root);
        // Nothing is refused of what is stored.
        let _ = embedded::coerce(&mut value, &self.root, &Path::root(), true, &mut Vec::new());
        self.fill(&mut value);
        self.to_version(&mut value);
        value
    }

    fn fill(&self, value: &mut Value) {
        prune::drop_nulls(value, Some(&self.root));
        prune::fill_defaults(value, &self.root);
    }

    /// Converts an object of another version without a webhook: only `apiVersion` changes.
    pub fn to_version(&self, value: &mut Value) {
        if let Some(object) = value.as_object_mut() {
            object.insert("apiVersion".to_owned(), json!(self.resource.gvk.api_version()));
        }
    }

    /// Finds what is wrong with an object beyond its own metadata; with `old`, what did not change is let through.
    pub fn validate(&self, object: &Value, old: Option<&Value>, errors: &mut Errors) {
        validate::validate(object, old, &self.root, &Path::root(), errors);
        if let Some(scale) = &self.scale {
            scale.validate(object, true, true, errors);
        }
        self.validate_structure(object, errors);
    }

    /// Finds what is wrong with an object whose status is written.
    pub fn validate_status(&self, object: &Value, old: &Value, errors: &mut Errors) {
        if let (Some(status), Some(schema)) = (object.get("status"), self.root.properties.get("status")) {
            validate::validate(status, old.get("status"), schema, &Path::new("status"), errors);
        }
        if let Some(scale) = &self.scale {
            scale.validate(object, false, true, errors);
        }
        self.validate_structure(object, errors);
    }

    fn validate_structure(&self, object: &Value, errors: &mut Errors) {
        embedded::validate(object, &self.root, &Path::root(), errors);
        validate::check_lists(object, &self.root, &Path::root(), errors);
    }

    /// Names that field selectors know beyond name and namespace.
    pub fn selectable_names(&self) -> impl Iterator<Item = &str> {
        self.selectable.iter().map(|(name, _)| name.as_str())
    }

    /// Their values in an object; empty where it has none.
    pub fn selectable_fields<'a>(&'a self, object: &'a Value) -> Vec<(&'a str, String)> {
        let value = |path: &[SmolStr]| match path.iter().try_fold(object, |v, step| v.get(step.as_str())) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(s)) => s.clone(),
            Some(other) => other.to_string(),
        };
        self.selectable.iter().map(|(name, path)| (name.as_str(), value(path))).collect()
    }
}

fn resource(crd: &Value, version: &Value, root: &Node) -> Resource {
    let names = crd.pointer("/status/acceptedNames").filter(|n| !text(n, "/plural").is_empty());
    let names = names.or_else(|| crd.pointer("/spec/names")).cloned().unwrap_or_default();
    let group: SmolStr = text(crd, "/spec/group").into();
    let version_name: SmolStr = text(version, "/name").into();
    let gvk = GroupVersionKind::new(group.clone(), version_name.clone(), text(&names, "/kind"));
    let storage: SmolStr = super::storage_version(crd).unwrap_or_default().into();
    let schema: KindSchema = kind::kind_schema(&super::openapi::model_name(&gvk), root);
    let writes: Vec<SmolStr> = ["get", "patch", "update"].into_iter().map(Into::into).collect();
    let mut subresources = Vec::new();
    if version.pointer("/subresources/status").is_some_and(|s| !s.is_null()) {
        subresources.push(Subresource { name: "status".into(), gvk: gvk.clone(), verbs: writes.clone() });
    }
    if version.pointer("/subresources/scale").is_some_and(|s| !s.is_null()) {
        let scale = GroupVersionKind::new("autoscaling", "v1", "Scale");
        subresources.push(Subresource { name: "scale".into(), gvk: scale, verbs: writes });
    }
    let list_kind = match text(&names, "/listKind") {
        "" => format_smolstr!("{}List", gvk.kind),
        own => own.into(),
    };
    let columns = version.get("additionalPrinterColumns").and_then(Value::as_array).map(Vec::as_slice);
    // A column whose path cannot be read costs all of them, as on the stock server.
    let printer_columns = CustomColumn::from_definition(columns.unwrap_or_default())
        .or_else(|_| CustomColumn::from_definition(&[]))
        .unwrap_or_default();
    Resource {
        gvr: GroupVersionResource::new(group.clone(), version_name, text(&names, "/plural")),
        singular: text(&names, "/singular").into(),
        list_kind,
        namespaced: text(crd, "/spec/scope") == "Namespaced",
        verbs: VERBS.into_iter().map(Into::into).collect(),
        short_names: words(names.get("shortNames")),
        categories: words(names.get("categories")),
        subresources,
        storage_version_hash: storage_version_hash(&group, &storage, &gvk.kind),
        storage_version: storage,
        schema,
        custom: true,
        printer_columns,
        gvk,
    }
}
