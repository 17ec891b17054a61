//! What a VirtualCluster says, in the syncer's terms.

use syncer::config::{Allow, NodePolicy, PodPolicy, PodSecurity, Policy};
use virtualcluster::{Controllers, NodeVisibility, VirtualClusterSpec};

/// The policy of a virtual cluster.
pub fn of(spec: &VirtualClusterSpec) -> Policy {
    let names = |names: &[String]| Allow { all: false, names: names.to_vec() };
    Policy {
        pods: PodPolicy {
            security: match spec.pod_security {
                virtualcluster::PodSecurity::Privileged => PodSecurity::None,
                virtualcluster::PodSecurity::Baseline => PodSecurity::Baseline,
                virtualcluster::PodSecurity::Restricted => PodSecurity::Restricted,
            },
            ..PodPolicy::default()
        },
        nodes: match spec.nodes {
            NodeVisibility::InUse => NodePolicy::InUse,
            NodeVisibility::All => NodePolicy::All,
        },
        node_leases: spec.controllers == Controllers::External,
        storage_classes: spec.storage_classes.as_deref().map_or(Allow { all: true, names: Vec::new() }, names),
        runtime_classes: names(&spec.runtime_classes),
        priority_classes: names(&spec.priority_classes),
        ..Policy::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases_of_nodes_are_for_who_runs_a_node_controller() {
        assert!(!of(&VirtualClusterSpec::default()).node_leases);
        assert!(
            of(&VirtualClusterSpec { controllers: Controllers::External, ..VirtualClusterSpec::default() }).node_leases
        );
    }

    #[test]
    fn storage_classes_are_all_allowed_until_some_are_named() {
        assert!(of(&VirtualClusterSpec::default()).storage_classes.allows("standard"));
        let spec = VirtualClusterSpec { storage_classes: Some(vec!["fast".into()]), ..VirtualClusterSpec::default() };
        assert!(of(&spec).storage_classes.allows("fast") && !of(&spec).storage_classes.allows("standard"));
        assert!(!of(&spec).priority_classes.allows("high"));
    }
}
