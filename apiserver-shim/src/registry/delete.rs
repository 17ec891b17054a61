//! Deleting objects: at once, gracefully, or when their finalizers are done.
//!
//! Source: `k8s.io/apiserver/pkg/registry/rest/delete.go`, `pkg/registry/generic/registry/store.go`.

use apimachinery::meta;
use apimachinery::rules::{DefaultPropagation, Rules};
use apimachinery::status::ApiError;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};
use store::{Precondition, StoreError, Write};

use super::metadata::{FOREGROUND, ORPHAN, metadata_mut};
use super::{
    Call, DeleteOptions, ListQuery, Listing, Live, Registry, encode, place, put, rules_of, set_revision, store_error,
};
use crate::admission::{self, Operation};
use crate::clock::rfc3339;
use crate::special;

/// How often a deletion is tried again when someone writes in between.
const ATTEMPTS: usize = 10;
/// How many objects a page of a collection's deletion holds.
const PAGE: usize = 10_000;

/// What became of a deletion.
#[derive(Clone, Debug)]
pub struct Deleted {
    /// The object as it was deleted, or as it stands now if it is not gone yet. In the storage version.
    pub object: Value,
    /// Whether it is gone.
    pub gone: bool,
}

impl Registry {
    /// Deletes an object.
    ///
    /// # Errors
    /// 404 if there is none, 409 if a precondition does not hold.
    pub async fn delete(&self, call: &Call, options: &DeleteOptions) -> Result<Deleted, ApiError> {
        warn_of_orphans(call, options);
        for _ in 0..ATTEMPTS {
            if let Some(deleted) = self.delete_once(call, options).await? {
                return Ok(deleted);
            }
        }
        Err(ApiError::modified(&call.resource.group_resource(), &call.name))
    }

    /// `None` if someone else wrote in between.
    async fn delete_once(&self, call: &Call, options: &DeleteOptions) -> Result<Option<Deleted>, ApiError> {
        let live = self.get(call).await?;
        let old = live.to_value()?;
        check_preconditions(call, options, &old)?;
        let mut request = admission::Request::new(self, call, Operation::Delete, None, Some(&old));
        admission::mutate(self.admission(), &mut request).await?;
        admission::validate(self.admission(), &request).await?;
        let rules = rules_of(&call.resource);
        let mut new = old.clone();
        special::before_delete(call, &mut new);
        let plan = plan(call, rules, options, metadata_mut(&mut new)?, &old);
        let key = place::key(call.tenant, &call.resource.group_resource(), &call.namespace, &call.name);
        let require = Precondition::Revision(live.revision);
        let write = match plan {
            Plan::Pending => return Ok(Some(Deleted { object: old, gone: false })),
            Plan::Mark => {
                special::mark_deleting(call, &mut new);
                if new == old {
                    return Ok(Some(Deleted { object: old, gone: false }));
                }
                put(key, &encode(&call.resource, &live.kind, &new)?, require)
            }
            Plan::Remove => Write { key, value: None, require },
        };
        let gone = write.value.is_none();
        if call.dry_run || options.dry_run {
            return Ok(Some(Deleted { object: new, gone }));
        }
        match self.commit(vec![write]).await {
            Ok(revision) => {
                set_revision(&mut new, revision);
                Ok(Some(Deleted { object: new, gone }))
            }
            Err(StoreError::Conflict { .. }) => Ok(None),
            Err(e) => Err(store_error(e)),
        }
    }

    /// Deletes the objects that a list would give, one after the other, and gives the list.
    ///
    /// # Errors
    /// Those of the list, and the first one of a deletion; objects that are gone meanwhile are none.
    pub async fn delete_collection(
        &self,
        call: &Call,
        query: &ListQuery,
        options: &DeleteOptions,
    ) -> Result<Listing, ApiError> {
        warn_of_orphans(call, options);
        let mut query = query.clone();
        let limited = query.limit > 0;
        if !limited {
            query.limit = PAGE;
        }
        let mut all: Vec<Live> = Vec::new();
        loop {
            let page = self.list(call, &query).await?;
            for live in &page.items {
                self.delete_item(call, live, options).await?;
            }
            all.extend(page.items);
            if limited || page.continue_token.is_empty() {
                return Ok(Listing { items: all, remaining: page.remaining, ..page });
            }
            query.continue_token = page.continue_token;
            query.resource_version.clear();
        }
    }

    async fn delete_item(&self, call: &Call, live: &Live, options: &DeleteOptions) -> Result<(), ApiError> {
        let object = live.to_value()?;
        let mut item = Call::new(call.tenant, call.user.clone(), call.resource.clone(), call.now);
        item.namespace = meta::namespace(&object).to_owned();
        item.name = meta::name(&object).to_owned();
        item.dry_run = call.dry_run;
        match self.delete(&item, options).await {
            Err(e) if e.code != 404 => Err(e),
            _ => Ok(()),
        }
    }
}

enum Plan {
    /// Someone else's deletion goes on; nothing is to be done.
    Pending,
    /// The object stays, marked.
    Mark,
    /// The object goes.
    Remove,
}

/// Decides what a deletion does, and marks `fields`, the metadata of the new object, accordingly.
fn plan(call: &Call, rules: &dyn Rules, options: &DeleteOptions, fields: &mut Map<String, Value>, old: &Value) -> Plan {
    let grace = match special::grace(call, old, options.grace_period_seconds) {
        special::Grace::None => None,
        special::Grace::Seconds(seconds) => Some(seconds),
    };
    let graceful = match grace {
        None => None,
        Some(seconds) => match graceful(call, options, fields, seconds) {
            Graceful::Pending => return Plan::Pending,
            Graceful::Now => None,
            Graceful::Marked(seconds) => Some(seconds),
        },
    };
    set_finalizers(rules, options, fields);
    let finalizers = fields.get("finalizers").and_then(Value::as_array).is_some_and(|f| !f.is_empty());
    match graceful {
        Some(seconds) if seconds > 0 || finalizers => Plan::Mark,
        None if finalizers || special::finalized_elsewhere(call, old) => {
            mark(call, fields);
            Plan::Mark
        }
        _ => Plan::Remove,
    }
}

enum Graceful {
    Pending,
    Now,
    Marked(i64),
}

/// Graceful deletion: the object stays until someone deletes it with a grace of zero.
fn graceful(call: &Call, options: &DeleteOptions, fields: &mut Map<String, Value>, seconds: i64) -> Graceful {
    let time = |fields: &Map<String, Value>, key: &str| {
        fields.get(key).and_then(Value::as_str).and_then(|t| t.parse::<Timestamp>().ok())
    };
    let set = |fields: &mut Map<String, Value>, at: Timestamp, seconds: i64| {
        fields.insert("deletionTimestamp".to_owned(), Value::String(rfc3339(at)));
        fields.insert("deletionGracePeriodSeconds".to_owned(), json!(seconds));
    };
    let after = |at: Timestamp, seconds: i64| at.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(at);
    if let Some(deleted) = time(fields, "deletionTimestamp") {
        let pending = fields.get("deletionGracePeriodSeconds").and_then(Value::as_i64).unwrap_or(0);
        if pending == 0 {
            return Graceful::Now;
        }
        let Some(asked) = options.grace_period_seconds.map(|s| if s < 0 { 1 } else { s }) else {
            return Graceful::Pending;
        };
        if asked >= pending {
            return Graceful::Pending;
        }
        let mut at = after(after(deleted, -pending), asked);
        let mut period = asked;
        if at < call.now {
            at = call.now;
            period = i64::from(asked != 0);
        }
        set(fields, at, period);
        return Graceful::Marked(period);
    }
    set(fields, after(call.now, seconds), seconds);
    count_generation(fields);
    Graceful::Marked(seconds)
}

/// Marks an object that waits for its finalizers.
fn mark(call: &Call, fields: &mut Map<String, Value>) {
    let before = fields.get("deletionTimestamp").and_then(Value::as_str).and_then(|t| t.parse::<Timestamp>().ok());
    if call.resource.gvr.group == "apiextensions.k8s.io" {
        // A definition goes its own way: the deletion is no change of it, and has no grace.
        fields.entry("deletionTimestamp").or_insert_with(|| Value::String(call.now_text()));
        return;
    }
    if before.is_none() {
        count_generation(fields);
    }
    if before.is_none_or(|t| t > call.now) {
        fields.insert("deletionTimestamp".to_owned(), Value::String(call.now_text()));
    }
    fields.insert("deletionGracePeriodSeconds".to_owned(), json!(0));
}

fn count_generation(fields: &mut Map<String, Value>) {
    if let Some(generation) = fields.get("generation").and_then(Value::as_i64).filter(|g| *g > 0) {
        fields.insert("generation".to_owned(), json!(generation + 1));
    }
}

/// Jobs leave their pods behind unless they are told otherwise, which surprises people.
fn warn_of_orphans(call: &Call, options: &DeleteOptions) {
    let silent = options.orphan_dependents.is_none() && options.propagation_policy.is_none();
    if silent && call.resource.gvr.group == "batch" && call.resource.gvr.resource == "jobs" {
        call.warn("child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress this warning");
    }
}

/// The finalizers by which the garbage collector is told what becomes of dependents.
fn set_finalizers(rules: &dyn Rules, options: &DeleteOptions, fields: &mut Map<String, Value>) {
    let default = rules.default_propagation();
    let before: Vec<Value> = fields.get("finalizers").and_then(Value::as_array).cloned().unwrap_or_default();
    let has = |name: &str| before.iter().any(|f| f == name);
    let (orphan, foreground) = if default == DefaultPropagation::Unsupported {
        (false, false)
    } else if let Some(orphan) = options.orphan_dependents {
        (orphan, false)
    } else {
        match options.propagation_policy.as_deref() {
            Some("Orphan") => (true, false),
            Some("Foreground") => (false, true),
            Some(_) => (false, false),
            None if has(ORPHAN) => (true, false),
            None if has(FOREGROUND) => (false, true),
            None => (default == DefaultPropagation::Orphan, false),
        }
    };
    if orphan == has(ORPHAN) && foreground == has(FOREGROUND) {
        return;
    }
    let mut after: Vec<Value> = before.into_iter().filter(|f| f != ORPHAN && f != FOREGROUND).collect();
    if orphan {
        after.push(json!(ORPHAN));
    }
    if foreground {
        after.push(json!(FOREGROUND));
    }
    if after.is_empty() {
        fields.remove("finalizers");
    } else {
        fields.insert("finalizers".to_owned(), Value::Array(after));
    }
}

/// Checks that the object is the one that a deletion means.
pub(crate) fn check_preconditions(call: &Call, options: &DeleteOptions, old: &Value) -> Result<(), ApiError> {
    if call.resource.gvr.group.is_empty() && call.resource.gvr.resource == "namespaces" {
        return special::check_namespace(call, options, old);
    }
    let mut resource = call.resource.group_resource();
    resource.resource = call.resource.gvk.kind.clone();
    if let Some(wanted) = &options.uid
        && wanted != meta::uid(old)
    {
        return Err(ApiError::conflict(
            &resource,
            meta::name(old),
            &format!(
                "the UID in the precondition ({wanted}) does not match the UID in record ({}). The object might have been deleted and then recreated",
                meta::uid(old)
            ),
        ));
    }
    let present = meta::text(old, "resourceVersion");
    match &options.resource_version {
        Some(wanted) if wanted != present => Err(ApiError::conflict(
            &resource,
            meta::name(old),
            &format!(
                "the ResourceVersion in the precondition ({wanted}) does not match the ResourceVersion in record ({present}). The object might have been modified"
            ),
        )),
        _ => Ok(()),
    }
}
