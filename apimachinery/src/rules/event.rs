//! Events, of which there are two APIs: `v1` as it always was, and `events.k8s.io/v1`, which is strict. Both are stored
//! as `v1`.

use serde_json::Value;

use super::at::At;
use super::{WriteContext, check, names};
use crate::field::Errors;
use crate::time::Timestamp;

pub(super) fn event_validate(object: &Value, errors: &mut Errors) {
    loose(&At::root(object), "reportingComponent", errors);
}

/// What was asked of events before `events.k8s.io`: little, unless they have the newer `eventTime`.
fn loose(event: &At<'_, '_>, reporter: &str, errors: &mut Errors) {
    const TEXT_MAX: usize = 128;
    const NOTE_MAX: usize = 1024;
    let metadata = event.field("metadata");
    let namespace = metadata.field("namespace").str();
    let involved = event.field("involvedObject");
    let of = involved.field("namespace");
    if !event.field("eventTime").exists() {
        let fits = if of.is_empty() { matches!(namespace, "" | "default") } else { of.str() == namespace };
        if !fits {
            of.invalid_str(errors, "does not match event.namespace");
        }
    } else {
        if of.is_empty() && !matches!(namespace, "default" | "kube-system") {
            of.invalid_str(errors, "does not match event.namespace");
        }
        let by = event.field("reportingComponent");
        let by = At::named(by.value(), reporter);
        by.required_text(errors);
        check::label_name(&by, errors);
        for (field, max) in [("reportingInstance", TEXT_MAX), ("action", TEXT_MAX), ("reason", TEXT_MAX)] {
            let at = event.field(field);
            at.required_text(errors);
            if at.str().len() > max {
                at.invalid_text(errors, "", &format!("can have at most {max} characters"));
            }
        }
        if event.field("message").str().len() > NOTE_MAX {
            event.field("message").invalid_text(errors, "", &format!("can have at most {NOTE_MAX} characters"));
        }
    }
    for detail in names::dns1123_subdomain(namespace) {
        event.field("namespace").invalid_text(errors, namespace, &detail);
    }
}

fn series(event: &At<'_, '_>, errors: &mut Errors) {
    let series = event.field("series");
    if !series.exists() {
        return;
    }
    if series.field("count").int() < 2 {
        series.field("count").invalid_text(errors, "", "should be at least 2");
    }
    if !series.field("lastObservedTime").exists() {
        series.field("lastObservedTime").required(errors, "");
    }
}

pub(super) fn new_event_validate(object: &Value, errors: &mut Errors) {
    let event = At::root(object);
    loose(&event, "reportingController", errors);
    series(&event, errors);
    if !event.field("eventTime").exists() {
        event.field("eventTime").required(errors, "");
    }
    let kind = event.field("type");
    if !matches!(kind.str(), "Normal" | "Warning") {
        kind.invalid_text(errors, "", &format!("has invalid value: {}", kind.str()));
    }
    let source = event.field("source");
    let has_source = !source.field("component").is_empty() || !source.field("host").is_empty();
    let unset = [
        ("firstTimestamp", event.field("firstTimestamp").exists()),
        ("lastTimestamp", event.field("lastTimestamp").exists()),
        ("count", event.field("count").int() != 0),
        ("source", has_source),
    ];
    for (field, _) in unset.into_iter().filter(|(_, is_set)| *is_set) {
        event.field(field).invalid_text(errors, "", "needs to be unset");
    }
}

/// Events in `events.k8s.io` tell of one thing: only their series grows.
pub(super) fn new_event_validate_update(new: &Value, old: &Value, _context: &WriteContext<'_>, errors: &mut Errors) {
    let (event, was) = (At::root(new), At::root(old));
    loose(&event, "reportingController", errors);
    if event.field("series").value() != was.field("series").value() {
        series(&event, errors);
    }
    // `reason` is looked at twice by the stock server, which says so.
    for (field, shown) in [
        ("involvedObject", "involvedObject"),
        ("reason", "reason"),
        ("message", "message"),
        ("source", "source"),
        ("firstTimestamp", "firstTimestamp"),
        ("lastTimestamp", "lastTimestamp"),
        ("count", "count"),
        ("reason", "reason"),
        ("type", "type"),
    ] {
        At::named(event.field(field).value(), shown).immutable(errors, was.field(field).value());
    }
    let micros = |event: &At<'_, '_>| {
        Timestamp::parse_micro(event.field("eventTime").str()).map(|t| (t.seconds, t.nanos / 1000)).ok()
    };
    if micros(&event) != micros(&was) {
        event.field("eventTime").immutable(errors, was.field("eventTime").value());
    }
    for (field, shown) in [
        ("action", "action"),
        ("related", "related"),
        ("reportingComponent", "reportingController"),
        ("reportingInstance", "reportingInstance"),
    ] {
        At::named(event.field(field).value(), shown).immutable(errors, was.field(field).value());
    }
}
