//! Lists: at a revision, by pages, by selectors.
//!
//! Source: `k8s.io/apiserver/pkg/storage/{continue.go,etcd3/store.go}`, `pkg/storage/cacher/delegator.go`.

use std::sync::Arc;
use std::time::Duration;

use apimachinery::envelope::Selectable;
use apimachinery::field::{Errors, Path};
use apimachinery::gvk::GroupVersionKind;
use apimachinery::rules::Rules;
use apimachinery::selector::{FieldSelector, LabelSelector};
use apimachinery::status::ApiError;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::{RangeQuery, Record, Revision, StoreError};

use super::options::parse_int;
use super::{Call, Live, Registry, future_error, place, rules_of, store_error};
use crate::request::{Query, is_true};

const TOKEN_VERSION: &str = "meta.k8s.io/v1";
/// How long a list waits for a revision that is not there yet.
const FUTURE_WAIT: Duration = Duration::from_secs(3);

/// How a `resourceVersion` of a list is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MatchVersion {
    /// That state, or a newer one.
    NotOlderThan,
    /// That state.
    Exact,
}

/// What a list or watch asks for.
#[derive(Clone, Debug)]
pub struct ListQuery {
    /// `labelSelector`
    pub labels: LabelSelector,
    /// `fieldSelector`
    pub fields: FieldSelector,
    /// `limit`; 0 for all.
    pub limit: usize,
    /// `continue`; empty for the first page.
    pub continue_token: String,
    /// `resourceVersion`; empty if there is none.
    pub resource_version: String,
    /// `resourceVersionMatch`
    pub version_match: Option<MatchVersion>,
    /// `watch`
    pub watch: bool,
    /// `allowWatchBookmarks`
    pub bookmarks: bool,
    /// `sendInitialEvents`
    pub send_initial_events: Option<bool>,
    /// `timeoutSeconds`
    pub timeout_seconds: Option<u64>,
}

/// A page of objects.
#[derive(Clone, Debug)]
pub struct Listing {
    /// The objects, in the order of namespace and name.
    pub items: Vec<Live>,
    /// The state they are from.
    pub revision: Revision,
    /// `metadata.continue`; empty on the last page.
    pub continue_token: String,
    /// `metadata.remainingItemCount`
    pub remaining: Option<usize>,
}

#[derive(Serialize, Deserialize)]
struct Token {
    #[serde(default)]
    v: String,
    #[serde(default)]
    rv: i64,
    #[serde(default)]
    start: String,
}

impl Default for ListQuery {
    fn default() -> Self {
        Self {
            labels: LabelSelector::everything(),
            fields: FieldSelector::default(),
            limit: 0,
            continue_token: String::new(),
            resource_version: String::new(),
            version_match: None,
            watch: false,
            bookmarks: false,
            send_initial_events: None,
            timeout_seconds: None,
        }
    }
}

impl ListQuery {
    /// Reads and checks the query of a list or watch.
    ///
    /// # Errors
    /// 400 for what can't be read, 422 for options that do not go together.
    pub fn parse(query: &Query, watch: bool) -> Result<Self, ApiError> {
        let labels = match query.get("labelSelector") {
            Some(text) => LabelSelector::parse(text).map_err(|e| unreadable(&e))?,
            None => LabelSelector::everything(),
        };
        let fields = match query.get("fieldSelector") {
            Some(text) => FieldSelector::parse(text).map_err(|e| unreadable(&e))?,
            None => FieldSelector::default(),
        };
        let mut errors = Errors::default();
        let path = Path::new("resourceVersionMatch");
        let given = query.get("resourceVersionMatch").unwrap_or_default();
        let version = query.get("resourceVersion").unwrap_or_default();
        let token = query.get("continue").unwrap_or_default();
        let initial = query.get("sendInitialEvents").map(is_true);
        let version_match = match given {
            "NotOlderThan" => Some(MatchVersion::NotOlderThan),
            "Exact" => Some(MatchVersion::Exact),
            _ => None,
        };
        let shown = Value::String(given.to_owned());
        if watch {
            if initial.is_some() && version_match != Some(MatchVersion::NotOlderThan) {
                errors.forbidden(&path, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan");
            }
            if !given.is_empty() {
                if initial.is_none() {
                    errors.forbidden(
                        &path,
                        "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
                    );
                }
                if version_match != Some(MatchVersion::NotOlderThan) {
                    errors.not_supported(&path, &shown, &["NotOlderThan"]);
                }
                if !token.is_empty() {
                    errors.forbidden(&path, "resourceVersionMatch is forbidden when continue is provided");
                }
            }
        } else {
            if !given.is_empty() {
                if version.is_empty() {
                    errors.forbidden(&path, "resourceVersionMatch is forbidden unless resourceVersion is provided");
                }
                if !token.is_empty() {
                    errors.forbidden(&path, "resourceVersionMatch is forbidden when continue is provided");
                }
                if version_match.is_none() {
                    errors.not_supported(&path, &shown, &["Exact", "NotOlderThan", ""]);
                }
                if version_match == Some(MatchVersion::Exact) && version == "0" {
                    errors.forbidden(&path, "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"");
                }
            }
            if initial.is_some() {
                errors.forbidden(&Path::new("sendInitialEvents"), "sendInitialEvents is forbidden for list");
            }
        }
        if !errors.is_empty() {
            return Err(ApiError::invalid(&GroupVersionKind::new("meta.k8s.io", "", "ListOptions"), "", &errors));
        }
        Ok(Self {
            labels,
            fields,
            limit: query.get("limit").map(parse_int).transpose()?.map_or(0, |n| usize::try_from(n).unwrap_or(0)),
            continue_token: token.to_owned(),
            resource_version: version.to_owned(),
            version_match,
            watch,
            bookmarks: query.get("allowWatchBookmarks").is_some_and(is_true),
            send_initial_events: initial,
            timeout_seconds: query
                .get("timeoutSeconds")
                .map(parse_int)
                .transpose()?
                .and_then(|n| u64::try_from(n).ok()),
        })
    }

    /// Whether an object of these labels and fields is asked for.
    pub fn selects(&self, rules: &dyn Rules, record_name: &str, object: Selectable<'_>) -> bool {
        if !self.labels.is_empty() && !self.labels.matches_pairs(object.labels) {
            return false;
        }
        if self.fields.is_empty() {
            return true;
        }
        let (namespace, name) = place::split_record_name(record_name);
        self.fields.matches(|label| match rules.field_label(label).unwrap_or(label) {
            "metadata.name" => Some(name),
            "metadata.namespace" => Some(namespace),
            field => object.fields.value(field),
        })
    }

    /// Whether everything is asked for.
    pub fn selects_all(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    /// Refuses fields that the kind does not know.
    ///
    /// # Errors
    /// 400
    pub fn check_fields(&self, call: &Call) -> Result<(), ApiError> {
        let rules = rules_of(&call.resource);
        for term in self.fields.terms() {
            if let Some(custom) = &call.resource.definition
                && custom.selectable_names().any(|name| name == term.field)
            {
                continue;
            }
            let known = rules.field_label(&term.field);
            if call.resource.custom && known.is_err() {
                return Err(ApiError::bad_request(format!("field label not supported: {}", term.field)));
            }
            known.map_err(ApiError::bad_request)?;
        }
        Ok(())
    }
}

impl Registry {
    /// Lists the objects of a resource in the call's namespace, or in all of them.
    ///
    /// # Errors
    /// 400 for a bad `continue` or `resourceVersion`, 410 for one that is no longer held, 504 for one that is not there yet.
    pub async fn list(&self, call: &Call, query: &ListQuery) -> Result<Listing, ApiError> {
        query.check_fields(call)?;
        let (at, mut start) = self.list_start(call, query).await?;
        let collection = place::collection(call.tenant, &call.resource.group_resource());
        let rules = rules_of(&call.resource);
        let kind = Arc::new(place::storage_kind(&call.resource));
        let prefix: smol_str::SmolStr =
            if call.namespace.is_empty() { "".into() } else { format!("{}/", call.namespace).into() };
        if let Some(name) = query.fields.exact("metadata.name")
            && (!call.namespace.is_empty() || !call.resource.namespaced)
            && query.continue_token.is_empty()
            && at.is_none()
        {
            return self.list_one(call, query, name, &kind).await;
        }
        let mut items = Vec::new();
        let mut at = at;
        let all = query.selects_all();
        loop {
            let limit = if query.limit == 0 { 0 } else { query.limit.saturating_sub(items.len()).max(1) };
            let range = RangeQuery { prefix: prefix.clone(), start: start.clone(), at, limit };
            let range = self
                .store
                .range(&collection, range)
                .await
                .map_err(|e| list_error(e, query, start.strip_prefix(prefix.as_str()).unwrap_or_default()))?;
            at = Some(range.revision);
            let last = range.records.last().map(|r: &Record| r.name.clone());
            for record in range.records {
                if all || query.selects(rules, &record.name, selectable(&record)?) {
                    items.push(Live::from_record(&kind, record)?);
                }
            }
            let Some(last) = last.filter(|_| range.remaining > 0) else {
                return Ok(Listing { items, revision: range.revision, continue_token: String::new(), remaining: None });
            };
            if query.limit != 0 && items.len() >= query.limit {
                let token = Token {
                    v: TOKEN_VERSION.to_owned(),
                    rv: i64::try_from(range.revision).unwrap_or(i64::MAX),
                    start: format!("{}\0", &last[prefix.len()..]),
                };
                let remaining = query.selects_all().then_some(range.remaining);
                return Ok(Listing { items, revision: range.revision, continue_token: encode(&token)?, remaining });
            }
            start = format!("{last}\0").into();
        }
    }

    async fn list_one(
        &self,
        call: &Call,
        query: &ListQuery,
        name: &str,
        kind: &Arc<GroupVersionKind>,
    ) -> Result<Listing, ApiError> {
        let revision = self.store.revision();
        let key = place::key(call.tenant, &call.resource.group_resource(), &call.namespace, name);
        let found = self.record(&key).await?;
        let mut items = Vec::new();
        let mut at = revision;
        if let Some(record) = found {
            at = at.max(record.revision);
            if query.selects(rules_of(&call.resource), &key.name, selectable(&record)?) {
                items.push(Live::from_record(kind, record)?);
            }
        }
        Ok(Listing { items, revision: at, continue_token: String::new(), remaining: None })
    }

    /// At which revision and from which record on.
    async fn list_start(
        &self,
        call: &Call,
        query: &ListQuery,
    ) -> Result<(Option<Revision>, smol_str::SmolStr), ApiError> {
        if !query.continue_token.is_empty() {
            let token = decode(&query.continue_token)?;
            if !matches!(query.resource_version.as_str(), "" | "0") {
                return Err(ApiError::bad_request("specifying resource version is not allowed when using continue"));
            }
            let at = u64::try_from(token.rv).ok();
            let prefix = if call.namespace.is_empty() { String::new() } else { format!("{}/", call.namespace) };
            return Ok((at, format!("{prefix}{}", token.start).into()));
        }
        let start = smol_str::SmolStr::default();
        if query.resource_version.is_empty() {
            return Ok((None, start));
        }
        let wanted = parse_revision(&query.resource_version)?;
        if wanted == 0 {
            return Ok((None, start));
        }
        self.reach(wanted).await?;
        let exact =
            query.version_match == Some(MatchVersion::Exact) || (query.version_match.is_none() && query.limit > 0);
        Ok((exact.then_some(wanted), start))
    }

    /// Waits for a revision that may not be there yet.
    ///
    /// # Errors
    /// 504 if it does not come soon.
    pub async fn reach(&self, wanted: Revision) -> Result<(), ApiError> {
        if self.store.revision() >= wanted {
            return Ok(());
        }
        let mut cursor = self.store.follow(store::Scope::All, self.store.revision()).map_err(store_error)?;
        let reached = tokio::time::timeout(FUTURE_WAIT, async {
            while self.store.revision() < wanted {
                cursor.next().await.map_err(store_error)?;
            }
            Ok(())
        });
        match reached.await {
            Ok(done) => done,
            Err(_) => Err(future_error(wanted, self.store.revision())),
        }
    }
}

fn selectable(record: &Record) -> Result<Selectable<'_>, ApiError> {
    Selectable::of(&record.value).map_err(ApiError::internal)
}

/// A `resourceVersion` of a list.
///
/// # Errors
/// 400 if it is no decimal integer.
pub fn parse_revision(text: &str) -> Result<Revision, ApiError> {
    text.parse().map_err(|_| ApiError::bad_request(format!("invalid resource version: {}", bad_revision(text))))
}

/// A `resourceVersion` of a get or watch.
///
/// # Errors
/// 500 if it is no decimal integer: that is what the stock server says.
pub fn parse_revision_at(text: &str) -> Result<Revision, ApiError> {
    text.parse().map_err(|_| ApiError::new(500, "", bad_revision(text)))
}

fn bad_revision(text: &str) -> String {
    format!("resourceVersion: Invalid value: {}: {}", apimachinery::field::quote(text), bad_integer(text))
}

/// What Go says of text that is no unsigned integer.
pub(super) fn bad_integer(text: &str) -> String {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let why = if digits { "value out of range" } else { "invalid syntax" };
    format!("strconv.ParseUint: parsing {}: {why}", apimachinery::field::quote(text))
}

fn unreadable(error: &dyn std::fmt::Display) -> ApiError {
    ApiError::bad_request(error.to_string())
}

/// `start` is where the page begins, as continue tokens have it.
fn list_error(error: StoreError, query: &ListQuery, start: &str) -> ApiError {
    match error {
        StoreError::Compacted { .. } if !query.continue_token.is_empty() => {
            let mut expired = ApiError::expired(
                "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.",
            );
            let token = Token { v: TOKEN_VERSION.to_owned(), rv: -1, start: start.to_owned() };
            expired.continue_token = encode(&token).ok();
            expired
        }
        StoreError::Compacted { .. } => ApiError::expired("The resourceVersion for the provided list is too old."),
        other => store_error(other),
    }
}

fn encode(token: &Token) -> Result<String, ApiError> {
    serde_json::to_vec(token).map(|json| URL_SAFE_NO_PAD.encode(json)).map_err(ApiError::internal)
}

fn decode(text: &str) -> Result<Token, ApiError> {
    let bad = |why: &str| ApiError::bad_request(format!("invalid continue token: continue key is not valid{why}"));
    let json = URL_SAFE_NO_PAD.decode(text).map_err(|e| bad(&format!(": {e}")))?;
    let token: Token = serde_json::from_slice(&json).map_err(|e| {
        bad(&format!(": {}", apimachinery::codec::json_complaint(&json).unwrap_or_else(|| e.to_string())))
    })?;
    if token.v != TOKEN_VERSION {
        return Err(bad(&format!(": server does not recognize this encoded version {}", token.v)));
    }
    if token.rv == 0 {
        return Err(bad(": incorrect encoded start resourceVersion (version meta.k8s.io/v1)"));
    }
    if token.start.is_empty() {
        return Err(bad(": encoded start key empty (version meta.k8s.io/v1)"));
    }
    if token.start.split('/').any(|s| matches!(s, "" | "." | "..")) {
        return Err(bad(&format!(": {}", token.start)));
    }
    Ok(token)
}
