//! Warnings about what a pod or a template says: allowed, but hardly meant.

use serde_json::Value;

use super::visit_containers;
use crate::field::quote;
use crate::rules::at::At;
use crate::rules::{check, claim, ip, names, quantities};

/// `metadata.name` of what makes pods: they are named after it.
pub(in crate::rules) fn name_warning(object: &At<'_, '_>, used_in: &str) -> Option<String> {
    let wrong = names::dns1123_label(object.field("metadata").field("name").str());
    (!wrong.is_empty()).then(|| {
        format!(
            "metadata.name: this is used in {used_in}, which can result in surprising behavior; a DNS label is recommended: [{}]",
            wrong.join(" ")
        )
    })
}

pub(in crate::rules) fn pod_warnings(new: &Value, old: Option<&Value>) -> Vec<String> {
    let pod = At::root(new);
    // Few people write pods, and controllers write them often.
    if old.is_some() {
        return Vec::new();
    }
    let mut warnings: Vec<String> = name_warning(&pod, "the Pod's hostname").into_iter().collect();
    template_warnings(&pod, &mut warnings);
    warnings
}

/// `pod` is a pod or a template of one.
pub(in crate::rules) fn template_warnings(pod: &At<'_, '_>, warnings: &mut Vec<String>) {
    let (metadata, spec) = (pod.field("metadata"), pod.field("spec"));
    let annotations = metadata.field("annotations");
    labels(&spec, warnings);
    for (key, says) in [
        (
            "scheduler.alpha.kubernetes.io/critical-pod",
            "non-functional in v1.16+; use the \"priorityClassName\" field instead",
        ),
        ("security.alpha.kubernetes.io/sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
        ("security.alpha.kubernetes.io/unsafe-sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
    ] {
        let annotation = annotations.entry(key);
        if annotation.exists() {
            warnings.push(format!("{}: {says}", annotation.path()));
        }
    }
    for volume in spec.field("volumes").items() {
        volume_warnings(&volume, warnings);
    }
    for volume in spec.field("volumes").items() {
        overlaps(&volume, warnings);
    }
    lists(&spec, warnings);
    fractions(&spec.field("overhead"), warnings);
    profiles(pod, &annotations, &spec, warnings);
    ports(&spec, warnings);
    if spec.field("terminationGracePeriodSeconds").int() < 0 {
        let path = spec.field("terminationGracePeriodSeconds").path();
        warnings.push(format!("{path}: must be >= 0; negative values are invalid and will be treated as 1"));
    }
    pod_affinity(&spec, warnings);
    let dns = spec.field("dnsConfig");
    for server in dns.field("nameservers").items() {
        warnings.extend(ip::address_warning(server.path().as_str(), server.str()));
    }
    for alias in spec.field("hostAliases").items() {
        let address = alias.field("ip");
        warnings.extend(ip::address_warning(address.path().as_str(), address.str()));
    }
}

/// Labels of nodes that have other names now.
fn labels(spec: &At<'_, '_>, warnings: &mut Vec<String>) {
    for (key, label) in spec.field("nodeSelector").entries() {
        warnings.extend(check::deprecated_node_label(key).map(|says| format!("{}: {says}", label.path())));
    }
    let affinity = spec.field("affinity");
    let nodes = affinity.field("nodeAffinity");
    let required = nodes.field("requiredDuringSchedulingIgnoredDuringExecution");
    for term in required.field("nodeSelectorTerms").items() {
        check::node_label_warnings(&term, warnings);
    }
    for term in nodes.field("preferredDuringSchedulingIgnoredDuringExecution").items() {
        let preference = term.field("preference");
        check::node_label_warnings(&preference, warnings);
        for expression in preference.field("matchExpressions").items() {
            for value in expression.field("values").items() {
                for wrong in names::label_value(value.str()) {
                    warnings.push(format!("{}: {} is invalid, {wrong}", value.path(), value.str()));
                }
            }
        }
    }
    for constraint in spec.field("topologySpreadConstraints").items() {
        let (key, selector) = (constraint.field("topologyKey"), constraint.field("labelSelector"));
        if let Some(says) = check::deprecated_node_label(key.str()) {
            warnings.push(format!("{}: {} is {says}", key.path(), key.str()));
        }
        matches_nothing(&selector, warnings);
    }
}

fn matches_nothing(selector: &At<'_, '_>, warnings: &mut Vec<String>) {
    if !selector.exists() {
        warnings.push(format!("{}: a null labelSelector results in matching no pod", selector.path()));
    }
}

fn pod_affinity(spec: &At<'_, '_>, warnings: &mut Vec<String>) {
    let affinity = spec.field("affinity");
    for kind in ["podAffinity", "podAntiAffinity"] {
        let kind = affinity.field(kind);
        for term in kind.field("requiredDuringSchedulingIgnoredDuringExecution").items() {
            matches_nothing(&term.field("labelSelector"), warnings);
        }
        for term in kind.field("preferredDuringSchedulingIgnoredDuringExecution").items() {
            matches_nothing(&term.field("podAffinityTerm").field("labelSelector"), warnings);
        }
    }
}

fn volume_warnings(volume: &At<'_, '_>, warnings: &mut Vec<String>) {
    const GONE: &[(&str, &str, &str)] = &[
        ("photonPersistentDisk", "photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
        ("gitRepo", "gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"),
        ("scaleIO", "scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
        ("flocker", "flocker", "deprecated in v1.22, non-functional in v1.25+"),
        ("storageos", "storageOS", "deprecated in v1.22, non-functional in v1.25+"),
        ("quobyte", "quobyte", "deprecated in v1.22, non-functional in v1.25+"),
        ("glusterfs", "glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
        ("cephfs", "cephfs", "deprecated in v1.28, non-functional in v1.31+"),
        ("rbd", "rbd", "deprecated in v1.28, non-functional in v1.31+"),
    ];
    for (field, shown, says) in GONE {
        if volume.field(field).exists() {
            warnings.push(format!("{}: {says}", volume.field(shown).path()));
        }
    }
    let template = volume.field("ephemeral");
    let template = template.field("volumeClaimTemplate");
    if template.exists() {
        claim::size_warnings(&template.field("spec"), warnings);
    }
}

/// A file of a volume and what it comes from.
type File = (String, String);

fn files(items: &At<'_, '_>, from: &str) -> Vec<File> {
    items.items().map(|item| (item.field("path").str().to_owned(), from.to_owned())).collect()
}

/// Files of one volume that would lie over each other.
fn overlaps(volume: &At<'_, '_>, warnings: &mut Vec<String>) {
    let name = quote(volume.field("name").str());
    for (field, kind, named) in
        [("configMap", "ConfigMap", "name"), ("secret", "Secret", "secretName"), ("downwardAPI", "DownwardAPI", "")]
    {
        let source = volume.field(field);
        let title =
            if named.is_empty() { kind.to_owned() } else { format!("{kind} {}", quote(source.field(named).str())) };
        let mut seen = Vec::new();
        report(files(&source.field("items"), ""), &mut seen, &name, &title, warnings);
    }
    let projected = volume.field("projected");
    let mut seen = Vec::new();
    for source in projected.field("sources").items() {
        if source.is_empty() {
            warnings.push(format!("volume {name} (Projected) has no sources provided"));
            continue;
        }
        report(projected_files(&source), &mut seen, &name, "Projected", warnings);
    }
}

fn projected_files(source: &At<'_, '_>) -> Vec<File> {
    let titled =
        |field: &str, kind: &str, named: &str| format!("{kind} {}", quote(source.field(field).field(named).str()));
    for (field, kind) in [("configMap", "ConfigMap"), ("secret", "Secret")] {
        let items = source.field(field);
        let items = items.field("items");
        if items.exists() {
            return files(&items, &titled(field, kind, "name"));
        }
    }
    let downward = source.field("downwardAPI");
    if downward.field("items").exists() {
        return files(&downward.field("items"), "DownwardAPI");
    }
    let one = |field: &str, from: String| vec![(source.field(field).field("path").str().to_owned(), from)];
    if source.field("serviceAccountToken").exists() {
        return one("serviceAccountToken", "ServiceAccountToken".to_owned());
    }
    let bundle = source.field("clusterTrustBundle");
    if bundle.exists() {
        let named = if bundle.field("name").exists() { "name" } else { "signerName" };
        return one("clusterTrustBundle", titled("clusterTrustBundle", "ClusterTrustBundle", named));
    }
    let certificate = source.field("podCertificate");
    [
        ("certificateChainPath", "PodCertificate chain"),
        ("keyPath", "PodCertificate key"),
        ("credentialBundlePath", "PodCertificate credential bundle"),
    ]
    .into_iter()
    .map(|(field, from)| (certificate.field(field).str().to_owned(), from.to_owned()))
    .filter(|(path, _)| !path.is_empty())
    .collect()
}

fn report(files: Vec<File>, seen: &mut Vec<File>, volume: &str, title: &str, warnings: &mut Vec<String>) {
    let shown = |(path, from): &File| {
        if from.is_empty() { quote(path) } else { format!("{} ({from})", quote(path)) }
    };
    for (path, from) in files {
        let file = (path.trim_end_matches('/').to_owned(), from);
        let within = |a: &str, b: &str| format!("{a}/").starts_with(&format!("{b}/"));
        for other in seen.iter().filter(|o| !o.0.is_empty() && !file.0.is_empty()) {
            if within(&file.0, &other.0) || within(&other.0, &file.0) {
                warnings.push(format!(
                    "volume {volume} ({title}): overlapping paths: {} with {}",
                    shown(&file),
                    shown(other)
                ));
            }
        }
        seen.push(file);
    }
}

/// Lists in which nothing should stand twice.
fn lists(spec: &At<'_, '_>, warnings: &mut Vec<String>) {
    let mut seen = Vec::new();
    for alias in spec.field("hostAliases").items() {
        let address = alias.field("ip");
        if seen.contains(&address.str()) {
            warnings.push(format!("{}: duplicate ip {}", address.path(), quote(address.str())));
        }
        seen.push(address.str());
    }
    let secrets = spec.field("imagePullSecrets");
    let mut seen = Vec::new();
    for secret in secrets.items() {
        let name = secret.field("name");
        if seen.contains(&name.str()) {
            warnings.push(format!("{}: duplicate name {}", name.path(), quote(name.str())));
        }
        seen.push(name.str());
    }
    for secret in secrets.items() {
        let name = secret.field("name");
        if name.is_empty() {
            warnings.push(format!("{}: invalid empty name \"\"", name.path()));
        }
    }
}

/// Parts of bytes, in a list of resources.
fn fractions(list: &At<'_, '_>, warnings: &mut Vec<String>) {
    for resource in ["memory", "ephemeral-storage"] {
        let at = list.entry(resource);
        if let Some(quantity) = quantities::quantity(at.value()).filter(|q| !q.is_whole()) {
            let shown = quote(&quantity.canonical());
            warnings.push(format!("{}: fractional byte value {shown} is invalid, must be an integer", at.path()));
        }
    }
}

/// Annotations that fields have replaced, sizes and environments of containers.
fn profiles(pod: &At<'_, '_>, annotations: &At<'_, '_>, spec: &At<'_, '_>, warnings: &mut Vec<String>) {
    const SECCOMP: &str = "non-functional in v1.27+; use the \"seccompProfile\" field instead";
    const APP_ARMOR: &str = "deprecated since v1.30; use the \"appArmorProfile\" field instead";
    let context = spec.field("securityContext");
    let replaced = |key: &str, says: &str, warnings: &mut Vec<String>| {
        let annotation = annotations.entry(key);
        if annotation.exists() {
            warnings.push(format!("{}: {says}", annotation.path()));
        }
    };
    if !context.field("seccompProfile").exists() {
        replaced("seccomp.security.alpha.kubernetes.io/pod", SECCOMP, warnings);
    }
    let is_template = !pod.path().as_str().is_empty();
    visit_containers(spec, &mut |container| {
        let name = container.field("name").str();
        let own = container.field("securityContext");
        if !own.field("seccompProfile").exists() {
            let key = format!("container.seccomp.security.alpha.kubernetes.io/{name}");
            replaced(&key, SECCOMP, warnings);
        }
        let key = format!("container.apparmor.security.beta.kubernetes.io/{name}");
        let says = app_armor_of(annotations.entry(&key).str());
        let of_pod = context.field("appArmorProfile");
        let same = of_pod.exists() && says.as_ref() == Some(of_pod.value());
        if is_template && !own.field("appArmorProfile").exists() && !same {
            replaced(&key, APP_ARMOR, warnings);
        }
        let resources = container.field("resources");
        // In the order of the stock server: by resource, limits first.
        for resource in ["memory", "ephemeral-storage"] {
            for list in ["limits", "requests"] {
                let list = resources.field(list);
                let at = list.entry(resource);
                if let Some(quantity) = quantities::quantity(at.value()).filter(|q| !q.is_whole()) {
                    let shown = quote(&quantity.canonical());
                    let path = at.path();
                    warnings.push(format!("{path}: fractional byte value {shown} is invalid, must be an integer"));
                }
            }
        }
        environment(container, warnings);
    });
}

/// The field that says what an annotation said.
fn app_armor_of(annotation: &str) -> Option<Value> {
    match annotation {
        "unconfined" => Some(serde_json::json!({"type": "Unconfined"})),
        "runtime/default" => Some(serde_json::json!({"type": "RuntimeDefault"})),
        other => {
            let profile = other.strip_prefix("localhost/")?;
            Some(serde_json::json!({"type": "Localhost", "localhostProfile": profile}))
        }
    }
}

/// A variable that stands twice should build on what it was.
fn environment(container: &At<'_, '_>, warnings: &mut Vec<String>) {
    let mut seen = Vec::new();
    for variable in container.field("env").items() {
        let (name, value) = (variable.field("name").str(), variable.field("value").str());
        if seen.contains(&name) {
            let reference = format!("$({name})");
            if variable.field("valueFrom").exists() || value == reference || !value.contains(&reference) {
                warnings.push(format!(
                    "{}: hides previous definition of {}, which may be dropped when using apply",
                    variable.path(),
                    quote(name)
                ));
            }
        } else {
            seen.push(name);
        }
    }
}

struct Port {
    path: String,
    number: (i64, String),
    host_ip: String,
    host_port: i64,
}

fn ports(spec: &At<'_, '_>, warnings: &mut Vec<String>) {
    let mut seen: Vec<Port> = Vec::new();
    let mut named: Vec<(String, String)> = Vec::new();
    let mut late = Vec::new();
    visit_containers(spec, &mut |container| {
        for at in container.field("ports").items() {
            let text = |field: &str| at.field(field).str().to_owned();
            let port = Port {
                path: at.path().to_string(),
                number: (at.field("containerPort").int(), text("protocol")),
                host_ip: text("hostIP"),
                host_port: at.field("hostPort").int(),
            };
            let (path, name) = (&port.path, text("name"));
            if !port.host_ip.is_empty() && port.host_port == 0 {
                warnings.push(format!(
                    "{path}: hostIP set without hostPort: {{Name:{name} HostPort:0 ContainerPort:{} Protocol:{} HostIP:{}}}",
                    port.number.0, port.number.1, port.host_ip
                ));
            }
            for other in seen.iter().filter(|o| o.number == port.number) {
                let same_host = other.host_port == port.host_port;
                let kind = if same_host && other.host_ip == port.host_ip {
                    "duplicate"
                } else if port.host_port == 0 || other.host_port == 0 {
                    "overlapping"
                } else if same_host && (other.host_ip.is_empty() != port.host_ip.is_empty()) {
                    "dangerously ambiguous"
                } else {
                    continue;
                };
                warnings.push(format!("{path}: {kind} port definition with {}", other.path));
            }
            if !name.is_empty() {
                match named.iter().find(|(n, _)| *n == name) {
                    Some((_, other)) => late.push(format!(
                        "{path}: duplicate port name {} with {other}, services and probes that select ports by name will use {other}",
                        quote(&name)
                    )),
                    None => named.push((name, path.clone())),
                }
            }
            seen.push(port);
        }
    });
    warnings.append(&mut late);
}
