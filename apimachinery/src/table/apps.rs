//! Group `apps`.

use serde_json::Value;

use super::cells::{Cells, cells, containers, labels, selector};
use crate::gvk::GroupVersionKind;
use crate::meta::str_at;
use crate::selector::LabelSelector;

pub(super) fn row(kind: &str, o: &Cells<'_>) -> Option<Vec<Value>> {
    let [names, images] = containers(o.at(&["spec", "template"]));
    let status = |key| o.int(&["status", key]);
    let replicas = o.int(&["spec", "replicas"]);
    Some(match kind {
        "Deployment" => {
            let selected = match LabelSelector::from_object(o.at(&["spec", "selector"]).unwrap_or(&Value::Null)) {
                Ok(selector) => selector.to_string(),
                Err(_) => "<invalid>".to_owned(),
            };
            cells![
                o.name(),
                format!("{}/{replicas}", status("readyReplicas")),
                status("updatedReplicas"),
                status("availableReplicas"),
                o.age(),
                names,
                images,
                selected,
            ]
        }
        "ReplicaSet" => cells![
            o.name(),
            replicas,
            status("replicas"),
            status("readyReplicas"),
            o.age(),
            names,
            images,
            selector(o.at(&["spec", "selector"])),
        ],
        "StatefulSet" => {
            cells![o.name(), format!("{}/{replicas}", status("readyReplicas")), o.age(), names, images]
        }
        "DaemonSet" => cells![
            o.name(),
            status("desiredNumberScheduled"),
            status("currentNumberScheduled"),
            status("numberReady"),
            status("updatedNumberScheduled"),
            status("numberAvailable"),
            labels(o.at(&["spec", "template", "spec", "nodeSelector"])),
            o.age(),
            names,
            images,
            selector(o.at(&["spec", "selector"])),
        ],
        "ControllerRevision" => cells![o.name(), controller(o), o.int(&["revision"]), o.age()],
        _ => return None,
    })
}

/// `replicaset.apps/name` of the owner that controls an object.
fn controller(o: &Cells<'_>) -> String {
    let owners = o.list(&["metadata", "ownerReferences"]);
    let Some(owner) = owners.iter().find(|r| r.get("controller").and_then(Value::as_bool) == Some(true)) else {
        return "<none>".to_owned();
    };
    let kind = GroupVersionKind::from_api_version(str_at(owner, &["apiVersion"]), str_at(owner, &["kind"]));
    let kind = if kind.group.is_empty() { kind.kind.to_string() } else { format!("{}.{}", kind.kind, kind.group) };
    format!("{}/{}", kind.to_lowercase(), str_at(owner, &["name"]))
}
