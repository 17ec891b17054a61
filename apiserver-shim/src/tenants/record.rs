//! What is kept of a tenant across restarts, and where.

use apimachinery::tenant::TenantId;
use serde::{Deserialize, Serialize};
use smol_str::{SmolStr, format_smolstr};
use store::{CollectionId, Key};

use super::TenantSpec;

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
}

pub(super) fn collection() -> CollectionId {
    CollectionId { tenant: TenantId::SYSTEM, name: SmolStr::new_static(COLLECTION) }
}

pub(super) fn key(id: TenantId) -> Key {
    Key { collection: collection(), name: format_smolstr!("{id}") }
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
