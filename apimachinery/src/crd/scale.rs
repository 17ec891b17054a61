//! The scale subresource of custom resources.
//!
//! Source: `k8s.io/apiextensions-apiserver/pkg/registry/customresource/{etcd,validator}.go`.

use serde_json::{Map, Value, json};
use smol_str::SmolStr;

use crate::field::{Errors, Path, quote};
use crate::patch::{go_type, show_go};
use crate::status::ApiError;

/// Where a kind has what a Scale shows, as field names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScalePaths {
    /// `specReplicasPath`
    pub spec_replicas: Vec<SmolStr>,
    /// `statusReplicasPath`
    pub status_replicas: Vec<SmolStr>,
    /// `labelSelectorPath`
    pub selector: Option<Vec<SmolStr>>,
}

fn dotted(path: &[SmolStr]) -> String {
    path.iter().map(|step| format!(".{step}")).collect()
}

fn find<'a>(object: &'a Value, path: &[SmolStr]) -> Option<&'a Value> {
    path.iter().try_fold(object, |value, step| value.get(step.as_str()))
}

impl ScalePaths {
    pub(super) fn of(version: &Value) -> Option<Self> {
        let scale = version.pointer("/subresources/scale").filter(|s| !s.is_null())?;
        let path = |key: &str| {
            let text = scale.get(key).and_then(Value::as_str).filter(|t| !t.is_empty())?;
            Some(text.trim_start_matches('.').split('.').map(SmolStr::from).collect::<Vec<_>>())
        };
        Some(Self {
            spec_replicas: path("specReplicasPath")?,
            status_replicas: path("statusReplicasPath")?,
            selector: path("labelSelectorPath"),
        })
    }

    /// The Scale of an object; managed fields are the caller's.
    ///
    /// # Errors
    /// 500 if the object has no replicas, as on the stock server.
    pub fn scale(&self, object: &Value) -> Result<Value, ApiError> {
        let Some(replicas) = find(object, &self.spec_replicas).and_then(Value::as_i64) else {
            let path = quote(&dotted(&self.spec_replicas));
            return Err(ApiError::internal(format!("the spec replicas field {path} does not exist")));
        };
        let mut metadata = Map::new();
        for key in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
            if let Some(value) = crate::meta::metadata(object).and_then(|m| m.get(key)) {
                metadata.insert(key.to_owned(), value.clone());
            }
        }
        let mut status = json!({"replicas": find(object, &self.status_replicas).and_then(Value::as_i64).unwrap_or(0)});
        let selector = self.selector.as_ref().and_then(|path| find(object, path)).and_then(Value::as_str);
        if let Some(selector) = selector.filter(|s| !s.is_empty()) {
            status["selector"] = json!(selector);
        }
        let mut spec = Map::new();
        if replicas != 0 {
            spec.insert("replicas".to_owned(), json!(replicas));
        }
        Ok(json!({
            "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": spec, "status": status,
        }))
    }

    /// Sets the replicas of an object to those of a Scale.
    ///
    /// # Errors
    /// 500 if something stands in the way that is no object.
    pub fn set_replicas(&self, object: &mut Value, scale: &Value) -> Result<(), ApiError> {
        let replicas = scale.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(0);
        let blocked = || ApiError::internal(format!("{} cannot be set", quote(&dotted(&self.spec_replicas))));
        let Some((last, parents)) = self.spec_replicas.split_last() else { return Err(blocked()) };
        let mut at = object;
        for step in parents {
            let map = at.as_object_mut().ok_or_else(blocked)?;
            at = map.entry(step.as_str()).or_insert_with(|| json!({}));
        }
        at.as_object_mut().ok_or_else(blocked)?.insert(last.to_string(), json!(replicas));
        Ok(())
    }

    /// Finds what in an object stands where a Scale cannot show it.
    pub(super) fn validate(&self, object: &Value, spec: bool, status: bool, errors: &mut Errors) {
        let mut replicas = |path: &[SmolStr]| {
            let at = Path::new(&dotted(path));
            match find(object, path) {
                None => {}
                Some(value) => match value.as_i64() {
                    None => {
                        let says = format!(
                            "{at} accessor error: {} is of the type {}, expected int64",
                            show_go(value),
                            go_type(value)
                        );
                        errors.invalid(&at, &json!(0), &says);
                    }
                    Some(n) if n < 0 => errors.invalid(&at, value, "should be a non-negative integer"),
                    Some(n) if n > i64::from(i32::MAX) => {
                        errors.invalid(&at, value, &format!("should be less than or equal to {}", i32::MAX));
                    }
                    Some(_) => {}
                },
            }
        };
        if spec {
            replicas(&self.spec_replicas);
        }
        if status {
            replicas(&self.status_replicas);
            if let Some(path) = &self.selector
                && let Some(value) = find(object, path).filter(|v| !v.is_string())
            {
                let at = Path::new(&dotted(path));
                let says = format!(
                    "{at} accessor error: {} is of the type {}, expected string",
                    show_go(value),
                    go_type(value)
                );
                errors.invalid_str(&at, "", &says);
            }
        }
    }
}
