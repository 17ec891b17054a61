//! The embedded store under the workload of `make bench ONLY=store`, which runs this program and kills it.
//!
//! `puts write COUNT FOLDER` does the puts, with history given up every ten seconds as the server does. `puts read
//! FOLDER COUNT` opens what a killed one left. Each prints one line of JSON, then holds the store until it is killed or
//! its standard input ends.

#[path = "../workload.rs"]
mod workload;

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use apimachinery::tenant::TenantId;
use store::{CollectionId, Embedded, Keeper, Key, Options, Precondition, Retention, Store, Write};
use workload::Failure;

/// Records among which the cost of one put at a time is measured first; then it is among all.
const FEW: u64 = 1000;
/// How many such puts there are.
const ALONE: u64 = 5000;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match arguments.as_slice() {
        ["write", puts, folder] => runtime.block_on(write(puts.parse()?, Path::new(folder))),
        ["read", folder, puts] => runtime.block_on(read(Path::new(folder), puts.parse()?)),
        _ => Err("usage: puts write COUNT FOLDER | puts read FOLDER COUNT".into()),
    }
}

fn collection() -> CollectionId {
    CollectionId { tenant: TenantId::from_bytes([1; 16]), name: "records".into() }
}

async fn write(puts: u64, folder: &Path) -> Result<(), Failure> {
    let store = Arc::new(Embedded::open(folder, Options::default())?);
    let history = tokio::spawn(keep_history(store.clone()));
    let put = {
        let store = store.clone();
        move |(key, value): workload::Put| {
            let store = store.clone();
            async move {
                let key = Key { collection: collection(), name: String::from_utf8_lossy(&key).into() };
                store.commit(vec![Write { key, value: Some(value.into()), require: Precondition::None }]).await?;
                Ok(())
            }
        }
    };
    let few = FEW.min(puts);
    workload::run(few, put.clone()).await?;
    let among_few = workload::run_alone(few, ALONE, put.clone()).await?;
    let stats = store.stats();
    let syncs = || (stats.fsyncs.load(Ordering::Relaxed), stats.fsync.read().1);
    let before = syncs();
    let run = workload::run(puts, put.clone()).await?;
    let after = syncs();
    let among_all = workload::run_alone(puts, ALONE, put).await?;
    history.abort();
    answer(&format!(
        r#"{{"rate":{:.1},"p50":{:.3},"p99":{:.3},"max":{:.3},"cpu":{:.2},"held":{},"fsyncs":{},"fsyncMicros":{},"few":{},"fewP50":{:.3},"fewCpu":{:.2},"allP50":{:.3},"allCpu":{:.2},"alone":{ALONE}}}"#,
        run.rate(),
        run.quantile(0.5),
        run.quantile(0.99),
        run.quantile(1.0),
        run.cpu.as_secs_f64(),
        stats.bytes.load(Ordering::Relaxed),
        after.0 - before.0,
        after.1 - before.1,
        few,
        among_few.quantile(0.5),
        among_few.cpu.as_secs_f64(),
        among_all.quantile(0.5),
        among_all.cpu.as_secs_f64(),
    ))
}

async fn read(folder: &Path, puts: usize) -> Result<(), Failure> {
    let start = Instant::now();
    let store = Embedded::open(folder, Options::default())?;
    let opened = start.elapsed();
    let found = store.count(&collection()).await?;
    if found != puts {
        return Err(format!("{found} records are there, {puts} were acknowledged").into());
    }
    answer(&format!(r#"{{"seconds":{:.3}}}"#, opened.as_secs_f64()))
}

/// As the server does.
async fn keep_history(store: Arc<Embedded>) -> Result<(), store::StoreError> {
    let mut keeper = Keeper::new(Retention::default());
    let mut tick = tokio::time::interval(Duration::from_secs(10));
    loop {
        tick.tick().await;
        keeper.run(&*store, Instant::now()).await?;
    }
}

fn answer(line: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
