//! Plays the corpus on both sides at once.

use std::hash::{BuildHasher, Hasher, RandomState};

use futures::StreamExt;
use serde_json::{Map, Value, json};

use crate::compare::compare;
use crate::corpus::{Case, Step, Subject};
use crate::play::{Answer, PlayError, Side, Stage};
use crate::verdict::{Verdict, judge};

/// The two servers.
#[derive(Clone)]
pub struct Sides {
    /// The stock one.
    pub stock: Side,
    /// The tenant's.
    pub tenant: Side,
}

/// How one case ended.
pub struct Outcome {
    /// Its subject.
    pub subject: String,
    /// Its name.
    pub case: String,
    /// How it ended.
    pub verdict: Verdict,
    /// What the stock server said, step by step.
    pub stock: Vec<Answer>,
    /// What the tenant's server said.
    pub tenant: Vec<Answer>,
}

/// Plays all cases, `jobs` at a time, and removes what they made.
///
/// # Errors
/// When a server goes away before what was made is removed.
pub async fn play(sides: &Sides, corpus: &[Subject], jobs: usize) -> Result<Vec<Outcome>, PlayError> {
    let run = format!("{:05x}", RandomState::new().build_hasher().finish() & 0xf_ffff);
    let namespace = |subject: &Subject| format!("diff-{run}-{}", subject.name);
    let stages: Vec<(Prepared, Prepared)> = futures::stream::iter(corpus)
        .map(|subject| {
            let namespace = namespace(subject);
            async move {
                let variables = Map::from_iter([("namespace".to_owned(), json!(namespace))]);
                tokio::join!(
                    prepare(&sides.stock, &namespace, &subject.given, variables.clone()),
                    prepare(&sides.tenant, &namespace, &subject.given, variables)
                )
            }
        })
        .buffered(jobs)
        .collect()
        .await;
    let cases = corpus
        .iter()
        .zip(&stages)
        .flat_map(|(subject, stages)| subject.cases.iter().map(move |case| (subject, stages, case)));
    let outcomes = futures::stream::iter(cases.enumerate())
        .map(|(number, (subject, stages, case))| {
            let name = format!("d{run}-{number}");
            let namespace = namespace(subject);
            async move {
                let (stock, tenant) = tokio::join!(
                    play_case(&sides.stock, case, &name, &namespace, &stages.0),
                    play_case(&sides.tenant, case, &name, &namespace, &stages.1)
                );
                outcome(subject, case, stock, tenant)
            }
        })
        .buffered(jobs)
        .collect()
        .await;
    for ((stock, tenant), subject) in stages.into_iter().zip(corpus) {
        tokio::join!(stock.stage.clean(), tenant.stage.clean());
        let remove = remove_namespace(&namespace(subject));
        for side in [&sides.stock, &sides.tenant] {
            side.stage(Map::new()).play(&remove).await?;
        }
    }
    Ok(outcomes)
}

/// A namespace in which steps were played that others rest on.
struct Prepared {
    stage: Stage,
    refused: Option<String>,
}

fn outcome(
    subject: &Subject,
    case: &Case,
    stock: Result<Vec<Answer>, PlayError>,
    tenant: Result<Vec<Answer>, PlayError>,
) -> Outcome {
    let (subject, name) = (subject.name.clone(), case.name.clone());
    let failed = |side: &str, e: &PlayError| Verdict::Broken(format!("{side}: {e}"));
    let verdict = match (&stock, &tenant) {
        (Err(e), _) => failed("stock", e),
        (_, Err(e)) => failed("tenant", e),
        (Ok(stock), Ok(tenant)) => {
            let found =
                stock.iter().zip(tenant).zip(&case.steps).enumerate().flat_map(|(number, ((stock, tenant), step))| {
                    let shown = |answer: &Answer| {
                        if step.any_order { without_order(&answer.shown) } else { answer.shown.clone() }
                    };
                    compare(number, &shown(stock), &shown(tenant), &step.ignore)
                });
            judge(found.collect(), &case.differs)
        }
    };
    Outcome { subject, case: name, verdict, stock: stock.unwrap_or_default(), tenant: tenant.unwrap_or_default() }
}

/// An answer whose causes are sorted. The message says the same.
fn without_order(shown: &Value) -> Value {
    let mut shown = shown.clone();
    if let Some(causes) = shown.pointer_mut("/body/details/causes").and_then(Value::as_array_mut) {
        causes.sort_by_key(Value::to_string);
        shown["body"]["message"] = Value::Null;
    }
    shown
}

fn step(value: Value) -> Step {
    serde_json::from_value(value).unwrap_or_default()
}

fn remove_namespace(namespace: &str) -> Step {
    step(json!({"do": format!("DELETE /api/v1/namespaces/{namespace}")}))
}

/// Makes a namespace with the account that pods need, and plays what is given.
async fn prepare(side: &Side, namespace: &str, given: &[Step], variables: Map<String, Value>) -> Prepared {
    let mut stage = side.stage(variables);
    let make = step(json!({"do": "POST /api/v1/namespaces", "body": {"metadata": {"name": namespace}}}));
    let account = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
    let account = step(json!({"do": format!("POST {account}"), "body": {"metadata": {"name": "default"}}}));
    let mut refused = stage.play_given(&make).await.err();
    if refused.is_none() {
        // A controller may be first.
        refused = stage.play(&account).await.err();
    }
    for step in given {
        if refused.is_none() {
            refused = stage.play_given(step).await.err();
        }
    }
    Prepared { stage, refused: refused.map(|e| e.to_string()) }
}

async fn play_case(
    side: &Side,
    case: &Case,
    name: &str,
    namespace: &str,
    subject: &Prepared,
) -> Result<Vec<Answer>, PlayError> {
    if let Some(refused) = &subject.refused {
        return Err(PlayError::Step(refused.clone()));
    }
    let own = format!("{name}-ns");
    let namespace = if case.own_namespace { own.as_str() } else { namespace };
    let mut variables = subject.stage.variables().clone();
    variables.extend(case.variables.clone());
    variables.insert("name".to_owned(), json!(name));
    variables.insert("namespace".to_owned(), json!(namespace));
    if case.own_namespace
        && let Some(refused) = prepare(side, namespace, &[], variables.clone()).await.refused
    {
        return Err(PlayError::Step(refused));
    }
    let mut stage = side.stage(variables);
    let mut answers = Vec::new();
    let mut failed = None;
    for step in &case.given {
        if failed.is_none() {
            failed = stage.play_given(step).await.err();
        }
    }
    for step in &case.steps {
        if failed.is_none() {
            match stage.play(step).await {
                Ok(answer) => answers.push(answer),
                Err(e) => failed = Some(e),
            }
        }
    }
    stage.clean().await;
    if case.own_namespace {
        side.stage(Map::new()).play(&remove_namespace(namespace)).await?;
    }
    failed.map_or(Ok(answers), Err)
}
