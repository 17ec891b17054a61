//! `make differential`: plays the corpus and prints what differs.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use differential::corpus::{self, Subject};
use differential::play::Side;
use differential::run::{self, Outcome, Sides};
use differential::verdict::Verdict;

/// Plays the same requests against a stock API server and a virtual cluster and compares the answers.
#[derive(Parser)]
struct Arguments {
    /// The folder that `make up` left; host.kubeconfig and demo.kubeconfig are in it
    #[arg(long, env = "TENANTRY_RUN", default_value = ".run")]
    run: PathBuf,
    /// The kubeconfig of the stock server, instead of the host's
    #[arg(long)]
    stock: Option<PathBuf>,
    /// The kubeconfig of the virtual cluster, instead of demo's
    #[arg(long)]
    tenant: Option<PathBuf>,
    /// The folder of corpus files
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/corpus"))]
    corpus: PathBuf,
    /// Play only this subject, or the cases of it that hold a text: `patch-json`, `patch-json/a test`
    #[arg(long)]
    only: Option<String>,
    /// How many cases are played at the same time
    #[arg(long, default_value_t = 12)]
    jobs: usize,
    /// Print both answers of every case that is played
    #[arg(long)]
    show: bool,
    /// The most places printed for a case that differs
    #[arg(long, default_value_t = 20)]
    places: usize,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match compare(&arguments).await {
        Ok((text, good)) => (text, good),
        Err(e) => (format!("error: {e}\n"), false),
    };
    let written = std::io::stdout().lock().write_all(done.0.as_bytes());
    if done.1 && written.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn compare(arguments: &Arguments) -> Result<(String, bool), Box<dyn std::error::Error>> {
    let mut corpus = corpus::load(&arguments.corpus)?;
    if let Some(only) = &arguments.only {
        corpus = select(corpus, only);
        if corpus.is_empty() {
            return Err(format!("no case is called {only:?} in {}", arguments.corpus.display()).into());
        }
    }
    let path = |own: &Option<PathBuf>, name: &str| own.clone().unwrap_or_else(|| arguments.run.join(name));
    let sides = Sides {
        stock: connect(&path(&arguments.stock, "host.kubeconfig")).await?,
        tenant: connect(&path(&arguments.tenant, "demo.kubeconfig")).await?,
    };
    let begun = Instant::now();
    let outcomes = run::play(&sides, &corpus, arguments.jobs.max(1)).await?;
    let mut text = String::new();
    for outcome in &outcomes {
        if arguments.show {
            show(&mut text, outcome);
        }
        report(&mut text, outcome, arguments.places);
    }
    let count = |wanted: fn(&Verdict) -> bool| outcomes.iter().filter(|o| wanted(&o.verdict)).count();
    let equal = count(|v| *v == Verdict::Equal);
    let expected = count(|v| matches!(v, Verdict::Expected(_)));
    let failed = outcomes.len() - equal - expected;
    text.push_str(&format!(
        "differential: {} cases, {equal} equal, {expected} expected differences, {failed} failed ({:.0} s)\n",
        outcomes.len(),
        begun.elapsed().as_secs_f64()
    ));
    Ok((text, failed == 0))
}

async fn connect(path: &Path) -> Result<Side, Box<dyn std::error::Error>> {
    if !path.exists() {
        return Err(format!("no host cluster: {} is not there; start one with `make up`", path.display()).into());
    }
    Ok(Side::from_kubeconfig(path).await?)
}

fn select(corpus: Vec<Subject>, only: &str) -> Vec<Subject> {
    let (name, part) = only.split_once('/').unwrap_or((only, ""));
    let mut corpus: Vec<_> = corpus.into_iter().filter(|subject| subject.name == name).collect();
    corpus.iter_mut().for_each(|subject| subject.cases.retain(|case| case.name.contains(part)));
    corpus.retain(|subject| !subject.cases.is_empty());
    corpus
}

fn report(text: &mut String, outcome: &Outcome, places: usize) {
    let title = format!("{}: {}", outcome.subject, outcome.case);
    match &outcome.verdict {
        Verdict::Equal => {}
        Verdict::Expected(known) => text.push_str(&format!("expected  {title} ({})\n", known.join(", "))),
        Verdict::Broken(why) => text.push_str(&format!("BROKEN    {title}\n    {why}\n")),
        Verdict::Gone(known) => text.push_str(&format!(
            "GONE      {title}\n    no longer differs as {} says: take the marker and the row of docs/differences.md out\n",
            known.join(", ")
        )),
        Verdict::Differs(found) => {
            text.push_str(&format!("DIFFERS   {title}\n"));
            let mut step = None;
            for difference in found.iter().take(places) {
                if step != Some(difference.step) {
                    step = Some(difference.step);
                    let request = outcome.stock.get(difference.step).map_or("", |a| a.request.as_str());
                    text.push_str(&format!("    {request}\n"));
                }
                let side = |value: &Option<String>| value.as_deref().map_or("nothing".to_owned(), |v| v.chars().take(1500).collect());
                text.push_str(&format!(
                    "      {}\n        stock   {}\n        tenant  {}\n",
                    difference.at,
                    side(&difference.stock),
                    side(&difference.tenant)
                ));
            }
            if found.len() > places {
                text.push_str(&format!("      ... and {} places more\n", found.len() - places));
            }
        }
    }
}

fn show(text: &mut String, outcome: &Outcome) {
    text.push_str(&format!("-- {}: {}\n", outcome.subject, outcome.case));
    for (stock, tenant) in outcome.stock.iter().zip(&outcome.tenant) {
        text.push_str(&format!("{}\n  stock  {}\n  tenant {}\n", stock.request, stock.shown, tenant.shown));
    }
}
