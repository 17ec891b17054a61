//! Names of kinds and resources.

use std::fmt;

use smol_str::{SmolStr, format_smolstr};

/// A group, version and kind, as `apiVersion` and `kind` of an object name them. The core group is the empty string.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupVersionKind {
    /// API group; empty for the core group.
    pub group: SmolStr,
    /// Version in the group.
    pub version: SmolStr,
    /// Kind, in CamelCase.
    pub kind: SmolStr,
}

/// A group, version and resource, as a path names them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupVersionResource {
    /// API group; empty for the core group.
    pub group: SmolStr,
    /// Version in the group.
    pub version: SmolStr,
    /// Plural lower-case resource name.
    pub resource: SmolStr,
}

/// A group and resource, without a version: what storage, RBAC and error messages go by.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupResource {
    /// API group; empty for the core group.
    pub group: SmolStr,
    /// Plural lower-case resource name.
    pub resource: SmolStr,
}

impl GroupVersionKind {
    /// A kind by its parts.
    pub fn new(group: impl Into<SmolStr>, version: impl Into<SmolStr>, kind: impl Into<SmolStr>) -> Self {
        Self { group: group.into(), version: version.into(), kind: kind.into() }
    }

    /// Splits an `apiVersion` into group and version: `apps/v1` or `v1`.
    pub fn from_api_version(api_version: &str, kind: &str) -> Self {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        Self::new(group, version, kind)
    }

    /// The `apiVersion` of this kind: `apps/v1`, or `v1` in the core group.
    pub fn api_version(&self) -> SmolStr {
        api_version(&self.group, &self.version)
    }
}

impl GroupVersionResource {
    /// A resource by its parts.
    pub fn new(group: impl Into<SmolStr>, version: impl Into<SmolStr>, resource: impl Into<SmolStr>) -> Self {
        Self { group: group.into(), version: version.into(), resource: resource.into() }
    }

    /// The resource without its version.
    pub fn group_resource(&self) -> GroupResource {
        GroupResource { group: self.group.clone(), resource: self.resource.clone() }
    }
}

impl GroupResource {
    /// A resource by its parts.
    pub fn new(group: impl Into<SmolStr>, resource: impl Into<SmolStr>) -> Self {
        Self { group: group.into(), resource: resource.into() }
    }
}

impl fmt::Display for GroupResource {
    /// As Kubernetes messages write it: `deployments.apps`, or `pods` in the core group.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.resource)?;
        if self.group.is_empty() { Ok(()) } else { write!(f, ".{}", self.group) }
    }
}

/// `group/version`, or just the version in the core group.
pub fn api_version(group: &str, version: &str) -> SmolStr {
    if group.is_empty() { version.into() } else { format_smolstr!("{group}/{version}") }
}
