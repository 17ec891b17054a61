//! Probes and lifecycle hooks.

use serde_json::Value;

use crate::field::Errors;
use crate::rules::at::At;
use crate::rules::{check, names};

/// Which probe of a container.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    Liveness,
    Readiness,
    Startup,
}

pub(super) fn probes(container: &At<'_, '_>, errors: &mut Errors) {
    for (name, which) in
        [("livenessProbe", Which::Liveness), ("readinessProbe", Which::Readiness), ("startupProbe", Which::Startup)]
    {
        let at = container.field(name);
        if at.exists() {
            probe(&at, which, errors);
        }
    }
}

fn probe(at: &At<'_, '_>, which: Which, errors: &mut Errors) {
    handler(at, &["exec", "httpGet", "tcpSocket", "grpc"], None, errors);
    for name in ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"] {
        at.field(name).non_negative(errors);
    }
    let grace = at.field("terminationGracePeriodSeconds");
    if grace.exists() && grace.int() <= 0 {
        grace.invalid_int(errors, "must be greater than 0");
    }
    let success = at.field("successThreshold");
    if which == Which::Readiness {
        if grace.exists() {
            grace.invalid_int(errors, "must not be set for readinessProbes");
        }
    } else if success.int() != 1 {
        success.invalid_int(errors, "must be 1");
    }
}

/// Hooks of a container whose pod has `grace` seconds to end.
pub(super) fn lifecycle(at: &At<'_, '_>, grace: Option<i64>, errors: &mut Errors) {
    for hook in ["postStart", "preStop"] {
        let hook = at.field(hook);
        if hook.exists() {
            handler(&hook, &["exec", "httpGet", "tcpSocket", "sleep"], grace, errors);
        }
    }
}

fn handler(at: &At<'_, '_>, kinds: &[&str], grace: Option<i64>, errors: &mut Errors) {
    let mut found = false;
    for kind in kinds {
        let action = at.field(kind);
        if !action.exists() {
            continue;
        }
        if found {
            action.forbidden(errors, "may not specify more than 1 handler type");
            continue;
        }
        found = true;
        match *kind {
            "exec" => {
                let command = action.field("command");
                if command.is_empty() {
                    command.required(errors, "");
                }
            }
            "httpGet" => http_get(&action, errors),
            "tcpSocket" => check::port_or_name(&action.field("port"), errors),
            "grpc" => check::port_number(&action.field("port"), errors),
            _ => sleep(&action, grace, errors),
        }
    }
    if !found {
        at.required(errors, "must specify a handler type");
    }
}

fn http_get(at: &At<'_, '_>, errors: &mut Errors) {
    at.field("path").required_text(errors);
    check::port_or_name(&at.field("port"), errors);
    at.field("scheme").one_of(errors, &["HTTP", "HTTPS"]);
    let headers = at.field("httpHeaders");
    for header in headers.items() {
        let name = header.field("name").str();
        for detail in names::http_header_name(name) {
            headers.invalid_text(errors, name, &detail);
        }
    }
}

fn sleep(at: &At<'_, '_>, grace: Option<i64>, errors: &mut Errors) {
    let seconds = at.field("seconds").int();
    if let Some(grace) = grace.filter(|grace| seconds < 0 || seconds > *grace) {
        let says = format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
        errors.invalid(&at.path(), &Value::from(seconds), &says);
    }
}
