//! What becomes of each field of a pod. `docs/pod-fields.md` is made of this.

use std::sync::LazyLock;

use crate::table::Action::{Drop, Pass, Privileged, Refuse, Translate};
use crate::table::{Action, Row, Table};

/// The table of pods.
pub static TABLE: LazyLock<Table> = LazyLock::new(|| Table::new(ROWS));

const fn row(path: &'static str, action: Action, note: &'static str) -> Row {
    Row { path, action, note }
}

/// The rows, in the order of the API's documentation.
pub const ROWS: &[Row] = &[
    row("{apiVersion,kind}", Translate, "`v1`, `Pod`"),
    row("metadata.name", Translate, "the same name"),
    row("metadata.namespace", Translate, "the host namespace of the tenant's namespace"),
    row(
        "metadata.labels",
        Translate,
        "the same, without keys of `tenantry.io` and those that the admin denies; our own mark is added",
    ),
    row(
        "metadata.annotations",
        Translate,
        "the same, without keys that speak to the host's own components (`deniedKeys`); our own marks are added",
    ),
    row(
        "metadata.{uid,resourceVersion,generation,creationTimestamp,selfLink,generateName,managedFields}",
        Drop,
        "each side has its own",
    ),
    row(
        "metadata.{deletionTimestamp,deletionGracePeriodSeconds}",
        Drop,
        "a delete is passed on as a delete with the same grace",
    ),
    row(
        "metadata.{ownerReferences,finalizers}",
        Drop,
        "owners and finalizers live in the tenant; the host object goes when the tenant's pod may go",
    ),
    row("status", Drop, "flows upward; conditions of readiness gates are passed down to the host pod's status"),
    // ---- spec
    row("spec.activeDeadlineSeconds", Pass, ""),
    row(
        "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[].{matchExpressions,matchFields}[].{key,operator,values}",
        Pass,
        "nodes have the same names and labels in the tenant",
    ),
    row(
        "spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[].preference.{matchExpressions,matchFields}[].{key,operator,values}",
        Pass,
        "",
    ),
    row("spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[].weight", Pass, ""),
    row(
        "spec.affinity.{podAffinity,podAntiAffinity}.requiredDuringSchedulingIgnoredDuringExecution[].{topologyKey,mismatchLabelKeys}",
        Pass,
        "",
    ),
    row(
        "spec.affinity.{podAffinity,podAntiAffinity}.requiredDuringSchedulingIgnoredDuringExecution[].labelSelector.{matchLabels,matchExpressions[].key,matchExpressions[].operator,matchExpressions[].values}",
        Pass,
        "",
    ),
    row(
        "spec.affinity.{podAffinity,podAntiAffinity}.requiredDuringSchedulingIgnoredDuringExecution[].{namespaces,namespaceSelector}",
        Translate,
        "to the tenant's own host namespaces: names by name, labels by the copies of the tenant's namespace labels; no selector reaches beyond the tenant",
    ),
    row(
        "spec.affinity.{podAffinity,podAntiAffinity}.requiredDuringSchedulingIgnoredDuringExecution[].matchLabelKeys",
        Translate,
        "the same, without keys that the tenant's API has already merged into the selector",
    ),
    row(
        "spec.affinity.{podAffinity,podAntiAffinity}.preferredDuringSchedulingIgnoredDuringExecution[].weight",
        Pass,
        "",
    ),
    row(
        "spec.affinity.{podAffinity,podAntiAffinity}.preferredDuringSchedulingIgnoredDuringExecution[].podAffinityTerm.{topologyKey,mismatchLabelKeys}",
        Pass,
        "",
    ),
    row(
        "spec.affinity.{podAffinity,podAntiAffinity}.preferredDuringSchedulingIgnoredDuringExecution[].podAffinityTerm.labelSelector.{matchLabels,matchExpressions[].key,matchExpressions[].operator,matchExpressions[].values}",
        Pass,
        "",
    ),
    row(
        "spec.affinity.{podAffinity,podAntiAffinity}.preferredDuringSchedulingIgnoredDuringExecution[].podAffinityTerm.{namespaces,namespaceSelector,matchLabelKeys}",
        Translate,
        "as in required terms",
    ),
    row(
        "spec.automountServiceAccountToken",
        Translate,
        "always `false`: the pod gets its tenant's token, never one of the host",
    ),
    row("spec.dnsConfig.{nameservers,searches,options}", Translate, "the tenant's, behind what `dnsPolicy` gives"),
    row(
        "spec.dnsPolicy",
        Translate,
        "`ClusterFirst` becomes `None` with the tenant's resolver, its search domains and `ndots:5`; `Default` and `None` are passed",
    ),
    row("spec.enableServiceLinks", Pass, "services keep their names on the host, so the variables are the tenant's"),
    row("spec.hostAliases[].{ip,hostnames}", Pass, "entries of the same address are joined"),
    row("spec.{hostIPC,hostNetwork,hostPID}", Privileged, "shares the node's own namespaces"),
    row("spec.hostUsers", Pass, "`false` takes away rights; `true` is the default"),
    row("spec.hostname", Pass, ""),
    row("spec.hostnameOverride", Pass, ""),
    row("spec.imagePullSecrets", Translate, "the same names, each once; the secrets are synced"),
    row(
        "spec.nodeName",
        Translate,
        "set by the host's scheduler. A tenant's own choice is refused, or becomes a node affinity where the admin allows it (`allowNodeName`)",
    ),
    row("spec.nodeSelector", Translate, "the tenant's and the admin's (`nodeSelector`), which wins"),
    row("spec.os.name", Pass, ""),
    row("spec.overhead", Drop, "the host takes it from the runtime class"),
    row("spec.preemptionPolicy", Drop, "the host takes it from the priority class"),
    row("spec.priority", Drop, "the host takes it from the priority class"),
    row(
        "spec.priorityClassName",
        Translate,
        "passed if the admin allows the class; otherwise left out, with a warning event unless it is a `system-` class",
    ),
    row("spec.readinessGates[].conditionType", Pass, "conditions of the tenant's status are passed down"),
    row("spec.resourceClaims", Refuse, "dynamic resource claims are not synced yet: remove spec.resourceClaims"),
    row("spec.resources.{limits,requests}", Pass, ""),
    row("spec.resources.claims", Refuse, "dynamic resource claims are not synced yet"),
    row("spec.restartPolicy", Pass, ""),
    row(
        "spec.runtimeClassName",
        Translate,
        "passed if the admin allows the class; refused otherwise, as another runtime isolates differently",
    ),
    row(
        "spec.schedulerName",
        Translate,
        "`default-scheduler` and those that the admin allows (`schedulers`); others are refused",
    ),
    row("spec.schedulingGates", Translate, "a pod with gates stays in the tenant until they are gone"),
    row("spec.schedulingGroup", Refuse, "pod groups are not synced yet: remove spec.schedulingGroup"),
    row(
        "spec.securityContext.{runAsUser,runAsGroup,runAsNonRoot,supplementalGroups,supplementalGroupsPolicy,fsGroup,fsGroupChangePolicy}",
        Pass,
        "held to the pod security level",
    ),
    row(
        "spec.securityContext.{seLinuxOptions,seccompProfile,appArmorProfile}.{level,role,type,user,localhostProfile}",
        Pass,
        "held to the pod security level",
    ),
    row("spec.securityContext.seLinuxChangePolicy", Pass, ""),
    row("spec.securityContext.sysctls[].{name,value}", Pass, "held to the pod security level"),
    row(
        "spec.securityContext.windowsOptions.{gmsaCredentialSpec,gmsaCredentialSpecName}",
        Refuse,
        "credentials of the nodes' domain are not the tenant's",
    ),
    row("spec.securityContext.windowsOptions.runAsUserName", Pass, ""),
    row("spec.securityContext.windowsOptions.hostProcess", Privileged, "runs on the node itself"),
    row(
        "spec.{serviceAccount,serviceAccountName}",
        Drop,
        "the service account is the tenant's; on the host the pod has none of its own",
    ),
    row("spec.setHostnameAsFQDN", Pass, ""),
    row("spec.shareProcessNamespace", Pass, ""),
    row("spec.subdomain", Pass, "the headless service has the same name on the host"),
    row("spec.terminationGracePeriodSeconds", Pass, ""),
    row("spec.tolerations", Translate, "the tenant's and the admin's (`tolerations`)"),
    row(
        "spec.topologySpreadConstraints[].{maxSkew,topologyKey,whenUnsatisfiable,minDomains,nodeAffinityPolicy,nodeTaintsPolicy}",
        Pass,
        "",
    ),
    row(
        "spec.topologySpreadConstraints[].labelSelector.{matchLabels,matchExpressions[].key,matchExpressions[].operator,matchExpressions[].values}",
        Pass,
        "counts pods of its own namespace alone",
    ),
    row(
        "spec.topologySpreadConstraints[].matchLabelKeys",
        Translate,
        "the same, without keys that the tenant's API has already merged into the selector",
    ),
    // ---- containers
    row(
        "spec.{containers,initContainers,ephemeralContainers}[].{name,image,imagePullPolicy,command,args,workingDir}",
        Pass,
        "",
    ),
    row(
        "spec.ephemeralContainers[].targetContainerName",
        Pass,
        "ephemeral containers reach the host through its subresource",
    ),
    row(
        "spec.{containers,initContainers,ephemeralContainers}[].env[].{name,value}",
        Pass,
        "variables of the tenant's own API service come first; of one name the last counts",
    ),
    row(
        "spec.{containers,initContainers,ephemeralContainers}[].env[].valueFrom.fieldRef",
        Translate,
        "the tenant's namespace, uid and service account as literals; labels and annotations that stay behind as literals; the rest passed",
    ),
    row(
        "spec.{containers,initContainers,ephemeralContainers}[].env[].valueFrom.resourceFieldRef.{containerName,resource,divisor}",
        Pass,
        "",
    ),
    row(
        "spec.{containers,initContainers,ephemeralContainers}[].env[].valueFrom.configMapKeyRef.{key,optional}",
        Pass,
        "the config map is synced",
    ),
    row(
        "spec.{containers,initContainers,ephemeralContainers}[].env[].valueFrom.configMapKeyRef.name",
        Translate,
        "the same name, but for `kube-root-ca.crt`",
    ),
    row(
        "spec.{containers,initContainers,ephemeralContainers}[].env[].valueFrom.secretKeyRef.{name,key,optional}",
        Pass,
        "the secret is synced",
    ),
    row(
        "spec.{containers,initContainers,ephemeralContainers}[].env[].valueFrom.fileKeyRef.{volumeName,path,key,optional}",
        Pass,
        "",
    ),
    row("spec.{containers,initContainers,ephemeralContainers}[].envFrom[].prefix", Pass, ""),
    row("spec.{containers,initContainers,ephemeralContainers}[].envFrom[].configMapRef.optional", Pass, ""),
    row(
        "spec.{containers,initContainers,ephemeralContainers}[].envFrom[].configMapRef.name",
        Translate,
        "the same name, but for `kube-root-ca.crt`; the config map is synced",
    ),
    row(
        "spec.{containers,initContainers,ephemeralContainers}[].envFrom[].secretRef.{name,optional}",
        Pass,
        "the secret is synced",
    ),
    row("spec.{containers,initContainers,ephemeralContainers}[].ports[].{name,containerPort,protocol}", Pass, ""),
    row(
        "spec.{containers,initContainers,ephemeralContainers}[].ports[].{hostPort,hostIP}",
        Privileged,
        "takes a port of the node",
    ),
    row(
        "spec.{containers,initContainers,ephemeralContainers}[].{livenessProbe,readinessProbe,startupProbe}.{initialDelaySeconds,timeoutSeconds,periodSeconds,successThreshold,failureThreshold,terminationGracePeriodSeconds,exec.command,grpc.port,grpc.service,tcpSocket.port,httpGet.path,httpGet.port,httpGet.scheme,httpGet.httpHeaders[].name,httpGet.httpHeaders[].value}",
        Pass,
        "",
    ),
    row(
        "spec.{containers,initContainers,ephemeralContainers}[].{livenessProbe,readinessProbe,startupProbe}.{tcpSocket,httpGet}.host",
        Privileged,
        "would make the node's kubelet call other hosts",
    ),
    row(
        "spec.{containers,initContainers,ephemeralContainers}[].lifecycle.{postStart,preStop}.{exec.command,sleep.seconds,tcpSocket.port,httpGet.path,httpGet.port,httpGet.scheme,httpGet.httpHeaders[].name,httpGet.httpHeaders[].value}",
        Pass,
        "",
    ),
    row(
        "spec.{containers,initContainers,ephemeralContainers}[].lifecycle.{postStart,preStop}.{tcpSocket,httpGet}.host",
        Privileged,
        "would make the node's kubelet call other hosts",
    ),
    row("spec.{containers,initContainers,ephemeralContainers}[].lifecycle.stopSignal", Pass, ""),
    row("spec.{containers,initContainers,ephemeralContainers}[].resizePolicy[].{resourceName,restartPolicy}", Pass, ""),
    row(
        "spec.{containers,initContainers,ephemeralContainers}[].resources.{limits,requests}",
        Pass,
        "a change goes through the host pod's `resize`",
    ),
    row(
        "spec.{containers,initContainers,ephemeralContainers}[].resources.claims",
        Refuse,
        "dynamic resource claims are not synced yet",
    ),
    row("spec.{containers,initContainers,ephemeralContainers}[].restartPolicy", Pass, ""),
    row(
        "spec.{containers,initContainers,ephemeralContainers}[].restartPolicyRules[].{action,exitCodes.operator,exitCodes.values}",
        Pass,
        "",
    ),
    row(
        "spec.{containers,initContainers,ephemeralContainers}[].securityContext.{runAsUser,runAsGroup,runAsNonRoot,readOnlyRootFilesystem,allowPrivilegeEscalation}",
        Pass,
        "held to the pod security level",
    ),
    row(
        "spec.{containers,initContainers,ephemeralContainers}[].securityContext.{seLinuxOptions,seccompProfile,appArmorProfile}.{level,role,type,user,localhostProfile}",
        Pass,
        "held to the pod security level",
    ),
    row(
        "spec.{containers,initContainers,ephemeralContainers}[].securityContext.capabilities.{add,drop}",
        Pass,
        "held to the pod security level",
    ),
    row(
        "spec.{containers,initContainers,ephemeralContainers}[].securityContext.procMount",
        Pass,
        "held to the pod security level",
    ),
    row(
        "spec.{containers,initContainers,ephemeralContainers}[].securityContext.privileged",
        Privileged,
        "owns the node",
    ),
    row(
        "spec.{containers,initContainers,ephemeralContainers}[].securityContext.windowsOptions.{gmsaCredentialSpec,gmsaCredentialSpecName}",
        Refuse,
        "credentials of the nodes' domain are not the tenant's",
    ),
    row(
        "spec.{containers,initContainers,ephemeralContainers}[].securityContext.windowsOptions.runAsUserName",
        Pass,
        "",
    ),
    row(
        "spec.{containers,initContainers,ephemeralContainers}[].securityContext.windowsOptions.hostProcess",
        Privileged,
        "runs on the node itself",
    ),
    row(
        "spec.{containers,initContainers,ephemeralContainers}[].{stdin,stdinOnce,tty,terminationMessagePath,terminationMessagePolicy}",
        Pass,
        "",
    ),
    row("spec.{containers,initContainers,ephemeralContainers}[].volumeDevices[].{name,devicePath}", Pass, ""),
    row(
        "spec.{containers,initContainers,ephemeralContainers}[].volumeMounts[].{name,mountPath,readOnly,recursiveReadOnly,subPath,subPathExpr}",
        Pass,
        "",
    ),
    row(
        "spec.{containers,initContainers,ephemeralContainers}[].volumeMounts[].mountPropagation",
        Pass,
        "`Bidirectional` needs a privileged container",
    ),
    // ---- volumes
    row("spec.volumes[].name", Pass, ""),
    row(
        "spec.volumes[].configMap.{defaultMode,optional,items[].key,items[].path,items[].mode}",
        Pass,
        "the config map is synced",
    ),
    row("spec.volumes[].configMap.name", Translate, "the same name, but for `kube-root-ca.crt`"),
    row(
        "spec.volumes[].secret.{secretName,defaultMode,optional,items[].key,items[].path,items[].mode}",
        Pass,
        "the secret is synced",
    ),
    row("spec.volumes[].emptyDir.{medium,sizeLimit}", Pass, ""),
    row("spec.volumes[].persistentVolumeClaim.{claimName,readOnly}", Pass, "the claim has the same name on the host"),
    row("spec.volumes[].ephemeral.volumeClaimTemplate.metadata.{labels,annotations}", Translate, "as those of the pod"),
    row(
        "spec.volumes[].ephemeral.volumeClaimTemplate.metadata.{name,namespace,uid,resourceVersion,generation,creationTimestamp,selfLink,generateName,managedFields,deletionTimestamp,deletionGracePeriodSeconds,ownerReferences,finalizers}",
        Drop,
        "mean nothing in a template",
    ),
    row(
        "spec.volumes[].ephemeral.volumeClaimTemplate.spec.{accessModes,resources.limits,resources.requests,volumeMode}",
        Pass,
        "the claim is made on the host",
    ),
    row(
        "spec.volumes[].ephemeral.volumeClaimTemplate.spec.storageClassName",
        Translate,
        "passed if the admin allows the class; refused otherwise",
    ),
    row(
        "spec.volumes[].ephemeral.volumeClaimTemplate.spec.{dataSource,dataSourceRef,selector,volumeName,volumeAttributesClassName}",
        Refuse,
        "would reach for volumes that need not be the tenant's",
    ),
    row("spec.volumes[].image.{reference,pullPolicy}", Pass, ""),
    row(
        "spec.volumes[].{downwardAPI.items,projected.sources[].downwardAPI.items}[].{path,mode,resourceFieldRef.containerName,resourceFieldRef.resource,resourceFieldRef.divisor}",
        Pass,
        "",
    ),
    row(
        "spec.volumes[].{downwardAPI.items,projected.sources[].downwardAPI.items}[].fieldRef",
        Translate,
        "name and resources as they are; the tenant's namespace, uid, labels and annotations come from annotations of ours, which follow changes",
    ),
    row("spec.volumes[].{downwardAPI,projected}.defaultMode", Pass, ""),
    row(
        "spec.volumes[].projected.sources[].configMap.{optional,items[].key,items[].path,items[].mode}",
        Pass,
        "the config map is synced",
    ),
    row("spec.volumes[].projected.sources[].configMap.name", Translate, "the same name, but for `kube-root-ca.crt`"),
    row(
        "spec.volumes[].projected.sources[].secret.{name,optional,items[].key,items[].path,items[].mode}",
        Pass,
        "the secret is synced",
    ),
    row(
        "spec.volumes[].projected.sources[].serviceAccountToken",
        Translate,
        "a secret of the host that holds a token of the tenant's issuer, bound to the pod, renewed before it expires, deleted with the pod",
    ),
    row("spec.volumes[].projected.sources[].clusterTrustBundle", Refuse, "cluster trust bundles are not synced yet"),
    row("spec.volumes[].projected.sources[].podCertificate", Refuse, "pod certificates are not synced yet"),
    row(
        "spec.volumes[].csi.{driver,readOnly,fsType,volumeAttributes,nodePublishSecretRef.name}",
        Pass,
        "only drivers that the admin allows (`csiDrivers`)",
    ),
    row("spec.volumes[].hostPath", Privileged, "reaches the node's own files"),
    row(
        "spec.volumes[].{awsElasticBlockStore,azureDisk,azureFile,cephfs,cinder,fc,flexVolume,flocker,gcePersistentDisk,gitRepo,glusterfs,iscsi,nfs,photonPersistentDisk,portworxVolume,quobyte,rbd,scaleIO,storageos,vsphereVolume}",
        Refuse,
        "would make the node mount what it can reach; use a persistent volume claim",
    ),
];

#[cfg(test)]
mod tests {
    use apimachinery::gvk::GroupVersionKind;
    use apimachinery::schema::{Schema, StructId, Type};

    use super::*;

    const INTRODUCTION: &str = "# What becomes of each field of a pod\n\n\
        A tenant's pod runs as a pod of the host that is built from nothing but the fields below. What the table does not name is\n\
        refused. `{a,b}` stands for each of the fields. \"Held to the pod security level\": see `pods.security` of the policy; what\n\
        goes beyond the level is refused. A refused pod stays Pending in the tenant, with a `SyncError` event that names each field\n\
        and what to do.\n\n\
        This page is made from `syncer/src/pods/fields.rs`; `UPDATE_DOCS=1 cargo test -p syncer pod_fields_are_documented` writes it.\n\n";

    #[test]
    fn pod_fields_are_documented() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/pod-fields.md");
        let want = format!("{INTRODUCTION}{}", TABLE.to_markdown());
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, &want).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap(), want, "run with UPDATE_DOCS=1");
    }

    /// Every field of a pod, down to where the table decides, with what lies there.
    fn fields(schema: &Schema, id: StructId, path: &str, out: &mut Vec<(String, Option<Action>, bool)>) {
        for field in &schema.get(id).fields {
            let path = if path.is_empty() { field.name.to_string() } else { format!("{path}.{}", field.name) };
            let mut ty = &field.ty;
            while let Type::List(list) = ty {
                ty = &list.item;
            }
            match (TABLE.find(&path), ty) {
                (Some(row), ty) => out.push((path, Some(row.action), matches!(ty, Type::Struct(_)))),
                (None, Type::Struct(id)) => fields(schema, *id, &path, out),
                (None, _) => out.push((path, None, false)),
            }
        }
    }

    #[test]
    fn every_field_of_a_pod_is_in_the_table() {
        let pod = apimachinery::builtin::kind_schema(&GroupVersionKind::new("", "v1", "Pod")).unwrap();
        let mut found = Vec::new();
        fields(&pod.schema, pod.root, "", &mut found);
        let missing: Vec<_> = found.iter().filter(|(_, action, _)| action.is_none()).map(|(path, ..)| path).collect();
        assert!(missing.is_empty(), "the table says nothing about {missing:?}");
        let wholesale: Vec<_> =
            found.iter().filter(|(_, a, is_struct)| *a == Some(Pass) && *is_struct).map(|(path, ..)| path).collect();
        assert!(wholesale.is_empty(), "what passes must be named field by field: {wholesale:?}");
        let names = |row: &Row| found.iter().any(|(path, ..)| row_names(row, path));
        let rows: Vec<_> = ROWS.iter().filter(|row| !names(row)).map(|row| row.path).collect();
        assert!(rows.is_empty(), "rows about nothing: {rows:?}");
    }

    fn row_names(row: &Row, path: &str) -> bool {
        TABLE.find(path).is_some_and(|found| found.path == row.path)
    }
}
