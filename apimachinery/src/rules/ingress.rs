//! Ingresses.

use serde_json::Value;

use super::at::At;
use super::networking::typed_reference;
use super::{WriteContext, check, ip, names};
use crate::field::Errors;

const CLASS: &str = "kubernetes.io/ingress.class";

/// What an ingress that is there already may go on saying.
#[derive(Clone, Copy, Default)]
struct Allowed {
    secret_names: bool,
    wildcard_rules: bool,
}

pub(super) fn ingress_validate(object: &Value, errors: &mut Errors) {
    let ingress = At::root(object);
    let spec = ingress.field("spec");
    ingress_spec(&spec, Allowed::default(), errors);
    let metadata = ingress.field("metadata");
    let annotations = metadata.field("annotations");
    let (noted, class) = (annotations.entry(CLASS), spec.field("ingressClassName"));
    if noted.exists() && class.exists() && noted.str() != class.str() {
        let says = "must match `ingressClassName` when both are specified";
        At::named(noted.value(), &format!("annotations.{CLASS}")).invalid_str(errors, says);
    }
}

pub(super) fn ingress_validate_update(new: &Value, old: &Value, context: &WriteContext<'_>, errors: &mut Errors) {
    let (ingress, was) = (At::root(new), At::root(old));
    if context.part.is("status") {
        return load_balancer(&ingress, &was, errors);
    }
    let old_spec = was.field("spec");
    let allowed = Allowed {
        secret_names: old_spec.field("tls").items().any(|tls| {
            let name = tls.field("secretName");
            !name.is_empty() && !names::dns1123_subdomain(name.str()).is_empty()
        }),
        wildcard_rules: old_spec.field("rules").items().any(|rule| {
            let mut wrong = Errors::default();
            rule_value(&rule, &mut wrong);
            rule.field("host").str().contains('*') && !wrong.is_empty()
        }),
    };
    ingress_spec(&ingress.field("spec"), allowed, errors);
}

fn load_balancer(ingress: &At<'_, '_>, was: &At<'_, '_>, errors: &mut Errors) {
    let (status, old_status) = (ingress.field("status"), was.field("status"));
    let (balancer, old_balancer) = (status.field("loadBalancer"), old_status.field("loadBalancer"));
    let old_points = old_balancer.field("ingress");
    for point in balancer.field("ingress").items() {
        let (address, host) = (point.field("ip"), point.field("hostname"));
        let known = old_points.items().any(|p| p.field("ip").str() == address.str());
        if !address.is_empty() && !known {
            address.invalid_each(errors, ip::address(address.str()));
        }
        host.optional_name(errors, names::dns1123_subdomain);
        if ip::parse_address(host.str()).is_some() {
            host.invalid_str(errors, "must be a DNS name, not an IP address");
        }
    }
}

fn ingress_spec(spec: &At<'_, '_>, allowed: Allowed, errors: &mut Errors) {
    let (rules, default) = (spec.field("rules"), spec.field("defaultBackend"));
    if rules.is_empty() && !default.exists() {
        let says = "either `defaultBackend` or `rules` must be specified";
        spec.with_value(rules.value()).invalid(errors, says);
    }
    if default.exists() {
        backend(&default, errors);
    }
    for rule in rules.items() {
        let host = rule.field("host");
        if ip::parse_address(host.str()).is_some() {
            host.invalid_str(errors, "must be a DNS name, not an IP address");
        }
        host_name(&host, errors);
        if !(allowed.wildcard_rules && host.str().contains('*')) {
            rule_value(&rule, errors);
        }
    }
    for tls in spec.field("tls").items() {
        for host in tls.field("hosts").items() {
            if host.is_empty() {
                host.invalid_each(errors, names::dns1123_subdomain(""));
            }
            host_name(&host, errors);
        }
        if !allowed.secret_names {
            tls.field("secretName").optional_name(errors, names::dns1123_subdomain);
        }
    }
    let class = spec.field("ingressClassName");
    if class.exists() {
        class.invalid_each(errors, names::dns1123_subdomain(class.str()));
    }
}

/// A domain, or all that are one label below it.
fn host_name(host: &At<'_, '_>, errors: &mut Errors) {
    if host.str().contains('*') {
        host.optional_name(errors, names::wildcard_subdomain);
    } else {
        host.optional_name(errors, names::dns1123_subdomain);
    }
}

fn rule_value(rule: &At<'_, '_>, errors: &mut Errors) {
    const NOT_INSIDE: &[&str] = &["//", "/./", "/../", "%2f", "%2F"];
    const NOT_AT_END: &[&str] = &["/..", "/."];
    let http = rule.field("http");
    if !http.exists() {
        return;
    }
    let paths = http.field("paths");
    if paths.is_empty() {
        paths.required(errors, "");
    }
    for entry in paths.items() {
        let (path, kind) = (entry.field("path"), entry.field("pathType"));
        if !kind.exists() {
            kind.required(errors, "pathType must be specified");
            continue;
        }
        let exact = matches!(kind.str(), "Exact" | "Prefix");
        kind.one_of(errors, &["Exact", "ImplementationSpecific", "Prefix"]);
        if (exact || (kind.str() == "ImplementationSpecific" && !path.is_empty())) && !path.str().starts_with('/') {
            path.invalid_str(errors, "must be an absolute path");
        }
        if exact {
            for part in NOT_INSIDE.iter().filter(|part| path.str().contains(**part)) {
                path.invalid_str(errors, &format!("must not contain '{part}'"));
            }
            for end in NOT_AT_END.iter().filter(|end| path.str().ends_with(**end)) {
                path.invalid_str(errors, &format!("cannot end with '{end}'"));
            }
        }
        backend(&entry.field("backend"), errors);
    }
}

fn backend(at: &At<'_, '_>, errors: &mut Errors) {
    let (resource, service) = (at.field("resource"), at.field("service"));
    match (resource.exists(), service.exists()) {
        (true, true) => at.invalid_text(errors, "", "cannot set both resource and service backends"),
        (true, false) => typed_reference(&resource, errors),
        (false, true) => {
            service.field("name").required_name(errors, names::dns1123_label);
            let port = service.field("port");
            let (name, number) = (port.field("name"), port.field("number"));
            match (!name.is_empty(), number.int() != 0) {
                (true, true) => at.invalid_text(errors, "", "cannot set both port name & port number"),
                (true, false) => name.invalid_each(errors, names::port_name(name.str())),
                (false, true) => check::port_number(&number, errors),
                (false, false) => at.required(errors, "port name or number is required"),
            }
        }
        (false, false) => at.invalid_text(errors, "", "resource or service backend is required"),
    }
}

pub(super) fn ingress_warnings(new: &Value, old: Option<&Value>) -> Vec<String> {
    let ingress = At::root(new);
    let metadata = ingress.field("metadata");
    let noted = metadata.field("annotations").entry(CLASS).exists();
    if old.is_none() && noted && !ingress.field("spec").field("ingressClassName").exists() {
        return vec![format!("annotation \"{CLASS}\" is deprecated, please use 'spec.ingressClassName' instead")];
    }
    Vec::new()
}
