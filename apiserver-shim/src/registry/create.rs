//! Creating objects.

use std::sync::Arc;

use crate::ownership as managed;
use apimachinery::builtin;
use apimachinery::field::Errors;
use apimachinery::gvk::GroupVersionKind;
use apimachinery::meta;
use apimachinery::rules::{Part, Rules, WriteContext};
use apimachinery::status::ApiError;
use serde_json::{Value, json};
use store::{Precondition, StoreError};

use super::{
    Call, Live, Registry, convert, encode, metadata, names, place, put, requester, rules_of, set_revision, store_error,
};
use crate::admission::resource_quota::{self, Failed};
use crate::admission::{self, Operation};
use crate::special;

/// How many names are tried for `generateName` before the client is told.
const NAME_ATTEMPTS: usize = 8;

impl Registry {
    /// Creates an object, which is in the version of the call's resource and canonical.
    ///
    /// # Errors
    /// What admission, validation and the store say; 409 if it exists.
    pub async fn create(&self, call: &Call, mut object: Value) -> Result<Value, ApiError> {
        let metadata = metadata::metadata_mut(&mut object)?;
        metadata::wipe_system_fields(metadata);
        metadata::ensure_namespace(metadata, &call.resource, &call.namespace)?;
        metadata::dedup_owners(metadata, call);
        let object = self.defaulted(call, object)?;
        let object = managed::record_create(&call.resource, object, &call.manager, &call.now_text());
        let object = convert::to_storage(&call.resource, object)?;
        self.create_stored(call, object).await
    }

    /// Creates an object that is in the storage version and has its managed fields.
    pub(super) async fn create_stored(&self, call: &Call, object: Value) -> Result<Value, ApiError> {
        let mut request = admission::Request::new(self, call, Operation::Create, Some(object), None);
        admission::mutate(self.admission(), &mut request).await?;
        let Some(object) = request.object.take() else {
            return Err(ApiError::internal("admission dropped the object"));
        };
        let generated = meta::name(&object).is_empty() && !meta::text(&object, "generateName").is_empty();
        if !generated {
            return self.create_once(call, object).await;
        }
        let mut attempt = 1;
        loop {
            match self.create_once(call, object.clone()).await {
                Err(e) if e.reason == "AlreadyExists" && attempt < NAME_ATTEMPTS => attempt += 1,
                answer => return answer,
            }
        }
    }

    async fn create_once(&self, call: &Call, mut object: Value) -> Result<Value, ApiError> {
        let rules = rules_of(&call.resource);
        let kind = place::storage_kind(&call.resource);
        let now = call.now_text();
        let fields = metadata::metadata_mut(&mut object)?;
        metadata::dedup_owners(fields, call);
        metadata::fill_system_fields(fields, &now);
        let text = |key: &str| fields.get(key).and_then(Value::as_str).unwrap_or_default();
        let generated = text("name").is_empty() && !text("generateName").is_empty();
        if !matches!(text("resourceVersion"), "" | "0") {
            return Err(ApiError::new(500, "", "resourceVersion should not be set on objects to be created"));
        }
        if generated {
            let name = names::generate(text("generateName"));
            fields.insert("name".to_owned(), Value::String(name));
        }
        fields.remove("resourceVersion");
        if rules.has_generation() || call.resource.custom {
            fields.insert("generation".to_owned(), json!(1));
        }
        let context = WriteContext { part: Part::Main, now: &now, user: requester(&call.user) };
        if special::asks_the_host(call) {
            // What is invalid is refused before anything is made on the host.
            let mut draft = object.clone();
            rules.prepare_create(&mut draft, &context);
            refuse_invalid(call, rules, &kind, &draft)?;
        }
        special::before_create(self, call, &mut object).await?;
        if call.resource.subresource("status").is_some()
            && !rules.status_on_create()
            && let Some(fields) = object.as_object_mut()
        {
            fields.remove("status");
            settle(&kind, fields);
        }
        rules.prepare_create(&mut object, &context);
        refuse_invalid(call, rules, &kind, &object)?;
        for warning in rules.warnings(&object, None) {
            call.warn(warning);
        }
        if call.resource.custom {
            metadata::warn_of_finalizers(call, &object, None);
        }
        let request = admission::Request::new(self, call, Operation::Create, Some(object), None);
        admission::validate(self.admission(), &request).await?;
        let Some(object) = request.object.as_ref() else {
            return Err(ApiError::internal("admission dropped the object"));
        };
        let name = meta::name(object).to_owned();
        let group_resource = call.resource.group_resource();
        let key = place::key(call.tenant, &group_resource, &call.namespace, &name);
        let stored = encode(&call.resource, &kind, object)?;
        if call.dry_run {
            resource_quota::check(&request).await?;
            if let Some(record) = self.record(&key).await? {
                return Err(exists(call, &name, generated, Some(record)));
            }
            return request.object.ok_or_else(|| ApiError::internal("admission dropped the object"));
        }
        match resource_quota::commit(&request, put(key, &stored, Precondition::Absent)).await {
            Ok(revision) => {
                let mut object = request.object.unwrap_or_default();
                set_revision(&mut object, revision);
                Ok(object)
            }
            Err(Failed::Refused(error)) => Err(error),
            Err(Failed::Store(StoreError::Conflict { current, .. })) => Err(exists(call, &name, generated, current)),
            Err(Failed::Store(e)) => Err(store_error(e)),
        }
    }
}

/// Refuses a new object that breaks the rules of its kind or of metadata.
fn refuse_invalid(call: &Call, rules: &dyn Rules, kind: &GroupVersionKind, object: &Value) -> Result<(), ApiError> {
    let mut errors = Errors::default();
    metadata::validate(object, &call.resource, rules.name_rule(), &mut errors);
    match &call.resource.definition {
        Some(custom) => custom.validate(object, None, &mut errors),
        None => rules.validate(object, &mut errors),
    }
    if errors.is_empty() { Ok(()) } else { Err(ApiError::invalid(kind, meta::name(object), &errors)) }
}

fn exists(call: &Call, name: &str, generated: bool, current: Option<store::Record>) -> ApiError {
    let resource = call.resource.group_resource();
    if generated {
        let mut error = ApiError::already_exists(&resource, name).with_retry_after(1);
        error.message = format!(
            "{resource} {} already exists, the server was not able to generate a unique name for the object",
            apimachinery::field::quote(name)
        );
        return error;
    }
    let mut error = ApiError::already_exists(&resource, name);
    let kind = Arc::new(place::storage_kind(&call.resource));
    if current.and_then(|record| Live::from_record(&kind, record).ok()).is_some_and(|live| live.stored.deleting()) {
        error.message = format!("object is being deleted: {}", error.message);
    }
    error
}

/// Puts in what is always written of a kind: an empty status, mostly.
fn settle(kind: &GroupVersionKind, fields: &mut serde_json::Map<String, Value>) {
    if let Some(schema) = builtin::kind_schema(kind) {
        schema.schema.settle(schema.root(), fields);
    }
}
