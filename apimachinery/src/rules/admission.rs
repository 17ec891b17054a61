//! Webhook configurations. What their `matchConditions` say in CEL is not looked at here.

use serde_json::{Value, json};

use super::at::At;
use super::edit::{fill, items_mut, some_mut};
use super::{WriteContext, check, names};
use crate::field::Errors;

fn webhooks_default(configuration: &mut Value, mutating: bool) {
    for webhook in items_mut(configuration, "webhooks") {
        fill(webhook, "failurePolicy", "Fail");
        match_default(webhook);
        fill(webhook, "timeoutSeconds", 10);
        if mutating {
            fill(webhook, "reinvocationPolicy", "Never");
        }
        for rule in items_mut(webhook, "rules") {
            fill(rule, "scope", "*");
        }
        if let Some(service) = some_mut(webhook, "clientConfig").and_then(|c| some_mut(c, "service")) {
            fill(service, "port", 443);
        }
    }
}

pub(super) fn match_default(object: &mut Value) {
    fill(object, "matchPolicy", "Equivalent");
    fill(object, "namespaceSelector", json!({}));
    fill(object, "objectSelector", json!({}));
}

pub(super) fn mutating_configuration_default(configuration: &mut Value) {
    webhooks_default(configuration, true);
}

pub(super) fn validating_configuration_default(configuration: &mut Value) {
    webhooks_default(configuration, false);
}

/// What an update may go on saying because it was said before.
#[derive(Clone, Copy, Default)]
struct Tolerated {
    side_effects: bool,
    review_versions: bool,
    same_names: bool,
}

const WITHOUT_SIDE_EFFECTS: &[&str] = &["None", "NoneOnDryRun"];
const SIDE_EFFECTS: &[&str] = &["None", "NoneOnDryRun", "Some", "Unknown"];
const REVIEW_VERSIONS: &[&str] = &["v1", "v1beta1"];
pub(super) const FAILURE_POLICIES: &[&str] = &["Fail", "Ignore"];
pub(super) const MATCH_POLICIES: &[&str] = &["Equivalent", "Exact"];
pub(super) const REINVOCATION_POLICIES: &[&str] = &["IfNeeded", "Never"];

pub(super) fn configuration_validate(object: &Value, errors: &mut Errors) {
    configuration(&At::root(object), Tolerated::default(), errors);
}

pub(super) fn configuration_validate_update(
    new: &Value,
    old: &Value,
    _context: &WriteContext<'_>,
    errors: &mut Errors,
) {
    let was = At::root(old);
    let hooks = was.field("webhooks");
    let mut names: Vec<&str> = hooks.items().map(|hook| hook.field("name").str()).collect();
    names.sort_unstable();
    let tolerated = Tolerated {
        side_effects: hooks.items().any(|h| !WITHOUT_SIDE_EFFECTS.contains(&h.field("sideEffects").str())),
        review_versions: hooks.items().any(|hook| {
            let versions = hook.field("admissionReviewVersions");
            !versions.is_empty() && !versions.items().any(|v| REVIEW_VERSIONS.contains(&v.str()))
        }),
        same_names: names.windows(2).any(|pair| pair[0] == pair[1]),
    };
    configuration(&At::root(new), tolerated, errors);
}

fn configuration(object: &At<'_, '_>, tolerated: Tolerated, errors: &mut Errors) {
    let mut seen = Vec::new();
    for hook in object.field("webhooks").items() {
        webhook(&hook, tolerated, errors);
        review_versions(&hook.field("admissionReviewVersions"), tolerated, errors);
        let name = hook.field("name");
        if !tolerated.same_names && !name.is_empty() && seen.contains(&name.str()) {
            name.duplicate(errors);
        }
        seen.push(name.str());
    }
}

fn webhook(hook: &At<'_, '_>, tolerated: Tolerated, errors: &mut Errors) {
    const SECONDS: std::ops::RangeInclusive<i64> = 1..=30;
    qualified_domain(&hook.field("name"), errors);
    for one in hook.field("rules").items() {
        rule(&one, errors);
    }
    for (field, supported) in [
        ("failurePolicy", FAILURE_POLICIES),
        ("matchPolicy", MATCH_POLICIES),
        ("reinvocationPolicy", REINVOCATION_POLICIES),
    ] {
        let at = hook.field(field);
        if at.exists() {
            at.one_of(errors, supported);
        }
    }
    let (effects, seconds) = (hook.field("sideEffects"), hook.field("timeoutSeconds"));
    let allowed = if tolerated.side_effects { SIDE_EFFECTS } else { WITHOUT_SIDE_EFFECTS };
    if effects.exists() {
        effects.one_of(errors, allowed);
    } else {
        effects.required(errors, &format!("must specify one of {}", allowed.join(", ")));
    }
    if seconds.exists() && !SECONDS.contains(&seconds.int()) {
        seconds.invalid_int(errors, "the timeout value must be between 1 and 30 seconds");
    }
    check::label_selector(&hook.field("namespaceSelector"), errors);
    check::label_selector(&hook.field("objectSelector"), errors);
    client_config(&hook.field("clientConfig"), errors);
    match_conditions(&hook.field("matchConditions"), errors);
}

/// A domain of at least three labels.
fn qualified_domain(at: &At<'_, '_>, errors: &mut Errors) {
    let wrong = names::dns1123_subdomain(at.str());
    if at.str().is_empty() {
        at.required(errors, "");
    } else if !wrong.is_empty() {
        at.invalid_str(errors, &wrong.join(","));
    } else if at.str().split('.').count() < 3 {
        at.invalid_str(errors, "should be a domain with at least three segments separated by dots");
    }
}

fn review_versions(at: &At<'_, '_>, tolerated: Tolerated, errors: &mut Errors) {
    let known = REVIEW_VERSIONS.join(", ");
    if at.is_empty() {
        at.required(errors, &format!("must specify one of {known}"));
        return;
    }
    let mut seen = Vec::new();
    for version in at.items() {
        if seen.contains(&version.str()) {
            version.invalid_str(errors, "duplicate version");
            continue;
        }
        seen.push(version.str());
        version.invalid_each(errors, names::dns1035_label(version.str()));
    }
    if !tolerated.review_versions && !seen.iter().any(|v| REVIEW_VERSIONS.contains(v)) {
        at.invalid(errors, &format!("must include at least one of {known}"));
    }
}

/// Where a webhook is called: at a URL or at a service.
pub(super) fn client_config(config: &At<'_, '_>, errors: &mut Errors) {
    let (url, service) = (config.field("url"), config.field("service"));
    match (url.exists(), service.exists()) {
        (true, false) => webhook_url(&url, errors),
        (false, true) => webhook_service(&service, errors),
        _ => config.required(errors, "exactly one of url or service is required"),
    }
}

fn webhook_url(at: &At<'_, '_>, errors: &mut Errors) {
    const FORM: &str = "; desired format: https://host[/path]";
    let (rest, fragment) = at.str().split_once('#').unwrap_or((at.str(), ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let is_scheme = |s: &str| {
        s.starts_with(|c: char| c.is_ascii_alphabetic())
            && s.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
    };
    let (scheme, rest) = rest.split_once(':').filter(|(scheme, _)| is_scheme(scheme)).unwrap_or(("", rest));
    let authority = rest.strip_prefix("//").map(|r| r.split('/').next().unwrap_or_default()).unwrap_or_default();
    let (user, host) = authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
    let scheme = scheme.to_ascii_lowercase();
    if scheme != "https" {
        at.invalid_text(errors, &scheme, &format!("'https' is the only allowed URL scheme{FORM}"));
    }
    if host.is_empty() {
        at.invalid_text(errors, "", &format!("host must be specified{FORM}"));
    }
    if let Some(user) = user {
        at.invalid_text(errors, user, "user information is not permitted in the URL");
    }
    if !fragment.is_empty() {
        at.invalid_text(errors, fragment, "fragments are not permitted in the URL");
    }
    if !query.is_empty() {
        at.invalid_text(errors, query, "query parameters are not permitted in the URL");
    }
}

fn webhook_service(service: &At<'_, '_>, errors: &mut Errors) {
    service.field("name").required_text(errors);
    service.field("namespace").required_text(errors);
    service_port(&service.field("port"), errors);
    let path = service.field("path");
    let text = path.str();
    if matches!(text, "" | "/") {
        return;
    }
    if text == "//" {
        path.invalid_str(errors, "segment[0] may not be empty");
        return;
    }
    if !text.starts_with('/') {
        path.invalid_str(errors, "must start with a '/'");
    }
    let mut chars = text.chars();
    chars.next();
    let inner = chars.as_str();
    for (i, step) in inner.strip_suffix('/').unwrap_or(inner).split('/').enumerate() {
        if step.is_empty() {
            path.invalid_str(errors, &format!("segment[{i}] may not be empty"));
            continue;
        }
        for detail in names::dns1123_subdomain(step) {
            path.invalid_str(errors, &format!("segment[{i}]: {detail}"));
        }
    }
}

/// The port of a service that the server itself calls.
pub(super) fn service_port(port: &At<'_, '_>, errors: &mut Errors) {
    if let Some(detail) = names::port_number(port.int()) {
        port.invalid_int(errors, &format!("port is not valid: {detail}"));
    }
}

/// Names and presence of match conditions.
pub(super) fn match_conditions(at: &At<'_, '_>, errors: &mut Errors) {
    const MAX: usize = 64;
    if at.len() > MAX {
        at.too_many(errors, MAX);
    }
    let mut seen = Vec::new();
    for condition in at.items() {
        let (name, expression) = (condition.field("name"), condition.field("expression"));
        if expression.str().trim().is_empty() {
            expression.required(errors, "");
        }
        if name.is_empty() {
            name.required(errors, "");
            continue;
        }
        check::label_name(&name, errors);
        if seen.contains(&name.str()) {
            name.duplicate(errors);
        }
        seen.push(name.str());
    }
}

fn has_wildcard(list: &At<'_, '_>) -> bool {
    list.items().any(|item| item.str() == "*")
}

/// Operations and resources that something is for.
pub(super) fn rule(rule: &At<'_, '_>, errors: &mut Errors) {
    const OPERATIONS: &[&str] = &["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
    let some = |field: &str, others: &str, errors: &mut Errors| {
        let list = rule.field(field);
        if list.is_empty() {
            list.required(errors, "");
        }
        if list.len() > 1 && has_wildcard(&list) {
            list.invalid(errors, &format!("if '*' is present, must not specify other {others}"));
        }
    };
    some("operations", "operations", errors);
    for operation in rule.field("operations").items() {
        operation.one_of(errors, OPERATIONS);
    }
    some("apiGroups", "API groups", errors);
    some("apiVersions", "API versions", errors);
    for version in rule.field("apiVersions").items() {
        version.required_text(errors);
    }
    resources(&rule.field("resources"), errors);
    let scope = rule.field("scope");
    if scope.exists() {
        scope.one_of(errors, &["*", "Cluster", "Namespaced"]);
    }
}

/// Resources and subresources; a wildcard makes what it covers superfluous.
fn resources(list: &At<'_, '_>, errors: &mut Errors) {
    if list.is_empty() {
        list.required(errors, "");
    }
    let (mut all_of, mut on_all): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
    let mut last_is_plain = false;
    for item in list.items() {
        if item.is_empty() {
            item.required(errors, "");
            continue;
        }
        let text = item.str();
        let Some((resource, sub)) = text.split_once('/') else {
            last_is_plain = text != "*";
            continue;
        };
        if all_of.contains(&resource) {
            item.invalid_str(errors, &format!("if '{resource}/*' is present, must not specify {text}"));
        }
        if on_all.contains(&sub) {
            item.invalid_str(errors, &format!("if '*/{sub}' is present, must not specify {text}"));
        }
        if sub == "*" {
            all_of.push(resource);
        }
        if resource == "*" {
            on_all.push(sub);
        }
    }
    if list.len() > 1 && list.items().any(|item| item.str() == "*/*") {
        list.invalid(errors, "if '*/*' is present, must not specify other resources");
    }
    if has_wildcard(list) && last_is_plain {
        let says = "if '*' is present, must not specify other resources without subresources";
        list.invalid(errors, says);
    }
}
