//! What a corpus file says. README.md beside the corpus explains the format to those who write it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value};

/// A corpus file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CorpusError {
    /// It cannot be read.
    #[error("{path}: cannot be read")]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It does not say what a corpus file says.
    #[error("{path}: {message}")]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
}

/// A file of cases about one subject.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The file's name without `.yaml`.
    pub name: String,
    /// Steps that are played once, before the cases, in the subject's namespace. Not compared.
    pub given: Vec<Step>,
    /// The cases, `each` already multiplied out.
    pub cases: Vec<Case>,
}

/// One thing that both sides must answer alike.
#[derive(Clone, Debug)]
pub struct Case {
    /// What is tried.
    pub name: String,
    /// Words that stand for values, in the order in which they are filled in.
    pub variables: Map<String, Value>,
    /// Whether it gets a namespace of its own instead of its subject's.
    pub own_namespace: bool,
    /// Steps before; not compared.
    pub given: Vec<Step>,
    /// The steps whose answers are compared.
    pub steps: Vec<Step>,
    /// The differences that are known.
    pub differs: Vec<Known>,
}

/// A difference that is known and has a row in docs/differences.md.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Known {
    /// The name of its row.
    pub known: String,
    /// Where the answers may differ; everywhere if empty.
    #[serde(default)]
    pub at: Vec<String>,
}

/// A request and what is done with its answer.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Step {
    /// Method, a space, path.
    #[serde(rename = "do")]
    pub request: Option<String>,
    /// As whom.
    #[serde(rename = "as")]
    pub user: Option<Impersonated>,
    /// Headers beyond those that every request has.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The content type; `application/json` unless told.
    #[serde(rename = "type")]
    pub content_type: Option<String>,
    /// A body, sent as JSON.
    pub body: Option<Value>,
    /// Values to put into the body, by JSON pointer.
    #[serde(default)]
    pub set: Map<String, Value>,
    /// Members to take out of the body, by JSON pointer.
    #[serde(default)]
    pub unset: Vec<String>,
    /// A body, sent as it stands.
    pub text: Option<String>,
    /// A body of any bytes.
    pub base64: Option<String>,
    /// A body of repeated pieces.
    pub build: Option<Vec<(String, usize)>>,
    /// Values of the answer that later steps name.
    #[serde(default)]
    pub save: BTreeMap<String, String>,
    /// Where answers differ for a reason that has nothing to do with the case.
    #[serde(default)]
    pub ignore: Vec<String>,
    /// What is wrong with the object has no order: Go walks maps at random.
    #[serde(default)]
    pub any_order: bool,
    /// Repeat the request until the answer has this.
    pub until: Option<Until>,
    /// The request is a watch.
    pub watch: Option<Watch>,
}

/// Who asks.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Impersonated {
    /// The name.
    pub user: String,
    /// The groups beside `system:authenticated`.
    #[serde(default)]
    pub groups: Vec<String>,
}

/// A condition on an answer.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Until {
    /// Where, as a JSON pointer into the answer; the answer's code if empty.
    pub at: String,
    /// What must be there; anything, if left out.
    pub is: Option<Value>,
}

/// How a watch is read.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Watch {
    /// How many events to read; to the end if left out.
    pub events: Option<usize>,
    /// Keep bookmarks that only tell a revision; their number is a matter of time.
    #[serde(default)]
    pub bookmarks: bool,
    /// What is done once the watch has begun. Not compared.
    #[serde(default)]
    pub during: Vec<Step>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// For readers.
    #[serde(rename = "about")]
    _about: String,
    #[serde(default, rename = "let")]
    variables: Map<String, Value>,
    #[serde(default)]
    defaults: Map<String, Value>,
    #[serde(default)]
    given: Vec<Step>,
    #[serde(default)]
    each: Vec<Map<String, Value>>,
    cases: Vec<Map<String, Value>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct CaseHead {
    case: String,
    #[serde(default, rename = "let")]
    variables: Map<String, Value>,
    #[serde(default)]
    own_namespace: bool,
    #[serde(default)]
    given: Vec<Step>,
    #[serde(default)]
    steps: Vec<Map<String, Value>>,
    #[serde(default)]
    differs: Vec<Known>,
    /// Play it only for rows of `each` with one of these values of `row`.
    #[serde(default)]
    only: Vec<String>,
    /// Leave it out for rows of `each` with one of these values of `row`.
    #[serde(default)]
    except: Vec<String>,
}

const HEAD: [&str; 8] = ["case", "let", "ownNamespace", "given", "steps", "differs", "only", "except"];

/// Reads all files of a folder, in the order of their names.
///
/// # Errors
/// [`CorpusError`] names the file and what is wrong with it.
pub fn load(folder: &Path) -> Result<Vec<Subject>, CorpusError> {
    let read = |source| CorpusError::Read { path: folder.to_owned(), source };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(read)? {
        let path = entry.map_err(read)?.path();
        if path.extension().is_some_and(|e| e == "yaml") {
            paths.push(path);
        }
    }
    paths.sort();
    paths.into_iter().map(|path| load_file(&path)).collect()
}

fn load_file(path: &Path) -> Result<Subject, CorpusError> {
    let text = std::fs::read_to_string(path).map_err(|source| CorpusError::Read { path: path.to_owned(), source })?;
    let name = path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    parse(name, &text).map_err(|message| CorpusError::Format { path: path.to_owned(), message })
}

/// Reads the text of one file.
///
/// # Errors
/// What is wrong with it.
pub fn parse(name: String, text: &str) -> Result<Subject, String> {
    let mut yaml: serde_yaml_ng::Value = serde_yaml_ng::from_str(text).map_err(|e| e.to_string())?;
    yaml.apply_merge().map_err(|e| e.to_string())?;
    let file: File = serde_yaml_ng::from_value(yaml).map_err(|e| e.to_string())?;
    let rows = if file.each.is_empty() { vec![Map::new()] } else { file.each };
    let mut cases = Vec::new();
    for row in &rows {
        for entry in &file.cases {
            let case = read_case(&file.variables, &file.defaults, row, entry.clone())
                .map_err(|e| format!("case {}: {e}", entry.get("case").unwrap_or(&Value::Null)))?;
            cases.extend(case);
        }
    }
    let given = file.given;
    let mut seen = std::collections::BTreeSet::new();
    if let Some(twice) = cases.iter().find(|case| !seen.insert(case.name.clone())) {
        return Err(format!("two cases are called {:?}", twice.name));
    }
    Ok(Subject { name, given: with_variables(given, &file.variables), cases })
}

/// Steps of a subject know its variables through the first case; they are kept beside the step instead.
fn with_variables(steps: Vec<Step>, variables: &Map<String, Value>) -> Vec<Step> {
    steps
        .into_iter()
        .map(|mut step| {
            step.request = step.request.map(|r| crate::expand::text(&r, variables));
            step.body = step.body.map(|b| crate::expand::value(&b, variables));
            step
        })
        .collect()
}

fn read_case(
    variables: &Map<String, Value>,
    defaults: &Map<String, Value>,
    row: &Map<String, Value>,
    mut entry: Map<String, Value>,
) -> Result<Option<Case>, String> {
    let mut head = Map::new();
    for key in HEAD {
        if let Some(value) = entry.remove(key) {
            head.insert(key.to_owned(), value);
        }
    }
    let head: CaseHead = serde_json::from_value(Value::Object(head)).map_err(|e| e.to_string())?;
    let is_row =
        |names: &[String]| row.get("row").and_then(Value::as_str).is_some_and(|r| names.iter().any(|n| n == r));
    if (!head.only.is_empty() && !is_row(&head.only)) || is_row(&head.except) {
        return Ok(None);
    }
    let steps = match (entry.is_empty(), head.steps.is_empty()) {
        (false, false) => return Err("it has steps and is a step".to_owned()),
        (_, true) => vec![read_step(defaults, entry)?],
        (true, false) => head.steps.into_iter().map(|s| read_step(defaults, s)).collect::<Result<_, _>>()?,
    };
    let mut all = variables.clone();
    all.extend(row.clone());
    all.extend(head.variables);
    let name = crate::expand::text(&head.case, &all);
    Ok(Some(Case {
        name,
        variables: all,
        own_namespace: head.own_namespace,
        given: head.given,
        steps,
        differs: head.differs,
    }))
}

fn read_step(defaults: &Map<String, Value>, entry: Map<String, Value>) -> Result<Step, String> {
    let has_body = ["text", "base64", "build"].iter().any(|key| entry.contains_key(*key));
    let request = entry.get("do").or_else(|| defaults.get("do")).and_then(Value::as_str).unwrap_or_default();
    let takes_default = ["POST ", "PUT "].iter().any(|method| request.starts_with(method));
    let mut merged = defaults.clone();
    if has_body || !takes_default {
        merged.remove("body");
    }
    merged.extend(entry);
    let step: Step = serde_json::from_value(Value::Object(merged)).map_err(|e| e.to_string())?;
    if step.request.is_none() { Err("a step lacks `do`".to_owned()) } else { Ok(step) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_rows_and_single_steps() {
        let subject = parse(
            "s".to_owned(),
            "about: x\nlet: {p: /api}\ndefaults: {do: POST /x, body: {a: 1}}\neach: [{row: a}, {row: b}]\ncases:\n- {case: '{row} one', set: {/a: 2}}\n- {case: '{row} two', only: [b], do: GET /y}\n",
        )
        .unwrap();
        let names: Vec<_> = subject.cases.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, ["a one", "b one", "b two"]);
        assert_eq!(subject.cases[0].steps[0].request.as_deref(), Some("POST /x"));
    }

    #[test]
    fn mistakes_are_named() {
        for (text, message) in [
            ("about: x\ncases: [{case: a, doo: GET /}]", "doo"),
            ("about: x\ncases: [{case: a}]", "lacks `do`"),
            ("about: x\ncases: [{case: a, do: GET /}, {case: a, do: GET /}]", "two cases"),
            ("about: x\ncases: [{case: a, do: GET /, steps: [{do: GET /}]}]", "is a step"),
        ] {
            let error = parse("s".to_owned(), text).unwrap_err();
            assert!(error.contains(message), "{error}");
        }
    }
}
