//! `SubjectAccessReview` and its like: may they do this.
//!
//! Source of the rules: `k8s.io/kubernetes/pkg/apis/authorization/validation`.

use std::sync::Arc;

use apimachinery::field::{Errors, Path};
use apimachinery::gvk::GroupVersionKind;
use apimachinery::rules::names::{label_value, qualified_name};
use apimachinery::selector::{FieldSelector, LabelSelector};
use apimachinery::status::ApiError;
use async_trait::async_trait;
use serde_json::{Map, Value, json};

use super::{Context, in_namespace, strings};
use crate::auth::{Attributes, Decision, User};
use crate::registry::{Call, Registry};
use crate::special::Post;

/// About whom a review may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum About {
    Anyone,
    AnyoneHere,
    Oneself,
}

pub(super) struct AccessReview(pub(super) Context, pub(super) About);

#[async_trait]
impl Post for AccessReview {
    async fn post(&self, _registry: &Arc<Registry>, call: &Call, mut object: Value) -> Result<(u16, Value), ApiError> {
        if self.1 == About::AnyoneHere {
            in_namespace(call, &mut object)?;
        }
        let mut errors = Errors::default();
        validate(&object, self.1, &mut errors);
        if !errors.is_empty() {
            // The stock server names no kind here.
            let kind = GroupVersionKind::new("authorization.k8s.io", "v1", "");
            return Err(ApiError::invalid(&kind, "", &errors));
        }
        let spec = &object["spec"];
        let user = match self.1 {
            About::Oneself => call.user.clone(),
            About::Anyone | About::AnyoneHere => subject(spec),
        };
        let authorized = self.0.authorizer.authorize(call.tenant, &attributes(spec, &user)).await?;
        let mut status = json!({"allowed": authorized.allowed()});
        if authorized.decision == Decision::Deny {
            status["denied"] = json!(true);
        }
        if !authorized.reason.is_empty() {
            status["reason"] = json!(authorized.reason);
        }
        let ignored = ignored_selectors(&spec["resourceAttributes"]);
        if !ignored.is_empty() {
            status["evaluationError"] = json!(ignored);
        }
        object["status"] = status;
        Ok((201, object))
    }
}

fn subject(spec: &Value) -> User {
    let text = |key: &str| spec[key].as_str().unwrap_or_default().to_owned();
    let extra = spec["extra"].as_object().into_iter().flatten().map(|(k, v)| (k.clone(), strings(v))).collect();
    User { name: text("user"), uid: text("uid"), groups: strings(&spec["groups"]), extra }
}

fn attributes<'a>(spec: &'a Value, user: &'a User) -> Attributes<'a> {
    let resource = &spec["resourceAttributes"];
    let text = |object: &'a Value, key: &str| object[key].as_str().unwrap_or_default();
    if resource.is_object() {
        let version = text(resource, "version");
        Attributes {
            version: if version.is_empty() { "*" } else { version },
            namespace: text(resource, "namespace"),
            subresource: text(resource, "subresource"),
            name: text(resource, "name"),
            ..Attributes::resource(user, text(resource, "verb"), text(resource, "group"), text(resource, "resource"))
        }
    } else {
        let path = &spec["nonResourceAttributes"];
        Attributes::path(user, text(path, "verb"), text(path, "path"))
    }
}

fn validate(object: &Value, about: About, errors: &mut Errors) {
    let spec = &object["spec"];
    let path = Path::new("spec");
    let (resource, other) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    // The stock server shows its own type here, with capital letters.
    let text = |key: &str| other[key].as_str().unwrap_or_default();
    let shown = json!({"Path": text("path"), "Verb": text("verb")});
    if resource.is_object() && other.is_object() {
        let why = "cannot be specified in combination with resourceAttributes";
        errors.invalid(&path.child("nonResourceAttributes"), &shown, why);
    }
    if !resource.is_object() && !other.is_object() {
        let why = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
        errors.invalid(&path.child("resourceAttributes"), &Value::Null, why);
    }
    let nobody = spec["user"].as_str().unwrap_or_default().is_empty() && strings(&spec["groups"]).is_empty();
    if about != About::Oneself && nobody {
        errors.invalid_str(&path.child("user"), "", "at least one of user or group must be specified");
    }
    if resource.is_object() {
        for (kind, labels) in [("fieldSelector", false), ("labelSelector", true)] {
            selector(&resource[kind], &path.child("resourceAttributes").child(kind), labels, errors);
        }
    }
    let empty = Map::new();
    let metadata = object["metadata"].as_object().unwrap_or(&empty);
    let here = about == About::AnyoneHere;
    let stray = |(key, value): (&String, &Value)| {
        key != "managedFields" && !(here && key == "namespace") && !value.is_null() && value != ""
    };
    if metadata.iter().any(stray) {
        let why = if here { "must be empty except for namespace" } else { "must be empty" };
        errors.invalid(&Path::new("metadata"), &object["metadata"], why);
    }
    if here {
        let own = metadata.get("namespace").and_then(Value::as_str).unwrap_or_default();
        let asked = resource["namespace"].as_str().unwrap_or_default();
        if resource.is_object() && asked != own {
            let place = path.child("resourceAttributes").child("namespace");
            errors.invalid_str(&place, asked, "must match metadata.namespace");
        }
        if other.is_object() {
            errors.invalid(&path.child("nonResourceAttributes"), &shown, "disallowed on this kind of request");
        }
    }
}

/// A selector says what it selects either as text or as a list, and something. RBAC does not look at it.
fn selector(value: &Value, path: &Path, labels: bool, errors: &mut Errors) {
    if !value.is_object() {
        return;
    }
    let raw = value["rawSelector"].as_str().unwrap_or_default();
    let requirements = value["requirements"].as_array().map(Vec::as_slice).unwrap_or_default();
    match (raw.is_empty(), requirements.is_empty()) {
        (false, false) => {
            let why = "may not specified at the same time as requirements";
            errors.invalid_str(&path.child("rawSelector"), raw, why);
        }
        (true, true) => {
            let why = format!("when {path} is specified, requirements or rawSelector is required");
            errors.required(&path.child("requirements"), &why);
        }
        _ => {}
    }
    for (index, item) in requirements.iter().enumerate() {
        requirement(item, &path.child("requirements").index(index), labels, errors);
    }
}

/// Which selectors can not be understood, wholly or in part. They only ever narrow what is asked, so the answer for all
/// objects is a safe one.
fn ignored_selectors(resource: &Value) -> String {
    let known = |requirement: &Value, labels: bool| {
        let values = strings(&requirement["values"]).len();
        match requirement["operator"].as_str().unwrap_or_default() {
            "In" | "NotIn" => labels || values == 1,
            "Exists" | "DoesNotExist" => labels,
            _ => false,
        }
    };
    let mut texts = Vec::new();
    for (kind, labels) in [("fieldSelector", false), ("labelSelector", true)] {
        let selector = &resource[kind];
        let raw = selector["rawSelector"].as_str().unwrap_or_default();
        let requirements = selector["requirements"].as_array().map(Vec::as_slice).unwrap_or_default();
        let understood = requirements.iter().filter(|r| known(r, labels)).count();
        let raw_parses = if labels { LabelSelector::parse(raw).is_ok() } else { FieldSelector::parse(raw).is_ok() };
        let how = match (understood < requirements.len(), understood > 0) {
            (true, true) => "partially ignored",
            (true, false) => "ignored",
            (false, _) if !raw_parses => "ignored",
            (false, _) => continue,
        };
        texts.push(format!("spec.resourceAttributes.{kind} {how} due to parse error"));
    }
    texts.join("; ")
}

/// One requirement of a selector on labels or on fields. Operators that are not known pass: a newer client's.
fn requirement(value: &Value, path: &Path, labels: bool, errors: &mut Errors) {
    let key = value["key"].as_str().unwrap_or_default();
    if !labels && key.is_empty() {
        errors.required(&path.child("key"), "must be specified");
    }
    let values = strings(&value["values"]);
    match value["operator"].as_str().unwrap_or_default() {
        "In" | "NotIn" if values.is_empty() => {
            errors.required(&path.child("values"), "must be specified when `operator` is 'In' or 'NotIn'");
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
            errors.forbidden(&path.child("values"), why);
        }
        _ => {}
    }
    if labels {
        for why in qualified_name(key) {
            errors.invalid_str(&path.child("key"), key, &why);
        }
        for (index, value) in values.iter().enumerate() {
            for why in label_value(value) {
                errors.invalid_str(&path.child("values").index(index), value, &why);
            }
        }
    }
}
