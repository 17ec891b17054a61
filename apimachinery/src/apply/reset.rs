//! Which fields a write cannot own, because its path sets them back.
//!
//! Source: `GetResetFields` of the strategies in `k8s.io/kubernetes/pkg/registry`, `apiextensions-apiserver` and
//! `kube-aggregator`.

use super::fieldset::FieldSet;
use crate::gvk::GroupResource;

/// Fields that a path resets to what they were: who writes through it does not come to own them.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum ResetFields {
    /// The path resets nothing.
    #[default]
    Nothing,
    /// These fields and all below them.
    Fields(FieldSet),
    /// Everything but what is at or below one of these paths; in a path `*` stands for every item of a list.
    AllBut(&'static [&'static [&'static str]]),
}

/// Resources whose status path resets all of `metadata` too.
const STATUS_KEEPS_METADATA: [&str; 10] = [
    "validatingadmissionpolicies.admissionregistration.k8s.io",
    "flowschemas.flowcontrol.apiserver.k8s.io",
    "prioritylevelconfigurations.flowcontrol.apiserver.k8s.io",
    "servicecidrs.networking.k8s.io",
    "resourceclaims.resource.k8s.io",
    "devicetaintrules.resource.k8s.io",
    "volumeattachments.storage.k8s.io",
    "storageversionmigrations.storagemigration.k8s.io",
    "customresourcedefinitions.apiextensions.k8s.io",
    "apiservices.apiregistration.k8s.io",
];

impl ResetFields {
    /// The fields that writing `subresource` (empty for the object itself) of a resource resets.
    ///
    /// `has_status` says whether the resource has a status subresource, `custom` whether it comes from a CRD.
    pub fn of(resource: &GroupResource, subresource: &str, has_status: bool, custom: bool) -> Self {
        let fields = |paths: &[&str]| Self::Fields(FieldSet::of_fields(paths));
        let name = resource.to_string();
        match (name.as_str(), subresource) {
            ("certificatesigningrequests.certificates.k8s.io", "") => fields(&["spec", "status"]),
            ("certificatesigningrequests.certificates.k8s.io", "status") => fields(&["spec", "status.conditions"]),
            ("certificatesigningrequests.certificates.k8s.io", "approval") => fields(&["spec", "status.certificate"]),
            ("namespaces", "finalize") => fields(&["status"]),
            ("pods", "ephemeralcontainers") => Self::AllBut(&[&["spec", "ephemeralContainers"]]),
            ("pods", "resize") => Self::AllBut(&[
                &["spec", "containers", "*", "resources"],
                &["spec", "containers", "*", "resizePolicy"],
                &["spec", "initContainers", "*", "resources"],
                &["spec", "initContainers", "*", "resizePolicy"],
            ]),
            ("pods", "status") => fields(&["spec", "metadata.deletionTimestamp", "metadata.ownerReferences"]),
            ("deployments.apps", "status") => fields(&["spec", "metadata.labels"]),
            (name, "status") if custom || STATUS_KEEPS_METADATA.contains(&name) => fields(&["spec", "metadata"]),
            (_, "status") => fields(&["spec"]),
            (_, "") if has_status => fields(&["status"]),
            _ => Self::Nothing,
        }
    }

    /// The part of a set that a write through this path can own.
    pub(super) fn filter(&self, set: FieldSet) -> FieldSet {
        match self {
            Self::Nothing => set,
            Self::Fields(reset) => set.recursive_difference(reset),
            Self::AllBut(kept) => set.only_under(kept),
        }
    }
}
