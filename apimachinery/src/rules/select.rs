//! What field selectors can name, per kind, and the values there.

use std::borrow::Cow;

use serde_json::Value;

use crate::meta;

/// What a kind offers to field selectors.
#[derive(Clone, Copy, Debug)]
pub(super) struct Selectable {
    /// Names that are let pass, `metadata.*` included.
    labels: &'static [&'static str],
    /// Names that stand for others.
    aliases: &'static [(&'static str, &'static str)],
    /// The fields of [`Self::labels`] that have values: the name, and where the value is if not at that path.
    values: &'static [(&'static str, Source)],
    /// How the refusal begins and ends around the label.
    refusal: (&'static str, &'static str),
}

#[derive(Clone, Copy, Debug)]
enum Source {
    /// A text at this path.
    Text(&'static [&'static str]),
    /// A number at this path, 0 where there is none.
    Number(&'static [&'static str]),
    /// A truth value at this path, `false` where there is none.
    Truth(&'static [&'static str]),
    /// The text at the first path that has one.
    Either(&'static [&'static str], &'static [&'static str]),
}

impl Source {
    fn read<'a>(&self, object: &'a Value) -> Cow<'a, str> {
        match self {
            Self::Text(path) => meta::str_at(object, path).into(),
            Self::Number(path) => meta::at(object, path).and_then(Value::as_i64).unwrap_or(0).to_string().into(),
            Self::Truth(path) => {
                if meta::at(object, path).and_then(Value::as_bool).unwrap_or(false) { "true" } else { "false" }.into()
            }
            Self::Either(first, second) => match meta::str_at(object, first) {
                "" => meta::str_at(object, second).into(),
                text => text.into(),
            },
        }
    }
}

/// Lets `metadata.name` and `metadata.namespace` pass, as kinds without rules of their own do.
pub(super) fn metadata_only(label: &str) -> Result<&str, String> {
    match label {
        "metadata.name" | "metadata.namespace" => Ok(label),
        _ => Err(format!(
            "{} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
            crate::field::quote(label)
        )),
    }
}

impl Selectable {
    pub(super) fn label<'a>(&self, label: &'a str) -> Result<&'a str, String> {
        if let Some((_, name)) = self.aliases.iter().find(|(alias, _)| *alias == label) {
            return Ok(name);
        }
        if self.labels.contains(&label) {
            return Ok(label);
        }
        Err(format!("{}{label}{}", self.refusal.0, self.refusal.1))
    }

    pub(super) fn read<'a>(&self, object: &'a Value) -> Vec<(&'static str, Cow<'a, str>)> {
        self.values.iter().map(|(name, source)| (*name, source.read(object))).collect()
    }
}

const PLAIN: (&str, &str) = ("field label not supported: ", "");

use Source::{Either, Number, Text, Truth};

pub(super) static PODS: Selectable = Selectable {
    labels: &[
        "metadata.name",
        "metadata.namespace",
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "spec.hostNetwork",
        "status.phase",
        "status.podIP",
        "status.podIPs",
        "status.nominatedNodeName",
    ],
    aliases: &[("spec.host", "spec.nodeName")],
    values: &[
        ("spec.nodeName", Text(&["spec", "nodeName"])),
        ("spec.restartPolicy", Text(&["spec", "restartPolicy"])),
        ("spec.schedulerName", Text(&["spec", "schedulerName"])),
        ("spec.serviceAccountName", Text(&["spec", "serviceAccountName"])),
        ("spec.hostNetwork", Truth(&["spec", "hostNetwork"])),
        ("status.phase", Text(&["status", "phase"])),
        ("status.podIP", Text(&["status", "podIP"])),
        ("status.nominatedNodeName", Text(&["status", "nominatedNodeName"])),
    ],
    refusal: PLAIN,
};

pub(super) static NODES: Selectable = Selectable {
    labels: &["metadata.name", "spec.unschedulable"],
    aliases: &[],
    values: &[("spec.unschedulable", Truth(&["spec", "unschedulable"]))],
    refusal: PLAIN,
};

pub(super) static NAMESPACES: Selectable = Selectable {
    labels: &["metadata.name", "status.phase"],
    aliases: &[],
    values: &[("status.phase", Text(&["status", "phase"]))],
    refusal: PLAIN,
};

pub(super) static SECRETS: Selectable = Selectable {
    labels: &["metadata.name", "metadata.namespace", "type"],
    aliases: &[],
    values: &[("type", Text(&["type"]))],
    refusal: PLAIN,
};

pub(super) static SERVICES: Selectable = Selectable {
    labels: &["metadata.name", "metadata.namespace", "spec.clusterIP", "spec.type"],
    aliases: &[],
    values: &[("spec.clusterIP", Text(&["spec", "clusterIP"])), ("spec.type", Text(&["spec", "type"]))],
    refusal: PLAIN,
};

/// ReplicationControllers.
pub(super) static REPLICAS: Selectable = Selectable {
    labels: &["metadata.name", "metadata.namespace", "status.replicas"],
    aliases: &[],
    values: &[("status.replicas", Number(&["status", "replicas"]))],
    refusal: PLAIN,
};

pub(super) static JOBS: Selectable = Selectable {
    labels: &["metadata.name", "metadata.namespace", "status.successful"],
    aliases: &[],
    values: &[("status.successful", Number(&["status", "succeeded"]))],
    refusal: ("field label \"", "\" not supported for Job"),
};

pub(super) static CERTIFICATE_SIGNING_REQUESTS: Selectable = Selectable {
    labels: &["metadata.name", "spec.signerName"],
    aliases: &[],
    values: &[("spec.signerName", Text(&["spec", "signerName"]))],
    refusal: PLAIN,
};

pub(super) static RESOURCE_SLICES: Selectable = Selectable {
    labels: &["metadata.name", "spec.nodeName", "spec.driver"],
    aliases: &[],
    values: &[("spec.nodeName", Text(&["spec", "nodeName"])), ("spec.driver", Text(&["spec", "driver"]))],
    refusal: ("field label not supported for resource.k8s.io/v1, Kind=ResourceSlice: ", ""),
};

/// Events of the core group; those of `events.k8s.io` are the same objects under other names.
pub(super) static EVENTS: Selectable = Selectable {
    labels: &[
        "involvedObject.kind",
        "involvedObject.namespace",
        "involvedObject.name",
        "involvedObject.uid",
        "involvedObject.apiVersion",
        "involvedObject.resourceVersion",
        "involvedObject.fieldPath",
        "reason",
        "reportingComponent",
        "source",
        "type",
        "metadata.namespace",
        "metadata.name",
    ],
    aliases: &[],
    values: EVENT_VALUES,
    refusal: PLAIN,
};

pub(super) static NEW_EVENTS: Selectable = Selectable {
    labels: &["reason", "type", "metadata.namespace", "metadata.name"],
    aliases: &[
        ("reportingController", "reportingComponent"),
        ("regarding.kind", "involvedObject.kind"),
        ("regarding.namespace", "involvedObject.namespace"),
        ("regarding.name", "involvedObject.name"),
        ("regarding.uid", "involvedObject.uid"),
        ("regarding.apiVersion", "involvedObject.apiVersion"),
        ("regarding.resourceVersion", "involvedObject.resourceVersion"),
        ("regarding.fieldPath", "involvedObject.fieldPath"),
    ],
    values: EVENT_VALUES,
    refusal: PLAIN,
};

const EVENT_VALUES: &[(&str, Source)] = &[
    ("involvedObject.kind", Text(&["involvedObject", "kind"])),
    ("involvedObject.namespace", Text(&["involvedObject", "namespace"])),
    ("involvedObject.name", Text(&["involvedObject", "name"])),
    ("involvedObject.uid", Text(&["involvedObject", "uid"])),
    ("involvedObject.apiVersion", Text(&["involvedObject", "apiVersion"])),
    ("involvedObject.resourceVersion", Text(&["involvedObject", "resourceVersion"])),
    ("involvedObject.fieldPath", Text(&["involvedObject", "fieldPath"])),
    ("reason", Text(&["reason"])),
    ("reportingComponent", Text(&["reportingComponent"])),
    ("source", Either(&["source", "component"], &["reportingComponent"])),
    ("type", Text(&["type"])),
];
