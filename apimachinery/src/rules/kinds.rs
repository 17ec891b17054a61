//! The built-in kinds: what is special about each, as one table.

use super::kind::Kind;
use super::{
    DefaultPropagation, NameRule, account, admission, aggregation, autoscaling, certificate, claim, config, definition,
    device, endpoint, event, flowcontrol, ingress, namespace, networking, node, pod, policy, quota, rbac, scheduling,
    select, service, storage, volume, workload,
};

static PLAIN: Kind = Kind::PLAIN;

static BINDINGS: Kind = Kind::PLAIN;
static CONFIG_MAPS: Kind = Kind {
    validate: config::config_map_validate,
    validate_update: Some(config::config_map_validate_update),
    ..Kind::PLAIN
};
static ENDPOINTS: Kind = Kind {
    validate: endpoint::endpoints_validate,
    validate_update: Some(endpoint::endpoints_validate_update),
    warnings: endpoint::endpoints_warnings,
    default: endpoint::endpoints_default,
    create_on_update: true,
    ..Kind::PLAIN
};
static EVENTS: Kind = Kind {
    validate: event::event_validate,
    create_on_update: true,
    propagation: DefaultPropagation::Unsupported,
    selectable: Some(&select::EVENTS),
    ..Kind::PLAIN
};
static NEW_EVENTS: Kind = Kind {
    validate: event::new_event_validate,
    validate_update: Some(event::new_event_validate_update),
    create_on_update: true,
    propagation: DefaultPropagation::Unsupported,
    selectable: Some(&select::NEW_EVENTS),
    ..Kind::PLAIN
};
static LIMIT_RANGES: Kind = Kind {
    validate: quota::limit_range_validate,
    default: quota::limit_range_default,
    create_on_update: true,
    ..Kind::PLAIN
};
static NAMESPACES: Kind = Kind {
    prepare_create: namespace::namespace_prepare_create,
    prepare_update: namespace::namespace_prepare_update,
    validate: namespace::namespace_validate,
    validate_update: Some(namespace::namespace_validate_update),
    default: namespace::namespace_default,
    name_rule: NameRule::Label,
    returns_deleted: true,
    selectable: Some(&select::NAMESPACES),
    ..Kind::PLAIN
};
static NODES: Kind = Kind {
    status_on_create: true,
    prepare_create: node::node_prepare_create,
    prepare_update: node::node_prepare_update,
    validate: node::node_validate,
    validate_update: Some(node::node_validate_update),
    warnings: node::node_warnings,
    default: node::node_default,
    selectable: Some(&select::NODES),
    ..Kind::PLAIN
};
static PERSISTENT_VOLUMES: Kind = Kind {
    prepare_create: volume::persistent_volume_prepare_create,
    prepare_update: volume::persistent_volume_prepare_update,
    validate: volume::persistent_volume_validate,
    validate_update: Some(volume::persistent_volume_validate_update),
    warnings: volume::persistent_volume_warnings,
    default: volume::persistent_volume_default,
    ..Kind::DELETED_RETURNED
};
static PERSISTENT_VOLUME_CLAIMS: Kind = Kind {
    prepare_create: claim::claim_prepare_create,
    prepare_update: claim::claim_prepare_update,
    validate: claim::claim_validate,
    validate_update: Some(claim::claim_validate_update),
    warnings: claim::claim_warnings,
    default: claim::claim_default,
    ..Kind::DELETED_RETURNED
};
static PODS: Kind = Kind {
    warnings: pod::pod_warnings,
    default: pod::pod_default,
    prepare_create: pod::pod_prepare_create,
    prepare_update: pod::pod_prepare_update,
    validate: pod::pod_validate,
    validate_update: Some(pod::pod_validate_update),
    returns_deleted: true,
    counted_fields: &["spec"],
    selectable: Some(&select::PODS),
    ..Kind::PLAIN
};
static POD_TEMPLATES: Kind = Kind {
    warnings: workload::pod_template_warnings,
    prepare_create: workload::pod_template_prepare_create,
    prepare_update: workload::pod_template_prepare_update,
    validate: workload::pod_template_validate,
    default: workload::pod_template_default,
    returns_deleted: true,
    counted_fields: &["template"],
    ..Kind::PLAIN
};
static REPLICATION_CONTROLLERS: Kind = Kind {
    warnings: workload::replicas_warnings,
    prepare_create: workload::workload_prepare_create,
    prepare_update: workload::workload_prepare_update,
    validate: workload::replication_controller_validate,
    validate_update: Some(workload::replication_controller_validate_update),
    default: workload::replication_controller_default,
    propagation: DefaultPropagation::Orphan,
    counted_fields: &["spec"],
    selectable: Some(&select::REPLICAS),
    ..Kind::PLAIN
};
static RESOURCE_QUOTAS: Kind = Kind {
    validate: quota::quota_validate,
    validate_update: Some(quota::quota_validate_update),
    warnings: quota::quota_warnings,
    ..Kind::DELETED_RETURNED
};
static SECRETS: Kind = Kind {
    warnings: config::secret_warnings,
    prepare_update: config::secret_prepare_update,
    validate: config::secret_validate,
    validate_update: Some(config::secret_validate_update),
    default: config::secret_default,
    selectable: Some(&select::SECRETS),
    ..Kind::PLAIN
};
static SERVICES: Kind = Kind {
    prepare_create: service::service_prepare_create,
    prepare_update: service::service_prepare_update,
    validate: service::service_validate,
    validate_update: Some(service::service_validate_update),
    warnings: service::service_warnings,
    default: service::service_default,
    // RelaxedServiceNameValidation: on since 1.36.
    name_rule: NameRule::Label,
    create_on_update: true,
    returns_deleted: true,
    selectable: Some(&select::SERVICES),
    ..Kind::PLAIN
};
static SERVICE_ACCOUNTS: Kind = Kind {
    prepare_create: account::account_prepare_create,
    prepare_update: account::account_prepare_update,
    warnings: account::account_warnings,
    ..Kind::DELETED_RETURNED
};

static VALIDATING_POLICIES: Kind = Kind {
    default: policy::policy_default,
    prepare_update: policy::validating_policy_prepare_update,
    validate: policy::validating_policy_validate,
    validate_update: Some(policy::validating_policy_validate_update),
    unconditional_update: false,
    ..Kind::WITH_SPEC
};
static MUTATING_POLICIES: Kind = Kind {
    default: policy::policy_default,
    validate: policy::mutating_policy_validate,
    validate_update: Some(policy::mutating_policy_validate_update),
    unconditional_update: false,
    ..Kind::WITH_SPEC
};
static VALIDATING_POLICY_BINDINGS: Kind = Kind {
    default: policy::policy_binding_default,
    validate: policy::validating_binding_validate,
    unconditional_update: false,
    ..Kind::WITH_SPEC
};
static MUTATING_POLICY_BINDINGS: Kind = Kind {
    default: policy::policy_binding_default,
    validate: policy::mutating_binding_validate,
    unconditional_update: false,
    ..Kind::WITH_SPEC
};
static MUTATING_WEBHOOK_CONFIGURATIONS: Kind = Kind {
    validate: admission::configuration_validate,
    validate_update: Some(admission::configuration_validate_update),
    counted_fields: &["webhooks"],
    default: admission::mutating_configuration_default,
    ..Kind::CONDITIONAL
};
static VALIDATING_WEBHOOK_CONFIGURATIONS: Kind = Kind {
    validate: admission::configuration_validate,
    validate_update: Some(admission::configuration_validate_update),
    counted_fields: &["webhooks"],
    default: admission::validating_configuration_default,
    ..Kind::CONDITIONAL
};

static CUSTOM_RESOURCE_DEFINITIONS: Kind = definition::CUSTOM_RESOURCE_DEFINITIONS;
static API_SERVICES: Kind = Kind {
    prepare_create: aggregation::api_service_prepare_create,
    prepare_update: aggregation::api_service_prepare_update,
    validate: aggregation::api_service_validate,
    validate_update: Some(aggregation::api_service_validate_update),
    default: aggregation::api_service_default,
    name_rule: NameRule::PathSegment,
    unconditional_update: false,
    ..Kind::PLAIN
};

static CONTROLLER_REVISIONS: Kind = Kind {
    validate: workload::revision_validate,
    validate_update: Some(workload::revision_validate_update),
    ..Kind::PLAIN
};
static DAEMON_SETS: Kind = Kind {
    warnings: workload::daemon_set_warnings,
    prepare_create: workload::daemon_set_prepare_create,
    prepare_update: workload::daemon_set_prepare_update,
    validate: workload::daemon_set_validate,
    validate_update: Some(workload::daemon_set_validate_update),
    default: workload::daemon_set_default,
    ..Kind::WITH_SPEC
};
static DEPLOYMENTS: Kind = Kind {
    warnings: workload::replicas_warnings,
    prepare_create: workload::workload_prepare_create,
    prepare_update: workload::deployment_prepare_update,
    counted_fields: &["spec", "metadata.annotations"],
    validate: workload::deployment_validate,
    validate_update: Some(workload::deployment_validate_update),
    default: workload::deployment_default,
    ..Kind::WITH_SPEC
};
static REPLICA_SETS: Kind = Kind {
    warnings: workload::replicas_warnings,
    prepare_create: workload::workload_prepare_create,
    prepare_update: workload::workload_prepare_update,
    validate: workload::replica_set_validate,
    validate_update: Some(workload::replica_set_validate_update),
    default: workload::replica_set_default,
    ..Kind::WITH_SPEC
};
static STATEFUL_SETS: Kind = Kind {
    warnings: workload::stateful_set_warnings,
    prepare_create: workload::stateful_set_prepare_create,
    prepare_update: workload::stateful_set_prepare_update,
    validate: workload::stateful_set_validate,
    validate_update: Some(workload::stateful_set_validate_update),
    default: workload::stateful_set_default,
    name_rule: NameRule::Label,
    ..Kind::WITH_SPEC
};

static HORIZONTAL_POD_AUTOSCALERS: Kind = Kind {
    validate: autoscaling::autoscaler_validate,
    validate_update: Some(autoscaling::autoscaler_validate_update),
    default: autoscaling::autoscaler_default,
    ..Kind::PLAIN
};
static CRON_JOBS: Kind = Kind {
    warnings: workload::cron_job_warnings,
    prepare_create: workload::cron_job_prepare_create,
    prepare_update: workload::cron_job_prepare_update,
    validate: workload::cron_job_validate,
    validate_update: Some(workload::cron_job_validate_update),
    default: workload::cron_job_default,
    ..Kind::WITH_SPEC
};
static JOBS: Kind = Kind {
    warnings: workload::job_warnings,
    prepare_create: workload::job_prepare_create,
    prepare_update: workload::workload_prepare_update,
    validate: workload::job_validate,
    validate_update: Some(workload::job_validate_update),
    default: workload::job_default,
    propagation: DefaultPropagation::Orphan,
    selectable: Some(&select::JOBS),
    ..Kind::WITH_SPEC
};
static CERTIFICATE_SIGNING_REQUESTS: Kind = Kind {
    prepare_create: certificate::request_prepare_create,
    prepare_update: certificate::request_prepare_update,
    validate: certificate::request_validate,
    validate_update: Some(certificate::request_validate_update),
    name_rule: NameRule::Any,
    selectable: Some(&select::CERTIFICATE_SIGNING_REQUESTS),
    ..Kind::PLAIN
};
static LEASES: Kind = Kind {
    prepare_create: scheduling::lease_prepare_create,
    prepare_update: scheduling::lease_prepare_update,
    validate: scheduling::lease_validate,
    create_on_update: true,
    ..Kind::CONDITIONAL
};
static ENDPOINT_SLICES: Kind = Kind {
    prepare_create: endpoint::endpoint_slice_prepare_create,
    prepare_update: endpoint::endpoint_slice_prepare_update,
    validate: endpoint::endpoint_slice_validate,
    validate_update: Some(endpoint::endpoint_slice_validate_update),
    warnings: endpoint::endpoint_slice_warnings,
    default: endpoint::endpoint_slice_default,
    counted_fields: &["addressType", "endpoints", "ports", "metadata.labels"],
    ..Kind::PLAIN
};
static FLOW_SCHEMAS: Kind = Kind {
    prepare_update: flowcontrol::flow_prepare_update,
    validate: flowcontrol::flow_schema_validate,
    validate_update: Some(flowcontrol::flow_schema_validate_update),
    default: flowcontrol::flow_schema_default,
    ..Kind::WITH_SPEC
};
static PRIORITY_LEVEL_CONFIGURATIONS: Kind = Kind {
    prepare_update: flowcontrol::flow_prepare_update,
    validate: flowcontrol::priority_level_validate,
    validate_update: Some(flowcontrol::priority_level_validate_update),
    default: flowcontrol::priority_level_default,
    ..Kind::WITH_SPEC
};

static INGRESSES: Kind = Kind {
    validate: ingress::ingress_validate,
    validate_update: Some(ingress::ingress_validate_update),
    warnings: ingress::ingress_warnings,
    ..Kind::WITH_SPEC
};
static INGRESS_CLASSES: Kind = Kind {
    validate: networking::ingress_class_validate,
    validate_update: Some(networking::ingress_class_validate_update),
    default: networking::ingress_class_default,
    ..Kind::WITH_SPEC
};
static IP_ADDRESSES: Kind = Kind {
    validate: networking::ip_address_validate,
    validate_update: Some(networking::ip_address_validate_update),
    name_rule: NameRule::Address,
    ..Kind::PLAIN
};
static NETWORK_POLICIES: Kind = Kind {
    validate: networking::network_policy_validate,
    validate_update: Some(networking::network_policy_validate_update),
    warnings: networking::network_policy_warnings,
    default: networking::network_policy_default,
    ..Kind::WITH_SPEC
};
static SERVICE_CIDRS: Kind = Kind {
    prepare_update: networking::service_cidr_prepare_update,
    validate: networking::service_cidr_validate,
    validate_update: Some(networking::service_cidr_validate_update),
    ..Kind::PLAIN
};

static RUNTIME_CLASSES: Kind = Kind {
    validate: scheduling::runtime_class_validate,
    validate_update: Some(scheduling::runtime_class_validate_update),
    warnings: scheduling::runtime_class_warnings,
    create_on_update: true,
    ..Kind::CONDITIONAL
};
static POD_DISRUPTION_BUDGETS: Kind = Kind {
    validate: scheduling::disruption_budget_validate,
    validate_update: Some(scheduling::disruption_budget_validate_update),
    unconditional_update: false,
    ..Kind::WITH_SPEC
};
static ROLES: Kind =
    Kind { validate: rbac::role_validate, name_rule: NameRule::PathSegment, create_on_update: true, ..Kind::PLAIN };
static CLUSTER_ROLES: Kind = Kind {
    validate: rbac::cluster_role_validate,
    name_rule: NameRule::PathSegment,
    create_on_update: true,
    ..Kind::PLAIN
};
static CLUSTER_ROLE_BINDINGS: Kind = Kind {
    validate: rbac::cluster_role_binding_validate,
    validate_update: Some(rbac::cluster_role_binding_validate_update),
    default: rbac::role_binding_default,
    name_rule: NameRule::PathSegment,
    create_on_update: true,
    ..Kind::PLAIN
};
static ROLE_BINDINGS: Kind = Kind {
    validate: rbac::role_binding_validate,
    validate_update: Some(rbac::role_binding_validate_update),
    default: rbac::role_binding_default,
    name_rule: NameRule::PathSegment,
    create_on_update: true,
    ..Kind::PLAIN
};

static DEVICE_CLASSES: Kind = Kind { validate: device::class_validate, returns_deleted: true, ..Kind::WITH_SPEC };
static RESOURCE_CLAIMS: Kind = Kind {
    prepare_update: device::claim_prepare_update,
    validate: device::claim_validate,
    validate_update: Some(device::claim_validate_update),
    default: device::claim_default,
    ..Kind::DELETED_RETURNED
};
static RESOURCE_CLAIM_TEMPLATES: Kind = Kind {
    validate: device::claim_template_validate,
    validate_update: Some(device::claim_template_validate_update),
    default: device::claim_template_default,
    ..Kind::DELETED_RETURNED
};
static RESOURCE_SLICES: Kind = Kind {
    prepare_create: device::slice_prepare_create,
    prepare_update: device::slice_prepare_update,
    validate: device::slice_validate,
    validate_update: Some(device::slice_validate_update),
    returns_deleted: true,
    selectable: Some(&select::RESOURCE_SLICES),
    ..Kind::WITH_SPEC
};
// `value` may not change, so this only says that there is a generation.
static PRIORITY_CLASSES: Kind = Kind {
    validate: scheduling::priority_class_validate,
    validate_update: Some(scheduling::priority_class_validate_update),
    default: scheduling::priority_class_default,
    counted_fields: &["value"],
    ..Kind::PLAIN
};

static CSI_DRIVERS: Kind = Kind {
    prepare_create: storage::csi_driver_prepare_create,
    prepare_update: storage::csi_driver_prepare_update,
    validate: storage::csi_driver_validate,
    validate_update: Some(storage::csi_driver_validate_update),
    warnings: storage::csi_driver_warnings,
    default: storage::csi_driver_default,
    returns_deleted: true,
    ..Kind::CONDITIONAL
};
static CSI_NODES: Kind = Kind {
    validate: storage::csi_node_validate,
    validate_update: Some(storage::csi_node_validate_update),
    returns_deleted: true,
    ..Kind::CONDITIONAL
};
static CSI_STORAGE_CAPACITIES: Kind = Kind {
    validate: storage::storage_capacity_validate,
    validate_update: Some(storage::storage_capacity_validate_update),
    warnings: storage::storage_capacity_warnings,
    ..Kind::CONDITIONAL
};
static STORAGE_CLASSES: Kind = Kind {
    validate: storage::storage_class_validate,
    validate_update: Some(storage::storage_class_validate_update),
    warnings: storage::storage_class_warnings,
    default: storage::storage_class_default,
    ..Kind::DELETED_RETURNED
};
static VOLUME_ATTACHMENTS: Kind = Kind {
    prepare_update: storage::volume_attachment_prepare_update,
    validate: storage::volume_attachment_validate,
    validate_update: Some(storage::volume_attachment_validate_update),
    default: storage::volume_attachment_default,
    returns_deleted: true,
    ..Kind::CONDITIONAL
};
static VOLUME_ATTRIBUTES_CLASSES: Kind = Kind {
    validate: storage::volume_attributes_class_validate,
    validate_update: Some(storage::volume_attributes_class_validate_update),
    ..Kind::DELETED_RETURNED
};

/// The rules of a built-in resource. What is not listed (reviews, which are not stored) has nothing special.
pub(super) fn find(group: &str, resource: &str) -> &'static Kind {
    match (group, resource) {
        ("", "bindings") => &BINDINGS,
        ("", "configmaps") => &CONFIG_MAPS,
        ("", "endpoints") => &ENDPOINTS,
        ("", "events") => &EVENTS,
        ("", "limitranges") => &LIMIT_RANGES,
        ("", "namespaces") => &NAMESPACES,
        ("", "nodes") => &NODES,
        ("", "persistentvolumes") => &PERSISTENT_VOLUMES,
        ("", "persistentvolumeclaims") => &PERSISTENT_VOLUME_CLAIMS,
        ("", "pods") => &PODS,
        ("", "podtemplates") => &POD_TEMPLATES,
        ("", "replicationcontrollers") => &REPLICATION_CONTROLLERS,
        ("", "resourcequotas") => &RESOURCE_QUOTAS,
        ("", "secrets") => &SECRETS,
        ("", "services") => &SERVICES,
        ("", "serviceaccounts") => &SERVICE_ACCOUNTS,
        ("admissionregistration.k8s.io", "mutatingadmissionpolicies") => &MUTATING_POLICIES,
        ("admissionregistration.k8s.io", "mutatingadmissionpolicybindings") => &MUTATING_POLICY_BINDINGS,
        ("admissionregistration.k8s.io", "validatingadmissionpolicies") => &VALIDATING_POLICIES,
        ("admissionregistration.k8s.io", "validatingadmissionpolicybindings") => &VALIDATING_POLICY_BINDINGS,
        ("admissionregistration.k8s.io", "mutatingwebhookconfigurations") => &MUTATING_WEBHOOK_CONFIGURATIONS,
        ("admissionregistration.k8s.io", "validatingwebhookconfigurations") => &VALIDATING_WEBHOOK_CONFIGURATIONS,
        ("apiextensions.k8s.io", "customresourcedefinitions") => &CUSTOM_RESOURCE_DEFINITIONS,
        ("apiregistration.k8s.io", "apiservices") => &API_SERVICES,
        ("apps", "controllerrevisions") => &CONTROLLER_REVISIONS,
        ("apps", "daemonsets") => &DAEMON_SETS,
        ("apps", "deployments") => &DEPLOYMENTS,
        ("apps", "replicasets") => &REPLICA_SETS,
        ("apps", "statefulsets") => &STATEFUL_SETS,
        ("autoscaling", "horizontalpodautoscalers") => &HORIZONTAL_POD_AUTOSCALERS,
        ("batch", "cronjobs") => &CRON_JOBS,
        ("batch", "jobs") => &JOBS,
        ("certificates.k8s.io", "certificatesigningrequests") => &CERTIFICATE_SIGNING_REQUESTS,
        ("coordination.k8s.io", "leases") => &LEASES,
        ("discovery.k8s.io", "endpointslices") => &ENDPOINT_SLICES,
        ("events.k8s.io", "events") => &NEW_EVENTS,
        ("flowcontrol.apiserver.k8s.io", "flowschemas") => &FLOW_SCHEMAS,
        ("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations") => &PRIORITY_LEVEL_CONFIGURATIONS,
        ("networking.k8s.io", "ingresses") => &INGRESSES,
        ("networking.k8s.io", "ingressclasses") => &INGRESS_CLASSES,
        ("networking.k8s.io", "ipaddresses") => &IP_ADDRESSES,
        ("networking.k8s.io", "networkpolicies") => &NETWORK_POLICIES,
        ("networking.k8s.io", "servicecidrs") => &SERVICE_CIDRS,
        ("node.k8s.io", "runtimeclasses") => &RUNTIME_CLASSES,
        ("policy", "poddisruptionbudgets") => &POD_DISRUPTION_BUDGETS,
        ("rbac.authorization.k8s.io", "roles") => &ROLES,
        ("rbac.authorization.k8s.io", "clusterroles") => &CLUSTER_ROLES,
        ("rbac.authorization.k8s.io", "rolebindings") => &ROLE_BINDINGS,
        ("rbac.authorization.k8s.io", "clusterrolebindings") => &CLUSTER_ROLE_BINDINGS,
        ("resource.k8s.io", "deviceclasses") => &DEVICE_CLASSES,
        ("resource.k8s.io", "resourceclaims") => &RESOURCE_CLAIMS,
        ("resource.k8s.io", "resourceclaimtemplates") => &RESOURCE_CLAIM_TEMPLATES,
        ("resource.k8s.io", "resourceslices") => &RESOURCE_SLICES,
        ("scheduling.k8s.io", "priorityclasses") => &PRIORITY_CLASSES,
        ("storage.k8s.io", "csidrivers") => &CSI_DRIVERS,
        ("storage.k8s.io", "csinodes") => &CSI_NODES,
        ("storage.k8s.io", "csistoragecapacities") => &CSI_STORAGE_CAPACITIES,
        ("storage.k8s.io", "storageclasses") => &STORAGE_CLASSES,
        ("storage.k8s.io", "volumeattachments") => &VOLUME_ATTACHMENTS,
        ("storage.k8s.io", "volumeattributesclasses") => &VOLUME_ATTRIBUTES_CLASSES,
        _ => &PLAIN,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::rules::Rules;

    #[test]
    fn field_labels_and_values() {
        let pods = find("", "pods");
        assert_eq!(pods.field_label("spec.host"), Ok("spec.nodeName"));
        assert_eq!(pods.field_label("spec.foo"), Err("field label not supported: spec.foo".to_owned()));
        let pod = json!({"metadata": {}, "spec": {"nodeName": "n"}, "status": {}});
        let values = pods.selectable_fields(&pod);
        assert!(values.contains(&("spec.nodeName", "n".into())));
        assert!(values.contains(&("spec.hostNetwork", "false".into())));

        assert_eq!(find("events.k8s.io", "events").field_label("regarding.name"), Ok("involvedObject.name"));
        assert_eq!(find("batch", "jobs").field_label("x"), Err("field label \"x\" not supported for Job".to_owned()));
        assert_eq!(
            find("apps", "deployments").field_label("spec.x"),
            Err("\"spec.x\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"".to_owned())
        );
        assert!(find("", "nodes").field_label("metadata.namespace").is_err());
    }
}
