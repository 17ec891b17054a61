//! What representation a client gets and sends.
//!
//! Source: `k8s.io/apiserver/pkg/endpoints/handlers/negotiation`.

use apimachinery::status::ApiError;
use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_TYPE, USER_AGENT};

use crate::request::{Query, is_true};

/// How objects are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// `application/json`, indented for people's eyes or not.
    Json {
        /// Two spaces a level.
        pretty: bool,
    },
    /// `application/yaml`
    Yaml,
    /// `application/vnd.kubernetes.protobuf`
    Protobuf,
}

/// What objects are turned into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum As {
    /// What they are.
    Object,
    /// `meta.k8s.io` `Table`
    Table {
        /// `v1` or `v1beta1`
        version: &'static str,
    },
    /// `meta.k8s.io` `PartialObjectMetadata`, or a list of them.
    Partial {
        /// `v1` or `v1beta1`
        version: &'static str,
        /// Whether the client asked for the list kind.
        list: bool,
    },
    /// `apidiscovery.k8s.io/v2` `APIGroupDiscoveryList`
    Discovery,
}

/// What a client accepts, decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Accepted {
    /// How it is written.
    pub encoding: Encoding,
    /// What it is turned into.
    pub form: As,
}

/// What an endpoint can give.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offer {
    /// Whether its objects have a protobuf form.
    pub protobuf: bool,
    /// Whether they can be tables and partial metadata.
    pub forms: bool,
    /// Whether this is a stream: there YAML is none.
    pub stream: bool,
    /// Whether this is a collection.
    pub list: bool,
    /// Whether this is a discovery root.
    pub discovery: bool,
}

impl Offer {
    /// For objects of a resource.
    pub(crate) fn objects(protobuf: bool) -> Self {
        Self { protobuf, forms: true, stream: false, list: false, discovery: false }
    }

    /// For what is just written: statuses, discovery documents.
    pub(crate) fn plain() -> Self {
        Self { protobuf: true, forms: false, stream: false, list: false, discovery: false }
    }
}

impl Encoding {
    /// `Content-Type` without parameters.
    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Self::Json { .. } => "application/json",
            Self::Yaml => "application/yaml",
            Self::Protobuf => "application/vnd.kubernetes.protobuf",
        }
    }
}

impl Accepted {
    /// JSON as it is.
    pub(crate) fn json() -> Self {
        Self { encoding: Encoding::Json { pretty: false }, form: As::Object }
    }

    /// `Content-Type` of an answer.
    pub(crate) fn content_type(&self) -> String {
        let media = self.encoding.media_type();
        match &self.form {
            As::Discovery => format!("{media};g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"),
            _ => media.to_owned(),
        }
    }
}

/// Decides what a client gets.
///
/// # Errors
/// 406 with what there is, if the client accepts none of it.
pub(crate) fn accept(headers: &HeaderMap, query: &Query, offer: Offer) -> Result<Accepted, ApiError> {
    let pretty = wants_pretty(headers, query);
    let mut clauses: Vec<Clause> = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .filter_map(Clause::parse)
        .collect();
    if clauses.is_empty() {
        return Ok(Accepted { encoding: Encoding::Json { pretty }, form: As::Object });
    }
    // Built-in resources are behind a router that knows no ranges of types but the one of all.
    if offer.protobuf && !clauses.iter().any(Clause::is_ours) {
        return Err(not_acceptable(offer, false));
    }
    clauses.sort_by(|a, b| b.quality.total_cmp(&a.quality));
    let met = clauses.iter().find_map(|clause| clause.meet(offer, pretty));
    met.ok_or_else(|| not_acceptable(offer, clauses.iter().any(Clause::is_ours)))
}

/// A client that wants none of our media types gets another text than one that wants what this endpoint does not have.
fn not_acceptable(offer: Offer, ours: bool) -> ApiError {
    let mut types = vec!["application/json", "application/yaml"];
    if offer.protobuf {
        types.push("application/vnd.kubernetes.protobuf");
    }
    let streams = ["application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch"];
    let streams = &streams[..if offer.protobuf { 2 } else { 1 }];
    if ours {
        let list = if offer.stream { streams.join(", ") } else { types.join(", ") };
        let message = format!("only the following media types are accepted: {list}");
        return ApiError::new(406, "NotAcceptable", message);
    }
    if offer.list || offer.stream {
        types.extend(streams);
    }
    let message = format!("406: Not Acceptable\n\nAvailable representations: {}", types.join(", "));
    let mut error = ApiError::new(406, "NotAcceptable", message);
    error.empty_details = true;
    error
}

fn wants_pretty(headers: &HeaderMap, query: &Query) -> bool {
    match query.get("pretty") {
        Some(value) => is_true(value),
        None => headers
            .get(USER_AGENT)
            .and_then(|v| v.to_str().ok())
            .is_some_and(|agent| ["curl", "Wget", "Mozilla/5.0"].iter().any(|browser| agent.starts_with(browser))),
    }
}

struct Clause<'a> {
    kind: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
    quality: f32,
}

impl<'a> Clause<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let kind = parts.next().filter(|k| !k.is_empty())?;
        let mut quality = 1.0;
        let mut parameters = Vec::new();
        for (key, value) in parts.filter_map(|p| p.split_once('=')) {
            let (key, value) = (key.trim(), value.trim().trim_matches('"'));
            if key == "q" {
                quality = value.parse().unwrap_or(0.0);
            } else {
                parameters.push((key, value));
            }
        }
        Some(Self { kind, parameters, quality })
    }

    fn is_ours(&self) -> bool {
        let known = ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];
        known.contains(&self.kind) || self.kind == "*/*"
    }

    fn get(&self, key: &str) -> &'a str {
        self.parameters.iter().find(|(k, _)| *k == key).map(|(_, v)| *v).unwrap_or_default()
    }

    fn meet(&self, offer: Offer, pretty: bool) -> Option<Accepted> {
        let pretty = match self.get("pretty") {
            "" => pretty,
            value => is_true(value),
        };
        let json = Encoding::Json { pretty };
        let encoding = match self.kind {
            "application/json" | "application/*" | "*/*" => json,
            "application/yaml" if !offer.stream => Encoding::Yaml,
            "application/vnd.kubernetes.protobuf" => Encoding::Protobuf,
            _ => return None,
        };
        let form = self.form(offer)?;
        if encoding == Encoding::Protobuf && !offer.protobuf && !matches!(form, As::Partial { .. }) {
            return None;
        }
        if encoding == Encoding::Protobuf && matches!(form, As::Table { .. }) {
            return None;
        }
        Some(Accepted { encoding, form })
    }

    fn form(&self, offer: Offer) -> Option<As> {
        let (wanted, group, version) = (self.get("as"), self.get("g"), self.get("v"));
        if wanted.is_empty() {
            return Some(As::Object);
        }
        let version = match version {
            "v1" => "v1",
            "v1beta1" => "v1beta1",
            "v2" => "v2",
            _ => return None,
        };
        match (group, wanted) {
            ("meta.k8s.io", "Table") if offer.forms && version != "v2" => Some(As::Table { version }),
            ("meta.k8s.io", "PartialObjectMetadata") if offer.forms && version != "v2" => {
                Some(As::Partial { version, list: false })
            }
            ("meta.k8s.io", "PartialObjectMetadataList") if offer.forms && version != "v2" => {
                Some(As::Partial { version, list: true })
            }
            ("apidiscovery.k8s.io", "APIGroupDiscoveryList") if offer.discovery && version == "v2" => {
                Some(As::Discovery)
            }
            _ => None,
        }
    }
}

/// The media type of a request's body, without parameters; JSON if it says none.
pub(crate) fn content_type(headers: &HeaderMap) -> &str {
    let value = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let media = value.split(';').next().unwrap_or_default().trim();
    if value.is_empty() { "application/json" } else { media }
}

/// How a request's body is written.
///
/// # Errors
/// 415 with what is understood.
pub(crate) fn body_encoding(headers: &HeaderMap, protobuf: bool) -> Result<Encoding, ApiError> {
    match content_type(headers) {
        "application/json" => Ok(Encoding::Json { pretty: false }),
        "application/yaml" => Ok(Encoding::Yaml),
        "application/vnd.kubernetes.protobuf" if protobuf => Ok(Encoding::Protobuf),
        _ => {
            let mut types = vec!["application/json", "application/yaml"];
            if protobuf {
                types.push("application/vnd.kubernetes.protobuf");
            }
            Err(unsupported(&types))
        }
    }
}

/// 415
pub(crate) fn unsupported(types: &[&str]) -> ApiError {
    ApiError::new(
        415,
        "UnsupportedMediaType",
        format!(
            "the body of the request was in an unknown format - accepted media types include: {}",
            types.join(", ")
        ),
    )
}
