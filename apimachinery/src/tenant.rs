//! Which tenant something belongs to.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

/// The identity of a virtual cluster: the uid that the host gave its `VirtualCluster` object.
///
/// Sixteen bytes, always: no name that a tenant or an admin can choose takes part in telling tenants apart, so no
/// two tenants can be made to collide and a tenant that is deleted and made again is another one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TenantId([u8; 16]);

impl TenantId {
    /// How many bytes an id has, in memory and in keys.
    pub const WIDTH: usize = 16;
    /// The id under which the server keeps its own records. No virtual cluster has it: uids are never nil.
    pub const SYSTEM: Self = Self([0; 16]);

    /// The id with these bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes of the id, as keys hold them.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Uuid::from_bytes(self.0).hyphenated().fmt(f)
    }
}

impl fmt::Debug for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for TenantId {
    type Err = uuid::Error;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Ok(Self(*Uuid::parse_str(s)?.as_bytes()))
    }
}
