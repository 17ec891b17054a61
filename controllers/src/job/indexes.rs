//! Completion indexes of Indexed jobs: `0-2,5`.

use std::collections::BTreeSet;

use apimachinery::meta::str_at;
use serde_json::{Value, json};

/// Annotation and label of a pod.
pub(super) const INDEX: &str = "batch.kubernetes.io/job-completion-index";
const VARIABLE: &str = "JOB_COMPLETION_INDEX";

/// The index of a pod.
pub(super) fn of(pod: &Value) -> Option<i64> {
    str_at(pod, &["metadata", "annotations", INDEX]).parse().ok()
}

/// Parses indexes; what is no number is passed over.
pub(super) fn parse(text: &str) -> BTreeSet<i64> {
    let ranges = text.split(',').filter_map(|part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse::<i64>().ok()?..=last.parse::<i64>().ok()?)
    });
    ranges.flatten().collect()
}

/// Writes indexes, ranges of three and more as such.
pub(super) fn format(indexes: &BTreeSet<i64>) -> String {
    let mut ranges: Vec<(i64, i64)> = Vec::new();
    for &index in indexes {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == index => *last = index,
            _ => ranges.push((index, index)),
        }
    }
    let texts = ranges.into_iter().map(|(first, last)| match last - first {
        0 => first.to_string(),
        1 => format!("{first},{last}"),
        _ => format!("{first}-{last}"),
    });
    texts.collect::<Vec<_>>().join(",")
}

/// Gives a pod its index: in its name, host name, labels, annotations and environment.
pub(super) fn dress(pod: &mut Value, job: &str, index: i64) {
    pod["metadata"]["generateName"] = json!(format!("{job}-{index}-"));
    pod["metadata"]["annotations"][INDEX] = json!(index.to_string());
    pod["metadata"]["labels"][INDEX] = json!(index.to_string());
    if pod["spec"].get("hostname").is_none() {
        pod["spec"]["hostname"] = json!(format!("{job}-{index}"));
    }
    let source = json!({"fieldRef": {"fieldPath": format!("metadata.labels['{INDEX}']")}});
    for list in ["containers", "initContainers"] {
        for container in pod["spec"].get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            let mut env = container.get("env").and_then(Value::as_array).cloned().unwrap_or_default();
            if !env.iter().any(|e| str_at(e, &["name"]) == VARIABLE) {
                env.push(json!({"name": VARIABLE, "valueFrom": source}));
                container["env"] = Value::Array(env);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_are_written_as_they_are_read() {
        for text in ["", "0", "0,1", "0-2", "0-2,5", "1,3,5-9"] {
            assert_eq!(format(&parse(text)), text);
        }
        assert_eq!(parse("2,x,4-5"), BTreeSet::from([2, 4, 5]));
    }
}
