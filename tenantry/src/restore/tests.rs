//! What becomes of each kind of object, and the way from a backup of all to one virtual cluster.

use std::collections::BTreeMap;

use apimachinery::envelope::Stored;
use apimachinery::meta::str_at;
use apiserver_shim::clock::SystemClock;
use apiserver_shim::tenants::TenantSpec;
use serde_json::{Value, json};
use smol_str::SmolStr;
use store::{CollectionId, Embedded, Key, Options, Precondition, Store, Write, read_tenant};

use super::pick::pick;
use super::*;

const NAMESPACE: &str = "11111111-1111-4111-8111-111111111111";
const SERVICE: &str = "22222222-2222-4222-8222-222222222222";
const POD: &str = "33333333-3333-4333-8333-333333333333";
const CLAIM: &str = "44444444-4444-4444-8444-444444444444";
const SET: &str = "55555555-5555-4555-8555-555555555555";

fn object(collection: &str, name: &str, uid: &str, mut value: Value) -> Plain {
    let (namespace, own) = name.rsplit_once('/').unwrap_or(("", name));
    value["metadata"]["name"] = json!(own);
    if !namespace.is_empty() {
        value["metadata"]["namespace"] = json!(namespace);
    }
    value["metadata"]["uid"] = json!(uid);
    let node = str_at(&value, &["spec", "nodeName"]).to_owned();
    let stored = Stored::encode("v1", &value, &[("spec.nodeName", &node)]).unwrap();
    (collection.into(), name.into(), stored.as_bytes().clone())
}

fn namespace(name: &str, uid: &str) -> Plain {
    object("namespaces", name, uid, json!({"status": {"phase": "Active"}}))
}

/// A shop: a pod of a stateful set with a claim, behind a service, and what controllers and the host make of it.
fn shop() -> Vec<Plain> {
    let pod = json!({
        "metadata": {"ownerReferences": [{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "web", "uid": SET}]},
        "spec": {"nodeName": "node-1", "ephemeralContainers": [{"name": "debug"}]},
        "status": {"phase": "Running", "podIP": "10.1.1.1", "qosClass": "Burstable"},
    });
    let service = json!({"spec": {"type": "NodePort", "clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"],
        "ipFamilies": ["IPv4"], "ports": [{"port": 80, "nodePort": 31000}]}, "status": {"loadBalancer": {"ingress": [{}]}}});
    let claim = json!({
        "metadata": {"annotations": {"pv.kubernetes.io/bind-completed": "yes", "team": "a"},
            "ownerReferences": [{"kind": "Pod", "name": "web-0", "uid": POD}]},
        "spec": {"volumeName": "pvc-1", "storageClassName": "standard"}, "status": {"phase": "Bound"},
    });
    let volume = json!({"metadata": {"annotations": {(syncer::marks::RESOURCE): "persistentvolumes"}},
        "spec": {"claimRef": {"uid": CLAIM}}});
    let slice = |by: &str| json!({"metadata": {"labels": {"endpointslice.kubernetes.io/managed-by": by}}});
    vec![
        namespace("default", NAMESPACE),
        namespace("shop", NAMESPACE),
        object("apps/statefulsets", "shop/web", SET, json!({"spec": {"replicas": 1}})),
        object("configmaps", "shop/kube-root-ca.crt", SET, json!({"data": {"ca.crt": "of the source"}})),
        object("configmaps", "shop/settings", SET, json!({"data": {"a": "b"}})),
        object("coordination.k8s.io/leases", "shop/leader", SET, json!({"spec": {"holderIdentity": "yesterday"}})),
        object("discovery.k8s.io/endpointslices", "shop/own", SET, slice("me")),
        object("discovery.k8s.io/endpointslices", "shop/web-x", SET, slice("endpointslice-controller.k8s.io")),
        object("events", "shop/e", SET, json!({})),
        object("nodes", "node-1", SET, json!({})),
        object("persistentvolumeclaims", "shop/data", CLAIM, claim),
        object("persistentvolumes", "pvc-1", SET, volume),
        object("pods", "shop/web-0", POD, pod),
        object("services", "default/kubernetes", SET, json!({"spec": {"clusterIP": "10.96.0.1"}})),
        object("services", "shop/headless", SET, json!({"spec": {"clusterIP": "None", "clusterIPs": ["None"]}})),
        object("services", "shop/web", SERVICE, service),
    ]
}

fn target(same: bool) -> Target<'static> {
    Target { same, ca: "of the target", replace: true, without_pods: false }
}

fn values(records: &[Plain]) -> BTreeMap<String, Value> {
    let value = |v: &bytes::Bytes| Stored::from_bytes(v.clone()).unwrap().to_value(None, 0).unwrap();
    records.iter().map(|(collection, name, v)| (format!("{collection} {name}"), value(v))).collect()
}

/// What a new virtual cluster has.
fn fresh() -> Vec<Plain> {
    vec![
        object("configmaps", "default/kube-root-ca.crt", SERVICE, json!({"data": {"ca.crt": "of the target"}})),
        object("configmaps", "kube-system/extension-apiserver-authentication", SERVICE, json!({})),
        namespace("default", SERVICE),
        object("serviceaccounts", "default/default", SERVICE, json!({})),
        object("services", "default/kubernetes", SERVICE, json!({"spec": {"clusterIP": "10.96.7.7"}})),
    ]
}

#[test]
fn a_copy_gets_addresses_volumes_and_pods_of_its_own() {
    let (made, told) = carry(shop(), fresh(), &Target { replace: false, ..target(false) }).unwrap();
    let made = values(&made);
    let names: Vec<&str> = made.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "apps/statefulsets shop/web",
            "configmaps shop/kube-root-ca.crt",
            "configmaps shop/settings",
            "discovery.k8s.io/endpointslices shop/own",
            "namespaces default",
            "namespaces shop",
            "persistentvolumeclaims shop/data",
            "pods shop/web-0",
            "services default/kubernetes",
            "services shop/headless",
            "services shop/web",
        ]
    );
    assert_eq!(made["services default/kubernetes"]["spec"]["clusterIP"], "10.96.7.7");
    assert_eq!(made["configmaps shop/kube-root-ca.crt"]["data"]["ca.crt"], "of the target");
    assert_eq!(made["namespaces default"]["metadata"]["uid"], SERVICE, "its host namespace stays");
    assert_eq!(made["namespaces shop"]["metadata"]["uid"], NAMESPACE);
    let service = &made["services shop/web"];
    assert_eq!(service["spec"], json!({"type": "NodePort", "ipFamilies": ["IPv4"], "ports": [{"port": 80}]}));
    assert_eq!((&service["status"], &service["metadata"]["uid"]), (&json!({"loadBalancer": {}}), &json!(SERVICE)));
    assert_eq!(made["services shop/headless"]["spec"]["clusterIP"], "None");
    let pod = &made["pods shop/web-0"];
    assert_eq!((&pod["spec"], &pod["status"]), (&json!({}), &json!({"phase": "Pending", "qosClass": "Burstable"})));
    assert_ne!(pod["metadata"]["uid"], POD);
    assert_eq!(pod["metadata"]["ownerReferences"][0]["uid"], SET);
    let claim = &made["persistentvolumeclaims shop/data"];
    assert_eq!(
        (&claim["spec"], &claim["status"]),
        (&json!({"storageClassName": "standard"}), &json!({"phase": "Pending"}))
    );
    assert_eq!(claim["metadata"]["annotations"], json!({"team": "a"}));
    assert_ne!(claim["metadata"]["uid"], CLAIM);
    assert_eq!(
        claim["metadata"]["ownerReferences"][0]["uid"], pod["metadata"]["uid"],
        "an owner is found by its new uid"
    );
    let wanted = Told { objects: 11, written: 0, pods: 1, services: 1, claims: vec!["shop/data".into()] };
    assert_eq!(told, wanted);
}

#[test]
fn what_runs_yet_is_left_alone_and_what_is_of_the_moment_stays() {
    let mut present = shop();
    present.retain(|(collection, ..)| collection != "coordination.k8s.io/leases" && collection != "events");
    present.push(object("coordination.k8s.io/leases", "shop/leader", POD, json!({"spec": {"holderIdentity": "now"}})));
    present.push(object("events", "new/e", POD, json!({})));
    present.push(object("configmaps", "new/late", POD, json!({})));
    let (made, told) = carry(shop(), present, &target(true)).unwrap();
    let (made, before) = (values(&made), values(&shop()));
    for same in [
        "pods shop/web-0",
        "services shop/web",
        "persistentvolumeclaims shop/data",
        "persistentvolumes pvc-1",
        "nodes node-1",
    ] {
        assert_eq!(made[same], before[same], "{same}");
    }
    assert_eq!(made["coordination.k8s.io/leases shop/leader"]["spec"]["holderIdentity"], "now");
    assert!(!made.contains_key("configmaps new/late") && !made.contains_key("events new/e"), "nor its namespace");
    assert_eq!((told.pods, told.services, told.claims.len()), (0, 0, 0));
}

#[test]
fn what_the_tenant_has_deleted_begins_anew() {
    let mut present = shop();
    for (collection, name, value) in &mut present {
        if collection == "pods" {
            // On its way out: its containers end.
            let mut pod = Stored::from_bytes(value.clone()).unwrap().to_value(None, 0).unwrap();
            pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            (.., *value) = object("pods", name, POD, pod);
        }
    }
    present.retain(|(collection, ..)| collection != "services" && collection != "persistentvolumeclaims");
    let (made, told) = carry(shop(), present, &target(true)).unwrap();
    let made = values(&made);
    assert_eq!((told.pods, told.services, told.claims), (1, 1, vec!["shop/data".to_owned()]));
    assert!(made["services shop/web"]["spec"].get("clusterIP").is_none());
    assert!(!made.contains_key("persistentvolumes pvc-1"));
    let ended =
        json!({"spec": {"nodeName": "node-1"}, "status": {"phase": "Succeeded", "podIP": "10.1.1.1", "reason": "x"}});
    let ended = vec![namespace("shop", NAMESPACE), object("pods", "shop/job", POD, ended)];
    let (made, told) = carry(ended, Vec::new(), &target(true)).unwrap();
    let pod = &values(&made)["pods shop/job"];
    assert_eq!((told.pods, &pod["metadata"]["uid"]), (0, &json!(POD)), "it does not run a second time");
    assert_eq!((&pod["spec"], &pod["status"]), (&json!({}), &json!({"phase": "Succeeded", "reason": "x"})));
    let without = Target { without_pods: true, ..target(true) };
    assert!(!values(&carry(shop(), Vec::new(), &without).unwrap().0).contains_key("pods shop/web-0"));
}

/// What speaks of a pod or a claim by its uid speaks of the one that took its place; what only has such a text does not change.
#[test]
fn references_lead_to_what_took_the_place_of_what_they_led_to() {
    let own_volume =
        json!({"spec": {"nfs": {"server": "nas"}, "claimRef": {"namespace": "shop", "name": "data", "uid": CLAIM}}});
    let to_pod = json!({"kind": "Pod", "namespace": "shop", "name": "web-0", "uid": POD});
    let job = json!({"metadata": {"labels": {"batch.kubernetes.io/controller-uid": SET}},
        "spec": {"selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": SET}}}});
    let event = json!({"involvedObject": to_pod});
    let mut backup = shop();
    backup.extend([
        object("persistentvolumes", "nas", NAMESPACE, own_volume),
        object(
            "endpoints",
            "shop/own",
            SET,
            json!({"subsets": [{"addresses": [{"ip": "10.1.1.1", "targetRef": to_pod}]}]}),
        ),
        object("discovery.k8s.io/endpointslices", "shop/mine", SET, json!({"endpoints": [{"targetRef": to_pod}]})),
        object(
            "resource.k8s.io/resourceclaims",
            "shop/gpu",
            SET,
            json!({"status": {"reservedFor": [{"resource": "pods", "name": "web-0", "uid": POD}]}}),
        ),
        object("example.com/watches", "shop/w", SET, json!({"spec": {"pod": to_pod, "of": {"uid": SET}, "text": POD}})),
        object("configmaps", "shop/text", SET, json!({"data": {"pod": POD}})),
        object("batch/jobs", "shop/job", SET, job.clone()),
    ]);
    let present = vec![object("events", "shop/e", SET, event.clone())];
    let (made, _) = carry(backup.clone(), present, &target(true)).unwrap();
    let (made, before) = (values(&made), values(&backup));
    let uid = |name: &str| made[name]["metadata"]["uid"].clone();
    let (pod, claim) = (uid("pods shop/web-0"), uid("persistentvolumeclaims shop/data"));
    assert!(pod != POD && claim != CLAIM);
    for (name, place, wanted) in [
        ("persistentvolumes nas", "/spec/claimRef/uid", &claim),
        ("endpoints shop/own", "/subsets/0/addresses/0/targetRef/uid", &pod),
        ("discovery.k8s.io/endpointslices shop/mine", "/endpoints/0/targetRef/uid", &pod),
        ("resource.k8s.io/resourceclaims shop/gpu", "/status/reservedFor/0/uid", &pod),
        ("example.com/watches shop/w", "/spec/pod/uid", &pod),
        ("persistentvolumeclaims shop/data", "/metadata/ownerReferences/0/uid", &pod),
    ] {
        assert_eq!(made[name].pointer(place), Some(wanted), "{name}");
    }
    assert_eq!(made["example.com/watches shop/w"]["spec"]["of"]["uid"], SET, "what kept its uid");
    assert_eq!(made["example.com/watches shop/w"]["spec"]["text"], POD);
    for same in ["configmaps shop/text", "batch/jobs shop/job"] {
        assert_eq!(made[same], before[same], "{same}");
    }
    assert_eq!(made["events shop/e"]["involvedObject"]["uid"], POD, "it tells of the pod that was");
}

#[test]
fn what_a_target_has_of_its_own_is_given_up_only_when_told() {
    let careful = Target { replace: false, ..target(false) };
    let mut present = fresh();
    present.push(namespace("mine", POD));
    present.push(object("configmaps", "mine/a", POD, json!({})));
    let refused = carry(shop(), present.clone(), &careful).unwrap_err();
    assert!(matches!(&refused, CarryError::InUse { count: 2, example } if example == "namespaces mine"), "{refused}");
    assert!(carry(shop(), present, &target(false)).is_ok());
    let damaged = vec![(SmolStr::new("pods"), SmolStr::new("shop/x"), bytes::Bytes::from_static(b"no"))];
    assert!(
        matches!(carry(damaged, Vec::new(), &careful), Err(CarryError::Record { what, .. }) if what == "pods shop/x")
    );
}

struct World {
    store: Arc<dyn Store>,
    tenants: Arc<Tenants>,
    _folder: tempfile::TempDir,
    path: PathBuf,
}

const A: TenantId = TenantId::from_bytes([0xa; 16]);
const B: TenantId = TenantId::from_bytes([0xb; 16]);

impl World {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        let store: Arc<dyn Store> = Arc::new(Embedded::open(&path, Options::default()).unwrap());
        let tenants = Tenants::load(Arc::clone(&store), Arc::new(SystemClock)).await.unwrap();
        let world = Self { store, tenants, _folder: folder, path };
        for (id, name) in [(A, "shop"), (B, "copy")] {
            let spec = TenantSpec { namespace: "team-a".into(), name: name.into(), ..TenantSpec::default() };
            world.tenants.attach(id, spec).await.unwrap();
        }
        for (collection, name, value) in shop() {
            world.put(A, &collection, &name, Some(value)).await;
        }
        world
    }

    async fn put(&self, tenant: TenantId, collection: &str, name: &str, value: Option<bytes::Bytes>) {
        let collection = CollectionId { tenant, name: collection.into() };
        let key = Key { collection, name: name.into() };
        self.store.commit(vec![Write { key, value, require: Precondition::None }]).await.unwrap();
    }

    async fn has(&self, tenant: TenantId, collection: &str, name: &str) -> bool {
        let collection = CollectionId { tenant, name: collection.into() };
        self.store.get(&Key { collection, name: name.into() }).await.unwrap().is_some()
    }

    async fn backup(&self) -> Vec<u8> {
        let file = self.path.join("backup");
        self.store.backup(None, Box::new(std::fs::File::create(&file).unwrap())).await.unwrap();
        std::fs::read(file).unwrap()
    }

    async fn restore(&self, backup: &[u8], into: &str, replace: bool) -> Result<Told, OneError> {
        let (found, part, contents) = pick("team-a/shop", &mut &backup[..]).unwrap();
        assert_eq!((found.id, contents.tenants), (A, 1));
        let into = ("team-a".to_owned(), into.to_owned());
        let wanted = Wanted { source: found.id.to_string(), into, replace, without_pods: false };
        let restorer = Restorer::new(Arc::clone(&self.tenants), Some(self.path.clone()));
        restorer.restore(&wanted, found.id, read_tenant(&mut &part[..], found.id).unwrap()).await
    }
}

#[tokio::test]
async fn one_of_a_backup_of_all_comes_back_in_its_place_or_as_another() {
    let world = World::start().await;
    let backup = world.backup().await;
    world.put(A, "configmaps", "shop/settings", None).await;
    world.put(A, "configmaps", "shop/late", Some(shop()[4].2.clone())).await;

    let told = world.restore(&backup, "copy", false).await.unwrap();
    assert_eq!((told.pods, told.claims.len()), (1, 1));
    assert!(world.has(B, "configmaps", "shop/settings").await);
    assert!(!world.has(A, "configmaps", "shop/settings").await, "the original is as it was");
    let (a, b) = (world.tenants.get(A).unwrap(), world.tenants.get(B).unwrap());
    assert_ne!(a.issuer(), b.issuer());
    assert_ne!(a.token_key().id(), b.token_key().id());
    assert_ne!(a.authority().certificate(), b.authority().certificate());
    let refused = world.restore(&backup, "copy", false).await.unwrap_err();
    assert!(apimachinery::error::chain(&refused).contains("--replace"), "{refused:?}");
    world.restore(&backup, "copy", true).await.unwrap();

    let refused = world.restore(&backup, "shop", false).await.unwrap_err();
    assert!(apimachinery::error::chain(&refused).contains("team-a/shop"), "{refused:?}");
    world.restore(&backup, "shop", true).await.unwrap();
    assert!(world.has(A, "configmaps", "shop/settings").await && !world.has(A, "configmaps", "shop/late").await);
    let missing = world.restore(&backup, "none", true).await.unwrap_err();
    assert!(missing.to_string().contains("team-a/none"));
    assert_eq!(world.store.tenants().await.unwrap(), [TenantId::SYSTEM, A, B]);
}

#[tokio::test]
async fn a_name_that_a_backup_does_not_have_or_has_twice_is_told() {
    let world = World::start().await;
    let spec = TenantSpec { namespace: "team-b".into(), name: "shop".into(), ..TenantSpec::default() };
    world.tenants.attach(TenantId::from_bytes([0xc; 16]), spec).await.unwrap();
    let backup = world.backup().await;
    let missing = pick("team-a/ship", &mut &backup[..]).unwrap_err().to_string();
    assert!(missing.contains("team-a/shop") && missing.contains("team-a/copy"), "{missing}");
    let several = pick("shop", &mut &backup[..]).unwrap_err().to_string();
    assert!(several.contains("team-a/shop") && several.contains("team-b/shop") && several.contains(&A.to_string()));
    assert_eq!(pick(&A.to_string(), &mut &backup[..]).unwrap().0.name, "shop");
    let cut = &backup[..backup.len() - 1];
    assert!(matches!(pick("copy", &mut &cut[..]), Err(PickError::Backup(_))));
}
