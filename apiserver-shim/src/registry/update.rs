//! Changing objects: PUT and what the four kinds of patches come down to.

use crate::ownership as managed;
use apimachinery::field::Errors;
use apimachinery::meta;
use apimachinery::rules::{NameRule, Part, Rules, WriteContext};
use apimachinery::status::ApiError;
use serde_json::{Map, Value, json};
use store::{Precondition, Revision, StoreError, Write};

use super::list::bad_integer;
use super::{
    Call, Live, Registry, convert, encode, metadata, place, precondition, put, requester, rules_of, set_revision,
    store_error,
};
use crate::admission::resource_quota::{self, Failed};
use crate::admission::{self, Operation};
use crate::special;

/// How often a change that names no `resourceVersion` is tried again when someone else was faster.
const ATTEMPTS: usize = 5;

/// An object after a change.
#[derive(Clone, Debug)]
pub struct Updated {
    /// The object, in the storage version.
    pub object: Value,
    /// Whether it did not exist before.
    pub created: bool,
}

/// Computes the new object from the present one (`None` if there is none), both in the version of the call's resource.
pub(super) type Change<'a> = &'a (dyn Fn(Option<&Value>) -> Result<Value, ApiError> + Send + Sync);

impl Registry {
    /// Replaces an object by one that is in the version of the call's resource and canonical.
    ///
    /// # Errors
    /// 404 if there is none and its kind is not created by a PUT, 409 if `resourceVersion` or `uid` are not the present ones.
    pub async fn update(&self, call: &Call, mut object: Value) -> Result<Updated, ApiError> {
        check_name(call, &object)?;
        let fields = metadata::metadata_mut(&mut object)?;
        metadata::ensure_namespace(fields, &call.resource, &call.namespace)?;
        metadata::dedup_owners(fields, call);
        let uid = fields.get("uid").and_then(Value::as_str).unwrap_or_default().to_owned();
        let object = self.defaulted(call, object)?;
        let create = rules_of(&call.resource).create_on_update() && call.subresource.is_empty();
        let now = call.now_text();
        let change = |live: Option<&Value>| {
            let object = object.clone();
            Ok(match live {
                Some(live) => {
                    managed::record_update(&call.resource, live, object, &call.manager, &now, &call.subresource)
                }
                None => managed::record_create(&call.resource, object, &call.manager, &now),
            })
        };
        self.modify(call, (!uid.is_empty()).then_some(uid.as_str()), create, &change).await
    }

    /// Changes an object by a function. It is computed again if someone else wrote in between, unless what it
    /// gives names a `resourceVersion`.
    ///
    /// # Errors
    /// As [`Registry::update`], and what `change` says.
    pub async fn modify(
        &self,
        call: &Call,
        uid: Option<&str>,
        create: bool,
        change: Change<'_>,
    ) -> Result<Updated, ApiError> {
        let mut attempt = 1;
        loop {
            match self.modify_once(call, uid, create, change).await? {
                Some(updated) => return Ok(updated),
                None if attempt >= ATTEMPTS => {
                    return Err(ApiError::modified(&call.resource.group_resource(), &call.name));
                }
                None => attempt += 1,
            }
        }
    }

    /// Changes an object by the server's own doing: neither admission nor the rules of its kind are asked, and no
    /// ownership is recorded. Objects are in the storage version.
    ///
    /// # Errors
    /// 404 if there is none, and what `change` says.
    pub async fn modify_unchecked(
        &self,
        call: &Call,
        uid: Option<&str>,
        change: &(dyn Fn(&mut Value) -> Result<(), ApiError> + Send + Sync),
    ) -> Result<Value, ApiError> {
        for _ in 0..ATTEMPTS {
            let live = self.get(call).await?;
            precondition::check_uid(call, uid, Some(&live))?;
            let old = live.to_value()?;
            let mut new = old.clone();
            change(&mut new)?;
            if new == old || call.dry_run {
                return Ok(new);
            }
            let key = place::key(call.tenant, &call.resource.group_resource(), &call.namespace, &call.name);
            let write = put(key, &encode(&call.resource, &live.kind, &new)?, Precondition::Revision(live.revision));
            match self.commit(vec![write]).await {
                Ok(revision) => {
                    set_revision(&mut new, revision);
                    return Ok(new);
                }
                Err(StoreError::Conflict { .. }) => {}
                Err(e) => return Err(store_error(e)),
            }
        }
        Err(ApiError::modified(&call.resource.group_resource(), &call.name))
    }

    /// `None` if someone else was faster.
    async fn modify_once(
        &self,
        call: &Call,
        uid: Option<&str>,
        create: bool,
        change: Change<'_>,
    ) -> Result<Option<Updated>, ApiError> {
        let live = self.find(call).await?;
        let Some(live) = live else {
            let resource = call.resource.group_resource();
            if !create {
                return Err(ApiError::not_found(&resource, &call.name));
            }
            if let Some(uid) = uid {
                let why =
                    format!("uid mismatch: the provided object specified uid {uid}, and no existing object was found");
                return Err(ApiError::conflict(&resource, &call.name, &why));
            }
            let mut object = convert::to_storage(&call.resource, change(None)?)?;
            let fields = metadata::metadata_mut(&mut object)?;
            metadata::wipe_system_fields(fields);
            fields.remove("resourceVersion");
            metadata::ensure_namespace(fields, &call.resource, &call.namespace)?;
            return match self.create_stored(call, object).await {
                Ok(object) => Ok(Some(Updated { object, created: true })),
                Err(e) if e.reason == "AlreadyExists" => Ok(None),
                Err(e) => Err(e),
            };
        };
        precondition::check_uid(call, uid, Some(&live))?;
        let old = live.to_value()?;
        let old = match &call.resource.definition {
            // What its schema no longer knows is gone; the write is one of what is left.
            Some(_) => convert::to_storage(&call.resource, convert::from_storage(&call.resource, old)?)?,
            None => old,
        };
        let new = if convert::is_stored(&call.resource) {
            change(Some(&old))?
        } else {
            let served = convert::from_storage(&call.resource, old.clone())?;
            convert::to_storage(&call.resource, change(Some(&served))?)?
        };
        self.replace(call, &live, &old, new).await
    }

    async fn replace(&self, call: &Call, live: &Live, old: &Value, new: Value) -> Result<Option<Updated>, ApiError> {
        let rules = rules_of(&call.resource);
        let mut request = admission::Request::new(self, call, Operation::Update, Some(new), Some(old));
        admission::mutate(self.admission(), &mut request).await?;
        let Some(mut new) = request.object.take() else {
            return Err(ApiError::internal("admission dropped the object"));
        };
        let fields = metadata::metadata_mut(&mut new)?;
        metadata::dedup_owners(fields, call);
        self.check_revision(call, rules, fields, live)?;
        metadata::ensure_namespace(fields, &call.resource, &call.namespace)?;
        keep_what_only_the_server_sets(fields, old);
        let now = call.now_text();
        let part = if call.subresource.is_empty() { Part::Main } else { Part::Subresource(&call.subresource) };
        keep_other_parts(call, part, &mut new, old);
        let context = WriteContext { part, now: &now, user: requester(&call.user) };
        if special::asks_the_host(call) {
            // What is invalid is refused before anything is changed on the host.
            let mut draft = new.clone();
            rules.prepare_update(&mut draft, old, &context);
            refuse_invalid(call, rules, &draft, old, &context)?;
        }
        special::before_update(self, call, &mut new, old).await?;
        rules.prepare_update(&mut new, old, &context);
        count_generation(call, rules, part, &mut new, old);

        refuse_invalid(call, rules, &new, old, &context)?;
        if call.resource.custom {
            metadata::warn_of_finalizers(call, &new, Some(old));
        }
        for warning in rules.warnings(&new, Some(old)) {
            call.warn(warning);
        }
        managed::ignore_timestamps(&mut new, old);
        let mut request = admission::Request::new(self, call, Operation::Update, Some(new), Some(old));
        admission::validate(self.admission(), &request).await?;
        let Some(new) = request.object.as_mut() else {
            return Err(ApiError::internal("admission dropped the object"));
        };

        set_revision(new, live.revision);
        let gone = drained(new, old);
        let changed = *new != *old || gone;
        if changed && call.dry_run {
            resource_quota::check(&request).await?;
        } else if changed {
            let Some(revision) = self.write_changed(&request, live, gone).await? else { return Ok(None) };
            if let Some(new) = request.object.as_mut().filter(|_| !gone) {
                set_revision(new, revision);
            }
        }
        Ok(Some(Updated { object: request.object.unwrap_or_default(), created: false }))
    }

    /// Writes the object of a request in place of `live`, or removes it; `None` if someone else was faster.
    async fn write_changed(
        &self,
        request: &admission::Request<'_>,
        live: &Live,
        gone: bool,
    ) -> Result<Option<Revision>, ApiError> {
        let (call, Some(new)) = (request.call, &request.object) else { return Ok(None) };
        let key = place::key(call.tenant, &call.resource.group_resource(), &call.namespace, &call.name);
        let require = Precondition::Revision(live.revision);
        let done = if gone {
            self.commit(vec![Write { key, value: None, require }]).await.map_err(Failed::Store)
        } else {
            let write = put(key, &encode(&call.resource, &live.kind, new)?, require);
            resource_quota::commit(request, write).await
        };
        match done {
            Ok(revision) => Ok(Some(revision)),
            Err(Failed::Refused(error)) => Err(error),
            Err(Failed::Store(StoreError::Conflict { .. })) => Ok(None),
            Err(Failed::Store(error)) => Err(store_error(error)),
        }
    }

    fn check_revision(
        &self,
        call: &Call,
        rules: &dyn Rules,
        fields: &Map<String, Value>,
        live: &Live,
    ) -> Result<(), ApiError> {
        let given = fields.get("resourceVersion").and_then(Value::as_str).unwrap_or_default();
        if matches!(given, "" | "0") {
            if rules.unconditional_update() && !call.resource.custom {
                return Ok(());
            }
            let mut errors = Errors::default();
            let path = apimachinery::field::Path::new("metadata").child("resourceVersion");
            errors.0.push(apimachinery::field::Error {
                kind: apimachinery::field::ErrorType::Invalid,
                field: path.as_str().to_owned(),
                body: "Invalid value: 0: must be specified for an update".to_owned(),
            });
            let mut kind = call.resource.gvk.clone();
            kind.kind = call.resource.gvr.resource.clone();
            return Err(ApiError::invalid(&kind, &call.name, &errors));
        }
        match given.parse::<u64>() {
            Ok(revision) if revision == live.revision => Ok(()),
            Ok(_) => Err(ApiError::modified(&call.resource.group_resource(), &call.name)),
            Err(_) => Err(ApiError::new(500, "", bad_integer(given))),
        }
    }
}

/// An object must have the name that the path has.
pub(super) fn check_name(call: &Call, object: &Value) -> Result<(), ApiError> {
    let name = meta::name(object);
    if name == call.name {
        return Ok(());
    }
    Err(ApiError::bad_request(if name.is_empty() {
        format!("the name of the object ({} based on URL) was undeterminable: name must be provided", call.name)
    } else {
        format!("the name of the object ({name}) does not match the name on the URL ({})", call.name)
    }))
}

/// Refuses a change that breaks the rules of its kind or of metadata.
fn refuse_invalid(
    call: &Call,
    rules: &dyn Rules,
    new: &Value,
    old: &Value,
    context: &WriteContext<'_>,
) -> Result<(), ApiError> {
    let mut errors = Errors::default();
    metadata::validate(new, &call.resource, NameRule::PathSegment, &mut errors);
    metadata::validate_update(new, old, &mut errors);
    if !call.resource.custom && !errors.is_empty() {
        // The rules of built-in kinds check metadata once more; clients see the causes twice.
        metadata::validate_update(new, old, &mut errors);
    }
    match &call.resource.definition {
        Some(custom) if context.part.is("status") => custom.validate_status(new, old, &mut errors),
        Some(custom) => custom.validate(new, Some(old), &mut errors),
        None => rules.validate_update(new, old, context, &mut errors),
    }
    if errors.is_empty() {
        return Ok(());
    }
    Err(ApiError::invalid(&place::storage_kind(&call.resource), &call.name, &errors))
}

/// Whether the last finalizer of an object that waits for deletion went away.
fn drained(new: &Value, old: &Value) -> bool {
    meta::list_at(new, &["metadata", "finalizers"]).is_empty()
        && old["metadata"].get("deletionTimestamp").is_some()
        && old["metadata"].get("deletionGracePeriodSeconds").and_then(Value::as_i64).unwrap_or(0) == 0
        && (old["kind"] != "Namespace" || meta::list_at(new, &["spec", "finalizers"]).is_empty())
}

fn keep_what_only_the_server_sets(fields: &mut Map<String, Value>, old: &Value) {
    let Some(before) = meta::metadata(old) else { return };
    let mut keep = |key: &str, always: bool| match before.get(key) {
        Some(value) if always || !fields.contains_key(key) => {
            fields.insert(key.to_owned(), value.clone());
        }
        _ => {}
    };
    keep("generation", true);
    keep("uid", false);
    keep("creationTimestamp", true);
    keep("deletionTimestamp", true);
    keep("deletionGracePeriodSeconds", false);
    for key in ["generation"] {
        if !before.contains_key(key) {
            fields.remove(key);
        }
    }
    fields.remove("selfLink");
}

/// A write of one part leaves the others as they are.
fn keep_other_parts(call: &Call, part: Part<'_>, new: &mut Value, old: &Value) {
    let (Some(fields), Some(before)) = (new.as_object_mut(), old.as_object()) else { return };
    match part {
        Part::Main if call.resource.subresource("status").is_some() => restore(fields, before, "status"),
        Part::Subresource("status") => {
            let others: Vec<String> =
                fields.keys().chain(before.keys()).filter(|k| !is_common(k) && *k != "status").cloned().collect();
            for key in others {
                restore(fields, before, &key);
            }
            if call.resource.custom {
                let managed = fields.get("metadata").and_then(|m| m.get("managedFields")).cloned();
                let given = fields.get("metadata").and_then(|m| m.get("resourceVersion")).cloned();
                restore(fields, before, "metadata");
                if let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) {
                    for (key, value) in [("managedFields", managed), ("resourceVersion", given)] {
                        match value {
                            Some(value) => metadata.insert(key.to_owned(), value),
                            None => metadata.remove(key),
                        };
                    }
                }
            }
        }
        _ => {}
    }
}

fn is_common(key: &str) -> bool {
    matches!(key, "apiVersion" | "kind" | "metadata")
}

fn restore(fields: &mut Map<String, Value>, before: &Map<String, Value>, key: &str) {
    match before.get(key) {
        Some(value) => fields.insert(key.to_owned(), value.clone()),
        None => fields.remove(key),
    };
}

/// Adds one to `metadata.generation` if what the owner wants changed.
fn count_generation(call: &Call, rules: &dyn Rules, part: Part<'_>, new: &mut Value, old: &Value) {
    let before = old["metadata"].get("generation").and_then(Value::as_i64).unwrap_or(0);
    let already = new["metadata"].get("generation").and_then(Value::as_i64).unwrap_or(0) > before;
    if already || part == Part::Subresource("status") {
        return;
    }
    let changed = if call.resource.custom {
        let apart = call.resource.subresource("status").is_some();
        let wanted = |object: &Value| -> Map<String, Value> {
            let fields = object.as_object().into_iter().flatten();
            let fields = fields.filter(|(k, _)| !(is_common(k) || apart && *k == "status"));
            fields.map(|(k, v)| (k.clone(), v.clone())).collect()
        };
        wanted(new) != wanted(old)
    } else {
        let differs = |path: &&str| {
            let path: Vec<&str> = path.split('.').collect();
            meta::at(new, &path) != meta::at(old, &path)
        };
        rules.counted_fields().iter().any(differs)
    };
    if changed {
        new["metadata"]["generation"] = json!(before + 1);
    }
}
