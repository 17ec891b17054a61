//! Volumes and claims are kept while they are used, and claims and ingresses without a class get the default one.
//!
//! Source: `k8s.io/kubernetes/plugin/pkg/admission/storage`, `plugin/pkg/admission/network/defaultingressclass`.

use apimachinery::gvk::GroupResource;
use apimachinery::meta;
use apimachinery::status::ApiError;
use async_trait::async_trait;
use serde_json::{Value, json};

use super::{Admission, Operation, Request};

pub(super) struct StorageObjectInUseProtection;

pub(super) struct DefaultStorageClass;

pub(super) struct DefaultIngressClass;

#[async_trait]
impl Admission for StorageObjectInUseProtection {
    fn name(&self) -> &'static str {
        "StorageObjectInUseProtection"
    }

    async fn mutate(&self, request: &mut Request<'_>) -> Result<(), ApiError> {
        if request.operation != Operation::Create {
            return Ok(());
        }
        let finalizer = if request.is_for("", "persistentvolumes", "") {
            "kubernetes.io/pv-protection"
        } else if request.is_for("", "persistentvolumeclaims", "") {
            "kubernetes.io/pvc-protection"
        } else if request.is_for("storage.k8s.io", "volumeattributesclasses", "") {
            "kubernetes.io/vac-protection"
        } else {
            return Ok(());
        };
        let metadata = request.object.as_mut().and_then(|o| o.get_mut("metadata")).and_then(Value::as_object_mut);
        let finalizers = metadata.map(|m| m.entry("finalizers").or_insert_with(|| json!([])));
        if let Some(finalizers) = finalizers.and_then(Value::as_array_mut)
            && !finalizers.iter().any(|f| f == finalizer)
        {
            finalizers.push(json!(finalizer));
        }
        Ok(())
    }
}

#[async_trait]
impl Admission for DefaultStorageClass {
    fn name(&self) -> &'static str {
        "DefaultStorageClass"
    }

    async fn mutate(&self, request: &mut Request<'_>) -> Result<(), ApiError> {
        if request.operation != Operation::Create || !request.is_for("", "persistentvolumeclaims", "") {
            return Ok(());
        }
        let asked = request.object.as_ref().is_some_and(|claim| {
            let by_annotation =
                meta::at(claim, &["metadata", "annotations", "volume.beta.kubernetes.io/storage-class"]);
            by_annotation.is_some() || claim["spec"].get("storageClassName").is_some()
        });
        if asked {
            return Ok(());
        }
        const DEFAULT: [&str; 2] =
            ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];
        let classes = GroupResource::new("storage.k8s.io", "storageclasses");
        let mut marked = marked(request, &classes, &DEFAULT).await?;
        // The newest is meant; among those of one second the first by name.
        marked.sort_by(|a, b| {
            let age = |c: &Value| meta::text(c, "creationTimestamp").to_owned();
            age(b).cmp(&age(a)).then_with(|| meta::name(a).cmp(meta::name(b)))
        });
        if let (Some(class), Some(claim)) = (marked.first(), request.object.as_mut()) {
            claim["spec"]["storageClassName"] = json!(meta::name(class));
        }
        Ok(())
    }
}

#[async_trait]
impl Admission for DefaultIngressClass {
    fn name(&self) -> &'static str {
        "DefaultIngressClass"
    }

    async fn mutate(&self, request: &mut Request<'_>) -> Result<(), ApiError> {
        if request.operation != Operation::Create || !request.is_for("networking.k8s.io", "ingresses", "") {
            return Ok(());
        }
        let Some(ingress) = request.object.as_ref() else { return Ok(()) };
        let by_annotation = meta::at(ingress, &["metadata", "annotations", "kubernetes.io/ingress.class"]);
        if by_annotation.is_some() || ingress["spec"].get("ingressClassName").is_some() {
            return Ok(());
        }
        let name = meta::name(ingress).to_owned();
        let classes = GroupResource::new("networking.k8s.io", "ingressclasses");
        let marked = marked(request, &classes, &["ingressclass.kubernetes.io/is-default-class"]).await?;
        match (marked.as_slice(), request.object.as_mut()) {
            ([class], Some(ingress)) => ingress["spec"]["ingressClassName"] = json!(meta::name(class)),
            ([], _) | (_, None) => {}
            _ => {
                let why = format!("{} default IngressClasses were found, only 1 allowed", marked.len());
                return Err(ApiError::forbidden(&request.call.resource.group_resource(), &name, &why));
            }
        }
        Ok(())
    }
}

/// The classes that one of these annotations marks as default.
async fn marked(request: &Request<'_>, classes: &GroupResource, marks: &[&str]) -> Result<Vec<Value>, ApiError> {
    let mut found = Vec::new();
    for class in request.registry.objects(request.call.tenant, classes, "").await? {
        let class = class.to_value()?;
        let annotations = &class["metadata"]["annotations"];
        if marks.iter().any(|mark| annotations.get(*mark).and_then(Value::as_str) == Some("true")) {
            found.push(class);
        }
    }
    Ok(found)
}
