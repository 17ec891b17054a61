//! Events, in both of their groups.

use serde_json::Value;

use super::cells::{Cells, cells};

pub(super) fn row(event: &Cells<'_>) -> Vec<Value> {
    // `core/v1` and `events.k8s.io/v1` name the same things differently; an object has the names of one of them.
    let about = if event.at(&["regarding"]).is_some() { "regarding" } else { "involvedObject" };
    let source = if event.at(&["deprecatedSource"]).is_some() { "deprecatedSource" } else { "source" };

    let first = either(event, [&["firstTimestamp"], &["deprecatedFirstTimestamp"]]);
    let first = if event.at(first).is_some() { event.since(first) } else { event.since(&["eventTime"]) };
    let last = either(event, [&["lastTimestamp"], &["deprecatedLastTimestamp"]]);
    let series = &["series", "lastObservedTime"];
    let (last, count) = if event.at(&["series"]).is_some() {
        (event.since(series), event.int(&["series", "count"]))
    } else {
        let last = if event.at(last).is_some() { event.since(last) } else { first.clone() };
        let count = event.int(either(event, [&["count"], &["deprecatedCount"]]));
        (last, count.max(1))
    };

    let kind = event.text(&[about, "kind"]).to_lowercase();
    let name = event.text(&[about, "name"]);
    let object = if name.is_empty() { kind } else { format!("{kind}/{name}") };
    cells![
        last,
        event.text(&["type"]),
        event.text(&["reason"]),
        object,
        event.text(&[about, "fieldPath"]),
        reporter(event, source),
        event.text(either(event, [&["message"], &["note"]])).trim(),
        first,
        count,
        event.name(),
    ]
}

fn reporter(event: &Cells<'_>, source: &str) -> String {
    let controller = event.text_or(&["reportingComponent"], event.text(&["reportingController"]));
    let component = event.text_or(&[source, "component"], controller);
    let instance = event.text_or(&[source, "host"], event.text(&["reportingInstance"]));
    if instance.is_empty() { component.to_owned() } else { format!("{component}, {instance}") }
}

/// The path that there is something at, or the second.
fn either<'p>(event: &Cells<'_>, paths: [&'p [&'p str]; 2]) -> &'p [&'p str] {
    if event.at(paths[0]).is_some() { paths[0] } else { paths[1] }
}
