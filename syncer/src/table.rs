//! Tables that say of each field of a kind what becomes of it on the host, and the copier that goes by them.
//!
//! The table is the allow-list: what it does not name is refused. It is also the documentation: [`Table::to_markdown`].

use std::collections::BTreeMap;
use std::fmt::Write as _;

use apimachinery::field::Path;
use serde_json::{Map, Value};

/// What becomes of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Reaches the host as it is.
    Pass,
    /// The translation of the kind writes it, as the note says.
    Translate,
    /// Does not reach the host, without a word: the host decides it or it means nothing there.
    Drop,
    /// Does not reach the host, and the tenant is told.
    DropWarn,
    /// The object does not reach the host.
    Refuse,
    /// Reaches the host only where the admin set the pod security level `none`; refused otherwise.
    Privileged,
}

/// A row: one or more fields and what becomes of them.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Path of the fields; `{a,b}` stands for each of them, `[]` for the items of a list.
    pub path: &'static str,
    /// What becomes of them.
    pub action: Action,
    /// How, or why.
    pub note: &'static str,
}

/// Rows, found by path.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<Row>,
    root: Node,
}

#[derive(Debug, Default)]
struct Node {
    row: Option<usize>,
    children: BTreeMap<String, Node>,
}

/// Something about a field that the tenant should know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct Remark {
    /// Path of the field.
    pub field: String,
    /// A sentence.
    pub message: String,
}

impl Remark {
    /// A remark about a field.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

/// What the copier found on its way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remarks {
    /// Why the object cannot reach the host; all reasons.
    pub refused: Vec<Remark>,
    /// What was left out.
    pub dropped: Vec<Remark>,
}

impl Table {
    /// A table of these rows; a row of a longer path wins over one of a shorter.
    pub fn new(rows: &[Row]) -> Self {
        let mut table = Self { rows: rows.to_vec(), root: Node::default() };
        for (index, row) in rows.iter().enumerate() {
            for path in expand(row.path) {
                let mut node = &mut table.root;
                for segment in path.split('.') {
                    node = node.children.entry(segment.trim_end_matches("[]").to_owned()).or_default();
                }
                node.row = Some(index);
            }
        }
        table
    }

    /// The row that decides about a path (given without `[]`), if there is one.
    pub fn find(&self, path: &str) -> Option<&Row> {
        let mut node = &self.root;
        for segment in path.split('.') {
            node = node.children.get(segment)?;
            if let (Some(row), true) = (node.row, node.children.is_empty()) {
                return self.rows.get(row);
            }
        }
        node.row.and_then(|row| self.rows.get(row))
    }

    /// Copies what passes. Lists keep their length, so that a translation finds an item's copy by its index.
    pub fn copy(&self, value: &Value, privileged: bool, remarks: &mut Remarks) -> Value {
        self.copy_node(value, &self.root, &Path::root(), privileged, remarks).unwrap_or_else(|| Map::new().into())
    }

    fn copy_node(
        &self,
        value: &Value,
        node: &Node,
        path: &Path,
        privileged: bool,
        remarks: &mut Remarks,
    ) -> Option<Value> {
        if let Some(row) = node.row.and_then(|row| self.rows.get(row)) {
            let remark = || Remark::new(path.as_str(), row.note);
            return match row.action {
                Action::Pass => Some(value.clone()),
                Action::Privileged if privileged => Some(value.clone()),
                Action::Translate | Action::Drop => None,
                Action::DropWarn => {
                    if is_set(value) {
                        remarks.dropped.push(remark());
                    }
                    None
                }
                Action::Refuse => {
                    if is_set(value) {
                        remarks.refused.push(remark());
                    }
                    None
                }
                Action::Privileged => {
                    if is_set(value) {
                        let message = format!("not allowed, as it {}; remove the field", row.note);
                        remarks.refused.push(Remark::new(path.as_str(), message));
                    }
                    None
                }
            };
        }
        match value {
            Value::Object(fields) => {
                let mut copy = Map::new();
                for (key, field) in fields {
                    let path = path.child(key);
                    let Some(child) = node.children.get(key) else {
                        if is_set(field) {
                            remarks.refused.push(Remark::new(path.as_str(), "this version does not know the field"));
                        }
                        continue;
                    };
                    if let Some(field) = self.copy_node(field, child, &path, privileged, remarks) {
                        copy.insert(key.clone(), field);
                    }
                }
                Some(Value::Object(copy))
            }
            Value::Array(items) => Some(
                items
                    .iter()
                    .enumerate()
                    .map(|(i, item)| {
                        self.copy_node(item, node, &path.index(i), privileged, remarks)
                            .unwrap_or_else(|| Map::new().into())
                    })
                    .collect(),
            ),
            Value::Null => None,
            _ => {
                remarks.refused.push(Remark::new(path.as_str(), "must be an object"));
                None
            }
        }
    }

    /// The table as Markdown.
    pub fn to_markdown(&self) -> String {
        let mut out = String::from("| field | on the host | how, why |\n|---|---|---|\n");
        for row in &self.rows {
            let action = match row.action {
                Action::Pass => "passed",
                Action::Translate => "translated",
                Action::Drop => "left out",
                Action::DropWarn => "left out, with a warning event",
                Action::Refuse => "refused",
                Action::Privileged => "refused, unless pod security is `none`",
            };
            // Writing to a string does not fail.
            let _ = writeln!(out, "| `{}` | {action} | {} |", row.path.replace('|', "\\|"), row.note);
        }
        out
    }
}

/// All remarks as one text.
pub(crate) fn reasons(remarks: &[Remark]) -> String {
    remarks.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Whether a value says anything: an empty one is as good as none.
pub fn is_set(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(b) => *b,
        Value::Number(n) => n.as_f64() != Some(0.0),
        Value::String(s) => !s.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
    }
}

/// All paths that a pattern with `{a,b}` stands for.
fn expand(pattern: &str) -> Vec<String> {
    let Some((head, rest)) = pattern.split_once('{') else { return vec![pattern.to_owned()] };
    let Some((choices, tail)) = rest.split_once('}') else { return vec![pattern.to_owned()] };
    let tails = expand(tail);
    choices.split(',').flat_map(|choice| tails.iter().map(move |tail| format!("{head}{choice}{tail}"))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ROWS: &[Row] = &[
        Row { path: "spec.{a,b}[].x", action: Action::Pass, note: "" },
        Row { path: "spec.a[].y", action: Action::Translate, note: "" },
        Row { path: "spec.root", action: Action::Privileged, note: "not for tenants" },
        Row { path: "spec.old", action: Action::DropWarn, note: "means nothing" },
        Row { path: "spec.never", action: Action::Refuse, note: "no" },
    ];

    #[test]
    fn what_passes_is_copied_and_the_rest_is_accounted_for() {
        let table = Table::new(ROWS);
        let object = json!({"spec": {
            "a": [{"x": 1, "y": 2}, {}], "b": [{"x": [1]}],
            "root": true, "old": "o", "never": "", "fresh": {"z": 1}, "empty": [],
        }});
        let mut remarks = Remarks::default();
        assert_eq!(table.copy(&object, false, &mut remarks), json!({"spec": {"a": [{"x": 1}, {}], "b": [{"x": [1]}]}}));
        let fields = |r: &[Remark]| r.iter().map(|r| r.field.clone()).collect::<Vec<_>>();
        let mut refused = fields(&remarks.refused);
        refused.sort();
        assert_eq!(refused, ["spec.fresh", "spec.root"]);
        assert_eq!(fields(&remarks.dropped), ["spec.old"]);
        let copy = table.copy(&object, true, &mut Remarks::default());
        assert_eq!(copy["spec"]["root"], json!(true));
    }

    #[test]
    fn a_scalar_where_an_object_belongs_is_refused() {
        let mut remarks = Remarks::default();
        Table::new(ROWS).copy(&json!({"spec": 7}), false, &mut remarks);
        assert_eq!(remarks.refused[0].field, "spec");
    }
}
