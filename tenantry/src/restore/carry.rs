//! What a virtual cluster is to have when it is restored: the objects of the backup, without what was bound to a time, to a host or to
//! another identity. A pure function.
//!
//! Kept are names, uids, labels, owners and contents of nearly everything: a uid is unique within a virtual cluster, and owners,
//! selectors of Jobs and custom objects refer to each other by them. Where an object gets another uid nevertheless, references to
//! it do too. What is not kept, and why:
//!
//! | what | becomes | because |
//! |---|---|---|
//! | keys, issuer, certificate authority | the target's | what one signed must not hold at the other |
//! | `kube-root-ca.crt`, `extension-apiserver-authentication` | the target's CA | the same |
//! | `default/kubernetes` with endpoints, IPAddresses, ServiceCIDRs | the target's | they say where *its* API is |
//! | Nodes, CSINodes, Leases, Events | the target's | they are about this moment |
//! | VolumeAttachments; Endpoints and EndpointSlices of controllers | dropped | derived: controllers make them anew |
//! | addresses and node ports of a Service that does not hold them now | given anew | its host Service is gone or another one's |
//! | Pods that do not run now | begin anew, as new pods (uid) | their containers are gone |
//! | claims whose volume is not theirs now | new claims (uid) with new, empty volumes | volumes are not in a backup |
//! | pictures of those volumes | dropped | the syncer draws those of the new ones |
//! | namespaces of another identity that the target has too | take the target's uid | their host namespaces stay |

use std::collections::{HashMap, HashSet};

use apimachinery::envelope::{EnvelopeError, Stored};
use apimachinery::gvk::GroupResource;
use apimachinery::meta::{at, list_at, str_at};
use apimachinery::rules::rules_for;
use bytes::Bytes;
use serde_json::{Value, json};
use smol_str::SmolStr;
use store::Plain;
use uuid::Uuid;

const NAMESPACES: &str = "namespaces";
const PODS: &str = "pods";
const SERVICES: &str = "services";
const CLAIMS: &str = "persistentvolumeclaims";
const VOLUMES: &str = "persistentvolumes";
const MAPS: &str = "configmaps";
const ENDPOINTS: &str = "endpoints";
const SLICES: &str = "discovery.k8s.io/endpointslices";
const DEFINITIONS: &str = "apiextensions.k8s.io/customresourcedefinitions";
/// All of these are the target's own.
const OF_THE_MOMENT: [&str; 6] = [
    "events",
    "nodes",
    "coordination.k8s.io/leases",
    "storage.k8s.io/csinodes",
    "networking.k8s.io/ipaddresses",
    "networking.k8s.io/servicecidrs",
];
const ROOT_CA: &str = "/kube-root-ca.crt";
const AUTHENTICATION: &str = "kube-system/extension-apiserver-authentication";
const API: &str = "default/kubernetes";
/// Namespaces that every cluster begins with.
const FIRST_NAMESPACES: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];
/// Labels by which controllers know what they have made.
const MADE_BY: [&str; 2] = ["endpointslice.kubernetes.io/managed-by", "endpoints.kubernetes.io/managed-by"];
/// Annotations of a claim that has found its volume.
const BOUND: [&str; 5] = [
    "pv.kubernetes.io/bind-completed",
    "pv.kubernetes.io/bound-by-controller",
    "volume.kubernetes.io/selected-node",
    "volume.kubernetes.io/storage-provisioner",
    "volume.beta.kubernetes.io/storage-provisioner",
];

/// Bytes of a uid.
const UID: usize = 36;

/// For whom a backup is.
#[derive(Clone, Debug)]
pub(super) struct Target<'a> {
    /// Whether it is the virtual cluster that the backup was taken of, and not another one.
    pub(super) same: bool,
    /// The certificate of its authority, as PEM.
    pub(super) ca: &'a str,
    /// Give up what it has.
    pub(super) replace: bool,
    /// Leave the pods out.
    pub(super) without_pods: bool,
}

/// What the admin is told.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Told {
    /// Objects that are there now.
    pub(crate) objects: usize,
    /// Objects that had to be written or deleted for that.
    pub(crate) written: usize,
    /// Pods that begin anew.
    pub(crate) pods: usize,
    /// Services that get addresses anew.
    pub(crate) services: usize,
    /// Claims that get new, empty volumes.
    pub(crate) claims: Vec<String>,
}

/// Why a virtual cluster is not restored.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CarryError {
    /// It has something.
    #[error("it has {count} objects of its own, such as {example}: --replace gives them up for those of the backup")]
    InUse {
        /// How many.
        count: usize,
        /// One of them.
        example: String,
    },
    /// A record is none.
    #[error("{what} in the backup cannot be read")]
    Record {
        /// Which.
        what: String,
        /// Why.
        #[source]
        source: EnvelopeError,
    },
}

/// What the target is to have, and what is told of it.
///
/// # Errors
/// See [`CarryError`].
pub(super) fn carry(
    backup: Vec<Plain>,
    present: Vec<Plain>,
    target: &Target<'_>,
) -> Result<(Vec<Plain>, Told), CarryError> {
    if !target.replace {
        let mut own = present.iter().filter(|(collection, name, _)| is_tenants_own(collection, name));
        if let Some((collection, name, _)) = own.next() {
            return Err(CarryError::InUse { count: 1 + own.count(), example: format!("{collection} {name}") });
        }
    }
    let mut carrier = Carrier {
        target,
        namespaces: backup.iter().filter(|(c, ..)| c == NAMESPACES).map(|(_, name, _)| name.clone()).collect(),
        present: HashMap::new(),
        kept_claims: HashSet::new(),
        renamed: HashMap::new(),
        told: Told::default(),
    };
    let mut wanted = Vec::with_capacity(backup.len());
    for (collection, name, value) in present {
        if stays(&collection, &name) {
            if carrier.has_place(&name) {
                wanted.push((collection, name, value));
            }
        } else {
            carrier.present.insert((collection, name), value);
        }
    }
    // Claims say which pictures of volumes are theirs.
    let (claims, others): (Vec<_>, Vec<_>) = backup.into_iter().partition(|(collection, ..)| collection == CLAIMS);
    for (collection, name, value) in claims.into_iter().chain(others) {
        let damaged = |source| CarryError::Record { what: format!("{collection} {name}"), source };
        if let Some(value) = carrier.object(&collection, &name, value).map_err(damaged)? {
            wanted.push((collection, name, value));
        }
    }
    // What is there now and stays speaks of what was there.
    for (collection, name, value) in wanted.iter_mut().filter(|(collection, name, _)| !stays(collection, name)) {
        let damaged = |source| CarryError::Record { what: format!("{collection} {name}"), source };
        carrier.references(collection, value).map_err(damaged)?;
    }
    let told = Told { objects: wanted.len(), ..carrier.told };
    Ok((wanted, told))
}

/// Whether an object is the target's own whatever the backup says.
fn stays(collection: &str, name: &str) -> bool {
    OF_THE_MOMENT.contains(&collection)
        || (name == API && [SERVICES, ENDPOINTS, SLICES].contains(&collection))
        || (collection == MAPS && name == AUTHENTICATION)
}

/// Whether an object is there because a tenant made it, or had it made.
fn is_tenants_own(collection: &str, name: &str) -> bool {
    let Some((_, own)) = name.split_once('/') else {
        return collection == DEFINITIONS || (collection == NAMESPACES && !FIRST_NAMESPACES.contains(&name));
    };
    let begun_with = collection.starts_with("rbac.authorization.k8s.io/")
        || (collection == MAPS && name.ends_with(ROOT_CA))
        || (collection == "serviceaccounts" && own == "default");
    !begun_with && !stays(collection, name)
}

struct Carrier<'a> {
    target: &'a Target<'a>,
    /// Those of the backup.
    namespaces: HashSet<SmolStr>,
    present: HashMap<(SmolStr, SmolStr), Bytes>,
    /// Uids of claims that have their volumes.
    kept_claims: HashSet<String>,
    /// What became of uids.
    renamed: HashMap<Uuid, Uuid>,
    told: Told,
}

impl Carrier<'_> {
    fn has_place(&self, name: &str) -> bool {
        name.split_once('/').is_none_or(|(namespace, _)| self.namespaces.contains(namespace))
    }

    /// The object as it is now, if it is the same one and is to stay.
    fn alive(&self, collection: &SmolStr, name: &SmolStr, stored: &Stored) -> Option<Stored> {
        let present = self.present.get(&(collection.clone(), name.clone())).filter(|_| self.target.same)?;
        let present = Stored::from_bytes(present.clone()).ok()?;
        (present.uid() == stored.uid() && !present.deleting()).then_some(present)
    }

    fn object(&mut self, collection: &SmolStr, name: &SmolStr, value: Bytes) -> Result<Option<Bytes>, EnvelopeError> {
        if stays(collection, name) || collection == "storage.k8s.io/volumeattachments" {
            return Ok(None);
        }
        let stored = Stored::from_bytes(value)?;
        let made_by_controller = |key: &&str| {
            let label = stored.label(key);
            label.is_some_and(|by| by.ends_with("-controller.k8s.io") || by == "endpoint-controller")
        };
        let changed = match collection.as_str() {
            ENDPOINTS | SLICES if MADE_BY.iter().any(made_by_controller) => return Ok(None),
            PODS if self.target.without_pods => return Ok(None),
            PODS if self.alive(collection, name, &stored).is_none() => {
                let mut pod = stored.to_value(None, 0)?;
                if pod_begin(&mut pod) {
                    self.told.pods += 1;
                    self.rename(&mut pod, &stored, Uuid::new_v4());
                }
                pod
            }
            CLAIMS if self.alive(collection, name, &stored).is_none() => {
                let mut claim = stored.to_value(None, 0)?;
                if claim_begin(&mut claim) {
                    self.told.claims.push(name.to_string());
                }
                self.rename(&mut claim, &stored, Uuid::new_v4());
                claim
            }
            CLAIMS => {
                self.kept_claims.insert(stored.uid().to_string());
                return Ok(Some(stored.as_bytes().clone()));
            }
            VOLUMES => {
                let volume = stored.to_value(None, 0)?;
                let picture = volume["metadata"]["annotations"][syncer::marks::RESOURCE] == VOLUMES;
                let keeps = !picture || self.kept_claims.contains(str_at(&volume, &["spec", "claimRef", "uid"]));
                return Ok(keeps.then(|| stored.as_bytes().clone()));
            }
            SERVICES => {
                let alive = self.alive(collection, name, &stored).map(|now| now.to_value(None, 0)).transpose()?;
                let mut service = stored.to_value(None, 0)?;
                if !service_begin(&mut service, alive.as_ref()) {
                    return Ok(Some(stored.as_bytes().clone()));
                }
                self.told.services += 1;
                service
            }
            MAPS if name.ends_with(ROOT_CA) => {
                let mut map = stored.to_value(None, 0)?;
                map["data"] = json!({"ca.crt": self.target.ca});
                map
            }
            NAMESPACES if !self.target.same => {
                let Some(present) = self.present.get(&(collection.clone(), name.clone())) else {
                    return Ok(Some(stored.as_bytes().clone()));
                };
                let uid = Stored::from_bytes(present.clone())?.uid();
                let mut namespace = stored.to_value(None, 0)?;
                self.rename(&mut namespace, &stored, uid);
                namespace
            }
            _ => return Ok(Some(stored.as_bytes().clone())),
        };
        encode(collection, stored.version(), &changed).map(Some)
    }

    fn rename(&mut self, object: &mut Value, stored: &Stored, uid: Uuid) {
        object["metadata"]["uid"] = json!(uid.to_string());
        self.renamed.insert(stored.uid(), uid);
    }

    /// References to what has another uid now, wherever they are: anything with a `uid`, as owner references, the claim of a volume,
    /// the pods behind endpoints and those that have a claim of devices reserved, and what custom objects have of that shape.
    fn references(&self, collection: &str, value: &mut Bytes) -> Result<(), EnvelopeError> {
        let stored = Stored::from_bytes(value.clone())?;
        if !uids(stored.body()).any(|uid| self.renamed.contains_key(&uid)) {
            return Ok(());
        }
        let mut object = stored.to_value(None, 0)?;
        self.refer(&mut object);
        // Its own is what it was given, whoever else has had that.
        object["metadata"]["uid"] = json!(stored.uid().to_string());
        // No reference is a selectable field of anything but of Events, which stay.
        let fields: Vec<(&str, &str)> = stored.fields().collect();
        *value = match collection {
            PODS => encode(collection, stored.version(), &object)?,
            _ => Stored::encode(stored.version(), &object, &fields)?.as_bytes().clone(),
        };
        Ok(())
    }

    fn refer(&self, value: &mut Value) {
        match value {
            Value::Array(items) => items.iter_mut().for_each(|item| self.refer(item)),
            Value::Object(fields) => {
                for (key, value) in fields {
                    let renamed = value.as_str().filter(|_| key == "uid").and_then(|uid| uid.parse().ok());
                    match renamed.and_then(|uid: Uuid| self.renamed.get(&uid)) {
                        Some(uid) => *value = json!(uid.to_string()),
                        None => self.refer(value),
                    }
                }
            }
            _ => {}
        }
    }
}

/// The uids that an object's JSON has anywhere.
fn uids(body: &[u8]) -> impl Iterator<Item = Uuid> + '_ {
    const FIELD: &[u8] = b"\"uid\":\"";
    let places = body.windows(FIELD.len()).enumerate().filter(|(_, bytes)| *bytes == FIELD);
    places.filter_map(|(at, _)| Uuid::try_parse_ascii(body.get(at + FIELD.len()..)?.get(..UID)?).ok())
}

/// A built-in object, with the fields that selectors of its kind ask for.
fn encode(collection: &str, version: &str, object: &Value) -> Result<Bytes, EnvelopeError> {
    let (group, resource) = collection.split_once('/').unwrap_or(("", collection));
    let fields = rules_for(&GroupResource::new(group, resource)).selectable_fields(object);
    let fields: Vec<(&str, &str)> = fields.iter().map(|(key, value)| (*key, value.as_ref())).collect();
    Ok(Stored::encode(version, object, &fields)?.as_bytes().clone())
}

/// Takes a pod off its node. One that has ended stays so, for what it came to; any other begins anew, which is told.
fn pod_begin(pod: &mut Value) -> bool {
    let ended = matches!(str_at(pod, &["status", "phase"]), "Succeeded" | "Failed");
    let class = at(pod, &["status", "qosClass"]).cloned();
    if let Some(spec) = pod["spec"].as_object_mut() {
        spec.remove("nodeName");
        if !ended {
            // Of a debugging session nothing is left.
            spec.remove("ephemeralContainers");
        }
    }
    match pod["status"].as_object_mut() {
        Some(status) if ended => {
            for field in ["hostIP", "hostIPs", "podIP", "podIPs", "nominatedNodeName"] {
                status.remove(field);
            }
        }
        _ => {
            pod["status"] = json!({"phase": "Pending"});
            if let Some(class) = class {
                pod["status"]["qosClass"] = class;
            }
        }
    }
    !ended
}

/// Takes a claim off its volume. Says whether it had one.
fn claim_begin(claim: &mut Value) -> bool {
    let had = claim["spec"].as_object_mut().is_some_and(|spec| spec.remove("volumeName").is_some());
    if let Some(annotations) = claim.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.retain(|key, _| !BOUND.contains(&key.as_str()));
    }
    claim["status"] = json!({"phase": "Pending"});
    had
}

/// Takes from a service what it does not hold now. Says whether that was anything.
fn service_begin(service: &mut Value, alive: Option<&Value>) -> bool {
    let before = service.clone();
    let same_address =
        alive.is_some_and(|now| list_at(now, &["spec", "clusterIPs"]) == list_at(&before, &["spec", "clusterIPs"]));
    let ports = |service: &Value, field: &[&str]| -> Vec<i64> {
        list_at(service, field).iter().filter_map(|port| port["nodePort"].as_i64()).collect()
    };
    let held = alive.map(|now| ports(now, &["spec", "ports"])).unwrap_or_default();
    let health = |service: &Value| at(service, &["spec", "healthCheckNodePort"]).and_then(Value::as_i64);
    let same_health = alive.and_then(health) == health(&before);
    let Some(spec) = service["spec"].as_object_mut() else { return false };
    if !same_address && spec.get("clusterIP").and_then(Value::as_str) != Some("None") {
        spec.remove("clusterIP");
        spec.remove("clusterIPs");
    }
    if !same_health {
        spec.remove("healthCheckNodePort");
    }
    for port in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(port) = port.as_object_mut()
            && port.get("nodePort").and_then(Value::as_i64).is_some_and(|number| !held.contains(&number))
        {
            port.remove("nodePort");
        }
    }
    if service["spec"] == before["spec"] {
        return false;
    }
    service["status"] = json!({"loadBalancer": {}});
    true
}
