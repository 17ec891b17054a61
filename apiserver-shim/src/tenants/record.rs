//! What is kept of a tenant across restarts, and where.

use apimachinery::tenant::TenantId;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use smol_str::{SmolStr, format_smolstr};
use store::{CollectionId, Key, Record};

use super::{TenantError, TenantSpec};

/// The collection of these records, among the server's own.
const COLLECTION: &str = "tenants";

/// A tenant as it lies in the store. Keys are DER.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TenantRecord {
    pub(super) spec: TenantSpec,
    /// Whether it is served. A tenant that is not keeps its data.
    pub(super) attached: bool,
    /// When it was first attached: `creationTimestamp` of its first objects.
    pub(super) created: String,
    #[serde(with = "base64_bytes")]
    pub(super) ca_certificate: Vec<u8>,
    #[serde(with = "base64_bytes")]
    pub(super) ca_key: Vec<u8>,
    #[serde(with = "base64_bytes")]
    pub(super) token_key: Vec<u8>,
    /// Which bootstrap objects it has got: [`super::bootstrap::VERSION`] when they were written; 0 before.
    pub(super) bootstrapped: u32,
    /// The tenant id under which all lies that it is to have before it is served again: see [`super::replace`].
    #[serde(default, skip_serializing_if = "Option::is_none", with = "id_text")]
    pub(super) staged: Option<TenantId>,
}

/// A record as it is stored.
pub(super) fn encode(id: TenantId, kept: &TenantRecord) -> Result<Bytes, TenantError> {
    let wrong = |e: serde_json::Error| TenantError::Record { id: id.to_string(), reason: e.to_string() };
    Ok(serde_json::to_vec(kept).map_err(wrong)?.into())
}

/// Whom a record of a backup tells of, if it is one of these: the tenant, and namespace and name of its `VirtualCluster`.
pub fn tenant_in_backup(collection: &CollectionId, record: &Record) -> Option<(TenantId, String, String)> {
    if collection.tenant != TenantId::SYSTEM || collection.name != COLLECTION {
        return None;
    }
    let kept: TenantRecord = serde_json::from_slice(&record.value).ok()?;
    Some((record.name.parse().ok()?, kept.spec.namespace, kept.spec.name))
}

pub(super) fn collection() -> CollectionId {
    CollectionId { tenant: TenantId::SYSTEM, name: SmolStr::new_static(COLLECTION) }
}

pub(super) fn key(id: TenantId) -> Key {
    Key { collection: collection(), name: format_smolstr!("{id}") }
}

mod id_text {
    use apimachinery::tenant::TenantId;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(id: &Option<TenantId>, serializer: S) -> Result<S::Ok, S::Error> {
        id.map(|id| id.to_string()).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<TenantId>, D::Error> {
        let text: Option<String> = Option::deserialize(deserializer)?;
        text.map(|text| text.parse().map_err(D::Error::custom)).transpose()
    }
}

mod base64_bytes {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        STANDARD.decode(String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}
