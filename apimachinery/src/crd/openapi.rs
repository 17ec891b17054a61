//! What `/openapi` says of custom resources: their schemas and the operations on them.
//!
//! Parameters carry no prose, as in the built-in documents. Source:
//! `k8s.io/apiextensions-apiserver/pkg/controller/openapi/builder`.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::text;
use crate::gvk::GroupVersionKind;

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";
const SCALE: &str = "io.k8s.api.autoscaling.v1.Scale";
const METADATA_HELP: &str = "Standard object's metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";
const LIST_METADATA_HELP: &str = "Standard list metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";
const API_VERSION_HELP: &str = "APIVersion defines the versioned schema of this representation of an object. Servers should convert recognized schemas to the latest internal value, and may reject unrecognized values. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources";
const KIND_HELP: &str = "Kind is a string value representing the REST resource this object represents. Servers may infer this from the endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";
const EMBEDDED_API_VERSION_HELP: &str = "apiVersion defines the versioned schema of this representation of an object. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources";
const EMBEDDED_KIND_HELP: &str = "kind is a string value representing the type of this object. In CamelCase. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";

/// Paths and definitions, to be merged into a document.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parts {
    /// By path.
    pub paths: Map<String, Value>,
    /// By model name.
    pub definitions: Map<String, Value>,
}

/// The two forms of OpenAPI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// 2.0: `#/definitions/`, no defaults, nothing that kubectl of old cannot read.
    V2,
    /// 3.0: `#/components/schemas/`.
    V3,
}

/// The name of a kind's schema: the group reversed, version and kind.
pub fn model_name(gvk: &GroupVersionKind) -> String {
    let mut group: Vec<&str> = gvk.group.split('.').collect();
    group.reverse();
    format!("{}.{}.{}", group.join("."), gvk.version, gvk.kind)
}

/// The OpenAPI v3 document of a group and version: the parts of its resources, and what they refer to as `lookup` tells it
/// by name.
pub fn document_v3(parts: Vec<Parts>, lookup: &dyn Fn(&str) -> Option<Value>) -> Value {
    let mut whole = Parts::default();
    for part in parts {
        whole.paths.extend(part.paths);
        whole.definitions.extend(part.definitions);
    }
    let mut wanted = BTreeSet::new();
    whole.paths.values().chain(whole.definitions.values()).for_each(|v| references(v, &mut wanted));
    while let Some(name) = wanted.pop_first() {
        if !whole.definitions.contains_key(&name)
            && let Some(schema) = lookup(&name)
        {
            references(&schema, &mut wanted);
            whole.definitions.insert(name, schema);
        }
    }
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes CRD Swagger", "version": "v0.1.0"},
        "paths": whole.paths,
        "components": {"schemas": whole.definitions},
    })
}

fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            if let Some(name) = map.get("$ref").and_then(Value::as_str).and_then(|r| r.rsplit('/').next()) {
                found.insert(name.to_owned());
            }
            map.values().for_each(|v| references(v, found));
        }
        Value::Array(items) => items.iter().for_each(|v| references(v, found)),
        _ => {}
    }
}

/// The parts of one version of a definition.
pub fn parts(crd: &Value, version: &str, form: Form) -> Parts {
    let Some(found) = super::versions(crd).iter().find(|v| text(v, "/name") == version) else {
        return Parts::default();
    };
    let kind = text(crd, "/spec/names/kind");
    let list_kind = match text(crd, "/spec/names/listKind") {
        "" => format!("{kind}List"),
        own => own.to_owned(),
    };
    let build = Build {
        form,
        gvk: GroupVersionKind::new(text(crd, "/spec/group"), version, kind),
        list_kind,
        plural: text(crd, "/spec/names/plural").to_owned(),
        namespaced: text(crd, "/spec/scope") == "Namespaced",
    };
    let mut definitions = Map::new();
    definitions.insert(build.model(), build.schema(found));
    definitions.insert(build.list_model(), build.list_schema(found));
    Parts { paths: build.paths(found), definitions }
}

struct Build {
    form: Form,
    gvk: GroupVersionKind,
    list_kind: String,
    plural: String,
    namespaced: bool,
}

impl Build {
    fn model(&self) -> String {
        model_name(&self.gvk)
    }

    fn list_model(&self) -> String {
        model_name(&GroupVersionKind { kind: self.list_kind.as_str().into(), ..self.gvk.clone() })
    }

    fn reference(&self, name: &str) -> Value {
        let place = match self.form {
            Form::V2 => "#/definitions/",
            Form::V3 => "#/components/schemas/",
        };
        json!({"$ref": format!("{place}{name}")})
    }

    fn described_reference(&self, name: &str, description: &str) -> Value {
        match self.form {
            Form::V2 => {
                let mut out = self.reference(name);
                out["description"] = json!(description);
                out
            }
            Form::V3 => json!({"allOf": [self.reference(name)], "description": description}),
        }
    }

    fn extensions(&self, version: &Value, kind: &str, out: &mut Map<String, Value>) {
        let gvk = json!([{"group": self.gvk.group, "version": self.gvk.version, "kind": kind}]);
        out.insert("x-kubernetes-group-version-kind".to_owned(), gvk);
        let fields = version.get("selectableFields").and_then(Value::as_array).filter(|f| !f.is_empty());
        if let Some(fields) = fields {
            let fields = fields.iter().map(|f| json!({"fieldPath": text(f, "/jsonPath").trim_start_matches('.')}));
            out.insert("x-kubernetes-selectable-fields".to_owned(), fields.collect());
        }
    }

    fn schema(&self, version: &Value) -> Value {
        let preserves = |s: &Value| s.get("x-kubernetes-preserve-unknown-fields") == Some(&json!(true));
        let schema = version.pointer("/schema/openAPIV3Schema").filter(|s| !s.is_null());
        let mut out = match schema {
            // Named properties would make old clients refuse all others.
            Some(schema) if !(self.form == Form::V2 && preserves(schema)) => {
                let mut out = self.published(schema);
                self.set_type_meta(&mut out, API_VERSION_HELP, KIND_HELP);
                out
            }
            _ => json!({"type": "object"}).as_object().cloned().unwrap_or_default(),
        };
        self.extensions(version, &self.gvk.kind, &mut out);
        Value::Object(out)
    }

    fn set_type_meta(&self, schema: &mut Map<String, Value>, api_version: &str, kind: &str) {
        let properties = schema.entry("properties").or_insert_with(|| json!({}));
        if let Some(properties) = properties.as_object_mut() {
            properties.insert("apiVersion".to_owned(), json!({"type": "string", "description": api_version}));
            properties.insert("kind".to_owned(), json!({"type": "string", "description": kind}));
            let metadata = self.described_reference(&format!("{META}.ObjectMeta"), METADATA_HELP);
            properties.insert("metadata".to_owned(), metadata);
        }
    }

    /// A schema as it is published, with all below it.
    fn published(&self, schema: &Value) -> Map<String, Value> {
        let mut out = schema.as_object().cloned().unwrap_or_default();
        let flag = |key: &str| schema.get(key) == Some(&json!(true));
        let preserve = flag("x-kubernetes-preserve-unknown-fields");
        if self.form == Form::V2 {
            for key in ["default", "allOf", "anyOf", "oneOf", "not"] {
                out.remove(key);
            }
            if flag("nullable") {
                for key in ["type", "nullable", "items", "properties"] {
                    out.remove(key);
                }
            }
            if preserve {
                out.remove("items");
                out.remove("properties");
            }
            let kind = out.get("type").and_then(Value::as_str);
            if (kind == Some("array") && !out.contains_key("items")) || (kind == Some("object") && preserve) {
                out.remove("type");
            }
            self.relax_required(&mut out);
        } else if flag("x-kubernetes-int-or-string") {
            unfold_int_or_string(&mut out);
        }
        for key in ["properties"] {
            if let Some(properties) = out.get_mut(key).and_then(Value::as_object_mut) {
                for property in properties.values_mut() {
                    *property = Value::Object(self.published(property));
                }
            }
        }
        for key in ["items", "additionalProperties"] {
            if let Some(nested) = out.get_mut(key).filter(|n| n.is_object()) {
                *nested = Value::Object(self.published(nested));
            }
        }
        if flag("x-kubernetes-embedded-resource") && !(self.form == Form::V2 && preserve) {
            self.set_type_meta(&mut out, EMBEDDED_API_VERSION_HELP, EMBEDDED_KIND_HELP);
            let required = out.entry("required").or_insert_with(|| json!([]));
            if let Some(required) = required.as_array_mut() {
                for key in ["kind", "apiVersion"] {
                    if !required.iter().any(|r| r == key) {
                        required.push(json!(key));
                    }
                }
            }
        }
        out
    }

    /// In version 2 a field that may be null cannot be required.
    fn relax_required(&self, out: &mut Map<String, Value>) {
        let nullable: Vec<String> = out
            .get("properties")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .filter(|(_, p)| p.get("nullable") == Some(&json!(true)))
            .map(|(name, _)| name.clone())
            .collect();
        if let Some(required) = out.get_mut("required").and_then(Value::as_array_mut) {
            required.retain(|r| !nullable.iter().any(|n| r == n));
            if required.is_empty() {
                out.remove("required");
            }
        }
    }

    fn list_schema(&self, version: &Value) -> Value {
        let items = format!(
            "List of {}. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md",
            self.plural
        );
        let mut out = Map::new();
        out.insert("type".to_owned(), json!("object"));
        out.insert("description".to_owned(), json!(format!("{} is a list of {}", self.list_kind, self.gvk.kind)));
        out.insert("required".to_owned(), json!(["items"]));
        out.insert(
            "properties".to_owned(),
            json!({
                "apiVersion": {"type": "string", "description": API_VERSION_HELP},
                "kind": {"type": "string", "description": KIND_HELP},
                "metadata": self.described_reference(&format!("{META}.ListMeta"), LIST_METADATA_HELP),
                "items": {"type": "array", "description": items, "items": self.reference(&self.model())},
            }),
        );
        self.extensions(version, &self.list_kind, &mut out);
        Value::Object(out)
    }

    fn paths(&self, version: &Value) -> Map<String, Value> {
        let base = format!("/apis/{}/{}", self.gvk.group, self.gvk.version);
        let mut paths = Map::new();
        let root = if self.namespaced {
            let mut all = self.path(&[], &LIST_PARAMETERS);
            all["get"] = self.operation(&Call { id_suffix: "ForAllNamespaces", ..LIST });
            paths.insert(format!("{base}/{}", self.plural), all);
            format!("{base}/namespaces/{{namespace}}/{}", self.plural)
        } else {
            format!("{base}/{}", self.plural)
        };
        let mut collection = self.path(&[], &[]);
        for call in [LIST, CREATE, DELETE_COLLECTION] {
            collection[call.method] = self.operation(&call);
        }
        paths.insert(root.clone(), collection);
        let mut item = self.path(&["name"], &[]);
        for call in [GET, REPLACE, PATCH, DELETE] {
            item[call.method] = self.operation(&call);
        }
        paths.insert(format!("{root}/{{name}}"), item);
        for subresource in ["status", "scale"] {
            if version.pointer(&format!("/subresources/{subresource}")).is_some_and(|s| !s.is_null()) {
                let mut item = self.path(&["name"], &[]);
                for call in [GET, REPLACE, PATCH] {
                    item[call.method] = self.operation(&Call { subresource, ..call });
                }
                paths.insert(format!("{root}/{{name}}/{subresource}"), item);
            }
        }
        paths
    }

    /// A path with the parameters that all its operations share.
    fn path(&self, names: &[&str], query: &[(&str, &str)]) -> Value {
        let mut parameters: Vec<Value> = Vec::new();
        let mut in_path: Vec<&str> = names.to_vec();
        if self.namespaced && query.is_empty() {
            in_path.push("namespace");
        }
        for name in in_path {
            let mut parameter = self.parameter(name, "string", "path");
            parameter["required"] = json!(true);
            parameters.push(parameter);
        }
        let mut query: Vec<(&str, &str)> = query.to_vec();
        query.push(("pretty", "string"));
        query.sort_unstable();
        parameters.extend(query.into_iter().map(|(name, kind)| self.parameter(name, kind, "query")));
        json!({"parameters": parameters})
    }

    fn parameter(&self, name: &str, kind: &str, place: &str) -> Value {
        match self.form {
            Form::V2 => json!({"name": name, "in": place, "type": kind, "uniqueItems": true}),
            Form::V3 => json!({"name": name, "in": place, "schema": {"type": kind, "uniqueItems": true}}),
        }
    }

    fn operation(&self, call: &Call) -> Value {
        let kind = self.gvk.kind.as_str();
        let sample = match (call.gives, call.subresource) {
            (_, "scale") => SCALE.to_owned(),
            (Gives::Object, _) => self.model(),
            (Gives::List, _) => self.list_model(),
            (Gives::Status, _) => format!("{META}.Status"),
        };
        let of_sub = if call.subresource.is_empty() { String::new() } else { format!(" {} of", call.subresource) };
        let article = if kind.starts_with(['A', 'E', 'I', 'O', 'U']) { "an" } else { "a" };
        let description = match call.action {
            "list" => format!("list objects of kind {kind}"),
            "deletecollection" => format!("delete collection of {kind}"),
            "post" => format!("create {article} {kind}"),
            "delete" => format!("delete {article} {kind}"),
            "get" => format!("read{of_sub} the specified {kind}"),
            "put" => format!("replace{of_sub} the specified {kind}"),
            _ => format!("partially update{of_sub} the specified {kind}"),
        };
        let (group_camel, tag) = self.group_names();
        let namespaced = if self.namespaced && call.id_suffix.is_empty() { "Namespaced" } else { "" };
        let subresource = capital(call.subresource);
        let id = format!(
            "{}{group_camel}{}{}{namespaced}{kind}{subresource}{}",
            call.id,
            capital(&self.gvk.version),
            call.id_infix,
            call.id_suffix
        );
        let consumes: &[&str] = if call.action == "patch" {
            &["application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml"]
        } else {
            &["application/json", "application/yaml"]
        };
        let body = match call.action {
            "post" | "put" => Some((sample.clone(), true)),
            "patch" => Some((format!("{META}.Patch"), true)),
            "delete" => Some((format!("{META}.DeleteOptions"), false)),
            _ => None,
        };
        let mut parameters: Vec<Value> = Vec::new();
        if let (Form::V2, Some((model, required))) = (self.form, &body) {
            let mut parameter = json!({"name": "body", "in": "body", "schema": self.reference(model)});
            if *required {
                parameter["required"] = json!(true);
            }
            parameters.push(parameter);
        }
        if call.id_suffix.is_empty() {
            parameters.extend(call.parameters.iter().map(|(name, kind)| self.parameter(name, kind, "query")));
        }
        let mut responses = Map::new();
        for (code, description) in call.codes {
            responses.insert((*code).to_owned(), self.response(description, &sample));
        }
        responses.insert("401".to_owned(), json!({"description": "Unauthorized"}));
        let mut out = json!({
            "description": description,
            "operationId": id,
            "tags": [tag],
            "responses": responses,
            "x-kubernetes-action": call.action,
            "x-kubernetes-group-version-kind": {"group": self.gvk.group, "version": self.gvk.version, "kind": kind},
        });
        if !parameters.is_empty() {
            out["parameters"] = Value::Array(parameters);
        }
        match self.form {
            Form::V2 => {
                out["consumes"] = json!(consumes);
                out["produces"] = json!(["application/json", "application/yaml"]);
                out["schemes"] = json!(["https"]);
            }
            Form::V3 => {
                if let Some((model, required)) = body {
                    let content = consumes.iter().map(|c| ((*c).to_owned(), json!({"schema": self.reference(&model)})));
                    out["requestBody"] = json!({"content": content.collect::<Map<_, _>>()});
                    if required {
                        out["requestBody"]["required"] = json!(true);
                    }
                }
            }
        }
        out
    }

    fn response(&self, description: &str, model: &str) -> Value {
        let schema = json!({"schema": self.reference(model)});
        match self.form {
            Form::V2 => json!({"description": description, "schema": self.reference(model)}),
            Form::V3 => json!({
                "description": description,
                "content": {"application/json": schema, "application/yaml": schema},
            }),
        }
    }

    /// The group as operation ids have it (`PatchExampleCom`) and the tag (`patchExampleCom_v1`).
    fn group_names(&self) -> (String, String) {
        let group = self.gvk.group.strip_suffix(".k8s.io").unwrap_or(&self.gvk.group);
        let camel: String = group.split(['.', '-']).map(capital).collect();
        let mut tag = camel.clone();
        if let Some(first) = tag.get_mut(..1) {
            first.make_ascii_lowercase();
        }
        (camel, format!("{tag}_{}", self.gvk.version))
    }
}

fn capital(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map(|c| c.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

fn unfold_int_or_string(out: &mut Map<String, Value>) {
    let either = json!([{"type": "integer"}, {"type": "string"}]);
    let nested = |out: &Map<String, Value>| {
        out.get("allOf").and_then(|a| a.get(0)).and_then(|f| f.get("anyOf")) == Some(&either)
    };
    if out.get("anyOf") == Some(&either) || nested(out) {
        return;
    }
    if out.contains_key("anyOf") {
        let mut all = vec![json!({"anyOf": either})];
        all.extend(out.get("allOf").and_then(Value::as_array).cloned().unwrap_or_default());
        out.insert("allOf".to_owned(), Value::Array(all));
    } else {
        out.insert("anyOf".to_owned(), either);
    }
}

#[derive(Clone, Copy)]
enum Gives {
    Object,
    List,
    Status,
}

#[derive(Clone, Copy)]
struct Call {
    method: &'static str,
    action: &'static str,
    id: &'static str,
    id_infix: &'static str,
    id_suffix: &'static str,
    subresource: &'static str,
    gives: Gives,
    parameters: &'static [(&'static str, &'static str)],
    codes: &'static [(&'static str, &'static str)],
}

const LIST_PARAMETERS: [(&str, &str); 11] = [
    ("allowWatchBookmarks", "boolean"),
    ("continue", "string"),
    ("fieldSelector", "string"),
    ("labelSelector", "string"),
    ("limit", "integer"),
    ("resourceVersion", "string"),
    ("resourceVersionMatch", "string"),
    ("sendInitialEvents", "boolean"),
    ("shardSelector", "string"),
    ("timeoutSeconds", "integer"),
    ("watch", "boolean"),
];
const WRITE_PARAMETERS: [(&str, &str); 3] =
    [("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string")];
const PATCH_PARAMETERS: [(&str, &str); 4] =
    [("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string"), ("force", "boolean")];
const DELETE_PARAMETERS: [(&str, &str); 5] = [
    ("dryRun", "string"),
    ("gracePeriodSeconds", "integer"),
    ("ignoreStoreReadErrorWithClusterBreakingPotential", "boolean"),
    ("orphanDependents", "boolean"),
    ("propagationPolicy", "string"),
];

const GET: Call = Call {
    method: "get",
    action: "get",
    id: "read",
    id_infix: "",
    id_suffix: "",
    subresource: "",
    gives: Gives::Object,
    parameters: &[("resourceVersion", "string")],
    codes: &[("200", "OK")],
};
const LIST: Call = Call { action: "list", id: "list", gives: Gives::List, parameters: &LIST_PARAMETERS, ..GET };
const CREATE: Call = Call {
    method: "post",
    action: "post",
    id: "create",
    parameters: &WRITE_PARAMETERS,
    codes: &[("200", "OK"), ("201", "Created"), ("202", "Accepted")],
    ..GET
};
const REPLACE: Call = Call {
    method: "put",
    action: "put",
    id: "replace",
    parameters: &WRITE_PARAMETERS,
    codes: &[("200", "OK"), ("201", "Created")],
    ..GET
};
const PATCH: Call = Call { method: "patch", action: "patch", id: "patch", parameters: &PATCH_PARAMETERS, ..GET };
const DELETE: Call = Call {
    method: "delete",
    action: "delete",
    id: "delete",
    gives: Gives::Status,
    parameters: &DELETE_PARAMETERS,
    codes: &[("200", "OK"), ("202", "Accepted")],
    ..GET
};
const DELETE_COLLECTION: Call = Call {
    action: "deletecollection",
    id_infix: "Collection",
    parameters: &LIST_PARAMETERS,
    codes: &[("200", "OK")],
    ..DELETE
};
